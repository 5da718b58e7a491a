"""Window reports: who may have and open one, what is read for it, how it ends, and when it goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.access.data_sets import DataSets
from backend.core import scratch, work
from backend.core.canonical import digest_bytes, loads
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Endpoint
from backend.inference_log.rows import LogErasure
from backend.inference_log.service import InferenceLog
from backend.window_reports import automatic, queries, tending
from backend.window_reports.queries import ReportLine
from backend.window_reports.rows import WindowReport
from backend.window_reports.rules import MOST_KEPT, MOST_UNFINISHED, WEEK, Asked, Side
from backend.window_reports.runner import Bounds, ReportRunner
from backend.window_reports.service import KIND, WindowReports
from backend.window_reports.store import ReportStore
from tests.databases import Clock
from tests.services.changes.world import ENDPOINT, World

HERE = Path(__file__).with_name("standing_in.py")
LOG = f"requests/{ENDPOINT}"
sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@dataclass
class Place:
    """A world with a log of two days, a week apart, and everything that makes reports of it."""

    world: World
    log: InferenceLog
    store: ReportStore
    clock: Clock
    folder: Path
    reports: WindowReports = field(init=False)

    def __post_init__(self) -> None:
        self.reports = WindowReports(self.world.database, self.store)

    @property
    def asked(self) -> Asked:
        return Asked(Side(self.clock.now - timedelta(hours=2), self.clock.now))

    def grant(self, **lasts: float) -> str:
        until = self.clock.now + timedelta(**lasts or {"days": 90})
        return DataSets(self.world.database).grant(self.world.otto, LOG, until=until, identity="ana").id

    def make(self, how: str = "made", bounds: Bounds | None = None, **lasts: float) -> ReportLine:
        """Asks for a report and has the worker make it; how it stands then."""
        made = self.reports.ask(self.world.ana, ENDPOINT, self.asked).id
        self.run(how, bounds)
        return self.line(made)

    def run(self, how: str = "made", bounds: Bounds | None = None) -> None:
        command = (sys.executable, str(HERE), how)
        scratch = self.folder / "scratch"
        runner = ReportRunner(
            self.world.database, self.log, self.store, scratch, lease_seconds=30, bounds=bounds, command=command
        )
        (claim,) = work.claim(self.world.database, KIND, holder="w", seconds=30)
        runner.handle(claim)

    def line(self, report: str) -> ReportLine:
        with self.world.database.read() as session:
            return queries.line(session, ENDPOINT, report)

    def lines(self) -> list[str]:
        with self.world.database.read() as session:
            return [one.id for one in queries.lines(session, ENDPOINT)]

    def ledger(self, action: str) -> list[Any]:
        with self.world.database.read() as session:
            rows = session.exec(select(LedgerRow).where(LedgerRow.action == action).order_by(LedgerRow.seq)).all()
            return [(row.actor_id, row.subject_id, loads(row.after_json) if row.after_json else None) for row in rows]

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.html.gz"))

    def tend(self, days: float = 30) -> None:
        tending.tend(self.world.database, self.store, kept=timedelta(days=days))


@pytest.fixture
def place(database: Database, tmp_path: Path, clock: Clock) -> Iterator[Place]:
    with InferenceLog(tmp_path / "log", clock=clock) as log:
        for before in (timedelta(minutes=30), WEEK + timedelta(minutes=30)):
            rows = [
                {"request_id": f"{before.days}-{number}", "event_time": clock.now - before, "version": 1 + number % 2,
                 "features": {"age": 20.0 + number, "secret": f"user-{number}", "either": number if number % 2 else "text"},
                 "prediction": number / 150}
                for number in range(150)
            ]  # fmt: skip
            assert log.append(ENDPOINT, rows).kept == 150
        log.flush()
        yield Place(World(database), log, ReportStore((tmp_path / "store").as_uri()), clock, tmp_path / "store")


def test_no_role_has_one_made_and_a_grant_does_and_what_is_read_is_on_record(place: Place) -> None:
    world = place.world
    for who in (world.ana, world.ben, world.olga, world.otto, world.audra):
        with pytest.raises(Refusal) as refused:
            place.reports.ask(who, ENDPOINT, place.asked)
        assert refused.value.code == "data-set"
    assert place.lines() == []
    with pytest.raises(NotFound):
        place.reports.ask(world.ana, "nothing", place.asked)
    place.grant()
    line = place.make()
    assert (line.state, line.says, line.asked_by) == ("done", "It shows drift, summary.", "ana")
    assert (line.current.rows, line.current.drawn, line.reference.rows) == (150, 150, 150)
    assert "A note of its own." in line.notes
    ((who_read, what, told),) = place.ledger("data_set.read")
    assert (who_read, what, told["report"]) == (world.ana.id, LOG, line.id)
    assert told["current"]["start"] == line.current.start.isoformat()
    assert [place.ledger(f"window_report.{one}")[0][1] for one in ("ask", "begin", "done")] == [line.id] * 3


@sqlite_only
def test_a_page_is_opened_with_a_grant_alone_and_each_time_is_on_record(place: Place) -> None:
    grant = place.grant()
    line = place.make()
    found = place.reports.open(place.world.ana, ENDPOINT, line.id)
    assert digest_bytes(found.page) == found.digest == line.digest
    assert len(found.page) == line.size
    assert found.policy.startswith("sandbox allow-scripts; default-src 'none'; script-src 'sha256-")
    assert [one[2]["report"] for one in place.ledger("data_set.read")] == [line.id] * 2
    DataSets(place.world.database).take_back(place.world.otto, grant)
    for act in (place.reports.open, place.reports.remove):
        for who in (place.world.ana, place.world.otto):
            with pytest.raises(Refusal) as refused:
                act(who, ENDPOINT, line.id)
            assert refused.value.code == "data-set"
    assert len(place.ledger("data_set.read")) == 2
    assert place.lines() == [line.id], "that there is one is no secret"


@sqlite_only
def test_a_process_is_told_nothing_besides_and_sees_only_what_was_drawn(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_MAIL_URL", "mailtos://user:planted@smtp.example.com")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    place.grant()
    page = place.reports.open(place.world.ana, ENDPOINT, place.make().id).page.decode()
    told = loads(page.split('id="told">')[1].split("</script>")[0].encode())["dashboard"]
    assert not [one for one in told["environment"] if one.startswith(("COUNTERSIGN", "AWS"))]
    assert "DO_NOT_TRACK" in told["environment"], "Evidently tells nobody that it was used"
    assert told["arguments"] == []
    assert told["files"] == ["current.arrow", "reference.arrow"]
    assert "planted" not in page
    columns = {(one["name"], one["role"], one["kind"]) for one in told["order"]["columns"]}
    assert columns == {
        ("age", "feature", "number"), ("secret", "feature", "text"), ("either (number)", "feature", "number"),
        ("either (text)", "feature", "text"), ("prediction", "prediction", "number"),
    }  # fmt: skip
    assert not os.path.exists(told["order"]["folder"]), "rows do not stay behind"


@sqlite_only
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("failed", "It needs more than 4096 MiB."),
        ("killed", "Its process was killed"),
        ("crashed", "ended unexpectedly (status 7)"),
        ("nonsense", "cannot be read"),
        ("too-large", "cannot be read"),
        ("hangs", "not made within 2 s"),
        ("spins", "processor time"),
    ],
)
def test_one_that_goes_wrong_is_failed_with_why(place: Place, how: str, says: str) -> None:
    place.grant()
    line = place.make(how, Bounds(seconds=2, most_bytes=1 << 16) if how in ("hangs", "too-large") else None)
    assert (line.state, says in line.says, line.digest) == ("failed", True, None), line.says
    assert line.finished_at is not None
    with pytest.raises(Refusal) as refused:
        place.reports.open(place.world.ana, ENDPOINT, line.id)
    assert (refused.value.code, says in refused.value.remedy) == ("not-made", True)
    assert place.files() == []


@sqlite_only
def test_what_there_is_nothing_of_is_said(place: Place) -> None:
    place.grant()
    ask, ana = place.reports.ask, place.world.ana
    nothing = replace(place.asked, reference=Side(place.clock.now - timedelta(hours=5), place.clock.now - timedelta(hours=4)))
    unknown = replace(place.asked, parts=("classification",), outcome="late")
    some = replace(place.asked, features=("age", "nothing of that name"), rows=100)
    ids = [ask(ana, ENDPOINT, one).id for one in (nothing, unknown, some)]
    for _ in ids:
        place.run()
    found = [place.line(one) for one in ids]
    assert found[0].says.startswith("Nothing was logged in the reference.")
    assert found[1].says.startswith("No outcome called `late` is known in these windows.")
    assert (found[2].current.rows, found[2].current.drawn) == (150, 100)
    assert "Nothing was logged of `nothing of that name`." in found[2].notes


@sqlite_only
def test_a_sample_is_of_one_version_and_arm_and_the_same_each_time(place: Place, tmp_path: Path) -> None:
    import pyarrow as pa

    from backend.window_reports import sample

    side = replace(place.asked.current, version=2)
    asked = replace(place.asked, current=side, reference=replace(place.asked.current, version=1), rows=50, features=("age",))
    drawn = []
    for number in range(2):
        (folder := tmp_path / str(number)).mkdir()
        found = sample.draw(place.log, ENDPOINT, asked, folder, seed="one")
        assert found.rows == {"current": {"rows": 75, "drawn": 50}, "reference": {"rows": 75, "drawn": 50}}
        drawn.append([pa.ipc.open_file(str(folder / f"{name}.arrow")).read_all() for name in ("current", "reference")])
    assert drawn[0] == drawn[1]
    assert {int(one) % 2 for one in drawn[0][0]["c0"].to_pylist()} == {1}, "odd ages were answered by version 2"
    assert {int(one) % 2 for one in drawn[0][1]["c0"].to_pylist()} == {0}
    with pytest.raises(Refusal) as refused:
        sample.draw(place.log, ENDPOINT, replace(asked, current=replace(side, arm="canary")), tmp_path, seed="one")
    assert refused.value.code == "empty-window"


@sqlite_only
def test_a_grant_that_ended_while_it_waited_has_nothing_read(place: Place) -> None:
    place.grant(hours=1)
    report = place.reports.ask(place.world.ana, ENDPOINT, place.asked).id
    place.clock.tick(hours=2)
    place.run()
    line = place.line(report)
    assert (line.state, line.current.rows) == ("failed", None)
    assert "may not read these requests any more" in line.says


@sqlite_only
def test_one_that_was_removed_is_not_made_and_a_worker_that_dies_over_it_does_not_go_on_for_ever(place: Place) -> None:
    place.grant()
    first, second = (place.reports.ask(place.world.ana, ENDPOINT, place.asked).id for _ in range(2))
    place.reports.remove(place.world.ana, ENDPOINT, first)
    place.run()
    assert place.lines() == [second]
    for _ in range(3):
        assert len(work.claim(place.world.database, KIND, holder="dies", seconds=1)) == 1
        place.clock.tick(seconds=2)
    place.run()
    assert "never came to an end" in place.line(second).says


@sqlite_only
def test_one_that_is_removed_while_it_is_made_ends_its_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.grant()
    report = place.reports.ask(place.world.ana, ENDPOINT, place.asked).id
    monkeypatch.setattr("backend.window_reports.runner._LOOK_SECONDS", 0.0)
    draw = place.log.read

    def and_then_removed(*given: Any, **more: Any) -> Any:
        if report in place.lines():
            place.reports.remove(place.world.ana, ENDPOINT, report)
        return draw(*given, **more)

    monkeypatch.setattr(place.log, "read", and_then_removed)
    place.run("hangs")
    assert (place.lines(), place.files()) == ([], [])


def test_rows_that_a_killed_worker_left_are_removed(tmp_path: Path) -> None:
    old, new = (tmp_path / f"countersign-report-{one}" for one in ("old", "new"))
    for folder in (old, new):
        folder.mkdir()
        (folder / "current.arrow").touch()
    os.utime(old, (0, 0))
    scratch.sweep(tmp_path, "countersign-report-", 6 * 3_600.0)
    assert (old.exists(), new.exists()) == (False, True)


@sqlite_only
def test_one_that_a_monitor_has_made_takes_no_grant_to_make_and_one_to_open(place: Place) -> None:
    def asked(monitor: str) -> str | None:
        now = place.clock.now
        spans = {"current": (now - timedelta(days=40), now), "reference": (now - WEEK - timedelta(hours=2), now - WEEK)}
        told = {"part": "drift", "version": None, "arm": None, "reference_version": None, "outcome": None}
        with place.world.database.unit(SYSTEM) as tx:
            return automatic.ask(tx, endpoint_id="end_1", monitor=monitor, **spans, **told)

    made = asked("drift")
    assert made is not None
    assert asked("drift") == made, "one a day"
    place.run()
    line = place.line(made)
    assert (line.state, line.monitor, line.asked_by) == ("done", "drift", "monitor drift")
    assert line.current.end - line.current.start == timedelta(days=31)
    for who in (place.world.olga, place.world.otto, place.world.ana):
        for call in (place.reports.open, place.reports.remove):
            with pytest.raises(Refusal) as refused:
                call(who, ENDPOINT, made)
            assert refused.value.code == "data-set"
    place.grant()
    assert place.reports.open(place.world.ana, ENDPOINT, made).page
    place.reports.remove(place.world.ana, ENDPOINT, made)
    assert (place.lines(), place.files()) == ([], [])
    assert len(place.ledger("window_report.remove")) == 1
    waiting = [asked(f"m{number}") for number in range(MOST_UNFINISHED + 1)]
    assert waiting[-1] is None, "so many wait already"


@sqlite_only
def test_an_endpoint_has_only_so_many_waiting(place: Place) -> None:
    place.grant()
    for _ in range(MOST_UNFINISHED):
        place.reports.ask(place.world.ana, ENDPOINT, place.asked)
    with pytest.raises(Refusal) as refused:
        place.reports.ask(place.world.ana, ENDPOINT, place.asked)
    assert refused.value.code == "too-many"


@sqlite_only
def test_old_ones_go_with_their_pages_and_what_a_crash_left_is_swept(place: Place) -> None:
    place.grant()
    old = place.make()
    place.clock.tick(days=20)
    with place.log as log:  # the window that is asked for now has rows too
        log.append(ENDPOINT, [{"request_id": "n", "event_time": place.clock.now - timedelta(hours=1)}])
    place.tend()
    assert (place.lines(), len(place.files())) == ([old.id], 1)
    place.clock.tick(days=11)
    place.tend()
    assert (place.lines(), place.files()) == ([], [])
    assert place.ledger("window_report.remove")[-1][2] == {"reason": "it is older than reports are kept"}
    left = place.store.put(b"a page that no row names")
    os.utime(place.files()[0], (place.clock.now.timestamp(), place.clock.now.timestamp()))
    place.tend()
    assert len(place.files()) == 1, "it may just be being written"
    place.clock.tick(hours=2)
    place.tend()
    assert place.files() == []
    with pytest.raises(Refusal) as refused:
        place.store.read(left)
    assert refused.value.code == "report-damaged"


@sqlite_only
def test_what_shows_erased_rows_goes_and_so_does_what_is_of_no_endpoint_or_too_much(place: Place) -> None:
    place.grant()
    shown, waiting = place.make(), place.reports.ask(place.world.ana, ENDPOINT, place.asked).id
    place.clock.tick(minutes=1)
    with place.world.database.unit(SYSTEM) as tx:
        endpoint = tx.session.exec(select(Endpoint).where(Endpoint.name == ENDPOINT)).one()
        row = LogErasure(
            id="ers_1", endpoint_id=endpoint.id, unit="p", later=False, reason="", state="asked", asked_by="x", asked_at=tx.now
        )
        tx.record("inference_log.erase", tx.add(row))
    place.tend()
    assert (place.lines(), place.files()) == ([waiting], []), "what was not read yet shows nothing of it"
    assert place.ledger("window_report.remove")[-1][1] == shown.id
    with place.world.database.unit(SYSTEM) as tx:
        kept = tx.session.get_one(WindowReport, waiting)
        for number in range(MOST_KEPT):
            told = {**kept.model_dump(exclude={"id", "asked_at"}), "asked_at": tx.now + timedelta(seconds=number)}
            tx.record("window_report.ask", tx.add(WindowReport(id=f"wrp_{number}", **told)))
        tx.record("window_report.ask", tx.add(WindowReport(id="wrp_gone", **{**told, "endpoint_id": "gone"})))
    with place.world.database.read() as session:
        due = tending.due(session, place.clock.now, timedelta(days=30))
    assert due == {"wrp_gone": "its endpoint is gone", waiting: f"its endpoint has more than {MOST_KEPT}"}


def test_a_store_gives_back_what_was_put_or_nothing(tmp_path: Path) -> None:
    store = ReportStore(tmp_path.as_uri())
    digest = store.put(b"page" * 1_000)
    assert store.put(b"page" * 1_000) == digest
    (file,) = tmp_path.rglob("*.html.gz")
    assert (store.read(digest), file.stat().st_mode & 0o777) == (b"page" * 1_000, 0o600)
    other = store.put(b"another")
    good = file.read_bytes()
    for bad in (good[:-9], b"", b"\x1f\x8b" + bytes(40), next(one for one in tmp_path.rglob(f"*{other[9:]}*")).read_bytes()):
        file.write_bytes(bad)
        with pytest.raises(Refusal) as refused:
            store.read(digest)
        assert refused.value.code == "report-damaged"
    for name in ("../x", "sha256:../../etc/passwd", ""):
        with pytest.raises(Refusal):
            store.read(name)
    with pytest.raises(ExternalFailure):
        ReportStore("file:///proc/nowhere").put(b"page")
