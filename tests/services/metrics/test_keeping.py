"""Fewer points as they grow old: sums of what was finer, in their own time, in batches, and nothing goes before that."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa
from sqlmodel import select

from backend.core.context import SYSTEM
from backend.core.errors import Refusal, StaleWrite
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Endpoint
from backend.metrics import keeping, queries
from backend.metrics.keeping import Keeping
from backend.metrics.packed import unpacked
from backend.metrics.quantiles import Histogram
from backend.metrics.retention import kept
from backend.metrics.rows import COARSE, FINE, RAW, Point, Rolled, Series
from backend.metrics.slo import Objective
from backend.metrics.storing import Added, Identity, Looked, store
from tests.services.metrics.world import ENDPOINT, World

SOURCE = "source:x"
REQUESTS = Identity(f"end_{ENDPOINT}", SOURCE, "other", "requests", "v1", 1)
LATENCY = Identity(f"end_{ENDPOINT}", SOURCE, "other", "latency", "v1", 1, bounds=(0.1, 0.5))
PENDING = Identity(f"end_{ENDPOINT}", SOURCE, "other", "pending", "v1", 1)


def fill(world: World, hours: float, *, every: int = 60) -> None:
    """A request, a quick and a slow answer at every look, and a queue that grows and falls."""
    end = world.clock.now + timedelta(hours=hours)
    looks, before, number = [], world.clock.now, 0
    while (at := before + timedelta(seconds=every)) <= end:
        histogram = Histogram((0.1, 0.5), (1, 1, 0), 0.4)
        added = [Added(REQUESTS, 1.0), Added(LATENCY, histogram)]
        looks.append(Looked(at, before, added, [Added(PENDING, float(number % 5))]))
        before, number = at, number + 1
    with world.database.unit(SYSTEM) as tx:
        store(tx, SOURCE, looks)
    world.clock.now = end


def rows(world: World, metric: str, step: int) -> list[Point]:
    with world.database.read() as session:
        query = select(Point).join(Series, Series.id == Point.series_id).where(Series.metric == metric, Point.step == step)
        return list(session.exec(query.order_by(Point.at)))


def test_coarser_points_are_the_sums_of_finer_ones_in_their_own_time(world: World) -> None:
    fill(world, 3)
    done = world.keeping.roll_up()
    assert done.complete
    fine, coarse = rows(world, "requests", FINE), rows(world, "requests", COARSE)
    start = int((world.clock.now - timedelta(hours=3)).timestamp())
    assert [one.at for one in fine] == [start + 300 * n for n in range(1, 36)], "the newest five minutes may still be written"
    assert {one.value for one in fine} == {5.0}
    assert [(one.at - start, one.value) for one in coarse] == [(3600, 60.0), (7200, 60.0)]
    buckets = rows(world, "latency", COARSE)[0]
    assert buckets.counts is not None
    assert (unpacked(buckets.counts), buckets.value) == ((60, 60, 0), pytest.approx(24))
    queue = rows(world, "pending", COARSE)[0]
    assert (queue.value, queue.low, queue.high, queue.count) == (pytest.approx(2), 0, 4, 60)


def test_again_and_later_it_goes_on_where_it_was(world: World) -> None:
    fill(world, 1)
    world.keeping.roll_up()
    assert world.keeping.roll_up().made == 0
    fill(world, 1)
    world.keeping.roll_up()
    fine = rows(world, "requests", FINE)
    assert {other.at - one.at for one, other in pairwise(fine)} == {300}
    assert sum(one.value for one in fine) == 5 * len(fine) == 115


def test_what_comes_after_its_time_was_put_together_is_put_together_again(world: World) -> None:
    """A source that fails for a while, and is then told of what it counted meanwhile."""
    key = world.source()
    world.count(1, ok=1)
    world.look(key)
    world.look(key)
    world.server.status = 500
    for _ in range(30):
        world.look(key)
    world.keeping.roll_up()
    world.server.status = 200
    world.count(1, ok=90)
    world.look(key)
    world.clock.tick(minutes=10)
    world.keeping.roll_up()
    with world.database.read() as session:
        chart = queries.chart(session, ENDPOINT, world.clock.now - timedelta(hours=1), world.clock.now, step=FINE)
    assert sum(moment.requests or 0 for group in chart.groups for moment in group.moments) == pytest.approx(90)
    assert sum(one.value for one in rows(world, "requests", FINE)) == pytest.approx(90)


def test_it_is_done_in_batches_and_goes_on_after_a_stop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SERIES_AT_ONCE", 1)
    fill(world, 3)
    first = world.keeping.roll_up(most_batches=4)
    assert not first.complete
    asked = iter([True, False])
    assert not Keeping(world.database, go_on=lambda: next(asked, False)).roll_up().complete
    for _ in range(20):
        if world.keeping.roll_up(most_batches=4).complete:
            break
    assert [one.value for one in rows(world, "requests", COARSE)] == [60.0, 60.0]
    assert {one.value for one in rows(world, "requests", FINE)} == {5.0}, "a span that was begun twice is counted once"


def test_what_is_old_goes_by_the_policy_and_nothing_that_is_not_yet_summed_up(world: World) -> None:
    world.retentions.set(world.otto, raw_hours=12, fine_hours=96, coarse_hours=91 * 24)
    fill(world, 13)
    assert world.keeping.prune().gone == 0, "nothing was put together yet"
    world.keeping.roll_up()
    done = world.keeping.prune()
    assert done.complete
    edge = int((world.clock.now - timedelta(hours=12)).timestamp())
    assert done.gone == 3 * 60
    assert min(one.at for one in rows(world, "requests", RAW)) == edge + 60
    assert len(rows(world, "requests", FINE)) == 13 * 12 - 1
    assert len(rows(world, "requests", COARSE)) == 12


def test_old_points_go_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SPAN_TO_PRUNE", 1800)
    world.retentions.set(world.otto, raw_hours=12, fine_hours=96, coarse_hours=91 * 24)
    fill(world, 14)
    world.keeping.roll_up()
    assert not world.keeping.prune(most_batches=2).complete
    for _ in range(5):
        if world.keeping.prune(most_batches=2).complete:
            break
    assert len(rows(world, "requests", RAW)) == 12 * 60


def test_what_was_kept_of_an_endpoint_that_is_no_more_goes(world: World) -> None:
    key = world.source()
    for _ in range(2):
        world.count(1, ok=1)
        world.look(key)
    world.slos.set(world.olga, ENDPOINT, [Objective("availability", 0.99)])
    with world.database.unit(SYSTEM) as tx:
        row = tx.session.exec(select(Endpoint)).one()
        tx.session.connection().execute(sa.text("DELETE FROM generation"))
        tx.record("endpoint.remove", row)
        tx.session.delete(row)
    world.keeping.prune()
    with world.database.read() as session:
        for table in ("metric_series", "metric_point", "metric_source", "metric_source_state", "slo"):
            assert session.connection().execute(sa.text(f"SELECT COUNT(*) FROM {table}")).scalar() == 0, table


def test_the_policy_is_a_decision_on_record(world: World) -> None:
    with world.database.read() as session:
        assert (kept(session).raw_hours, kept(session).revision) == (48, 0)
    first = world.retentions.set(world.otto, raw_hours=24, fine_hours=200, coarse_hours=9000)
    with pytest.raises(StaleWrite):
        world.retentions.set(world.otto, raw_hours=12, fine_hours=200, coarse_hours=9000, revision=first.revision + 1)
    second = world.retentions.set(world.otto, raw_hours=12, fine_hours=200, coarse_hours=9000, revision=first.revision)
    assert (second.raw_hours, second.revision) == (12, first.revision + 1)
    with world.database.read() as session:
        told = session.exec(select(LedgerRow).where(LedgerRow.action == "metric_retention.set")).all()
    assert len(told) == 2
    with pytest.raises(Refusal, match="cannot be kept like that"):
        world.retentions.set(world.otto, raw_hours=1, fine_hours=200, coarse_hours=9000)
    with pytest.raises(Refusal, match="cannot be kept like that"):
        world.retentions.set(world.otto, raw_hours=300, fine_hours=200, coarse_hours=9000)
    with pytest.raises(Refusal) as told_off:
        world.retentions.set(world.olga, raw_hours=24, fine_hours=200, coarse_hours=9000)
    assert told_off.value.code == "not-allowed"


def test_how_far_it_has_come_never_goes_back(world: World) -> None:
    fill(world, 2)
    world.keeping.roll_up()
    with world.database.read() as session:
        before = {one.step: one.until for one in session.exec(select(Rolled))}
    world.clock.tick(hours=-1)
    world.keeping.roll_up()
    with world.database.read() as session:
        assert {one.step: one.until for one in session.exec(select(Rolled))} == before
