# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated files follow their templates until somebody changes them; what looks like a secret is refused by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import scaffold
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = {
    path.relative_to(ROOT / "roles/gitops_repository/templates/repository").as_posix(): path.read_text()
    for path in (ROOT / "roles/gitops_repository/templates/repository").rglob("*.j2")
}
STAGING = scaffold.Environment("staging", "staging.example.com")
PRODUCTION = scaffold.Environment("production", "example.com", replicas=3, limits={"memory": "64Mi"})
IMAGE = "docker.io/library/busybox:1.35.0"


def render(*environments: scaffold.Environment, present: dict[str, bytes] | None = None) -> dict[str, bytes]:
    return scaffold.render(SHIPPED, environments or (STAGING, PRODUCTION), present or {}, {"sample_image": IMAGE})


def documents(files: dict[str, bytes], path: str) -> list[Any]:
    return [item for item in yaml.safe_load_all(files[path]) if item]


def test_every_file_is_yaml_and_every_resource_is_there() -> None:
    files = render()
    for path, text in files.items():
        if not path.endswith(".yaml"):
            continue
        for item in yaml.safe_load_all(text):
            assert item["apiVersion"], path
        if path.endswith("kustomization.yaml"):
            kustomization = yaml.safe_load(text)
            for name in [*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", []))]:
                target = (ROOT / Path(path).parent / name).resolve().relative_to(ROOT.resolve()).as_posix()
                assert target in files or f"{target}/kustomization.yaml" in files, f"{path} names {name}"


def test_stages_follow_each_other_and_are_ready_when_what_they_apply_is() -> None:
    stages = documents(render(), "clusters/staging/stages.yaml")
    assert [stage["metadata"]["name"] for stage in stages] == ["infrastructure", "monitoring", "applications"]
    assert [stage["spec"].get("dependsOn") for stage in stages] == [
        None,
        [{"name": "infrastructure"}],
        [{"name": "monitoring"}],
    ]
    assert [stage["spec"]["wait"] for stage in stages] == [True, True, True]
    for stage in stages:
        assert stage["spec"]["prune"] is True
        assert stage["spec"]["timeout"]
        assert stage["spec"]["retryInterval"]
        assert stage["spec"]["postBuild"]["substituteFrom"] == [{"kind": "ConfigMap", "name": "environment"}]
        assert stage["spec"]["path"] == f"./clusters/staging/{stage['metadata']['name']}"


def test_an_environment_with_sealed_secrets_has_a_stage_for_them_and_keeps_it() -> None:
    path = "clusters/staging/stages.yaml"
    variables = {"sample_image": IMAGE}
    first = scaffold.render(
        SHIPPED, (STAGING, PRODUCTION), {}, variables, sealing={"staging": "clusters/staging/secrets"}
    )
    (secrets,) = [stage for stage in documents(first, path) if stage["metadata"]["name"] == "secrets"]
    assert secrets["spec"]["path"] == "./clusters/staging/secrets"
    assert "dependsOn" not in secrets["spec"]
    assert all({"name": "secrets"} not in (stage["spec"].get("dependsOn") or []) for stage in documents(first, path))
    assert len(documents(first, "clusters/production/stages.yaml")) == 3
    # another environment's inventory says nothing of this one's secrets
    later = scaffold.render(
        SHIPPED, (STAGING, PRODUCTION), first, variables, sealing={"production": "clusters/production/secrets"}
    )
    assert later[path] == first[path]
    assert len(documents(later, "clusters/production/stages.yaml")) == 4


def test_the_folder_of_sealed_secrets_is_there_when_the_last_secret_is_gone() -> None:
    """Flux cannot apply a path that is not in Git."""
    variables = {"sample_image": IMAGE}
    keep = "clusters/staging/secrets/.gitkeep"
    assert keep not in render()
    first = scaffold.render(SHIPPED, [STAGING], {}, variables, sealing={"staging": "clusters/staging/secrets"})
    assert keep in first
    assert keep in scaffold.files_to_read(SHIPPED, [STAGING])
    without_it = {path: text for path, text in first.items() if path != keep}
    again = scaffold.render(SHIPPED, [STAGING], without_it, variables)
    assert again == first, "also where the stage was generated before there was such a file"


def test_the_stage_of_sealed_secrets_follows_their_folder() -> None:
    variables = {"sample_image": IMAGE}
    sealing = {"staging": "clusters/shared/sealed-1.0"}
    files = scaffold.render(SHIPPED, [STAGING], {}, variables, sealing=sealing)
    assert documents(files, "clusters/staging/stages.yaml")[-1]["spec"]["path"] == "./clusters/shared/sealed-1.0"
    keep = "clusters/shared/sealed-1.0/.gitkeep"
    assert keep in files
    assert keep in scaffold.files_to_read(SHIPPED, [STAGING], sealing)
    # another environment's inventory does not know the folder, and reads nothing in it
    later = scaffold.render(SHIPPED, [STAGING], files, variables)
    assert later == {path: text for path, text in files.items() if path != keep}
    moved = scaffold.render(SHIPPED, [STAGING], files, variables, sealing={"staging": "clusters/staging/secrets"})
    assert documents(moved, "clusters/staging/stages.yaml")[-1]["spec"]["path"] == "./clusters/staging/secrets"


@pytest.mark.parametrize(
    "folder",
    [
        "sealed/staging",
        "clusters",
        "clusters/staging",
        "clusters/staging/applications",
        "clusters/a b",
        "clusters/../x",
    ],
)
def test_a_folder_that_flux_cannot_follow_by_itself_gets_no_stage(folder: str) -> None:
    variables = {"sample_image": IMAGE}
    sealing = {"staging": folder}
    files = scaffold.render(SHIPPED, [STAGING], {}, variables, sealing=sealing)
    assert len(documents(files, "clusters/staging/stages.yaml")) == 3
    assert not any(path.endswith(".gitkeep") for path in files)
    there = scaffold.render(SHIPPED, [STAGING], {}, variables, sealing={"staging": "clusters/staging/secrets"})
    assert scaffold.render(SHIPPED, [STAGING], there, variables, sealing=sealing) == there, (
        "what is left there is pruned"
    )


def test_environments_differ_in_what_is_theirs() -> None:
    files = render()
    production = yaml.safe_load(files["clusters/production/applications/hello.yaml"])
    assert production["spec"]["replicas"] == 3
    resources = production["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}
    (variables,) = documents(files, "clusters/staging/environment.yaml")
    assert variables["data"] == {"ENVIRONMENT": "staging", "DOMAIN": "staging.example.com"}


def test_an_environment_is_an_entry() -> None:
    more = render(STAGING, PRODUCTION, scaffold.Environment("qa", "qa.example.com"))
    added = set(more) - set(render())
    assert added == {path.replace("staging", "qa") for path in more if "staging" in path}


def test_the_file_of_variables_belongs_to_its_readers() -> None:
    present = {".env.staging": b"# mine\nexport DOMAIN='own.example.com' # here\nTIER=\"a b\"\nEMPTY=\n"}
    files = render(STAGING, present=present)
    (variables,) = documents(files, "clusters/staging/environment.yaml")
    assert variables["data"] == {"DOMAIN": "own.example.com", "TIER": "a b", "EMPTY": ""}
    chosen = scaffold.plan(files, present)
    assert ".env.staging" not in chosen.changes


def test_another_domain_arrives_where_nobody_changed_the_variables() -> None:
    first = render(STAGING, PRODUCTION)
    repository = after(first, scaffold.plan(first, {}))
    moved = [scaffold.Environment(name, f"{name}.example.org") for name in ("staging", "production")]

    def run(present: dict[str, bytes]) -> scaffold.Plan:
        files = scaffold.render(SHIPPED, moved, present, {"sample_image": IMAGE}, ["staging"])
        return scaffold.plan(files, present, ["staging"])

    chosen = run(repository)
    again = after(repository, chosen)
    assert b"DOMAIN=staging.example.org\n" in again[".env.staging"]
    assert b'DOMAIN: "staging.example.org"' in again["clusters/staging/environment.yaml"]
    (kept,) = [file for file in chosen.files if file.action == "keep"]
    assert (kept.path, kept.reason) == (".env.production", "yours to edit"), "another inventory says what its domain is"
    assert "clusters/production/environment.yaml" not in chosen.changes
    assert run(again).changes == {}

    mine = {**repository, ".env.staging": repository[".env.staging"] + b"TIER=1\n"}
    chosen = run(mine)
    assert ".env.staging" not in chosen.changes
    assert ".env.staging" in {file.path for file in chosen.files if file.action == "keep"}
    values = after(mine, chosen)["clusters/staging/environment.yaml"]
    assert b'DOMAIN: "staging.example.com"' in values
    assert b'TIER: "1"' in values


def test_a_size_that_the_scaffold_does_not_know_is_a_variable_of_its_own() -> None:
    """Retention, as the operator guide has it: monitoring is the user's own, and takes it by ${RETENTION}."""
    kept = {"staging": "7d", "production": "30d"}
    files = render(present={f".env.{name}": f"DOMAIN=x\nRETENTION={days}\n".encode() for name, days in kept.items()})
    for name, days in kept.items():
        (variables,) = documents(files, f"clusters/{name}/environment.yaml")
        assert variables["data"]["RETENTION"] == days
        monitoring = [
            one for one in documents(files, f"clusters/{name}/stages.yaml") if one["metadata"]["name"] == "monitoring"
        ]
        named = {"kind": "ConfigMap", "name": variables["metadata"]["name"]}
        assert named in monitoring[0]["spec"]["postBuild"]["substituteFrom"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("DB_PASSWORD=hunter2", r"\.env\.staging:2: DB_PASSWORD looks like a secret"),
        ("API_KEY=1", "API_KEY looks like a secret"),
        ("apiToken=1", "apiToken looks like a secret"),
        ("CLIENT_SECRET=1", "CLIENT_SECRET looks like a secret"),
        ("DATABASE_URL=postgres://ada:hunter2@db/x", "DATABASE_URL looks like a secret.*SealedSecret, or into OpenBao"),
        ("CERT=-----BEGIN RSA PRIVATE KEY-----", "CERT looks like a secret"),
        ("just words", r"\.env\.staging:2: wanted NAME=value"),
        ("1X=1", "wanted NAME=value"),
        ("A=2", r"\.env\.staging:2: A stands twice"),
    ],
)
def test_lines_that_do_not_belong_there_are_named_without_their_values(line: str, said: str) -> None:
    with pytest.raises(FluxError, match=said) as caught:
        scaffold.parse_variables(f"A=1\n{line}\n", ".env.staging")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "line", ["MONKEY=1", "KEYBOARD=us", "COMPASS=1", "DOMAIN=x", "URL=https://example.com/a", "PASSENGERS=4"]
)
def test_harmless_names_are_harmless(line: str) -> None:
    assert len(scaffold.parse_variables(line, "x")) == 1


