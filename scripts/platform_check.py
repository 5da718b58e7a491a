"""Say whether this machine can run Countersign and the embedded Triton and Envoy. Runs before anything is installed.

Exit status: 0 everything can run; 3 Countersign can run, but not every embedded runtime; 1 Countersign cannot run.
"""

from __future__ import annotations

import sys
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

READY, NO_COUNTERSIGN, NOT_EVERY_RUNTIME = 0, 1, 3


def describe(machine: Machine) -> str:
    """One line that names what was looked at."""
    glibc = f"glibc {machine.glibc[0]}.{machine.glibc[1]}" if machine.glibc else "no glibc"
    return f"{machine.system} {machine.architecture}, {glibc}, Python {machine.python[0]}.{machine.python[1]}"


def verdict(runtime: str, shortfalls: list[Shortfall]) -> list[str]:
    """The lines about one embedded runtime."""
    if not shortfalls:
        return [f"The embedded {runtime} can run here."]
    return [
        f"The embedded {runtime} cannot run here:",
        *(f"  - {shortfall}" for shortfall in shortfalls),
        f"  Everything else works, against any {runtime} or other server that you add.",
    ]


def main() -> int:
    machine = inspect()
    print(f"Platform: {describe(machine)}")
    hopeless = python_shortfalls(machine)
    if hopeless:
        print(*hopeless, sep="\n")
        return NO_COUNTERSIGN
    runtimes = {"Triton": triton_shortfalls(machine), "Envoy": envoy_shortfalls(machine)}
    for runtime, shortfalls in runtimes.items():
        print(*verdict(runtime, shortfalls), sep="\n")
    return NOT_EVERY_RUNTIME if any(runtimes.values()) else READY


if __name__ == "__main__":
    sys.exit(main())
