# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a repository that Flux follows: rendered from templates, and brought into a repository that people edit.

A file that nobody changed since it was generated is kept up to date; one that somebody changed or removed is theirs.
Which is which is told by the digests of what was generated, kept beside the files.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.secret_names import secret_by

try:
    import jinja2
except ImportError as error:
    jinja2 = missing("jinja2", error)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

RECORD = ".stagecraft/scaffold.json"
_SCHEMA = 1
_KEEP = ".gitkeep"
_KUSTOMIZATION = "kustomization.yaml"
_ENVIRONMENT_NAME = re.compile(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?")
_RESERVED = ("base",)
_VARIABLE = re.compile(r"[_A-Za-z][_A-Za-z0-9]*")
#: The folder of the stage of sealed secrets, as stages.yaml has it.
_SECRETS_STAGE = re.compile(r"^  name: secrets\n(?:(?!---).*\n)*?  path: \./(\S+)$", re.MULTILINE)
#: What Flux unpacks (.sourceignore), and YAML takes as it is.
_SECRETS_FOLDER = re.compile(r"clusters(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
#: What JSON may hold as it is, and YAML only as an escape (YAML 1.2.2, 5.1 and 5.4; YAML 1.1's line breaks as well).
_NOT_PLAIN = re.compile("[\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff\\ufeff\\ufffe\\uffff]")

Action = Literal["create", "update", "remove", "keep"]


@dataclass(frozen=True)
class Environment:
    """One environment, as the templates see it. `settings` are passed through to them."""

    name: str
    domain: str
    replicas: int = 1
    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "10m", "memory": "16Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "32Mi"})
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """What becomes of one file. `reason` says why a file that differs is kept as it is."""

    path: str
    action: Action
    before: bytes | None
    after: bytes
    reason: str = ""

    def diff(self) -> str:
        """Return the difference between what is there and what is generated, as a unified diff."""
        before = (self.before or b"").decode("utf-8", "replace").splitlines(keepends=True)
        after = self.after.decode("utf-8", "replace").splitlines(keepends=True)
        name = f"{self.path} (kept: {self.reason})" if self.action == "keep" else self.path
        return "".join(difflib.unified_diff(before, after, name, name))


@dataclass(frozen=True)
class Plan:
    """Files that differ from what is generated, and the changes to make: path → content, None for what goes."""

    files: tuple[File, ...]
    changes: Mapping[str, bytes | None]


def check(environments: Sequence[Environment]) -> None:
    """Refuse what cannot be rendered. Raises FluxError with all problems."""
    problems: list[str] = []
    names = [environment.name for environment in environments]
    for environment in environments:
        name = environment.name
        if not _ENVIRONMENT_NAME.fullmatch(name):
            problems.append(f"environment {name!r}: wanted lower-case letters, digits and dashes")
        elif name in _RESERVED:
            problems.append(
                f"environment {name!r}: clusters/{name} holds what all environments share; choose another name"
            )
        elif names.count(name) > 1 and f"environment {name!r} stands twice" not in problems:
            problems.append(f"environment {name!r} stands twice")
        if environment.replicas < 1:
            problems.append(f"environment {name!r}: replicas is {environment.replicas}, wanted at least 1")
        if not environment.domain:
            problems.append(f"environment {name!r}: it has no domain")
    if not names:
        problems.append("there is no environment")
    if problems:
        raise FluxError("the repository was left as it is:\n" + "\n".join(f"- {problem}" for problem in problems))


def environment_file(name: str) -> str:
    """Return the path of an environment's variables."""
    return f".env.{name}"


def parse_variables(text: str, path: str, not_secret: Collection[str] = ()) -> dict[str, str]:
    """Read ``NAME=value`` lines. Raises FluxError naming every line that is none, and every secret, never its value.

    The names in `not_secret` are none, whatever they look like.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        name, value = name.strip(), _unquoted(value.strip())
        where = f"{path}:{number}"
        if not equals or not _VARIABLE.fullmatch(name):
            problems.append(f"{where}: wanted NAME=value, the name of letters, digits and underscores")
        elif name in found:
            problems.append(f"{where}: {name} stands twice")
        elif name not in not_secret and (by := secret_by(name, value)):
            problems.append(
                f"{where}: {name} looks like a secret by its {by}, and this file is read by all who read the repository. Put"
                " it into a SealedSecret, or into OpenBao behind an ExternalSecret, and take it out of this file and of Git's"
                " history. If it is none, name it in not_secret (gitops_repository_not_secret)"
            )
        else:
            found[name] = value
    if problems:
        raise FluxError("\n".join(problems))
    return found


def render(
    templates: Mapping[str, str],
    environments: Sequence[Environment],
    present: Mapping[str, bytes],
    variables: Mapping[str, Any],
    following: Iterable[str] = (),
    sealing: Mapping[str, str] | None = None,
    not_secret: Collection[str] = (),
) -> dict[str, bytes]:
    """Render all files. Templates below ``environment/`` are rendered for each environment, to ``clusters/NAME/``.

    Flux's own directory is named in an environment that has it, or is about to get it (`following`). So is the stage of
    sealed secrets, in an environment that has had it, or is about to get sealed secrets (`sealing`: name → folder). Git has
    no empty folders, so a file keeps theirs, also when the last secret is gone. An environment's ``.env.NAME`` is
    generated once; then what is in the repository counts, but for the environments in `following` where nobody changed it
    since: the settings at hand are theirs. `not_secret` names variables in it that look like secrets and are none.
    """
    check(environments)
    engine = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        loader=jinja2.DictLoader(dict(templates)),
    )
    engine.filters["yaml_string"] = yaml_string
    about, folders = set(following), sealing or {}
    shared = {**variables, "environments": environments}
    record = _read_record(present.get(RECORD))
    files: dict[str, bytes] = {}
    problems: list[str] = []

    def put(path: str, template: str, **more: Any) -> None:
        try:
            files[path] = engine.get_template(template).render(**shared, **more).encode()
        except jinja2.TemplateError as error:
            problems.append(f"template {template}: {error}")

    for template in sorted(templates):
        top, _unused, rest = template.removesuffix(".j2").partition("/")
        if top == "root":
            put(rest, template)
        elif top == "base":
            put(f"clusters/base/{rest}", template)
    for environment in environments:
        own = environment_file(environment.name)
        put(own, "env.j2", environment=environment)
        there = present.get(own)
        renewed = there is None or (environment.name in about and record.get(own) == _digest(there))
        text = files.get(own, b"") if there is None or renewed else there
        try:
            values = parse_variables(text.decode("utf-8", "replace"), own, not_secret)
        except FluxError as error:
            problems.append(str(error))
            values = {}
        bootstrapped = (
            environment.name in about or f"clusters/{environment.name}/flux-system/kustomization.yaml" in present
        )
        own_templates = {_own_path(environment, name): name for name in templates if name.startswith("environment/")}
        folder = _stage_folder(environment, folders, present, [*files, *own_templates])
        for path, template in sorted(own_templates.items()):
            put(path, template, environment=environment, values=values, bootstrapped=bootstrapped, sealed=folder)
        if "secrets.j2" in templates and folder in _known_folders(environment, folders):
            put(keep_file(folder), "secrets.j2")
    if problems:
        raise FluxError("the repository was left as it is:\n" + "\n".join(problems))
    return files


def yaml_string(text: str) -> str:
    """Write a text as a double-quoted YAML scalar. JSON's own escapes are YAML's, but for its pairs of surrogates."""
    return _NOT_PLAIN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def secrets_folder(name: str) -> str:
    """Return where an environment's sealed secrets stand unless something else is said."""
    return f"clusters/{name}/secrets"


def keep_file(folder: str) -> str:
    """Return the path of the file that keeps a folder in Git."""
    return f"{folder}/{_KEEP}"


def _stage_folder(
    environment: Environment, folders: Mapping[str, str], present: Mapping[str, bytes], generated: Iterable[str]
) -> str:
    """Return the folder that an environment's stage of sealed secrets follows, "" where it has no such stage.

    It can be one that Flux sees, and that has no other generated files; else the stage stays as the repository has it.
    """
    folder = folders.get(environment.name, "")
    if _SECRETS_FOLDER.fullmatch(folder) and not any(path.startswith(f"{folder}/") for path in generated):
        return folder
    stages = present.get(f"clusters/{environment.name}/stages.yaml", b"").decode("utf-8", "replace")
    found = _SECRETS_STAGE.search(stages)
    return found[1] if found else ""


def _known_folders(environment: Environment, sealing: Mapping[str, str]) -> list[str]:
    """Return where sealed secrets of an environment may stand, as far as that is known before its files are read."""
    own = secrets_folder(environment.name)
    return list(dict.fromkeys([own, sealing.get(environment.name, own)]))


def _own_path(environment: Environment, template: str) -> str:
    return f"clusters/{environment.name}/{template.removeprefix('environment/').removesuffix('.j2')}"


def files_to_read(
    templates: Iterable[str], environments: Iterable[Environment], sealing: Mapping[str, str] | None = None
) -> list[str]:
    """Return the paths that `render` and `plan` look at."""
    names = [template.removesuffix(".j2").partition("/") for template in templates]
    paths = [RECORD]
    paths += [rest for top, _unused, rest in names if top == "root"]
    paths += [f"clusters/base/{rest}" for top, _unused, rest in names if top == "base"]
    for environment in environments:
        home = f"clusters/{environment.name}"
        paths += [environment_file(environment.name), f"{home}/flux-system/kustomization.yaml"]
        paths += [keep_file(folder) for folder in _known_folders(environment, sealing or {})]
        paths += [f"{home}/{rest}" for top, _unused, rest in names if top == "environment"]
    return paths


def plan(
    wanted: Mapping[str, bytes],
    present: Mapping[str, bytes],
    following: Iterable[str] = (),
    looked: Iterable[str] = (),
) -> Plan:
    """Compare what is generated with what the repository has. Raises FluxError for a record that cannot be read.

    `following` names the environments that the settings are of. Other inventories have other domains: the ``.env.NAME`` of
    the rest stays as it is. `looked` are the paths that `present` was asked for: what was generated there and is not any
    more goes, unless somebody changed it. Environments that are not listed are not among them.
    """
    own = {environment_file(name) for name in following}
    record = _read_record(present.get(RECORD))
    files: list[File] = []
    changes: dict[str, bytes | None] = {}
    known = dict(record)
    for path, after in sorted(wanted.items()):
        before = present.get(path)
        if before == after:
            known[path] = _digest(after)
            continue
        reason = _why_kept(path, before, record, own)
        if reason:
            files.append(File(path, "keep", before, after, reason))
            continue
        files.append(File(path, "create" if before is None else "update", before, after))
        changes[path] = after
        known[path] = _digest(after)
    theirs = {
        path: text
        for path, text in present.items()
        if posixpath.basename(path) == _KUSTOMIZATION and path not in changes and _digest(text) != known.get(path)
    }
    for path in sorted(set(looked) & set(record) - set(wanted)):
        before = present.get(path)
        # whether a folder has to be there, only the inventory of its environment knows
        if posixpath.basename(path) == _KEEP or (before is not None and _digest(before) != record[path]):
            continue
        if before is None:
            del known[path]
            continue
        reason = _why_needed(path, theirs)
        files.append(File(path, "keep" if reason else "remove", before, b"", reason))
        if not reason:
            changes[path] = None
            del known[path]
    if changes or known != record:
        text = json.dumps({"schema": _SCHEMA, "files": dict(sorted(known.items()))}, indent=1) + "\n"
        if present.get(RECORD) != text.encode():
            changes[RECORD] = text.encode()
    return Plan(tuple(files), changes)


def _why_kept(path: str, before: bytes | None, record: Mapping[str, str], own: Collection[str]) -> str:
    """Say why a file that differs is left alone, "" where it is not. `own` are files of variables that may be renewed."""
    if path.startswith(".env.") and path not in own:
        return "" if before is None and path not in record else "yours to edit"
    if before is None:
        return "you removed it" if path in record else ""
    if path not in record:
        return "not generated here"
    return "" if _digest(before) == record[path] else "you changed it"


def _why_needed(path: str, theirs: Mapping[str, bytes]) -> str:
    """Say which kustomization that people changed names a file or its directory, "" where none does."""
    for kustomization, text in sorted(theirs.items()):
        home = posixpath.dirname(kustomization)
        names = (posixpath.relpath(path, home), posixpath.relpath(posixpath.dirname(path), home))
        if any(name.strip("./") and name.encode() in text for name in names):
            return f"{kustomization}, which is yours, names it"
    return ""


def _read_record(text: bytes | None) -> dict[str, str]:
    if text is None:
        return {}
    try:
        data = json.loads(text)
        if data["schema"] != _SCHEMA:
            raise ValueError(f"its schema is {data['schema']!r}, wanted {_SCHEMA}")
        return {str(path): str(digest) for path, digest in data["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FluxError(
            f"{RECORD} cannot be read ({error}), so nobody knows which files were generated. Restore it from Git's history;"
            " removed, every file that differs counts as yours."
        ) from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _unquoted(value: str) -> str:
    quoted = re.match(r"""(["'])(.*?)\1\s*(?:#.*)?$""", value)
    if quoted:
        return quoted[2]
    return value.partition(" #")[0].rstrip()
