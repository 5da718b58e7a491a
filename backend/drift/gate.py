"""The first gate: whether a window can be compared at all, and what is wrong before any distribution is looked at.

Each check looks at one column and says what it found in its own words. Nothing that a check finds, and no check that fails,
keeps the others from being made or the remaining columns from being scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backend.drift.counts import MINUS, PLUS, UNLISTED, UNREADABLE, ColumnCounts, Counts
from backend.drift.findings import Finding, FindingKind, Severity, counted, figure, percent, sentence, two_figures
from backend.drift.layout import CategoryCells, Feature, NumberCells
from backend.drift.outside import chance_outside, outside
from backend.drift.profile import Profile
from backend.drift.thresholds import Thresholds
from backend.drift.values import quoted

FEWEST_ROWS = 100
"""Below, a window is called tiny: it is scored, and its thresholds are as high as so few rows make them."""
FEWEST_FROZEN = 30
SHARE = 0.01
"""From this share of a window's rows on, what is wrong with single rows is a warning instead of a notice."""
FEWEST_NAMED = 20
"""A text is told by its name only where at least so many of a window's rows have it, and then beside the sentence, in the
facts: what one person sent is nobody's finding, and a sentence goes into mails and the ledger."""
LEAST_MISSING = 0.005
"""A smaller change of the share of rows without a value is never told."""
UNLIKELY = 1e-6
"""The chance, of rows like the reference's, below which a number of them is told: many columns are looked at, many times."""


@dataclass(frozen=True, eq=False)
class Looked:
    """One column with all that a check may ask.

    Args:
        own: the profile's own counts of it, in which cells and categories were chosen.
        reference: what the window is compared with.
    """

    place: int
    feature: Feature
    own: ColumnCounts
    reference: ColumnCounts
    current: ColumnCounts
    thresholds: Thresholds

    def finding(self, kind: FindingKind, severity: Severity, words: str, **facts: float | int | str) -> Finding:
        """A finding of this column."""
        return Finding(kind, severity, self.feature.key, sentence(words), facts)


Check = Callable[[Looked], Finding | None]


def window_findings(profile: Profile, current: Counts) -> Iterator[Finding]:
    """What is wrong with the window as a whole, and columns that the reference does not have."""
    if not current.rows:
        yield Finding("empty-window", "critical", None, "Nothing was logged in this window: no drift can be seen.", {"rows": 0})
        return
    if current.rows < FEWEST_ROWS:
        words = f"This window has only {counted(current.rows, 'row', 'rows')}: a shift must be large to show in so few."
        yield Finding("tiny-window", "notice", None, words, {"rows": current.rows})
    for (key, kind), rows in sorted(current.extra.items()):
        words = f"{key} is sent ({counted(rows, 'row', 'rows')}, {kind}), but the reference has no such column."
        yield Finding("extra-column", "notice", key, sentence(words), {"rows": rows, "kind": kind})


def column_findings(looked: Looked) -> Iterator[Finding]:
    """What the checks find in one column. One that fails is a finding too."""
    for check in CHECKS:
        try:
            found = check(looked)
        except Exception as error:  # a defect of ours in one check must not hide what the others find
            yield failed(looked, error)
        else:
            if found is not None:
                yield found


def failed(looked: Looked, error: Exception) -> Finding:
    """What is told of a defect."""
    told = f"{type(error).__name__}. This is a defect; the other columns were judged."
    words = f"{looked.feature.key} could not be judged: {told}"
    return looked.finding("failed", "warning", words, error=type(error).__name__)


def missing_column(looked: Looked) -> Finding | None:
    """The column came in none of the rows."""
    current = looked.current
    if current.seen or current.mistyped or current.rows == 0:
        return None
    words = f"{looked.feature.key} is missing: none of the {counted(current.rows, 'row', 'rows')} has it."
    return looked.finding("missing-column", "critical", words, rows=current.rows)


