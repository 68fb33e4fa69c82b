# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the gate, each on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check import graph, json_patch, strategic_merge
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.documents import line_of, parse
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError, UnsupportedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.flux_objects import Unit
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.schemas import Schemas, crd_schemas
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.substitution import UNKNOWN, substitute
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.tree import Tree
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.unit import UnitCheck, variables
from hypothesis import given
from hypothesis import strategies as st

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class _QuotingDumper(yaml.SafeDumper):
    """Quotes all text: PyYAML leaves some plain that YAML 1.2 reads as a number, such as 0E0."""


_QuotingDumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, '"'))

VALUES = {"NAME": "web", "COUNT": "3", "ON": "yes", "EMPTY": "", "MAP": "{a: 1}", "HIDDEN": UNKNOWN}


class TestDocuments:
    @given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=4))
    def test_what_was_written_is_read(self, value: Any) -> None:
        text = yaml.dump(value, Dumper=_QuotingDumper, allow_unicode=True, sort_keys=False)
        documents, problems = parse(text.encode(errors="surrogatepass"))
        if not problems:
            assert [document.value for document in documents] == [yaml.safe_load(text)]

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("yes", "yes"),
            ("True", True),
            ("~", None),
            ("0777", 511),
            ("0o17", 15),
            ("0b11", 3),
            ("08", 8),
            ("1_000", 1000),
            ("1e3", 1000),
            ("0E0", 0),
            (".5", 0.5),
            ("1:30", "1:30"),
            ("1.2.3", "1.2.3"),
            ("'1'", "1"),
            ("!!str 1", "1"),
            ("2020-01-01", "2020-01-01"),
        ],
    )
    def test_scalars_are_what_kustomize_takes_them_for(self, text: str, value: Any) -> None:
        ((document,), problems) = parse(f"a: {text}\n".encode())
        assert document.value == {"a": value}
        assert type(document.value["a"]) is type(value)
        assert problems == []

    def test_merge_keys_and_aliases_are_followed(self) -> None:
        ((document,), _) = parse(b"a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
        assert document.value["b"] == {"x": 1, "y": 3}

    def test_aliases_that_multiply_are_refused(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
        _, problems = parse("\n".join(lines).encode())
        assert [problem.rule for problem in problems] == ["yaml-syntax"]

    def test_lines_are_those_of_the_value(self) -> None:
        text = b"a: 1\n---\nb:\n  c:\n    - name: x\n      d: 1\n    - name: y\n      d: 2\n"
        assert line_of(text, 1, ("b", "c", "y", "d")) == 8
        assert line_of(text, 1, ("b", "c", 0, "d")) == 6
        assert line_of(text, 1, ("b", "gone", "d")) == 3


class TestSubstitution:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("${NAME}", "web"),
            ("a-${NAME}-b", "a-web-b"),
            ("${COUNT}", 3),
            ("v${COUNT}", "v3"),
            ("${ON}", True),
            ("${MAP}", {"a": 1}),
            ("${GONE:-x}", "x"),
            ("${GONE:=1}", 1),
            ("${EMPTY:-x}", "x"),
            ("${GONE:-${NAME}}", "web"),
            ("$${NAME}", "${NAME}"),
            ("$NAME $(NAME)", "$NAME $(NAME)"),
            ("${NAME^^}", "WEB"),
            ("${NAME:1:1}", "e"),
            ("${NAME/w/W}", "Web"),
            ("${#NAME}", 3),
            ("line\n${COUNT}", "line\n3"),
            ("${HIDDEN}", UNKNOWN),
        ],
    )
    def test_replaces_as_the_controller_does(self, text: str, value: Any) -> None:
        assert substitute({"a": [text]}, VALUES) == ({"a": [value]}, [])

    @pytest.mark.parametrize(
        ("text", "name"),
        [("${GONE}", "GONE"), ("${GONE^}", "GONE"), ("x ${NAME} ${GONE:0:1}", "GONE"), ("${NAME:-${GONE}}", "GONE")],
    )
    def test_a_variable_without_a_value_is_reported(self, text: str, name: str) -> None:
        _, problems = substitute({"a": {"b": text}}, VALUES)
        assert [(one.path, one.name, one.message) for one in problems] == [(("a", "b"), name, "")]

    @pytest.mark.parametrize("text", ["${NAME", "${}", "${-x}", "${NAME!}", "${GONE-x}"])
    def test_what_cannot_be_read_is_reported(self, text: str) -> None:
        _, problems = substitute({"a": text}, VALUES)
        assert len(problems) == 1
        assert "$${" in problems[0].message

    @given(st.text(alphabet="ab{}:-= \n'\"", max_size=30))
    def test_text_without_variables_stays(self, text: str) -> None:
        assert substitute({"a": text}, VALUES) == ({"a": text}, [])


