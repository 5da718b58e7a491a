"""Predictions: how they lie and move, how good they were as outcomes come, and estimates before that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from app import wiring
from app.kit import charts, components, export, plots, times
from app.kit.charts import Line
from app.kit.palette import Palette, current
from app.kit.plain import escape, plural
from app.kit.plots import Dot
from app.kit.states import tag
from app.monitor_pages import drift_part, found_here
from app.monitor_pages.monitor_filters import segment_words
from app.wiring import Reading
from backend.monitoring import queries
from backend.monitoring.views import FigureLine, FigurePoint, PredictionPoint, QualityView, Reliability, Where

_CALLED = {
    "auc": "AUC",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "brier": "Brier score",
    "calibration_error": "expected calibration error",
}
_HEAD = ("Figure", "Value", "95 % interval", "From", "Outcomes missing", "Note")


def part(where: Where) -> None:
    """The whole part."""
    with wiring.reading() as look:
        predicted(look, where)
        found = queries.quality(look.session, where)
        found_here.draw(look, where.endpoint, "quality", "estimate")
        left, right = components.pair()
        with left:
            reliability(queries.reliability(look.session, where))
        with right:
            figures(found, where)
        if not found.why:
            over_time(found, where)
            segments(found)
        estimates(found)


# -- what was predicted


def predicted(look: Reading, where: Where) -> None:
    """The distribution beside the reference's, its scores, and the middle over time."""
    found = queries.predictions(look.session, where)
    with components.card("What was predicted", "share of the predictions in percent"):
        found_here.draw(look, where.endpoint, "drift.prediction")
        if found.view is None:
            components.empty("No prediction was counted", f"{escape(found.why)} {_COUNTS}", icon="bar_chart_off")
            return
        drift_part.beside(found.view, where, key="prediction")
        series = prediction_lines(current(), found.points)
        if series:
            _muted("Mean and median over time, and the values below which 5 % and 95 % of the predictions lie.")
            span = times.measured(where.start, where.end, [one.at for one in found.points])
            figure = charts.lines(current(), series, height=190, span=span)
            charts.show(figure, key="prediction-time", alt=prediction_words(found.points))


_COUNTS = "Counts take a monitor of drift, a reference profile of the version, and predictions in the inference log."


def prediction_lines(palette: Palette, points: Sequence[PredictionPoint]) -> list[Line]:
    """Mean and quantiles of numbers; none of texts."""
    at = [one.at for one in points]
    wanted = (
        ("95 %", [one.high for one in points], palette.muted, "dot"),
        ("mean", [one.mean for one in points], palette.accent, "solid"),
        ("median", [one.middle for one in points], palette.champion, "dash"),
        ("5 %", [one.low for one in points], palette.muted, "dot"),
    )
    return [Line(name, at, values, colour, dash) for name, values, colour, dash in wanted if any(v is not None for v in values)]


def prediction_words(points: Sequence[PredictionPoint]) -> str:
    """Predictions over time, for a screen reader."""
    told = [f"{times.short(one.at)} mean {one.mean:.3g}" for one in points if one.mean is not None][-6:]
    return f"Predictions over time; the newest: {'; '.join(told)}"


# -- how good


def reliability(found: Reliability) -> None:
    """Predicted against observed shares."""
    with components.card("Reliability", "observed share against predicted probability", border=False):
        if not found.curve:
            components.empty("No reliability curve", escape(found.why), icon="ssid_chart")
            return
        dots = [
            Dot(one.predicted, one.observed, one.observed_low, one.observed_high,
                f"predicted {one.predicted:.3g}, observed {one.observed:.3g} of {one.n:,}; {one.missing:,} not known yet")
            for one in found.curve
        ]  # fmt: skip
        figure = plots.curve(current(), dots, x="predicted", y="observed", ideal="as predicted", height=340)
        charts.show(figure, key="reliability", alt=reliability_words(found))
        if found.error is not None and found.error.value is not None:
            chance = f"; calibrated scores show {found.by_chance:.3g} by chance" if found.by_chance is not None else ""
            _muted(f"Expected calibration error {escape(_shown(found.error))}{chance}.")


def reliability_words(found: Reliability) -> str:
    """The curve, for a screen reader."""
    return "Reliability. " + "; ".join(f"predicted {one.predicted:.3g}: observed {one.observed:.3g}" for one in found.curve)


def figures(found: QualityView, where: Where) -> None:
    """The figures of the whole span, with how many outcomes are still missing."""
    with components.card("How good they were", escape(found.task, 100), border=False):
        if found.why:
            components.empty("Quality is not known", f"{escape(found.why)} {_QUALITY_NEXT}", icon="rule")
            return
        share = f" ({100 * found.known / found.requests:.3g} %)" if found.requests else ""
        _muted(f"{plural(found.requests, 'request')}, {plural(found.known, 'outcome')} known{share}.")
        for one in found.said:
            _muted(escape(one))
        if found.figures:
            rows = [_row(one) for one in found.figures]
            components.table(rows, _HEAD, alt="Figures of quality", tight=(2,), right=(1, 3, 4))
        if where.segment:
            _muted(f"Only requests with {escape(segment_words(where.segmentation, where.segment), 120)}.")


_QUALITY_NEXT = (
    "Outcomes come by `POST /api/v1/inference-log`; a monitor of quality says what they are called: "
    "`countersign monitor set ENDPOINT quality --kind quality`."
)


