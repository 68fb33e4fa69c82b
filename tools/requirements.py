# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile ``requirements/*.in`` into pinned and hashed ``*.txt`` that hold for every supported Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
COMPILE = ["pip", "compile", "--quiet", "--upgrade", "--universal", "--generate-hashes", "--no-emit-index-url"]
# collections.txt holds one wheel that is only unpacked: neither its dependencies nor its own floor for Python matter.
FILES = {
    "runtime": ["--python-version", "3.11"],
    "dev": ["--python-version", "3.11"],
    "importer": ["--python-version", "3.11"],
    "tools": ["--python-version", "3.11"],
    "go": ["--python-version", "3.11"],
    "openbao": ["--python-version", "3.13", "--no-deps"],
    **{f"compat-{version}": ["--python-version", "3.13", "--no-deps"] for version in ("2.18", "2.19", "2.20", "2.21")},
    "collections": ["--python-version", "3.13", "--no-deps"],
}


def main() -> None:
    """Install the pinned uv under ``.dev/uv`` and compile every file."""
    home = ROOT / ".dev" / "uv"
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    install = [str(home / "bin" / "pip"), "install", "--quiet", "--require-hashes", "--requirement", "tools.txt"]
    subprocess.run(install, cwd=REQUIREMENTS, check=True)
    # uv does not read pip's configuration: hand the index over, which no file of ours may name.
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], check=False, capture_output=True, text=True
    )
    index = ["--default-index", answer.stdout.strip()] if answer.returncode == 0 else []
    for name, options in FILES.items():
        print(f"requirements/{name}.txt", flush=True)
        command = [
            str(home / "bin" / "uv"),
            *COMPILE,
            "--no-header",
            *index,
            *options,
            f"{name}.in",
            "--output-file",
            f"{name}.txt",
        ]
        subprocess.run(command, cwd=REQUIREMENTS, check=True)


if __name__ == "__main__":
    main()
