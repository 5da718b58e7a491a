"""`client.window_reports`: Evidently's page of one window, asked for, waited for, and fetched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from backend.client.pages import MOST, Pages
from backend.client.results import WindowReport
from backend.client.shapes import read
from backend.client.waiting import Clock, Look, wait
from backend.client.wire import Wire


class WindowReports:
    """Reports of endpoints. Each takes a grant of the data set `requests/ENDPOINT`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def ask(
        self,
        endpoint: str,
        start: datetime,
        end: datetime,
        *,
        version: int | None = None,
        arm: str | None = None,
        reference: tuple[datetime, datetime] | None = None,
        reference_version: int | None = None,
        reference_arm: str | None = None,
        parts: Sequence[str] = ("drift", "summary"),
        rows: int = 5_000,
        features: Sequence[str] | None = None,
        outcome: str | None = None,
        threshold: float = 0.5,
    ) -> WindowReport:
        """Has one made of a window, against the same hours a week earlier where no reference is given.

        Args:
            parts: `drift`, `summary`, `classification`, `regression`; the last two compare with `outcome`.
            rows: the most that are drawn of each side.
        """
        sent: dict[str, Any] = {
            "current": _side(start, end, version, arm),
            "parts": list(parts),
            "rows": rows,
            "threshold": threshold,
            "features": list(features) if features is not None else None,
            "outcome": outcome,
        }
        if reference is not None:
            sent["reference"] = _side(*reference, reference_version, reference_arm)
        return read(WindowReport, self._wire.send("POST", _path(endpoint), sent=sent, key="").content)

    def list(self, endpoint: str) -> tuple[WindowReport, ...]:
        """Those that are there, the newest first."""
        return tuple(Pages(self._wire, WindowReport, *_path(endpoint)).all(limit=MOST))

    def show(self, endpoint: str, report: str) -> WindowReport:
        """One, as it stands."""
        return read(WindowReport, self._wire.get(*_path(endpoint), report).content)

    def wait(self, endpoint: str, report: str, seconds: float = 900.0, *, clock: Clock | None = None) -> WindowReport:
        """The same once it is made or has failed; as it stands where the time is over before."""

        def look() -> Look:
            found = self.show(endpoint, report)
            return {"done": "reached", "failed": "over"}.get(found.state), found.state  # type: ignore[return-value]

        wait(look, seconds, clock=clock)
        return self.show(endpoint, report)

    def page(self, endpoint: str, report: str) -> bytes:
        """Its page: HTML that stands by itself, and that tells nobody anything when it is opened from a disk."""
        page: bytes = self._wire.send("GET", (*_path(endpoint), report, "page"), wants="text/html").content
        return page

    def remove(self, endpoint: str, report: str) -> None:
        """Takes it away."""
        self._wire.send("DELETE", (*_path(endpoint), report))


def _path(endpoint: str) -> tuple[str, str, str]:
    return "endpoints", endpoint, "window-reports"


def _side(start: datetime, end: datetime, version: int | None, arm: str | None) -> dict[str, Any]:
    return {"start": start.isoformat(), "end": end.isoformat(), "version": version, "arm": arm}
