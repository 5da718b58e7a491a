"""Reads for the Monitoring page and `countersign monitor`. Every one takes a session that a door narrowed, and looks only.

| ask | answers | of |
|---|---|---|
| `choices(session, endpoint)` | `Choices` | versions, arms, segments, features and monitors to filter by |
| `monitors(session, endpoint="", *, now)` | `tuple[MonitorLine, ...]` | every monitor of an endpoint, or of all that are seen, as it fares |
| `monitor(session, endpoint, name, *, now)` | `MonitorView` | one of them, with its newest runs |
| `profiles(session, model)` | `tuple[ProfileLine, ...]` | the reference profiles of a model's versions |
| `heatmap(session, where)` | `Heatmap` | feature x day: the worst score against its threshold, its severity, or why there is none |
| `feature(session, where, name, role="feature")` | `FeatureView` | one feature: reference and current distribution, scores over time |
| `null_rates(session, where)` | `tuple[NullRate, ...]` | rows without a value, by the hour, by the day for spans above three days |
| `predictions(session, where)` | `PredictionView` | what was predicted: distribution, and mean and quantiles over time |
| `reliability(session, where)` | `Reliability` | predicted against observed shares |
| `quality(session, where)` | `QualityView` | figures with intervals, over time, by segment; estimates and how they did |
| `traffic(session, where, *, now, interval)` | `Traffic` | latency and errors by arm against the objectives, deployments marked |
| `budgets(session, endpoint, *, now)` | `SloStanding | None` | error budgets and burn rates (`metrics.queries.standing`) |

`Where` names the endpoint, a span of time, and, where one likes, a version, an arm and a segment. Findings are read by
`findings.queries.page(session, Filters(endpoint=...))`. NotFound for an endpoint or a monitor that is not there, or not seen;
Refusal `bad-span` for a span that is none, or longer than 400 days.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session

from backend.metrics.queries import SloStanding
from backend.monitoring.views import (
    Choices,
    FeatureView,
    Heatmap,
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
    raise NotImplementedError


def monitors(session: Session, endpoint: str = "", *, now: datetime) -> tuple[MonitorLine, ...]:
    """Every monitor of an endpoint, or of all that are seen: those that do not fare well first."""
    raise NotImplementedError


def monitor(session: Session, endpoint: str, name: str, *, now: datetime) -> MonitorView:
    """One monitor with its newest runs."""
    raise NotImplementedError


def profiles(session: Session, model: str) -> tuple[ProfileLine, ...]:
    """The reference profiles of a model's versions, the newest version first."""
    raise NotImplementedError


def heatmap(session: Session, where: Where) -> Heatmap:
    """Features by days."""
    raise NotImplementedError


def feature(session: Session, where: Where, name: str, role: str = "feature") -> FeatureView:
    """One feature between its reference and what was asked."""
    raise NotImplementedError


def null_rates(session: Session, where: Where) -> tuple[NullRate, ...]:
    """Rows without a value, feature by feature: those with the largest change first."""
    raise NotImplementedError


def predictions(session: Session, where: Where) -> PredictionView:
    """What was predicted."""
    raise NotImplementedError


def reliability(session: Session, where: Where) -> Reliability:
    """Predicted against observed shares."""
    raise NotImplementedError


def quality(session: Session, where: Where) -> QualityView:
    """How good predictions were, as far as outcomes are known."""
    raise NotImplementedError


def traffic(session: Session, where: Where, *, now: datetime, interval: timedelta) -> Traffic:
    """Latency and errors by arm against the objectives. `interval`: between two looks at a source."""
    raise NotImplementedError


def budgets(session: Session, endpoint: str, *, now: datetime) -> SloStanding | None:
    """What is left of error budgets, and how fast they burn; None where nothing is promised."""
    raise NotImplementedError
