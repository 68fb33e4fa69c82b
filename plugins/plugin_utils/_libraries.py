# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for Python libraries that are not installed: importing goes well, using one says what to install.

Ansible loads every plugin to list or document it, on machines that have nothing but Ansible.
"""

from __future__ import annotations

from typing import Any, NoReturn


class LibraryMissingError(Exception):
    """A Python library of the controller is needed and not installed."""


class _Missing:
    def __init__(self, name: str, error: ImportError) -> None:
        self._name, self._error = name, error

    def __getattr__(self, attribute: str) -> NoReturn:
        # Python itself asks objects for dunder attributes: they have to be told apart from a use.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise LibraryMissingError(
            f"wanted the Python library {self._name} on the controller, found: {self._error}."
            f" Install it for the Python that runs Ansible: pip install {self._name}"
        ) from self._error


def missing(name: str, error: ImportError) -> Any:
    """Return what stands for the library ``name``: the first use of any part of it raises LibraryMissingError."""
    return _Missing(name, error)
