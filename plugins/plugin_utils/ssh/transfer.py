# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files to a host by SFTP: nothing sent twice, interrupted uploads taken up again, and never a half file."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing

from .connection import NO_PRIVILEGE, Privilege, run_script
from .errors import DigestMismatchError, DiskFullError, SshError, TransferError, UnreachableError

try:
    import paramiko
except ImportError as error:
    paramiko = missing("paramiko", error)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# OpenSSH's sftp-server takes requests of up to 256 KiB; others need only take 32 KiB.
_REQUEST_OPENSSH = 240 * 1024
_REQUEST_OTHERS = 32 * 1024
# Room that must stay free beside the files themselves: directory blocks, journals, logs that grow meanwhile.
_HEADROOM = 4 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)

# digest: sha256 of standard input by the quickest program at hand. openssl uses the CPU's SHA instructions.
_FUNCTIONS = r"""
LC_ALL=C; export LC_ALL; umask 077
if command -v openssl >/dev/null 2>&1; then digest() { openssl dgst -sha256 -r | cut -c1-64; }
elif command -v python3 >/dev/null 2>&1; then digest() { python3 -c '
import hashlib, sys
h = hashlib.sha256()
for block in iter(lambda: sys.stdin.buffer.read(1048576), b""):
    h.update(block)
print(h.hexdigest())'; }
elif command -v sha256sum >/dev/null 2>&1; then digest() { sha256sum | cut -c1-64; }
else echo "no openssl, python3 or sha256sum on the host to check files with" >&2; exit 90; fi
size() { wc -c <"$1" | tr -d ' '; }
room() {
  d=$1
  while [ ! -d "$d" ]; do d=$(dirname "$d"); done
  df -Pk "$d" | sed -n '$s/^.* \([0-9][0-9]*\)  *[0-9-][0-9-]*%  *\(\/.*\)$/\1 \2/p'
}
"""
_PROBE = r"""
probe() {
  printf 'item %s\n' "$1"
  printf 'room %s\n' "$(room "$(dirname "$2")")"
  if [ -d "$2" ]; then echo directory
  elif [ -f "$2" ]; then
    n=$(size "$2") || exit 1
    if [ "$n" = "$4" ]; then printf 'file %s %s %s\n' "$n" "$(stat -c %a "$2")" "$(digest <"$2")"
    else printf 'file %s - -\n' "$n"; fi
  fi
  if [ -f "$3" ]; then
    n=$(size "$3") || exit 1
    if [ "$n" -gt 0 ] && [ "$n" -le "$4" ]; then printf 'part %s %s\n' "$n" "$(digest <"$3")"
    else printf 'part %s -\n' "$n"; fi
  fi
}
"""
_FINISH = r"""
finish() {
  part=$1 remote=$2 wanted=$3 mode=$4 bytes=$5
  n=$(size "$part") || exit 1
  if [ "$n" != "$bytes" ]; then printf 'short %s %s\n' "$n" "$(room "$(dirname "$part")")"; return; fi
  sum=$(digest <"$part")
  if [ "$sum" != "$wanted" ]; then rm -f "$part"; printf 'wrong %s\n' "$sum"; return; fi
  chmod "$mode" "$part" || exit 1
  sync "$part" 2>/dev/null || sync
  mv -f "$part" "$remote" || exit 1
  echo done
}
"""


@dataclass(frozen=True, slots=True)
class Push:
    """One file to put on a host. ``remote`` is absolute, ``sha256`` in hex, ``mode`` as an integer (0o644)."""

    local: Path
    remote: str
    sha256: str
    mode: int = 0o644

    @property
    def part(self) -> str:
        """Where the file grows until it is whole: beside its place, so that the last step is a rename."""
        path = PurePosixPath(self.remote)
        return str(path.parent / f".{path.name}.{self.sha256[:16]}.part")


@dataclass(frozen=True, slots=True)
class FarSide:
    """What the host has of one file. Sizes and room in bytes; a digest is None where it could not match anyway."""

    room: int
    mount: str
    directory: bool = False
    size: int | None = None
    mode: int | None = None
    digest: str | None = None
    part_size: int = 0
    part_digest: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done about one file: ``keep`` it, correct its ``mode``, or ``send`` it from ``offset`` bytes on."""

    push: Push
    action: Literal["keep", "mode", "send"]
    size: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was done about one file; ``sent`` are the bytes that went over the line for its content."""

    remote: str
    changed: bool
    sent: int
    size: int
    resumed_at: int = 0


