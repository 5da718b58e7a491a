"""A look at features and predictions: of each version that answers, its window against its reference. Pure but for the shelf
of thresholds that it is handed.

One column's failure never fails the rest (`drift.judging`), and one version's never another one's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from backend.core.canonical import digest, digest_bytes
from backend.core.errors import Refusal
from backend.drift import gate
from backend.drift.counts import Counts
from backend.drift.discovery import pace
from backend.drift.findings import Finding, counted, percent
from backend.drift.judging import Judged, Judgement, judged
from backend.drift.layout import Layout
from backend.drift.profile import Profile
from backend.drift.references import LEAST_COVERED, Choice, Window, counts_of
from backend.drift.scores import SCORES, Score
from backend.drift.stored import counts_bytes
from backend.drift.thresholds import Resampled, Thresholds
from backend.drift.thresholds import judged as judged_by
from backend.drift.values import PREDICTION, Key, quoted
from backend.monitoring import hours
from backend.monitoring.hours import Part
from backend.monitoring.live import Live
from backend.monitoring.looks import Calm, Found, Scored, Verdict, early
from backend.monitoring.rows import NO_VERSION
from backend.monitoring.rules import MonitorSpec, is_among, severity_of, worst

OF_DRIFT = frozenset({"drift", "prediction-drift", "rescaled", "swapped"})
"""Kinds that speak of distributions; all others are the first gate's."""
_NAMES = {"drift": "feature", "prediction-drift": "prediction"}
_SCORES: Mapping[str, Score] = {name: name for name in SCORES}
_PACES = {"sudden": " It came suddenly.", "gradual": " It came gradually, over several windows."}
MUCH_UNNAMED = 0.1
"""From this share of a window's requests on, it is a warning that nothing says which of several versions answered."""
LOOKED_BACK = 12
"""Windows by which it is told whether a shift came suddenly."""

Before = Mapping[tuple[str, str], Sequence[Mapping[str, float]]]
"""(role, feature) -> the scores of earlier windows, the oldest first."""


class Kept(Protocol):
    """Thresholds by resampling, kept by the digest of what they were made of."""

    def get(self, key: str) -> Resampled:
        """What is kept; nothing where nothing is."""
        ...

    def put(self, key: str, made: Resampled) -> None:
        """Keeps them once the run is stored."""
        ...


@dataclass(frozen=True)
class Given:
    """All that a look at one version needs.

    Args:
        profile, content: its reference profile and the digest of all of it; None where it has none.
        window: the hours that are judged, and `parts`: what was counted in them of all versions, in the profile's cells.
        against: what it is compared with, and `reference`: what was counted in those hours; () for the profile's own.
        alone: whether requests of which nothing says who answered are this version's.
        why: why there is no verdict, where that is known already; `calm`: that nothing is wrong by that.
        strays: version -> requests of the window that no look is about (`NO_VERSION`: nothing says who answered).
    """

    live: Live
    window: Window
    against: Choice
    profile: Profile | None = None
    content: str = ""
    parts: tuple[Part, ...] = ()
    reference: tuple[Part, ...] = ()
    alone: bool = False
    before: Before = field(default_factory=dict)
    why: str = ""
    calm: Calm | None = None
    strays: Mapping[int, int] = field(default_factory=dict)


def look(spec: MonitorSpec, given: Given, kept: Kept) -> Verdict:
    """The verdict on one version; and what is beside it: requests that nobody judges, and columns that nobody has."""
    verdict = _looked(spec, given, kept)
    beside = tuple(_of_nobody(spec, given))
    why = (
        " ".join(filter(None, (verdict.why, *(one.says for one in beside if one.severity != "notice")))) if verdict.why else ""
    )
    return replace(verdict, found=(*verdict.found, *beside), why=why)


def _looked(spec: MonitorSpec, given: Given, kept: Kept) -> Verdict:
    version = given.live.version
    if given.why:
        return Verdict(version, why=given.why, calm=given.calm)
    if given.profile is None:
        return _unknown(spec, version)
    covered = {one.hour for one in given.parts}
    if len(covered) < LEAST_COVERED * given.window.hours:
        return Verdict(version, why=f"Only {len(covered)} of the {given.window.hours} hours of its window were counted.")
    current = hours.summed(_mine(given.parts, given, spec.arm), given.profile.layout)
    is_little = not current.rows if spec.kind == "data" else current.rows < spec.min_rows
    if (
        is_little
        and not given.strays
        and (told_early := early(version, given.live.since, given.window.start, current.rows)) is not None
    ):
        return told_early
    if spec.kind == "data" and not current.rows:
        return _empty(spec, given, current)
    if current.rows < spec.min_rows and spec.kind != "data":
        told = f"Version {version} was asked in {counted(current.rows, 'row', 'rows')}, fewer than {spec.min_rows:,}"
        return Verdict(version, current.rows, why=f"{told}: too few for a verdict.")
    try:
        reference = _reference(spec, given, given.profile)
    except Refusal as refusal:
        return Verdict(version, current.rows, why=str(refusal))
    return _told(spec, given, _judged(spec, given, given.profile, current, reference, kept), current)


