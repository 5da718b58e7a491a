"""Has a window report made of a window in which a monitor alarmed. Who makes it is handed in, as rooms do not know each
other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from backend.core.unit import Unit
from backend.monitoring import windows
from backend.monitoring.live import Place
from backend.monitoring.looks import Came
from backend.monitoring.needs import Watched
from backend.monitoring.rules import worst


class Asking(Protocol):
    """`window_reports.automatic.ask`."""

    def __call__(
        self,
        tx: Unit,
        *,
        endpoint_id: str,
        monitor: str,
        part: str,
        current: tuple[datetime, datetime],
        version: int | None,
        arm: str | None,
        reference: tuple[datetime, datetime],
        reference_version: int | None,
        outcome: str | None,
    ) -> str | None:
        """The id of the report that is made, or that was asked for within a day; None for none."""
        ...


def nobody(tx: Unit, **_told: object) -> None:
    """Where nobody makes reports."""


def of_alarm(tx: Unit, ask: Asking, one: Watched, place: Place, slot: datetime, result: Came) -> str | None:
    """Joins: the report of an alarm, of the version that was found worst; None where none is wanted, or made."""
    if one.spec.report is None or result.state != "alarm":
        return None
    version = max(result.verdicts, key=lambda each: _RANK.index(worst([found.severity for found in each.found]))).version
    live = next((each for each in place.live if each.version == version), None)
    window = windows.first_serving(one.spec, live, slot) if one.spec.kind == "skew" and live is not None else None
    window = window or windows.window_at(one.spec, slot)
    beside = windows.shown_beside(one.spec, window)
    return ask(
        tx,
        endpoint_id=place.id,
        monitor=one.row.name,
        part=one.spec.report,
        current=(window.start, window.end),
        version=version,
        arm=one.spec.arm,
        reference=(beside.start, beside.end),
        reference_version=place.champion if one.spec.reference.kind == "champion" else None,
        outcome=one.spec.task.outcome if one.spec.task is not None else None,
    )


_RANK = ("", "notice", "info", "warning", "critical")