def plan(
    pushes: Sequence[Push], sizes: Sequence[int], far: Sequence[FarSide], prefixes: Sequence[str | None], where: str
) -> list[Step]:
    """Decide what to do about every file.

    Given are its local size, what the host has, and the local digest of as many bytes as the host has in its unfinished
    copy. DiskFullError or TransferError, with all files in one message, when it cannot work.
    """
    steps: list[Step] = []
    problems: list[str] = []
    for push, size, state, prefix in zip(pushes, sizes, far, prefixes, strict=True):
        if state.directory:
            problems.append(f"{push.remote} is a directory; name the file")
            continue
        if state.digest == push.sha256:
            steps.append(Step(push, "keep" if state.mode == push.mode else "mode", size))
            continue
        resumable = state.part_size > 0 and prefix is not None and prefix == state.part_digest
        steps.append(Step(push, "send", size, state.part_size if resumable else 0))
    if problems:
        raise TransferError(f"cannot push to {where}: {'; '.join(problems)}.")
    needs: dict[str, int] = {}
    rooms: dict[str, int] = {}
    for step, state in zip(steps, far, strict=True):
        if step.action == "send":
            # What an unusable unfinished copy takes up now becomes free, since it is written over.
            needs[state.mount] = needs.get(state.mount, 0) + step.size - min(state.part_size, step.size)
            rooms[state.mount] = state.room
    short = [
        f"{mount} has {_mib(rooms[mount])} free, {_mib(need + _HEADROOM)} are needed"
        for mount, need in sorted(needs.items())
        if need + _HEADROOM > rooms[mount]
    ]
    if short:
        raise DiskFullError(
            f"no room on {where}: {'; '.join(short)}. Nothing was sent. "
            "Free some space or enlarge the disk, then run again."
        )
    return steps


def push_file(
    client: paramiko.SSHClient,
    local: Path | str,
    remote: str,
    sha256: str,
    mode: int = 0o644,
    *,
    rights: Privilege = NO_PRIVILEGE,
) -> Pushed:
    """Put one file on a host; see `push_files`."""
    return push_files(client, [Push(Path(local), remote, sha256, mode)], rights=rights)[0]


def push_files(
    client: paramiko.SSHClient, pushes: Iterable[Push], *, rights: Privilege = NO_PRIVILEGE, check_mode: bool = False
) -> list[Pushed]:
    """Put files on a host over one connection; each is whole and has its digest before it takes its name.

    A file that is there already costs a look. An upload that broke off is taken up where it stopped, once the part on
    the host is known to be a true beginning. Missing parent directories are made (0755). With ``check_mode`` nothing is
    changed and the answer is what would be.

    Raises DiskFullError (before anything is sent, or when others fill the disk meanwhile), DigestMismatchError,
    TransferError, UnreachableError (the connection broke; a later call resumes).
    """
    wanted = list(pushes)
    where = _where(client)
    sizes = [_local_size(push) for push in wanted]
    far = observe(client, wanted, sizes, rights)
    prefixes = [
        digest(push.local, state.part_size) if state.part_digest and state.digest != push.sha256 else None
        for push, state in zip(wanted, far, strict=True)
    ]
    steps = plan(wanted, sizes, far, prefixes, where)
    if not check_mode:
        _apply(client, steps, rights, where)
    return [
        Pushed(
            step.push.remote,
            step.action != "keep",
            step.size - step.offset if step.action == "send" else 0,
            step.size,
            step.offset,
        )
        for step in steps
    ]


def observe(
    client: paramiko.SSHClient, pushes: Sequence[Push], sizes: Sequence[int], rights: Privilege
) -> list[FarSide]:
    """Look what the host has of each file, in one round trip."""
    if not pushes:
        return []
    calls = "".join(
        f"probe {number} {shlex.quote(push.remote)} {shlex.quote(push.part)} {size}\n"
        for number, (push, size) in enumerate(zip(pushes, sizes, strict=True))
    )
    answer = run_script(client, _FUNCTIONS + _PROBE + calls, rights, timeout=None)
    far = parse_probe(answer.stdout)
    if len(far) != len(pushes):
        raise TransferError(
            f"{_where(client)} answered for {len(far)} of {len(pushes)} files: {answer.stdout[-500:]!r}"
        )
    return far


