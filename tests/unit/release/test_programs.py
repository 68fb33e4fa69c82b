# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates that programs answer: what they are given, and what becomes of their answer. cosign itself is in the integration tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import program
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.program import command
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.signature import signature
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import Rendered

NOTHING = Rendered({})
DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"


def image(name: str, **fields: str) -> Change:
    return Change("app", "production", "x.yaml", f"images[{name}]", (("newTag", "1"),), tuple(fields.items()))


def running(*images: str) -> Rendered:
    containers = [{"name": str(number), "image": one} for number, one in enumerate(images)]
    workload = {"kind": "Deployment", "spec": {"template": {"spec": {"containers": containers}}}}
    return Rendered({"Deployment app": workload})


class TestCommand:
    def test_it_gets_the_plan_and_refuses_by_its_status(self) -> None:
        assert command({"argv": ["grep", "-q", "images"]}, [], NOTHING).ok is False
        assert command({"argv": ["grep", "-q", "images"]}, [image("app", newTag="2")], NOTHING).ok
        assert command({"argv": ["sh", "-c", "echo no way >&2; exit 3"]}, [], NOTHING).detail == "no way"
        coloured = ["sh", "-c", r"printf '\033[31mFAIL\033[0m - root'; exit 1"]
        assert command({"argv": coloured}, [], NOTHING).detail == "FAIL - root"
        several = [["sh", "-c", "echo one; exit 1"], ["true"], ["sh", "-c", "echo two; exit 1"]]
        assert command({"argv": several}, [], NOTHING).detail == "one; two"

    def test_it_gets_the_manifests_where_it_asks_for_them(self, tmp_path: Path) -> None:
        argv = ["sh", "-c", f"cat > {tmp_path / 'given'}"]
        two = Rendered({"a": {"kind": "A"}, "b": {"kind": "B", "spec": {"x": "${VAR}"}}})
        assert command({"argv": argv, "stdin": "rendered"}, [], two).ok
        assert list(yaml.safe_load_all((tmp_path / "given").read_text())) == list(two.objects.values())

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            *(({"argv": wrong}, "wanted argv, a list, or a list") for wrong in (None, [], "true", [["true"], []])),
            ({"argv": ["true"], "stdin": "all"}, "stdin: wanted plan or rendered, found 'all'"),
        ],
    )
    def test_what_is_wrong_is_told(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ReleaseError, match=message):
            command(options, [], NOTHING)

    def test_of_a_program_that_does_not_answer_nobody_knows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other gates' answers must not be lost with it."""
        monkeypatch.setattr(program, "_SECONDS", 0.2)
        (tmp_path / "plain").write_text("no program")
        for argv, wanted in (
            (["nope-nope"], "wanted the program nope-nope, found none"),
            (["sleep", "60"], "sleep did not end within 0.2 s"),
            ([str(tmp_path / "plain")], f"{tmp_path / 'plain'} cannot be run: "),
        ):
            found = command({"argv": [["true"], argv]}, [], NOTHING)
            assert found.ok is None
            assert found.detail.startswith(wanted)
        refused = [["nope-nope"], ["sh", "-c", "echo no way; exit 1"]]
        assert command({"argv": refused}, [], NOTHING) == Verdict(False, "no way")

    def test_words_that_are_no_text_are_heard_as_far_as_they_can_be(self) -> None:
        said = command({"argv": ["sh", "-c", r"printf 'r\351sum\351 no'; exit 1"]}, [], NOTHING)
        assert said == Verdict(False, "r\ufffdsum\ufffd no")


