"""What stands in for Evidently's process: answers at once, or goes wrong in one way, as the first argument says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def made(order: dict[str, Any]) -> None:
    """Says what it was told and what it could see, in place of Evidently's page."""
    seen = {
        "order": order,
        "environment": sorted(os.environ),
        "arguments": sys.argv[2:],
        "files": sorted(os.listdir(order["folder"])),
    }
    Path(order["folder"], "shown.json").write_text(json.dumps({"dashboard": seen, "graphs": {}}))
    answer({"kind": "made", "parts": order["parts"], "notes": ["A note of its own."]})


def answer(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    match sys.argv[1]:
        case "made":
            answer({"kind": "doing", "says": "Making"})
            made(order)
        case "failed":
            answer({"kind": "failed", "says": "It needs more than 4096 MiB."})
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crashed":
            os._exit(7)
        case "nonsense":
            print("hello", flush=True)
        case "too-large":
            Path(order["folder"], "shown.json").write_bytes(b" " * (order["most_bytes"] + 1))
            answer({"kind": "made", "parts": order["parts"], "notes": []})
        case "spins":
            import resource

            resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
            while True:
                pass
        case "hangs":
            time.sleep(600)


main()
