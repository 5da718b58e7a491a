"""Reads for the Monitoring page and `countersign monitor`. Every one takes a session that a door narrowed, and looks only.

| ask | answers | of |
|---|---|---|
| `choices(session, endpoint)` | `Choices` | versions, arms, segments, features and monitors to filter by |
| `monitors(session, endpoint="", *, now)` | `tuple[MonitorLine, ...]` | every monitor, or those of one endpoint |
| `monitor(session, endpoint, name, *, now)` | `MonitorView` | one of them, with its newest runs |
| `profiles(session, model)` | `tuple[ProfileLine, ...]` | the reference profiles of a model's versions |
| `heatmap(session, where)` | `Heatmap` | feature x day: the worst score, its severity, or why there is none |
| `feature(session, where, name, role="feature")` | `FeatureView` | one feature: both distributions, scores over time |
| `joint(session, where)` | `tuple[JointPoint, ...]` | rows as a whole, window by window, where a monitor looks at them |
| `null_rates(session, where)` | `tuple[NullRate, ...]` | rows without a value, by hour or (above three days) day |
| `predictions(session, where)` | `PredictionView` | what was predicted: distribution, and mean and quantiles over time |
| `reliability(session, where)` | `Reliability` | predicted against observed shares |
| `quality(session, where)` | `QualityView` | figures with intervals, over time, by segment; estimates and how they did |
| `traffic(session, where, *, now, interval)` | `Traffic` | latency and errors by arm, objectives, deployments |
| `budgets(session, endpoint, *, now)` | `SloStanding | None` | error budgets and burn rates (`metrics.queries.standing`) |

`Where` names the endpoint, a span of time, and, where one likes, a version, an arm and a segment. Findings are read by
`findings.queries.page(session, Filters(endpoint=...))`. NotFound for an endpoint or a monitor that is not there, or not seen;
Refusal `bad-span` for a span that is none, or longer than 400 days.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session

from backend.metrics import queries as metrics
from backend.metrics.queries import SloStanding
from backend.monitoring import feature_reads, joint_reads, line_reads, outcome_reads, traffic_reads
from backend.monitoring.views import (
    Choices,
    FeatureView,
    Heatmap,
    JointPoint,
    MonitorLine,
    MonitorView,
    NullRate,
    PredictionView,
    ProfileLine,
    QualityView,
    Reliability,
    Traffic,
    Where,
)


def choices(session: Session, endpoint: str) -> Choices:
    """What there is to filter by at an endpoint."""
    return line_reads.choices(session, endpoint)


def monitors(session: Session, endpoint: str = "", *, now: datetime) -> tuple[MonitorLine, ...]:
    """Every monitor of an endpoint, or of all that are seen: those that do not fare well first."""
    return line_reads.monitors(session, endpoint, now)


def monitor(session: Session, endpoint: str, name: str, *, now: datetime) -> MonitorView:
    """One monitor with its newest runs."""
    return line_reads.monitor(session, endpoint, name, now)


def profiles(session: Session, model: str) -> tuple[ProfileLine, ...]:
    """The reference profiles of a model's versions, the newest version first."""
    return line_reads.profiles(session, model)


def heatmap(session: Session, where: Where) -> Heatmap:
    """Features by days."""
    return feature_reads.heatmap(session, where)


def feature(session: Session, where: Where, name: str, role: str = "feature") -> FeatureView:
    """One feature between its reference and what was asked."""
    return feature_reads.feature(session, where, name, role)


def joint(session: Session, where: Where) -> tuple[JointPoint, ...]:
    """Rows as a whole, the oldest window first; nothing where no monitor looks at them."""
    return joint_reads.joint(session, where)


def null_rates(session: Session, where: Where) -> tuple[NullRate, ...]:
    """Rows without a value, feature by feature: those with the largest change first."""
    return feature_reads.null_rates(session, where)


def predictions(session: Session, where: Where) -> PredictionView:
    """What was predicted."""
    return feature_reads.predictions(session, where)


def reliability(session: Session, where: Where) -> Reliability:
    """Predicted against observed shares."""
    return outcome_reads.reliability(session, where)


def quality(session: Session, where: Where) -> QualityView:
    """How good predictions were, as far as outcomes are known."""
    return outcome_reads.view(session, where)


def traffic(session: Session, where: Where, *, now: datetime, interval: timedelta) -> Traffic:
    """Latency and errors by arm against the objectives. `interval`: between two looks at a source."""
    return traffic_reads.traffic(session, where, now, interval)


def budgets(session: Session, endpoint: str, *, now: datetime) -> SloStanding | None:
    """What is left of error budgets, and how fast they burn; None where nothing is promised."""
    return metrics.standing(session, endpoint, now=now)
