# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.kube_apply; the module of the same name holds the documentation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import apply, manifests
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube._action import KubeAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import API_ACCESS_OPTIONS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, mapping
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class ActionModule(KubeAction):
    """Bring objects to the declared state by server-side apply."""

    argument_spec = ArgumentSpec(
        options={
            "manifests": {"type": "list", "elements": "raw", "default": []},
            "src": {"type": "list", "elements": "path", "default": []},
            "field_manager": {"type": "str", "default": "stagecraft.gitops"},
            "force": {"type": "bool", "default": False},
            "preflight": {"type": "bool", "default": True},
            "inventory": {
                "type": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "namespace": {"type": "str", "required": True},
                },
            },
            "prune": {"type": "bool", "default": False},
            "never_prune": {"type": "list", "elements": "str", "default": list(apply.PROTECTED)},
            **API_ACCESS_OPTIONS,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Plan against the live objects; apply unless in check mode."""
        start = time.monotonic()
        if not options["manifests"] and not options["src"]:
            raise KubeError("nothing to apply: give manifests or src")
        objects = manifests.parse([*options["manifests"], *_read(options["src"])])
        named = options["inventory"]
        if options["prune"] and not named:
            raise KubeError("prune needs an inventory: it removes only what the inventory says was applied before")
        wanted = apply.Options(
            manager=options["field_manager"],
            force=options["force"],
            preflight=options["preflight"] or self.check_mode,
            inventory=Ref("", "ConfigMap", named["namespace"], named["name"]) if named else None,
            prune=options["prune"],
            protected=tuple(options["never_prune"]),
        )
        access = self.access(options, task_vars)
        try:
            with Session(access) as session:
                applier = apply.Applier(session, wanted)
                plan = applier.plan(objects)
                if not self.check_mode:
                    applier.apply(objects, plan)
        except KubeconfigError as error:
            if not self.check_mode:
                raise
            self._display.warning(f"no cluster is known yet, so everything counts as new: {error}")
            plan = apply.offline(objects)
        return {
            "changed": bool(plan.changes) or plan.inventory_differs,
            "objects": [{"object": str(change.named), "action": change.action} for change in plan.changes],
            "unchanged": plan.unchanged,
            "kept": [{"object": str(named), "reason": why} for named, why in sorted(plan.kept.items())],
            "seconds": round(time.monotonic() - start, 3),
            "diff": _diff(plan.changes) if self._task.diff else [],
        }


def _read(names: Iterable[str]) -> list[str]:
    """Read files, and all YAML and JSON files of directories. Raises KubeError."""
    texts: list[str] = []
    problems: list[str] = []
    for name in names:
        path = Path(name).expanduser()
        files = (
            sorted(f for f in path.rglob("*") if f.suffix in (".yaml", ".yml", ".json")) if path.is_dir() else [path]
        )
        problems += [f"{name} has no .yaml, .yml or .json file"] if not files else []
        for file in files:
            try:
                texts.append(file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{file} cannot be read: {error}")
    if problems:
        raise KubeError("src: " + "; ".join(problems))
    return texts


def _diff(changes: Iterable[apply.Change]) -> list[dict[str, str]]:
    """Before and after of the owned fields of each object; what a Secret holds is never part of it."""
    return [
        {
            "before_header": str(change.named),
            "after_header": str(change.named),
            "before": "" if change.before is None else _text(change.before, change.after),
            "after": "" if change.after is None else _text(change.after, change.before),
        }
        for change in changes
    ]


def _text(item: Object, other: Object | None) -> str:
    if item["kind"] != "Secret":
        return yaml.safe_dump(dict(item), sort_keys=True)
    shown = {**item, "metadata": _without_copies(item["metadata"])}
    for key in ("data", "stringData"):
        if isinstance(item.get(key), dict):
            others = (other or {}).get(key) or {}
            shown[key] = {
                name: "(hidden)" if others.get(name) in (None, value) else "(hidden, another value)"
                for name, value in item[key].items()
            }
    return yaml.safe_dump(shown, sort_keys=True)


def _without_copies(metadata: Object) -> dict[str, Any]:
    """Return a Secret's metadata without the annotations in which appliers keep the whole of it."""
    annotations = {
        name: "(hidden)" if name.endswith("/last-applied-configuration") else value
        for name, value in mapping(metadata, "annotations").items()
    }
    return {**metadata, **({"annotations": annotations} if annotations else {})}
