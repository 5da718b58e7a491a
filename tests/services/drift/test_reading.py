"""Counting what lies in the log and in files: predictions of every kind, features that changed theirs, files that are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.cli import monitor
from backend.core.errors import ExternalFailure, Refusal
from backend.drift.counts import Counts, counted
from backend.drift.judging import judged
from backend.drift.profile import Profile, build
from backend.drift.sources import ParquetSource, ReadingSource, Roles, TableSource
from backend.drift.values import PREDICTION, Key
from backend.drift.variation import hours_of
from backend.inference_log.service import InferenceLog
from tests.drift_data import counts_of, kinds, letters, normal, only, profile_of, table

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def logged(folder: Path, profile: Profile, rows: list[dict[str, Any]]) -> Counts:
    """Rows that go through the log."""
    with InferenceLog(folder / "log", clock=lambda: NOON + timedelta(hours=2)) as log:
        fixed = {"event_time": NOON, "version": 1, "assigned_arm": "champion"}
        taken = log.append("delay", [{"request_id": f"r{number}", **fixed, **row} for number, row in enumerate(rows)])
        assert taken.rejected == 0
        log.flush()
        with log.read("delay", None, NOON, NOON + timedelta(hours=1)) as reading:
            return counted(ReadingSource(reading), profile.layout)


@pytest.mark.parametrize(
    ("reference", "sent", "cells"),
    [
        (["yes", "no", "yes"], ["yes", "no", "other"], [1, 1, 1]),
        ([True, False, True], [True, True, False], [2, 1, 0]),
    ],
)
def test_a_prediction_that_is_a_label_or_a_truth_value(tmp_path: Path, reference: Any, sent: Any, cells: list[int]) -> None:
    profile = profile_of({"x": [1.0, 2.0, 3.0], "p": reference}, prediction="p")
    counts = logged(tmp_path, profile, [{"features": {"x": 1.0}, "prediction": one} for one in sent])
    assert counts.of(profile.layout, profile.layout.places[PREDICTION]).cells.tolist() == cells
    assert counts.mistyped == {}


def test_a_feature_that_sends_another_kind_or_is_not_sent(tmp_path: Path) -> None:
    profile = profile_of({"x": normal(300), "y": normal(300), "z": normal(300)})
    rows = [{"features": {"x": "12" if n % 2 else 1.0, "y": None, "more": [1, 2]}} for n in range(200)]
    found = judged(profile, logged(tmp_path, profile, rows))
    assert only(found, "type-changed").words == (
        "`x` changed its type: the reference has number, this window also text (100 rows)."
    )
    assert "nulls" not in kinds(found, "x"), "a value of another kind is not also a missing one"
    assert kinds(found, "z") == ["missing-column"]
    assert set(kinds(found, "y")) & {"missing-column", "nulls"}
    assert only(found, "extra-column").column == Key("feature", "more")


def test_infinities_go_through_the_log(tmp_path: Path) -> None:
    profile = profile_of({"x": normal(300)})
    rows = [{"features": {"x": value}} for value in (*normal(200).tolist(), float("inf"), float("-inf"), float("nan"))]
    found = judged(profile, logged(tmp_path, profile, rows))
    assert "1 above, 1 below" in only(found, "infinities").words


def test_parquet_files_give_what_the_table_gives(tmp_path: Path) -> None:
    columns = table(
        {"x": normal(5_000), "odd \"name'": normal(5_000, 2), "t": letters(5_000), "n": pa.nulls(5_000, pa.int64())}
    )
    for number in range(2):
        pq.write_table(columns.slice(number * 2_500, 2_500), tmp_path / f"{number}.parquet")
    roles = Roles(without=["n"])
    one = build(ParquetSource(sorted(tmp_path.glob("*.parquet")), roles, rows=999))
    other = build(TableSource(columns, roles))
    assert one.layout.digest == other.layout.digest
    np.testing.assert_array_equal(one.counts.cells, other.counts.cells)
    assert one.counts.rows == 5_000


def test_a_table_without_features_is_still_counted_row_by_row() -> None:
    profile = profile_of({"x": normal(300)})
    found = judged(profile, counts_of(profile, {"other": normal(250)}))
    assert found.rows == 250
    assert set(kinds(found)) == {"missing-column", "extra-column"}


@pytest.mark.parametrize("content", [b"", b"no parquet at all"])
def test_a_file_that_is_no_parquet_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(ExternalFailure, match="no Parquet"):
        ParquetSource([path])
    with pytest.raises(ExternalFailure, match="missing"):
        ParquetSource([tmp_path / "nowhere.parquet"])


HOURS = np.arange(0, 40 * 24, dtype=np.int64).repeat(2) + 480_000
EPOCH = HOURS * 3_600


@pytest.mark.parametrize(
    "times",
    [
        pa.array(EPOCH * 10**9 + 123, pa.timestamp("ns")),
        pa.array(EPOCH, pa.timestamp("s", "Europe/Berlin")),
        pa.array([f"{np.datetime64(int(one), 's')}Z" for one in EPOCH]),
        pa.array([f"{np.datetime64(int(one), 's')}.123456" for one in EPOCH]).dictionary_encode(),
        pa.array([f"{np.datetime64(int(one) + 7_200, 's')}+02:00" for one in EPOCH]),
    ],
    ids=["nanoseconds", "zone", "texts", "texts-without-zone", "texts-of-another-zone"],
)
def test_times_of_any_precision_and_iso_texts_say_when_rows_were(times: pa.Array) -> None:
    assert hours_of(times).tolist() == HOURS.tolist()


@pytest.mark.parametrize(
    "times",
    [pa.array(EPOCH), pa.array(EPOCH.astype(float)), pa.array((EPOCH % 86_400).astype(np.int32), pa.time32("s")),
     pa.array(["yesterday"]), pa.array(["2026-03-02T12:00:00Z", "2026-03-02T12:00:00"])],
    ids=["whole", "fractions", "of-a-day", "words", "mixed"],
)  # fmt: skip
def test_what_is_no_time_is_refused(times: pa.Array) -> None:
    """Seconds taken for microseconds would make all rows one day's."""
    with pytest.raises(Refusal, match="not times") as refused:
        hours_of(times)
    assert refused.value.code == "no-time"


def test_it_is_said_on_how_many_days_the_rows_were(tmp_path: Path) -> None:
    def says(days: int, when: str | None) -> str:
        path = tmp_path / f"{days}.parquet"
        rows = 48 * days
        pq.write_table(table({"x": normal(rows), "at": pa.array(EPOCH[:rows] * 10**9 + 1, pa.timestamp("ns"))}), path)
        return monitor._built((path,), None, when, () if when else ("at",))[1]

    assert says(40, "at") == "Its rows were on 40 days."
    assert says(3, "at").startswith("Its rows were on 3 days, too few with rows enough: how much days differ is unknown")
    assert says(3, None).startswith("Nothing says when its rows were (--time): how much days differ is unknown")
