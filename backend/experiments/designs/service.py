"""Commands on experiments, and what changes do with them in their own units of work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from backend.access.checks import require, sees_endpoint
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.named import named
from backend.delivery.rows import Endpoint, Generation
from backend.experiments.designs import planning, rules
from backend.experiments.designs.measured import Measured
from backend.experiments.designs.measuring import Champion, Wanted, measure
from backend.experiments.designs.rows import Experiment
from backend.experiments.designs.rules import EXPERIMENT, Outcome, Running
from backend.experiments.designs.spec import Design, MetricAsked, parse_design
from backend.experiments.designs.views import PlanView
from backend.inference_log.rows import LogRules
from backend.inference_log.service import InferenceLog

MOST_DRAFTS = 50
"""Of one endpoint."""
_FACTS = ("endpoint_id", "slug", "title", "hypothesis", "layer", "design", "state")
_END = ("state", "outcome", "reason")


@dataclass(frozen=True)
class Place:
    """What has to be known of an endpoint before its log is read: its champion, and how its log is sampled."""

    endpoint: str
    champion: Champion | None
    kept_every: int


class Experiments:
    """Commands on experiments. One is known by its endpoint and its name.

    `revision`: what whoever acts looked at; None where that does not matter.
    """

    def __init__(self, database: Database, log: InferenceLog) -> None:
        self._database, self._log = database, log

    def create(self, actor: Actor, endpoint: str, slug: str, title: str, design: Design | Mapping[str, Any]) -> Experiment:
        """Designs an experiment; nothing starts by it. A change that names it does that.

        Refusal codes: not-allowed, not-found, bad-name, bad-title, bad-design, name-taken, too-many.
        """
        told, line = _checked(design), rules.check_title(title)
        rules.check_slug(slug)
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "experiment.create")
            _refuse_too_many(tx.session, place)
            row = Experiment(
                id=tx.new_id("exp"),
                endpoint_id=place.id,
                slug=slug,
                title=line,
                hypothesis=told.hypothesis,
                owner=actor.id,
                layer=told.layer,
                design=told.to_json(),
                state=EXPERIMENT.initial,
                created_at=tx.now,
                edited_at=tx.now,
            )
            _added(tx, row, place)
            tx.record("experiment.create", row, after={"endpoint": place.name, **row.facts(*_FACTS)})
            return row

    def edit(
        self,
        actor: Actor,
        endpoint: str,
        slug: str,
        *,
        title: str | None = None,
        design: Design | Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> Experiment:
        """Changes a draft; what runs keeps the design that was approved. Saying it again changes nothing."""
        told = _checked(design) if design is not None else None
        line = rules.check_title(title) if title is not None else None
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "experiment.edit")
            row = _there(tx.session, place, slug)
            after: dict[str, Any] = {"title": line or row.title}
            if told is not None:
                after |= {"hypothesis": told.hypothesis, "layer": told.layer, "design": told.to_json()}
            state = EXPERIMENT.next(row.state, "edit")
            if row.facts(*after) == after:
                return row
            tx.expect(row, revision)
            before = row.facts(*_FACTS)
            for name, value in after.items():
                setattr(row, name, value)
            row.state, row.edited_at = state, tx.now
            tx.record("experiment.edit", row, before=before, after=row.facts(*_FACTS))
            return row

    def withdraw(self, actor: Actor, endpoint: str, slug: str, reason: str, *, revision: int | None = None) -> Experiment:
        """Gives up a draft. Again it changes nothing. Its name is not used again."""
        words = rules.check_reason(reason)
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "experiment.edit")
            row = _there(tx.session, place, slug)
            if row.state == "withdrawn":
                return row
            return _ended(tx, row, "withdraw", None, words, revision)

    def decide(
        self, actor: Actor, endpoint: str, slug: str, outcome: str, reason: str, *, revision: int | None = None
    ) -> Experiment:
        """Records what a person made of a running experiment, which ends it. It moves no traffic: a change does that.

        Args:
            outcome: `ship`, `roll_back`, or `no_decision` where it showed nothing.
        """
        told, words = rules.check_outcome(outcome), rules.check_reason(reason)
        with self._database.unit(actor) as tx:
            place = _permitted(tx, actor, endpoint, "experiment.decide")
            return _ended(tx, _there(tx.session, place, slug), "decide", told, words, revision)

    def plan(self, actor: Actor, endpoint: str, design: Design | Mapping[str, Any]) -> PlanView:
        """What a design would come to at an endpoint, as its log is now. Nothing is stored.

        Refusal codes: not-allowed, not-found, bad-design, not-measured. A blind design is no Refusal: its view says so.
        """
        told = _checked(design)
        with self._database.unit(actor) as tx:
            _permitted(tx, actor, endpoint, "experiment.create")
        return self.planned(endpoint, told)

    def planned(self, endpoint: str, design: Design) -> PlanView:
        """The same for whoever was asked for a right already. Not inside a unit of work."""
        measured = self.measured(endpoint, design.metrics, design.window_seconds, design.before_days)
        compared = planning.comparison_of(design, "planned", measured)
        return planning.plan(compared, planning.stages_of_design(design), measured)

    def measured(
        self, endpoint: str, metrics: tuple[MetricAsked, ...], window_seconds: int | None = None, before_days: int = 0
    ) -> Measured:
        """What the endpoint's log says of these metrics. Not inside a unit of work."""
        with self._database.read() as session:
            at, now = place(session, endpoint), self._database.now(session)
        wanted = Wanted(metrics, window_seconds, before_days, kept_every=at.kept_every)
        return measure(self._log, at.endpoint, at.champion, wanted, now)