def between(spec: MonitorSpec, given: Given, profile: Profile) -> tuple[Counts, Counts | None]:
    """The counts of a window and of its reference (None: the profile's own), for whoever draws them. Refusal as `look`."""
    return hours.summed(_mine(given.parts, given, spec.arm), profile.layout), _reference(spec, given, profile)


def _unknown(spec: MonitorSpec, version: int) -> Verdict:
    """No verdict on a version without a profile. Where other versions are judged, a finding says so: none passes by being
    unknown."""
    why = _no_profile(version)
    return Verdict(
        version, found=(Found(f"{spec.kind}.no-reference", severity_of("warning", spec), "", "", version, why),), why=why
    )


def _no_profile(version: int) -> str:
    return (
        f"Version {version} has no reference profile: make one of its training data (`countersign monitor profile`), or "
        "compare it with a period of the log."
    )


def _mine(found: Sequence[Part], given: Given, arm: str | None) -> tuple[Part, ...]:
    versions = {given.live.version, *([NO_VERSION] if given.alone else [])}
    return hours.chosen(found, versions, arm)


def _reference(spec: MonitorSpec, given: Given, profile: Profile) -> Counts | None:
    """None for the profile's own. Of a period or season the version's own requests; where it did not answer then, all."""
    if given.against.window is None:
        return None
    if given.against.concurrent:
        found = hours.chosen(given.reference, {given.against.version or NO_VERSION}, None)
    else:
        found = _mine(given.reference, given, None) or hours.chosen(given.reference, None, None)
    told = hours.by_hour(found, profile.layout)
    counted_too = {one.hour: told.get(one.hour) for one in given.reference}
    empty = hours.summed((), profile.layout)
    return counts_of(given.against, profile.layout, {hour: one or empty for hour, one in counted_too.items()})


def _judged(
    spec: MonitorSpec, given: Given, profile: Profile, current: Counts, reference: Counts | None, kept: Kept
) -> Judgement:
    against = given.against
    length = 0.0 if against.concurrent else float(given.window.hours)
    other = float(against.window.hours) if against.window is not None and not against.concurrent else None
    key = _key(spec, given, reference, length, other)
    before = kept.get(key) if key else {}
    thresholds = Thresholds(profile, reference, hours=length, reference_hours=other, kept=before)
    found = judged(
        profile,
        current,
        reference=reference,
        hours=length,
        reference_hours=other,
        rate=spec.rate,
        thresholds=thresholds,
        limits=_limits(spec),
        among=lambda one: is_among(spec, one.name),
    )
    if key and len(thresholds.resampled) > len(before):
        kept.put(key, thresholds.resampled)
    return found


def _key(spec: MonitorSpec, given: Given, reference: Counts | None, length: float, other: float | None) -> str:
    """Of what thresholds are made; "" where the reference is another one at every look."""
    if reference is None:
        of = given.content
    elif spec.reference.kind != "period":
        return ""
    else:
        of = digest_bytes(counts_bytes(reference))
    return digest({"of": of, "hours": length, "reference_hours": other})


def _limits(spec: MonitorSpec) -> Mapping[Key, Mapping[Score, float]]:
    return {key: dict(found) for name, found in spec.thresholds.items() for key in _keys(name)}


def _keys(name: str) -> tuple[Key, ...]:
    """A name of a feature; `prediction` is the prediction too."""
    return (Key("feature", name), *([Key("prediction", name)] if name == "prediction" else []))


def _empty(spec: MonitorSpec, given: Given, current: Counts) -> Verdict:
    assert given.profile is not None  # noqa: S101 - asked before
    found = [_found(spec, given, one) for one in gate.window_findings(given.profile, current)]
    return Verdict(given.live.version, 0, tuple(found))


def _told(spec: MonitorSpec, given: Given, judgement: Judgement, current: Counts) -> Verdict:
    unknown = tuple(_unknown_columns(spec, given, current))
    if not judgement.columns:
        says = "".join(f" {one.says}" for one in unknown)
        return Verdict(given.live.version, judgement.rows, unknown, why=f"No column is left to look at.{says}")
    wanted = [one for one in judgement.findings if _is_wanted(spec, one)]
    limits = {one.key: one for one in judgement.columns}
    found = tuple(_found(spec, given, one, limits.get(one.column) if one.column else None) for one in wanted)
    scores = tuple(_scored(spec, given, one, found, current) for one in judgement.columns)
    figures = {"columns": len(judgement.columns), "news": sum(one.is_news for one in judgement.columns)}
    return Verdict(given.live.version, judgement.rows, (*found, *unknown), scores, figures)


