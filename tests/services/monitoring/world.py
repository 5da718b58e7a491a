"""An endpoint that answers, a log of its requests, and a worker's hands: hours are counted and monitors run as they are due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlmodel import col, select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.delivery import admission
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.plan import ServedAs
from backend.delivery.rows import Endpoint, Generation
from backend.drift.profile import Profile
from backend.drift.stored import profile_bytes
from backend.findings.rows import Finding
from backend.inference_log.service import InferenceLog
from backend.monitoring import counting, queries, runs, watch
from backend.monitoring.counting import Counting
from backend.monitoring.references import ReferenceProfiles, Shelf
from backend.monitoring.rows import CountedHour, Monitor, MonitorRun
from backend.monitoring.rules import parse_spec
from backend.monitoring.runs import Monitoring
from backend.monitoring.service import Monitors
from backend.monitoring.views import MonitorLine, Where
from backend.window_reports import automatic
from backend.window_reports import queries as window_reports
from backend.window_reports.queries import ReportLine
from tests.databases import Clock
from tests.drift_data import letters, normal, profile_of
from tests.services.changes.world import ENDPOINT, MODEL, World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Watching:
    """The commands and handlers over a world. `clock` begins at 9 o'clock on 2 March 2026."""

    def __init__(self, database: Database, clock: Clock, folder: Path) -> None:
        self.world, self.database, self.clock = World(database), database, clock
        self.log = InferenceLog(folder / "log", clock=clock)
        shelf = Shelf()
        self.counting, self.monitoring = (
            Counting(database, self.log, shelf),
            Monitoring(database, self.log, shelf, reports=automatic.ask),
        )
        self.monitors, self.profiles = Monitors(database), ReferenceProfiles(database)

    def profile(self, profile: Profile | None = None, version: int = 1) -> Profile:
        """A reference profile of a version: two numbers and a letter."""
        made = profile or profile_of(columns(2_000))
        self.profiles.set(self.world.ana, MODEL, version, profile_bytes(made))
        return made

    def beside(self, *versions: int) -> None:
        """These versions answer too, beside version 1, which stays the champion."""
        with self.database.unit(SYSTEM) as tx:
            endpoint = tx.get(Endpoint, "end_1", lock=True)
            newest = tx.get(Generation, f"end_1/{endpoint.generation}")
            desired = DesiredEndpoint.model_validate(newest.desired)
            (first,) = desired.arms
            served = [ServedAs(model=MODEL, version=one) for one in versions]
            more = [
                first.model_copy(update={"name": f"v{one}", "version": one, "served_as": at})
                for one, at in zip(versions, served, strict=True)
            ]
            admission._write(
                tx, endpoint, desired.model_copy(update={"arms": (first, *more)}), reason="start", authorization_id=None
            )

    def alone_again(self) -> None:
        """Only version 1 answers from now on."""
        with self.database.unit(SYSTEM) as tx:
            endpoint = tx.get(Endpoint, "end_1", lock=True)
            newest = tx.get(Generation, f"end_1/{endpoint.generation}")
            desired = DesiredEndpoint.model_validate(newest.desired)
            only = desired.model_copy(update={"arms": desired.arms[:1]})
            admission._write(tx, endpoint, only, reason="start", authorization_id=None)

    def set(self, name: str = "drift", **told: Any) -> Monitor:
        """A monitor that looks at each hour, at once when it is over."""
        given = {"kind": "drift", "window_hours": 1, "every_hours": 1, "wait_minutes": 5, "min_rows": 30, **told}
        return self.monitors.set(self.world.olga, ENDPOINT, name, parse_spec(given))

    def asked(self, at: datetime, rows: int = 200, *, version: int | None = 1, seed: int = 7, **instead: Any) -> None:
        """Requests within one hour."""
        told = {**columns(rows, seed), **instead}
        self.append(
            {
                "request_id": f"{at:%d%H}-{seed}-{place}",
                "event_time": at + timedelta(seconds=place % 3_000),
                "version": version,
                "assigned_arm": f"v{version}" if version is not None else None,
                "features": {name: _plain(values[place]) for name, values in told.items()},
            }
            for place in range(rows)
        )

    def append(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Into the log, and onto its disk."""
        taken = self.log.append(ENDPOINT, rows)
        assert taken.rejected == 0
        self.log.flush()

    def work(self) -> int:
        """What is due is done, as a worker does; how often something was."""
        handlers = {counting.KIND: self.counting.handle, runs.KIND: self.monitoring.handle}
        for done in range(200):
            for kind, handle in handlers.items():
                if claims := work.claim(self.database, kind, holder="w", seconds=600):
                    handle(claims[0])
                    break
            else:
                return done
        raise AssertionError("there is always something due")

    def on(self, **delta: float) -> int:
        """Later, with a worker at work."""
        self.clock.tick(**delta)
        return self.work()

    def watch(self) -> int:
        """The leader's watch."""
        return watch.watch(self.database)

    def runs(self, name: str = "drift") -> list[MonitorRun]:
        """Runs of a monitor, the oldest first."""
        with self.database.read() as session:
            query = select(MonitorRun).join(Monitor, col(Monitor.id) == MonitorRun.monitor_id).where(Monitor.name == name)
            return list(session.exec(query.order_by(col(MonitorRun.slot))))

    def states(self, name: str = "drift") -> list[str]:
        """What its runs came to, the oldest first."""
        return [one.state for one in self.runs(name)]

    def last(self, name: str = "drift") -> MonitorRun:
        """The newest one."""
        return self.runs(name)[-1]

    def findings(self, *, over: bool = False) -> list[tuple[str, str]]:
        """(kind, what of) of findings that are not over."""
        with self.database.read() as session:
            rows = session.exec(select(Finding).order_by(col(Finding.number)))
            return [(row.kind, row.about) for row in rows if (row.state == "resolved") == over]

    def every_finding(self) -> list[Finding]:
        """All findings, the first first."""
        with self.database.read() as session:
            return list(session.exec(select(Finding).order_by(col(Finding.number))))

    def evidence(self, kind: str) -> Mapping[str, Any]:
        """The first evidence of the newest finding of a kind."""
        return [one for one in self.every_finding() if one.kind == kind][-1].first_evidence

    def says(self, kind: str) -> str:
        """What the newest finding of a kind says."""
        with self.database.read() as session:
            rows = session.exec(select(Finding).where(Finding.kind == kind).order_by(col(Finding.number).desc()))
            return rows.first().says  # type: ignore[union-attr]

    def reports(self) -> Sequence[ReportLine]:
        """Window reports, the newest first."""
        with self.database.read() as session:
            return window_reports.lines(session, ENDPOINT)

    def counted(self, hour: datetime) -> int:
        """How many requests of an hour were counted."""
        with self.database.read() as session:
            return sum(session.exec(select(CountedHour.rows).where(CountedHour.hour == hour)))

    def line(self, name: str = "drift") -> MonitorLine:
        """How a monitor fares."""
        with self.database.read() as session:
            found = queries.monitors(session, ENDPOINT, now=self.clock.now)
        return next(one for one in found if one.name == name)

    def where(self, **narrow: Any) -> Where:
        """The last two days."""
        end = self.clock.now
        return Where(ENDPOINT, end - 2 * DAY, end, **narrow)


def columns(rows: int, seed: int = 1) -> dict[str, Any]:
    """Two numbers and a letter."""
    return {"x": normal(rows, seed), "y": normal(rows, seed + 50, 10, 2), "t": letters(rows, seed)}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
