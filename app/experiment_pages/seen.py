"""What the page of one experiment shows, read in one look; and its header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app import identity, reach, wiring
from app.experiment_pages import experiment_list
from app.identity import Rights
from app.kit import times
from app.kit.plain import escape
from app.kit.states import badge
from app.wiring import Reading
from backend.changes import briefly
from backend.changes.briefly import Named
from backend.core.errors import NotFound
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.rows import Endpoint
from backend.experiments.comparing import showing
from backend.experiments.comparing.views import ComparisonView, Point
from backend.experiments.designs import queries
from backend.experiments.designs import service as designs
from backend.experiments.designs.queries import ExperimentView
from backend.experiments.designs.spec import Design
from backend.rollouts import queries as rollouts


@dataclass(frozen=True)
class Seen:
    """One experiment with what its arms did, as they were when this page was drawn.

    Args:
        id: its row's, for the ledger.
        mine: the rights of whoever looks, at this endpoint.
        desired: what runs on its endpoint now; None where nothing does.
        changes: that started it and moved its split, in order.
    """

    id: str
    view: ExperimentView
    design: Design
    compared: ComparisonView | None
    points: Sequence[Point]
    desired: DesiredEndpoint | None
    changes: Sequence[Named]
    mine: Rights
    now: datetime

    @property
    def state(self) -> str:
        """Of the experiment."""
        return self.view.line.state


def find(look: Reading, endpoint: str, slug: str) -> Seen | None:
    """The experiment that an address names; None after the way back was drawn, where it names none that is seen."""
    try:
        return read(look, endpoint, slug)
    except NotFound as missing:
        experiment_list.missing(missing.message, f"{missing.remedy} A link may be older than what it leads to.")
        return None


def read(look: Reading, endpoint: str, slug: str) -> Seen:
    """The experiment of that name. NotFound."""
    place, row = designs.find(look.session, endpoint, slug)
    view = queries.view(look.session, endpoint, slug, now=look.now)
    compared = showing.of_experiment(look.session, endpoint, slug, now=look.now)
    named = briefly.named(look.session, view.changes)
    return Seen(
        id=row.id,
        view=view,
        design=Design.model_validate(row.design),
        compared=compared,
        points=showing.series(look.session, compared.id) if compared is not None else (),
        desired=_desired(look, place),
        changes=[named[one] for one in view.changes if one in named],
        mine=rights(look, place),
        now=look.now,
    )


def rights(look: Reading, place: Endpoint) -> Rights:
    """What whoever looks may do at an endpoint."""
    mine = identity.rights(look)
    return reach.at(look, mine, environment=place.environment, model=place.model, endpoint=place.name)


def again(endpoint: str, slug: str) -> Seen:
    """The same by a look of its own. NotFound."""
    with wiring.reading() as look:
        return read(look, endpoint, slug)


def state_badge(seen: Seen) -> str:
    """`Running, day 9 of 14`."""
    line = seen.view.line
    if line.state == "running":
        return badge("experiment", "running", f"Running, day {line.running_day} of {line.planned_days}")
    if line.outcome:
        return badge("outcome", line.outcome)
    return badge("experiment", line.state)


def meta(seen: Seen) -> str:
    """Where, whose, by which unit, since when, and how old its figures are."""
    line, found = seen.view.line, seen.compared
    parts = [escape(line.endpoint), escape(line.environment), f"owner {escape(line.owner)}"]
    parts.append(f"unit: header {escape(seen.design.unit_header)}")
    if line.started_at is not None:
        parts.append(f"started {times.both(line.started_at, seen.now)}")
    if line.ended_at is not None:
        parts.append(f"ended {times.both(line.ended_at, seen.now)}")
    if found is not None and found.looked_at is not None:
        parts.append(f"analysed {times.age(found.looked_at, seen.now)}")
    return " · ".join(parts)


def _desired(look: Reading, place: Endpoint) -> DesiredEndpoint | None:
    newest = rollouts.newest_generation(look.session, place.id)
    return DesiredEndpoint.model_validate(newest.desired) if newest is not None else None