class TestSignature:
    @pytest.fixture
    def asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Put a cosign on the path that knows no signature of what is called unsigned; return where it writes its arguments."""
        program = tmp_path / "cosign"
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path / "asked"}\n'
            'case "$*" in *unsigned*) printf "Error: no signatures found\\nmain.go:69: error during command" >&2; exit 10;; esac\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return tmp_path / "asked"

    def ask(self, *changes: Change, before: Rendered = NOTHING, after: Rendered = NOTHING, **options: Any) -> Verdict:
        known = {("ghcr.io/x/app", "3"): OTHER}
        return signature({"key": "cosign.pub", **options}, changes, before, after, lambda *what: known.get(what))

    def test_an_image_is_verified_by_its_digest(self, asked: Path) -> None:
        assert self.ask(image("ghcr.io/x/app", newTag="2", digest=DIGEST)) == Verdict(True)
        assert self.ask(image("ghcr.io/x/app", newTag="3")) == Verdict(True)
        assert self.ask(image("app", newName="quay.io/y/app", newTag="4")) == Verdict(True)
        assert asked.read_text().splitlines() == [
            f"verify --key cosign.pub ghcr.io/x/app@{DIGEST}",
            f"verify --key cosign.pub ghcr.io/x/app@{OTHER}",
            "verify --key cosign.pub quay.io/y/app:4",
        ]

    def test_what_the_workloads_would_newly_run_is_verified_too(self, asked: Path) -> None:
        before = running("ghcr.io/x/app:1", "ghcr.io/x/side:1")
        after = running(f"ghcr.io/x/app:2@{DIGEST}", "ghcr.io/x/side:1", "ghcr.io/x/unsigned:9")
        verdict = self.ask(image("ghcr.io/x/app", newTag="2", digest=DIGEST), before=before, after=after)
        assert verdict == Verdict(False, "ghcr.io/x/unsigned:9: no signatures found")
        assert len(asked.read_text().splitlines()) == 2

    def test_of_an_image_with_a_variable_nobody_knows(self, asked: Path) -> None:
        before, after = running("ghcr.io/x/app:${TAG}"), running("ghcr.io/x/app:${TAG}", "ghcr.io/x/side:1")
        said = "ghcr.io/x/app:${TAG}: its variable is set in the cluster, it was not verified"
        assert self.ask(after=before) == Verdict(None, said)
        assert self.ask(before=before, after=after) == Verdict(None, said)
        assert asked.read_text() == "verify --key cosign.pub ghcr.io/x/side:1\n"
        assert self.ask(before=before, after=before) == Verdict(True)
        refused = self.ask(before=before, after=running("ghcr.io/x/app:${TAG}", "ghcr.io/x/unsigned:9"))
        assert refused == Verdict(False, "ghcr.io/x/unsigned:9: no signatures found")

    def test_a_chart_is_told_not_to_be_verified(self, asked: Path) -> None:
        chart = Change("app", "production", "x.yaml", "HelmRelease/app chart", (("version", "1"),), (("version", "2"),))
        verdict = self.ask(chart)
        assert verdict.ok
        assert verdict.detail == "images that come with HelmRelease/app chart are in no manifest, and are not verified"
        assert not asked.exists()

    def test_keyless_and_further_arguments(self, asked: Path) -> None:
        one = image("ghcr.io/x/app", digest=DIGEST)
        options: dict[str, Any] = {"key": "", "identity": "^https://github.com/x/", "issuer": "https://token.example"}
        assert self.ask(one, **options, arguments=["--allow-http-registry"]).ok
        wanted = "verify --certificate-identity-regexp ^https://github.com/x/ --certificate-oidc-issuer https://token.example"
        assert asked.read_text() == f"{wanted} --allow-http-registry ghcr.io/x/app@{DIGEST}\n"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"key": ""}, "wanted key, or identity and issuer"),
            ({"key": "", "identity": "x"}, "wanted key, or identity and issuer"),
            ({"arguments": "--x"}, "arguments: wanted a list, found '--x'"),
        ],
    )
    def test_wrong_options_are_told(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ReleaseError, match=message):
            self.ask(**options)

    def test_where_cosign_does_not_answer_nobody_knows(self, asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(program, "_SECONDS", 0.2)
        (asked.parent / "cosign").write_text(
            '#!/bin/sh\ncase "$*" in *unsigned*) echo "Error: none" >&2; exit 1;; esac\nexec sleep 60\n'
        )
        slow, unsigned = image("ghcr.io/x/slow", newTag="1"), image("ghcr.io/x/unsigned", newTag="1")
        assert self.ask(slow) == Verdict(None, "ghcr.io/x/slow:1: cosign did not end within 0.2 s")
        assert self.ask(slow, unsigned) == Verdict(False, "ghcr.io/x/unsigned:1: none")

    def test_without_cosign_nobody_knows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        verdict = self.ask(image("ghcr.io/x/app", digest=DIGEST))
        assert verdict.ok is None
        assert "wanted the program cosign, found none" in verdict.detail
