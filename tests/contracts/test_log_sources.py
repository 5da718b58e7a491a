"""One suite for every place in which an endpoint's requests lie: the log's own files, and tables in DuckDB and PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import sqlalchemy as sa

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.drift.counts import counted
from backend.drift.profile import Profile
from backend.drift.sources import ReadingSource
from backend.inference_log.service import InferenceLog
from backend.inference_log.sources import engines, tables
from backend.inference_log.sources.embedded import EmbeddedSource
from backend.inference_log.sources.ibis_tables import IbisSource
from backend.inference_log.sources.port import INFINITE, MISSING, NOT_A_NUMBER, Source, Span
from backend.inference_log.sources.tables import Mapped
from backend.monitoring import table_counting
from backend.quality import counting as outcomes
from backend.quality import table_counting as outcome_tables
from backend.quality.counts import KEYS, Counts
from backend.quality.tasks import Bands, Binary, Categories, Regression
from tests.databases import Clock
from tests.drift_data import profile_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = Span(NOON, NOON + timedelta(days=1))
MAPPED = Mapped.model_validate(
    {
        "engine": "warehouse",
        "requests": {
            "table": "predictions",
            "columns": {
                "request_id": "Id", "event_time": "predicted_at", "received_at": "stored_at", "unit": "passenger",
                "assigned_arm": "arm", "served_arm": "served", "version": "model_version", "failure": "problem",
                "prediction": "score",
            },
            "features": {"hour": "f hour", "carrier": "carrier"},
        },
        "outcomes": {
            "table": "arrivals",
            "columns": {"request_id": "Id", "known_at": "landed_at", "received_at": "stored_at"},
            "values": {"late": "was_late"},
        },
    }
)  # fmt: skip
DDL = (
    'CREATE TABLE predictions ("Id" TEXT, predicted_at TIMESTAMPTZ, stored_at TIMESTAMPTZ, passenger TEXT, arm TEXT,'
    ' served TEXT, model_version INTEGER, problem TEXT, "f hour" DOUBLE PRECISION, carrier TEXT, score DOUBLE PRECISION)',
    'CREATE TABLE arrivals ("Id" TEXT, landed_at TIMESTAMPTZ, stored_at TIMESTAMPTZ, was_late DOUBLE PRECISION)',
)


def request(number: int, minutes: float, hour: float | None, carrier: str | None, **fields: Any) -> dict[str, Any]:
    told = {"unit": f"u{number % 3}", "assigned_arm": "champion", "served_arm": "champion", "version": 1, "failure": ""}
    at = NOON + timedelta(minutes=minutes)
    return {
        "request_id": f"r{number}", "event_time": at, "received_at": at,
        **told, "features": {"hour": hour, "carrier": carrier}, **fields,
    }  # fmt: skip


REQUESTS = [
    request(1, 1, 7.0, "UA", prediction=0.25),
    request(2, 2, 8.0, "UA", prediction=0.5),
    request(3, 3, math.nan, "AA"),
    request(4, 4, math.inf, None, assigned_arm="canary", version=2),
    request(5, 5, None, "UA", assigned_arm="canary", served_arm="champion", version=2),
    request(6, 65, -1.0, "AA", served_arm=None, failure="timeout"),
    request(7, 66, 9.0, "AA", assigned_arm=None, served_arm=None, version=None),
    request(8, 24 * 60, 9.0, "AA"),  # the next day
    request(9, -1, 9.0, "AA"),  # the hour before
    request(1, 1, 99.0, "ZZ", received_at=NOON),  # an earlier receipt of the first
    request(9, 24 * 60 + 5, 9.0, "AA"),  # the one of the hour before once more, with the time of another day
]
OUTCOMES = [("r1", 60, 60, 1.0), ("r2", 60, 60, 0.0), ("r2", 60, 90, 3.0), ("r3", 60 * 24 * 30, 60, 1.0), ("r6", 70, 70, None)]


def embedded(folder: Path, clock: Clock) -> Iterator[Source]:
    clock.now = NOON + timedelta(days=40)
    with InferenceLog(folder / "log", clock=clock) as log:
        assert log.append("delay", REQUESTS).rejected == 0
        for request_id, known, received, value in OUTCOMES:
            row = {"request_id": request_id, "known_at": NOON + timedelta(minutes=known), "values": {"late": value}}
            log.append_outcomes("delay", [{**row, "received_at": NOON + timedelta(minutes=received)}])
        log.flush()
        yield EmbeddedSource(log, "delay")


def flat() -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    names = ("request_id", "event_time", "received_at", "unit", "assigned_arm", "served_arm", "version", "failure")
    requests = [
        (*(row[name] for name in names), row["features"]["hour"], row["features"]["carrier"], row.get("prediction"))
        for row in REQUESTS
    ]  # fmt: skip
    return requests, [(a, NOON + timedelta(minutes=b), NOON + timedelta(minutes=c), d) for a, b, c, d in OUTCOMES]


def in_duckdb(folder: Path) -> str:
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        for one in DDL:
            connection.execute(one)
        requests, outcomes = flat()
        connection.executemany("INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", requests)
        connection.executemany("INSERT INTO arrivals VALUES (?, ?, ?, ?)", outcomes)
    return f"duckdb://{folder / 'warehouse.duckdb'}"


def in_postgres(url: sa.URL) -> str:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        cursor = connection.connection.cursor()
        for one in ("DROP TABLE IF EXISTS predictions", "DROP TABLE IF EXISTS arrivals", *DDL):
            cursor.execute(one)
        requests, outcomes = flat()
        cursor.executemany("INSERT INTO predictions VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", requests)
        cursor.executemany("INSERT INTO arrivals VALUES (%s, %s, %s, %s)", outcomes)
    engine.dispose()
    return url.set(drivername="postgres").render_as_string(hide_password=False)


class Told:
    """An engine, and the statements that it was asked."""

    def __init__(self, url: str) -> None:
        self.con = engines.connect(url, Guard())
        self.asked: list[str] = []

    def connect(self) -> Any:
        real = self.con.raw_sql

        def raw_sql(sql: str, **options: Any) -> Any:
            self.asked.append(sql)
            return real(sql, **options)

        self.con.raw_sql = raw_sql
        return self.con


@pytest.fixture(params=["embedded", "duckdb", "postgres"])
def source(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Source]:
    if request.param == "embedded":
        yield from embedded(tmp_path, clock)
        return
    url = in_duckdb(tmp_path) if request.param == "duckdb" else in_postgres(request.getfixturevalue("postgres_url"))
    told = Told(url)
    yield IbisSource("warehouse", told.connect, MAPPED)
    told.con.disconnect()
    assert told.asked
    assert all("GROUP BY" in one.upper() for one in told.asked), told.asked


def test_requests_are_counted_once_by_hour_arm_and_version(source: Source) -> None:
    found = source.counts(DAY)
    assert [(one.hour, one.arm, one.version, one.requests, one.failures, one.fallbacks, one.units) for one in found] == [
        (NOON, "canary", 2, 2, 0, 2, 2),
        (NOON, "champion", 1, 3, 0, 0, 3),
        (NOON + timedelta(hours=1), None, None, 1, 0, 0, 1),
        (NOON + timedelta(hours=1), "champion", 1, 1, 1, 0, 1),
    ]
    chosen = source.counts(Span(DAY.start, DAY.end, versions=(2, None)))
    assert [(one.version, one.requests) for one in chosen] == [(2, 2), (None, 1)]


def test_an_id_that_comes_again_with_another_time_counts_in_each_hour_by_itself(source: Source) -> None:
    hour = timedelta(hours=1)
    assert [one.requests for one in source.counts(Span(NOON - hour, NOON))] == [1]
    assert [one.requests for one in source.counts(Span(DAY.end, DAY.end + hour))] == [2]
    whole = source.counts(Span(NOON - hour, DAY.end + hour))
    assert sum(one.requests for one in whole) == 9, "among the hours that are read it counts once"


def test_numbers_fall_between_edges_and_what_has_no_place_is_told_apart(source: Source) -> None:
    found = source.histogram("hour", [0.0, 7.0, 8.5], DAY)
    assert [(one.hour.hour, one.arm, one.place, one.rows) for one in found] == [
        (12, "canary", INFINITE, 1), (12, "canary", MISSING, 1), (12, "champion", NOT_A_NUMBER, 1), (12, "champion", 2, 2),
        (13, None, 3, 1), (13, "champion", 0, 1),
    ]  # fmt: skip
    assert {(one.place, one.rows) for one in source.histogram("nobody has it", [0.0], DAY)} == {
        (MISSING, 2),
        (MISSING, 3),
        (MISSING, 1),
    }


def test_texts_are_counted_the_most_frequent_first(source: Source) -> None:
    found = source.categories("carrier", DAY)
    assert [(one.hour.hour, one.arm, one.value, one.rows) for one in found] == [
        (12, "canary", None, 1), (12, "canary", "UA", 1), (12, "champion", "UA", 2), (12, "champion", "AA", 1),
        (13, None, "AA", 1), (13, "champion", "AA", 1),
    ]  # fmt: skip
    first = source.categories("carrier", DAY, most=1)
    assert [(one.arm, one.value) for one in first][:2] == [("canary", None), ("champion", "UA")]


def test_outcomes_are_sums_over_what_is_known_by_then(source: Source) -> None:
    found = [(one.hour.hour, one.arm, one.requests, one.known, one.total, one.squares) for one in source.outcome("late", DAY)]
    assert found == [
        (12, "canary", 2, 0, 0.0, 0.0),
        (12, "champion", 3, 2, 4.0, 10.0),
        (13, None, 1, 0, 0, 0),
        (13, "champion", 1, 0, 0, 0),
    ]
    later = Span(DAY.start, DAY.end, known_by=NOON + timedelta(days=31))
    assert source.outcome("late", later)[1].known == 3
    assert sum(one.known for one in source.outcome("nobody has it", DAY)) == 0


LAYOUTS = [
    profile_of(
        {"hour": [5.0, 7.0, 7.25, 8.0], "carrier": ["UA"] * 4, "gone": [1.0] * 4, "score": [0.1, 0.2, 0.3, 0.4]},
        prediction="score",
    ),
    profile_of({"hour": ["7", "8"], "carrier": [True, False]}),
    profile_of({"hour": np.array([7.1, 8.3], dtype=np.float32)}),
]


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
@pytest.mark.parametrize("profile", LAYOUTS, ids=["as it is", "of other kinds", "in single precision"])
def test_hours_that_an_engine_counts_are_those_of_the_rows(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, engine: str, profile: Profile
) -> None:
    url = in_duckdb(tmp_path) if engine == "duckdb" else in_postgres(request.getfixturevalue("postgres_url"))
    told = Told(url)
    found = table_counting.counted(IbisSource("warehouse", told.connect, MAPPED), profile.layout, DAY)
    told.con.disconnect()
    assert all("GROUP BY" in one.upper() for one in told.asked), "only figures come here"
    next(logged := embedded(tmp_path, clock))
    with InferenceLog(tmp_path / "log", clock=clock).read("delay", None, DAY.start, DAY.end) as reading:
        assert {group[0].hour for group in found} == {12, 13}
        assert len(found) == 4
        for (hour, arm, version), counts in found.items():
            only = ReadingSource(reading, group=(version, arm), span=(hour, hour + timedelta(hours=1)))
            expected = counted(only, profile.layout)
            for name in ("rows", "unlisted", "mistyped", "extra"):
                assert getattr(counts, name) == getattr(expected, name), (name, arm)
            for name in ("cells", "whole", "low", "high"):
                assert getattr(counts, name).tolist() == getattr(expected, name).tolist(), (name, arm)
            assert counts.sums == pytest.approx(expected.sums, rel=1e-12, abs=1e-15)
    logged.close()


TASKS = [
    (Binary("late"), (Categories("carrier", ("UA",)), Bands("hour", (8.0,)))),
    (Binary("late", threshold=0.3, horizon=timedelta(minutes=59)), ()),
    (Regression("late"), (Categories("carrier", ("UA", "AA")), Bands("hour", (7.5, 8.5)))),
    (Regression("nobody told it", horizon=timedelta(days=2)), ()),
]


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_outcomes_that_an_engine_counts_are_those_of_the_rows(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, engine: str
) -> None:
    url = in_duckdb(tmp_path) if engine == "duckdb" else in_postgres(request.getfixturevalue("postgres_url"))
    told, by = Told(url), NOON + timedelta(days=40)
    source = IbisSource("warehouse", told.connect, MAPPED)
    next(logged := embedded(tmp_path, clock))
    with InferenceLog(tmp_path / "log", clock=clock).read("delay", None, DAY.start, DAY.end, known_by=by) as reading:
        for task, segmentations in TASKS:
            found = outcome_tables.count(source, task, segmentations, Span(DAY.start, DAY.end, known_by=by))
            expected = outcomes.count(reading, task, segmentations)
            assert by_key(found).keys() == by_key(expected).keys(), task
            for key, figures in by_key(expected).items():
                assert by_key(found)[key] == pytest.approx(figures, rel=1e-12), (task, key)
            assert found.table.num_rows > 3, task
    told.con.disconnect()
    logged.close()
    assert all("GROUP BY" in one.upper() for one in told.asked), "only figures come here"


def by_key(counts: Counts) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Each group's figures."""
    rows = counts.table.to_pylist()
    return {tuple(row[name] for name in KEYS): {name: none(row[name]) for name in row if name not in KEYS} for row in rows}