def _unknown_columns(spec: MonitorSpec, given: Given, current: Counts) -> Iterator[Found]:
    """Names that a monitor is told and that neither the reference nor the window has: it does less than somebody meant."""
    assert given.profile is not None  # noqa: S101 - asked before
    there = {one.key.name for one in given.profile.layout.features} | {key.name for key, _ in current.extra}
    names = sorted({*spec.features, *spec.without, *spec.thresholds, *spec.segments} - there - {PREDICTION.name})
    if names:
        told = ", ".join(quoted(one) for one in names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
        says = f"The monitor names {told}, which neither the reference of version {given.live.version} nor this window has."
        yield Found(f"{spec.kind}.unknown-column", severity_of("warning", spec), "", "", given.live.version, says)


def _of_nobody(spec: MonitorSpec, given: Given) -> Iterator[Found]:
    """Requests of the window that no look is about: whoever can have them pass as another version's hides what is in them."""
    rows, version = sum(one.rows for one in given.parts), given.live.version
    for kind, says, least, stray in _strays(given):
        share = sum(stray.values()) / max(rows, 1)
        if not stray:
            continue
        told = (
            f"{counted(sum(stray.values()), 'request', 'requests')} of {rows:,} ({percent(share)}) {says}: nobody judges them."
        )
        called = severity_of("warning" if share >= least else "notice", spec) if share >= least or spec.notices else "notice"
        facts = {"requests": sum(stray.values()), "of": rows, "versions": ", ".join(map(str, sorted(stray)[:3]))}
        yield Found(f"{spec.kind}.{kind}", called, "", "", version, told, facts)


def _strays(given: Given) -> Iterator[tuple[str, str, float, Mapping[int, int]]]:
    """Kind, words, from which share on it is a warning, and requests by version."""
    named = {version: rows for version, rows in given.strays.items() if version != NO_VERSION}
    told = ", ".join(map(str, sorted(named)[:3])) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    yield "unknown-version", f"name version {told}, which did not answer here", gate.SHARE, named
    unnamed = {version: rows for version, rows in given.strays.items() if version == NO_VERSION}
    yield "no-version", "do not say which of several versions answered", MUCH_UNNAMED, unnamed


def _is_wanted(spec: MonitorSpec, one: Finding) -> bool:
    """Drift speaks of distributions, data of everything before them, skew of both; a defect is told by whoever met it."""
    if spec.kind == "skew" or one.kind == "failed":
        return True
    return (one.kind in OF_DRIFT) == (spec.kind == "drift")


def _found(spec: MonitorSpec, given: Given, one: Finding, column: Judged | None = None) -> Found:
    severity = one.severity if one.severity == "notice" and not spec.notices else severity_of(one.severity, spec)
    name, role = (one.column.name, one.column.role) if one.column is not None else ("", "")
    says = one.words + (_pace(given, one, column) if column is not None and one.kind in _NAMES else "")
    kind = f"{spec.kind}.{_NAMES.get(one.kind, one.kind)}"
    return Found(kind, severity, name, role, given.live.version, says, one.facts)


def _pace(given: Given, one: Finding, column: Judged) -> str:
    """Whether it came suddenly, as far as windows before say so. Of numbers by how far they moved, where that is news: among
    few different values the largest difference of shares steps up with the first of them that moves."""
    told = [str(one.facts.get("score")), *(["wasserstein"] if not column.limits else [])]
    for score in reversed(told):
        name = _SCORES.get(score)
        value, limit = (column.scores.value(name), column.limit(name)) if name and column.scores is not None else (None, None)
        if value is not None and limit is not None and value > limit:
            earlier = given.before.get((column.key.role, column.key.name), ())
            before = [float(found[score]) for found in earlier if score in found]
            return _PACES.get(pace([*before, value], limit), "") if before else ""
    return ""


def _scored(spec: MonitorSpec, given: Given, one: Judged, found: Sequence[Found], current: Counts) -> Scored:
    assert given.profile is not None  # noqa: S101 - asked before
    layout = given.profile.layout
    column = current.of(layout, layout.places[one.key])
    mine = [each for each in found if (each.role, each.feature) == (one.key.role, one.key.name)]
    severity = worst([each.severity for each in mine])
    missing = column.missing / current.rows if current.rows else None
    told = Scored(given.live.version, one.key.role, one.key.name, column.values, missing, severity=severity)
    if one.scores is None or spec.kind == "data":
        why = "" if one.scores is not None else next((each.says for each in mine), _nothing(column.values))
        return replace(told, why=why)
    scores = {name: value for name in SCORES if (value := one.scores.value(name)) is not None}
    deciding = [each for each in _deciding(one, layout) if each in scores] or list(scores)
    name = max(deciding, key=lambda each: _times(scores[each], one.limit(each)))
    value, limit = scores[name], one.limit(name)
    kept = {str(each): found for each, found in scores.items()}
    return replace(told, score=name, value=value, threshold=limit, scores=kept, adjusted=one.adjusted)


def _deciding(one: Judged, layout: Layout) -> tuple[Score, ...]:
    """The scores by which it is judged."""
    cells = layout.features[layout.places[one.key]].cells
    return tuple(one.limits) or (judged_by(cells) if cells is not None else ())


def _times(value: float, limit: float | None) -> float:
    return value / max(limit, 1e-12) if limit is not None else value


def _nothing(values: int) -> str:
    return "No value of it was sent in this window." if not values else "The reference has no value of it."
