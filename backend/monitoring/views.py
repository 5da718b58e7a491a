"""What the reads of `queries.py` answer with: values without a database, each shaped for one part of the Monitoring page.

Whatever is not known is None, with words beside it that say why; nothing that is missing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from backend.drift.bars import Bar
from backend.metrics.faring import SourceLine
from backend.metrics.queries import Chart
from backend.metrics.slo import Objective
from backend.monitoring.rules import Word


@dataclass(frozen=True)
class Where:
    """What a page is narrowed to.

    Args:
        start, end: hours from `start` on and before `end`.
        version, arm: None for all of them.
        segmentation, segment: a feature and one of its segments. Quality, and counts of features, are narrowed by those that a
            monitor names; an answer that is not says so in `note`.
    """

    endpoint: str
    start: datetime
    end: datetime
    version: int | None = None
    arm: str | None = None
    segmentation: str = ""
    segment: str = ""


@dataclass(frozen=True)
class Choices:
    """What there is to choose from at an endpoint. `segments`: feature -> its segments. `first`, `last`: hours with counts."""

    versions: tuple[int, ...]
    arms: tuple[str, ...]
    segments: Mapping[str, tuple[str, ...]]
    features: tuple[str, ...]
    monitors: tuple[str, ...]
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class MonitorLine:
    """One monitor in a list.

    Args:
        watches: what it does, in words.
        word, says, since: how it fares (`rules.Word`), why, and from which window on.
        last_slot: the end of the newest window that it judged; `next_due`: when it judges the next one, None while paused.
        findings: how many of its findings are not over, and `severity`: the worst of them, "" for none.
        owner: the team that owns the endpoint, or its model; "" where nobody does.
    """

    id: str
    endpoint: str
    environment: str
    name: str
    kind: str
    watches: str
    every_hours: int
    window_hours: int
    word: Word
    says: str
    since: datetime | None
    last_slot: datetime | None
    next_due: datetime | None
    findings: int
    severity: str
    owner: str
    paused: bool
    revision: int


@dataclass(frozen=True)
class FoundLine:
    """One thing that a run found: notices, which alarm nobody, too. `feature` is "" for the whole window."""

    kind: str
    severity: str
    feature: str
    version: int | None
    says: str


@dataclass(frozen=True)
class RunLine:
    """One run. `state`: running, ok, alarm, no_data or failed; `why` says what the last two are about."""

    slot: datetime
    window_start: datetime
    state: str
    why: str
    rows: int
    started_at: datetime
    ended_at: datetime | None
    found: tuple[FoundLine, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MonitorView:
    """One monitor whole, with its newest runs. `spec` is as files declare it."""

    line: MonitorLine
    spec: Mapping[str, Any]
    paused_reason: str
    set_by: str
    set_at: datetime
    runs: tuple[RunLine, ...]


@dataclass(frozen=True)
class ProfileLine:
    """A version's reference profile. `timed`: whether it says how much its days differ (docs/drift.md)."""

    model: str
    version: int
    digest: str
    rows: int
    columns: int
    timed: bool
    source: str
    set_by: str
    set_at: datetime
    revision: int


@dataclass(frozen=True)
class HeatCell:
    """One feature on one day: the worst of the windows that ended on it.

    Args:
        score, value, threshold: the score that stood furthest above its threshold; None where there was none.
        times: value over threshold: 1 is as far as usual; what a colour is made of.
        severity: of the worst that was found of it that day: "", notice, info, warning or critical.
        why: why there is no value: no monitor ran, nothing was logged, the column was not sent ...
        version, monitor, slot: whose score it is.
    """

    day: date
    score: str
    value: float | None
    threshold: float | None
    times: float | None
    severity: str
    why: str
    version: int | None
    monitor: str
    slot: datetime | None


@dataclass(frozen=True)
class HeatRow:
    """One feature, or the prediction, over all days."""

    feature: str
    role: str
    cells: tuple[HeatCell, ...]


@dataclass(frozen=True)
class Heatmap:
    """Features by days, the ones that drift most first; the prediction above all. `note` is "" where nothing is to be said."""

    days: tuple[date, ...]
    rows: tuple[HeatRow, ...]
    note: str = ""


@dataclass(frozen=True)
class ScorePoint:
    """One column's scores in one window. `scores`: by name; `score`, `value`, `threshold`: of the one that counts."""

    slot: datetime
    version: int
    arm: str
    monitor: str
    score: str
    value: float | None
    threshold: float | None
    scores: Mapping[str, float]
    missing: float | None
    rows: int
    severity: str
    why: str


