"""One window against one reference: the gate, every score, what of it is news, and what may lie behind it.

    judgement = judged(profile, total(profile.layout, hours), hours=24)
    for finding in judgement.findings: ...

A column is news when false discoveries among those called news stay within the rate, and one of the scores by which it is
judged lies above its threshold. Nothing here is dropped: a column that cannot be scored says so in its findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backend.drift import causes, gate
from backend.drift.counts import Counts
from backend.drift.discovery import RATE, adjusted
from backend.drift.findings import SEVERITIES, Finding, FindingKind, Severity, figure, percent, two_figures
from backend.drift.gate import Looked
from backend.drift.layout import CategoryCells, Cells, NumberCells
from backend.drift.profile import Profile
from backend.drift.scores import Score, Scores, scored
from backend.drift.thresholds import CONVENTIONAL, Threshold, Thresholds
from backend.drift.thresholds import judged as judged_by
from backend.drift.values import Floats, Key, quoted

_NAMES: Mapping[Score, str] = {
    "psi": "PSI",
    "jensen_shannon": "Jensen-Shannon",
    "wasserstein": "Wasserstein",
    "kolmogorov_smirnov": "Kolmogorov-Smirnov",
}


@dataclass(frozen=True, eq=False)
class Judged:
    """One column in one window.

    Args:
        scores: None where there is nothing to compare; a finding says why.
        thresholds: by score.
        chance: of lying as far away, by the reference's own parts or else by the test.
        adjusted: the rate of false discoveries at which it would be called news.
        is_news: whether it is.
        limits: by score, what somebody set; then those alone decide.
    """

    key: Key
    scores: Scores | None
    thresholds: Mapping[Score, Threshold] = field(default_factory=dict)
    chance: float = 1.0
    adjusted: float = 1.0
    is_news: bool = False
    limits: Mapping[Score, float] = field(default_factory=dict)

    def limit(self, score: Score) -> float | None:
        """Above what the score is news; None for one that does not decide."""
        if self.limits:
            return self.limits.get(score)
        return self.thresholds[score].limit if score in self.thresholds else None


@dataclass(frozen=True, eq=False)
class Judgement:
    """One window.

    Args:
        rows: how many there were.
        columns: all of the reference's, in its order.
        findings: what is wrong, the worst first.
    """

    rows: int
    columns: tuple[Judged, ...]
    findings: tuple[Finding, ...]

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings that are more than notices."""
        return tuple(one for one in self.findings if one.severity != "notice")


def judged(
    profile: Profile,
    current: Counts,
    *,
    reference: Counts | None = None,
    hours: float = 24,
    reference_hours: float | None = None,
    rate: float = RATE,
    thresholds: Thresholds | None = None,
    limits: Mapping[Key, Mapping[Score, float]] | None = None,
    among: Callable[[Key], bool] = lambda key: True,
) -> Judgement:
    """Judges a window.

    Args:
        current: its counts, in the profile's cells.
        reference: what it is compared with, in the same cells; the profile's own counts unless it is given (`references.py`).
        hours: the length of the window; 0 where the reference was at the same time, so that both share what days do.
        reference_hours: the length of a reference that is a window itself, and varies as one.
        rate: of false discoveries.
        thresholds: made before for this profile, reference and length; they are kept in it and cost time once.
        limits: what somebody set for single columns and scores: they decide there instead of what was measured.
        among: which columns are looked at; of the others nothing is said, and they count for no false discovery.
    """
    known = thresholds or Thresholds(profile, reference, hours=hours, reference_hours=reference_hours)
    whole = [one for one in gate.window_findings(profile, current) if one.column is None or among(one.column)]
    against = reference or profile.counts
    places = [place for place, one in enumerate(profile.layout.features) if among(one.key)]
    looked = [_looked(profile, place, against, current, known) for place in places]
    if not current.rows:
        return Judgement(0, tuple(Judged(one.feature.key, None) for one in looked), tuple(whole))
    columns, findings = _columns(looked, rate, limits or {})
    news = [one for one, column in zip(looked, columns, strict=True) if column.is_news]
    found = [*whole, *findings, *map(_drift, news, [one for one in columns if one.is_news])]
    behind = list(_behind(looked, found))
    return Judgement(current.rows, columns, _sorted([*(_with_guess(one, behind) for one in found), *behind]))


def _looked(profile: Profile, place: int, reference: Counts, current: Counts, thresholds: Thresholds) -> Looked:
    layout = profile.layout
    own, before, after = (one.of(layout, place) for one in (profile.counts, reference, current))
    return Looked(place, layout.features[place], own, before, after, thresholds)


def _columns(
    looked: Sequence[Looked], rate: float, limits: Mapping[Key, Mapping[Score, float]]
) -> tuple[tuple[Judged, ...], list[Finding]]:
    columns, findings = list[Judged](), list[Finding]()
    for one in looked:
        findings += gate.column_findings(one)
        try:
            columns.append(replace(_scored(one), limits=limits.get(one.feature.key, {})))
        except Exception as error:  # a defect in one column must not hide the others
            findings.append(gate.failed(one, error))
            columns.append(Judged(one.feature.key, None))
    rates = adjusted([column.chance for column in columns if column.scores is not None])
    known = iter(rates.tolist())
    return tuple(_decided(one, column, next(known), rate) if column.scores is not None else column
                 for one, column in zip(looked, columns, strict=True)), findings  # fmt: skip


