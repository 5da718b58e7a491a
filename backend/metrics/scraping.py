"""Reading sources again and again: one claim a source, the call outside any unit, then everything that it told in one unit.

A source is a server, a router, or one that somebody named for an endpoint. A look that failed is written down as such, with
since when: whoever watches finds a source that fails, that is late or that tells nothing, and never just a gap.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlmodel import Session, select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.credentials import References
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.core.unit import Unit, assert_outside_unit
from backend.core.work import Claim
from backend.delivery.addresses import origins
from backend.delivery.routers.envoy import EnvoySettings
from backend.delivery.rows import Endpoint, RouterRow, Server
from backend.delivery.targets.triton_settings import TritonSettings
from backend.metrics import keeping, placing, series
from backend.metrics.figures import FIGURES, Teller
from backend.metrics.placing import Known, Owner
from backend.metrics.port import Figure, Reading, Source, Subject
from backend.metrics.quantiles import Histogram
from backend.metrics.rows import MetricSource, SourceState
from backend.metrics.series import Memory, Value
from backend.metrics.sources import names
from backend.metrics.sources.envoy import EnvoySource
from backend.metrics.sources.triton import TritonSource
from backend.metrics.storing import Added, Identity, Looked, store

KIND = "scrape"
"""Of the work items, whose keys are sources: `server:<id>`, `router:<id>`, `source:<id>`."""
LONGEST_PAUSE = timedelta(hours=1)
"""What was counted in a longer pause is not kept: nobody could say when it happened."""
MOST_BOUNDS = 200
_PROBLEM_CHARACTERS = 300
_SEP = "\x1f"


@dataclass(frozen=True)
class Target:
    """One source, with whom its figures may be about."""

    key: str
    teller: Teller
    build: Callable[[], Source]
    known: tuple[Known, ...]
    ids: Mapping[str, str | None]
    """The column of `SourceState` that says what it is."""

    def owner(self, subject: Subject) -> Owner | None:
        """Whose a figure is; None for nobody's here."""
        if self.teller == "server":
            return placing.on_server(self.known, subject)
        if self.teller == "router":
            return placing.behind_router({one.name: one for one in self.known}, subject)
        return placing.of_one(self.known[0], subject) if self.known else None


@dataclass(frozen=True)
class Outcome:
    """What one look came to: readings, or why there are none."""

    readings: tuple[Reading, ...] = ()
    problem: str | None = None
    seconds: float = 0.0


class Scraping:
    """The worker's handler of sources.

    Args:
        guard: every outgoing call goes through it.
        references: finds credentials that sources refer to.
        interval: between two looks at a source.
    """

    def __init__(
        self,
        database: Database,
        guard: Guard,
        references: References | None = None,
        *,
        interval: timedelta = timedelta(seconds=30),
    ) -> None:
        self._database, self._guard = database, guard
        self._references = references or References(None)
        self._interval = interval
        self._sources: dict[str, tuple[Any, Source]] = {}

    def handle(self, claim: Claim) -> None:
        """Looks at one source, keeps what it told, and says when it is due again."""
        with self._database.read() as session:
            found = find(session, claim.key, self._guard, self._references)
            state = session.get(SourceState, claim.key)
            memory = series.from_json(state.memory if state is not None else None)
            now = self._database.now(session)
        if found is None:
            self._sources.pop(claim.key, None)
            with self._database.unit(SYSTEM) as tx:
                work.finish(tx, claim, next_due=None)
            return
        outcome = self._look(found, memory, now)
        with self._database.unit(SYSTEM) as tx:
            keep(tx, found, memory, outcome, now)
            work.finish(tx, claim, next_due=_next(tx.now, self._interval), error=outcome.problem)

    def _look(self, found: Target, memory: Memory, now: datetime) -> Outcome:
        """Calls the source. Whatever goes wrong there is an outcome, too."""
        assert_outside_unit("reading metrics")
        began = time.monotonic()
        since = datetime.fromtimestamp(memory.read_at, UTC) if memory.read_at is not None else None
        try:
            readings = tuple(self._built(found).read(since, now))
        except (Refusal, ExternalFailure) as problem:
            return Outcome(problem=str(problem)[:_PROBLEM_CHARACTERS], seconds=time.monotonic() - began)
        return Outcome(readings, seconds=time.monotonic() - began)

    def _built(self, found: Target) -> Source:
        """The adapter of last time, which knows its source's labels already, as long as nothing about it changed."""
        told, source = self._sources.get(found.key, (None, None))
        if source is None or told != found.ids:
            source = found.build()
            self._sources[found.key] = (found.ids, source)
        return source