class TestStrategicMerge:
    def test_named_items_are_merged_and_new_ones_go_first(self) -> None:
        pod = {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}}
        patch = {"spec": {"containers": [{"name": "c"}, {"name": "b", "image": "2"}]}}
        merged = strategic_merge.merge(pod, patch, "", "Pod")
        assert merged == {
            "spec": {"containers": [{"name": "c"}, {"name": "b", "image": "2"}, {"name": "a", "image": "1"}]}
        }

    def test_lists_of_other_kinds_are_replaced(self) -> None:
        assert strategic_merge.merge({"spec": {"x": [1]}}, {"spec": {"x": [2]}}, "example.com", "A") == {
            "spec": {"x": [2]}
        }

    def test_directives_delete_and_replace(self) -> None:
        pod = {"spec": {"containers": [{"name": "a"}, {"name": "b"}], "x": {"y": 1}}}
        patch = {"spec": {"containers": [{"name": "a", "$patch": "delete"}], "x": {"$patch": "replace", "z": 2}}}
        assert strategic_merge.merge(pod, patch, "", "Pod") == {"spec": {"containers": [{"name": "b"}], "x": {"z": 2}}}
        assert strategic_merge.merge(pod, {"$patch": "delete"}, "", "Pod") is None

    def test_what_is_not_sure_is_left_to_the_program(self) -> None:
        pod = {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}}
        patch = {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}]}]}}
        with pytest.raises(UnsupportedError, match="containerPort and protocol"):
            strategic_merge.merge(pod, patch, "", "Pod")

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(BuildError, match=r"a list at spec, where the object has a mapping"):
            strategic_merge.merge({"spec": {}}, {"spec": []}, "", "Pod")


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"op": "remove", "path": "/a/c"}, "wants to change /a/c"),
        ({"op": "replace", "path": "/l/5", "value": 1}, "wants to change /l/5"),
        ({"op": "test", "path": "/a/b", "value": 2}, "the test of /a/b"),
        ({"op": "add", "path": "/a"}, "has no value"),
        ({"op": "put", "path": "/a"}, "is no operation"),
    ],
)
def test_json_patches_that_do_not_fit_are_refused(operation: Any, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        json_patch.apply({"a": {"b": 1}, "l": [1]}, [operation])


class TestSchemas:
    def errors(self, content: dict[str, Any], custom: Any = None) -> list[str]:
        group, _, version = content["apiVersion"].rpartition("/")
        found = Schemas("1.36.3", custom or {}).check((group, version, content["kind"]), content)
        assert found is not None
        return [f"{'.'.join(map(str, path))}: {message}" for path, message in found]

    def test_fields_and_types_of_kubernetes(self) -> None:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "a", "label": {}},
            "spec": {"ports": [{"port": "80"}]},
        }
        assert self.errors(service) == [
            "metadata.label: there is no field label. Write labels",
            "spec.ports.0.port: wanted a whole number, found the text '80'. Remove the quotes",
        ]

    def test_what_is_not_known_is_not_judged(self) -> None:
        assert self.errors({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": UNKNOWN}]}}) == []

    def test_a_definition_of_the_repository(self) -> None:
        schema = {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "required": ["size"],
                    "properties": {
                        "size": {"type": "integer", "minimum": 1},
                        "port": {
                            "x-kubernetes-int-or-string": True,
                            "anyOf": [{"type": "integer"}, {"type": "string"}],
                        },
                        "mode": {"type": "string", "enum": ["a", "b"]},
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                }
            },
        }
        crd = {
            "spec": {
                "group": "x.io",
                "names": {"kind": "A"},
                "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}],
            }
        }
        custom = crd_schemas(crd)
        wrong = {
            "apiVersion": "x.io/v1",
            "kind": "A",
            "spec": {"size": 0, "port": [], "mode": "c", "free": {"x": 1}, "zzz": 1},
        }
        assert self.errors(wrong, custom) == [
            "spec.size: 0 is less than 1",
            "spec.port: wanted a number or text, found a list",
            "spec.mode: 'c' is none of a, b",
            "spec.zzz: there is no field zzz. Known here: free, mode, port, size",
        ]
        assert self.errors({"apiVersion": "x.io/v1", "kind": "A", "spec": {}}, custom) == [
            "spec: the field size is missing. Add it"
        ]


def node(name: str, *needs: str, kind: str = "Kustomization") -> graph.Node:
    return graph.Node(
        kind,
        "flux-system",
        name,
        f"{name}.yaml",
        1,
        "GitRepository a/b",
        tuple(("flux-system", one, 7) for one in needs),
    )


class TestGraph:
    def test_each_circle_is_found_once(self) -> None:
        nodes = [node("a", "b"), node("b", "c"), node("c", "a"), node("d", "d"), node("e", "a")]
        found = graph.cycles(nodes)
        assert [finding.file for finding in found] == ["a.yaml", "d.yaml"]
        assert (
            "flux-system/a (a.yaml:1) -> flux-system/b (b.yaml:1) -> flux-system/c (c.yaml:1) -> flux-system/a"
            in found[0].message
        )

    def test_a_long_chain_is_none(self) -> None:
        assert graph.cycles([node(str(number), str(number + 1)) for number in range(5000)]) == []

    def test_kinds_do_not_depend_on_each_other(self) -> None:
        nodes = [node("a", "b"), node("b", kind="HelmRelease")]
        assert [finding.line for finding in graph.missing_dependencies(nodes)] == [7]


class TestUnit:
    def run(self, root: Path, spec: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
        unit = Unit("flux-system", "app", "app", spec, "app.yaml", 1, 0)
        values, missing = variables(unit, {})
        result = UnitCheck(Tree(root), Schemas("1.36", {})).run(unit, values, missing)
        return [finding.text() for finding in result.findings], result.objects

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "app" / "sub").mkdir(parents=True)
        (tmp_path / "component").mkdir()
        (tmp_path / "app.yaml").write_text("spec:\n  patches:\n    - patch: x\n")
        (tmp_path / "app" / "a.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n")
        (tmp_path / "app" / "sub" / "b.yml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n")
        (tmp_path / "component" / "kustomization.yaml").write_text("kind: Component\nnameSuffix: -c\n")
        return tmp_path

    def test_a_directory_without_a_kustomization_is_all_its_yaml(self, root: Path) -> None:
        spec = {"targetNamespace": "apps", "namePrefix": "p-", "components": ["../component"]}
        findings, objects = self.run(root, spec)
        assert findings == []
        assert [one[2:5] for one in objects] == [["ConfigMap", "apps", "p-a-c"], ["ConfigMap", "apps", "p-b-c"]]

    @pytest.mark.parametrize(
        "kustomization",
        [
            "configMapGenerator: [{name: x, envs: 1}]",
            "configMapGenerator: [{name: x, options: 1}]",
            "resources: [a.yaml]\nimages: [{name: a}]\npatches: [{patch: 1}]",
            "resources: [a.yaml]\npatches: [{target: {name: '('}, patch: '{a: 1}'}]",
            "resources: [a.yaml]\nreplicas: [1]",
            "resources: [1]",
            "resources: {}",
        ],
    )
    def test_odd_shapes_are_reported(self, root: Path, kustomization: str) -> None:
        (root / "app" / "kustomization.yaml").write_text(kustomization)
        assert self.run(root, {})[0]

    def test_fields_are_found_whatever_their_capitals(self, root: Path) -> None:
        (root / "app" / "kustomization.yaml").write_text("Resources: [a.yaml]\nnameprefix: p-\n")
        findings, objects = self.run(root, {})
        assert ([one[4] for one in objects], findings) == (["p-a"], [])

    @pytest.mark.parametrize(
        ("lines", "left"),
        [
            ("# none of these\nsub/\n", ["a"]),
            ("/sub/\n", ["a", "b"]),
            ("/app/*.yml\n", ["a", "b"]),
            ("/app/**/*.yml\n", ["a"]),
            ("**/sub/**\n", ["a"]),
            ("app/s?b\n", ["a"]),
            ("b.yml/\n", ["a", "b"]),
            ("*.yml\n", ["a"]),
            ("/*\n!/app/\n", ["a", "b"]),
            ("/*\n!/app/sub/\n", ["b"]),
            ("/*\n!app/*/b.yml\n", ["b"]),
            ("!/app/\n/*/sub\n", ["a"]),
        ],
    )
    def test_ignored_files_are_left_out_as_flux_does_it(self, root: Path, lines: str, left: list[str]) -> None:
        (root / ".sourceignore").write_text(lines)
        findings, objects = self.run(root, {})
        assert ([one[4] for one in objects], findings) == (left, [])

    def test_a_directory_whose_kustomization_is_ignored_has_none(self, root: Path) -> None:
        (root / "app" / "sub" / "kustomization.yaml").write_text("resources: [b.yml]\nnamePrefix: x-\n")
        (root / ".sourceignore").write_text("kustomization.yaml\n")
        assert [one[4] for one in self.run(root, {})[1]] == ["a", "b"]

    def test_a_place_of_which_everything_is_ignored_is_told(self, root: Path) -> None:
        (root / "app.yaml").write_text("spec:\n  path: ./app\n")
        (root / ".sourceignore").write_text("/*\n")
        findings, objects = self.run(root, {"path": "./app"})
        assert objects == []
        assert findings == [
            "app.yaml:2: warning: Kustomization flux-system/app builds app, and .sourceignore leaves out every YAML file in it,"
            " so nothing of it is applied. Take it in again by a line that begins with !, or remove the Kustomization [path-ignored]"
        ]
        (root / "app" / "a.yaml").unlink()
        (root / "app" / "sub" / "b.yml").unlink()
        assert self.run(root, {"path": "./app"}) == ([], []), "nothing is there that could be meant"

    def test_a_patch_that_does_not_fit_is_reported_where_it_is_written(self, root: Path) -> None:
        patch = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: gone\n"
        findings, _ = self.run(root, {"patches": [{"patch": patch}]})
        assert findings == [
            "app.yaml:3: error: the patch cannot be applied: no object is called ConfigMap gone (v1)."
            " Correct its name, or add a target [patch-failed]"
        ]

    def test_patches_and_common_metadata_are_checked_with_the_objects(self, root: Path) -> None:
        patch = "- op: add\n  path: /data\n  value: {a: 1}\n"
        findings, _ = self.run(
            root,
            {
                "patches": [{"patch": patch, "target": {"name": "a"}}],
                "commonMetadata": {"labels": {"x": "${gone}"}},
                "postBuild": {"substitute": {"y": "1"}},
            },
        )
        assert [finding.split(" ", 1)[0] for finding in findings] == [
            "app.yaml:3:",
            "app/a.yaml:3:",
            "app/sub/b.yml:3:",
        ]
        assert "data.a: wanted text, found the number 1. Quote it" in findings[0] + findings[1]
