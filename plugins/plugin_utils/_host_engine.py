# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an engine of ``module_utils`` on a host by the host's own Python and nothing else.

An Ansible module brings half of ansible-core with it, which costs each host a fifth of a second to unpack and import. Our
engines need the standard library only, so the action sends the engine itself: a zip of some ten kilobytes on standard
input, and the arguments behind it, which therefore show in no process list. Private to stagecraft.gitops.
"""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGES = ("ansible_collections", "stagecraft", "gitops", "plugins", "module_utils")
_HERE = Path(__file__).resolve().parent.parent / "module_utils"
#: The line after which the answer begins: a login shell or sudo may have said something before it.
_MARK = "stagecraft.gitops answers:"
_OLDEST = (1980, 1, 1, 0, 0, 0)  # what a zip can say; without times the same source is the same zip

# The zip lies in memory only: nothing is left on the host, whatever becomes of the connection.
_START = """
import json, os, sys
size = int(sys.stdin.buffer.readline())
store = os.memfd_create("stagecraft")
left = sys.stdin.buffer.read(size)
while left:
    left = left[os.write(store, left):]
sys.path.insert(0, "/proc/self/fd/%d" % store)
sys.dont_write_bytecode = True
job = json.loads(sys.stdin.buffer.read().decode("utf-8"))
module = __import__(job["module"], fromlist=[job["function"]])
try:
    answer = getattr(module, job["function"])(**job["arguments"])
except Exception as error:
    if job["error"] not in [one.__name__ for one in type(error).__mro__]:
        raise
    answer = {"failed": True, "msg": str(error)}
print(job["mark"] + json.dumps(answer))
"""


class HostEngineError(Exception):
    """The host's Python did not run the engine; the text says what it printed."""


@cache
def package(*engines: str) -> bytes:
    """Return a zip with packages of ``module_utils`` and what Python needs to import them under their full names."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for depth in range(1, len(_PACKAGES) + 1):
            _add(archive, "/".join([*_PACKAGES[:depth], "__init__.py"]), "")
        for engine in engines:
            for path in sorted((_HERE / engine).glob("*.py")):
                _add(archive, "/".join([*_PACKAGES, engine, path.name]), path.read_text(encoding="utf-8"))
    return made.getvalue()


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(name, _OLDEST), text, zipfile.ZIP_DEFLATED)


def command(interpreter: str, environment: str = "") -> str:
    """Return the shell command that runs what `job` sends; `environment` stands before it as ``NAME=value``."""
    return f"{environment} {shlex.quote(interpreter)} -I -c {shlex.quote(_START)}".strip()


def job(engines: Sequence[str], function: str, error: str, arguments: Mapping[str, Any]) -> bytes:
    """Return the standard input: the packages, and what to call.

    `function` is ``MODULE.NAME`` within the first one, `error` the exception whose text is a message for the admin.
    """
    module, _dot, name = function.rpartition(".")
    zipped = package(*engines)
    call = {
        "module": ".".join([*_PACKAGES, engines[0], module]),
        "function": name,
        "error": error,
        "arguments": arguments,
        "mark": _MARK,
    }
    return f"{len(zipped)}\n".encode() + zipped + json.dumps(call).encode()


def answer(status: int, stdout: str, stderr: str) -> dict[str, Any]:
    """Return what the function returned; ``failed`` and ``msg`` where it raised its own error. Raises HostEngineError."""
    line = next((line for line in reversed(stdout.splitlines()) if line.startswith(_MARK)), None)
    if status == 0 and line is not None:
        found: dict[str, Any] = json.loads(line.removeprefix(_MARK))
        return found
    said = (stderr.strip() or stdout.strip() or "nothing").splitlines()
    last = "\n".join(said[-12:])
    raise HostEngineError(f"the host's Python ended with status {status} and said:\n{last}")
