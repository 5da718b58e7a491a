"""What a run was made on: enough to compare two runs, and nothing that names a machine or a person."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import psutil

from backend.embedded import runtimes


def facts(packages: Iterable[str]) -> dict[str, str | int | float]:
    """The time of the run, processor, memory, system, and the versions of Python and of the packages that matter."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_1_min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in sorted(packages)},
    }


def _version(package: str) -> str:
    """The version in this environment, or in one of the runtimes' own."""
    try:
        return version(package)
    except PackageNotFoundError:
        places = [str(one) for one in runtimes.folder(_configured()).glob("*/lib/python3.*/site-packages")]
        found = next(iter(distributions(name=package, path=places)), None)
        if found is None:
            raise
        return found.version


def _configured() -> Path | None:
    named = os.environ.get("COUNTERSIGN_RUNTIMES_DIR")
    return Path(named) if named else None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
