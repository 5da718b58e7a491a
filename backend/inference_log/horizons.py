"""How far back an endpoint's log is whole: whoever counts an hour anew asks whether its rows are all there still.

It is written before anything is taken out, so that who read an hour and finds it whole afterwards has read all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, select

from backend.core.unit import Unit
from backend.inference_log.layout import HOUR, Table
from backend.inference_log.rows import LogHorizon


@dataclass(frozen=True)
class Horizon:
    """Table -> before when hours of it are taken out; of a table that is not named all is there."""

    before: Mapping[str, datetime]

    def is_whole(self, hour: datetime, *, with_outcomes: bool = False) -> bool:
        """Whether no row of an hour's requests was taken out for its age, and none of their outcomes, where those count.

        A part of a request may lie in the hour before it.
        """
        kept = self._keeps("requests", hour) and self._keeps("parts", hour - HOUR)
        return kept and (not with_outcomes or self._keeps("outcomes", hour))

    def _keeps(self, table: Table, hour: datetime) -> bool:
        before = self.before.get(table)
        return before is None or hour + HOUR > before


def of(session: Session, endpoint_id: str) -> Horizon:
    """An endpoint's horizon."""
    rows = session.exec(select(LogHorizon).where(LogHorizon.endpoint_id == endpoint_id))
    return Horizon({row.table: row.before for row in rows})


def move(tx: Unit, endpoint_id: str, before: Mapping[Table, datetime]) -> None:
    """Joins: hours of these tables that were over before these times are taken out from now on."""
    for table, at in before.items():
        row = tx.session.get(LogHorizon, (endpoint_id, table))
        if row is None:
            tx.add(LogHorizon(endpoint_id=endpoint_id, table=table, before=at))
        else:
            row.before = max(row.before, at)
