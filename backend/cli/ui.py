"""`countersign ui`: becomes the web app's process, so that signals and the exit code are its own."""

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
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; only loopback without sign-on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8501, show_default=True, help="Port; 0 takes a free one.")
@guarded
def ui(data: Path | None, host: str, port: int) -> NoReturn:
    """Serve the pages and the API in the foreground until it is told to stop (SIGTERM, SIGINT)."""
    refuse_elsewhere(data)
    environment = os.environ | ({"COUNTERSIGN_DATA_DIR": str(data)} if data is not None else {})
    safe_path = ["-P"] if sys.flags.safe_path else []
    command = [sys.executable, *safe_path, "-m", "app", "--host", host, "--port", str(port)]
    os.execve(sys.executable, command, environment)
