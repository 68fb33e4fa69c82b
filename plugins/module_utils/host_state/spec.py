# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declaration of a host's state: parsing and checking, all problems at once, no I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ProblemsError

STORE = "/opt/stagecraft"
STATE_DIR = "/var/lib/stagecraft"
INCOMING = STATE_DIR + "/incoming"
PENDING = STATE_DIR + "/pending"
STAMPS = STATE_DIR + "/artifacts"
#: Where a pushed repository of packages lies while they are installed from it.
REPOSITORY = STATE_DIR + "/packages"
IMAGES_RECORD = STATE_DIR + "/images.json"

INSTALL_KINDS = ("binary", "archive", "image", "none")
UNIT_STATES = ("started", "stopped", "absent", "any")
UNIT_DIRECTORIES = (
    "/etc/systemd/system/",
    "/run/systemd/system/",
    "/usr/local/lib/systemd/system/",
    "/usr/lib/systemd/system/",
    "/lib/systemd/system/",
)
UNIT_SUFFIXES = (
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".slice",
    ".scope",
)

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
_UNIT = re.compile(r"^[A-Za-z0-9:_.\\@-]+$")
_MODULE = re.compile(r"^[A-Za-z0-9_-]+$")
_PACKAGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.+_-]*(:[a-z0-9]+)?(=[A-Za-z0-9.+:~_-]+)?$")
_SYSCTL = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_./:@-]*$")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class Directory:
    """A directory with its permission bits and owner."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class File:
    """A regular file with its whole content, or its absence."""

    path: str
    content: str = field(default="", repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    sensitive: bool = False
    notify: tuple[str, ...] = ()
    absent: bool = False

    @property
    def is_unit_file(self) -> bool:
        """Whether systemd has to be reloaded after a change of this file."""
        return self.path.startswith(UNIT_DIRECTORIES)


@dataclass(frozen=True)
class Link:
    """A symbolic link; `target` is written as given."""

    path: str
    target: str


@dataclass(frozen=True)
class Digest:
    """What an artefact must be on one architecture: digest, size in bytes if known, image reference."""

    sha256: str
    size: int | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Artifact:
    """A versioned artefact of the catalogue and the way it is installed.

    `digests` maps an architecture (amd64, arm64) to what the artefact must be there.
    """

    name: str
    version: str
    install: str
    links: tuple[tuple[str, str], ...] = ()
    strip: int = 0
    members: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    images_namespace: str = "k8s.io"
    directory: str | None = None
    digests: Mapping[str, Digest] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name and version, as in messages and in the table of digests."""
        return f"{self.name}/{self.version}"

    @property
    def base(self) -> str:
        """The directory that the artefact's files end up in."""
        return self.directory or f"{STORE}/{self.name}/{self.version}"

    @property
    def stamp(self) -> str:
        """Path of the record of what was installed, written last; a directory of its own counts as another place."""
        place = "@" + hashlib.sha256(self.directory.encode()).hexdigest()[:12] if self.directory else ""
        return f"{STAMPS}/{self.name}@{self.version}{place}.json"

    @property
    def place(self) -> str:
        """What tells two declarations of artefacts apart."""
        return self.key if self.install == "image" else f"{self.key} in {self.base}"


@dataclass(frozen=True)
class Unit:
    """A systemd unit; `enabled` None leaves it as it is; `start_timeout` in seconds."""

    name: str
    enabled: bool | None = None
    state: str = "any"
    exe: str | None = None
    on_change: str = "restart"
    start_timeout: float = 90.0


