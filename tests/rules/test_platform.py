"""The platform check: what the embedded runtimes need, and what it tells a person whose machine has not got it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backend.embedded.platform import (
    Machine,
    envoy_shortfalls,
    inspect,
    python_shortfalls,
    triton_shortfalls,
)

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_12 = Machine("linux", "x86_64", (2, 36), (3, 11), "libpython3.11.so.1.0")


def test_a_machine_that_has_everything_lacks_nothing() -> None:
    assert triton_shortfalls(DEBIAN_12) == []
    assert envoy_shortfalls(DEBIAN_12) == []
    assert python_shortfalls(DEBIAN_12) == []


@pytest.mark.parametrize("python", [(3, 11), (3, 12)])
@pytest.mark.parametrize("glibc", [(2, 35), (2, 41), (3, 0)])
def test_the_bounds_themselves_are_enough(python: tuple[int, int], glibc: tuple[int, int]) -> None:
    assert triton_shortfalls(replace(DEBIAN_12, python=python, glibc=glibc)) == []


@pytest.mark.parametrize(
    ("machine", "lacks", "remedy"),
    [
        (replace(DEBIAN_12, system="darwin", glibc=None), "operating system is darwin", "built for Linux"),
        (replace(DEBIAN_12, architecture="aarch64"), "processor is aarch64", "built for x86_64"),
        (replace(DEBIAN_12, glibc=(2, 34)), "glibc is 2.34", "2.35 or newer"),
        (replace(DEBIAN_12, glibc=None), "not glibc", "glibc 2.35"),
        (replace(DEBIAN_12, python=(3, 13)), "Python is 3.13", "PYTHON=python3.12"),
        (replace(DEBIAN_12, python=(3, 10)), "Python is 3.10", "PYTHON=python3.12"),
        (replace(DEBIAN_12, libpython=None), "no shared library (libpython3.11.so.1.0)", "libpython3.11"),
    ],
)
def test_each_thing_that_triton_lacks_is_named_with_its_remedy(machine: Machine, lacks: str, remedy: str) -> None:
    (shortfall,) = triton_shortfalls(machine)
    assert lacks in shortfall.lacks
    assert remedy in shortfall.remedy


def test_several_things_that_triton_lacks_are_all_named() -> None:
    poor = replace(DEBIAN_12, architecture="aarch64", glibc=(2, 31), python=(3, 12), libpython=None)
    assert len(triton_shortfalls(poor)) == 3


def test_envoy_asks_for_less_than_triton() -> None:
    assert envoy_shortfalls(replace(DEBIAN_12, architecture="aarch64", glibc=(2, 31), libpython=None)) == []
    assert len(envoy_shortfalls(replace(DEBIAN_12, architecture="riscv64", glibc=(2, 30)))) == 2
    assert len(envoy_shortfalls(replace(DEBIAN_12, system="darwin"))) == 1


def test_an_old_python_cannot_run_countersign_at_all() -> None:
    (shortfall,) = python_shortfalls(replace(DEBIAN_12, python=(3, 10)))
    assert "3.11 or newer" in shortfall.remedy
    assert python_shortfalls(replace(DEBIAN_12, python=(3, 14))) == []


def test_inspect_reads_the_running_interpreter() -> None:
    machine = inspect()
    assert machine.python == sys.version_info[:2]
    assert machine.system == sys.platform
    assert machine.libpython is None or f"libpython{machine.python[0]}.{machine.python[1]}.so" in machine.libpython


def test_the_check_runs_before_anything_is_installed() -> None:
    """`-S` hides every installed package and `-I` the environment; only the standard library is left."""
    check = subprocess.run(
        [sys.executable, "-I", "-S", "scripts/platform_check.py"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    expected = 3 if triton_shortfalls(inspect()) or envoy_shortfalls(inspect()) else 0
    assert (check.returncode, check.stderr) == (expected, "")
    assert check.stdout.startswith("Platform: ")


def test_no_environment_is_made_through_a_link_to_another_clone(tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "clone" / ".venv").symlink_to(theirs)
    told = (
        f"import sys, pathlib; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import environments as e; "
        f"e.ROOT = pathlib.Path({str(tmp_path / 'clone')!r}); e.refuse_shared(e.ROOT / sys.argv[1])"
    )
    linked = subprocess.run([sys.executable, "-c", told, ".venv"], capture_output=True, text=True, check=False)
    assert linked.returncode == 1
    assert "remove the link" in linked.stdout + linked.stderr
    assert subprocess.run([sys.executable, "-c", told, ".runtimes/tools"], check=False).returncode == 0
