"""`countersign up --demo`: the whole stack with the flights demo; starting again goes on where it was, without training."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from backend.changes.rows import Change
from backend.cli.output import emit
from backend.cli.stopping import Stop
from backend.demo.feeding import fed
from backend.demo.flights_setup import PRODUCTION, FlightsSetup, Prepared
from backend.demo.promotion import BAKE_SECONDS
from backend.demo.stack import Stack
from backend.demo.traffic import Traffic
from backend.demo.watched import Watched
from backend.embedded.own import WEB, web_port


def run(data: Path, port: int, rate: float, stop: Stop, *, as_json: bool) -> None:
    """Starts everything, says where it is, and goes on until it is told to stop. Port 0: a free one, the same again."""
    chosen = web_port(port, data / "runtimes")
    with Stack.start(data, stop.say, web_port=chosen) as stack:
        if port == 0:
            stack.group.remember(WEB, (chosen,))
        for move in stack.group.moves():
            stop.say(move)
        setup = FlightsSetup(stack, stop.say)
        prepared = setup.run()
        change = waiting_change(setup, prepared)
        stack.take_in()
        with ExitStack() as flowing:
            _flow(stack, prepared, rate, flowing)
            stop.say("Everything runs.")
            emit(as_json, _addresses(stack, change), _lines(stack, setup, change))
            stop.wait()


def _flow(stack: Stack, prepared: Prepared, rate: float, flowing: ExitStack) -> None:
    """Flights, what is fed of them, and the monitors, until the stack of contexts is left."""
    if stack.web is None:
        raise TypeError("flights are fed through the API")
    cache = stack.folder / "cache"
    recorder = flowing.enter_context(fed(stack.backend, stack.web.url, PRODUCTION))
    traffic = flowing.enter_context(Traffic(stack.envoy.url, PRODUCTION, recorder, cache, rate=rate))
    flowing.enter_context(Watched(stack.backend, stack.envoy.url, cache, prepared, traffic))


def waiting_change(setup: FlightsSetup, prepared: Prepared) -> Change | None:
    """The change that waits, as it was left; else version 2 as a proposed one, where version 1 is live."""
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
        "web": stack.web.url if stack.web is not None else None,
        "data": str(stack.folder),
        "mlflow": stack.mlflow.url,
        "triton": stack.triton.url,
        "envoy": stack.envoy.url,
        "change": change.number if change is not None else None,
    }


def _lines(stack: Stack, setup: FlightsSetup, change: Change | None) -> list[str]:
    web = stack.web.url if stack.web is not None else ""
    lines = [
        f"Countersign {web}",
        f"Version {setup.live_version(PRODUCTION)} is live; real flights flow through {stack.envoy.url}/{PRODUCTION}.",
        f"MLflow {stack.mlflow.url}   Triton {stack.triton.url}   data {stack.folder}",
    ]
    if change is not None:
        lines += [
            f"Change {change.number} waits for a reviewer: {web}/change?change={change.number} as Ben, or",
            f"  COUNTERSIGN_DEMO_IDENTITIES=true countersign change show {change.number} --as ben --data {stack.folder}",
        ]
    if (sign_in := stack.backend.sign_in) is not None:
        lines.append(f"People sign in at {sign_in.origin}{sign_in.base_path}/ ; the demo identities stay beside them.")
    return [*lines, "Ctrl-C stops everything; starting again goes on from here."]