def test_all_problems_of_all_environments_are_told_at_once() -> None:
    bad = {".env.staging": b"TOKEN=1\n", ".env.production": b"x y\n"}
    with pytest.raises(FluxError) as caught:
        render(present=bad)
    assert ".env.staging:1" in str(caught.value)
    assert ".env.production:1" in str(caught.value)
    with pytest.raises(FluxError) as caught:
        scaffold.check([scaffold.Environment("base", "x"), scaffold.Environment("Q A", ""), STAGING, STAGING])
    assert str(caught.value).count("\n- ") == 4
    with pytest.raises(FluxError, match="there is no environment"):
        scaffold.check([])


def test_flux_is_named_once_it_is_there_or_about_to_be() -> None:
    path = "clusters/staging/kustomization.yaml"
    assert b"flux-system" not in render(STAGING)[path]
    there = render(STAGING, present={"clusters/staging/flux-system/kustomization.yaml": b"x"})[path]
    about = scaffold.render(SHIPPED, [STAGING], {}, {"sample_image": ""}, ["staging"])[path]
    assert there == about
    assert yaml.safe_load(there)["resources"][0] == "flux-system"


def test_a_template_that_cannot_be_rendered_is_named() -> None:
    with pytest.raises(FluxError, match=r"template root/x\.j2: 'nothing' is undefined"):
        scaffold.render({"root/x.j2": "{{ nothing }}", "env.j2": ""}, [STAGING], {}, {})


