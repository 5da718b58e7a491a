"""`client.experiments`: what is tried at endpoints, what that would show, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backend.client.pages import Pages
from backend.client.results import (
    Comparison,
    ComparisonLook,
    Decided,
    Experiment,
    ExperimentLine,
    ExperimentPlan,
    Page,
    RawAggregates,
)
from backend.client.shapes import read
from backend.client.wire import Answer, Wire


class Experiments:
    """Experiments, each known by its endpoint and its name there."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def page(self, *, endpoint: str = "", state: str = "", after: str | None = None, limit: int = 100) -> Page[ExperimentLine]:
        """One page of them, the newest first: of one endpoint, or in one state, where that is said."""
        pages = Pages(self._wire, ExperimentLine, "experiments")
        return pages.page(after=after, limit=limit, endpoint=endpoint, state=state)

    def show(self, endpoint: str, experiment: str) -> Experiment:
        """One whole, with the `etag` that editing it is bound to."""
        return _one(self._wire.get("endpoints", endpoint, "experiments", experiment))

    def plan(self, endpoint: str, design: Mapping[str, Any]) -> ExperimentPlan:
        """What a design would come to. Nothing is stored."""
        path = ("endpoints", endpoint, "experiments", "plan")
        return read(ExperimentPlan, self._wire.send("POST", path, sent={"design": dict(design)}, again=True).content)

    def create(self, endpoint: str, slug: str, title: str, design: Mapping[str, Any]) -> Experiment:
        """Designs one. Nothing starts by it: propose a change that names it."""
        sent = {"slug": slug, "title": title, "design": dict(design)}
        return _one(self._wire.send("POST", ("endpoints", endpoint, "experiments"), sent=sent, key=""))

    def edit(
        self,
        endpoint: str,
        experiment: str,
        *,
        title: str | None = None,
        design: Mapping[str, Any] | None = None,
        if_match: str,
    ) -> Experiment:
        """Changes a draft.

        Args:
            if_match: the `etag` of what was looked at.
        """
        sent = {"title": title, "design": dict(design) if design is not None else None}
        path = ("endpoints", endpoint, "experiments", experiment)
        return _one(self._wire.send("PATCH", path, sent=sent, if_match=if_match))

    def withdraw(self, endpoint: str, experiment: str, reason: str) -> Experiment:
        """Gives up a draft."""
        return self._act(endpoint, experiment, "withdraw", {"reason": reason})

    def decide(self, endpoint: str, experiment: str, outcome: str, reason: str, *, version: int | None = None) -> Decided:
        """Says what came of a running one, which ends it, and proposes the change that follows.

        Args:
            outcome: `ship`, `roll_back` or `no_decision`.
            version: which treatment is shipped; it may be left out where there is one.
        """
        sent = {"outcome": outcome, "reason": reason, "version": version}
        return read(Decided, self._wire.send("POST", (*self._path(endpoint, experiment), "decide"), sent=sent).content)

    def figures(self, endpoint: str, experiment: str) -> Comparison:
        """What its arms did beside each other, by the newest look."""
        return read(Comparison, self._wire.get(*self._path(endpoint, experiment), "figures").content)

    def of_rollout(self, endpoint: str) -> Comparison:
        """What is compared on an endpoint now, or was last."""
        return read(Comparison, self._wire.get("endpoints", endpoint, "rollout", "comparison").content)

    def looks(self, endpoint: str, experiment: str, *, after: str | None = None, limit: int = 100) -> Page[ComparisonLook]:
        """One page of its looks, the newest first."""
        pages = Pages(self._wire, ComparisonLook, *self._path(endpoint, experiment), "looks")
        return pages.page(after=after, limit=limit)

    def aggregates(self, endpoint: str, experiment: str) -> RawAggregates:
        """The sums that its figures are made of, counted anew."""
        return read(RawAggregates, self._wire.get(*self._path(endpoint, experiment), "aggregates").content)

    def _path(self, endpoint: str, experiment: str) -> tuple[str, ...]:
        return "endpoints", endpoint, "experiments", experiment

    def _act(self, endpoint: str, experiment: str, verb: str, sent: Any) -> Experiment:
        return _one(self._wire.send("POST", ("endpoints", endpoint, "experiments", experiment, verb), sent=sent))


def _one(answer: Answer) -> Experiment:
    return replace(read(Experiment, answer.content), etag=answer.etag)
