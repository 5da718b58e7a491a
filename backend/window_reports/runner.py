"""The worker's part: draws the rows, has the report made in a process of its own, keeps its page."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from backend.access.data_sets import holds
from backend.access.queries import answers_for
from backend.access.rows import Identity
from backend.core import bounded, scratch, work
from backend.core.bounded import Ended, Talk
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Refusal
from backend.core.unit import Unit, assert_outside_unit
from backend.core.work import Claim
from backend.inference_log.service import InferenceLog
from backend.window_reports import sample
from backend.window_reports.page import assembled
from backend.window_reports.rows import WindowReport
from backend.window_reports.rules import MOST_BEGINS, REPORT, UNFINISHED, Asked, Side
from backend.window_reports.sample import Drawn
from backend.window_reports.store import ReportStore
from backend.window_reports.wire import SHOWN, Answer, Doing, Failed, Made, Order, line_of, parse_answer, read_asked

_COMMAND = (sys.executable, "-P", "-m", "backend.window_reports.child")
_ROOT = Path(__file__).resolve().parents[2]
_LOOK_SECONDS = 1.0
_PREFIX = "countersign-report-"
_LEFT_SECONDS = 6 * 3_600.0
"""A folder of rows of this age was left by a worker that was killed."""
log = structlog.get_logger()

_TROUBLES = {
    "too_long": "It was not made within {seconds:.0f} s and was stopped. Ask for fewer rows, features or parts.",
    "too_much_cpu": "It used more than {cpu} s of processor time and was stopped. Ask for fewer rows, features or parts.",
    "killed": "Its process was killed, perhaps because memory ran out. Ask again when the worker has more memory, or for fewer "
    "rows or features.",
    "crashed": "Its process ended unexpectedly (status {status}). Ask again; the worker's log has the details.",
    "unreadable": "Its process answered what cannot be read. Ask again; if it happens again, ask whoever runs the worker.",
}
_NEVER_ENDED = f"It was begun {MOST_BEGINS} times and never came to an end. Look at the worker's log, then ask again."
_NOT_ALLOWED = "Whoever asked for it may not read these requests any more. Ask an admin for a grant, then ask again."


@dataclass(frozen=True)
class Bounds:
    """What the process of a report may use: wall clock, processor time, address space, and size of what it shows."""

    seconds: float = 900.0
    cpu_seconds: int = 600
    address_space: int = 4 << 30
    most_bytes: int = 24 << 20


@dataclass(frozen=True)
class _Told:
    """What is kept of a run."""

    state: str
    says: str
    notes: tuple[str, ...] = ()
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    page: bytes | None = None
    scripts: tuple[str, ...] = ()


class ReportRunner:
    """Makes the reports that were asked for.

    Args:
        database: where they stand.
        inference_log: whose rows they show.
        store: where their pages go.
        scratch: a folder of ours alone, in which rows lie while a report is made of them.
        lease_seconds: for how long the claim is renewed.
        command: what is started in place of the report's process.
    """

    def __init__(
        self,
        database: Database,
        inference_log: InferenceLog,
        store: ReportStore,
        scratch: Path,
        *,
        lease_seconds: float,
        bounds: Bounds | None = None,
        command: tuple[str, ...] = _COMMAND,
    ) -> None:
        self._database, self._log, self._store, self._scratch = database, inference_log, store, scratch
        self._lease_seconds, self._bounds, self._command = lease_seconds, bounds or Bounds(), command

    def handle(self, claim: Claim) -> None:
        """Makes one report. A worker that died over it leaves it to the next, who begins again.

        One that was removed meanwhile is ended; a lost lease ends it and raises LeaseLost, with nothing written.
        """
        assert_outside_unit("making a report")
        row = self._begin(claim)
        if row is None:
            return
        told, digest = self._kept(self._made(claim, row))
        with self._database.unit(SYSTEM) as tx:
            if told is not None:
                _keep(tx, row.id, told, digest)
            work.finish(tx, claim, next_due=None)

    def _kept(self, told: _Told | None) -> tuple[_Told | None, str | None]:
        """The same, and the digest under which its page lies now."""
        if told is None or told.page is None:
            return told, None
        try:
            return told, self._store.put(told.page)
        except ExternalFailure as failure:
            return _Told("fail", f"{failure}. Ask again when it can.", told.notes, told.rows), None

    def _begin(self, claim: Claim) -> WindowReport | None:
        """The report, now running; None when there is nothing to make, and then the claim is finished."""
        with self._database.unit(SYSTEM) as tx:
            row = _locked(tx, claim.key)
            if row is None or row.state not in UNFINISHED:
                work.finish(tx, claim, next_due=None)
                return None
            before = row.facts("state")
            row.state, row.started_at = REPORT.next(row.state, "begin"), tx.now
            tx.record("window_report.begin", row, before=before, after={**row.facts("state"), "begun": claim.token})
            why = _NEVER_ENDED if claim.token > MOST_BEGINS else None if _may(tx, row) else _NOT_ALLOWED
            if why is not None:
                _keep(tx, row.id, _Told("fail", why), None)
                work.finish(tx, claim, next_due=None)
                return None
            work.fence(tx, claim)
            return row

    def _made(self, claim: Claim, row: WindowReport) -> _Told | None:
        """What came of it; None when it was removed while it was made."""
        asked = read_asked(row.asked)
        with scratch.folder(self._scratch, _PREFIX, left_seconds=_LEFT_SECONDS) as folder:
            try:
                drawn = sample.draw(self._log, row.endpoint, asked, folder, seed=row.id)
            except (Refusal, ExternalFailure) as problem:
                return _Told("fail", str(problem) if isinstance(problem, Refusal) else f"{problem}. Ask again when it answers.")
            order = self._order(asked, drawn, str(folder))
            ended = self._run(order, _Watch(self._database, claim, row.id, self._lease_seconds))
            if ended.trouble == "stopped":
                return None
            return self._told(row, asked, drawn, ended, folder)

    def _order(self, asked: Asked, drawn: Drawn, folder: str) -> Order:
        bounds = self._bounds
        return Order(
            folder=folder,
            columns=list(drawn.columns),
            parts=list(asked.parts),
            threshold=asked.threshold,
            cpu_seconds=bounds.cpu_seconds,
            address_space=bounds.address_space,
            most_bytes=bounds.most_bytes,
        )

    def _run(self, order: Order, watch: _Watch) -> Ended[Answer]:
        talk: Talk[Answer] = Talk(
            order=line_of(order), read=parse_answer, is_last=lambda one: not isinstance(one, Doing), tick=watch.tick
        )
        folder = Path(order.folder)
        return bounded.run(self._command, environment(order.folder), talk, seconds=self._bounds.seconds, folder=folder)

    def _told(self, row: WindowReport, asked: Asked, drawn: Drawn, ended: Ended[Answer], folder: Path) -> _Told:
        if ended.trouble or isinstance(ended.last, Failed):
            log.warning("window_report.trouble", report=row.id, trouble=ended.trouble or "failed", stderr=ended.tail)
        if not isinstance(ended.last, Made):
            says = ended.last.says if isinstance(ended.last, Failed) else self._words(ended)
            return _Told("fail", says, drawn.notes, drawn.rows)
        shown = (folder / SHOWN).read_text(encoding="utf-8")
        if len(shown) > self._bounds.most_bytes:
            return _Told("fail", self._words(ended), drawn.notes, drawn.rows)
        notes = (*drawn.notes, *ended.last.notes)
        says = f"It shows {', '.join(ended.last.parts)}."
        page, scripts = assembled(shown, title=f"{row.endpoint}: Evidently", lines=about(row, asked, drawn), notes=notes)
        return _Told("done", says, notes, drawn.rows, page, scripts)

    def _words(self, ended: Ended[Answer]) -> str:
        words = _TROUBLES[ended.trouble or "unreadable"]
        return words.format(seconds=self._bounds.seconds, cpu=self._bounds.cpu_seconds, status=ended.status)


class _Watch:
    """Looks after the claim while a report is made: renews it, and notices that the report was removed."""

    def __init__(self, database: Database, claim: Claim, report: str, lease_seconds: float) -> None:
        self._database, self._claim, self._report, self._lease_seconds = database, claim, report, lease_seconds
        self._renewed = self._looked = time.monotonic()

    def tick(self, _newest: Answer | None) -> bool:
        """Whether to go on. Raises LeaseLost when another worker has the report now."""
        now = time.monotonic()
        if now - self._renewed >= self._lease_seconds / 3:
            work.renew(self._database, self._claim, seconds=self._lease_seconds)
            self._renewed = now
        if now - self._looked < _LOOK_SECONDS:
            return True
        self._looked = now
        with self._database.read() as session:
            return session.get(WindowReport, self._report) is not None


def environment(folder: str) -> dict[str, str]:
    """All that a report's process is told by its environment: nothing of ours, and that Evidently tells nobody of its use."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        "PYTHONPATH": str(_ROOT), "PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC", "DO_NOT_TRACK": "1",
        "HOME": folder, "TMPDIR": folder, "MPLCONFIGDIR": folder, **one_thread,
    }  # fmt: skip


