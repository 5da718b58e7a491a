"""`countersign worker`: becomes the worker's process, so that signals and the exit code are the worker's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from backend.cli.output import guarded
from backend.cli.session import refuse_elsewhere


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder (COUNTERSIGN_DATA_DIR).")
@guarded
def worker(data: Path | None) -> NoReturn:
    """Run a worker in the foreground until it is told to stop.

    SIGTERM or SIGINT (Ctrl-C) lets what it is doing end, the second one ends it at once. It logs one JSON object a line to
    standard error (COUNTERSIGN_LOG_LEVEL) and serves its figures on loopback (COUNTERSIGN_METRICS_PORT).
    """
    refuse_elsewhere(data)
    environment = os.environ | ({"COUNTERSIGN_DATA_DIR": str(data)} if data is not None else {})
    safe_path = ["-P"] if sys.flags.safe_path else []
    os.execve(sys.executable, [sys.executable, *safe_path, "-m", "backend.worker"], environment)