def _scored(looked: Looked) -> Judged:
    key, found = looked.feature.key, scored(looked.feature, looked.reference, looked.current)
    if found is None:
        return Judged(key, None)
    known = looked.thresholds
    return Judged(key, found, known.of(looked.place, looked.current.values), known.chance(looked.place, found, looked.current))


def _decided(looked: Looked, column: Judged, rate: float, most: float) -> Judged:
    above = _above(column, looked.feature.cells)
    return replace(column, adjusted=rate, is_news=(rate <= most or bool(column.limits)) and bool(above))


def _above(column: Judged, cells: Cells | None) -> list[Score]:
    """The scores by which it is judged that lie above their thresholds, or above what was set."""
    names = tuple(column.limits) or (judged_by(cells) if cells is not None else ())
    found = [(one, column.scores.value(one), column.limit(one)) for one in names if column.scores is not None]
    return [one for one, value, limit in found if value is not None and limit is not None and value > limit]


def _drift(looked: Looked, column: Judged) -> Finding:
    name = max(_above(column, looked.feature.cells), key=lambda one: _times(column, one))
    value, limit = _value(column, name), column.limit(name) or 0.0
    told = f"{_NAMES[name]} {figure(value)}, " + (
        f"above the {figure(limit)} that was set" if column.limits else f"where up to {figure(limit)} is usual"
    )
    severity = _severity(name, value, is_set=bool(column.limits))
    words = f"{looked.feature.key} drifted: {told}{_moved(looked)}."
    kind: FindingKind = "prediction-drift" if looked.feature.key.role == "prediction" else "drift"
    facts: dict[str, float | int | str] = {"score": name, "value": value, "limit": limit, "rate": column.adjusted}
    return looked.finding(kind, severity, words, **facts, **_most_moved(looked))


def _severity(name: Score, value: float, *, is_set: bool) -> Severity:
    """By what is commonly called a moderate and a large shift; what somebody set is no mere notice."""
    moderate, large = CONVENTIONAL[name]
    return "critical" if value >= large else "warning" if value >= moderate or is_set else "notice"


def _times(column: Judged, name: Score) -> float:
    return _value(column, name) / max(column.limit(name) or 0.0, 1e-12)


def _value(column: Judged, name: Score) -> float:
    return (column.scores.value(name) if column.scores is not None else None) or 0.0


def _moved(looked: Looked) -> str:
    """What can be said of where it went: the mean of numbers, the category that changed most."""
    cells = looked.feature.cells
    if isinstance(cells, NumberCells):
        before, after = looked.reference.mean(cells), looked.current.mean(cells)
        if before is None or after is None:
            return ""
        return "; its mean went from {} to {}".format(*two_figures(before, after))
    return _shares_moved(looked, cells) if cells is not None else ""


def _shares_moved(looked: Looked, cells: CategoryCells) -> str:
    before, after, place = _moved_most(looked)
    name = "one value" if place < len(cells.values) else "what is not listed"
    return f"; {name} went from {percent(float(before[place]))} to {percent(float(after[place]))}"


def _most_moved(looked: Looked) -> dict[str, str]:
    """Which value that is, where enough rows have it."""
    cells = looked.feature.cells
    if not isinstance(cells, CategoryCells):
        return {}
    place = _moved_most(looked)[2]
    told = place < len(cells.values) and looked.current.cells[place] >= gate.FEWEST_NAMED
    return {"moved_most": quoted(cells.values[place])} if told else {}


def _moved_most(looked: Looked) -> tuple[Floats, Floats, int]:
    before = looked.reference.cells / looked.reference.values
    after = looked.current.cells / looked.current.values
    return before, after, int(abs(after - before).argmax())


def _behind(looked: Sequence[Looked], found: Sequence[Finding]) -> Iterator[Finding]:
    """What may lie behind the findings; looked for among the columns that have one that speaks of their values."""
    told = {"drift", "prediction-drift", "range", "new-categories"}
    keys = {one.column for one in found if one.kind in told and one.severity != "notice"}
    frozen = {one.column for one in found if one.kind == "frozen"}
    try:
        yield from causes.behind([one for one in looked if one.feature.key in keys - frozen])
    except Exception as error:  # an explanation is worth less than what it would explain
        yield Finding("failed", "notice", None, f"What lies behind this could not be looked for: {type(error).__name__}.")


def _with_guess(one: Finding, behind: Sequence[Finding]) -> Finding:
    """A finding that speaks of how far values lie, with what may lie behind it: the guess by itself alarms nobody."""
    guesses = [str(each.facts[causes.GUESS]) for each in behind if each.column == one.column and causes.GUESS in each.facts]
    if not guesses or one.severity == "notice" or one.kind not in {"drift", "prediction-drift", "range"}:
        return one
    return replace(one, words=f"{one.words} {guesses[0]}", facts={**one.facts, causes.GUESS: guesses[0]})


def _sorted(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: (-SEVERITIES.index(one.severity), str(one.column), one.kind)))