def _row(one: FigureLine) -> tuple[str, ...]:
    if one.value is None:
        return figure_name(one.name), "–", "–", f"{one.n:,}", f"{one.missing:,}", escape(one.words, 200)
    interval = f"{one.low:.4g} to {one.high:.4g}" if one.low is not None and one.high is not None else "–"
    label = tag("Estimate", "query_stats", "blue") if one.estimated else escape(one.label)
    return figure_name(one.name), f"{one.value:.4g}", interval, f"{one.n:,}", f"{one.missing:,}", label


def figure_name(name: str) -> str:
    """A figure as people call it, as Markdown."""
    return escape(_CALLED.get(name, name.replace("_", " ")))


def _shown(one: FigureLine) -> str:
    interval = f" ({one.low:.3g} to {one.high:.3g})" if one.low is not None and one.high is not None else ""
    return f"{one.value:.3g}{interval}"


def over_time(found: QualityView, where: Where) -> None:
    """One figure day by day with its interval."""
    with components.card("Day by day", "with its 95 % interval; whole days of UTC with requests, today so far") as head:
        if not found.over_time:
            components.empty("No day has a figure yet", "They come with the outcomes.", icon="show_chart")
            return
        with head:
            export.download("Export CSV", f"quality-{where.endpoint}.csv", lambda: _csv(found), key="export-quality")
            chosen = st.selectbox(
                "Figure", list(found.over_time), key="figure", bind="query-params", label_visibility="collapsed", width=180,
            )  # fmt: skip
        name = chosen if chosen in found.over_time else next(iter(found.over_time))
        points = found.over_time[name]
        span = times.measured(where.start, where.end, [one.at for one in points])
        figure = charts.lines(current(), figure_lines(current(), name, points), span=span)
        charts.show(figure, key="figure-time", alt=figure_words(name, points))
        why = next((one.figure.words for one in reversed(points) if one.figure.value is None), "")
        if why:
            _muted(f"Of days without one: {escape(why, 200)}")


def _csv(found: QualityView) -> bytes:
    """Every figure day by day, and of the whole span."""
    header = ("Figure", "From", "Value", "Low", "High", "Outcomes", "Outcomes missing", "Words")
    of_days = [(point.at, point.figure) for points in found.over_time.values() for point in points]
    whole = [(None, one) for one in found.figures]
    rows = [
        (one.name, at, one.value, one.low, one.high, one.n, one.missing, one.words or one.label)
        for at, one in [*of_days, *whole]
    ]
    return export.to_csv(header, rows)


def figure_lines(palette: Palette, name: str, points: Sequence[FigurePoint]) -> list[Line]:
    """The figure and the ends of its interval."""
    at = [one.at for one in points]
    wanted: tuple[tuple[str, list[float | None], str, str], ...] = (
        ("up to", [one.figure.high for one in points], palette.muted, "dot"),
        (name.replace("_", " "), [one.figure.value for one in points], palette.accent, "solid"),
        ("from", [one.figure.low for one in points], palette.muted, "dot"),
    )
    return [Line(label, at, values, colour, dash) for label, values, colour, dash in wanted]


def figure_words(name: str, points: Sequence[FigurePoint]) -> str:
    """A figure over time, for a screen reader."""
    told = [f"{_day(one.at)} {one.figure.value:.3g}" for one in points if one.figure.value is not None][-8:]
    return f"{name.replace('_', ' ')} day by day: {'; '.join(told)}"


def _day(at: datetime) -> str:
    return f"{at:%-d %b}"


def segments(found: QualityView) -> None:
    """Segments against all other requests, where errors are told apart by them."""
    if not found.segments:
        return
    with components.card("By segment", "loss of each segment against all other requests"):
        rows = [
            (
                escape(segment_words(one.segmentation, one.segment), 120),
                f"{one.loss.value:.4g}" if one.loss.value is not None else "–",
                f"{one.more:+.3g}",
                f"{one.loss.n:,}",
                tag("Worse, beyond chance", "warning", "orange") if one.worse else escape(one.loss.words, 120) or "as others",
            )
            for one in found.segments
        ]
        head = ("Segment", "Loss", "More than others", "Outcomes", "Stands out")
        components.table(rows, head, alt="Loss by segment", right=(1, 2, 3))


# -- estimates


def estimates(found: QualityView) -> None:
    """What is estimated before outcomes are known, with its assumptions, and how earlier estimates did."""
    if not found.estimates and not found.record:
        return
    with components.card("Estimated", "before outcomes are known; of the newest window that was estimated"):
        if found.estimated:
            _muted(escape(found.estimated, 300))
        if found.estimates:
            components.table([_row(one) for one in found.estimates], _HEAD, alt="Estimated figures", right=(1, 3, 4))
        for one in found.assumptions:
            _muted(f"Assumed: {escape(one)}")
        if found.record:
            rows = [
                (figure_name(one.name), f"{one.inside:,} of {one.checks:,}",
                 f"{one.mean_error:+.3g}" if one.mean_error is not None else "–", escape(one.words, 200))
                for one in found.record
            ]  # fmt: skip
            head = ("Figure", "Truth was inside", "Mean error", "Says")
            components.table(rows, head, alt="How earlier estimates did", right=(1, 2))


def _muted(text: str) -> None:
    st.markdown(f":small[:gray[{text}]]")