OLD, NEW, MINE = b"old\n", b"new\n", b"mine\n"


def record(**files: bytes) -> bytes:
    text = scaffold.plan(files, files).changes[scaffold.RECORD]
    assert text is not None
    return text


@pytest.mark.parametrize(
    ("present", "action", "reason"),
    [
        ({}, "create", ""),
        ({"f": OLD, scaffold.RECORD: record(f=OLD)}, "update", ""),
        ({"f": MINE, scaffold.RECORD: record(f=OLD)}, "keep", "you changed it"),
        ({scaffold.RECORD: record(f=OLD)}, "keep", "you removed it"),
        ({"f": MINE}, "keep", "not generated here"),
    ],
)
def test_what_becomes_of_a_file(present: dict[str, bytes], action: str, reason: str) -> None:
    chosen = scaffold.plan({"f": NEW}, present)
    (file,) = chosen.files
    assert (file.action, file.reason) == (action, reason)
    assert ("f" in chosen.changes) == (action != "keep")
    assert "+new" in file.diff()
    assert ("kept" in file.diff()) == (action == "keep")


def test_a_record_that_cannot_be_read_is_no_licence_to_overwrite() -> None:
    for text in (b"{", b'{"schema": 2, "files": {}}', b"[]"):
        with pytest.raises(FluxError, match=r"scaffold\.json cannot be read"):
            scaffold.plan({"f": NEW}, {scaffold.RECORD: text})


LOOKED = scaffold.files_to_read(SHIPPED, [STAGING, PRODUCTION])
HELLO = {path for path in LOOKED if "/applications/hello" in path}