def place(session: Session, endpoint: str) -> Place:
    """What `measure` has to know. NotFound."""
    row = named(session, Endpoint, endpoint)
    kept = session.get(LogRules, row.id)
    return Place(row.name, _champion(session, row), kept.sample_every if kept is not None else 1)


def find(session: Session, endpoint: str, slug: str) -> tuple[Endpoint, Experiment]:
    """An endpoint's experiment by its name. NotFound."""
    row = named(session, Endpoint, endpoint)
    return row, _there(session, row, slug)


def started(tx: Unit, endpoint_id: str, slug: str, change_id: str, *, planned: Mapping[str, Any] | None = None) -> Experiment:
    """Joins: a change starts a draft, or moves the split of what runs. The same change again changes nothing.

    Args:
        planned: `PlanView.to_json()`, made outside of any unit; kept with what starts.

    Refusal codes: not-found, wrong-state, busy (see `rules.refuse_beside`).
    """
    row = _of(tx.session, endpoint_id, slug)
    if change_id in row.changes:
        return row
    event = "split" if row.state == "running" else "start"
    state = EXPERIMENT.next(row.state, event)
    before = row.facts("state", "changes")
    if event == "start":
        check_beside(tx, row)
        row.started_at, row.planned = tx.now, dict(planned) if planned is not None else None
    row.state, row.changes, row.revision = state, [*row.changes, change_id], row.revision + 1
    tx.record(f"experiment.{event}", row, before=before, after=row.facts("state", "changes"))
    return row


def check_beside(tx: Unit, row: Experiment) -> None:
    """Joins: Refusal `busy` where something runs that this one may not run beside. What it found stays so until the unit
    ends."""
    if row.layer is not None:
        tx.alone(f"experiments of layer {row.layer}")
    query = select(Experiment, Endpoint.name).join(Endpoint).where(Experiment.state == "running", Experiment.id != row.id)
    if row.layer is None:
        query = query.where(Experiment.endpoint_id == row.endpoint_id)
    else:
        query = query.where((col(Experiment.endpoint_id) == row.endpoint_id) | (col(Experiment.layer) == row.layer))
    endpoint = tx.get(Endpoint, row.endpoint_id).name
    others = [
        Running(name, one.slug, one.layer, name == endpoint or sees_endpoint(tx, tx.actor, name))
        for one, name in tx.session.exec(query)
    ]
    rules.refuse_beside(endpoint, row.slug, row.layer, others)