def parse_probe(text: str) -> list[FarSide]:
    """Read the probe's output: one FarSide for each ``item`` line. TransferError on anything that is not understood."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        word, _unused, rest = line.partition(" ")
        try:
            if word == "item":
                found.append({"room": 0, "mount": ""})
            else:
                found[-1].update(_probe_line(word, rest))
        except (KeyError, ValueError, IndexError) as error:
            raise TransferError(f"the host's answer about its files is not understood: {line!r}") from error
    return [FarSide(**entry) for entry in found]


def _probe_line(word: str, rest: str) -> dict[str, Any]:
    fields = rest.split(" ")
    found = fields[-1] if _SHA256.fullmatch(fields[-1]) else None
    match word:
        case "room":
            kib, _unused, mount = rest.partition(" ")
            return {"room": int(kib) * 1024, "mount": mount}
        case "directory":
            return {"directory": True}
        case "file":
            return {"size": int(fields[0]), "mode": int(fields[1], 8) if found else None, "digest": found}
        case "part":
            return {"part_size": int(fields[0]), "part_digest": found}
    raise KeyError(word)


def _apply(client: paramiko.SSHClient, steps: Sequence[Step], rights: Privilege, where: str) -> None:
    modes = [f"chmod {step.push.mode:o} {shlex.quote(step.push.remote)}\n" for step in steps if step.action == "mode"]
    # The host checks one file while the next is on its way, so the last one, which all wait for, is the smallest.
    sends = sorted((step for step in steps if step.action == "send"), key=lambda step: -step.size)
    folders = sorted({str(PurePosixPath(step.push.remote).parent) for step in sends})
    prepare = [f"[ -d {shlex.quote(name)} ] || (umask 022; mkdir -p {shlex.quote(name)})\n" for name in folders]
    # Made here, not by SFTP, to have 0600 from its first byte on.
    prepare += [f": >>{shlex.quote(step.push.part)}\n" for step in sends]
    if modes or prepare:
        run_script(client, "set -e; umask 077\n" + "".join(modes + prepare), rights)
    if not sends:
        return
    finishing: list[tuple[Step, Future[str]]] = []
    with _sftp(client, rights) as sftp, ThreadPoolExecutor(max_workers=1) as pool:
        for step in sends:
            _send(client, sftp, step, rights, where)
            finishing.append((step, pool.submit(_finish, client, step, rights)))
            for earlier, future in finishing:
                if future.done():
                    _judge(client, earlier, future.result(), rights, where)
        for step, future in finishing:
            _judge(client, step, future.result(), rights, where)


@contextlib.contextmanager
def _sftp(client: paramiko.SSHClient, rights: Privilege) -> Iterator[paramiko.SFTPClient]:
    transport = client.get_transport()
    if transport is None:
        raise UnreachableError("the SSH connection is closed.")
    try:
        channel = transport.open_session()
        if rights.words:
            tries = "; ".join(f"[ -x {path} ] && exec {path}" for path in _SFTP_SERVERS)
            channel.exec_command(f"{rights.words}sh -c {shlex.quote(f'{tries}; exit 127')}")
            channel.sendall(rights.secret)
        else:
            channel.invoke_subsystem("sftp")
        sftp = paramiko.SFTPClient(channel)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise TransferError(
            f"{_where(client)} offers no SFTP: {error or type(error).__name__}. Its sshd needs the line "
            "`Subsystem sftp internal-sftp`, or the program sftp-server where files are written with sudo "
            "(Debian: package openssh-sftp-server)."
        ) from error
    with contextlib.closing(sftp):
        yield sftp


def _send(client: paramiko.SSHClient, sftp: paramiko.SFTPClient, step: Step, rights: Privilege, where: str) -> None:
    transport = client.get_transport()
    openssh = transport is not None and "OpenSSH" in transport.remote_version
    request = _REQUEST_OPENSSH if openssh else _REQUEST_OTHERS
    try:
        with step.push.local.open("rb", buffering=0) as source:
            source.seek(step.offset)
            far = sftp.open(step.push.part, "r+b" if step.offset else "wb", 0)
            try:
                far.MAX_REQUEST_SIZE = request
                far.set_pipelined(True)
                far.seek(step.offset)
                while block := source.read(request):
                    far.write(block)
            finally:
                far.close()
    except (paramiko.SSHException, EOFError, OSError) as error:
        broken = UnreachableError(
            f"the connection to {where} broke while {step.push.remote} was sent: {error or type(error).__name__}. "
            "Run again: the upload is taken up where it stopped."
        )
        if transport is None or not transport.is_active():
            raise broken from error
        try:
            state = observe(client, [step.push], [step.size], rights)[0]
        except UnreachableError:
            # The channel had noticed before the transport did.
            raise broken from error
        _fail_if_full(client, step, state, rights, where)
        raise TransferError(
            f"{where} refused to take {step.push.remote} after {state.part_size} bytes: {error}"
        ) from error


def _finish(client: paramiko.SSHClient, step: Step, rights: Privilege) -> str:
    path = PurePosixPath(step.push.remote)
    arguments = [step.push.part, step.push.remote, step.push.sha256, f"{step.push.mode:o}", str(step.size)]
    # Unfinished copies of other versions of this file are of no use to anybody any more.
    others = f"{shlex.quote(str(path.parent / ('.' + path.name)))}.????????????????.part"
    script = f"finish {' '.join(map(shlex.quote, arguments))}\n[ -e {shlex.quote(step.push.part)} ] || rm -f {others}\n"
    return run_script(client, _FUNCTIONS + _FINISH + script, rights, timeout=None).stdout.strip()


def _judge(client: paramiko.SSHClient, step: Step, answer: str, rights: Privilege, where: str) -> None:
    word, _unused, rest = answer.partition(" ")
    push = step.push
    if word == "done":
        return
    if word == "wrong":
        here = digest(push.local)
        if here != push.sha256:
            raise DigestMismatchError(
                f"{push.local} on the controller is not the file that was asked for: wanted sha256 {push.sha256}, "
                f"found {here}. {push.remote} on {where} was not touched. Remove the damaged file from the cache and "
                "run again."
            )
        raise DigestMismatchError(
            f"{push.remote} arrived damaged on {where}: wanted sha256 {push.sha256}, found {rest}. It was thrown away, "
            "and what stood there before was not touched. Run again; if it happens again, suspect the host's disk or "
            "memory."
        )
    if word == "short":
        size, kib, mount = rest.split(" ", 2)
        state = FarSide(int(kib) * 1024, mount, part_size=int(size))
        _fail_if_full(client, step, state, rights, where)
        raise TransferError(
            f"only {size} of {step.size} bytes of {push.remote} arrived on {where}. "
            "Run again: the upload is taken up there."
        )
    raise TransferError(f"{where} gave an answer about {push.remote} that is not understood: {answer!r}")


def _fail_if_full(client: paramiko.SSHClient, step: Step, state: FarSide, rights: Privilege, where: str) -> None:
    """DiskFullError when what is still missing has no room; the unfinished copy is removed then."""
    missing = step.size - state.part_size
    if missing <= 0 or state.room >= missing:
        return
    with contextlib.suppress(SshError):
        run_script(client, f"rm -f {shlex.quote(step.push.part)}\n", rights)
    raise DiskFullError(
        f"the disk of {where} filled up while {step.push.remote} was sent: {_mib(missing)} were still to come, "
        f"{state.mount} has {_mib(state.room)} free. The unfinished copy was removed and what stood there before was "
        "not touched. Free some space or enlarge the disk, then run again."
    )


def _local_size(push: Push) -> int:
    if not _SHA256.fullmatch(push.sha256):
        raise TransferError(f"{push.sha256!r} is not a sha256 digest in hex (for {push.remote}).")
    if not push.remote.startswith("/") or push.remote.endswith("/"):
        raise TransferError(f"{push.remote!r} is not the absolute path of a file on the host.")
    try:
        if not push.local.is_file():
            raise FileNotFoundError("no such file")
        return push.local.stat().st_size
    except OSError as error:
        raise TransferError(f"cannot read {push.local} on the controller: {error.strerror or error}.") from error


def digest(path: Path, length: int | None = None) -> str:
    """Compute the sha256 in hex of a local file, or of its first ``length`` bytes. TransferError when unreadable."""
    found = hashlib.sha256()
    try:
        left = path.stat().st_size if length is None else length
        with path.open("rb") as handle:
            while left > 0 and (block := handle.read(min(left, 1 << 20))):
                found.update(block)
                left -= len(block)
    except OSError as error:
        raise TransferError(f"cannot read {path} on the controller: {error.strerror or error}.") from error
    return found.hexdigest()


def _mib(size: int) -> str:
    return f"{size / 1048576:.1f} MiB"


def _where(client: paramiko.SSHClient) -> str:
    transport = client.get_transport()
    with contextlib.suppress(Exception):
        if transport is not None:
            address = transport.getpeername()
            return f"{transport.get_username()}@{address[0]} port {address[1]}"
    return "the host"
