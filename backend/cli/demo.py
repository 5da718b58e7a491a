"""`countersign demo`: the main job on real servers, real models and real flights, from nothing to proof and back."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from backend.cli.output import NO, emit, guarded, json_option, note
from backend.cli.session import refuse_elsewhere
from backend.demo.flights_setup import FlightsSetup
from backend.demo.promotion import Promotion, PromotionReport
from backend.demo.scenarios import NAMES, Scenario, ScenarioReport
from backend.demo.stack import Stack


@click.command()
@click.option("--headless", is_flag=True, required=True, help="Without the web app (there is none yet).")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder; by default a temporary one.")
@click.option("--keep", is_flag=True, help="Let the servers and the worker run on, and print their addresses.")
@click.option(
    "--scenario",
    type=click.Choice(["promotion", *NAMES]),
    default="promotion",
    show_default=True,
    help="What is played: a promotion and back, or a ramp that the figures decide.",
)
@json_option
@guarded
def demo(headless: bool, data: Path | None, keep: bool, scenario: str, as_json: bool) -> None:
    """Play a scenario under real traffic; exit code 4 if anything did not hold.

    promotion: version 2 goes to production, is proved, and is taken back. good: it ramps to all of the traffic on what its
    figures prove. bad: version 3, wrong on purpose, is taken back by a guardrail. shadow: version 2 gets copies only.
    """
    refuse_elsewhere(data)
    with _folder(data, keep) as folder, Stack.start(folder, note, hears=scenario == "shadow") as stack:
        setup = FlightsSetup(stack, note)
        prepared = setup.run()
        report: PromotionReport | ScenarioReport
        if scenario == "promotion":
            report = Promotion(stack, setup, prepared, note).run()
        else:
            name = next(one for one in NAMES if one == scenario)
            report = Scenario(name, stack, setup, prepared, note).run()
        content = report.to_json() | (_kept(stack) if keep else {})
        emit(as_json, content, [f"{name}: {value}" for name, value in content.items()])
    sys.exit(0 if report.holds else NO)


@contextmanager
def _folder(data: Path | None, keep: bool) -> Iterator[Path]:
    """The data folder; a temporary one goes away again, unless the servers run on in it."""
    if data is not None:
        yield data.absolute()
    elif keep:
        yield Path(tempfile.mkdtemp(prefix="countersign-demo-"))
    else:
        with tempfile.TemporaryDirectory(prefix="countersign-demo-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def _kept(stack: Stack) -> dict[str, Any]:
    """Where everything is, and how to end it."""
    return {
        "kept": {
            "data": str(stack.folder),
            "mlflow": stack.mlflow.url,
            "triton": stack.triton.url,
            "envoy": stack.envoy.url,
            "stop": stack.keep(),
        }
    }
