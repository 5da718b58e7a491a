"""Whose a figure is: from the words of a server or router to an endpoint, its arm and its registered version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from backend.delivery.generations import DesiredArm, DesiredEndpoint, is_own_name
from backend.delivery.rows import Endpoint, Generation
from backend.metrics.port import Subject

_LOOKED_BACK = 3
"""How many generations are asked for an arm's version: requests of the one before go on for a moment."""


@dataclass(frozen=True)
class Owner:
    """To what a figure belongs; `arm` and `version` as far as they are known."""

    endpoint_id: str
    arm: str = ""
    version: int | None = None
    shadow: bool = False
    served: str = ""
    """`<served name>/<served version>`, where its version is not one that was registered."""


@dataclass(frozen=True)
class Known:
    """One endpoint, and the arms of its newest generations, the newest first."""

    id: str
    name: str
    served_name: str
    arms: tuple[DesiredArm, ...] = ()
    shadows: frozenset[str] = field(default_factory=frozenset)


def on_server(known: Iterable[Known], subject: Subject) -> Owner | None:
    """Of a figure of a served model and version; None for one that is not ours."""
    found = next((one for one in known if is_own_name(one.served_name, subject.model)), None)
    if found is None or subject.version is None:
        return None
    arm = next((one for one in found.arms if one.place == (subject.model, subject.version)), None)
    if arm is None:
        return Owner(found.id, served=f"{subject.model}/{subject.version}")
    return Owner(found.id, arm.name, arm.version, arm.name in found.shadows)


def behind_router(known: Mapping[str, Known], subject: Subject) -> Owner | None:
    """Of a figure of an endpoint's arm; None for an endpoint that is not (any more) ours."""
    found = known.get(subject.endpoint)
    if found is None:
        return None
    return Owner(found.id, subject.arm, _version(found, subject.arm), subject.shadow)


def of_one(known: Known, subject: Subject) -> Owner:
    """Of a figure from a source that was named for an endpoint: its version is an arm's served one, or the registered one."""
    if subject.arm:
        return Owner(known.id, subject.arm, subject.version or _version(known, subject.arm))
    arms = {one.name: one for one in known.arms if one.place[1] == subject.version or one.version == subject.version}
    if len(arms) != 1:
        return Owner(known.id, version=subject.version)
    arm = next(iter(arms.values()))
    return Owner(known.id, arm.name, arm.version, arm.name in known.shadows)


def known_endpoints(session: Session, rows: Iterable[Endpoint]) -> tuple[Known, ...]:
    """What is known of endpoints."""
    found = list(rows)
    desired = _desired(session, [row.id for row in found if row.generation])
    return tuple(_known(row, desired.get(row.id, ())) for row in found)


def _version(known: Known, arm: str) -> int | None:
    return next((one.version for one in known.arms if one.name == arm), None)


def _known(row: Endpoint, generations: Iterable[DesiredEndpoint]) -> Known:
    told = list(generations)
    shadows = {told[0].shadow} if told and told[0].shadow else set()
    arms = tuple(arm for one in told for arm in one.known)
    return Known(row.id, row.name, row.served_name, arms, frozenset(shadows))


def _desired(session: Session, endpoint_ids: list[str]) -> dict[str, list[DesiredEndpoint]]:
    """Of each endpoint its newest generations, the newest first."""
    found: dict[str, list[DesiredEndpoint]] = {}
    if not endpoint_ids:
        return found
    query = (
        select(Generation)
        .join(Endpoint, col(Endpoint.id) == col(Generation.endpoint_id))
        .where(col(Generation.endpoint_id).in_(endpoint_ids), Generation.number > Endpoint.generation - _LOOKED_BACK)
        .order_by(col(Generation.number).desc())
    )
    for row in session.exec(query):
        found.setdefault(row.endpoint_id, []).append(DesiredEndpoint.model_validate(row.desired))
    return found
