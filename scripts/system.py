"""Install the Debian packages that this machine lacks when run as root, else name them. Run by `make system`.

Triton, Envoy, MLflow and PostgreSQL come from Python wheels that bring nearly all of their shared libraries; what the
wheels leave to the system was read with `ldd`, and is listed here with what needs it.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend.embedded.platform import inspect

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
OF_DEBIAN = sys.base_prefix == "/usr"  # an interpreter built elsewhere brings its own venv module and shared library


@dataclass(frozen=True)
class Package:
    """A Debian package, what needs it, and whether what it brings is already here."""

    name: str
    needed_by: str
    present: Callable[[], bool]


def packages() -> list[Package]:
    """Everything that Countersign, its tests and its pictures need from the system."""
    found = [
        Package("git", "the tests, which look at the tracked files", lambda: shutil.which("git") is not None),
        Package("libstdc++6", "Triton", lambda: ctypes.util.find_library("stdc++") is not None),
        Package("zlib1g", "Triton and PostgreSQL", lambda: ctypes.util.find_library("z") is not None),
        Package("chromium", "browser tests and screenshots", lambda: shutil.which("chromium") is not None),
        Package("nodejs", "the tests of sign-in, for their OpenID provider", lambda: shutil.which("node") is not None),
        Package("npm", "installing that provider", lambda: shutil.which("npm") is not None),
        Package("prometheus", "the slow test of generated rules, for promtool", lambda: shutil.which("promtool") is not None),
    ]
    if OF_DEBIAN:
        found.append(Package(f"python{VERSION}-venv", "make setup", lambda: importlib.util.find_spec("ensurepip") is not None))
        found.append(Package(f"libpython{VERSION}", "Triton's Python backend", lambda: inspect().libpython is not None))
    return found


def missing() -> list[Package]:
    return [package for package in packages() if not package.present()]


def install(names: list[str]) -> None:
    """Fetch Debian's package lists and install the packages without what they merely recommend."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", *names]):
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=True)


def main() -> int:
    lacking = missing()
    for package in lacking:
        print(f"Missing: {package.name}, needed by {package.needed_by}.", flush=True)
    if not lacking:
        print("Every system package that Countersign needs is here.")
        return 0
    names = [package.name for package in lacking]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"Install with: sudo apt-get install --no-install-recommends {' '.join(names)}")
        return 1
    install(names)
    still = [package.name for package in missing()]
    print(f"Still missing: {', '.join(still)}." if still else "Installed.")
    return 1 if still else 0


if __name__ == "__main__":
    sys.exit(main())
