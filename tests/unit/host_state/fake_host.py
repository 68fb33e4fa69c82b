# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a directory: files below a root, and commands that behave as systemd, containerd, apt and the kernel do.

All of its state is on disk, so that a run can be killed in a child process and taken up again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import engine, facts, spec, store
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.system import Completed, System

ARCH = facts.architecture(os.uname().machine)
Hook = Callable[[str], None]


class FakeSystem(System):
    """Users of the fake host: root is whoever runs the tests."""

    def uid(self, name: str) -> int | None:
        return os.getuid() if name == "root" else None

    def gid(self, name: str) -> int | None:
        return os.getgid() if name == "root" else None

    def pause(self, seconds: float) -> None:
        """Fake units need no time."""


class FakeHost:
    """One host; `runs` counts the starts of each unit, `commands` is what was run in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[tuple[str, ...]] = []
        self.answers: dict[str, Completed] = {}
        for directory in (
            "run/systemd/system",
            "etc/systemd/system",
            "proc/sys/kernel",
            "proc/sys/net/ipv4",
            "var/lib/dpkg",
            "var/lib/apt/lists",
            "tmp",
        ):
            (root / directory).mkdir(parents=True)
        self.write("/etc/os-release", 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
        self.write("/proc/meminfo", "MemTotal: 2048000 kB\n")
        self.write("/proc/modules", "")
        self.write("/proc/swaps", "Filename Type Size Used Priority\n")
        self.write("/proc/sys/kernel/osrelease", "6.1.0\n")
        self.write("/proc/sys/net/ipv4/ip_forward", "0\n")
        self.write("/var/lib/dpkg/status", "")
        self.write("/var/lib/apt/lists/example_Packages", "")
        self._state_file = root / "fake-state.json"
        self._save({"units": {}, "images": [], "next_pid": 100, "available": ["chrony", "iptables"], "reloads": 0})

    # -- files -----------------------------------------------------------------------------------------------------

    def path(self, path: str) -> Path:
        return Path(str(self.root) + path)

    def write(self, path: str, text: str | bytes) -> None:
        real = self.path(path)
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes(text.encode() if isinstance(text, str) else text)

    def read(self, path: str) -> str:
        return self.path(path).read_text()

    def push(self, data: bytes) -> str:
        """Put bytes where the controller would; returns their sha256."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.write(store.incoming_path(sha256), data)
        return sha256

    def snapshot(self) -> dict[str, tuple[Any, ...]]:
        """Everything below the root, to show that nothing was written."""
        found: dict[str, tuple[Any, ...]] = {}
        for directory, names, files in os.walk(self.root):
            for name in (*names, *files):
                entry = Path(directory, name)
                status = entry.lstat()
                found[str(entry)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
        return found

    # -- running ---------------------------------------------------------------------------------------------------

    def system(self, hook: Hook | None = None) -> FakeSystem:
        return FakeSystem(str(self.root), self.run, hook)

    def apply(
        self,
        state: Mapping[str, Any],
        digests: Mapping[str, Any] | None = None,
        check: bool = False,
        hook: Hook | None = None,
        repositories: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        return engine.run(self.system(hook), spec.parse(state, digests, repositories), check)

    # -- commands --------------------------------------------------------------------------------------------------

    def _load(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self._state_file.read_text())
        return data

    def _save(self, data: Mapping[str, Any]) -> None:
        text = json.dumps(data)
        if not self._state_file.exists() or self._state_file.read_text() != text:
            self._state_file.write_text(text)

    def replace_state(self, data: Mapping[str, Any]) -> None:
        """Put what the commands know."""
        self._save(data)

    @property
    def state(self) -> dict[str, Any]:
        return self._load()

    def unit(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._load()["units"].get(name, {})
        return found

    def set_unit(self, name: str, **values: Any) -> None:
        data = self._load()
        data["units"].setdefault(name, {"active": "inactive", "runs": 0}).update(values)
        self._save(data)

    def run(self, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> Completed:
        self.commands.append(tuple(argv))
        for start, answer in self.answers.items():
            if " ".join(argv).startswith(start):
                return answer
        tool = os.path.basename(argv[0])
        handler = getattr(self, "_" + tool.replace("-", "_"), None)
        if handler is None:
            return Completed(127, "", f"{tool}: command not found")
        data = self._load()
        done: Completed = handler(data, [word for word in argv[1:] if word != "--"])
        self._save(data)
        return done

    def _unit_file(self, name: str) -> Path | None:
        for directory in ("etc/systemd/system", "lib/systemd/system"):
            if (self.root / directory / name).exists():
                return self.root / directory / name
        return None

    def _exec_start(self, name: str) -> str:
        file = self._unit_file(name)
        for line in file.read_text().splitlines() if file else []:
            if line.startswith("ExecStart="):
                return line.split("=", 1)[1].split()[0]
        return ""

    def _launch(self, data: dict[str, Any], name: str) -> None:
        unit = data["units"].setdefault(name, {"active": "inactive", "runs": 0})
        program = self.system().resolve(self._exec_start(name))
        real = self.path(program)
        data["next_pid"] += 1
        exists = program != "/" and real.exists()
        unit.update(
            active="active" if exists else "failed",
            pid=data["next_pid"] if exists else 0,
            runs=unit["runs"] + 1,
            program=program,
            inode=real.stat().st_ino if exists else 0,
            loaded=self._unit_file(name).read_text() if self._unit_file(name) else "",  # type: ignore[union-attr]
            content=real.read_text(errors="replace") if exists else "",
        )

    def _systemctl(self, data: dict[str, Any], words: list[str]) -> Completed:
        verb, names = words[0], [word for word in words[1:] if not word.startswith("--")]
        if verb == "show":
            return Completed(0, "\n\n".join(self._show(data, name) for name in names) + "\n", "")
        if verb == "daemon-reload":
            data["reloads"] += 1
            for name, unit in data["units"].items():
                file = self._unit_file(name)
                unit["loaded"] = file.read_text() if file else ""
            return Completed(0, "", "")
        for name in names:
            unit = data["units"].setdefault(name, {"active": "inactive", "runs": 0})
            if verb in ("start", "restart", "reload-or-restart", "enable") and self._unit_file(name) is None:
                return Completed(5, "", f"Unit {name} not found.")
            if (verb == "start" and unit["active"] != "active") or verb == "restart":
                self._launch(data, name)
            elif verb == "reload-or-restart":
                unit["reloads"] = unit.get("reloads", 0) + 1
            elif verb == "stop":
                unit.update(active="inactive", pid=0)
            elif verb in ("enable", "disable"):
                unit["enabled"] = verb + "d"
        return Completed(0, "", "")

    def _show(self, data: dict[str, Any], name: str) -> str:
        unit = data["units"].get(name, {})
        file = self._unit_file(name)
        pid = unit.get("pid", 0)
        if pid:
            real = self.path(unit["program"])
            same = real.exists() and real.stat().st_ino == unit["inode"]
            link = self.root / "proc" / str(pid) / "exe"
            link.parent.mkdir(parents=True, exist_ok=True)
            target = unit["program"] + ("" if same else " (deleted)")
            if not link.is_symlink() or os.readlink(link) != target:
                link.unlink(missing_ok=True)
                link.symlink_to(target)
        stale = file is not None and pid and unit.get("loaded") != file.read_text()
        values = {
            "Id": name,
            "LoadState": "loaded" if file or unit.get("active") == "active" else "not-found",
            "ActiveState": unit.get("active", "inactive"),
            "SubState": "running" if pid else "dead",
            "MainPID": pid,
            "UnitFileState": unit.get("enabled", "disabled") if file else "",
            "NeedDaemonReload": "yes" if stale else "no",
            "Result": "success",
        }
        return "\n".join(f"{key}={value}" for key, value in values.items())

    def _journalctl(self, data: dict[str, Any], words: list[str]) -> Completed:
        return Completed(0, f"log of {words[1]}\n", "")

    def _ctr(self, data: dict[str, Any], words: list[str]) -> Completed:
        if data["units"].get("containerd.service", {}).get("active") != "active":
            return Completed(1, "", "ctr: failed to dial /run/containerd/containerd.sock")
        if words[3] == "ls":
            return Completed(0, "".join(f"{name}\n" for name in data["images"]), "")
        reference = _reference(Path(words[4]))
        data["images"] = sorted({*data["images"], reference})
        data.setdefault("imports", []).append(reference)
        return Completed(0, f"unpacking {reference}\n", "")

    def _apt_get(self, data: dict[str, Any], words: list[str]) -> Completed:
        if words[0] == "update":
            data["updated"] = data.get("updated", 0) + 1
            data["available"] = sorted({*data["available"], *data.get("after_update", [])})
            return Completed(0, "", "")
        names = list(words[words.index("Dpkg::Options::=--force-confold") + 1 :])
        for name in names:
            if name not in data["available"]:
                return Completed(100, "", f"E: Unable to locate package {name}")
        for name in names:
            with self.path("/var/lib/dpkg/status").open("a") as stream:
                stream.write(f"Package: {name}\nStatus: install ok installed\nVersion: 1.0\nArchitecture: {ARCH}\n\n")
            if name == "chrony":
                self.write("/usr/sbin/chronyd", "chronyd")
                self.write("/lib/systemd/system/chrony.service", "ExecStart=/usr/sbin/chronyd\n")
                self._launch(data, "chrony.service")
                data["units"]["chrony.service"]["enabled"] = "enabled"
        return Completed(0, "", "")

    def _dpkg(self, data: dict[str, Any], words: list[str]) -> Completed:
        data["configured"] = True
        status = self.read("/var/lib/dpkg/status")
        self.write("/var/lib/dpkg/status", status.replace("half-configured", "installed"))
        return Completed(0, "", "")

    def _modprobe(self, data: dict[str, Any], words: list[str]) -> Completed:
        if words[0].startswith("no_"):
            return Completed(1, "", f"modprobe: FATAL: Module {words[0]} not found")
        with self.path("/proc/modules").open("a") as stream:
            stream.write(f"{words[0]} 16384 0 - Live 0x0\n")
        if words[0] == "br_netfilter":
            self.write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0\n")
        return Completed(0, "", "")

    def _swapoff(self, data: dict[str, Any], words: list[str]) -> Completed:
        lines = self.read("/proc/swaps").splitlines(keepends=True)
        self.write("/proc/swaps", "".join(line for line in lines if not line.startswith(words[0] + " ")))
        return Completed(0, "", "")


def _reference(file: Path) -> str:
    """Return the image of an OCI archive, or of a text that says so."""
    if not tarfile.is_tarfile(file):
        return file.read_text().split()[1]
    with tarfile.open(file) as tar:
        index = tar.extractfile("index.json")
        assert index is not None
        reference: str = json.load(index)["manifests"][0]["annotations"]["io.containerd.image.name"]
        return reference


def tar_of(files: Mapping[str, str | bytes], mode: int = 0o755) -> bytes:
    """Return a tar.gz with these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def digest(data: bytes, reference: str | None = None) -> dict[str, Any]:
    """Return the table of digests for one artefact."""
    return {ARCH: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "reference": reference}}
