"""Feeding an inference log: who may, what is taken, what is left out, and that nothing else ever lies on a disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from backend.core.canonical import loads
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.ledger import LedgerRow
from backend.delivery import feeding, log_rules
from backend.delivery.feeding import Feed
from backend.delivery.log_rules import LogKeeping
from backend.delivery.log_tending import SETTLED, LogTending
from backend.findings.rows import Finding
from backend.inference_log import spool
from backend.inference_log.cloudevents import BATCH, REQUEST
from backend.inference_log.compaction import Rules
from backend.inference_log.handling import Redaction, pseudonym
from backend.inference_log.rules import part_of
from backend.inference_log.service import InferenceLog
from backend.inference_log.spool import Spool
from backend.ingest import crowding
from backend.ingest.known import Known
from backend.ingest.mixed import Mixed
from backend.ingest.taking import Taking
from tests.databases import Clock
from tests.services.changes.world import ENDPOINT, World

KEY = b"k" * 32


class Fed:
    """A world with a spool and a log."""

    def __init__(self, database: Database, folder: Path, clock: Clock) -> None:
        self.world, self.clock = World(database), clock
        self.spool = Spool(folder / "spool")
        self.keeping = LogKeeping(database, lambda: KEY)
        self.log = InferenceLog(folder / "log", clock=clock)
        self.feed = Feed(database, self.spool, lambda: KEY, self.log.names)
        self.known = Known(database, lambda: KEY, clock=lambda: clock.now.timestamp())
        self.taking = Taking(self.spool, self.log, self.known, KEY)
        self.tending = LogTending(database, self.log, lambda: KEY)

    def row(self, number: int = 1, **fields: Any) -> dict[str, Any]:
        return {"request_id": f"r{number}", "event_time": self.clock.now.isoformat(), "unit": "u1", **fields}

    def outcome(self, number: int = 1, **fields: Any) -> dict[str, Any]:
        return {"request_id": f"r{number}", "known_at": self.clock.now.isoformat(), "values": {"late": 1}, **fields}

    def rows(self) -> list[dict[str, Any]]:
        start = self.clock.now - timedelta(days=1)
        with self.log.read(ENDPOINT, None, start, start + timedelta(days=2)) as reading:
            found: list[dict[str, Any]] = reading.query("SELECT * FROM joined ORDER BY request_id").to_pylist()
            return found

    def actions(self, *names: str) -> list[tuple[str, Any]]:
        with self.world.database.read() as session:
            query = select(LedgerRow).where(LedgerRow.action.in_(names)).order_by(LedgerRow.seq)  # type: ignore[attr-defined]
            return [(row.actor_id, loads(row.after_json)) for row in session.exec(query)]


@pytest.fixture
def fed(database: Database, tmp_path: Path, clock: Clock) -> Iterator[Fed]:
    made = Fed(database, tmp_path, clock)
    yield made
    made.log.close()


def test_good_rows_are_taken_and_bad_ones_told_by_their_places_and_nothing_of_them(fed: Fed) -> None:
    secret = "4111-1111"
    rows = [fed.row(1), {"request_id": secret}, fed.row(2, status=200), "x", fed.row(3, received_at=fed.clock.now.isoformat())]
    outcomes = [fed.outcome(1), fed.outcome(2, values={"late": secret}), fed.outcome(3, unit=7)]
    taken = fed.feed.take(fed.world.ana, ENDPOINT, requests=rows, outcomes=outcomes)
    assert (taken.requests, taken.outcomes, taken.left_out, taken.rejected) == (2, 1, 0, 5)
    assert [(one.list, one.index) for one in taken.rejections] == [
        ("requests", 1), ("requests", 3), ("requests", 4), ("outcomes", 1), ("outcomes", 2),
    ]  # fmt: skip
    assert secret not in str(taken)
    assert fed.taking.once() == 1
    assert [(one["request_id"], one["status"], one["o.late"]) for one in fed.rows()] == [("r1", None, 1.0), ("r2", 200, None)]
    assert fed.spool.waiting() == []


def test_what_is_redacted_or_left_out_never_lies_on_a_disk(fed: Fed, tmp_path: Path) -> None:
    olga = fed.world.olga
    told = [{"column": "unit", "how": "hash"}, {"column": "feature:passport", "how": "drop"}]
    row = fed.keeping.set_rules(olga, ENDPOINT, redactions=told, sample_every=2)
    fed.keeping.set_rules(olga, ENDPOINT, redactions=told, sample_every=2)
    assert row.revision == 1
    assert len(fed.actions("inference_log.set_rules")) == 1
    units = [f"passenger-{number}" for number in range(40)]
    rows = [fed.row(n, unit=unit, features={"passport": f"P-{unit}", "hour": 1}) for n, unit in enumerate(units)]
    taken = fed.feed.take(fed.world.ana, ENDPOINT, requests=rows)
    assert (taken.left_out, taken.sampled_out, taken.erased) == (40 - taken.requests, 40 - taken.requests, 0)
    assert 5 < taken.requests < 35
    fed.taking.once()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"passenger" not in written
    assert {one["unit"] for one in fed.rows()} <= {pseudonym(KEY, unit) for unit in units}


def test_kserves_events_are_taken_one_by_one(fed: Fed) -> None:
    common = {"ce-specversion": "1.0", "ce-id": "e1", "ce-source": "x", "ce-time": fed.clock.now.isoformat()}
    asked = {**common, "ce-type": "org.kubeflow.serving.inference.request"}
    answered = {**common, "ce-type": "org.kubeflow.serving.inference.response"}
    assert fed.feed.take_events(fed.world.ana, ENDPOINT, answered, b'{"predictions": [0.5]}', version=2).requests == 1
    assert fed.feed.take_events(fed.world.ana, ENDPOINT, asked, b'{"instances": [{"hour": 7}]}', version=2).requests == 1
    assert fed.feed.take_events(fed.world.ana, ENDPOINT, asked, b"binary").rejections[0].list == "events"
    with pytest.raises(Refusal) as refused:
        fed.feed.take_events(fed.world.ana, ENDPOINT, {}, b"{}")
    assert refused.value.code == "no-event"
    fed.taking.once()
    (row,) = fed.rows()
    assert (row["request_id"], row["n.hour"], row["prediction"], row["version"]) == ("e1", 7.0, 0.5, 2)


def test_junk_names_take_no_row_from_anybody_and_their_sender_is_told(fed: Fed) -> None:
    junk = [fed.row(n, features={f"{n}-{place}": 1.0 for place in range(1_000)}) for n in range(3)]
    taken = fed.feed.take(fed.world.ana, ENDPOINT, requests=junk)
    assert (taken.requests, taken.rejected, taken.values_left_out) == (3, 0, 1_000)
    good = fed.feed.take(fed.world.ana, ENDPOINT, requests=[fed.row(n, status=200) for n in range(10, 15)])
    assert (good.requests, good.values_left_out) == (5, 0)
    fed.taking.once()
    assert len(fed.rows()) == 8
    assert fed.taking.crowded() == {ENDPOINT: 1_000}
    assert fed.taking.crowded() == {}


def test_an_endpoint_with_too_many_names_is_a_finding_until_it_is_over(fed: Fed) -> None:
    crowding.tell(fed.world.database, {ENDPOINT: 1_000, "gone": 5})
    crowding.tell(fed.world.database, {ENDPOINT: 10})
    with fed.world.database.read() as session:
        (found,) = session.exec(select(Finding))
    assert (found.kind, found.endpoint, found.severity, found.state) == ("log.names", ENDPOINT, "warning", "open")
    for _ in range(2):
        fed.clock.now += crowding.CLEAR_AFTER
        crowding.tell(fed.world.database, {})
    with fed.world.database.read() as session:
        assert session.exec(select(Finding)).one().state == "resolved"


def test_sampling_where_only_some_parts_name_the_unit_is_a_finding(fed: Fed) -> None:
    def taken(*units: str | None, first: int) -> dict[str, int]:
        told = [fed.row(n, unit=one.format(n) if one else None) for n in range(first, first + 60) for one in units]
        fed.feed.take(fed.world.ana, ENDPOINT, requests=told)
        fed.taking.once()
        return dict(fed.taking.mixed.taken())

    assert taken("u{}", None, first=0) == {}, "nothing is left out"
    fed.keeping.set_rules(fed.world.olga, ENDPOINT, sample_every=2)
    fed.clock.tick(seconds=10)
    assert taken("u{}", "u{}", first=100) == taken(None, None, first=200) == {}, "whole requests are kept, or none of them"
    mixed = taken("u{}", None, first=300)
    assert 5 <= mixed[ENDPOINT] <= 25
    crowding.tell(fed.world.database, {}, mixed)
    with fed.world.database.read() as session:
        (found,) = session.exec(select(Finding))
    assert (found.kind, found.endpoint, found.severity, found.state) == ("log.sampling", ENDPOINT, "warning", "open")
    assert found.says.endswith("Have everybody name the unit, or keep all rows.")


def test_what_is_remembered_of_requests_is_bounded(fed: Fed) -> None:
    mixed = Mixed(most=3)
    rows = [part_of(fed.row(n), fed.clock.now) for n in range(5)]
    mixed.look(ENDPOINT, 2, rows)
    mixed.look(ENDPOINT, 2, [row._replace(unit=None) for row in rows])
    assert mixed.taken() == {ENDPOINT: 3}


def test_events_hold_no_more_rows_than_any_batch(fed: Fed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "MOST_ROWS", 10)
    common = {"specversion": "1.0", "id": "e", "source": "x", "type": REQUEST, "data": {"instances": [1, 2, 3, 4]}}
    told = json.dumps([{**common, "id": f"e{n}"} for n in range(3)]).encode()
    with pytest.raises(Refusal, match="10 instances") as refused:
        fed.feed.take_events(fed.world.ana, ENDPOINT, {"content-type": BATCH}, told)
    assert refused.value.code == "too-many-rows"
    assert fed.spool.waiting() == []
    monkeypatch.setattr(feeding, "MOST_ROWS", 12)
    assert fed.feed.take_events(fed.world.ana, ENDPOINT, {"content-type": BATCH}, told).requests == 12
    monkeypatch.setattr(feeding, "MOST_VALUES", 11)
    with pytest.raises(Refusal):
        fed.feed.take_events(fed.world.ana, ENDPOINT, {"content-type": BATCH}, told)


def test_only_whoever_may_write_there_does_and_others_learn_nothing(fed: Fed) -> None:
    for name in ("ben", "audra", "otto"):
        with pytest.raises(Refusal) as refused:
            fed.feed.take(getattr(fed.world, name, None) or fed.world.identities.act_as(name), ENDPOINT, requests=[fed.row()])
        assert refused.value.code == "not-allowed"
    with pytest.raises(NotFound):
        fed.feed.take(fed.world.ana, "nothing-there", requests=[fed.row()])
    with pytest.raises(Refusal, match="at most"):
        fed.feed.take(fed.world.ana, ENDPOINT, requests=[{}] * (feeding.MOST_ROWS + 1))
    assert fed.spool.waiting() == []


def test_a_spool_that_is_full_takes_nothing_and_says_so(fed: Fed, tmp_path: Path) -> None:
    feed = Feed(fed.world.database, Spool(tmp_path / "spool", most_bytes=2_000), lambda: KEY, fed.log.names)
    assert feed.take(fed.world.ana, ENDPOINT, requests=[fed.row()]).requests == 1
    with pytest.raises(ExternalFailure, match="caught up") as failure:
        feed.take(fed.world.ana, ENDPOINT, requests=[fed.row(n) for n in range(10)])
    assert failure.value.retryable
    fed.taking.once()
    assert len(fed.rows()) == 1
    assert feed.take(fed.world.ana, ENDPOINT, requests=[fed.row(2)]).requests == 1


def test_a_log_that_cannot_be_written_leaves_the_spool_as_it_is(fed: Fed, monkeypatch: pytest.MonkeyPatch) -> None:
    fed.feed.take(fed.world.ana, ENDPOINT, requests=[fed.row(1), fed.row(2)])
    with monkeypatch.context() as broken:

        def full(*_: object) -> None:
            raise ExternalFailure("The inference log", "cannot be written", retryable=True)

        broken.setattr(fed.log._files, "put", full)
        assert [fed.taking.once() for _ in range(3)] == [0, 0, 0]
        assert len(fed.spool.waiting()) == 1
    assert fed.taking.once() == 1
    assert fed.log.stats().kept == 2, "what was held already was not taken again"
    assert len(fed.rows()) == 2


def test_a_damaged_file_is_put_aside_and_stops_nothing(fed: Fed, tmp_path: Path) -> None:
    fed.feed.take(fed.world.ana, ENDPOINT, requests=[fed.row()])
    (good,) = fed.spool.waiting()
    for number, text in enumerate(
        ('{"form": 1', '{"form": 2, "endpoint": "x"}\n', '{"form": 1, "endpoint": "x"}\n{"table": "a"}\n')
    ):
        (tmp_path / "spool" / f"20200101T000000000000Z-{number:016x}.ndjson").write_text(text)
    assert fed.taking.once() == 1
    assert len(list((tmp_path / "damaged").iterdir())) == 3
    assert not good.exists()
    assert len(fed.rows()) == 1


def test_a_batch_comes_out_of_the_spool_as_it_went_in(fed: Fed) -> None:
    row = fed.row(features={"x": float("nan"), "y": None, "z": [1], "w": "ü\u2028"}, prediction={"a": 1})
    fed.feed.take(fed.world.ana, ENDPOINT, requests=[row], outcomes=[fed.outcome()])
    (path,) = fed.spool.waiting()
    batch = spool.read(path)
    assert batch.endpoint == ENDPOINT
    (part,) = batch.rows["parts"]
    assert (part.request_id, part.nulls, part.features["t.w"]) == ("r1", ("y",), "ü\u2028")  # type: ignore[union-attr]
    assert part.received_at == fed.clock.now
    assert json.loads(path.read_text().splitlines()[0]) == {"form": 1, "endpoint": ENDPOINT}
    assert path.stat().st_mode & 0o077 == 0


class TestErasure:
    def test_a_unit_goes_and_the_ledger_does_not_name_it(self, fed: Fed) -> None:
        fed.feed.take(
            fed.world.ana, ENDPOINT, requests=[fed.row(1), fed.row(2, unit="u2", status=200)], outcomes=[fed.outcome(1)]
        )
        fed.taking.once()
        fed.clock.tick(seconds=10)
        made = fed.keeping.erase(fed.world.otto, ENDPOINT, "u1", reason="Asked for by the passenger")
        fed.tending.tend()
        assert [one["request_id"] for one in fed.rows()] == ["r2"]
        told = fed.actions("inference_log.erase", "inference_log.erased")
        assert [after.get("removed") for _, after in told] == [None, 2]
        assert "u1" not in json.dumps([after for _, after in told]).replace(pseudonym(KEY, "u1"), "")
        fed.clock.tick(hours=2)
        fed.log.compact(rules=Rules(closed_for=timedelta(days=1)))
        fed.tending.tend()
        with fed.world.database.read() as session:
            (line,) = log_rules.erasures(session, ENDPOINT)
        assert (line.id, line.state, line.removed, line.unit) == (made.id, "done", 2, pseudonym(KEY, "u1"))

    def test_what_lay_in_the_spool_meanwhile_goes_and_what_comes_later_stays_unless_asked(self, fed: Fed) -> None:
        fed.feed.take(fed.world.ana, ENDPOINT, requests=[fed.row(1)])
        fed.clock.tick(seconds=10)
        fed.keeping.erase(fed.world.otto, ENDPOINT, "u1", reason="x")
        fed.taking.once()
        assert fed.rows() == []
        fed.clock.tick(seconds=10)
        assert fed.feed.take(fed.world.ana, ENDPOINT, requests=[fed.row(2)]).requests == 1
        fed.clock.tick(seconds=10)
        fed.keeping.erase(fed.world.otto, ENDPOINT, "u1", reason="x", later=True)
        fed.taking.once()
        assert fed.rows() == []
        fed.clock.now += SETTLED
        fed.tending.tend()
        with fed.world.database.read() as session:
            assert {one.state for one in log_rules.erasures(session, ENDPOINT)} == {"done"}
        taken = fed.feed.take(fed.world.ana, ENDPOINT, requests=[fed.row(3)], outcomes=[fed.outcome(3, unit="u1")])
        assert (taken.left_out, taken.sampled_out, taken.erased) == (2, 0, 2)

    def test_it_ends_by_itself_while_rows_go_on_coming(self, fed: Fed) -> None:
        """As a worker tends every five minutes, with no compaction of the whole log in between."""

        def come(number: int) -> None:
            fed.feed.take(fed.world.ana, ENDPOINT, requests=[fed.row(number, unit="u2", status=200), fed.row(-number)])
            fed.taking.once()

        come(1)
        fed.clock.tick(seconds=10)
        fed.keeping.erase(fed.world.otto, ENDPOINT, "u1", reason="x", later=True)
        for minutes in range(0, 75, 5):
            come(minutes + 2)
            fed.tending.tend()
            fed.clock.tick(minutes=5)
        with fed.world.database.read() as session:
            (line,) = log_rules.erasures(session, ENDPOINT)
        assert (line.state, line.removed) == ("done", 1)
        assert line.done_at is not None
        assert timedelta(hours=1) < line.done_at - line.asked_at < timedelta(minutes=70)

    def test_it_is_not_over_while_a_spool_may_still_hold_rows(self, fed: Fed) -> None:
        fed.keeping.erase(fed.world.otto, ENDPOINT, "u1", reason="x")
        fed.tending.tend()
        with fed.world.database.read() as session:
            assert log_rules.erasures(session, ENDPOINT)[0].state == "asked"

    def test_it_needs_a_unit_a_reason_and_an_admin(self, fed: Fed) -> None:
        for unit, reason, code in (("", "x", "bad-unit"), ("u" * 257, "x", "bad-unit"), ("u", " ", "no-reason")):
            with pytest.raises(Refusal) as refused:
                fed.keeping.erase(fed.world.otto, ENDPOINT, unit, reason=reason)
            assert refused.value.code == code
        with pytest.raises(Refusal) as refused:
            fed.keeping.erase(fed.world.ana, ENDPOINT, "u1", reason="x")
        assert refused.value.code == "not-allowed"


def test_what_is_older_than_is_kept_goes_and_is_on_record(fed: Fed) -> None:
    fed.log.append(ENDPOINT, [fed.row(1), fed.row(2, event_time=(fed.clock.now - timedelta(days=3)).isoformat())])
    fed.log.flush()
    fed.keeping.set_rules(fed.world.olga, ENDPOINT, kept_days={"requests": 2})
    fed.tending.tend()
    fed.tending.tend()
    assert fed.log.hours(ENDPOINT, None) == [fed.clock.now.replace(minute=0, second=0)]
    assert [after["hours"] for _, after in fed.actions("inference_log.expire")] == [{"requests": 1}]


def test_answers_of_shadows_are_kept_as_long_as_requests_unless_somebody_says_how_long(fed: Fed) -> None:
    old = (fed.clock.now - timedelta(days=3)).isoformat()
    answer = {"request_id": "r1", "event_time": old, "shadow": "v2", "arm": "v2", "prediction": 0.5}
    for days, left in (({"outcomes": 1}, 1), ({"requests": 2, "copies": 9}, 1), ({"requests": 2}, 0)):
        fed.log.append_copies(ENDPOINT, [answer])
        fed.log.flush()
        fed.keeping.set_rules(fed.world.olga, ENDPOINT, kept_days=days)
        fed.tending.tend()
        assert fed.log.holds("copies", ENDPOINT, fed.clock.now) == bool(left)
    assert [after["hours"] for _, after in fed.actions("inference_log.expire")] == [{"copies": 1}]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"sample_every": 0}, "bad-sample"),
        ({"kept_days": {"requests": 0}}, "bad-days"),
        ({"kept_days": {"ledger": 3}}, "bad-days"),
        ({"unit_header": "X Unit"}, "bad-header"),
        ({"redactions": [Redaction("status", "drop")]}, "bad-redaction"),
    ],
)
def test_rules_that_are_none_are_refused(fed: Fed, wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as refused:
        fed.keeping.set_rules(fed.world.olga, ENDPOINT, **wrong)
    assert refused.value.code == code
