"""The log's own files, asked in SQL by DuckDB."""

from __future__ import annotations

from collections.abc import Sequence

from backend.inference_log.reading import ArmHour, Reading
from backend.inference_log.service import InferenceLog
from backend.inference_log.sources.port import INFINITE, MISSING, NOT_A_NUMBER, Bin, Category, OutcomeHour, Span

_KEYS = "date_trunc('hour', event_time) AS hour, assigned_arm AS arm, version"
_BY = "GROUP BY ALL ORDER BY hour, arm NULLS FIRST, version NULLS FIRST"


class EmbeddedSource:
    """See `port.Source`."""

    def __init__(self, log: InferenceLog, endpoint: str) -> None:
        self._log, self._endpoint = log, endpoint

    def counts(self, span: Span) -> list[ArmHour]:
        """See `port.Source`."""
        with self._read(span) as reading:
            return reading.counts()

    def histogram(self, feature: str, edges: Sequence[float], span: Span) -> list[Bin]:
        """See `port.Source`."""
        with self._read(span) as reading:
            value = reading.column(feature, "number")
            place = (
                f"CASE WHEN {value} IS NULL THEN {MISSING} WHEN isnan({value}) THEN {NOT_A_NUMBER}"
                f" WHEN isinf({value}) THEN {INFINITE} ELSE len(list_filter(?::DOUBLE[], lambda edge: edge <= {value})) END"
            )
            sql = f"SELECT {_KEYS}, {place} AS place, count(*) AS rows FROM requests {_BY}, place"  # noqa: S608 - quoted columns
            return [Bin(**row) for row in reading.query(sql, [list(edges)]).to_pylist()]

    def categories(self, feature: str, span: Span, *, most: int = 1_000) -> list[Category]:
        """See `port.Source`."""
        with self._read(span) as reading:
            value = reading.column(feature, "text")
            counted = f"SELECT {_KEYS}, {value} AS value, count(*) AS rows FROM requests GROUP BY ALL"  # noqa: S608 - the same
            ranked = "row_number() OVER (PARTITION BY hour, arm, version ORDER BY rows DESC, value NULLS FIRST) AS place"
            sql = (
                f"SELECT * EXCLUDE (place) FROM (SELECT *, {ranked} FROM ({counted})) WHERE place <= ?"  # noqa: S608 - the same
                " ORDER BY hour, arm NULLS FIRST, version NULLS FIRST, rows DESC, value NULLS FIRST"
            )
            return [Category(**row) for row in reading.query(sql, [most]).to_pylist()]

    def outcome(self, name: str, span: Span) -> list[OutcomeHour]:
        """See `port.Source`."""
        with self._read(span) as reading:
            value = reading.column(name, "outcome")
            sums = (
                f"count({value}) AS known, coalesce(sum({value}), 0) AS total, coalesce(sum({value} * {value}), 0) AS squares"
            )
            sql = f"SELECT {_KEYS}, count(*) AS requests, {sums} FROM joined {_BY}"  # noqa: S608 - the same
            return [OutcomeHour(**row) for row in reading.query(sql).to_pylist()]

    def _read(self, span: Span) -> Reading:
        return self._log.read(self._endpoint, span.versions, span.start, span.end, known_by=span.known_by)
