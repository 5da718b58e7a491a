"""Tables that are there already, in any engine that Ibis speaks to: each question is one SELECT with a GROUP BY, run there.

Tried on DuckDB and PostgreSQL. An engine at a network address goes through the outgoing guard: PostgreSQL is connected to at
the very address that was checked; other drivers resolve the name once more themselves.
Source: https://ibis-project.org/reference (`ibis.connect`, `Backend.compile`, `Backend.raw_sql`, `ibis.cases`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.core.unit import assert_outside_unit
from backend.inference_log.reading import ArmHour
from backend.inference_log.service import OUTCOMES_WITHIN
from backend.inference_log.sources.port import (
    INFINITE,
    MINUS_INFINITE,
    MISSING,
    NOT_A_NUMBER,
    Bin,
    Category,
    Cell,
    Cells,
    Listed,
    OutcomeHour,
    Span,
)
from backend.inference_log.sources.tables import Mapped

_PORTS = {"postgres": 5432, "postgresql": 5432, "mysql": 3306, "clickhouse": 8123, "mssql": 1433, "trino": 8080, "oracle": 1521}
_ELSEWHERE = ("host", "hostaddr", "service", "servicefile", "passfile")
"""Parameters of a URL by which libpq would go elsewhere than the URL says."""
_KEYS = ("hour", "arm", "version")
PREDICTION = ""
"""The name of the prediction's column among those of features."""
_SINGLE = 3.4028234663852886e38
_TYPES = {"unit": "string", "assigned_arm": "string", "served_arm": "string", "version": "int32", "failure": "string"}


