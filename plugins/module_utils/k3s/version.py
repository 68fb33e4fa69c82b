# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of K3s: v1.36.3+k3s1, the Kubernetes inside and a release number of K3s' own."""

from __future__ import annotations

import re

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-[0-9A-Za-z.]+)?(?:\+k3s(\d+))?")


def numbers(version: str) -> tuple[int, int, int, int]:
    """Return what versions are ordered by. Raises ValueError for what is none."""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"{version!r} is no version of K3s, such as v1.36.3+k3s1")
    major, minor, patch, release = (int(part or 0) for part in found.groups())
    return major, minor, patch, release


def minor(version: str) -> tuple[int, int]:
    """Return major and minor of the Kubernetes inside."""
    return numbers(version)[:2]
