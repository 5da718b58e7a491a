"""Latency and errors by arm against what was promised, with deployments marked; error budgets; who tells all that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import streamlit as st

from app import wiring
from app.kit import charts, components, export, times
from app.kit.charts import Line
from app.kit.palette import Palette, current
from app.kit.plain import escape, plural
from app.kit.states import badge
from app.monitor_pages import found_here
from app.monitor_pages.monitor_filters import Place
from app.wiring import Reading
from backend.metrics.faring import SourceLine
from backend.metrics.queries import Group, Promise
from backend.metrics.slo import Judged, Objective
from backend.metrics.slo import words as length
from backend.monitoring import queries
from backend.monitoring.views import Deployment, Traffic, Where

TOGETHER = "p50, p95, p99"
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_DASHES = {"p50": "dot", "p90": "dashdot", "p95": "solid", "p99": "dash"}
MOST_NAMED = 8
_NEXT = {
    "late": "A worker reads it: see whether one runs.",
    "failing": "Correct the address or what answers there.",
    "empty": "It has to tell figures of this endpoint; wait for its first requests.",
    "never": "A worker does within a minute.",
}
"""How a source fares -> what to do next."""


def part(where: Where, place: Place) -> None:
    """The whole part."""
    with wiring.reading() as look:
        told = queries.traffic(look.session, where, now=look.now, interval=wiring.scrape_interval())
        latency(told, where, place)
        left, right = components.pair()
        with left:
            errors(told, where, place)
        with right:
            throughput(told, where, place)
        budgets(look, where)
        saturation(told)
        sources(told, look)


# -- charts


def latency(told: Traffic, where: Where, place: Place) -> None:
    """Percentiles by arm, in milliseconds."""
    with components.card("Latency percentiles", f"ms, {_steps(told)}, by arm") as head:
        if told.note:
            _muted(escape(told.note))
        with head:
            chosen = st.selectbox(
                "Percentile", [TOGETHER, *_QUANTILES], key="percentile", bind="query-params",
                label_visibility="collapsed", width=150,
            )  # fmt: skip
        names = TOGETHER.split(", ") if chosen in (None, TOGETHER) else [chosen or TOGETHER]
        series = latency_lines(current(), told.chart.groups, names, place.line.champion_version)
        if not series:
            _nothing(told)
            deployed(told)
            return
        with head:
            export.download("Export CSV", f"traffic-{where.endpoint}.csv", lambda: _csv(told), key="export-traffic")
        limits = [(1000 * one.seconds, slo_name(one)) for one in told.objectives if one.seconds is not None]
        figure = charts.lines(
            current(), series, height=280, unit=" ms", limits=limits, marks=marks(told), span=shown(told, where)
        )
        charts.show(figure, key="latency", alt=series_words("Latency in ms", series))
        deployed(told)


def _csv(told: Traffic) -> bytes:
    """Everything that the three charts show."""
    header = ("Arm", "Version", "Shadow", "Until", "Seconds", "Requests a second", "Share of errors",
              *(f"{name} (ms)" for name in _QUANTILES))  # fmt: skip
    rows = [
        (one.arm, one.version, one.shadow, each.at, each.seconds, each.throughput, each.error_rate,
         *(_milliseconds(each.latency.get(share)) for share in _QUANTILES.values()))
        for one in told.chart.groups
        for each in one.moments
    ]  # fmt: skip
    return export.to_csv(header, rows)


def errors(told: Traffic, where: Where, place: Place) -> None:
    """Share of the requests that got no good answer, by arm."""
    with components.card("Error rate", "percent of the requests, by arm", border=False):
        series = [
            Line(_arm(one), [each.at for each in one.moments], [_percent(each.error_rate) for each in one.moments],
                 colours(current(), told.chart.groups, place.line.champion_version)[_arm(one)])
            for one in told.chart.groups
            if any(each.error_rate is not None for each in one.moments)
        ]  # fmt: skip
        if not series:
            components.empty("No error rate is told", "It takes a router or a server that counts errors.", icon="show_chart")
            return
        limits = [(100 * one.budget, slo_name(one)) for one in told.objectives if one.kind == "availability"]
        figure = charts.lines(current(), series, unit=" %", limits=limits, marks=marks(told), span=shown(told, where))
        charts.show(figure, key="errors", alt=series_words("Error rate in percent", series))


def throughput(told: Traffic, where: Where, place: Place) -> None:
    """Requests a second, by arm."""
    with components.card("Requests", "a second, by arm", border=False):
        series = [
            Line(_arm(one), [each.at for each in one.moments], [each.throughput for each in one.moments],
                 colours(current(), told.chart.groups, place.line.champion_version)[_arm(one)])
            for one in told.chart.groups
            if any(each.throughput is not None for each in one.moments)
        ]  # fmt: skip
        if not series:
            components.empty("No request was counted", "See below who tells of this endpoint.", icon="show_chart")
            return
        figure = charts.lines(current(), series, unit=" a second", marks=marks(told), span=shown(told, where))
        charts.show(figure, key="throughput", alt=series_words("Requests a second", series))


def latency_lines(palette: Palette, groups: Sequence[Group], names: Sequence[str], champion: int | None) -> list[Line]:
    """A line for each arm and percentile; the percentile by its dashes, the arm by its colour."""
    found, by_arm = [], colours(palette, groups, champion)
    for one in groups:
        for name in names:
            values = [_milliseconds(each.latency.get(_QUANTILES[name])) for each in one.moments]
            if any(value is not None for value in values):
                dash = _DASHES[name] if len(names) > 1 else "solid"
                label = f"{_arm(one)} {name}"
                found.append(Line(label, [each.at for each in one.moments], values, by_arm[_arm(one)], dash))
    return found


def colours(palette: Palette, groups: Sequence[Group], champion: int | None) -> Mapping[str, str]:
    """Arm -> colour, as on every page."""
    found: dict[str, str] = {}
    for one in groups:
        if one.shadow:
            found[_arm(one)] = palette.arm("shadow")
        elif one.version is not None and one.version == champion:
            found[_arm(one)] = palette.arm("champion")
        else:
            found[_arm(one)] = palette.arm("challenger", sum(each in palette.challengers for each in found.values()))
    return found


def shown(told: Traffic, where: Where) -> tuple[datetime, datetime]:
    """What the axis of time shows: the span from where anything was measured on, up to the end of its last piece."""
    at = [each.at for one in told.chart.groups for each in one.moments if each.requests is not None or each.latency]
    step = timedelta(seconds=told.chart.step)
    return times.measured(where.start, where.end, [*at, *(each - step for each in at)])


def marks(told: Traffic) -> list[tuple[datetime, str]]:
    """Deployments, for the axis of time."""
    return [(one.at, _deployment(one)) for one in told.deployments]


def slo_name(one: Objective) -> str:
    """`SLO 250 ms for 99 %`, `SLO 99.9 %`."""
    share = f"{100 * one.target:.5g} %"
    return f"SLO {share}" if one.seconds is None else f"SLO {1000 * one.seconds:g} ms for {share}"


def series_words(what: str, series: Sequence[Line]) -> str:
    """Lines, for a screen reader: where each ended, and its most."""
    told = []
    for one in series:
        known = [value for value in one.values if value is not None]
        if known:
            told.append(f"{one.name}: {known[-1]:.3g} at the end, at most {max(known):.3g}")
    return f"{what}. {'; '.join(told)}"


def deployed(told: Traffic) -> None:
    """The deployments of the span in words."""
    for one in told.deployments[-MOST_NAMED:]:
        _muted(f"▲ {times.stamp(one.at)}: {escape(_deployment(one), 200)}")
    if len(told.deployments) > MOST_NAMED:
        _muted(f"… and {plural(len(told.deployments) - MOST_NAMED, 'deployment')} before them")


def _nothing(told: Traffic) -> None:
    if told.sources:
        worst = next((one for one in told.sources if one.word != "ok"), None)
        why = f"{worst.says} {_NEXT[worst.word]}" if worst is not None else "Choose a longer period, or any version and arm."
    else:
        why = "Nothing tells it: an operator names its router's or server's metrics address, or a Prometheus."
    components.empty("No latency of this span", escape(why), icon="timer_off")


def _deployment(one: Deployment) -> str:
    return f"generation {one.generation} {one.words}"


def _steps(told: Traffic) -> str:
    return {60: "1-minute spans", 300: "5-minute spans", 3600: "hourly spans"}.get(told.chart.step, f"{told.chart.step} s")


def _arm(one: Group) -> str:
    version = f"v{one.version}" if one.version is not None else ""
    name = one.arm if one.arm == version or not version else f"{one.arm} {version}".strip()
    return f"{name or 'all'}{' (shadow)' if one.shadow else ''}"


def _milliseconds(found: tuple[float, float, float] | None) -> float | None:
    return 1000 * found[0] if found is not None else None


def _percent(share: float | None) -> float | None:
    return 100 * share if share is not None else None


# -- budgets


def budgets(look: Reading, where: Where) -> None:
    """What is left of each error budget, and how fast it burns. Of the objective's own window up to now."""
    found = queries.budgets(look.session, where.endpoint, now=look.now)
    note = f"over the last {found.days} days up to now, whatever is chosen above" if found is not None else ""
    with components.card("Error budget", note):
        found_here.draw(look, where.endpoint, "slo")
        if found is None:
            components.empty(
                "Nothing is promised of this endpoint",
                f"An operator says what is: {escape(f'countersign slo set {where.endpoint} --availability 99.9')}.",
                icon="handshake",
            )
            return
        rows = [_promise(one) for one in found.promises]
        head = ("Objective", "Stands", "Left", "Used of allowed", "Looked at", "Burns")
        components.table(rows, head, alt="Error budgets", tight=(0, 1, 2), right=(2,))


