"""In how many requests an hour differs from what was counted of it before, by the counts of both. Pure.

How many rows there are says nothing of rows that were sent again with other values, so every cell is compared: a request that
lies in another cell than before is one, as is one that came, went, or has another version now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from backend.drift import counts as drift
from backend.drift.counts import ABOVE, BELOW, SEEN, ColumnCounts, Counts
from backend.drift.layout import Feature, Layout, NumberCells
from backend.drift.stored import counts_from
from backend.monitoring import hours
from backend.monitoring.hours import Part
from backend.quality.tasks import Task

_ROUNDING = 1e-9
"""Sums are rounded in the order in which rows come."""
_Moved = tuple[int, int]
"""Rows that are more than before in some cells, and rows that are fewer in others."""


def of_features(layout: Layout, before: Sequence[Part], after: Sequence[Part]) -> int:
    """How many requests differ, by the column that differs most, version by version and arm by arm."""
    once, now = _by_group(before), _by_group(after)
    changed = [group for group in sorted(once.keys() | now.keys()) if once.get(group, b"") != now.get(group, b"")]
    moved = [_between(layout, _counts(once.get(one), layout), _counts(now.get(one), layout)) for one in changed]
    return max(sum(more for more, _ in moved), sum(fewer for _, fewer in moved))


def of_outcomes(task: Task, before: Sequence[Part], after: Sequence[Part]) -> int:
    """How many requests differ by what was predicted, and by whom. What became of them is not asked: outcomes come late."""
    return max(_moved(_requests(task, before), _requests(task, after)))


def _by_group(parts: Sequence[Part]) -> dict[tuple[int, str], bytes]:
    return {(one.version, one.arm): one.content for one in parts if one.content}


def _counts(content: bytes | None, layout: Layout) -> Counts:
    return counts_from(content, layout) if content else drift.nothing(layout)


def _between(layout: Layout, before: Counts, after: Counts) -> _Moved:
    columns = [
        _of_column(feature, before.of(layout, place), after.of(layout, place)) for place, feature in enumerate(layout.features)
    ]
    extra = [_moved({one: before.extra.get(one, 0)}, {one: after.extra.get(one, 0)}) for one in {**before.extra, **after.extra}]
    every = [*columns, *extra, _moved({"rows": before.rows}, {"rows": after.rows})]
    return max(more for more, _ in every), max(fewer for _, fewer in every)


def _of_column(feature: Feature, before: ColumnCounts, after: ColumnCounts) -> _Moved:
    lies, texts = _moved(_places(before), _places(after)), _moved(before.unlisted, after.unlisted)
    found = [lies, texts]
    if isinstance(feature.cells, NumberCells):
        # in the outermost cells a number may be anything
        found += [(rows, rows) for rows in _farther(before, after)]
    return max(more for more, _ in found), max(fewer for _, fewer in found)


def _farther(before: ColumnCounts, after: ColumnCounts) -> Iterable[int]:
    for side, cell in ((BELOW, 0), (ABOVE, -1)):
        once, now = float(before.sums[side]), float(after.sums[side])
        if abs(now - once) > _ROUNDING * max(abs(once), abs(now)):
            yield int(min(before.cells[cell], after.cells[cell]))


def _places(counts: ColumnCounts) -> dict[Hashable, int]:
    """Where the rows of a column lie: each in one place."""
    found: dict[Hashable, int] = dict(enumerate(counts.cells.tolist()))
    found |= {f"whole {place}": int(rows) for place, rows in enumerate(counts.whole) if place != SEEN}
    found |= {f"kind {kind}": rows for kind, rows in counts.mistyped.items()}
    return found | {"absent": counts.rows - int(counts.whole[SEEN]) - sum(counts.mistyped.values())}


def _requests(task: Task, parts: Sequence[Part]) -> Counter[Hashable]:
    """Requests by version, arm and bin of what was predicted, whatever their segment."""
    table = hours.outcomes(parts, task).table
    told = table.select(["version", "arm", "bin", "requests", "segmentation", "label"]).to_pylist()
    found = Counter[Hashable]()
    for one in told:
        if not one["segmentation"] and not one["label"]:
            found[one["version"], one["arm"], one["bin"]] += one["requests"]
    return found


def _moved(before: Mapping[Any, int], after: Mapping[Any, int]) -> _Moved:
    gained = np.array([after.get(one, 0) - before.get(one, 0) for one in {**before, **after}] or [0])
    return int(gained[gained > 0].sum()), int(-gained[gained < 0].sum())
