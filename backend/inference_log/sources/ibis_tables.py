"""Tables that are there already, in any engine that Ibis speaks to: each question is one SELECT with a GROUP BY, run there.

Tried on DuckDB and PostgreSQL. Source: https://ibis-project.org/reference (`ibis.cases`, `Table.aggregate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from backend.core.errors import ExternalFailure, Refusal
from backend.core.unit import assert_outside_unit
from backend.inference_log.reading import ArmHour
from backend.inference_log.service import OUTCOMES_WITHIN
from backend.inference_log.sources import expressions
from backend.inference_log.sources.engines import fetch, table_of
from backend.inference_log.sources.port import (
    INFINITE,
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

PREDICTION = ""
"""The name of the prediction's column among those of features."""
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
            return expressions.grouped(
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
            return expressions.grouped(placed, "place", rows=placed.count())

        return sorted((Bin(*row) for row in self._rows(asked, ("place", "rows"))), key=expressions.order)

    def categories(self, feature: str, span: Span, *, most: int = 1_000) -> list[Category]:
        """See `port.Source`."""

        def asked(con: Any) -> Any:
            return expressions.most_frequent(self._requests(con, span, feature=feature, kind="string"), most)

        rows = [Category(*row) for row in self._rows(asked, ("value", "rows"))]
        return sorted(rows, key=lambda one: (expressions.order(one)[:5], -one.rows, one.value is not None, one.value or ""))

    def columns(self) -> dict[str, str]:
        """See `port.CellSource`."""
        told = self._mapped.requests
        types = self._asked(lambda con: table_of(con, told.table).schema())
        found = {ours: expressions.kind(types[theirs]) for ours, theirs in told.features.items() if theirs in types}
        theirs = told.columns.get("prediction")
        return found | ({PREDICTION: expressions.kind(types[theirs])} if theirs is not None and theirs in types else {})

    def cells(self, name: str, cells: Cells, span: Span) -> list[Cell]:
        """See `port.CellSource`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span, feature=name, kind="float64")
            value = expressions.single(found.value) if cells.single else found.value
            found = found.mutate(value=value)
            value, finite = found.value, ~(found.value.isnan() | found.value.isin([math.inf, -math.inf]))
            moved = finite.ifelse((value - cells.centre) / cells.scale, None)
            placed = found.mutate(place=expressions.cell(value, cells.edges), moved=moved, finite=finite.ifelse(value, None))
            return expressions.grouped(
                placed,
                "place",
                rows=placed.count(),
                total=placed.moved.sum(),
                squares=(placed.moved * placed.moved).sum(),
                low=placed.finite.min(),
                high=placed.finite.max(),
            )

        rows = self._rows(asked, ("place", "rows", "total", "squares", "low", "high"))
        return sorted((Cell(*row) for row in rows), key=expressions.order)

    def listed(self, name: str, values: Sequence[str], span: Span) -> list[Listed]:
        """See `port.CellSource`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span, feature=name, kind="string")
            known = found.value.isin(list(values)).fill_null(False) if values else expressions.false()
            told = found.mutate(value=known.ifelse(found.value, None), missing=found.value.isnull())
            return expressions.grouped(told, "value", "missing", rows=told.count())

        return [Listed(*row) for row in self._rows(asked, ("value", "missing", "rows"))]

    def unlisted(self, name: str, values: Sequence[str], span: Span, *, most: int) -> list[Category]:
        """See `port.CellSource`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span, feature=name, kind="string")
            others = found.filter(found.value.notnull())
            return expressions.most_frequent(others.filter(others.value.notin(list(values))) if values else others, most)

        return [Category(*row) for row in self._rows(asked, ("value", "rows"))]

    def there(self, name: str, span: Span) -> list[Listed]:
        """See `port.CellSource`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span, feature=name)
            told = found.mutate(missing=found.value.isnull())
            return expressions.grouped(told, "missing", rows=told.count())

        rows = self._rows(asked, ("missing", "rows"))
        return [Listed(hour, arm, version, None, missing, count) for hour, arm, version, missing, count in rows]

    def touched(self, since: datetime, span: Span) -> list[datetime] | None:
        """See `port.CellSource`."""
        if "received_at" not in self._mapped.requests.columns:
            return None

        def asked(con: Any) -> Any:
            found = self._requests(con, span)
            found = found.filter(found.received_at >= expressions.moment(found.received_at, since))
            return expressions.grouped(found, rows=found.count())

        return sorted({row[0] for row in self._rows(asked, ("rows",))})

    def outcome(self, name: str, span: Span) -> list[OutcomeHour]:
        """See `port.Source`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span)
            learned = self._outcomes(con, name, span, found)
            joined = found.left_join(learned, found.request_id == learned.of_request)
            return expressions.grouped(
                joined,
                requests=joined.count(),
                known=joined.value.count(),
                total=joined.value.sum().fill_null(0.0),
                squares=(joined.value * joined.value).sum().fill_null(0.0),
            )

        rows = self._rows(asked, ("requests", "known", "total", "squares"))
        return [OutcomeHour(row[0], row[1], row[2], int(row[3]), int(row[4]), float(row[5]), float(row[6])) for row in rows]

    def judged(
        self, outcome: str, features: Mapping[str, str], span: Span, grouped: Callable[[Any], Any], fields: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        """See `port.OutcomeSource`."""

        def asked(con: Any) -> Any:
            found = self._requests(con, span, feature=PREDICTION, features=features)
            found = found.filter(found.failure.fill_null("") == "")
            numeric = self._is_number(con, PREDICTION)
            found = found.mutate(
                prediction=found.value.cast("float64") if numeric else expressions.nothing("float64"),
                predicted=found.value.notnull(),
                arm=found.served_arm.coalesce(found.assigned_arm),
            )
            learned = self._outcomes(con, outcome, span, found)
            joined = found.drop("value").left_join(learned, found.request_id == learned.of_request)
            return grouped(joined.mutate(given=joined.value))

        return self._rows(asked, tuple(fields))

    def touched_by_outcomes(self, since: datetime, span: Span) -> list[datetime]:
        """See `port.OutcomeSource`."""
        told = self._mapped.outcomes
        if told is None:
            return []

        def asked(con: Any) -> Any:
            table = table_of(con, told.table)
            came = table[told.columns.get("received_at", told.columns["known_at"])]
            late = (
                table.filter(came >= expressions.moment(came, since))
                .select(of_request=table[told.columns["request_id"]])
                .distinct()
            )
            found = self._requests(con, span)
            found = found.semi_join(late, found.request_id == late.of_request)
            return expressions.grouped(found, rows=found.count())

        return sorted({row[0] for row in self._rows(asked, ("rows",))})

    def close(self) -> None:
        """Gives back the connection; the next question opens another."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.disconnect()

    # -- tables as expressions

    def _requests(
        self,
        con: Any,
        span: Span,
        *,
        feature: str | None = None,
        kind: str = "",
        features: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """Each request once, with our names; `value` is the feature that was asked for, `features` are more of them by the name
        that they shall have."""
        import ibis

        told = self._mapped.requests
        table = table_of(con, told.table)
        columns = {name: table[theirs] for name, theirs in told.columns.items()}
        columns |= {name: ibis.null().cast(type_) for name, type_ in _TYPES.items() if name not in columns}
        if feature is not None:
            value = self._value(table, feature)
            columns["value"] = value.cast(kind) if kind else value
        columns |= {name: self._value(table, each) for name, each in features.items()}
        if span.within is not None:
            columns["_within"] = self._value(table, span.within.feature)
        found = table.select(**columns)
        found = found.filter(found.event_time >= expressions.moment(found.event_time, span.start))
        found = found.filter(found.event_time < expressions.moment(found.event_time, span.end))
        if (
            "received_at" in told.columns
        ):  # among the hours that are read, as in the log: no engine sorts its whole table for one
            found = expressions.once(found, "request_id")
        if span.versions is not None:
            found = found.filter(found.version.fill_null(0).isin([one or 0 for one in span.versions]))
        if span.within is not None:
            found = found.filter(expressions.is_within(found._within, span.within)).drop("_within")
        return found.mutate(hour=found.event_time.truncate("h"), arm=found.assigned_arm)

    def _value(self, table: Any, feature: str) -> Any:
        import ibis

        told = self._mapped.requests
        theirs = told.columns.get("prediction") if feature == PREDICTION else told.features.get(feature)
        return table[theirs] if theirs is not None else ibis.null()

    def _is_number(self, con: Any, feature: str) -> bool:
        """Whether a column is one, so that it can be read as one; a truth value is 0 or 1."""
        type_ = self._value(table_of(con, self._mapped.requests.table), feature).type()
        return bool(type_.is_numeric() or type_.is_boolean())

    def _outcomes(self, con: Any, name: str, span: Span, requests: Any) -> Any:
        """The outcomes of these requests, each once."""
        import ibis

        told = self._mapped.outcomes
        if told is None:
            nothing = table_of(con, self._mapped.requests.table).limit(0)
            return nothing.select(
                of_request=ibis.literal("").cast("string"),
                value=expressions.nothing("float64"),
                known_at=expressions.nothing("timestamp('UTC')"),
            )
        table = table_of(con, told.table)
        theirs = told.values.get(name)
        value = (table[theirs] if theirs is not None else ibis.null()).cast("float64")
        columns = {ours: table[column] for ours, column in told.columns.items()}
        found = table.select(**columns, value=value)
        if "received_at" in told.columns:
            found = found.semi_join(requests, found.request_id == requests.request_id)
            found = expressions.once(found, "request_id")
        by = span.known_by or span.end + OUTCOMES_WITHIN
        found = found.filter(found.known_at <= expressions.moment(found.known_at, by))
        return found.select(of_request=found.request_id, value=found.value, known_at=found.known_at)

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
            return fetch(
                con,
                told.select(hour=told.hour.epoch_seconds(), **{name: told[name] for name in (*expressions.KEYS[1:], *more)}),
            )

        rows = self._asked(fetched)
        found = [
            (datetime.fromtimestamp(int(row[0]), UTC), row[1], int(row[2]) if row[2] is not None else None, *row[3:])
            for row in rows
        ]
        return sorted(found, key=expressions.order)

    def _connection(self) -> Any:
        if self._opened is None:
            self._opened = self._connect()
        return self._opened
