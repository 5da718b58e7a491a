"""`countersign ingest`: becomes the ingest's process, so that signals and the exit code are its own."""

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
def ingest(data: Path | None) -> NoReturn:
    """Run the ingest of the inference log in the foreground until it is told to stop.

    It takes what the API accepted, files that are dropped into `ingest/drop` of the data folder, and Envoy's access log
    (COUNTERSIGN_ACCESS_LOG_PORT, COUNTERSIGN_ACCESS_LOG_FILES). SIGTERM or SIGINT empties the spool first, the second ends it
    at once.
    """
    refuse_elsewhere(data)
    environment = os.environ | ({"COUNTERSIGN_DATA_DIR": str(data)} if data is not None else {})
    safe_path = ["-P"] if sys.flags.safe_path else []
    os.execve(sys.executable, [sys.executable, *safe_path, "-m", "backend.ingest"], environment)
