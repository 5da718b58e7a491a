"""Charts are pure: the same values give the same figure, every value is in it, and nobody's text becomes a mark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.kit import charts, lineage, pictures
from app.kit.palette import DARK, LIGHT
from app.kit.timeline import Mark, Span, timeline

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def test_lines_are_named_at_their_ends_and_never_over_each_other() -> None:
    at = [NOW - DAY, NOW]
    series = [charts.Line(name, at, [1.0, end], LIGHT.champion) for name, end in (("v1", 44.0), ("v2", 44.1), ("v3", 60.0))]
    figure = charts.lines(LIGHT, series, height=200, unit=" ms")
    names = {one.text: one for one in figure.layout.annotations}
    assert set(names) == {"v1", "v2", "v3"}
    assert names["v2"].yshift - names["v1"].yshift >= 12
    assert [list(one.y) for one in figure.data] == [[1.0, 44.0], [1.0, 44.1], [1.0, 60.0]]


def test_a_gap_stays_a_gap_and_nothing_measured_is_no_error() -> None:
    figure = charts.lines(LIGHT, [charts.Line("v1", [NOW - DAY, NOW], [2.0, None], LIGHT.champion)])
    assert figure.layout.annotations[0].x == NOW - DAY
    assert list(figure.data[0].y) == [2.0, None]
    assert charts.lines(LIGHT, [charts.Line("v1", [], [], LIGHT.champion)]).layout.annotations == ()
    assert charts.lines(LIGHT, []).data == ()


def test_shares_stand_in_the_order_given_with_words_where_they_fit() -> None:
    bars = [
        charts.Bar("Desired", [("v1", 95, "#111111"), ("v2", 5, "#222222")]),
        charts.Bar("Observed", [("v1", 100, "#111111")]),
    ]
    figure = charts.shares(LIGHT, bars)
    assert [one.y[0] for one in figure.data] == ["Observed", "Desired", "Desired"], "plotly draws from the bottom"
    assert [one.text[0] for one in figure.data] == [" v1 · 100 %", " v1 · 95 %", ""]


def test_a_ramp_holds_each_share_for_its_hours() -> None:
    figure = charts.ramp(DARK, [charts.Step(5, 6), charts.Step(25, 18), charts.Step(100, 12)], now=7)
    assert list(figure.data[0].x) == [0, 6, 6, 24, 24, 36]
    assert list(figure.data[0].y) == [5, 5, 25, 25, 100, 100]


def test_a_timeline_shows_each_generation_until_the_next() -> None:
    spans = [Span(NOW - 10 * DAY, 7, {"v1": 100}), Span(NOW - 2 * DAY, 8, {"v1": 95, "v2": 5})]
    marks = [Mark(NOW - 2 * DAY, "approvals", "CH-0201", "approved by 2 of 2"), Mark(NOW, "events", "<b>x</b>", "more", "red")]
    figure = timeline(LIGHT, spans, marks, {"v1": LIGHT.champion, "v2": LIGHT.arm("challenger")}, now=NOW)
    boxes = [(one.x0, one.x1, one.y0, one.y1, one.fillcolor) for one in figure.layout.shapes]
    assert boxes == [
        (NOW - 10 * DAY, NOW - 2 * DAY, 0.0, 100.0, LIGHT.champion),
        (NOW - 2 * DAY, NOW, 0.0, 95.0, LIGHT.champion),
        (NOW - 2 * DAY, NOW, 95.0, 100.0, LIGHT.arm("challenger")),
    ]
    words = [one.text for one in figure.layout.annotations]
    assert words == ["gen 7", "gen 8", "v1 ", "CH-0201", "&lt;b&gt;x&lt;/b&gt;"], "a share of 5 % holds no name"
    with pytest.raises(KeyError):
        timeline(LIGHT, spans, [], {"v1": "#000000"}, now=NOW)


def test_a_timeline_of_nothing_is_empty_and_no_error() -> None:
    assert timeline(LIGHT, [], [], {}, now=NOW).layout.shapes == ()
    assert timeline(LIGHT, [Span(NOW, 1, {"v1": 100})], [], {"v1": "#000000"}, now=NOW).layout.shapes != ()


NODES = [
    lineage.Node(one, one.upper(), "thing") for one in ("run", "commit", "data", "version", "package", "staging", "production")
]
EDGES = [
    ("run", "version"),
    ("commit", "run"),
    ("data", "run"),
    ("version", "package"),
    ("package", "staging"),
    ("package", "production"),
]


def test_lineage_runs_from_left_to_right_and_no_two_nodes_share_a_place() -> None:
    spots = lineage.places(NODES, EDGES)
    assert all(spots[source][0] < spots[target][0] for source, target in EDGES)
    assert len(set(spots.values())) == len(NODES)
    assert spots["commit"][1] == -spots["data"][1]
    figure = lineage.graph(LIGHT, NODES, EDGES)
    assert len(figure.layout.shapes) == len(NODES)
    assert sum(one.showarrow for one in figure.layout.annotations) == len(EDGES)


@pytest.mark.parametrize("wrong", [("version", "run"), ("version", "nowhere"), ("run", "run")])
def test_a_graph_that_is_none_is_a_defect(wrong: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"circle|nowhere"):
        lineage.places(NODES, [*EDGES, wrong])


def test_a_graph_of_nothing_is_empty() -> None:
    assert lineage.graph(LIGHT, [], []).layout.shapes == ()


def test_nobodys_text_becomes_a_mark() -> None:
    hostile = "<a href='javascript:x'>%{customdata}</a> $\\alpha$\x00\u202e"
    node = lineage.Node("x", hostile, hostile, hostile)
    written = lineage.graph(LIGHT, [node], []).to_json()
    assert "<a " not in written.replace("\\u003c", "<")
    assert "%{customdata}" not in written
    assert "$" not in written
    assert charts.plain(hostile).count("&lt;") == 2


def test_small_pictures_are_inline_and_say_what_they_show() -> None:
    drawn = [
        pictures.steps(LIGHT, 1, 5, 0.6),
        pictures.share([("v1", 75, "#111111"), ("v2](http://evil", 25, "#222222")]),
        pictures.interval(LIGHT, -15.3, -12.7, -10.0, axis=(-20, 5), colour="#111111", limit=-2),
    ]
    assert all(one.count("](") == 1 and "](data:image/svg+xml;base64," in one for one in drawn), drawn
    assert "step 2 of 5" in drawn[0]
    assert pictures.arm("v2]", "#111111").endswith(r"**v2\]**")
