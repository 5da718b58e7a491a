"""The changes that begin an experiment as it was designed, and that follow from what a person makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from backend.access.checks import require
from backend.changes.desk import named_endpoint
from backend.changes.proposing import MAX_TITLE, Proposals
from backend.changes.rows import Change
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.plan import Plan, parse_plan
from backend.delivery.rows import Authorization, Endpoint
from backend.experiments.designs import service as designs
from backend.experiments.designs.rules import EXPERIMENT, Outcome, check_outcome, check_reason
from backend.experiments.designs.spec import ArmAsked, Design
from backend.rollouts import queries as rollouts


@dataclass(frozen=True)
class Follows:
    """What follows from a decision: the version that shall get everything, or None where nothing has to move."""

    version: int | None
    why: str


class Experimenting(Proposals):
    """Commands that begin an experiment, and that end one."""

    def begin_experiment(self, actor: Actor, endpoint: str, slug: str, reason: str, **options: Any) -> Change:
        """Proposes the split of a draft as it was designed; once that change starts, the experiment runs.

        Args:
            options: any argument of `propose` but what the design says itself: ramp, start_mode, start_at, key and so on.

        Refusal codes: those of `propose`, and wrong-state for what is no draft any more.
        """
        with self._database.read() as session:
            self._permit(session, actor, "change.propose", named_endpoint(session, endpoint))
            place, row = designs.find(session, endpoint, slug)
            EXPERIMENT.next(row.state, "start")
            design, title = Design.model_validate(row.design), row.title
            champion = _champion(session, place)
        first, *others = design.arms
        rest = [*others, ArmAsked(version=champion, share=design.control_share)]
        return self.propose(
            actor,
            endpoint=endpoint,
            version=first.version,
            share=first.share,
            rest=[one.model_dump() for one in rest],
            title=f"Begin: {title}"[:MAX_TITLE],
            reason=reason,
            experiment=slug,
            unit_header=design.unit_header,
            **options,
        )

    def decide(
        self, actor: Actor, endpoint: str, slug: str, outcome: str, reason: str, *, version: int | None = None
    ) -> Change | None:
        """Says what came of a running experiment, and proposes what follows: all of the traffic for the version that is
        shipped, or for the champion. The change is approved as any other one. None where nothing has to move.

        Both are done, or neither. The proposal comes first: an experiment whose change cannot even be proposed still runs.

        Args:
            version: which treatment is shipped; it may be left out where there is one.

        Refusal codes: those of `propose` and of `Experiments.decide`, and which-version.
        """
        told, words = check_outcome(outcome), check_reason(reason)
        with self._database.read() as session:
            self._permit(session, actor, "experiment.decide", named_endpoint(session, endpoint))
            place, row = designs.find(session, endpoint, slug)
            EXPERIMENT.next(row.state, "decide")
            follows, title = _follows(session, place, told, version), row.title
        if follows.version is None:
            with self._database.unit(actor) as tx:
                _decide(tx, actor, endpoint, slug, told, words)
            return None
        return self.propose(
            actor,
            endpoint=endpoint,
            version=follows.version,
            title=f"{follows.why}: {title}"[:MAX_TITLE],
            reason=words,
            also=lambda tx: _decide(tx, actor, endpoint, slug, told, words),
        )


def _champion(session: Session, place: Endpoint) -> int:
    newest = rollouts.newest_generation(session, place.id)
    desired = DesiredEndpoint.model_validate(newest.desired) if newest is not None else None
    for arm in desired.arms if desired is not None else ():
        if desired is not None and arm.name == desired.champion:
            return arm.version
    raise Refusal(
        f"Nothing runs on {place.name} that a version could be compared with.",
        "Give it a first version.",
        code="nothing-else-runs",
    )


def _decide(tx: Unit, actor: Actor, endpoint: str, slug: str, outcome: Outcome, reason: str) -> None:
    place = named_endpoint(tx.session, endpoint)
    require(tx, actor, "experiment.decide", environment=place.environment, model=place.model, endpoint=place.name)
    if designs.ended(tx, place.id, slug, outcome, reason) is None:
        raise Refusal(f"{slug} does not run any more.", "Look at what came of it.", code="wrong-state")


def _follows(session: Session, place: Endpoint, outcome: Outcome, version: int | None) -> Follows:
    newest = rollouts.newest_generation(session, place.id)
    if newest is None:
        return Follows(None, "")
    desired = DesiredEndpoint.model_validate(newest.desired)
    serving = {one.name: one.version for one in desired.arms if one.ranges}
    control = _control(session, newest.authorization_id) or desired.champion or ""
    treatments = sorted({number for name, number in serving.items() if name != control})
    if outcome == "ship":
        if (version is None and len(treatments) != 1) or (version is not None and version not in treatments):
            names = ", ".join(str(one) for one in treatments) or "none"
            raise Refusal(f"Which version is shipped? Its treatments are {names}.", "Name one of them.", code="which-version")
        return Follows(version if version is not None else treatments[0], "Ship")
    if not treatments or control not in serving:
        return Follows(None, "")
    return Follows(serving[control], "Roll back" if outcome == "roll_back" else "End")


def _control(session: Session, authorization_id: str | None) -> str | None:
    found = session.get(Authorization, authorization_id) if authorization_id is not None else None
    plan: Plan | None = parse_plan(found.plan) if found is not None else None
    return plan.comparison.control if plan is not None and plan.comparison is not None else None
