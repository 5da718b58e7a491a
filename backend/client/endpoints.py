"""`client.endpoints` and `client.rollouts`: what shall run, what was seen to run, and what an operator does by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from backend.client import waiting
from backend.client.pages import MOST, Pages, every
from backend.client.results import (
    Baseline,
    Endpoint,
    EndpointLine,
    EndpointMoment,
    Generation,
    Page,
    Push,
    Rollout,
    RunningRollout,
    ServedArm,
    Shadows,
    Standing,
    StateMove,
)
from backend.client.shapes import read
from backend.client.wire import Answer, Wire


class Endpoints:
    """Endpoints on one server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def page(self, *, after: str | None = None, limit: int = 50, **narrow: Any) -> Page[EndpointLine]:
        """One page of endpoints by name, narrowed by `environment`, `model`, `server`, `mode`, `state` or `text`."""
        return Pages(self._wire, EndpointLine, "endpoints").page(after=after, limit=limit, **narrow)

    def list(self, **narrow: Any) -> Iterator[EndpointLine]:
        """Every endpoint."""
        return every(lambda after: self.page(after=after, **narrow))

    def show(self, endpoint: str) -> Endpoint:
        """One endpoint: wanted against seen."""
        return _endpoint(self._wire.get("endpoints", endpoint))

    def at(self, endpoint: str, moment: datetime) -> EndpointMoment:
        """How it stood at a moment."""
        return read(EndpointMoment, self._wire.get("endpoints", endpoint, "at", moment=moment.isoformat()).content)

    def served(self, endpoint: str, minutes: int = 15) -> tuple[ServedArm, ...]:
        """Requests of the last minutes by the arm that answered them, as the inference log has them."""
        return tuple(Pages(self._wire, ServedArm, "endpoints", endpoint, "served").all(minutes=minutes, limit=MOST))

    def shadow(
        self,
        endpoint: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        tolerance: float | None = None,
        threshold: float | None = None,
        outcome: str | None = None,
    ) -> Shadows:
        """What shadow arms answered beside the live ones; by default in the last day.

        Args:
            tolerance: numbers that lie no further apart agree.
            threshold: of decisions: numbers agree that are both below it, or both not.
            outcome: by which errors are measured.
        """
        times = {"start": start.isoformat() if start else None, "end": end.isoformat() if end else None}
        asked = times | {"tolerance": tolerance, "threshold": threshold, "outcome": outcome}
        query = {name: one for name, one in asked.items() if one is not None}
        return read(Shadows, self._wire.get("endpoints", endpoint, "shadow", **query).content)

    def history(self, endpoint: str, *, after: int | str | None = None, limit: int = 50) -> Page[Generation]:
        """One page of what was admitted for it, newest first."""
        return Pages(self._wire, Generation, "endpoints", endpoint, "history").page(after=after, limit=limit)

    def pushes(self, endpoint: str, *, limit: int = 50) -> Page[Push]:
        """The latest attempts to make generations true, newest first."""
        return Pages(self._wire, Push, "endpoints", endpoint, "pushes").page(limit=limit)

    def create(
        self,
        name: str,
        *,
        environment: str,
        model: str,
        server: str,
        router: str | None = None,
        served_name: str | None = None,
    ) -> Endpoint:
        """Takes an endpoint on in observe mode: it is looked at, and nothing is ever written to it."""
        sent = {"name": name, "environment": environment, "model": model, "server": server}
        sent |= {key: one for key, one in (("router", router), ("served_name", served_name)) if one is not None}
        return _endpoint(self._wire.send("POST", ("endpoints",), sent=sent, key=""))

    def baseline(self, endpoint: str) -> Baseline:
        """What runs there now, and what signing it off would mean; its server is asked."""
        return read(Baseline, self._wire.send("POST", ("endpoints", endpoint, "baseline"), again=True).content)

    def sign_off(
        self,
        endpoint: str,
        digest: str,
        *,
        versions: Mapping[tuple[str, int], int],
        champion: tuple[str, int] | None = None,
    ) -> Endpoint:
        """Signs that what runs is right: from then on the endpoint is managed.

        Args:
            digest: of the baseline that was looked at.
            versions: by the name and version under which the server has it, which registered version runs.
            champion: which of several answers, where no router says it.
        """
        runs = [{"served_name": name, "served_version": at, "version": number} for (name, at), number in versions.items()]
        first = {"served_name": champion[0], "served_version": champion[1]} if champion is not None else None
        return self._do(endpoint, "sign-off", {"digest": digest, "versions": runs, "champion": first}, again=False)

    def pause(self, endpoint: str, reason: str) -> Endpoint:
        """Pushes and repairs nothing there any more."""
        return self._do(endpoint, "pause", {"reason": reason})

    def resume(self, endpoint: str, reason: str) -> Endpoint:
        """Makes what was admitted true again."""
        return self._do(endpoint, "resume", {"reason": reason})

    def repair(self, endpoint: str, reason: str) -> Endpoint:
        """Repairs it now."""
        return self._do(endpoint, "repair", {"reason": reason})

    def set_repair(self, endpoint: str, choice: str, reason: str, *, if_match: str) -> Endpoint:
        """Has changes made by hand repaired (`repair`), or only reported (`report`)."""
        sent = {"repair": choice, "reason": reason}
        return _endpoint(self._wire.send("PATCH", ("endpoints", endpoint), sent=sent, if_match=if_match))

    def look(self, endpoint: str) -> Endpoint:
        """Asks for a look at its server without waiting for the next one."""
        return self._do(endpoint, "look")

    def remove(self, endpoint: str, reason: str) -> None:
        """Forgets an endpoint that is only observed."""
        self._wire.send("DELETE", ("endpoints", endpoint), query={"reason": reason}, again=False)

    def wait(
        self,
        endpoint: str,
        *,
        seconds: float,
        told: Callable[[str], None] | None = None,
        clock: waiting.Clock | None = None,
    ) -> waiting.Outcome:
        """Waits until an endpoint is healthy, or until it does not become so by itself any more."""

        def look() -> waiting.Look:
            line = self.show(endpoint).line
            says = f"{line.state}: {line.reason}" if line.reason else line.state
            return ("reached" if line.healthy else "over" if line.state in ("fight", "paused") else None), says

        return waiting.wait(look, seconds, told=told, clock=clock)

    def _do(self, endpoint: str, verb: str, sent: Mapping[str, Any] | None = None, *, again: bool = True) -> Endpoint:
        """`again`: the operation says that sending it again changes nothing."""
        return _endpoint(self._wire.send("POST", ("endpoints", endpoint, verb), sent=sent, again=again))