def type_changed(looked: Looked) -> Finding | None:
    """Values of another kind than the reference's."""
    current = looked.current
    kinds = {kind: rows for kind, rows in current.mistyped.items() if rows}  # a column of nothing but NULL is of any kind
    rows = sum(kinds.values())
    if not rows:
        return None
    share = rows / current.rows
    told = " and ".join(f"{kind} ({counted(kinds[kind], 'row', 'rows')})" for kind in sorted(kinds))
    words = f"{looked.feature.key} changed its type: the reference has {looked.feature.kind}, this window also {told}."
    severity: Severity = "critical" if share > 1 - SHARE or not current.seen else _by_share(share)
    return looked.finding("type-changed", severity, words, rows=rows, share=share)


def unreadable(looked: Looked) -> Finding | None:
    """Values that could not even be read as what they are said to be."""
    rows = int(looked.current.whole[UNREADABLE])
    if not rows:
        return None
    words = f"{looked.feature.key} could not be read in {counted(rows, 'row', 'rows')}: they are in no score."
    return looked.finding("unreadable", "warning", words, rows=rows)


def uncounted(looked: Looked) -> Finding | None:
    """A kind of column that drift has no scores for."""
    if looked.feature.cells is not None:
        return None
    words = f"{looked.feature.key} holds {quoted(looked.feature.column.type)}, for which there are no scores."
    return looked.finding("uncounted", "notice", words, type=looked.feature.column.type)


def empty_reference(looked: Looked) -> Finding | None:
    """Nothing to compare with."""
    if looked.feature.cells is None or not looked.current.values or (looked.own.values and looked.reference.values):
        return None
    words = f"The reference has no value of {looked.feature.key} to compare this window's {looked.current.values:,} with."
    return looked.finding("empty-reference", "warning", words, values=looked.current.values)


def nulls(looked: Looked) -> Finding | None:
    """Another share of rows without a value than in the reference and its parts."""
    current, reference = looked.current, looked.reference
    mistyped = sum(current.mistyped.values())
    came = current.seen or (current.mistyped and not mistyped)
    if not came or not reference.rows:
        return None
    without = max(current.missing - mistyped, 0)
    share, before = without / current.rows, reference.missing / reference.rows
    if abs(share - before) <= LEAST_MISSING or _is_usual(share, before, looked):
        return None
    if _chance_of_count(without, current.rows, reference.missing, reference.rows) > UNLIKELY:
        return None
    words = f"{percent(share)} of the rows have no {looked.feature.key}, against {percent(before)} in the reference."
    severity: Severity = "notice" if share < before else "critical" if share == 1 else "warning"
    return looked.finding("nulls", severity, words, rows=without, share=share, reference=before)


def infinities(looked: Looked) -> Finding | None:
    """More infinite numbers than in the reference."""
    current, reference = looked.current, looked.reference
    before = reference.infinities / max(reference.rows, 1)
    rows = current.infinities
    if not rows or (before and not _is_more(rows, current.rows, reference.infinities, reference.rows)):
        return None
    share, plus, minus = rows / current.rows, int(current.whole[PLUS]), int(current.whole[MINUS])
    words = (
        f"{looked.feature.key} is infinite in {counted(rows, 'row', 'rows')} ({percent(share)}; {plus:,} above, "
        f"{minus:,} below), against {percent(before)} in the reference: they are in no score."
    )
    return looked.finding("infinities", "warning", words, rows=rows, share=share, reference=before)


def range_left(looked: Looked) -> Finding | None:
    """Numbers outside of what the reference ever had."""
    cells, current = looked.feature.cells, looked.current
    if not isinstance(cells, NumberCells) or not current.values or not looked.own.values:
        return None
    found = outside(cells, looked.reference, current)
    by_chance = _DEVIATIONS * (1 + 2 * current.values / looked.own.values)  # further rows leave the range of some, now and then
    if not (found.far or found.rows > by_chance):
        return None
    is_news = chance_outside(found.far, current.values, looked.own.values) < UNLIKELY
    severity: Severity = "warning" if is_news and found.far / current.values >= SHARE else "notice"
    (low, before_low), (high, before_high) = two_figures(current.low, found.low), two_figures(current.high, found.high)
    words = (
        f"{looked.feature.key} leaves its range in {counted(found.rows, 'row', 'rows')} "
        f"({percent(found.rows / current.values)}): {low} to {high}, in the reference {before_low} to {before_high}."
    )
    facts = {"rows": found.rows, "far": found.far, "low": current.low, "high": current.high}
    return looked.finding("range", severity, words, **facts)