def find(session: Session, key: str, guard: Guard, references: References) -> Target | None:
    """The source of that key; None where there is none (any more), or where it is of a kind that tells nothing."""
    kind, _, identifier = key.partition(":")
    if kind == "server" and (server := session.get(Server, identifier)) is not None:
        return _of_server(session, key, server, guard)
    if kind == "router" and (router := session.get(RouterRow, identifier)) is not None:
        return _of_router(session, key, router, guard)
    if kind == "source" and (named := session.get(MetricSource, identifier)) is not None:
        return _of_named(session, key, named, guard, references)
    return None


def keys(session: Session) -> list[str]:
    """Every source that has to be read: for the worker's resync."""
    servers = [f"server:{row.id}" for row in session.exec(select(Server)) if _metrics_url(row) is not None]
    routers = [f"router:{one}" for one in session.exec(select(RouterRow.id).where(RouterRow.kind == "envoy"))]
    return [*servers, *routers, *(f"source:{one}" for one in session.exec(select(MetricSource.id)))]


def keep(tx: Unit, found: Target, memory: Memory, outcome: Outcome, now: datetime) -> None:
    """Writes what a look came to. Joins the unit that gives the claim back, so that a late one writes nothing."""
    row = tx.session.get(SourceState, found.key)
    if row is None:
        of = found.ids
        row = tx.add(
            SourceState(
                id=found.key, server_id=of.get("server_id"), router_id=of.get("router_id"), endpoint_id=of.get("endpoint_id")
            )
        )
    row.asked_at, row.seconds = now, outcome.seconds
    if outcome.problem is not None:
        row.problem, row.problem_since = outcome.problem, row.problem_since or now
        return
    looks, after, placed = _taken(found, memory, outcome.readings, now)
    stored = store(tx, found.key, looks)
    if stored.earliest is not None:
        keeping.mend(tx, stored.ids, stored.earliest)
    row.problem, row.problem_since, row.ok_at = None, None, now
    row.placed, row.figures = dict(placed), sum(len(one.figures) for one in outcome.readings[-1:])
    row.bad = dict(sum((Counter(dict(one.bad)) for one in outcome.readings), Counter()))
    row.cut = next((one.cut for one in outcome.readings if one.cut), "")
    row.memory = series.to_json(after)


def _taken(
    found: Target, memory: Memory, readings: Sequence[Reading], now: datetime
) -> tuple[list[Looked], Memory, Mapping[str, int]]:
    """Of each reading what it added to which series; what is remembered then; endpoint's id -> how many figures of the last."""
    looks, placed = list[Looked](), Counter[str]()
    for reading in readings or (Reading((), memory.asked),):
        at = reading.at or now
        if memory.read_at is not None and at.timestamp() <= memory.read_at:
            continue
        told = {_key(one): one for one in reading.figures if series.is_countable(one.value) and _fits(one.value)}
        counted = {key: one.value for key, one in told.items() if FIGURES[one.metric].kind != "gauge"}
        owners = {key: found.owner(one.subject) for key, one in told.items()}
        placed = Counter(owner.endpoint_id for owner in owners.values() if owner is not None)
        since = _since(memory, at)
        added = memory.increases(reading.asked, counted) if since is not None else {}
        looks.append(
            Looked(
                at,
                since,
                [*_summed(found, told, owners, added), *_covered(found, since, at)],
                _summed(found, told, owners, {key: one.value for key, one in told.items() if key not in counted}),
            )
        )
        memory = memory.after(at, reading.asked, counted)
    return looks, memory, placed


def _since(memory: Memory, at: datetime) -> datetime | None:
    """From when on the increases are; None where that is not known, or was too long ago."""
    if memory.read_at is None:
        return None
    since = datetime.fromtimestamp(memory.read_at, UTC)
    return since if at - since <= LONGEST_PAUSE else None


