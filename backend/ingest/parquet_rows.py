"""Rows of a Parquet file, from a process of its own (`parquet_child`): a few bytes of it can say that they are gigabytes.

What they unpack to is in no place of the file that could be believed. So the process that reads it is bounded by the kernel,
gets the open file and nothing else, and answers row by row, no faster than they are taken.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from backend.inference_log.rules import Malformed

LONGEST_LINE = 1 << 20
MOST_COLUMNS = 2_000
MOST_ROWS = 50_000_000
MOST_MEMORY = 2 << 30
"""Of addresses, of which the program and its libraries take a part."""
CPU_SECONDS = 3_600
_COMMAND = (sys.executable, "-P", "-m", "backend.ingest.parquet_child")
_EXIT_SECONDS = 10.0
_PACKAGE = str(Path(__file__).resolve().parents[2])
_DAMAGED = "it is not Parquet, or damaged, or it unpacks to more than can be read: write smaller row groups"


class Unreadable(ValueError):
    """A file of which nothing more can be read; the text says why and holds nothing of it."""


def rows_of(stream: BinaryIO) -> Iterator[tuple[Any, int]]:
    """The rows by column, a Malformed for one that cannot be told, and the bytes of each. Raises Unreadable."""
    process = subprocess.Popen(  # noqa: S603  our own module, no shell
        [*_COMMAND, str(MOST_MEMORY), str(CPU_SECONDS)],
        stdin=stream,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
    )
    try:
        if process.stdout is None:
            raise ValueError("the process was started without a pipe")
        yield from _told(process.stdout)
    finally:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait(_EXIT_SECONDS)


def _told(answers: Any) -> Iterator[tuple[Any, int]]:
    names: list[str] = []
    message: Any
    while line := answers.readline(LONGEST_LINE + 2):
        message = json.loads(line) if line.endswith(b"\n") else {"unreadable": _DAMAGED}
        if isinstance(message, list):
            yield dict(zip(names, message, strict=True)), len(line)
        elif isinstance(message, str):
            yield Malformed(message), len(line)
        elif "names" in message:
            names = message["names"]
        elif "unreadable" in message:
            raise Unreadable(message["unreadable"])
        else:
            return
    raise Unreadable(_DAMAGED)


def _environment() -> dict[str, str]:
    """All that the process is told by its environment: nothing of ours. Little that reserves addresses."""
    return {
        "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": _PACKAGE, "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