class IbisSource:
    """See `port.Source`.

    Args:
        name: of the engine, for messages.
        connect: opens it; called at the first question, and anew after a failure.
        mapped: where the rows are.
    """

    def __init__(self, name: str, connect: Callable[[], Any], mapped: Mapped) -> None:
        self._name, self._connect, self._mapped = name, connect, mapped
        self._opened: Any = None

    def counts(self, span: Span) -> list[ArmHour]:
        """See `port.Source`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span)
            failed = found.failure.fill_null("") != ""
            moved = found.served_arm.notnull() & (found.served_arm != found.assigned_arm)
            return _grouped(
                found,
                requests=found.count(),
                failures=failed.sum().fill_null(0),
                fallbacks=moved.sum().fill_null(0),
                units=found.unit.nunique(),
            )

        rows = self._rows(asked, ("requests", "failures", "fallbacks", "units"))
        return [ArmHour(hour, arm, version, *map(int, rest)) for hour, arm, version, *rest in rows]

    def histogram(self, feature: str, edges: Sequence[float], span: Span) -> list[Bin]:
        """See `port.Source`."""

        def asked(con: Any) -> Any:
            import ibis

            found = self._requests(con, span, feature=feature, kind="float64")
            value, last = found.value, len(edges)
            branches = [
                (value.isnull(), MISSING),
                (value.isnan(), NOT_A_NUMBER),
                (value.isin([math.inf, -math.inf]), INFINITE),
                *((value < float(edge), place) for place, edge in enumerate(edges)),
            ]
            placed = found.mutate(place=ibis.cases(*branches, else_=last).cast("int32"))
            return _grouped(placed, "place", rows=placed.count())

        return sorted((Bin(*row) for row in self._rows(asked, ("place", "rows"))), key=_order)

    def categories(self, feature: str, span: Span, *, most: int = 1_000) -> list[Category]:
        """See `port.Source`."""

        def asked(con: Any) -> Any:
            return _most_frequent(self._requests(con, span, feature=feature, kind="string"), most)

        rows = [Category(*row) for row in self._rows(asked, ("value", "rows"))]
        return sorted(rows, key=lambda one: (_order(one)[:5], -one.rows, one.value is not None, one.value or ""))

    def columns(self) -> dict[str, str]:
        """See `port.CellSource`."""
        told = self._mapped.requests
        types = self._asked(lambda con: _table(con, told.table).schema())
        found = {ours: _kind(types[theirs]) for ours, theirs in told.features.items() if theirs in types}
        theirs = told.columns.get("prediction")
        return found | ({PREDICTION: _kind(types[theirs])} if theirs is not None and theirs in types else {})

    def cells(self, name: str, cells: Cells, span: Span) -> list[Cell]:
        """See `port.CellSource`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span, feature=name, kind="float64")
            value = _single(found.value) if cells.single else found.value
            found = found.mutate(value=value)
            value, finite = found.value, ~(found.value.isnan() | found.value.isin([math.inf, -math.inf]))
            moved = finite.ifelse((value - cells.centre) / cells.scale, None)
            placed = found.mutate(place=_cell(value, cells.edges), moved=moved, finite=finite.ifelse(value, None))
            return _grouped(
                placed,
                "place",
                rows=placed.count(),
                total=placed.moved.sum(),
                squares=(placed.moved * placed.moved).sum(),
                low=placed.finite.min(),
                high=placed.finite.max(),
            )

        rows = self._rows(asked, ("place", "rows", "total", "squares", "low", "high"))
        return sorted((Cell(*row) for row in rows), key=_order)

    def listed(self, name: str, values: Sequence[str], span: Span) -> list[Listed]:
        """See `port.CellSource`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span, feature=name, kind="string")
            known = found.value.isin(list(values)).fill_null(False) if values else _false()
            told = found.mutate(value=known.ifelse(found.value, None), missing=found.value.isnull())
            return _grouped(told, "value", "missing", rows=told.count())

        return [Listed(*row) for row in self._rows(asked, ("value", "missing", "rows"))]

    def unlisted(self, name: str, values: Sequence[str], span: Span, *, most: int) -> list[Category]:
        """See `port.CellSource`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span, feature=name, kind="string")
            others = found.filter(found.value.notnull())
            return _most_frequent(others.filter(others.value.notin(list(values))) if values else others, most)

        return [Category(*row) for row in self._rows(asked, ("value", "rows"))]

    def there(self, name: str, span: Span) -> list[Listed]:
        """See `port.CellSource`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span, feature=name)
            told = found.mutate(missing=found.value.isnull())
            return _grouped(told, "missing", rows=told.count())

        rows = self._rows(asked, ("missing", "rows"))
        return [Listed(hour, arm, version, None, missing, count) for hour, arm, version, missing, count in rows]

    def touched(self, since: datetime, span: Span) -> list[datetime] | None:
        """See `port.CellSource`."""
        if "received_at" not in self._mapped.requests.columns:
            return None

        def asked(con: Any) -> Any:
            found = self._requests(con, span)
            found = found.filter(found.received_at >= _moment(found.received_at, since))
            return _grouped(found, rows=found.count())

        return sorted({row[0] for row in self._rows(asked, ("rows",))})

    def outcome(self, name: str, span: Span) -> list[OutcomeHour]:
        """See `port.Source`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span)
            learned = self._outcomes(con, name, span)
            joined = found.left_join(learned, found.request_id == learned.of_request)
            return _grouped(
                joined,
                requests=joined.count(),
                known=joined.value.count(),
                total=joined.value.sum().fill_null(0.0),
                squares=(joined.value * joined.value).sum().fill_null(0.0),
            )

        rows = self._rows(asked, ("requests", "known", "total", "squares"))
        return [OutcomeHour(row[0], row[1], row[2], int(row[3]), int(row[4]), float(row[5]), float(row[6])) for row in rows]

    def close(self) -> None:
        """Gives back the connection; the next question opens another."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.disconnect()

    # -- tables as expressions

    def _requests(self, con: Any, span: Span, *, feature: str | None = None, kind: str = "") -> Any:
        """Each request once, with our names; `value` is the feature that was asked for."""
        import ibis

        told = self._mapped.requests
        table = _table(con, told.table)
        columns = {name: table[theirs] for name, theirs in told.columns.items()}
        columns |= {name: ibis.null().cast(type_) for name, type_ in _TYPES.items() if name not in columns}
        if feature is not None:
            theirs = told.columns.get("prediction") if feature == PREDICTION else told.features.get(feature)
            value = table[theirs] if theirs is not None else ibis.null()
            columns["value"] = value.cast(kind) if kind else value
        found = table.select(**columns)
        if "received_at" in told.columns:
            found = _once(found, "request_id")
        found = found.filter(found.event_time >= _moment(found.event_time, span.start))
        found = found.filter(found.event_time < _moment(found.event_time, span.end))
        if span.versions is not None:
            found = found.filter(found.version.fill_null(0).isin([one or 0 for one in span.versions]))
        return found.mutate(hour=found.event_time.truncate("h"), arm=found.assigned_arm)

    def _outcomes(self, con: Any, name: str, span: Span) -> Any:
        import ibis

        told = self._mapped.outcomes
        if told is None:
            nothing = _table(con, self._mapped.requests.table).limit(0)
            return nothing.select(of_request=ibis.literal("").cast("string"), value=ibis.null().cast("float64"))
        table = _table(con, told.table)
        theirs = told.values.get(name)
        value = (table[theirs] if theirs is not None else ibis.null()).cast("float64")
        columns = {ours: table[column] for ours, column in told.columns.items()}
        found = table.select(**columns, value=value)
        if "received_at" in told.columns:
            found = _once(found, "request_id")
        by = span.known_by or span.end + OUTCOMES_WITHIN
        found = found.filter(found.known_at <= _moment(found.known_at, by))
        return found.select(of_request=found.request_id, value=found.value)

    # -- asking

    def _asked(self, asked: Callable[[Any], Any]) -> Any:
        """What a connection answers. ExternalFailure where it does not."""
        assert_outside_unit(f"asking the engine {self._name}")
        try:
            return asked(self._connection())
        except (Refusal, ExternalFailure):
            raise
        except Exception as error:  # each engine's driver has errors of its own, which may hold what it was told
            self._opened = None
            raise ExternalFailure(f"The engine {self._name}", "could not be asked", retryable=True) from error

    def _rows(self, asked: Callable[[Any], Any], more: tuple[str, ...]) -> list[tuple[Any, ...]]:
        def fetched(con: Any) -> Any:
            told = asked(con)
            sql = str(
                con.compile(told.select(hour=told.hour.epoch_seconds(), **{name: told[name] for name in (*_KEYS[1:], *more)}))
            )
            with closing(con.raw_sql(sql)) if _closes(con) else _Kept(con.raw_sql(sql)) as cursor:
                return cursor.fetchall()

        rows = self._asked(fetched)
        found = [
            (datetime.fromtimestamp(int(row[0]), UTC), row[1], int(row[2]) if row[2] is not None else None, *row[3:])
            for row in rows
        ]
        return sorted(found, key=_order)

    def _connection(self) -> Any:
        if self._opened is None:
            self._opened = self._connect()
        return self._opened


def connect(url: str, guard: Guard) -> Any:
    """A connection to an engine. Refusal for an address that nobody allowed.

    Args:
        url: Ibis's, such as `postgres://user:password@host:5432/database` or `duckdb:///file`.
    """
    import ibis

    parsed = urlsplit(url)
    scheme = parsed.scheme.partition("+")[0]
    told = dict(parse_qsl(parsed.query))
    refused = [name for name in _ELSEWHERE if name in told and not told[name].startswith("/")]
    if refused:
        raise Refusal(
            f"The URL of an engine says {refused[0]} besides its host.", "Name one host, before the path.", code="bad-setting"
        )
    more: dict[str, Any] = {}
    if parsed.hostname:
        address = guard.address(parsed.hostname, parsed.port or _PORTS.get(scheme, 443))
        more = {"hostaddr": address} if scheme in ("postgres", "postgresql") else {}
    con = ibis.connect(url, **more)
    if scheme in ("postgres", "postgresql", "duckdb"):
        con.raw_sql("SET TIME ZONE 'UTC'" if scheme != "duckdb" else "SET TimeZone = 'UTC'")
    return con


class _Kept:
    """A cursor that is the connection itself, and stays open."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def __enter__(self) -> Any:
        return self._cursor

    def __exit__(self, *_: object) -> None:
        return None