def new_categories(looked: Looked) -> Finding | None:
    """Texts that the reference never had."""
    cells, current = looked.feature.cells, looked.current
    if not isinstance(cells, CategoryCells) or not looked.own.values or looked.own.cells[-1] or looked.reference.cells[-1]:
        return None  # where the reference has more texts than are kept by name, another one need not be new
    rows = int(current.cells[-1])
    if not rows:
        return None
    share, names = rows / current.values, sorted(current.unlisted, key=lambda one: (-current.unlisted[one], one))
    different = f"{len(names):,} or more different ones" if len(names) >= UNLISTED else counted(len(names), "text", "texts")
    words = f"{looked.feature.key} has values that the reference never had, in {percent(share)} of the rows: {different}."
    often = [one for one in names if current.unlisted[one] >= FEWEST_NAMED][:3]
    facts: dict[str, float | int | str] = {"rows": rows, "share": share, "different": len(names)}
    facts |= {"names": ", ".join(quoted(one) for one in often)} if often else {}
    return looked.finding("new-categories", _by_share(share), words, **facts)


def frozen(looked: Looked) -> Finding | None:
    """One and the same value in every row, where the reference has many."""
    current, reference, cells = looked.current, looked.reference, looked.feature.cells
    if cells is None or current.values < FEWEST_FROZEN or looked.thresholds.is_often_constant(looked.place):
        return None
    if isinstance(cells, NumberCells) and current.low != current.high:
        return None
    place = int(current.cells.argmax())
    if current.cells[place] < current.values or (isinstance(cells, CategoryCells) and len(current.unlisted) > 1):
        return None
    share = int(reference.cells[place]) / max(reference.values, 1)
    if share > _MOSTLY:
        return None
    value = figure(current.low) if isinstance(cells, NumberCells) else "the same"
    told = f"all {current.values:,} values are {value}, as are {percent(share)} in the reference."
    words = f"{looked.feature.key} is frozen: {told}"
    facts: dict[str, float | int | str] = {"values": current.values, "share": share}
    if isinstance(cells, CategoryCells) and current.values >= FEWEST_NAMED:
        facts["value"] = quoted(_category(cells, current, place))
    return looked.finding("frozen", "critical", words, **facts)


CHECKS: tuple[Check, ...] = (
    missing_column,
    type_changed,
    unreadable,
    uncounted,
    empty_reference,
    nulls,
    infinities,
    range_left,
    new_categories,
    frozen,
)

_MOSTLY = 0.5
_DEVIATIONS = 5.0
_BEYOND_PARTS = 1.5


def _by_share(share: float) -> Severity:
    return "warning" if share >= SHARE else "notice"


def _is_usual(share: float, before: float, looked: Looked) -> bool:
    """Whether the reference's own parts lack values in such shares."""
    parts = looked.thresholds.parts(looked.place, "missing")
    if parts is None or (most := float(parts.max())) <= 0:
        return False
    if share < before:
        return share >= float(parts.min())
    return share <= min(_BEYOND_PARTS, 0.5 + 0.5 / most) * most


def _is_more(count: int, rows: int, before: int, among: int) -> bool:
    """Whether a window has a larger share of some rows than its reference, and not by chance."""
    return count / rows > before / among and _chance_of_count(count, rows, before, among) <= UNLIKELY


def _chance_of_count(count: int, rows: int, before: int, among: int) -> float:
    """The chance of a share that differs as much into this direction, if a window and its reference were alike.

    Of all rows of a kind on both sides, each is as likely to lie in the window as any other row is (Fisher's exact test). They
    are taken as drawn with replacement, which errs towards no finding; less so where they are the fewer ones.
    """
    from scipy.special import betainc  # as in `formulas`

    if 2 * (count + before) > rows + among:
        count, before = rows - count, among - before
    share = rows / (rows + among)
    if count / rows > before / among:
        return float(betainc(count, before + 1, share))
    return float(betainc(before, count + 1, 1 - share)) if before else 1.0


def _category(cells: CategoryCells, current: ColumnCounts, place: int) -> str:
    return cells.values[place] if place < len(cells.values) else next(iter(current.unlisted), "another")