def generated(sample: bool) -> dict[str, bytes]:
    """What the action has rendered, with the sample or without it."""
    files = scaffold.render(SHIPPED, [STAGING, PRODUCTION], {}, {"sample_image": IMAGE if sample else ""})
    return {path: text for path, text in files.items() if sample or path not in HELLO}


def after(repository: dict[str, bytes], chosen: scaffold.Plan) -> dict[str, bytes]:
    merged = {**repository, **chosen.changes}
    return {path: text for path, text in merged.items() if text is not None}


def test_what_is_not_generated_any_more_goes_unless_somebody_changed_it() -> None:
    repository = after({}, scaffold.plan(generated(sample=True), {}))
    assert len(HELLO) == 6
    chosen = scaffold.plan(generated(sample=False), repository, (), LOOKED)
    assert {file.path for file in chosen.files if file.action == "remove"} == HELLO
    removed = after(repository, chosen)
    assert set(removed) == {*generated(sample=False), scaffold.RECORD}
    assert scaffold.plan(generated(sample=False), removed, (), LOOKED).changes == {}
    assert after(removed, scaffold.plan(generated(sample=True), removed, (), LOOKED)) == repository, "and comes back"

    mine = {**repository, "clusters/staging/applications/hello.yaml": MINE}
    chosen = scaffold.plan(generated(sample=False), mine, (), LOOKED)
    assert {path for path, text in chosen.changes.items() if text is None} == HELLO - {
        "clusters/staging/applications/hello.yaml"
    }
    local = scaffold.files_to_read(SHIPPED, [STAGING])
    only = {path: text for path, text in generated(sample=False).items() if "production" not in path}
    chosen = scaffold.plan(only, repository, (), local)
    assert not any("production" in path for path, text in chosen.changes.items() if text is None)


@pytest.mark.parametrize(
    ("kustomization", "text", "stay"),
    [
        ("clusters/base/applications/kustomization.yaml", b"resources: [hello, mine]\n", 4),
        ("clusters/staging/applications/kustomization.yaml", b"resources: [mine]\npatches: [{path: hello.yaml}]\n", 1),
        ("clusters/staging/applications/kustomization.yaml", b"resources: [../../base/applications/hello]\n", 4),
        ("clusters/staging/applications/kustomization.yaml", b"resources: [../../base/applications]\n", 0),
    ],
)
def test_what_a_changed_kustomization_names_stays(kustomization: str, text: bytes, stay: int) -> None:
    repository = after({}, scaffold.plan(generated(sample=True), {})) | {kustomization: text}
    chosen = scaffold.plan(generated(sample=False), repository, (), LOOKED)
    kept = [file for file in chosen.files if file.action == "keep" and file.path in HELLO]
    assert len(kept) == stay
    assert {file.reason for file in kept} <= {f"{kustomization}, which is yours, names it"}
    assert HELLO & set(after(repository, chosen)) == {file.path for file in kept}
    assert scaffold.plan(generated(sample=False), after(repository, chosen), (), LOOKED).changes == {}


def test_a_removal_that_was_cut_short_is_finished_and_forgotten() -> None:
    """The record is written last."""
    repository = after({}, scaffold.plan(generated(sample=True), {}))
    chosen = scaffold.plan(generated(sample=False), repository, (), LOOKED)
    steps = sorted(chosen.changes.items(), key=lambda item: item[0] == scaffold.RECORD)
    for count in range(len(steps)):
        cut = after(repository, scaffold.Plan((), dict(steps[:count])))
        assert after(cut, scaffold.plan(generated(sample=False), cut, (), LOOKED)) == after(repository, chosen)


contents = st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=3))


@given(contents, contents, contents)
def test_a_second_run_changes_nothing_and_nobodys_work_is_lost(
    first: dict[str, bytes], edits: dict[str, bytes], second: dict[str, bytes]
) -> None:
    repository = {**after({}, scaffold.plan(first, {})), **edits}
    chosen = scaffold.plan(second, repository, (), "abcd")
    for path, text in edits.items():
        if first.get(path) != text:
            assert path not in chosen.changes
    repository = after(repository, chosen)
    assert scaffold.plan(second, repository, (), "abcd").changes == {}
    if scaffold.RECORD in repository:
        json.loads(repository[scaffold.RECORD])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_the_same_yaml_string_again(text: str) -> None:
    written = scaffold.yaml_string(text)
    assert yaml.safe_load(written) == text
    # go-yaml, which kustomize reads with, refuses escapes of surrogates
    assert not any(f"\\ud{digit}" in written.replace("\\\\", "") for digit in "89abcdef")
