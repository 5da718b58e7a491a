"""What is kept of an endpoint's requests: its sampling, redaction and retention, and units that are erased; as commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from backend.access.checks import require
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.core.unit import Unit
from backend.delivery.controls import check_reason
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.inference_log import handling
from backend.inference_log.handling import Erased, Handling, Redaction
from backend.inference_log.layout import TABLES
from backend.inference_log.rows import LogErasure, LogRules
from backend.inference_log.rules import MAX_TEXT

MOST_DAYS = 36_500
_HEADER = re.compile(r"[a-z0-9-]{1,64}")
_FACTS = ("sample_every", "redactions", "kept_days", "unit_header", "revision")


@dataclass(frozen=True)
class RulesLine:
    """What holds for one endpoint; `revision` 0 where nobody has said anything, so that everything is kept."""

    endpoint: str
    sample_every: int
    redactions: tuple[Redaction, ...]
    kept_days: Mapping[str, int]
    unit_header: str
    revision: int


@dataclass(frozen=True)
class ErasureLine:
    """One erasure. The unit is told by its pseudonym alone."""

    id: str
    endpoint: str
    unit: str
    later: bool
    reason: str
    state: str
    asked_by: str
    asked_at: datetime
    done_at: datetime | None
    removed: int


class LogKeeping:
    """Commands on the rules of an endpoint's inference log.

    Args:
        database: where they are.
        key: of this installation's pseudonyms; asked for when it is needed.
    """

    def __init__(self, database: Database, key: Callable[[], bytes]) -> None:
        self._database, self._key = database, key

    def set_rules(
        self,
        actor: Actor,
        endpoint: str,
        *,
        sample_every: int = 1,
        redactions: Sequence[Redaction | Mapping[str, object]] = (),
        kept_days: Mapping[str, int] | None = None,
        unit_header: str = "x-unit-id",
    ) -> LogRules:
        """Says all of what is kept from now on; saying it again changes nothing. What lies in the log already stays as it is,
        but for its age, which counts at once.

        Args:
            sample_every: one unit in that many is kept whole; requests that failed always are.
            redactions: by column (`handling.Redaction`).
            kept_days: by table (`requests`, `parts`, `outcomes`, `copies`); one that is not named is kept for good, copies as
                long as requests.
            unit_header: which header of a request names its unit, for what Envoy and KServe send.

        Refusal codes: bad-sample, bad-redaction, bad-days, bad-header.
        """
        told = {
            "sample_every": _checked_every(sample_every),
            "redactions": [asdict(one) for one in handling.checked(redactions)],
            "kept_days": _checked_days(kept_days or {}),
            "unit_header": _checked_header(unit_header),
        }
        with self._database.unit(actor) as tx:
            place = _opened(tx, actor, endpoint, "inference_log.set_rules")
            row = tx.session.get(LogRules, place.id, with_for_update=True)
            if row is not None and row.facts(*told) == told:
                return row
            if row is None:
                row = LogRules(id=place.id, endpoint_id=place.id, set_by=actor.id, set_at=tx.now, revision=0)
                before = None
                tx.add(row)
            else:
                before = row.facts(*_FACTS)
            for name, value in told.items():
                setattr(row, name, value)
            row.revision, row.set_by, row.set_at = row.revision + 1, actor.id, tx.now
            tx.record("inference_log.set_rules", row, before=before, after=row.facts(*_FACTS))
            return row

    def erase(self, actor: Actor, endpoint: str, unit: str, *, reason: str, later: bool = False) -> LogErasure:
        """Has every row of a unit taken out of an endpoint's log, with their outcomes; the worker does it, and it is done when
        no file holds one any more. The ledger has the unit's pseudonym.

        Args:
            later: leave out what comes of this unit from now on, too.

        Refusal codes: bad-unit, no-reason.
        """
        check_reason(reason)
        if not all(one.isprintable() or one == "\n" for one in reason):
            raise Refusal("The reason holds characters that cannot be shown.", "Write it as plain text.", code="no-reason")
        if not isinstance(unit, str) or not 0 < len(unit) <= MAX_TEXT:
            raise Refusal("This is not a unit.", f"Give its id, of at most {MAX_TEXT} characters.", code="bad-unit")
        with self._database.unit(actor) as tx:
            place = _opened(tx, actor, endpoint, "inference_log.erase")
            row = LogErasure(
                id=tx.new_id("ers"),
                endpoint_id=place.id,
                unit=handling.pseudonym(self._key(), unit),
                later=later,
                reason=reason,
                asked_by=actor.id,
                asked_at=tx.now,
            )
            tx.add(row)
            tx.record("inference_log.erase", row, after=row.facts("endpoint_id", "unit", "later", "reason"))
            return row


def row_of(session: Session, endpoint_id: str) -> LogRules | None:
    """The rules of an endpoint; None where nobody has said any."""
    return session.exec(select(LogRules).where(LogRules.id == endpoint_id)).one_or_none()


def handling_of(session: Session, endpoint_id: str, rules: LogRules | None, key: bytes) -> Handling:
    """What is done with each row of an endpoint at this moment."""
    query = select(LogErasure).where(LogErasure.endpoint_id == endpoint_id)
    erased = tuple(Erased(one.unit, None if one.later else one.asked_at) for one in session.exec(query) if _counts(one))
    if rules is None:
        return Handling(key, erased=erased)
    return Handling(key, rules.sample_every, handling.checked(rules.redactions), erased)


def handlings(session: Session, key: bytes) -> dict[str, tuple[Handling, str]]:
    """Endpoint's name -> its handling, and the header that names units there; for all endpoints."""
    rules = {one.id: one for one in session.exec(select(LogRules))}
    found = {}
    for place in session.exec(select(Endpoint)):
        row = rules.get(place.id)
        header = row.unit_header if row is not None else "x-unit-id"
        found[place.name] = handling_of(session, place.id, row, key), header
    return found


