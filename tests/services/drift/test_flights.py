"""Planted faults on real flights: each is found in one window, in its words; and real days alarm as rarely as is published."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backend.demo.flights import FEATURES, Flights
from backend.drift.counts import counted, total
from backend.drift.discovery import pace
from backend.drift.domain import told_apart
from backend.drift.judging import Judgement, judged
from backend.drift.profile import Profile
from backend.drift.sources import ReadingSource, TableSource
from backend.drift.stored import counts_bytes, counts_from
from backend.drift.thresholds import Thresholds
from backend.drift.values import Key
from backend.inference_log.service import InferenceLog
from scripts import drift_alarms, drift_faults, tables
from tests.drift_data import kinds, only


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Flights:
    return Flights.open(tmp_path_factory.mktemp("flights"))


@pytest.fixture(scope="module")
def quarter(flights: Flights) -> tuple[pa.Table, list[pa.Table]]:
    return drift_alarms.split(flights, (1, 2, 3))


@pytest.fixture(scope="module")
def profile(quarter: tuple[pa.Table, list[pa.Table]]) -> Profile:
    return drift_alarms.profile_of(quarter[0])


@pytest.fixture(scope="module")
def thresholds(profile: Profile) -> Thresholds:
    return Thresholds(profile, hours=24)


@pytest.fixture(scope="module")
def day(quarter: tuple[pa.Table, list[pa.Table]]) -> pa.Table:
    """A day that the reference has not seen: of about 900 flights."""
    return quarter[1][9]


@pytest.fixture
def look(profile: Profile, thresholds: Thresholds) -> Any:
    def judge(table: pa.Table) -> Judgement:
        return judged(profile, counted(TableSource(table, drift_alarms.ROLES), profile.layout), thresholds=thresholds)

    return judge


def put(table: pa.Table, **columns: Any) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


def values(table: pa.Table, name: str) -> Any:
    return table[name].to_numpy()


def test_a_day_as_it_was_alarms_nobody(look: Any, day: pa.Table) -> None:
    found = look(day)
    assert found.alarms == ()
    assert [column.key.name for column in found.columns] == list(FEATURES)
    assert all(column.scores for column in found.columns)


def test_nulls(look: Any, day: pa.Table) -> None:
    gone = pa.array(values(day, "distance"), mask=np.arange(len(day)) % 2 == 0)
    found = only(look(put(day, distance=gone)), "nulls")
    assert found.words.startswith("50")
    assert found.words.endswith("% of the rows have no `distance`, against 0 % in the reference.")


@pytest.mark.parametrize(
    ("name", "times", "plus", "words"),
    [
        (
            "distance",
            1.609344,
            0.0,
            "`distance` looks like miles told in kilometres: as if every value were multiplied by 1.61.",
        ),
        ("temp", 5 / 9, -160 / 9, "`temp` looks like degrees Fahrenheit told in Celsius"),
        ("pressure", 1 / 33.8639, 0.0, "`pressure` looks like hectopascals told in inches of mercury"),
    ],
)
def test_a_change_of_unit(look: Any, day: pa.Table, name: str, times: float, plus: float, words: str) -> None:
    found = look(put(day, **{name: (values(day, name) * times + plus).astype(np.float32)}))
    assert only(found, "rescaled").words.startswith(words)
    assert "drift" in kinds(found, name)
    assert {one.column.name for one in found.alarms if one.column} == {name}


def test_swapped_columns(look: Any, day: pa.Table) -> None:
    texts = look(put(day, origin=day["dest"].to_pylist(), dest=day["origin"].to_pylist()))
    assert only(texts, "swapped").words.startswith("`origin` and `dest` look as if they had changed places")
    assert "new-categories" in kinds(texts, "origin")
    numbers = look(put(day, pressure=values(day, "distance"), distance=values(day, "pressure")))
    assert "changed places" in only(numbers, "swapped").words
    assert kinds(numbers, "pressure")[0] == "drift"


def test_swapped_columns_that_look_alike_are_seen_by_the_rows_as_a_whole(look: Any, quarter: Any, day: pa.Table) -> None:
    """Temperature and dew point of one winter day lie where they always lie; but no dew point lies above its temperature."""
    swapped = put(day, temp=values(day, "dewp"), dewp=values(day, "temp"))
    weather = ["temp", "dewp", "humid", "hour"]
    random = np.random.default_rng(1)
    reference = quarter[0].select(weather).take(pa.array(random.choice(len(quarter[0]), 3_000, replace=False)))
    found = told_apart(reference, swapped.select(weather))
    assert found.low > 0.9
    assert found.finding is not None
    assert "domain classifier on a sample" in found.finding.words
    assert {name for name, _ in found.columns[:2]} <= {"temp", "dewp", "humid"}


def test_a_new_carrier(look: Any, day: pa.Table) -> None:
    carriers = np.array(day["carrier"].to_pylist())
    carriers[::12] = "ZZ"
    found = only(look(put(day, carrier=carriers)), "new-categories")
    assert found.words.startswith("`carrier` has values that the reference never had, in 8.")
    assert (found.words.endswith(" of the rows: 1 text."), found.facts["names"]) == (True, "`ZZ`")


@pytest.mark.parametrize(("name", "value"), [("temp", 37.04), ("distance", 764.0), ("carrier", "UA"), ("hour", 12.0)])
def test_a_frozen_feature(look: Any, day: pa.Table, name: str, value: Any) -> None:
    found = look(put(day, **{name: [value] * len(day)}))
    assert only(found, "frozen").words.startswith(f"{Key('feature', name)} is frozen: all ")
    assert {one.column.name for one in found.alarms if one.column} == {name}


def test_what_is_the_same_on_every_day_is_not_frozen(look: Any, day: pa.Table) -> None:
    """All flights of a day share its day of the week."""
    assert len(set(day["dow"].to_pylist())) <= 2
    assert "frozen" not in kinds(look(put(day, dow=[day["dow"][0].as_py()] * len(day))), "dow")


def test_a_sudden_shift_is_found_in_its_first_window(look: Any, profile: Profile, quarter: Any) -> None:
    days = quarter[1][:8]
    found = [look(one) for one in days[:7]] + [look(put(days[7], distance=values(days[7], "distance") + 250))]
    assert "drift" in kinds(found[-1], "distance")
    assert "its mean went from 1" in only(found[-1], "drift").words
    place = profile.layout.places[Key("feature", "distance")]
    limit = found[-1].columns[place].thresholds["wasserstein"].limit
    assert pace([one.columns[place].scores.wasserstein for one in found], limit) == "sudden"


def test_a_gradual_shift_is_found_and_called_one(look: Any, profile: Profile, quarter: Any) -> None:
    found = []
    for number, one in enumerate(quarter[1][:12]):
        found.append(look(put(one, distance=(values(one, "distance") * (1 + 0.025 * number)).astype(np.float32))))
    news = ["drift" in kinds(one, "distance") for one in found]
    assert not news[0]
    assert news[-1]
    place = profile.layout.places[Key("feature", "distance")]
    scores = [one.columns[place].scores.wasserstein for one in found]
    assert pace(scores, found[-1].columns[place].thresholds["wasserstein"].limit) == "gradual"


def test_summer_is_news_to_a_model_of_winter(look: Any, flights: Flights) -> None:
    _, days = drift_alarms.split(flights, (7,))
    for one in days:
        found = look(one)
        assert kinds(found, "temp")[:1] == ["drift"]


def test_the_log_s_hours_add_up_to_the_day_in_the_profile_s_cells(profile: Profile, day: pa.Table, tmp_path: Path) -> None:
    now = datetime(2013, 12, 31, tzinfo=UTC)
    with InferenceLog(tmp_path / "log", clock=lambda: now) as log:
        log.append("delay", list(rows(day)))
        log.flush()
        start = min(day["event_time"].to_pylist()).replace(hour=0, minute=0)
        hours = []
        for number in range(24):
            hour = start + timedelta(hours=number)
            with log.read("delay", [1], hour, hour + timedelta(hours=1)) as reading:
                counts = counted(ReadingSource(reading, "champion"), profile.layout)
                hours.append(counts_from(counts_bytes(counts), profile.layout))
        with log.read("delay", [1], start, start + timedelta(days=1)) as reading:
            assert counted(ReadingSource(reading, "nobody"), profile.layout).rows == 0
    summed, whole = total(profile.layout, hours), counted(TableSource(day, drift_alarms.ROLES), profile.layout)
    assert summed.rows == whole.rows == len(day)
    np.testing.assert_array_equal(summed.cells, whole.cells)
    np.testing.assert_array_equal(summed.low, whole.low)
    np.testing.assert_allclose(summed.sums, whole.sums, rtol=1e-9, atol=1e-9)
    assert not summed.mistyped
    assert not summed.extra


def rows(day: pa.Table) -> Any:
    for one in day.to_pylist():
        yield {
            "request_id": one["request_id"],
            "event_time": one["event_time"],
            "assigned_arm": "champion",
            "version": 1,
            "features": {name: one[name] for name in FEATURES},
        }


def test_false_alarms_on_days_held_out_are_as_published(flights: Flights) -> None:
    part = tables.PARTS["false-alarms"]
    found = drift_alarms.measured(flights)
    assert found.feature_days > 900
    assert found.rate < 0.02
    assert drift_alarms.text(found) in part.path.read_text(), tables.AGAIN


@pytest.mark.slow
def test_planted_faults_on_every_day_held_out_are_found_as_published(flights: Flights) -> None:
    part = tables.PARTS["planted-faults"]
    found, grown = drift_faults.measured(flights)
    assert [one.fault.says for one in found if one.found < one.days] == []
    assert max(one.others for one in found) <= 4
    assert all(one.first is not None and one.first < 1.25 and one.gradual for one in grown)
    assert drift_faults.text(found, grown) in part.path.read_text(), tables.AGAIN
