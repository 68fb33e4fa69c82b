# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the built collection with galaxy-importer, which runs in the virtual environment ``.dev/importer``."""

from __future__ import annotations

import os
import subprocess
import sys

from tools import package
from tools.package import ROOT

CONFIGURATION = """\
[galaxy-importer]
run_ansible_test = false
infra_osd = false
check_required_tags = false
"""


def main() -> int:
    """Build the archive and have it imported; return the importer's exit code."""
    home = ROOT / ".dev" / "importer"
    if not (home / "bin" / "python").exists():
        raise SystemExit("galaxy-importer's environment is missing: run `make dev-importer`")
    archive = package.build()
    configuration = package.BUILD / "galaxy-importer.cfg"
    configuration.write_text(CONFIGURATION)
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "PATH": os.pathsep.join([str(home / "bin"), os.environ["PATH"]]),
        "GALAXY_IMPORTER_CONFIG": str(configuration),
    }
    command = [str(home / "bin" / "python"), "-m", "galaxy_importer.main", str(archive)]
    return subprocess.run(command, cwd=package.BUILD, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
