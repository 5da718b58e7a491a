"""`python -m backend.embedded.stop FOLDER`: end the process group that was kept running in FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from backend.core.errors import CountersignError
from backend.embedded.state import stop_group


def main(arguments: list[str]) -> int:
    """Exit code 0: it was stopped; 1: nothing ran there; 2: it could not be asked."""
    if len(arguments) != 1:
        print("usage: python -m backend.embedded.stop FOLDER", file=sys.stderr)
        return 2
    try:
        stopped = stop_group(Path(arguments[0]))
    except CountersignError as error:
        print(error, file=sys.stderr)
        return 2
    print("Stopped." if stopped else "No group runs there.", file=sys.stderr)
    return 0 if stopped else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
