"""`countersign up --demo`: the whole stack with the flights demo, until told to stop; starting again goes on where it was."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

import click

from backend.changes.rows import Change
from backend.cli.output import emit, guarded, json_option, note
from backend.demo.flights_setup import PRODUCTION, FlightsSetup, Prepared
from backend.demo.promotion import BAKE_SECONDS
from backend.demo.stack import Stack
from backend.demo.traffic import Traffic

RATE = 5.0


@click.command()
@click.option("--demo", is_flag=True, required=True, help="With the flights demo; the only way to start everything as yet.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path("data"), show_default=True)
@click.option("--rate", type=click.FloatRange(0.1, 500), default=RATE, show_default=True, help="Flights a second.")
@json_option
@guarded
def up(demo: bool, data: Path, rate: float, as_json: bool) -> None:
    """Start MLflow, Triton, Envoy and a worker with two models and real traffic; Ctrl-C stops all of it."""
    stop = _told_to_stop()
    with Stack.start(data, note) as stack:
        setup = FlightsSetup(stack, note)
        change = _waiting_change(setup, setup.run())
        with Traffic(stack.envoy.url, PRODUCTION, stack.backend.inference_log, stack.folder / "cache", rate=rate):
            emit(as_json, _addresses(stack, change), _lines(stack, setup, change))
            stop.wait()
        note("Stopping ...")


def _told_to_stop() -> threading.Event:
    stop = threading.Event()

    def obey(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, obey)
    return stop


def _waiting_change(setup: FlightsSetup, prepared: Prepared) -> Change | None:
    """Version 2 as a proposed change, where version 1 is live and nobody proposed it yet."""
    waiting = setup.open_change(PRODUCTION)
    if waiting is not None or setup.live_version(PRODUCTION) != prepared.first:
        return waiting
    return setup.backend.changes.propose(
        setup.cast.ana,
        endpoint=PRODUCTION,
        version=prepared.second,
        title=f"Promote version {prepared.second}",
        reason="Better calibrated in summer",
        bake_seconds=BAKE_SECONDS,
    )


def _addresses(stack: Stack, change: Change | None) -> dict[str, object]:
    return {
        "data": str(stack.folder),
        "mlflow": stack.mlflow.url,
        "triton": stack.triton.url,
        "envoy": stack.envoy.url,
        "change": change.number if change is not None else None,
    }


def _lines(stack: Stack, setup: FlightsSetup, change: Change | None) -> list[str]:
    lines = [
        f"Version {setup.live_version(PRODUCTION)} is live; real flights flow through {stack.envoy.url}/{PRODUCTION}.",
        f"MLflow {stack.mlflow.url}   Triton {stack.triton.url}   data {stack.folder}",
    ]
    if change is not None:
        lines += [
            f"Change {change.number} waits for a reviewer:",
            f"  countersign change show {change.number} --as ben --data {stack.folder}",
        ]
    return [*lines, "Ctrl-C stops everything; starting again goes on from here."]