class Fleet:
    """All endpoints of one server together."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def standing(self) -> Standing:
        """How many run what was approved, and how many are in each state."""
        return read(Standing, self._wire.get("fleet").content)

    def list(self, **narrow: Any) -> Iterator[EndpointLine]:
        """Endpoints, the worst first; narrowed by `state`, `environment`, `model`, `server`, `router`, `mode` or `text`."""
        return Pages(self._wire, EndpointLine, "fleet", "endpoints").all(**narrow)

    def rollouts(self) -> tuple[RunningRollout, ...]:
        """Rollouts under way, the newest first."""
        return tuple(Pages(self._wire, RunningRollout, "fleet", "rollouts").all(limit=MOST))

    def moves(self) -> tuple[StateMove, ...]:
        """What happened to the states of endpoints lately, the newest first."""
        return tuple(Pages(self._wire, StateMove, "fleet", "moves").all(limit=MOST))


class Rollouts:
    """The rollouts of endpoints on one server."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def newest(self, endpoint: str) -> Rollout | None:
        """The newest rollout of an endpoint; None where there was none yet."""
        found: Sequence[Rollout] = Pages(self._wire, Rollout, "endpoints", endpoint, "rollouts").page(limit=1).items
        return found[0] if found else None

    def pause(self, endpoint: str, reason: str) -> Rollout:
        """Takes no further step until it is resumed."""
        return self._do(endpoint, "pause", {"reason": reason})

    def resume(self, endpoint: str, reason: str) -> Rollout:
        """Goes on where it was paused."""
        return self._do(endpoint, "resume", {"reason": reason})

    def let_on(self, endpoint: str, rollout: str, step: int, reason: str) -> Rollout:
        """Lets it on after the step, counted from 0, that waits for a person."""
        return self._do(endpoint, "let-on", {"rollout": rollout, "step": step, "reason": reason}, again=False)

    def skip(self, endpoint: str, rollout: str, step: int, reason: str) -> Rollout:
        """Skips steps up to the next one after which a person looks; `step`, counted from 0, is the one that was looked at."""
        return self._do(endpoint, "skip", {"rollout": rollout, "step": step, "reason": reason}, again=False)

    def abort(self, endpoint: str, reason: str) -> Rollout:
        """Ends it, and goes back to what ran before."""
        return self._do(endpoint, "abort", {"reason": reason}, again=False)

    def _do(self, endpoint: str, verb: str, sent: Mapping[str, Any], *, again: bool = True) -> Rollout:
        return read(Rollout, self._wire.send("POST", ("endpoints", endpoint, "rollout", verb), sent=sent, again=again).content)


def _endpoint(answer: Answer) -> Endpoint:
    return replace(read(Endpoint, answer.content), etag=answer.etag)