def none(value: float | None) -> float:
    return -1.0 if value is None else value


def test_rows_that_came_since_a_moment_touch_their_hours(tmp_path: Path) -> None:
    told = Told(in_duckdb(tmp_path))
    source = IbisSource("warehouse", told.connect, MAPPED)
    assert source.touched(NOON + timedelta(minutes=64), DAY) == [NOON + timedelta(hours=1)]
    assert source.touched(NOON + timedelta(minutes=5), DAY) == [NOON, NOON + timedelta(hours=1)]
    columns = {name: theirs for name, theirs in MAPPED.requests.columns.items() if name != "received_at"}
    without = MAPPED.model_copy(update={"requests": MAPPED.requests.model_copy(update={"columns": columns})})
    assert IbisSource("warehouse", told.connect, without).touched(NOON, DAY) is None
    told.con.disconnect()


def test_a_name_of_a_column_breaks_out_of_no_statement(tmp_path: Path) -> None:
    hostile = MAPPED.model_copy(
        update={"requests": MAPPED.requests.model_copy(update={"features": {"x": 'a" FROM b; DROP TABLE c --'}})}
    )
    told = Told(in_duckdb(tmp_path))
    with pytest.raises(ExternalFailure, match="could not be asked"):
        IbisSource("warehouse", told.connect, hostile).histogram("x", [0.0], DAY)
    assert IbisSource("warehouse", told.connect, MAPPED).counts(DAY)
    told.con.disconnect()


