"""What is asked of an endpoint's requests in figures, wherever they lie. Adapters answer in aggregates; rows stay there.

Two of them: `embedded` over the log's files by DuckDB, `ibis_tables` over tables that are there already. One suite holds both
to the same answers (`tests/contracts/test_log_sources.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from backend.inference_log.reading import ArmHour

MISSING, NOT_A_NUMBER, INFINITE, MINUS_INFINITE = -1, -2, -3, -4
"""Places of a value that has none among the edges: nothing, NaN, and either infinity (in histograms both are one)."""


@dataclass(frozen=True)
class Within:
    """Requests of one segment: by the texts of a feature, or by a number from `low` on and below `high`.

    Args:
        values: one of these texts, or with `others` any text that is none of them; None for a number.
        missing: those without a value. not_a_number: those whose number is NaN, which lies between no edges.
    """

    feature: str
    values: tuple[str, ...] | None = None
    others: bool = False
    low: float | None = None
    high: float | None = None
    missing: bool = False
    not_a_number: bool = False


@dataclass(frozen=True)
class Span:
    """Which requests: by event time from `start` on and before `end`, of these versions (None: of all).

    `known_by`: outcomes that became known later are left out; None for those known within a week after `end`. `within`: only
    these; adapters over the log's files do not know it, since rows can be read there.
    """

    start: datetime
    end: datetime
    versions: tuple[int | None, ...] | None = None
    known_by: datetime | None = None
    within: Within | None = None


class Bin(NamedTuple):
    """How many values of one hour, arm and version lie at one place.

    Args:
        arm: the assigned one.
        place: how many of the edges are not above the value, from 0 for below the first; or one of the places above.
    """

    hour: datetime
    arm: str | None
    version: int | None
    place: int
    rows: int


class Category(NamedTuple):
    """How many values of one hour, arm and version are one text; None for those without."""

    hour: datetime
    arm: str | None
    version: int | None
    value: str | None
    rows: int


class OutcomeHour(NamedTuple):
    """An outcome over the requests of one hour, arm and version.

    Args:
        requests: all of them; `known` is how many have this outcome by now.
        total, squares: sums of its values and of their squares, of which means and variances are made over any span.
    """

    hour: datetime
    arm: str | None
    version: int | None
    requests: int
    known: int
    total: float
    squares: float


@dataclass(frozen=True)
class Cells:
    """The fixed cells of a number: `(-inf, e0], (e0, e1], ..., (ek, inf)`. Sums are of `(value - centre) / scale`.

    `single`: whether numbers are rounded to single precision first, as those of the reference are.
    """

    edges: tuple[float, ...]
    centre: float
    scale: float
    single: bool = False


class Cell(NamedTuple):
    """The values of one hour, arm and version in one cell, or among those that have none.

    Args:
        place: of the cell, or `MISSING`, `NOT_A_NUMBER`, `INFINITE` (above all), `MINUS_INFINITE`.
        total, squares: sums of the scaled values and of their squares; low, high: the smallest and largest value. None where
            there is no finite one.
    """

    hour: datetime
    arm: str | None
    version: int | None
    place: int
    rows: int
    total: float | None
    squares: float | None
    low: float | None
    high: float | None


class Listed(NamedTuple):
    """How many values of one hour, arm and version are one of those that were asked for; None for any other text.

    `missing`: that there is none at all.
    """

    hour: datetime
    arm: str | None
    version: int | None
    value: str | None
    missing: bool
    rows: int


class CellSource(Protocol):
    """What hours of features are counted from where rows cannot be read: all of it by GROUP BY, over there. `name` of a column
    is a feature's; "" is the prediction."""

    def counts(self, span: Span) -> list[ArmHour]:
        """See `Source`."""
        ...

    def columns(self) -> dict[str, str]:
        """Its features, and the prediction, that are mapped -> number, text, flag or other."""
        ...

    def cells(self, name: str, cells: Cells, span: Span) -> list[Cell]:
        """A number's values in fixed cells."""
        ...

    def listed(self, name: str, values: Sequence[str], span: Span) -> list[Listed]:
        """A text's (or truth value's) values among those that are known."""
        ...

    def unlisted(self, name: str, values: Sequence[str], span: Span, *, most: int) -> list[Category]:
        """The most frequent texts that are not known, of each hour, arm and version."""
        ...

    def there(self, name: str, span: Span) -> list[Listed]:
        """How many rows have any value of a column, and how many none."""
        ...

    def touched(self, since: datetime, span: Span) -> list[datetime] | None:
        """Hours of requests that were received since; None where nothing says when any was."""
        ...

    def close(self) -> None:
        """Gives back the connection; the next question opens another."""
        ...


class OutcomeSource(Protocol):
    """What outcomes are counted from where rows cannot be read."""

    def judged(
        self, outcome: str, features: Mapping[str, str], span: Span, grouped: Callable[[Any], Any], fields: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        """Aggregates over requests with a valid answer and what became of each.

        Args:
            features: name of a column as it shall be called -> feature.
            grouped: makes of an Ibis table (hour, arm that answered, version, event_time, `predicted`: whether there is a
                prediction, `prediction`: as a number, known_at, given, and `features`) one that is grouped, over there.
            fields: of the grouped table, beside hour, arm and version; in this order they come back.
        """
        ...

    def touched_by_outcomes(self, since: datetime, span: Span) -> list[datetime]:
        """Hours of requests whose outcomes were received since; where nothing says when, became known since."""
        ...


class TableSource(CellSource, OutcomeSource, Protocol):
    """All that is counted over there."""


class Source(Protocol):
    """One endpoint's requests. Lists are in the order of their fields, None first. ExternalFailure where it cannot be asked."""

    def counts(self, span: Span) -> list[ArmHour]:
        """Requests, failures, fallbacks and different units."""
        ...

    def histogram(self, feature: str, edges: Sequence[float], span: Span) -> list[Bin]:
        """A number's values among edges, which grow. A feature that no row has is missing in each."""
        ...

    def categories(self, feature: str, span: Span, *, most: int = 1_000) -> list[Category]:
        """A text's values, in each hour, arm and version at most that many, the most frequent first."""
        ...

    def outcome(self, name: str, span: Span) -> list[OutcomeHour]:
        """An outcome's sums."""
        ...
