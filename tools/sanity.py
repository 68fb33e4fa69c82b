# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``ansible-test sanity`` on the collection as it is shipped, also where its own downloads cannot be reached.

ansible-test wants the real path of a collection to end in ``ansible_collections/NAMESPACE/NAME`` and bootstraps pip in
its virtual environments by a script from a site of its own. Here it gets a home directory under ``.dev/sanity`` with a
stand-in for that script, which takes pip from the Python installation and the index that pip is configured for.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools import package

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".dev" / "sanity"
GET_PIP = '''\
"""Stand-in for get-pip: pip comes from the Python installation (ensurepip), its release from the configured index."""
import subprocess
import sys

arguments = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip", "--upgrade", "--default-pip"], stdout=subprocess.DEVNULL)
subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "pip=={version}"] + arguments)
'''


def unpack() -> Path:
    """Build the collection and unpack it to a path that ansible-test accepts, the others beside it; return the path."""
    collections = WORK / "ansible_collections"
    shutil.rmtree(collections, ignore_errors=True)
    target = collections / "stagecraft" / "gitops"
    target.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--file", package.build(), "--directory", target], check=True)
    # ansible-test lists files by Git: without a repository of its own it would find the checkout's, which ignores .dev.
    subprocess.run(["git", "init", "--quiet", str(target)], check=True)
    for other in (ROOT / ".dev" / "collections" / "ansible_collections").iterdir():
        if other.is_dir() and other.name != "stagecraft":
            (collections / other.name).symlink_to(other)
    return target


def pip_version() -> str:
    """Return the release of pip that this ansible-test bootstraps."""
    specification = importlib.util.find_spec("ansible_test")
    if specification is None or not specification.submodule_search_locations:
        raise SystemExit("ansible-test is not installed: run `make dev`")
    source = Path(specification.submodule_search_locations[0], "_internal", "python_requirements.py").read_text()
    found = re.search(r"""["']?pip["']?\s*[=:]\s*["']([0-9.]+)["']""", source)
    if found is None:
        raise SystemExit("wanted the release of pip in ansible_test/_internal/python_requirements.py, found none")
    return found.group(1)


def make_home() -> Path:
    """Make the home directory that ansible-test sees: the stand-in and pip's configuration; return it."""
    home = WORK / "home"
    version = pip_version()
    script = home / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(GET_PIP.replace("{version}", version))
    # ansible-test hides PIP_* variables from pip, and this home hides the user's configuration: hand both on.
    answer = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = dict(re.findall(r"^(?:global|:env:)\.(\S+?)='(.*)'$", answer.stdout, re.MULTILINE))
    configuration = home / ".config" / "pip" / "pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in sorted(settings.items())))
    return home


def search_path() -> str:
    """Return PATH with the directories of real Pythons first and without pyenv's shims, which fail when called."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    real = sorted(str(path) for path in (pyenv / "versions").glob("3.*/bin"))
    rest = [path for path in os.environ["PATH"].split(os.pathsep) if path != str(pyenv / "shims")]
    return os.pathsep.join([str(Path(sys.executable).parent), *real, *rest])


def main() -> int:
    """Run the sanity tests with the given arguments; return their exit code."""
    target = unpack()
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "HOME": str(make_home()),
        "PATH": search_path(),
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.run(
        ["ansible-test", "sanity", *sys.argv[1:]], cwd=target, env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