@pytest.mark.parametrize(
    "url",
    [
        "postgres://reader:secret@10.1.2.3/db",
        "postgres://reader:secret@127.0.0.1/db",
        "postgres://a@8.8.8.8/db?hostaddr=127.0.0.1",
    ],
)
def test_an_engine_where_nobody_allowed_is_not_called(url: str) -> None:
    with pytest.raises(Refusal) as refused:
        engines.connect(url, Guard())
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "[engines.a]\nurl = 3\n",
        '[engines.a]\nurl = "no url and a secret"\n',
        '[endpoints.x]\nengine = "a"\n[endpoints.x.requests]\ntable = "t"\ncolumns = {request_id = "i", event_time = "t"}\n',
        '[engines.a]\nurl = "duckdb://x"\n[endpoints.x]\nengine = "a"\n'
        '[endpoints.x.requests]\ntable = "t"\ncolumns = {request_id = "i"}\n',
        "not toml",
    ],
)
def test_a_file_that_is_wrong_is_refused_without_its_values(tmp_path: Path, text: str) -> None:
    (tmp_path / "tables.toml").write_text(text)
    with pytest.raises(Refusal) as refused:
        tables.read(tmp_path / "tables.toml")
    assert refused.value.code == "bad-setting"
    assert "secret" not in str(refused.value)
