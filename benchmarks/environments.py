"""Environments of peers that cannot live beside the app (another pandas, another numpy), made when a benchmark asks for them.

One folder a peer under `.runtimes/`, from `requirements/<peer>.lock` with its hashes where there is one (`make lock` writes
it), otherwise from the pins of `requirements/<peer>.in`. Packages come from wherever pip is configured to look.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import progress

ROOT = Path(__file__).resolve().parent.parent


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made first where it is missing or was made from other pins."""
    folder, source = ROOT / ".runtimes" / f"bench-{peer}", _source(peer)
    python, stamp = folder / "bin" / "python", folder / "made-from"
    wanted = hashlib.sha256(source.read_bytes()).hexdigest()
    if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
        progress(f"making the environment of {peer} from {source.relative_to(ROOT)} (minutes)")
        _make(folder, source)
        stamp.write_text(wanted)
    return python


def _source(peer: str) -> Path:
    lock = ROOT / "requirements" / f"{peer}.lock"
    return lock if lock.exists() else lock.with_suffix(".in")


def _make(folder: Path, source: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    base = Path(sys.executable).resolve()
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    hashes = ["--require-hashes"] if source.suffix == ".lock" else []
    command: list[str | Path] = [
        sys.executable,
        "-I",
        "-m",
        "pip",
        "--python",
        folder / "bin" / "python",
        "install",
        "-qq",
        *hashes,
    ]
    subprocess.run([*command, "--requirement", source], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
