# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a text from being edited, in words for the admin."""

from __future__ import annotations


class YamlEditError(Exception):
    """The text is no YAML, has not the place that is to be edited, or cannot be edited without side effects."""
