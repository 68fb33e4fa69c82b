# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action gitops_repository on a directory, with what the role gives to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.stagecraft.gitops.plugins.action import gitops_repository

ROLE = Path(__file__).resolve().parents[3] / "roles" / "gitops_repository"
GIVEN = {
    "role_path": str(ROLE),
    "stagecraft_domain": "example.com",
    "stagecraft_repository": {"url": "ssh://git/x", "path": "clusters/staging"},
    "gitops_repository_environments": [{"name": "staging"}],
    "gitops_repository_sample_image": "docker.io/library/busybox:1.35.0",
}


class _Task:
    check_mode = False
    diff = True
    async_val = 0
    action = "stagecraft.gitops.gitops_repository"
    args: dict[str, Any]


def run(directory: Path, *, check: bool = False, **variables: Any) -> dict[str, Any]:
    """Run the role's task, templated as ansible-playbook does it."""
    loader = DataLoader()
    defaults, own, (task,) = (
        loader.load_from_file(str(ROLE / part / "main.yml"), trusted_as_template=True)
        for part in ("defaults", "vars", "tasks")
    )
    given = {**defaults, **GIVEN, "gitops_repository_directory": str(directory), **variables, **own}
    arguments = task["stagecraft.gitops.gitops_repository"]
    templar = Templar(loader, variables=given)
    plugin = gitops_repository.ActionModule.__new__(gitops_repository.ActionModule)
    plugin._task = _Task()
    plugin._task.check_mode = check
    left_out = ("repository", "git")  # omitted with a directory
    plugin._task.args = {name: templar.template(value) for name, value in arguments.items() if name not in left_out}
    result: dict[str, Any] = plugin.act(plugin._options(), {})
    return result


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "clusters/staging/secrets"),
        ({"sealed_secrets_folder": "clusters/staging/secrets"}, "clusters/staging/secrets"),
        ({"sealed_secrets_folder": "./clusters/staging/sealed/"}, "clusters/staging/sealed"),
    ],
)
def test_the_folder_of_sealed_secrets_has_a_stage_and_stays(
    tmp_path: Path, variables: dict[str, Any], folder: str
) -> None:
    run(tmp_path, sealed_secrets_secrets=[{"name": "db", "namespace": "shop"}], **variables)
    assert f"path: ./{folder}\n" in (tmp_path / "clusters/staging/stages.yaml").read_text()
    assert (tmp_path / folder / ".gitkeep").is_file()
    assert run(tmp_path, sealed_secrets_secrets=[{"name": "db", "namespace": "shop"}], **variables)["changed"] is False
    gone = run(tmp_path, sealed_secrets_secrets=[], **variables)
    assert (gone["changed"], gone["kept"]) == (False, [])


def test_the_sample_goes_when_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    hello = tmp_path / "clusters/staging/applications/hello.yaml"
    run(tmp_path)
    assert hello.is_file()
    told = run(tmp_path, check=True, gitops_repository_sample=False)
    assert hello.is_file()
    done = run(tmp_path, gitops_repository_sample=False)
    assert done["removed"] == told["removed"]
    assert "clusters/staging/applications/hello.yaml" in done["removed"]
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and "hello" in path.as_posix().split("clusters/")[-1]
    ]
    assert run(tmp_path, gitops_repository_sample=False)["changed"] is False
