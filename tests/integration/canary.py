# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for a known secret where none may be: in texts and files, and meanwhile in the arguments of processes and in temporary files."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import base64_forms

_PAUSE = 0.02
_BEGINNING = 16
_RUNS = "tests/integration/playbooks/test_canary.py"
_HOSTS = "tests/integration/sandbox/test_canary.py"
_SEALED = "tests/integration/sealed_secrets/test_flux.py::test_no_verb_of_an_admin_shows_a_value"
_K3S = "tests/integration/k3s/test_reset.py::test_nothing_secret_was_shown"
_MINIKUBE = "tests/integration/minikube/test_changes.py::test_nothing_secret_was_shown"
_OPENBAO = "tests/integration/openbao_host/test_lifecycle.py::test_nothing_secret_was_shown_or_left"

#: The test that runs a playbook with -vvvv and looks for what it must not show. tests/unit/test_canary.py wants one of each.
TESTS: Mapping[str, str] = {
    "bootstrap-access": f"{_RUNS}::test_the_first_login_is_not_shown",
    "bundle": f"{_RUNS}::test_artefacts_and_holds_show_nothing",
    "diagnose": f"{_RUNS}::test_the_verbs_on_a_cluster_show_nothing",
    "drill-openbao": _OPENBAO,
    "drill-sealed-secrets": _SEALED,
    "hold": f"{_RUNS}::test_artefacts_and_holds_show_nothing",
    "mirror": f"{_RUNS}::test_artefacts_and_holds_show_nothing",
    "openbao": _OPENBAO,
    "promote": _SEALED,
    "reset": _K3S,
    "resume": f"{_RUNS}::test_the_verbs_on_a_cluster_show_nothing",
    "rollback": _SEALED,
    "rotate-sealing-key": _SEALED,
    "sandbox": f"{_HOSTS}::test_the_sandboxes_own_playbooks_show_nothing",
    "sandbox-forge": f"{_HOSTS}::test_the_sandboxes_own_playbooks_show_nothing",
    "sandbox-secrets": f"{_HOSTS}::test_the_sandboxes_own_playbooks_show_nothing",
    "seal-secrets": _SEALED,
    "setup-local": _MINIKUBE,
    "setup-production": "tests/integration/cluster/test_sealed.py::test_a_secret_on_its_way_through_the_set_up_is_shown_nowhere",
    "setup-staging": _K3S,
    "status": _SEALED,
    "suspend": f"{_RUNS}::test_the_verbs_on_a_cluster_show_nothing",
    "validate-deployment": f"{_RUNS}::test_the_verbs_on_a_cluster_show_nothing",
    "verify-environment": _SEALED,
}


def forms_of(value: str) -> list[bytes]:
    """Return what is looked for: the value and its beginning (a part may be cut off), as they are and in encodings.

    These are base64 wherever the value begins in a longer text, hexadecimal, and as URLs and JSON write it.
    """
    return list(dict.fromkeys(form for text in (value, value[:_BEGINNING]) for form in encodings(text)))


def encodings(text: str) -> Iterator[bytes]:
    """Yield what a text may have become as a whole."""
    data = text.encode()
    yield data
    yield from base64_forms(data)
    yield from (data.hex().encode(), data.hex().upper().encode())
    yield from (quote(text, safe="").encode(), quote(text).encode())
    yield from (json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode() for ascii_only in (True, False))


def in_files(forms: Sequence[bytes], places: Iterable[Path], without: Sequence[str] = ()) -> list[str]:
    """Name the files below `places` that show a form; those with a name in `without` hold it by right."""
    found = []
    for path in (path for place in places for path in place.rglob("*")):
        try:
            if path.is_file() and path.name not in without:
                content = path.read_bytes()
                found += [f"{path}: {form!r}" for form in forms if form in content]
        except FileNotFoundError:
            continue
    return found


class Sampler:
    """A context in which `see_arguments` gets those of all processes, and `see_file` new files, as fast as can be.

    Processes of sandbox hosts are among the machine's own. `directories` are looked through for files of up to `largest`
    bytes; one is read again when it has changed.
    """

    def __init__(
        self,
        see_arguments: Callable[[str, bytes], None],
        see_file: Callable[[str, bytes], None],
        directories: Sequence[Path],
        largest: int = 1_000_000,
    ) -> None:
        self._see_arguments, self._see_file = see_arguments, see_file
        self._directories, self._largest = directories, largest
        self._read: set[tuple[str, int, int]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self._see_arguments(str(process), process.read_bytes())
                except OSError:
                    continue
            for directory in self._directories:
                # one that goes away while it is listed
                with contextlib.suppress(OSError):
                    self._look(directory)
            time.sleep(_PAUSE)

    def _look(self, directory: Path) -> None:
        for path in directory.rglob("*"):
            try:
                status = path.lstat()
                state = (str(path), status.st_mtime_ns, status.st_size)
                if state in self._read or status.st_size > self._largest or path.is_symlink() or not path.is_file():
                    continue
                content = path.read_bytes()
            except OSError:
                continue
            self._read.add(state)
            self._see_file(str(path), content)


class Watch(Sampler):
    """Notes in `found` where a form was seen, in the arguments of processes and in directories of temporary files."""

    def __init__(self, forms: Sequence[bytes], temporary: Sequence[Path] = ()) -> None:
        self.found: set[str] = set()
        self._forms = forms
        super().__init__(self._search, self._search, temporary)

    def __enter__(self) -> Watch:
        super().__enter__()
        return self

    def _search(self, where: str, content: bytes) -> None:
        if any(form in content for form in self._forms):
            self.found.add(where)
