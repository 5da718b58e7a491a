"""What a gate's process may call instead of a sound context: each of these goes wrong in one way."""

from __future__ import annotations

import os
import subprocess
import time
from typing import NoReturn

from backend.core.canonical import canonical
from backend.settings import Settings


def hangs_with_a_child(settings: Settings) -> NoReturn:
    sleeper = subprocess.Popen(["sleep", "600"])
    (settings.data_dir / "pids").write_text(f"{os.getpid()} {sleeper.pid}")
    time.sleep(600)
    raise AssertionError


def spins(settings: Settings) -> NoReturn:
    while True:
        pass


def hoards(settings: Settings) -> NoReturn:
    kept = bytearray(8 << 30)
    raise AssertionError(len(kept))


def dies(settings: Settings) -> NoReturn:
    print("last words", flush=True)
    os._exit(7)


def is_killed(settings: Settings) -> NoReturn:
    os.kill(os.getpid(), 9)
    raise AssertionError


def raises(settings: Settings) -> NoReturn:
    raise KeyError("a secret")


def talks_nonsense(settings: Settings) -> NoReturn:
    _write_to_the_worker(b'{"kind": "result", "verdict": "passed"}\n')
    time.sleep(600)
    raise AssertionError


def talks_without_end(settings: Settings) -> NoReturn:
    while True:
        _write_to_the_worker(b"x" * 100_000)


def answers_for_another_plan(settings: Settings) -> NoReturn:
    _write_to_the_worker(
        canonical({"kind": "result", "plan_digest": "sha256:" + "0" * 64, "verdict": "passed", "summary": "", "findings": []})
        + b"\n"
    )
    time.sleep(600)
    raise AssertionError


def _write_to_the_worker(line: bytes) -> None:
    """To whatever pipe the process holds besides its standard streams."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
            os.write(int(name), line)
