"""Monitoring: each part on an endpoint that is watched, its filters in the address, and what it says where there is nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from app.findings import finding_page
from app.kit import charts, plots
from app.kit.palette import LIGHT
from app.monitor_pages import drift_part, found_here, latency_part, report_part
from backend.access.rows import Request
from backend.bootstrap import Backend
from backend.core.errors import Refusal
from backend.findings import queries as findings
from backend.metrics.quantiles import Estimate
from backend.metrics.queries import Group, Moment
from backend.monitoring import queries
from backend.monitoring.views import HeatCell, Heatmap, HeatRow, JointPoint
from backend.window_reports.rules import Side
from tests.found import found_lately
from tests.installations import APAC, CHURN, PRODUCTION
from tests.pages.conftest import Open, words
from tests.pages.test_report_door import with_a_report
from tests.watched import watched

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_every_part_of_an_endpoint_that_is_watched(full: Backend, full_page: Open) -> None:
    watched(full)
    found_lately(full)
    link = with_a_report(full)
    test = full_page("monitoring", "ana")
    assert list(test.dataframe[0].value["Monitor"]) == ["drift", "quality"]
    assert "2 monitors at 1 endpoint" in words(test)
    told = {
        "Drift": ("Feature drift", "1 of 2 in order", "dep_delay", "version 1", "600 values against 2,000", "It came suddenly"),
        "Predictions": ("score", "600 requests, 600 outcomes known", "AUC", "By segment", "carrier <b>$x$</b> = "),
        "Latency": ("SLO 100 ms for 95 %", "SLO 99 %", "generation 1", "Error budget", "of 10 requests"),
        "Monitors": ("features and predictions of the last hour", "PSI of dep_delay is 0.31", "The schema of requests lost"),
        "Reports": ("drift, summary", "asked by ana", "Made"),
    }
    for part, expected in told.items():
        test = full_page("monitoring", "ana", endpoint=PRODUCTION, part=part)
        assert not test.exception
        assert not test.error, (part, words(test))
        assert not test.warning, (part, words(test))
        for one in expected:
            assert one in words(test), (part, one, words(test))
    assert link in [one.proto.url for one in test.get("link_button")]


def test_the_address_narrows_and_what_it_cannot_mean_is_said(full: Backend, full_page: Open) -> None:
    watched(full)
    here = {"endpoint": PRODUCTION, "period": "Last 24 hours"}
    assert "No score of this span" in words(full_page("monitoring", "ben", **here, version="2"))
    assert "version 1" in words(full_page("monitoring", "ben", **here, version="1", arm="v1", feature="distance"))
    assert "of all requests" in words(full_page("monitoring", "ben", **here, segment="carrier <b>$x$</b> = a"))
    assert "No score of this span" in words(full_page("monitoring", "ben", **here, until="2026-01-01"))
    for wrong in ({"version": "x"}, {"segment": "no = such"}, {"until": "soon"}):
        test = full_page("monitoring", "ben", **here, **wrong)
        assert len(test.warning) == 1, words(test)
        assert not test.exception


def test_what_it_says_where_there_is_nothing(full: Backend, full_page: Open) -> None:
    assert "Nothing is watched yet" in words(full_page("monitoring", "ana"))
    assert "No endpoint is called nowhere" in words(full_page("monitoring", "ana", endpoint="nowhere"))
    expected = {
        "Drift": "countersign monitor set",
        "Predictions": "No monitor says what is predicted here",
        "Latency": "Nothing is promised of this endpoint",
        "Monitors": "Nobody watches this endpoint",
        "Reports": "Nobody has asked for a report here",
    }
    for part, says in expected.items():
        test = full_page("monitoring", "audra", endpoint=APAC, part=part)
        assert not test.error, (part, words(test))
        assert says in words(test), (part, words(test))


def test_whoever_sees_one_model_sees_the_monitors_of_no_other(full: Backend, full_page: Open) -> None:
    watched(full)
    otto, nora = full.identities.act_as("otto"), full.identities.act_as("nora")
    full.identities.take_back(otto, "ana", "contributor")
    asked = full.identities.grant(otto, "ana", "contributor", f"model:{CHURN}")
    assert isinstance(asked, Request)
    full.identities.confirm_grant(nora, asked.id)
    assert PRODUCTION not in words(full_page("monitoring", "ana"))
    said = words(full_page("monitoring", "ana", endpoint=PRODUCTION))
    assert f"No endpoint is called {PRODUCTION}" in said
    assert "dep_delay" not in said


def test_a_monitor_is_paused_with_a_reason_by_whoever_may(full: Backend, full_page: Open) -> None:
    watched(full)
    here = {"endpoint": PRODUCTION, "part": "Monitors", "monitor": "quality"}

    def acts(name: str) -> set[str]:
        keys = {one.key for one in full_page("monitoring", name, **here).button}
        return keys & {"monitor.pause", "monitor.resume", "look-now", "alarm.test"}

    assert acts("olga") == {"monitor.pause", "look-now", "alarm.test"}
    assert (acts("ana"), acts("audra")) == ({"look-now"}, set())
    full.monitors.pause(full.identities.act_as("olga"), PRODUCTION, "quality", "The feed is down until <b>noon</b>.")
    assert "The feed is down until <b>noon</b>." in words(full_page("monitoring", "ana", **here))
    assert acts("olga") == {"monitor.resume", "alarm.test"}
    test = full_page("monitoring", "olga", **here)
    test.button(key="monitor.resume").click().run()
    with full.database.read() as session:
        assert not queries.monitor(session, PRODUCTION, "quality", now=NOW).line.paused


def test_what_was_found_leads_to_what_shows_it_and_back(full: Backend, full_page: Open) -> None:
    watched(full)
    with full.database.read() as session:
        shown = findings.page(session, findings.Filters(endpoint=PRODUCTION))
        drifted = next(one for one in shown.items if one.kind == "drift.feature" and one.subject.startswith("dep_delay"))
        view = findings.view(session, drifted.number)
    wanted = {"part": "Drift", "version": "1", "feature": "dep_delay"}
    assert finding_page.shown_at(view) == wanted
    links = [one.proto.label for one in full_page("finding", "ana", finding=str(drifted.number)).get("page_link")]
    assert "Drift, under Monitoring" in links
    back = [one.proto.label for one in full_page("monitoring", "ana", endpoint=PRODUCTION, **wanted).get("page_link")]
    assert any(one.startswith(f"{drifted.number}, ") for one in back), back
    assert found_here.among(shown.items, ["drift"], "dep_delay") == [drifted]
    assert found_here.among(shown.items, ["drift"], "dep") == []
    assert found_here.among(shown.items, ["slo"], "dep_delay") == []


def test_a_heat_map_tells_each_cell_and_why_one_is_open() -> None:
    day = date(2026, 11, 22)
    cells = (
        HeatCell(day, "psi", 0.4, 0.2, 2.0, "warning", "", 3, "drift", NOW),
        HeatCell(day + timedelta(days=1), "", None, None, None, "", "No <b>monitor</b> ran.", None, "", None),
    )
    found = Heatmap((cells[0].day, cells[1].day), (HeatRow("dep<delay>", "feature", cells),))
    drawn = [drift_part._cell(one) for one in cells]
    figure = plots.heat(LIGHT, ["22 Nov", "23 Nov"], [("dep<delay>", drawn)], most=2, unit="times")
    heat, points = figure.data
    assert [list(one) for one in heat.z] == [[2.0, None]]
    assert list(points.text) == ["!", "–"]
    assert points.customdata[0].startswith("22 Nov 2026: PSI 0.4, threshold 0.2 (warning)<br>version 3, monitor drift")
    assert points.customdata[1] == "23 Nov 2026: no score<br>No &lt;b&gt;monitor&lt;/b&gt; ran."
    assert figure.layout.yaxis.ticktext == ("dep&lt;delay&gt;",)
    assert drift_part.gaps(found) == {"No <b>monitor</b> ran.": 1}
    assert "2 times its threshold on 22 Nov" in drift_part.heat_words(found)


def test_rows_as_a_whole_are_told_in_a_sentence_and_a_line_for_each_version() -> None:
    told = {
        "usual": 0.62,
        "rows": 5_000,
        "reference_rows": 4_000,
        "compared_with": "the first <week>",
        "label": "",
        "severity": "",
    }
    judged = JointPoint(NOW, 3, "drift", 0.71, 0.69, 0.73, 0.62, columns=(("x", 0.1),), why="", **told)
    blind = replace(judged, slot=NOW + HOUR, auc=None, low=None, high=None, columns=(), why="Rows as a whole were not judged.")
    said = drift_part.joint_words(judged)
    assert "AUC 0.71 (0.69 to 0.73), 5,000 rows against 4,000 of the first" in said
    assert "windows of the reference reach 0.62" in said
    assert "<week>" not in said
    assert "Rows as a whole were not judged" in drift_part.joint_words(blind)
    lines = drift_part.joint_lines(LIGHT, [judged, blind, replace(blind, version=4)])
    assert [(one.name, list(one.values)) for one in lines] == [("v3 AUC (drift)", [0.71, None])]


def test_lines_show_what_decides_and_what_happened() -> None:
    series = [charts.Line("v1", [NOW, NOW + HOUR], [10.0, 20.0], LIGHT.champion)]
    marks = [(NOW + HOUR / 2, "generation <4>")]
    figure = charts.lines(LIGHT, series, limits=[(100.0, "SLO")], marks=marks, span=(NOW - HOUR, NOW + HOUR))
    assert figure.layout.yaxis.range[1] > 100
    assert figure.layout.xaxis.range == (NOW - HOUR, NOW + HOUR)
    assert [one.x0 for one in figure.layout.shapes if one.yref == "paper"] == [NOW + HOUR / 2]
    assert list(figure.data[-1].text) == ["generation &lt;4&gt;"]


def test_latency_has_a_line_for_each_arm_and_percentile_in_the_arm_s_colour() -> None:
    moment = Moment(NOW, 60, latency={0.5: Estimate(0.01, 0.0, 0.1), 0.95: Estimate(0.2, 0.1, 0.5)})
    groups = [Group("v1", 1, False, (moment,)), Group("v2", 2, False, (moment,)), Group("v3", 3, True, (moment,))]
    found = latency_part.latency_lines(LIGHT, groups, ["p50", "p95", "p99"], 1)
    assert [one.name for one in found[:3]] == ["v1 p50", "v1 p95", "v2 p50"]
    assert [list(one.values) for one in found[:2]] == [[10.0], [200.0]]
    assert [one.colour for one in found[::2]] == [LIGHT.champion, LIGHT.challengers[0], LIGHT.shadow]
    assert found[-1].name == "v3 (shadow) p95"


def test_a_report_s_reference_is_what_was_chosen() -> None:
    current = Side(NOW, NOW + 2 * HOUR, 3, "v3")
    assert report_part.compared_with(current, report_part.WEEK_EARLIER, "", "") is None
    assert report_part.compared_with(current, report_part.BEFORE, "", "") == Side(NOW - 2 * HOUR, NOW, 3, "v3")
    typed = report_part.compared_with(current, report_part.TYPED, "2026-11-01 00:00", "2026-11-02 00:00")
    assert typed == Side(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC), 3, "v3")
    with pytest.raises(Refusal):
        report_part.compared_with(current, report_part.TYPED, "", "")
