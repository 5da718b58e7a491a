"""What a look needs, read from the database: hours of its window and of its reference, profiles, earlier scores, thresholds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from backend.delivery.rows import Endpoint
from backend.drift.references import Choice, Window
from backend.drift.scores import SCORES, Score
from backend.drift.thresholds import Resampled
from backend.monitoring import features, hours, outcomes, references, tasks, windows
from backend.monitoring.live import Live, Place, place_of
from backend.monitoring.needs import Watched, segmentations_of
from backend.monitoring.references import Shelf
from backend.monitoring.rows import NO_VERSION, KeptThresholds, MonitorScore, ReferenceProfile
from backend.monitoring.rules import HOUR, OF_FEATURES, MonitorSpec

_NAMES: Mapping[str, Score] = {name: name for name in SCORES}


@dataclass
class Thresholds:
    """Thresholds that are kept (see `features.Kept`): what was read, and what was made and is still to be written."""

    session: Session
    made: dict[str, Resampled] = field(default_factory=dict)

    def get(self, key: str) -> Resampled:
        """Those of a key."""
        row = self.session.get(KeptThresholds, key)
        return read_thresholds(row.made) if row is not None else {}

    def put(self, key: str, made: Resampled) -> None:
        """Keeps them until the run is stored."""
        self.made[key] = made


def read_thresholds(told: Mapping[str, Mapping[str, float]]) -> Resampled:
    """From their row."""
    found: dict[tuple[int, int], Mapping[Score, float]] = {}
    for key, each in told.items():
        place, _, size = key.partition("/")
        found[int(place), int(size)] = {_NAMES[name]: value for name, value in each.items() if name in _NAMES}
    return found


def written_thresholds(made: Resampled) -> dict[str, dict[str, float]]:
    """For their row."""
    return {
        f"{place}/{size}": {str(one): value for one, value in found.items()} for (place, size), found in sorted(made.items())
    }


def of_features(session: Session, one: Watched, place: Place, shelf: Shelf, slot: datetime) -> tuple[features.Given, ...]:
    """What a look at features needs, version by version."""
    known = references.of_model(session, place.model)
    found = [_of_version(session, one, place, live, known.get(live.version), shelf, slot) for live in place.live]
    teller = next((each for each in found if each.parts), None)  # one version's look tells it, lest each does
    return tuple(replace(each, strays=_strays(place, each)) if each is teller else each for each in found)


def of_outcomes(session: Session, one: Watched, place: Place, shelf: Shelf, slot: datetime) -> tuple[outcomes.Given, ...]:
    """What a look at outcomes needs, version by version."""
    assert one.spec.task is not None  # noqa: S101 - the spec says so
    known = references.of_model(session, place.model)
    what = tasks.counted_as(one.spec, segmentations_of(session, shelf, one.spec, place, known))
    window = windows.window_at(one.spec, slot)
    learned = _learned(one.spec, window)
    parts = hours.parts(session, place.id, what, window)
    before = hours.parts(session, place.id, what, learned) if learned is not None else ()
    task = tasks.task_of(one.spec.task)
    counts = hours.outcomes((*before, *parts), task)
    covered = len({part.hour for part in parts})
    return tuple(outcomes.Given(live, window, counts, covered, learned, place.alone == live.version) for live in place.live)


def hours_lacking(session: Session, one: Watched, place: Place, shelf: Shelf, slot: datetime, now: datetime) -> int:
    """How many of the hours that a look needs, and that may be counted by now, were not counted yet."""
    until = windows.closed_until(now)
    needed = {hour for hour in windows.hours_of(one.spec, slot, place.live) if hour < until}
    return max(
        (len(needed - hours.counted_hours(session, place.id, what)) for what in _whats(session, one, place, shelf)), default=0
    )


def endpoint_place(session: Session, endpoint_id: str) -> Place | None:
    """What answers at an endpoint; None where it is gone."""
    row = session.get(Endpoint, endpoint_id)
    return place_of(session, row) if row is not None else None


def _whats(session: Session, one: Watched, place: Place, shelf: Shelf) -> Iterable[str]:
    known = references.of_model(session, place.model)
    if one.spec.kind in OF_FEATURES:
        return [f"drift:{known[live.version].digest}" for live in place.live if live.version in known]
    return [tasks.counted_as(one.spec, segmentations_of(session, shelf, one.spec, place, known))]


def _learned(spec: MonitorSpec, window: Window) -> Window | None:
    if spec.kind != "estimate":
        return None
    if spec.reference.start is not None and spec.reference.end is not None:
        return Window(spec.reference.start, spec.reference.end)
    return Window(window.start - timedelta(days=spec.reference.days), window.start)


def _of_version(
    session: Session, one: Watched, place: Place, live: Live, row: ReferenceProfile | None, shelf: Shelf, slot: datetime
) -> features.Given:
    window = windows.first_serving(one.spec, live, slot) if one.spec.kind == "skew" else windows.window_at(one.spec, slot)
    if window is None:
        soon = f"Version {live.version} has not served for an hour yet."
        return features.Given(live, windows.window_at(one.spec, slot), _training(), why=soon, calm="early")
    against = windows.compared(one.spec, window, place.champion)
    if row is None:
        return features.Given(live, window, against)
    if against.concurrent and live.is_champion:
        nobody = f"Version {live.version} is the champion, and nothing else answers beside it: there is nothing to compare."
        itself = f"Version {live.version} is the champion itself."
        return features.Given(live, window, against, why=nobody if len(place.live) == 1 else itself, calm="idle")
    what, profile = f"drift:{row.digest}", shelf.read(session, row)
    reference = hours.parts(session, place.id, what, against.window) if against.window is not None else ()
    return features.Given(
        live=live,
        window=window,
        against=against,
        profile=profile,
        content=row.content_digest,
        parts=hours.parts(session, place.id, what, window),
        reference=reference,
        alone=place.alone == live.version,
        before=_before(session, one.row.id, live.version, slot),
    )


def _strays(place: Place, given: features.Given) -> Mapping[int, int]:
    """Version -> requests of a window that no look is about: of versions that had no arm here at that time, and those of which
    nothing says who answered where several did."""
    found = Counter[int]()
    for part in given.parts:
        is_nobodys = (
            place.alone is None if part.version == NO_VERSION else not place.had(part.version, given.window.start - HOUR)
        )
        found[part.version] += part.rows if is_nobodys else 0
    return +found


def _training() -> Choice:
    return Choice(None, "the data that it was trained on")


def _before(session: Session, monitor_id: str, version: int, slot: datetime) -> features.Before:
    """The scores of the windows before, the oldest first."""
    slots = select(MonitorScore.slot).where(
        MonitorScore.monitor_id == monitor_id, MonitorScore.version == version, col(MonitorScore.slot) < slot
    )
    newest = session.exec(slots.distinct().order_by(col(MonitorScore.slot).desc()).limit(features.LOOKED_BACK)).all()
    found: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    if not newest:
        return found
    query = select(MonitorScore).where(
        MonitorScore.monitor_id == monitor_id, MonitorScore.version == version, col(MonitorScore.slot).in_(newest)
    )
    rows: Sequence[MonitorScore] = session.exec(query.order_by(col(MonitorScore.slot))).all()
    for row in rows:
        found.setdefault((row.role, row.column), []).append(row.scores)
    return found