@dataclass(frozen=True)
class Spec:
    """Everything a role wants of a host."""

    directories: tuple[Directory, ...] = ()
    files: tuple[File, ...] = ()
    links: tuple[Link, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    kernel_modules: tuple[str, ...] = ()
    sysctl: Mapping[str, str] = field(default_factory=dict)
    sysctl_file: str | None = None
    swap: str = "keep"
    packages: tuple[str, ...] = ()
    units: tuple[Unit, ...] = ()
    ctr: str = "/usr/local/bin/ctr"
    repositories: Mapping[str, Digest] = field(default_factory=dict)

    @property
    def all_links(self) -> tuple[Link, ...]:
        """Links of artefacts (targets made absolute), then plain ones."""
        of_artifacts = [
            Link(path, target if target.startswith("/") else f"{artifact.base}/{target}")
            for artifact in self.artifacts
            for path, target in artifact.links
        ]
        return (*of_artifacts, *self.links)

    @property
    def all_files(self) -> tuple[File, ...]:
        """Declared files and the sysctl file that follows from `sysctl`."""
        if not self.sysctl_file or not self.sysctl:
            return self.files
        return (*self.files, File(path=self.sysctl_file, content=sysctl_text(self.sysctl)))

    @property
    def all_units(self) -> tuple[Unit, ...]:
        """Declared units, then those that are only notified (restarted when active, else left alone)."""
        known = {unit.name for unit in self.units}
        notified = [name for file in self.files for name in file.notify]
        notified += [name for artifact in self.artifacts for name in artifact.notify]
        return (*self.units, *(Unit(name) for name in dict.fromkeys(notified) if name not in known))


def sysctl_text(values: Mapping[str, str]) -> str:
    """Return the content of a sysctl.d file."""
    return "".join(f"{key} = {value}\n" for key, value in sorted(values.items()))


def unit_name(name: str) -> str:
    """`kubelet` → `kubelet.service`; names with a unit suffix stay."""
    return name if name.endswith(UNIT_SUFFIXES) else name + ".service"


class _Reader:
    """Reads options of one entry and collects what is wrong with them."""

    def __init__(self, where: str, entry: Any, allowed: Iterable[str], problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        self.entry: Mapping[str, Any] = {}
        if not isinstance(entry, Mapping):
            self.wrong(f"must be a mapping, found {type(entry).__name__}")
            return
        # Ansible hands over options that were not given as None: the same as absent.
        self.entry = {str(key): value for key, value in entry.items() if value is not None}
        names = tuple(allowed)
        for key in self.entry:
            if key not in names:
                self.wrong(f"has no option {key!r}; options are {', '.join(names)}")

    def wrong(self, text: str) -> None:
        self.problems.append(f"{self.where} {text}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.entry.get(key, default)
        if value is None:
            self.wrong(f"needs {key}")
            return ""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.wrong(f"{key} must be text, found {type(value).__name__}")
            return ""
        return str(value)

    def path(self, key: str, default: str | None = None) -> str:
        value = self.text(key, default)
        if value:
            self.check_path(key, value)
        return value

    def check_path(self, key: str, value: str) -> None:
        if not value.startswith("/") or (value != "/" and value.endswith("/")):
            self.wrong(f"{key} must be an absolute path without a slash at its end, found {value!r}")
        elif any(part in ("", ".", "..") for part in value.split("/")[1:]) and value != "/":
            self.wrong(f"{key} must be a path without '.', '..' or doubled slashes, found {value!r}")
        elif "\0" in value or "\n" in value:
            self.wrong(f"{key} must not hold control characters, found {value!r}")

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default)
        if value and value not in choices:
            self.wrong(f"{key} must be one of {', '.join(choices)}, found {value!r}")
        return value

    def flag(self, key: str, default: bool | None) -> bool | None:
        value = self.entry.get(key, default)
        if value is not None and not isinstance(value, bool):
            self.wrong(f"{key} must be true or false, found {value!r}")
            return default
        return value

    def mode(self, default: int) -> int:
        value = self.entry.get("mode")
        if value is None:
            return default
        if not isinstance(value, str) or not re.match(r"^0?[0-7]{3,4}$", value):
            self.wrong(f'mode must be quoted octal text such as "0644", found {value!r}')
            return default
        return int(value, 8)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.entry.get(key, [])
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            self.wrong(f"{key} must be a list, found {type(value).__name__}")
            return ()
        bad = [item for item in value if not isinstance(item, str) or not item]
        if bad:
            self.wrong(f"{key} must hold names, found {bad[0]!r}")
            return ()
        return tuple(value)

    def units(self, key: str) -> tuple[str, ...]:
        names = self.texts(key)
        for name in names:
            if not _UNIT.match(name):
                self.wrong(f"{key} holds {name!r}, which is no unit name")
        return tuple(dict.fromkeys(unit_name(name) for name in names))


def _list(state: Mapping[str, Any], key: str, problems: list[str]) -> list[Any]:
    value = state.get(key)
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        problems.append(f"{key} must be a list, found {type(value).__name__}")
        return []
    return list(value)


def _where(kind: str, index: int, entry: Any, label: str = "path") -> str:
    name = entry.get(label) if isinstance(entry, Mapping) else None
    return f"{kind}[{index}] ({name}):" if name else f"{kind}[{index}]:"


def _directories(state: Mapping[str, Any], problems: list[str]) -> list[Directory]:
    found = []
    for index, entry in enumerate(_list(state, "directories", problems)):
        read = _Reader(_where("directories", index, entry), entry, ("path", "mode", "owner", "group"), problems)
        found.append(
            Directory(read.path("path"), read.mode(0o755), read.text("owner", "root"), read.text("group", "root"))
        )
    return found


def _files(state: Mapping[str, Any], problems: list[str]) -> list[File]:
    options = ("path", "content", "mode", "owner", "group", "sensitive", "notify", "absent")
    found = []
    for index, entry in enumerate(_list(state, "files", problems)):
        read = _Reader(_where("files", index, entry), entry, options, problems)
        absent = bool(read.flag("absent", False))
        if absent and read.entry.get("content"):
            read.wrong("is absent and has content: remove one of the two")
        if not absent and "content" not in read.entry:
            read.wrong("needs content, or absent: true")
        found.append(
            File(
                path=read.path("path"),
                content=read.text("content", ""),
                mode=read.mode(0o644),
                owner=read.text("owner", "root"),
                group=read.text("group", "root"),
                sensitive=bool(read.flag("sensitive", False)),
                notify=read.units("notify"),
                absent=absent,
            )
        )
    return found


def _links(state: Mapping[str, Any], problems: list[str]) -> list[Link]:
    found = []
    for index, entry in enumerate(_list(state, "links", problems)):
        read = _Reader(_where("links", index, entry), entry, ("path", "target"), problems)
        found.append(Link(read.path("path"), read.text("target")))
    return found


def _digests(key: str, table: Any, problems: list[str]) -> dict[str, Digest]:
    result: dict[str, Digest] = {}
    if not isinstance(table, Mapping):
        return result
    for arch, entry in table.items():
        if not isinstance(entry, Mapping) or not _SHA256.match(str(entry.get("sha256", ""))):
            problems.append(f"artifacts ({key}): the expected sha256 for {arch} is not 64 hexadecimal digits")
            continue
        size = entry.get("size")
        reference = entry.get("reference")
        result[str(arch)] = Digest(
            sha256=str(entry["sha256"]),
            size=int(size) if size is not None else None,
            reference=str(reference) if reference else None,
        )
    return result


def _artifacts(state: Mapping[str, Any], digests: Mapping[str, Any], problems: list[str]) -> list[Artifact]:
    options = (
        "name",
        "version",
        "install",
        "links",
        "strip",
        "members",
        "notify",
        "images_namespace",
        "directory",
    )
    found = []
    for index, entry in enumerate(_list(state, "artifacts", problems)):
        read = _Reader(_where("artifacts", index, entry, "name"), entry, options, problems)
        name, version = read.text("name"), read.text("version")
        for label, value in (("name", name), ("version", version)):
            if value and not _NAME.match(value):
                read.wrong(f"{label} may hold letters, digits and . _ + - only, found {value!r}")
        install = read.choice("install", INSTALL_KINDS)
        links = read.entry.get("links", {})
        if not isinstance(links, Mapping):
            read.wrong(f"links must map a path to a file of the artefact, found {type(links).__name__}")
            links = {}
        for path, target in links.items():
            read.check_path("links: key", str(path))
            if not isinstance(target, str) or not target or ".." in target.split("/"):
                read.wrong(f"links: {path} must point at a file inside the artefact, found {target!r}")
        strip = read.entry.get("strip", 0)
        if isinstance(strip, bool) or not isinstance(strip, int) or strip < 0:
            read.wrong(f"strip must be a number of leading path parts, found {strip!r}")
            strip = 0
        directory = read.path("directory") if read.entry.get("directory") else None
        members = read.texts("members")
        if install and install != "archive" and (strip or members):
            read.wrong(f"strip and members are for install: archive, not for {install}")
        if install == "image" and (links or directory):
            read.wrong("links and directory are not for install: image")
        if directory == "/":
            read.wrong("directory must not be /")
        found.append(
            Artifact(
                name=name,
                version=version,
                install=install,
                links=tuple(sorted((str(path), str(target)) for path, target in links.items())),
                strip=strip,
                members=members,
                notify=read.units("notify"),
                images_namespace=read.text("images_namespace", "k8s.io"),
                directory=directory,
                digests=_digests(f"{name}/{version}", digests.get(f"{name}/{version}"), problems),
            )
        )
    return found


def _units(state: Mapping[str, Any], problems: list[str]) -> list[Unit]:
    options = ("name", "enabled", "state", "exe", "on_change", "start_timeout")
    found = []
    for index, entry in enumerate(_list(state, "units", problems)):
        read = _Reader(_where("units", index, entry, "name"), entry, options, problems)
        name = read.text("name")
        if name and not _UNIT.match(name):
            read.wrong(f"{name!r} is no unit name")
        unit_state = read.choice("state", UNIT_STATES, "started")
        timeout = read.entry.get("start_timeout", 90)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0:
            read.wrong(f"start_timeout must be a number of seconds above 0, found {timeout!r}")
            timeout = 90
        enabled = read.flag("enabled", unit_state != "absent")
        if unit_state == "absent" and enabled:
            read.wrong("is absent and enabled: remove one of the two")
        found.append(
            Unit(
                name=unit_name(name),
                enabled=enabled,
                state=unit_state,
                exe=read.path("exe") if read.entry.get("exe") else None,
                on_change=read.choice("on_change", ("restart", "reload"), "restart"),
                start_timeout=float(timeout),
            )
        )
    return found


def _names(state: Mapping[str, Any], key: str, pattern: re.Pattern[str], problems: list[str]) -> tuple[str, ...]:
    names = _list(state, key, problems)
    problems += [
        f"{key} holds {name!r}, which is no name of that kind"
        for name in names
        if not isinstance(name, str) or not pattern.match(name)
    ]
    return tuple(dict.fromkeys(str(name) for name in names))


def _sysctl(state: Mapping[str, Any], problems: list[str]) -> dict[str, str]:
    value = state.get("sysctl")
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        problems.append(f"sysctl must map a key to a value, found {type(value).__name__}")
        return {}
    for key, entry in value.items():
        if not isinstance(key, str) or not _SYSCTL.match(key) or ".." in key:
            problems.append(f"sysctl holds {key!r}, which is no sysctl key")
        if isinstance(entry, bool) or not isinstance(entry, (str, int)):
            problems.append(f'sysctl {key}: the value must be a number or text such as "1", found {entry!r}')
    return {str(key): " ".join(str(entry).split()) for key, entry in value.items()}


def _duplicates(spec: Spec, problems: list[str]) -> None:
    claims: dict[str, list[str]] = {}
    for directory in spec.directories:
        claims.setdefault(directory.path, []).append("directories")
    for file in spec.files:
        claims.setdefault(file.path, []).append("files")
    if spec.sysctl_file and spec.sysctl:
        claims.setdefault(spec.sysctl_file, []).append("sysctl_file")
    for link in spec.links:
        claims.setdefault(link.path, []).append("links")
    for artifact in spec.artifacts:
        for path, _target in artifact.links:
            claims.setdefault(path, []).append(f"artifacts ({artifact.name})")
    for path, holders in claims.items():
        if len(holders) > 1:
            problems.append(f"{path} is declared {len(holders)} times: {', '.join(holders)}")
    for kind, names in (
        ("units", [unit.name for unit in spec.units]),
        ("artifacts", [artifact.place for artifact in spec.artifacts]),
    ):
        repeated = sorted({name for name in names if names.count(name) > 1})
        problems += [f"{kind}: {name} is declared more than once" for name in repeated]


STATE_OPTIONS = (
    "directories",
    "files",
    "links",
    "artifacts",
    "kernel_modules",
    "sysctl",
    "sysctl_file",
    "swap",
    "packages",
    "units",
    "ctr",
)


def parse(
    state: Mapping[str, Any], digests: Mapping[str, Any] | None = None, repositories: Mapping[str, Any] | None = None
) -> Spec:
    """Turn the option `state` into a Spec.

    `digests` maps "name/version" to {arch: {sha256, size, reference}}, `repositories` "debian/bookworm/amd64" to {sha256, size}.
    Raises ProblemsError with everything that is wrong.
    """
    problems: list[str] = []
    top = _Reader("state", state, STATE_OPTIONS, problems)
    state = top.entry
    spec = Spec(
        directories=tuple(_directories(state, problems)),
        files=tuple(_files(state, problems)),
        links=tuple(_links(state, problems)),
        artifacts=tuple(_artifacts(state, digests or {}, problems)),
        kernel_modules=_names(state, "kernel_modules", _MODULE, problems),
        sysctl=_sysctl(state, problems),
        sysctl_file=top.path("sysctl_file") if state.get("sysctl_file") else None,
        swap=top.choice("swap", ("disabled", "keep"), "keep"),
        packages=_names(state, "packages", _PACKAGE, problems),
        units=tuple(_units(state, problems)),
        ctr=top.path("ctr", "/usr/local/bin/ctr"),
        repositories={
            str(system): Digest(str(found["sha256"]), int(found["size"]))
            for system, found in (repositories or {}).items()
        },
    )
    if spec.sysctl and not spec.sysctl_file:
        problems.append("state sysctl needs sysctl_file, the file that keeps the values over a reboot")
    _duplicates(spec, problems)
    if problems:
        raise ProblemsError("The declared host state cannot be used:", problems)
    return spec