def _summed(
    found: Target, told: Mapping[str, Figure], owners: Mapping[str, Owner | None], values: Mapping[str, Value]
) -> list[Added]:
    """By series; what two subjects add to the same one is added up."""
    sums: dict[Identity, Value] = {}
    for key, value in values.items():
        owner = owners[key]
        if owner is None:
            continue
        identity = _identity(found, owner, told[key], value)
        before = sums.get(identity)
        sums[identity] = value if before is None else _plus(before, value)
    return [Added(identity, value) for identity, value in sums.items()]


def _plus(one: Value, other: Value) -> Value:
    if isinstance(one, Histogram) and isinstance(other, Histogram):  # of one identity, and so with the same bounds
        counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
        return Histogram(one.bounds, counts, one.total + other.total)
    assert isinstance(one, float | int)  # noqa: S101 - one figure is of one kind
    assert isinstance(other, float | int)  # noqa: S101
    return one + other


def _identity(found: Target, owner: Owner, figure: Figure, value: Value) -> Identity:
    labels = (*figure.labels, ("served", owner.served)) if owner.served else figure.labels
    bounds = value.bounds if isinstance(value, Histogram) else None
    return Identity(
        owner.endpoint_id,
        found.key,
        found.teller,
        figure.metric,
        owner.arm,
        owner.version,
        owner.shadow,
        tuple(sorted(labels)),
        bounds,
    )


def _covered(found: Target, since: datetime | None, at: datetime) -> list[Added]:
    """For every endpoint that the source may tell of: that it was looked at, for so many seconds."""
    if since is None:
        return []
    seconds = (at - since).total_seconds()
    return [Added(Identity(one.id, found.key, found.teller, "covered"), seconds) for one in found.known]


def _key(figure: Figure) -> str:
    subject = figure.subject
    version = "" if subject.version is None else str(subject.version)
    labels = (f"{name}={value}" for name, value in figure.labels)
    shadow = "shadow" if subject.shadow else ""
    return _SEP.join((figure.metric, subject.endpoint, subject.arm, subject.model, version, shadow, *labels))


def _fits(value: Value) -> bool:
    return not isinstance(value, Histogram) or len(value.bounds) <= MOST_BOUNDS


def _next(now: datetime, interval: timedelta) -> datetime:
    return now + interval


def _of_server(session: Session, key: str, server: Server, guard: Guard) -> Target | None:
    url = _metrics_url(server)
    if url is None:
        return None
    settings = TritonSettings.model_validate(server.settings)
    rows = session.exec(select(Endpoint).where(Endpoint.server_id == server.id))

    def build() -> Source:
        return TritonSource(url, guard, system=f"server {server.name}", seconds=settings.timeout_seconds)

    ids = {"server_id": server.id, "at": str(url)}
    return Target(key, "server", build, placing.known_endpoints(session, rows), ids)


def _of_router(session: Session, key: str, router: RouterRow, guard: Guard) -> Target | None:
    if router.kind != "envoy":
        return None
    try:
        settings = EnvoySettings.model_validate(router.settings)
    except ValidationError:
        return None
    rows = session.exec(select(Endpoint).where(Endpoint.router_id == router.id))

    def build() -> Source:
        return EnvoySource(settings.admin_url, guard, system=f"router {router.name}", seconds=settings.timeout_seconds)

    ids = {"router_id": router.id, "at": settings.admin_url}
    return Target(key, "router", build, placing.known_endpoints(session, rows), ids)


def _of_named(session: Session, key: str, named: MetricSource, guard: Guard, references: References) -> Target | None:
    rows = session.exec(select(Endpoint).where(Endpoint.id == named.endpoint_id)).all()

    def build() -> Source:
        token = references.read(named.credential, origins(named.settings)) if named.credential else None
        return names.build(named.kind, named.settings, guard, name=named.name, token=token)

    ids = {"endpoint_id": named.endpoint_id, "at": f"{named.id}@{named.revision}"}
    return Target(key, "other", build, placing.known_endpoints(session, rows), ids)


def _metrics_url(server: Server) -> str | None:
    if server.kind != "triton":
        return None
    try:
        return TritonSettings.model_validate(server.settings).metrics_url
    except ValidationError:
        return None
