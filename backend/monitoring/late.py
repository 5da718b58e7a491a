"""Rows that come after a look: windows that were judged without them are judged again, lest something passes by that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from backend.core import work
from backend.core.unit import Unit
from backend.monitoring import rules
from backend.monitoring.rows import Monitor, MonitorRun
from backend.monitoring.rules import HOUR

LOOK = "monitor"
"""Of the work items, whose keys are monitors' ids."""
MOST_AGAIN = rules.MOST_BEHIND
"""Windows of a monitor that are judged again for one hour, the newest ones: a long window that moves on every hour has
thousands with the same hour in it."""
_runs: sa.Table = MonitorRun.__table__  # type: ignore[attr-defined]  # SQLModel adds it
_monitors: sa.Table = Monitor.__table__  # type: ignore[attr-defined]


def came(tx: Unit, endpoint_id: str, changed: Mapping[datetime, int]) -> None:
    """Joins: so many requests came to hours that were counted before, were sent again with other values, or were erased.

    They add up, so that many that come one by one are seen too. The first days of serving are judged again at each slot anyway.
    """
    if not changed:
        return
    query = (
        sa.select(_runs.c.monitor_id, _runs.c.slot, _runs.c.window_start, _runs.c.rows, _runs.c.late)
        .join(_monitors, _monitors.c.id == _runs.c.monitor_id)
        .where(
            _runs.c.endpoint_id == endpoint_id,
            _monitors.c.kind != "skew",
            _runs.c.window_start < max(changed) + HOUR,
            _runs.c.slot > min(changed),
        )
        .order_by(_runs.c.slot.desc())
    )
    connection = tx.session.connection()
    seen, again = Counter[tuple[str, datetime]](), set[str]()
    for monitor_id, slot, start, rows, late in connection.execute(query).all():
        mine = [hour for hour in changed if start <= hour < slot and seen[monitor_id, hour] < MOST_AGAIN]
        seen.update((monitor_id, hour) for hour in mine)
        if not mine:
            continue
        now_late = late + sum(changed[hour] for hour in mine)
        where = (_runs.c.monitor_id == monitor_id, _runs.c.slot == slot)
        connection.execute(sa.update(_runs).where(*where).values(late=now_late))
        if rules.is_much(now_late, rows):
            again.add(monitor_id)
    work.wake_many(tx, LOOK, sorted(again))
