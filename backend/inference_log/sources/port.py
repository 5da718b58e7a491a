"""What is asked of an endpoint's requests in figures, wherever they lie. Adapters answer in aggregates; rows stay there.

Two of them: `embedded` over the log's files by DuckDB, `ibis_tables` over tables that are there already. One suite holds both
to the same answers (`tests/contracts/test_log_sources.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from backend.inference_log.reading import ArmHour

MISSING, NOT_A_NUMBER, INFINITE, MINUS_INFINITE = -1, -2, -3, -4
"""Places of a value that has none among the edges: nothing, NaN, and either infinity (in histograms both are one)."""


@dataclass(frozen=True)
class Span:
    """Which requests: by event time from `start` on and before `end`, of these versions (None: of all).

    `known_by`: outcomes that became known later are left out; None for those known within a week after `end`.
    """

    start: datetime
    end: datetime
    versions: tuple[int | None, ...] | None = None
    known_by: datetime | None = None


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
