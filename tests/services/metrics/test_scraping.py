"""Reading sources: increases become points of the right arm and version; what fails, is late or empty says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session, select

from backend.core import work
from backend.core.context import SYSTEM
from backend.core.work import LeaseLost
from backend.metrics import faring, queries, scraping
from backend.metrics.reading import Read, Stream, points, segments, streams_of
from backend.metrics.rows import RAW, Point, Series, SourceState
from backend.metrics.scraping import KIND
from tests.services.metrics.world import ENDPOINT, INTERVAL, World


def kept(world: World, metric: str, endpoint: str = ENDPOINT) -> dict[tuple[str, int | None], list[float]]:
    """(arm, version) -> values of its points, in order."""
    with world.database.read() as session:
        return {(one.arm, one.version): [each.value for each in read] for one, read in _read(session, metric, endpoint).items()}


def _read(session: Session, metric: str, endpoint: str) -> dict[Stream, list[Read]]:
    parts = [(RAW, 0, 2**40)]
    return {one: list(points(session, one, parts)) for one in streams_of(session, f"end_{endpoint}", [metric])}


def word(world: World, endpoint: str = ENDPOINT) -> tuple[str, str]:
    with world.database.read() as session:
        lines = faring.sources(session, endpoint, now=world.database.now(session), interval=INTERVAL)
        return lines[0].word, lines[0].says


def test_what_a_source_counted_becomes_increases_by_arm_and_version(world: World) -> None:
    key = world.source()
    world.count(1, ok=1000, failed=10, quick=1000)
    world.count(2, ok=5)
    world.look(key)
    assert kept(world, "requests") == {}, "the first look is where counting begins"
    world.count(1, ok=30, failed=2, quick=20, slow=12)
    world.look(key)
    world.look(key)
    assert kept(world, "requests") == {("v1", 1): [32, 0], ("v2", 2): [0, 0]}
    assert kept(world, "errors") == {("v1", 1): [2, 0], ("v2", 2): [0, 0]}
    assert kept(world, "covered") == {("", None): [30, 30]}
    with world.database.read() as session:
        latency = next(read for one, read in _read(session, "latency", ENDPOINT).items() if one.version == 1)
        found = latency[0].histogram((0.1, 0.5))
        assert found is not None
        assert (found.counts, found.total) == ((20, 12, 0), pytest.approx(0.05 * 20 + 0.4 * 12))
    assert word(world) == ("ok", "")


def test_a_restart_is_no_negative_rate_and_a_gauge_stays_what_it_is(world: World) -> None:
    key = world.source()
    world.count(1, ok=1000)
    world.told['waiting{version="1"}'] = 7
    world.write()
    world.look(key)
    world.told = {'asked_total{version="1",code="200"}': 4.0, 'waiting{version="1"}': 3.0}
    world.write()
    world.look(key)
    assert kept(world, "requests") == {("v1", 1): [4]}
    assert kept(world, "pending") == {("v1", 1): [7, 3]}


def test_a_version_that_is_nobodys_keeps_its_own_number(world: World) -> None:
    key = world.source()
    world.count(9, ok=1)
    world.look(key)
    world.count(9, ok=1)
    world.look(key)
    assert kept(world, "requests") == {("", 9): [1]}


def test_a_source_that_fails_says_so_since_when_and_is_due_again_in_time(world: World) -> None:
    key = world.source()
    world.count(1, ok=1)
    world.look(key)
    world.server.status = 500
    world.look(key)
    failed = world.clock.now
    world.look(key)
    found, says = word(world)
    assert (found, says) == ("failing", "source own answered 500 instead of metrics")
    with world.database.read() as session:
        state, item = session.get(SourceState, key), world.item(session, key)
        assert state is not None
        assert item is not None
        assert (state.problem_since, state.ok_at) == (failed, failed - timedelta(seconds=30))
        assert (item.failures, item.last_error, item.due_at) == (2, says, world.clock.now + INTERVAL)
    world.server.status = 200
    world.count(1, ok=5)
    world.look(key)
    assert word(world) == ("ok", "")
    assert kept(world, "requests") == {("v1", 1): [5]}, "what was counted meanwhile is there, once"


def test_what_was_counted_across_a_pause_is_laid_evenly_over_it_and_over_a_long_one_not_at_all(world: World) -> None:
    key = world.source()
    world.count(1, ok=1)
    world.look(key)
    world.count(1, ok=60, quick=60)
    world.look(key, after=600)
    assert kept(world, "requests") == {("v1", 1): [6.0] * 10}
    assert kept(world, "covered") == {("", None): [60.0] * 10}
    world.count(1, ok=1_000_000)
    world.look(key, after=2 * 3600)
    world.count(1, ok=3)
    world.look(key)
    assert kept(world, "requests") == {("v1", 1): [*[6.0] * 10, 3.0]}
    assert sum(kept(world, "covered")["", None]) == 630


def test_a_source_that_nobody_reads_is_late_and_one_that_was_never_read_says_that(world: World) -> None:
    key = world.source()
    assert word(world)[0] == "never"
    world.count(1, ok=1)
    world.look(key)
    world.clock.tick(seconds=91)
    found, says = word(world)
    assert found == "late"
    assert says.startswith("Nobody has looked since 2026-03-02 09:00:30 UTC")


def test_a_source_that_answers_and_tells_nothing_of_the_endpoint_is_empty(world: World) -> None:
    key = world.source()
    world.server.text = "something_else 1\n"
    world.look(key)
    assert word(world)[0] == "empty"
    world.server.text = "<html>it works</html>\n"
    world.look(key)
    with world.database.read() as session:
        (line,) = faring.sources(session, ENDPOINT, now=world.clock.now, interval=INTERVAL)
    assert (line.word, dict(line.bad)) == ("empty", {"is no sample": 1})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": 302, "headers": {"location": "http://169.254.169.254/"}}, "points elsewhere (302)"),
        ({"status": 401}, "refuses Countersign's access"),
        ({"wait_seconds": 3}, "did not tell its metrics within 2 seconds"),
        ({"headers": {"content-encoding": "gzip"}}, "compressed"),
        ({"drip": b"a 1\n" * 100_000}, "broke the connection, or sent more than is read"),
    ],
)
def test_a_hostile_source_costs_one_look_and_is_told(world: World, change: dict[str, object], says: str) -> None:
    key = world.source()
    for name, value in change.items():
        setattr(world.server, name, value)
    try:
        world.look(key)
    finally:
        world.server.drip, world.server.wait_seconds = b"", 0.0
    found, told = word(world)
    assert found == "failing"
    assert says in told
    assert {path for path, _ in world.server.asked} == {"/metrics"}, "it is not followed anywhere"


def test_a_source_that_was_removed_is_read_no_more_and_its_points_stay(world: World) -> None:
    key = world.source()
    world.count(1, ok=1)
    world.look(key)
    world.count(1, ok=1)
    world.look(key)
    world.sources.remove(world.otto, ENDPOINT, "own")
    asked = len(world.server.asked)
    world.look(key)
    with world.database.read() as session:
        assert world.item(session, key) is None
        assert scraping.keys(session) == []
    assert len(world.server.asked) == asked
    assert kept(world, "requests") == {("v1", 1): [1]}


def test_whoever_lost_the_lease_writes_nothing(world: World) -> None:
    key = world.source()
    world.count(1, ok=1)
    world.look(key)
    world.count(1, ok=1)
    world.clock.tick(seconds=30)
    with world.database.unit(SYSTEM) as tx:
        work.wake(tx, KIND, key)
        (late,) = work.claim_in(tx, KIND, holder="a", seconds=5, key=key)
    world.look(key, after=10)
    with pytest.raises(LeaseLost):
        world.scraping.handle(late)
    assert kept(world, "requests") == {("v1", 1): [1]}


def test_two_sources_that_tell_the_same_are_not_added_up(world: World) -> None:
    keys = [world.source(name="b"), world.source(name="a")]
    for _ in range(2):
        world.count(1, ok=10)
        for key in keys:
            world.look(key, after=15)
    with world.database.read() as session:
        chart = queries.chart(session, ENDPOINT, world.clock.now - timedelta(minutes=5), world.clock.now)
    assert sum(moment.requests or 0 for group in chart.groups for moment in group.moments) == 10


def test_an_endpoint_sees_its_own_figures_only(world: World) -> None:
    world.endpoint("other")
    key = world.source("other")
    for _ in range(2):
        world.count(1, ok=10)
        world.look(key)
    assert kept(world, "requests") == {}
    assert kept(world, "requests", "other") == {("v1", 1): [10]}


def test_points_of_one_look_are_written_once_however_often(world: World) -> None:
    key = world.source()
    world.count(1, ok=10)
    world.look(key)
    world.count(1, ok=10)
    world.look(key)
    with world.database.read() as session:
        assert len(session.exec(select(Series)).all()) == len({one.digest for one in session.exec(select(Series))})
        before = len(session.exec(select(Point)).all())
    world.look(key, after=0)
    with world.database.read() as session:
        assert len(session.exec(select(Point)).all()) == before


def test_segments_take_the_coarse_as_far_as_it_goes_and_the_fine_for_the_rest() -> None:
    made = {300: 9_000, 3600: 7_200}
    assert segments(3600, 100, 10_000, made) == [(3600, 0, 7200), (300, 7200, 9000), (0, 9000, 10_000)]
    assert segments(300, 100, 10_000, made) == [(300, 0, 9000), (0, 9000, 10_000)]
    assert segments(0, 100, 10_000, made) == [(0, 100, 10_000)]
    assert segments(300, 9_500, 10_000, made) == [(0, 9_500, 10_000)]


def test_the_clock_of_points_is_the_databases(world: World) -> None:
    key = world.source()
    for _ in range(2):
        world.count(1, ok=1)
        world.look(key)
    with world.database.read() as session:
        (at,) = {one.at for one in session.exec(select(Point))}
    assert datetime.fromtimestamp(at, UTC) == world.clock.now
