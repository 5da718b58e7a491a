"""What answers at an endpoint: its versions with their arms, and since when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, select

from backend.delivery.generations import DesiredArm, DesiredEndpoint
from backend.delivery.rows import Endpoint, Generation

_LOOKED_BACK = 200
"""Generations that are asked since when a version answers."""
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Live:
    """One version that answers, or gets copies. `since`: when it first did at this endpoint."""

    version: int
    arms: tuple[str, ...]
    is_champion: bool
    since: datetime


@dataclass(frozen=True)
class Place:
    """One endpoint with what answers there; `live` has the champion first.

    `until`: when each version that ever had an arm here last had one; None for those that have one now.
    """

    id: str
    name: str
    environment: str
    model: str
    live: tuple[Live, ...]
    until: Mapping[int, datetime | None] = field(default_factory=dict)

    def had(self, version: int, after: datetime) -> bool:
        """Whether a version had an arm here at any time after this one."""
        until = self.until.get(version, _NEVER)
        return until is None or until > after

    @property
    def champion(self) -> int | None:
        """The champion's version."""
        return next((one.version for one in self.live if one.is_champion), None)

    @property
    def alone(self) -> int | None:
        """The version whose requests those are of which nothing says who answered: the only one, where there is one."""
        return self.live[0].version if len(self.live) == 1 else None


def place_of(session: Session, row: Endpoint) -> Place:
    """What answers at an endpoint, as its newest generation says; of one that is only observed, as it was seen."""
    query = select(Generation.admitted_at, Generation.desired).where(Generation.endpoint_id == row.id)
    found = session.exec(query.order_by(col(Generation.number).desc()).limit(_LOOKED_BACK)).all()
    told = [(at, DesiredEndpoint.model_validate(desired)) for at, desired in found]
    live = _as_desired(told) if told else _as_seen(row)
    first = tuple(sorted(live, key=lambda one: not one.is_champion))
    until = _until(told) if told else {one.version: None for one in first}
    return Place(row.id, row.name, row.environment, row.model, first, until)


def _as_desired(told: list[tuple[datetime, DesiredEndpoint]]) -> Iterable[Live]:
    newest = told[0][1]
    answering = [one for one in newest.arms if one.ranges or one.name in (newest.shadow, newest.champion)]
    for version in dict.fromkeys(one.version for one in answering):
        arms = tuple(one.name for one in answering if one.version == version)
        yield Live(version, arms, newest.champion in arms, _since(told, version))


def _since(told: list[tuple[datetime, DesiredEndpoint]], version: int) -> datetime:
    """The beginning of its latest time of serving: it may have been taken off and brought back."""
    since = told[0][0]
    for at, desired in told:
        if not any(one.version == version for one in _arms(desired)):
            break
        since = at
    return since


def _until(told: list[tuple[datetime, DesiredEndpoint]]) -> dict[int, datetime | None]:
    ends: list[datetime | None] = [None, *(at for at, _ in told)]
    found = dict[int, datetime | None]()
    for end, (_, desired) in zip(ends, told, strict=False):
        for one in _arms(desired):
            found.setdefault(one.version, end)
    return found


def _arms(desired: DesiredEndpoint) -> tuple[DesiredArm, ...]:
    return desired.arms


def _as_seen(row: Endpoint) -> Iterable[Live]:
    base: Mapping[str, Any] = row.base or {}
    arms = [one for one in base.get("arms", ()) if isinstance(one.get("version"), int)]
    for version in dict.fromkeys(int(one["version"]) for one in arms):
        names = tuple(str(one["name"]) for one in arms if one["version"] == version)
        yield Live(version, names, base.get("champion") in names or len(arms) == 1, row.created_at)