def _promise(one: Promise) -> tuple[str, ...]:
    left = f"{100 * one.budget.left:.3g} %" if one.budget.left is not None else "–"
    used = f"{one.budget.used:,.0f} of {one.budget.allowed:,.0f} requests" if one.budget.left is not None else "–"
    covered = f"{100 * one.budget.covered:.3g} %"
    reasons = " ".join(escape(each, 200) for each in (one.budget.reason, _burns(one.alerts)) if each)
    return slo_name(one.objective), badge("objective", one.verdict), left, used, covered, reasons


def _burns(alerts: Sequence[Judged]) -> str:
    """Of the alert that says most: one that burns, one that is not known, else the longest window's rate.

    One that can never fire says nothing, unless none can.
    """
    watching = [one for one in alerts if one.can_fire] or alerts
    for verdict in ("burning", "unknown"):
        for one in watching:
            if one.verdict == verdict:
                return one.reason
    known = [one for one in alerts if one.long.rate is not None]
    return f"{known[-1].long.rate:.3g} times over {length(known[-1].alert.long)}." if known else ""


# -- saturation and sources


def saturation(told: Traffic) -> None:
    """Queue against compute time by arm: what saturates a server, and a cold start, show there first."""
    rows = []
    for one in told.chart.groups:
        queue = [each.queue_seconds for each in one.moments if each.queue_seconds is not None]
        compute = [each.compute_seconds for each in one.moments if each.compute_seconds is not None]
        shares = [each.queue_share for each in one.moments if each.queue_share is not None]
        if queue or compute:
            waiting = f"{100 * max(shares):.3g} %" if shares else "–"
            rows.append((escape(_arm(one)), _longest(queue), _longest(compute), waiting))
    if rows:
        with components.card("Queue and compute", "ms of one request on average in the worst span; waiting in %"):
            head = ("Arm", "Queue", "Compute", "Waiting")
            components.table(rows, head, alt="Queue and compute time by arm", right=(1, 2, 3))


def _longest(seconds: Sequence[float]) -> str:
    return f"{1000 * max(seconds):.3g}" if seconds else "–"


def sources(told: Traffic, look: Reading) -> None:
    """Who tells all that, and whether they still do."""
    with components.card("Who tells it", "routers, servers and other addresses"):
        if not told.sources:
            components.empty(
                "Nothing tells how this endpoint does",
                "Its router and server have no metrics address. An operator gives them one, or names another source.",
                icon="sensors_off",
            )
            return
        rows = [_source(one, look) for one in told.sources]
        components.table(rows, ("Source", "Fares", "Newest good look", "Tells"), alt="Sources of figures", tight=(1,))


def _source(one: SourceLine, look: Reading) -> tuple[str, ...]:
    says = f"{escape(one.says, 200)} {_NEXT.get(one.word, '')}".strip() or plural(one.figures, "figure")
    cut = f" {escape(one.cut, 160)}" if one.cut else ""
    looked = times.age(one.ok_at, look.now) if one.ok_at is not None else "never"
    return f"{one.teller} {escape(one.name, 80)}".strip(), badge("source", one.word), looked, f"{says}{cut}"


def _muted(text: str) -> None:
    st.markdown(f":small[:gray[{text}]]")
