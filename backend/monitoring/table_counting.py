"""Hours of features in tables of one's own: counted by the engine that holds them, in the same cells as the log's rows.

Only figures of groups come here (`inference_log.sources.port.CellSource`); what they add up to is what counting the rows
themselves would give (`drift.counts`), but for texts of more than `LONGEST_TEXT` characters, which have no cell over there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from backend.drift import counts as drift
from backend.drift.counts import ABOVE, BELOW, EXTRAS, MINUS, NANS, NULLS, PLUS, SEEN, SQUARES, TOTAL, UNLISTED, Counts
from backend.drift.layout import CategoryCells, Feature, Layout, NumberCells
from backend.drift.values import PREDICTION, Key, Kind, text_of
from backend.inference_log.sources.port import (
    INFINITE,
    MINUS_INFINITE,
    MISSING,
    NOT_A_NUMBER,
    Cell,
    Cells,
    CellSource,
    Span,
)

Group = tuple[datetime, str | None, int | None]
"""An hour, an arm and a version."""
_KINDS: Mapping[str, Kind] = {"number": "number", "text": "text", "flag": "flag", "other": "other"}
_PLACES = {MISSING: NULLS, NOT_A_NUMBER: NANS, INFINITE: PLUS, MINUS_INFINITE: MINUS}


@dataclass
class _Tally:
    """One group's counts while columns come in."""

    counts: Counts
    unlisted: dict[Key, dict[str, int]] = field(default_factory=dict)
    mistyped: dict[tuple[Key, Kind], int] = field(default_factory=dict)
    extra: dict[tuple[Key, Kind], int] = field(default_factory=dict)

    def whole(self) -> Counts:
        """All of it."""
        return replace(self.counts, unlisted=self.unlisted, mistyped=self.mistyped, extra=self.extra)


def counted(source: CellSource, layout: Layout, span: Span) -> dict[Group, Counts]:
    """The counts of each hour, arm and version in which anything was asked. ExternalFailure where the engine is silent."""
    groups: dict[Group, _Tally] = {}
    for one in source.counts(span):
        tally = _Tally(replace(drift.nothing(layout), rows=one.requests))
        groups[one.hour, one.arm, one.version] = tally
    if not groups:
        return {}
    there = source.columns()
    for place, feature in enumerate(layout.features):
        kind = there.pop(_name(feature.key), None)
        if kind is not None:
            _take(source, span, layout, place, _KINDS[kind], groups)
    for name, kind in sorted(there.items())[:EXTRAS]:
        key = PREDICTION if not name else Key("feature", name)
        for group, rows in _present(source, name, span).items():
            if rows or name:
                groups[group].extra[key, _KINDS[kind]] = rows
    return {group: tally.whole() for group, tally in groups.items()}


def _name(key: Key) -> str:
    """As `CellSource` calls a column."""
    return "" if key.role == "prediction" else key.name


def _take(source: CellSource, span: Span, layout: Layout, place: int, kind: Kind, groups: Mapping[Group, _Tally]) -> None:
    feature = layout.features[place]
    if not _fits(kind, feature):
        for group, rows in _present(source, _name(feature.key), span).items():
            groups[group].mistyped[feature.key, kind] = rows
        return
    for tally in groups.values():
        tally.counts.whole[place, SEEN] = tally.counts.rows
    if isinstance(feature.cells, NumberCells):
        _take_numbers(source, span, layout, place, feature.cells, groups)
    elif isinstance(feature.cells, CategoryCells):
        _take_texts(source, span, layout, place, feature.cells, groups)
    else:
        present = _present(source, _name(feature.key), span)
        for group, tally in groups.items():
            tally.counts.whole[place, NULLS] = tally.counts.rows - present.get(group, 0)


def _fits(kind: Kind, feature: Feature) -> bool:
    """As `drift.counts` has it: a prediction may be a truth value or its text."""
    return kind == feature.kind or (feature.key.role == "prediction" and {kind, feature.kind} == {"text", "flag"})


def _take_numbers(
    source: CellSource, span: Span, layout: Layout, place: int, cells: NumberCells, groups: Mapping[Group, _Tally]
) -> None:
    asked = Cells(tuple(cells.edges.tolist()), cells.centre, cells.scale, single=cells.precision != "double")
    for one in source.cells(_name(layout.features[place].key), asked, span):
        counts = groups[one.hour, one.arm, one.version].counts
        if one.place in _PLACES:
            counts.whole[place, _PLACES[one.place]] += one.rows
            continue
        counts.cells[layout.offsets[place] + one.place] += one.rows
        _add(counts, place, cells, one)


def _add(counts: Counts, place: int, cells: NumberCells, one: Cell) -> None:
    total = one.total or 0.0
    counts.sums[place, TOTAL] += total
    counts.sums[place, SQUARES] += one.squares or 0.0
    if one.low is not None and one.high is not None:
        counts.low[place] = min(counts.low[place], one.low)
        counts.high[place] = max(counts.high[place], one.high)
    if len(cells.edges) and one.place == 0:
        counts.sums[place, BELOW] += one.rows * (cells.edges[0] - cells.centre) / cells.scale - total
    if len(cells.edges) and one.place == len(cells.edges):
        counts.sums[place, ABOVE] += total - one.rows * (cells.edges[-1] - cells.centre) / cells.scale


def _take_texts(
    source: CellSource, span: Span, layout: Layout, place: int, cells: CategoryCells, groups: Mapping[Group, _Tally]
) -> None:
    key, start = layout.features[place].key, layout.offsets[place]
    others = False
    for one in source.listed(_name(key), cells.values, span):
        counts = groups[one.hour, one.arm, one.version].counts
        if one.missing:
            counts.whole[place, NULLS] += one.rows
            continue
        counts.cells[start + (cells.places[one.value] if one.value is not None else len(cells.values))] += one.rows
        others = others or one.value is None
    if others:
        for each in source.unlisted(_name(key), cells.values, span, most=UNLISTED):
            if each.value is not None:
                found = groups[each.hour, each.arm, each.version].unlisted.setdefault(key, {})
                found[text_of(each.value)] = each.rows


def _present(source: CellSource, name: str, span: Span) -> dict[Group, int]:
    """Rows with a value of a column."""
    found: dict[Group, int] = {}
    for one in source.there(name, span):
        group = (one.hour, one.arm, one.version)
        found[group] = found.get(group, 0) + (0 if one.missing else one.rows)
    return found


def by_hour(found: Mapping[Group, Counts], hours: Iterable[datetime]) -> dict[datetime, Sequence[tuple[Group, Counts]]]:
    """The groups of each hour, those of which nothing was asked too."""
    told: dict[datetime, list[tuple[Group, Counts]]] = {hour: [] for hour in hours}
    for group, one in found.items():
        told.setdefault(group[0], []).append((group, one))
    return dict(told)