@dataclass(frozen=True)
class FeatureView:
    """One feature (or the prediction) between a reference and what was asked.

    Args:
        kind: number, text, flag or other.
        bars: both distributions side by side (docs/drift.md); empty where `why` says why.
        reference: in words, what the bars are compared with; `reference_rows`, `rows`: how many each side has.
        over_time: its scores, window by window; `pace`: sudden, gradual, passing or none.
        note: what is to be known besides.
    """

    feature: str
    role: str
    kind: str
    version: int | None
    bars: tuple[Bar, ...]
    reference: str
    reference_rows: int
    rows: int
    over_time: tuple[ScorePoint, ...]
    pace: str
    why: str
    note: str = ""


@dataclass(frozen=True)
class JointPoint:
    """Rows as a whole in one window, as a monitor told them from those of its reference.

    Args:
        auc, low, high: how well they can be told apart, with its 95 % interval; 0.5 is chance. None where `why` says why.
        threshold: news if `low` lies above; `usual`: how well windows of the reference are told apart, where that was asked.
        columns: those that tell them apart most, with the AUC that is lost without each.
        compared_with, label: in words, with what, and what this is.
    """

    slot: datetime
    version: int
    monitor: str
    auc: float | None
    low: float | None
    high: float | None
    threshold: float | None
    usual: float | None
    rows: int
    reference_rows: int
    columns: tuple[tuple[str, float], ...]
    compared_with: str
    label: str
    severity: str
    why: str


@dataclass(frozen=True)
class SharePoint:
    """A share of the rows of one span that begins at `at`. None where there were no rows."""

    at: datetime
    share: float | None
    rows: int


@dataclass(frozen=True)
class NullRate:
    """How many rows have no value of a feature: in the reference (None without one), and span by span."""

    feature: str
    role: str
    reference: float | None
    points: tuple[SharePoint, ...]


@dataclass(frozen=True)
class PredictionPoint:
    """Predictions of one span that begins at `at`: None for what there is none of. Quantiles lie within a cell."""

    at: datetime
    rows: int
    mean: float | None
    low: float | None
    middle: float | None
    high: float | None


@dataclass(frozen=True)
class PredictionView:
    """What was predicted: the distribution beside the reference's, and span by span mean, 5 %, 50 % and 95 % of numbers."""

    view: FeatureView | None
    points: tuple[PredictionPoint, ...]
    why: str = ""


@dataclass(frozen=True)
class FigureLine:
    """One figure of quality. `value` is None where `words` say why there is none; `label` is "" once it is settled."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    label: str
    words: str = ""
    estimated: bool = False


@dataclass(frozen=True)
class FigurePoint:
    """A figure over one span that begins at `at`."""

    at: datetime
    figure: FigureLine


@dataclass(frozen=True)
class CurvePoint:
    """One point of the reliability curve: mean score and observed share (with its 95 % interval) of a band of scores."""

    low: float
    high: float
    predicted: float
    observed: float
    observed_low: float
    observed_high: float
    n: int
    missing: int


@dataclass(frozen=True)
class Reliability:
    """The reliability curve with its error. `by_chance`: what perfectly calibrated scores show. `why`: why it is empty."""

    curve: tuple[CurvePoint, ...]
    error: FigureLine | None
    by_chance: float | None
    why: str = ""


@dataclass(frozen=True)
class SegmentLine:
    """One segment against all other requests; `worse` is beyond chance."""

    segmentation: str
    segment: str
    loss: FigureLine
    more: float
    worse: bool


@dataclass(frozen=True)
class EstimateRecord:
    """How one figure's earlier estimates did, once the truth was in. `words` say whether to rely on the next one."""

    name: str
    checks: int
    inside: int
    mean_error: float | None
    words: str


@dataclass(frozen=True)
class QualityView:
    """How good predictions were.

    Args:
        task: in words; "" where no monitor says what is predicted, and then `why`.
        requests: that were answered; `known`: of these, how many outcomes are known.
        said: what to know before reading a figure, as sentences.
        figures: over the whole span; `over_time`: figure -> day by day.
        estimates: of the newest window that was estimated, labelled so, with `assumptions`; `estimated`: whose requests they
            and `record` are about, in words.
    """

    task: str
    requests: int
    known: int
    said: tuple[str, ...]
    figures: tuple[FigureLine, ...]
    over_time: Mapping[str, tuple[FigurePoint, ...]]
    segments: tuple[SegmentLine, ...]
    estimates: tuple[FigureLine, ...]
    assumptions: tuple[str, ...]
    record: tuple[EstimateRecord, ...]
    why: str = ""
    estimated: str = ""


@dataclass(frozen=True)
class Deployment:
    """A generation that was admitted: a mark on an axis of time. `versions`: arm -> version."""

    at: datetime
    generation: int
    reason: str
    words: str
    versions: Mapping[str, int]


@dataclass(frozen=True)
class Traffic:
    """Latency and errors by arm against what was promised, with deployments marked.

    `chart` is that of `metrics.queries.chart`, narrowed to the version and arm; objectives are those in force.
    """

    chart: Chart
    objectives: tuple[Objective, ...]
    deployments: tuple[Deployment, ...]
    sources: tuple[SourceLine, ...]
    note: str = ""