def about(row: WindowReport, asked: Asked, drawn: Drawn) -> list[str]:
    """What a page was made of, above what Evidently draws."""
    sides = (("Window", asked.current, "current"), ("Reference", asked.compared_with, "reference"))
    told = [f"{name}: {_span(side)}; {_rows(drawn.rows[key])}." for name, side, key in sides]
    asked_at = f"{row.asked_at:%Y-%m-%d %H:%M} UTC"
    return [*told, f"Asked for at {asked_at}. A sample's answer: scores that compare over time are Countersign's own."]


def _span(side: Side) -> str:
    what = [f"version {side.version}"] if side.version is not None else []
    what += [f"arm {side.arm}"] if side.arm is not None else []
    return ", ".join([f"{side.start:%Y-%m-%d %H:%M} to {side.end:%Y-%m-%d %H:%M %Z}", *what])


def _rows(counted: dict[str, int]) -> str:
    if counted["drawn"] == counted["rows"]:
        return f"all {counted['rows']:,} requests"
    return f"{counted['drawn']:,} of {counted['rows']:,} requests, drawn evenly"


def _may(tx: Unit, row: WindowReport) -> bool:
    """Whether who asked may still read these rows: a grant may have ended while the report waited. One that a monitor has made
    is opened with a grant, and is made without."""
    if row.monitor and row.asked_by == SYSTEM.id:
        return True
    who = tx.session.get(Identity, row.asked_by)
    stands = who is not None and who.active and answers_for(tx.session, who)
    return stands and holds(tx.session, row.asked_by, f"requests/{row.endpoint}", now=tx.now)


def _keep(tx: Unit, report: str, told: _Told, digest: str | None) -> None:
    """What came of a report that is still there."""
    row = _locked(tx, report)
    if row is None or row.state != "running":
        return
    row.state = REPORT.next(row.state, told.state)
    row.says, row.notes, row.sample, row.finished_at = told.says, list(told.notes), dict[str, Any](told.rows), tx.now
    row.digest, row.size, row.scripts = digest, len(told.page) if told.page is not None else None, list(told.scripts)
    tx.record(
        f"window_report.{told.state}", row, before={"state": "running"}, after=row.facts("state", "says", "digest", "sample")
    )


def _locked(tx: Unit, report: str) -> WindowReport | None:
    return tx.session.get(WindowReport, report, with_for_update=True, populate_existing=True)
