"""`countersign up`: the pages, the API and the worker as one supervised group, with or without the flights demo.

Everything ends together, on Ctrl-C, and also when this process is killed. Starting again goes on where it was.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from backend.cli.output import guarded, json_option
from backend.cli.session import refuse_elsewhere
from backend.cli.stopping import until_told


@click.command()
@click.option("--demo", is_flag=True, help="With MLflow, Triton, Envoy, two models and real flights.")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder (COUNTERSIGN_DATA_DIR).  [default: data]"
)
@click.option("--port", type=click.IntRange(0, 65_535), default=8501, show_default=True, help="Of the pages; 0: a free one.")
@click.option("--rate", type=click.FloatRange(0.1, 500), default=5.0, show_default=True, help="Of the demo: flights a second.")
@json_option
@guarded
def up(demo: bool, data: Path | None, port: int, rate: float, as_json: bool) -> None:
    """Start the pages, the API and a worker on this machine; with --demo also real servers, models and traffic."""
    refuse_elsewhere(data)
    with until_told() as stop:
        if demo:
            import_module("backend.cli.up_demo").run(data or Path("data"), port, rate, stop, as_json=as_json)
        else:
            import_module("backend.cli.up_plain").run(data, port, stop, as_json=as_json)