def _closes(con: Any) -> bool:
    return str(con.name) != "duckdb"


def _table(con: Any, name: str) -> Any:
    """`schema.table`, or a table of the engine's usual schema."""
    schema, _, table = name.rpartition(".")
    return con.table(table, database=schema) if schema else con.table(table)


def _once(table: Any, key: str) -> Any:
    """Of rows with one key the one that was received last."""
    import ibis

    window = ibis.window(group_by=key, order_by=ibis.desc("received_at"))
    ranked = table.mutate(_ranked=ibis.row_number().over(window))
    return ranked.filter(ranked._ranked == 0).drop("_ranked")


def _most_frequent(table: Any, most: int) -> Any:
    """The most frequent values of each hour, arm and version."""
    import ibis

    counted = _grouped(table, "value", rows=table.count())
    window = ibis.window(group_by=list(_KEYS), order_by=[ibis.desc("rows"), counted.value.isnull().desc(), "value"])
    ranked = counted.mutate(ranked=ibis.row_number().over(window))
    return ranked.filter(ranked.ranked < most).drop("ranked")


def _cell(value: Any, edges: Sequence[float]) -> Any:
    """The cell of a number. Halved again and again: so an engine compares nine times with 500 edges, and not 500 times."""
    import ibis

    def among(low: int, high: int) -> Any:
        if low == high:
            return ibis.literal(low, "int32")
        middle = (low + high) // 2
        return (value <= float(edges[middle])).ifelse(among(low, middle), among(middle + 1, high))

    nowhere = [
        (value.isnull(), MISSING),
        (value.isnan(), NOT_A_NUMBER),
        (value == math.inf, INFINITE),
        (value == -math.inf, MINUS_INFINITE),
    ]
    return ibis.cases(*nowhere, else_=among(0, len(edges))).cast("int32")


def _single(value: Any) -> Any:
    """In single precision and back; what that cannot hold stays as it is."""
    return (value.abs() <= _SINGLE).ifelse(value.cast("float32").cast("float64"), value)


def _false() -> Any:
    import ibis

    return ibis.literal(False)


def _kind(told: Any) -> str:
    """number, text, flag or other."""
    if told.is_boolean():
        return "flag"
    if told.is_numeric():
        return "number"
    return "text" if told.is_string() else "other"


def _grouped(table: Any, *more: str, **figures: Any) -> Any:
    return table.group_by([*_KEYS, *more]).aggregate(**figures)


def _moment(column: Any, moment: datetime) -> Any:
    """A time as the column has it: with its zone, or as UTC without."""
    import ibis

    utc = moment.astimezone(UTC)
    if column.type().timezone is None:
        return ibis.literal(utc.replace(tzinfo=None), type="timestamp")
    return ibis.literal(utc, type="timestamp('UTC')")


def _order(row: Sequence[Any]) -> tuple[Any, ...]:
    """By hour, arm and version, None first, then by what follows where that can be ordered."""
    return (row[0], row[1] is not None, row[1] or "", row[2] is not None, row[2] or 0, row[3] if isinstance(row[3], int) else 0)
