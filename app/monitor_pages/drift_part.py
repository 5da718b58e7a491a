"""Drift: features by days, one feature between its reference and what was asked, and values that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app import wiring
from app.kit import charts, components, export, plots, states, times
from app.kit.charts import Line
from app.kit.palette import Palette, current
from app.kit.plain import escape, plural
from app.kit.plots import Cell, Pair
from app.kit.states import badge
from app.monitor_pages import found_here
from app.monitor_pages.monitor_filters import Place
from app.wiring import Reading
from backend.drift.bars import Bar
from backend.monitoring import queries
from backend.monitoring.views import FeatureView, HeatCell, Heatmap, HeatRow, JointPoint, NullRate, ScorePoint, Where

MOST_ROWS, MOST_REASONS, MOST_RATES = 30, 4, 15
FULLEST = 2.0
"""Times its threshold at which a cell has the fullest colour: 1, where it is news, lies in the middle."""
WORST = "The one that drifts most"
_MARKS = {"critical": "!!", "warning": "!", "info": "i", "notice": "·"}
_SCORES = {
    "psi": "PSI",
    "jensen_shannon": "Jensen-Shannon",
    "wasserstein": "Wasserstein",
    "kolmogorov_smirnov": "Kolmogorov-Smirnov",
    "chi_squared": "chi-squared",
}
_PACES = {
    "sudden": "It came suddenly.",
    "gradual": "It came gradually.",
    "passing": "It came and went.",
}


def part(where: Where, place: Place) -> None:
    """The whole part."""
    with wiring.reading() as look:
        found = queries.heatmap(look.session, where)
        heatmap(found, where, place)
        one_feature(look, where, place, found)
        as_a_whole(look, where)
        missing_values(look, where)


# -- the heat map


def heatmap(found: Heatmap, where: Where, place: Place) -> None:
    """Features by days: the worst score of each, how bad that is, and why there is none."""
    note = "each day's worst score, in times its threshold"
    with components.card("Feature drift", note) as head:
        if not found.rows:
            _nothing_judged(found, place)
            return
        with head:
            export.download("Export CSV", f"drift-{where.endpoint}.csv", lambda: _csv(found), key="export-drift")
        if found.note:
            _muted(escape(found.note))
        first = begins(found)
        shown = found.rows[:MOST_ROWS]
        days = [f"{day:%-d %b}" for day in found.days[first:]]
        rows = [(_row_name(one), [_cell(each) for each in one.cells[first:]]) for one in shown]
        figure = plots.heat(current(), days, rows, most=FULLEST, unit="times")
        charts.show(figure, key="heatmap", alt=heat_words(found))
        _muted("From 1 on it is news: !! critical, ! a warning, i for information, · for reading; – no score. Days are of UTC.")
        if first:
            _muted(f"No monitor looked at the {plural(first, 'day')} before {found.days[first]:%-d %b}.")
        if len(found.rows) > MOST_ROWS:
            _muted(f"The {MOST_ROWS} that drift most of {plural(len(found.rows), 'column')}; the export has all of them.")
        for why, count in gaps(found, first).most_common(MOST_REASONS):
            _muted(f"No score in {plural(count, 'cell')}: {escape(why, 200)}")


def _nothing_judged(found: Heatmap, place: Place) -> None:
    if place.choices.monitors:
        then = "Choose a longer period or an earlier end; Monitors says how each fares and when it looks next."
    else:
        then = f"No monitor is set here: {escape(f'countersign monitor set {place.name} drift --kind drift')}."
    components.empty("No score of this span", f"{escape(found.note)} {then}", icon="grid_off")


def begins(found: Heatmap) -> int:
    """The first day, by its place, of which there is a score or something was found; days before hold nothing to see."""
    told = (any(row.cells[place].value is not None or row.cells[place].severity for row in found.rows)
            for place in range(len(found.days)))  # fmt: skip
    return next((place for place, is_told in enumerate(told) if is_told), 0)


def gaps(found: Heatmap, first: int = 0) -> Counter[str]:
    """Why there is no score -> in how many cells, from that day on."""
    return Counter(cell.why for row in found.rows for cell in row.cells[first:] if cell.value is None and cell.why)


def heat_words(found: Heatmap) -> str:
    """What the picture shows, for a screen reader."""
    told = []
    for row in found.rows[:10]:
        worst = max((cell for cell in row.cells if cell.times is not None), key=lambda cell: cell.times or 0.0, default=None)
        if worst is not None:
            told.append(f"{_row_name(row)} at most {worst.times:.2g} times its threshold on {worst.day:%-d %b}")
    return f"Drift of {plural(len(found.rows), 'column')} over {plural(len(found.days), 'day')}. " + "; ".join(told)


def _row_name(row: HeatRow) -> str:
    return row.feature if row.role == "feature" else "prediction"


def _cell(one: HeatCell) -> Cell:
    day = f"{one.day:%-d %b %Y}"
    if one.value is None:
        return Cell(None, _MARKS.get(one.severity, "–"), f"{day}: no score\n{one.why}{_called(one.severity)}")
    against = f", threshold {one.threshold:.3g}" if one.threshold is not None else ""
    score = f"{day}: {score_name(one.score)} {one.value:.3g}{against}{_called(one.severity)}"
    whose = f"version {one.version}, monitor {one.monitor}"
    ended = f", window to {times.short(one.slot)} UTC" if one.slot is not None else ""
    return Cell(one.times, _MARKS.get(one.severity, ""), f"{score}\n{whose}{ended}")


def _called(severity: str) -> str:
    if not severity:
        return ""
    word = "for reading" if severity == "notice" else states.look("severity", severity).word.lower()
    return f" ({word})"


def score_name(name: str) -> str:
    """A score as people call it."""
    return _SCORES.get(name, name.replace("_", " "))


def _csv(found: Heatmap) -> bytes:
    header = (
        "Column", "Role", "Day", "Score", "Value", "Threshold", "Times", "Severity", "Why none", "Version", "Monitor", "Slot",
    )  # fmt: skip
    rows = [
        (row.feature, row.role, f"{one.day:%Y-%m-%d}", one.score, one.value, one.threshold, one.times, one.severity, one.why,
         one.version, one.monitor, one.slot)
        for row in found.rows
        for one in row.cells
    ]  # fmt: skip
    return export.to_csv(header, rows)


# -- one feature


def one_feature(look: Reading, where: Where, place: Place, found: Heatmap) -> None:
    """Both distributions of a feature, and its scores over time."""
    drifting = [row.feature for row in found.rows if row.role == "feature"]
    names = sorted({*drifting, *place.choices.features})
    with components.card("One feature", "shares in percent, scores in times their threshold") as head:
        if not names:
            components.empty(
                "No feature is known here",
                "A version's reference profile says which there are: `countersign monitor profile MODEL VERSION FILE`.",
                icon="data_object",
            )
            return
        with head:
            chosen = st.selectbox(
                "Feature", (WORST, *names), key="feature", bind="query-params", accept_new_options=True,
                label_visibility="collapsed", width=200,
            )  # fmt: skip
        name = (drifting or names)[0] if not chosen or chosen == WORST else chosen
        found_here.draw(look, place.name, "drift", "data", "skew", feature=name)
        beside(queries.feature(look.session, where, name), where, key="feature")


def beside(view: FeatureView, where: Where, *, key: str) -> None:
    """One column: what it was and what it is, and its scores. Also of the prediction."""
    said = [f"**{escape(view.feature, 80)}**"]
    if view.version is not None:
        said.append(f"version {view.version}")
    if view.reference:
        said.append(f"{view.rows:,} values against {view.reference_rows:,} of {escape(view.reference)}")
    newest = next((one for one in reversed(view.over_time) if one.severity), None)
    mark = f" {badge('severity', newest.severity)}" if newest is not None and newest.severity != "notice" else ""
    st.markdown(f":small[{' · '.join(said)}]{mark}")
    for one in (_PACES.get(view.pace, ""), view.note):
        if one:
            _muted(escape(one))
    left, right = st.columns(2)
    with left:
        if view.bars:
            pairs = [Pair(one.label, one.reference, one.current, _tick(one)) for one in view.bars]
            figure = plots.sides(current(), pairs, names=("reference", "this span"))
            charts.show(figure, key=f"{key}-bars", alt=bar_words(view))
        else:
            components.empty("No two distributions to compare", escape(view.why), icon="bar_chart_off")
    with right:
        series = score_lines(current(), view.over_time)
        if series:
            figure = charts.lines(
                current(), series, height=220, limits=[(1.0, "threshold")],
                span=times.measured(where.start, where.end, [at for one in series for at in one.at]),
            )  # fmt: skip
            charts.show(figure, key=f"{key}-scores", alt=score_words(view.over_time))
        else:
            why = next((one.why for one in reversed(view.over_time) if one.why), "No monitor has judged it in this span.")
            components.empty("No score over time", escape(why), icon="show_chart")


def _tick(one: Bar) -> str:
    """What stands below a bar: of numbers where it begins, of texts their own name."""
    ends = [end for end in (one.low, one.high) if end is not None]
    return f"{ends[0]:.3g}" if ends else ""


def bar_words(view: FeatureView) -> str:
    """The distributions, for a screen reader: where both differ most."""
    most = sorted(view.bars, key=lambda one: -abs(one.current - one.reference))[:5]
    told = [f"{one.label}: {100 * one.reference:.3g} % before, {100 * one.current:.3g} % now" for one in most]
    return f"Distributions of {view.feature}; they differ most at {'; '.join(told)}"


def score_lines(palette: Palette, points: Sequence[ScorePoint]) -> list[Line]:
    """A line for each version and monitor: the score that decides in each window, in times its threshold."""
    found: dict[tuple[int, str], list[ScorePoint]] = {}
    for one in points:
        if one.score:
            found.setdefault((one.version, one.monitor), []).append(one)
    lines = []
    for number, ((version, monitor), mine) in enumerate(found.items()):
        name = f"v{version} {monitor}"
        colour = palette.accent if number == 0 else palette.arm("challenger", number - 1)
        lines.append(Line(name, [one.slot for one in mine], [_times(one) for one in mine], colour))
    return lines


def _times(one: ScorePoint) -> float | None:
    return one.value / one.threshold if one.value is not None and one.threshold else None


def score_words(points: Sequence[ScorePoint]) -> str:
    """Scores over time, for a screen reader."""
    told = [one for one in points if one.value is not None][-6:]
    said = [f"{times.short(one.slot)} {score_name(one.score)} {one.value:.3g}" for one in told]
    return f"Scores over time; the newest: {'; '.join(said)}"


# -- rows as a whole


def as_a_whole(look: Reading, where: Where) -> None:
    """How well each window's rows can be told from its reference's; nothing where no monitor looks at them."""
    points = queries.joint(look.session, where)
    if not points:
        return
    newest = points[-1]
    with components.card("Rows as a whole", "AUC of a domain classifier on a sample, with its 95 % interval; 0.5 is chance"):
        mark = f" {badge('severity', newest.severity)}" if newest.severity and newest.severity != "notice" else ""
        st.markdown(f":small[{joint_words(newest)}]{mark}")
        series = joint_lines(current(), points)
        if series:
            limits = [(newest.threshold, "threshold")] if newest.threshold is not None else []
            figure = charts.lines(current(), series, height=200, limits=limits, span=(where.start, where.end))
            charts.show(figure, key="joint", alt=f"Rows as a whole. {joint_words(newest)}")
        if newest.columns:
            told = ", ".join(f"{escape(name, 60)} (AUC {lost:.2g} less without it)" for name, lost in newest.columns)
            _muted(f"What tells them apart most: {told}")


def joint_words(one: JointPoint) -> str:
    """One window, in a sentence."""
    at = f"**Version {one.version}**, window to {times.short(one.slot)} UTC (monitor {escape(one.monitor)})"
    if one.auc is None:
        return f"{at}: {escape(one.why, 300)}"
    against = f"{one.rows:,} rows against {one.reference_rows:,} of {escape(one.compared_with)}"
    usual = f"; windows of the reference reach {one.usual:.3g}" if one.usual is not None else ""
    return f"{at}: AUC {one.auc:.3g} ({one.low:.3g} to {one.high:.3g}), {against}{usual}"


def joint_lines(palette: Palette, points: Sequence[JointPoint]) -> list[Line]:
    """A line for each version and monitor. Windows that were not judged are gaps."""
    found: dict[tuple[int, str], list[JointPoint]] = {}
    for one in points:
        found.setdefault((one.version, one.monitor), []).append(one)
    lines = []
    for number, ((version, monitor), mine) in enumerate(found.items()):
        colour = palette.accent if number == 0 else palette.arm("challenger", number - 1)
        lines.append(Line(f"v{version} AUC ({monitor})", [one.slot for one in mine], [one.auc for one in mine], colour))
    return [one for one in lines if any(value is not None for value in one.values)]


# -- missing values


def missing_values(look: Reading, where: Where) -> None:
    """Rows without a value, feature by feature, those with the largest change first."""
    rates = queries.null_rates(look.session, where)
    with components.card("Missing values", "percent of the rows; those that changed most first") as head:
        if not rates:
            components.empty(
                "Nothing was counted in this span",
                "Counts take a monitor of drift or data, a reference profile of the version, and requests in the log.",
                icon="water_drop",
            )
            return
        with head:
            export.download("Export CSV", f"missing-{where.endpoint}.csv", lambda: _rates_csv(rates), key="export-missing")
        import pandas as pd

        frame = pd.DataFrame([_rate(one) for one in rates])
        st.dataframe(
            frame, hide_index=True, column_config=_RATES, alt="Missing values by feature", key="missing",
            height=34 + 32 * min(MOST_RATES, len(rates)), row_height=32,
        )  # fmt: skip


_RATES = {
    "Feature": st.column_config.TextColumn(width=180),
    "Reference": st.column_config.NumberColumn("Reference, %", format="%.3g", width=96),
    "Newest": st.column_config.NumberColumn("Newest, %", format="%.3g", width=86),
    "Most": st.column_config.NumberColumn("Most, %", format="%.3g", width=76),
    "Over time": st.column_config.LineChartColumn("Over time, %", y_min=0, width=200),
    "Rows": st.column_config.NumberColumn(format="localized", width=86),
}


def _rate(one: NullRate) -> Mapping[str, Any]:
    known = [100 * point.share for point in one.points if point.share is not None]
    return {
        "Feature": one.feature if one.role == "feature" else "prediction",
        "Reference": 100 * one.reference if one.reference is not None else None,
        "Newest": known[-1] if known else None,
        "Most": max(known, default=None),
        "Over time": known,
        "Rows": sum(point.rows for point in one.points),
    }


def _rates_csv(rates: Sequence[NullRate]) -> bytes:
    rows = [(one.feature, one.role, one.reference, point.at, point.share, point.rows) for one in rates for point in one.points]
    return export.to_csv(("Column", "Role", "Reference", "From", "Share missing", "Rows"), rows)


def _muted(text: str) -> None:
    st.markdown(f":small[:gray[{text}]]")
