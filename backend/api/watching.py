"""`/endpoints/.../drift`, `predictions` and `quality`: what monitoring counted and judged, as the Monitoring page draws it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from backend.api.asking import Asks, EndpointName, Instant, Narrow, Reading, Shown
from backend.monitoring import queries
from backend.monitoring.views import (
    Choices,
    FeatureView,
    Heatmap,
    JointPoint,
    NullRate,
    PredictionView,
    QualityView,
    Reliability,
    Where,
)

router = APIRouter(prefix="/endpoints/{endpoint}", tags=["monitors"])
LOOKED_BACK = timedelta(days=14)


class OfTime(Narrow):
    """Which hours, and of which requests."""

    start: Annotated[Instant | None, Field(description="By default two weeks before `end`.")] = None
    end: Annotated[Instant | None, Field(description="By default now. At most 400 days in all.")] = None
    version: Annotated[int | None, Field(ge=1, le=2**31 - 1, description="By default every version.")] = None
    arm: Annotated[str | None, Field(max_length=128, description="By default every arm.")] = None

    def where(self, look: Reading, endpoint: str) -> Where:
        """The same, in the words of the reads."""
        end = self.end or look.now
        return Where(endpoint, self.start or end - LOOKED_BACK, end, self.version, self.arm)


class OfSegment(OfTime):
    """A segment as well."""

    segmentation: Annotated[str, Field(max_length=256, description="The feature by whose values segments are told apart.")] = ""
    segment: Annotated[str, Field(max_length=256, description="One of its segments.")] = ""

    def where(self, look: Reading, endpoint: str) -> Where:
        """The same, in the words of the reads."""
        return replace(super().where(look, endpoint), segmentation=self.segmentation, segment=self.segment)


class OfFeature(OfSegment):
    """One column as well."""

    name: Annotated[str, Field(min_length=1, max_length=256, description="The column's name.", examples=["hour"])]
    role: Annotated[Literal["feature", "prediction"], Field(description="What the column is.")] = "feature"


class JointDrift(Shown):
    """Rows as a whole, the oldest window first; nothing where no monitor looks at them."""

    windows: tuple[JointPoint, ...]


class MissingValues(Shown):
    """How many rows have no value, feature by feature: the largest change first."""

    features: tuple[NullRate, ...]


@router.get("/watched")
def show_watched(asks: Asks, endpoint: EndpointName) -> Choices:
    """What monitoring knows of an endpoint: versions, arms, segments, features, monitors, and from when to when."""
    with asks.reading("endpoint.read") as look:
        return queries.choices(look.session, endpoint)


@router.get("/drift")
def show_drift(asks: Asks, endpoint: EndpointName, narrow: Annotated[OfTime, Query()]) -> Heatmap:
    """Features by days: the worst score of each day, in times its threshold, and why where there is none."""
    with asks.reading("endpoint.read") as look:
        return queries.heatmap(look.session, narrow.where(look, endpoint))


@router.get("/drift/feature")
def show_feature_drift(asks: Asks, endpoint: EndpointName, narrow: Annotated[OfFeature, Query()]) -> FeatureView:
    """One feature, or the prediction: its distribution beside its reference's, and its scores window by window."""
    with asks.reading("endpoint.read") as look:
        return queries.feature(look.session, narrow.where(look, endpoint), narrow.name, narrow.role)


@router.get("/drift/joint")
def show_joint_drift(asks: Asks, endpoint: EndpointName, narrow: Annotated[OfTime, Query()]) -> JointDrift:
    """Rows as a whole, window by window: how well they are told from those of the reference, and by which columns."""
    with asks.reading("endpoint.read") as look:
        return JointDrift(windows=queries.joint(look.session, narrow.where(look, endpoint)))


@router.get("/missing-values")
def show_missing_values(asks: Asks, endpoint: EndpointName, narrow: Annotated[OfSegment, Query()]) -> MissingValues:
    """How many rows have no value of a feature, by hour or (above three days) by day."""
    with asks.reading("endpoint.read") as look:
        return MissingValues(features=queries.null_rates(look.session, narrow.where(look, endpoint)))


@router.get("/predictions")
def show_predictions(asks: Asks, endpoint: EndpointName, narrow: Annotated[OfSegment, Query()]) -> PredictionView:
    """What was predicted: the distribution beside the reference's, and mean and quantiles over time."""
    with asks.reading("endpoint.read") as look:
        return queries.predictions(look.session, narrow.where(look, endpoint))


@router.get("/quality")
def show_quality(asks: Asks, endpoint: EndpointName, narrow: Annotated[OfSegment, Query()]) -> QualityView:
    """How good predictions were as far as outcomes are known, with intervals; and estimates, labelled so."""
    with asks.reading("endpoint.read") as look:
        return queries.quality(look.session, narrow.where(look, endpoint))


@router.get("/reliability")
def show_reliability(asks: Asks, endpoint: EndpointName, narrow: Annotated[OfSegment, Query()]) -> Reliability:
    """Predicted against observed shares: the reliability curve, and the expected calibration error."""
    with asks.reading("endpoint.read") as look:
        return queries.reliability(look.session, narrow.where(look, endpoint))