def line(session: Session, endpoint: str) -> RulesLine:
    """What holds for one endpoint. NotFound."""
    place = named(session, Endpoint, endpoint)
    row = row_of(session, place.id)
    if row is None:
        return RulesLine(place.name, 1, (), {}, "x-unit-id", 0)
    return RulesLine(
        place.name, row.sample_every, handling.checked(row.redactions), row.kept_days, row.unit_header, row.revision
    )


def erasures(session: Session, endpoint: str) -> tuple[ErasureLine, ...]:
    """Erasures from one endpoint's log, the newest first. NotFound."""
    place = named(session, Endpoint, endpoint)
    query = select(LogErasure).where(LogErasure.endpoint_id == place.id)
    query = query.order_by(col(LogErasure.asked_at).desc(), col(LogErasure.id).desc())
    return tuple(erasure_line(place.name, one) for one in session.exec(query))


def erasure(session: Session, endpoint: str, identifier: str) -> ErasureLine:
    """One of them. NotFound."""
    place = named(session, Endpoint, endpoint)
    query = select(LogErasure).where(LogErasure.endpoint_id == place.id, LogErasure.id == identifier)
    row = session.exec(query).one_or_none()
    if row is None:
        raise NotFound("erasure", identifier[:60])
    return erasure_line(place.name, row)


def erasure_line(endpoint: str, row: LogErasure) -> ErasureLine:
    """One erasure as people read it."""
    facts = {name: getattr(row, name) for name in ("id", "unit", "later", "reason", "state", "asked_by", "asked_at")}
    return ErasureLine(endpoint=endpoint, done_at=row.done_at, removed=row.removed, **facts)


def forget(tx: Unit, endpoint: Endpoint) -> None:
    """An endpoint goes, and its rules with it. One that units were erased from stays: that they were is on record there."""
    row = tx.session.get(LogRules, endpoint.id)
    if row is not None:
        tx.record("inference_log.set_rules", row, before=row.facts(*_FACTS))
        tx.session.delete(row)


def _counts(one: LogErasure) -> bool:
    return one.later or one.state != "done"


def _opened(tx: Unit, actor: Actor, endpoint: str, action: str) -> Endpoint:
    place = named(tx.session, Endpoint, endpoint, lock=True)
    where: dict[str, Any] = {"environment": place.environment, "model": place.model, "endpoint": place.name}
    require(tx, actor, action, missing=NotFound("endpoint", endpoint[:80]), **where)
    return place


def _checked_every(every: int) -> int:
    if type(every) is not int or not 1 <= every <= handling.MOST_EVERY:
        raise Refusal(
            "This is no way to sample.",
            f"Keep one unit in a whole number from 1 (all of them) to {handling.MOST_EVERY:,}.",
            code="bad-sample",
        )
    return every


def _checked_days(told: Mapping[str, int]) -> dict[str, int]:
    if any(name not in TABLES or type(days) is not int or not 1 <= days <= MOST_DAYS for name, days in told.items()):
        raise Refusal(
            "This is no retention.", f"Give whole days from 1 for {', '.join(TABLES)}; leave out what is kept.", code="bad-days"
        )
    return dict(told)


def _checked_header(name: str) -> str:
    if not isinstance(name, str) or not _HEADER.fullmatch(name):
        raise Refusal(
            "This is no name of a header.", "Use small letters, digits and hyphens, such as `x-unit-id`.", code="bad-header"
        )
    return name