def ended(tx: Unit, endpoint_id: str, slug: str, outcome: Outcome, reason: str) -> Experiment | None:
    """Joins: what runs is over because of a change, such as a rollback by a guardrail. None where it does not run (any
    more)."""
    row = _of(tx.session, endpoint_id, slug)
    return _ended(tx, row, "decide", outcome, reason[: rules.MAX_REASON], None) if row.state == "running" else None


def design_of(session: Session, endpoint_id: str, slug: str) -> Design:
    """The design of an endpoint's experiment, for the plan of a change. NotFound."""
    return Design.model_validate(_of(session, endpoint_id, slug).design)


def designed(session: Session, endpoint_id: str, slug: str) -> Experiment | None:
    """The experiment of that name, if one was designed; to look at, not to change."""
    return session.exec(select(Experiment).where(Experiment.endpoint_id == endpoint_id, Experiment.slug == slug)).one_or_none()


def running_on(session: Session, endpoint_id: str) -> Experiment | None:
    """The experiment that runs on an endpoint."""
    query = select(Experiment).where(Experiment.endpoint_id == endpoint_id, Experiment.state == "running")
    return session.exec(query).one_or_none()


def _ended(tx: Unit, row: Experiment, event: str, outcome: Outcome | None, reason: str, revision: int | None) -> Experiment:
    state = EXPERIMENT.next(row.state, event)
    tx.expect(row, revision)
    before = row.facts(*_END)
    row.state, row.outcome, row.reason, row.decided_by, row.ended_at = state, outcome, reason, tx.actor.id, tx.now
    tx.record(f"experiment.{event}", row, before=before, after=row.facts(*_END))
    return row


def _checked(design: Design | Mapping[str, Any]) -> Design:
    return design if isinstance(design, Design) else parse_design(design)


def _permitted(tx: Unit, actor: Actor, endpoint: str, action: str) -> Endpoint:
    row = named(tx.session, Endpoint, endpoint, lock=True)
    require(tx, actor, action, environment=row.environment, model=row.model, endpoint=row.name)
    return row


def _there(session: Session, place: Endpoint, slug: str) -> Experiment:
    found = session.exec(select(Experiment).where(Experiment.endpoint_id == place.id, Experiment.slug == slug)).one_or_none()
    if found is None:
        raise NotFound("experiment", slug[:80], f"Look into the list of experiments of {place.name}.")
    return found


def _of(session: Session, endpoint_id: str, slug: str) -> Experiment:
    query = select(Experiment).where(Experiment.endpoint_id == endpoint_id, Experiment.slug == slug)
    found = session.exec(query.with_for_update().execution_options(populate_existing=True)).one_or_none()
    if found is None:
        raise NotFound("experiment", slug[:80], "Design it first (`countersign experiment create`).")
    return found


def _refuse_too_many(session: Session, place: Endpoint) -> None:
    query = select(Experiment.id).where(Experiment.endpoint_id == place.id, Experiment.state == "draft")
    if len(session.exec(query).all()) >= MOST_DRAFTS:
        raise Refusal(f"{place.name} has {MOST_DRAFTS} drafts.", "Withdraw some of them first.", code="too-many")


def _added(tx: Unit, row: Experiment, place: Endpoint) -> None:
    try:
        with tx.session.begin_nested():
            tx.session.add(row)
    except IntegrityError as error:
        raise Refusal(
            f"{place.name} has, or had, an experiment {row.slug}.",
            "Choose another name: it seeds the assignment of units, so that none is used twice.",
            code="name-taken",
        ) from error


def _champion(session: Session, place: Endpoint) -> Champion | None:
    """Who answers for the rest, by the newest generation."""
    newest = session.get(Generation, f"{place.id}/{place.generation}")
    if newest is None:
        return None
    desired = DesiredEndpoint.model_validate(newest.desired)
    return next((Champion(one.name, one.version) for one in desired.arms if one.name == desired.champion), None)
