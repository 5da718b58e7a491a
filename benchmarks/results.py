"""What a benchmark measured, as one line of JSON or as a table for a person. No figure is ever written in by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing measured once a round.

    Args:
        what: the work, in the words of the table (`newest 100 versions`).
        side: who did it (`countersign`, `mlflow store`).
        unit: of the values, such as `us CPU`.
        values: one a round, in their order.
    """

    what: str
    side: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.values)


@dataclass(frozen=True)
class Result:
    """One run of one benchmark.

    Args:
        benchmark: its name.
        settings: what it was run with (sizes, rounds).
        machine: what it ran on, and versions.
        figures: everything that was measured.
        ratios: the peer's median through ours, by a name that says both.
        notes: what a reader must know to read the figures rightly.
        headline: figures that stand at the top of the JSON under their own names.
    """

    benchmark: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    figures: Sequence[Figure]
    ratios: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    headline: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """JSON-able, medians included."""
        figures = [{**asdict(one), "median": _short(one.median), "values": [*map(_short, one.values)]} for one in self.figures]
        ratios = {name: _short(value) for name, value in self.ratios.items()}
        told = {name: value for name, value in asdict(self).items() if name != "headline"}
        return {**told, "figures": figures, "ratios": ratios, **{name: _short(one) for name, one in self.headline.items()}}


def one_line(results: Sequence[Result]) -> str:
    """One JSON object on one line: the result itself, or `{"results": [...]}` for several."""
    found = [result.as_json() for result in results]
    return json.dumps(found[0] if len(found) == 1 else {"results": found}, allow_nan=False)


def table(result: Result) -> str:
    """The result for a person."""
    head = f"{result.benchmark} ({', '.join(f'{name} {value}' for name, value in result.settings.items())})"
    rows = [(one.what, one.side, _figure(one.median), f"{_figure(min(one.values))} to {_figure(max(one.values))}", one.unit)
            for one in result.figures]  # fmt: skip
    lines = _aligned([("what", "by", "median", "range", "unit"), *rows])
    ratios = [f"{name}: {_figure(value)}" for name, value in {**result.headline, **result.ratios}.items()]
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    return "\n".join([head, "", *lines, "", *ratios, "", *result.notes, machine])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _figure(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
