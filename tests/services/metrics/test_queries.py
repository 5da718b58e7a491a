"""What is shown: figures by arm and version over time, objectives as they stand, and that what nobody knows is never a pass."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from backend.core.context import SYSTEM
from backend.core.errors import NotFound, Refusal, StaleWrite
from backend.core.ledger import LedgerRow
from backend.findings.rows import Finding
from backend.metrics import queries
from backend.metrics.quantiles import Histogram
from backend.metrics.slo import Objective
from backend.metrics.storing import Added, Identity, Looked, store
from backend.monitoring import watch
from tests.services.metrics.world import ENDPOINT, World

HALF_NINES = Objective("availability", 0.99)
QUICK = Objective("latency", 0.95, 0.1)


def chart(world: World, **options: object) -> queries.Chart:
    with world.database.read() as session:
        return queries.chart(session, ENDPOINT, world.clock.now - timedelta(minutes=10), world.clock.now, **options)  # type: ignore[arg-type]


def test_figures_by_arm_by_version_and_of_the_whole_endpoint(world: World) -> None:
    key = world.source()
    world.count(1, ok=1, failed=0, quick=0)
    world.count(2, ok=1)
    world.look(key)
    world.count(1, ok=57, failed=3, quick=54, slow=6)
    world.count(2, ok=30, quick=30)
    world.look(key)
    first, second = chart(world).groups
    (moment,) = first.moments
    assert ((first.arm, first.version), (second.arm, second.version)) == (("v1", 1), ("v2", 2))
    assert (moment.requests, moment.throughput, moment.error_rate) == (60, 1.0, 0.05)
    assert moment.latency[0.5].value == pytest.approx(0.1 * 30 / 54)
    assert 0.1 <= moment.latency[0.99].low < moment.latency[0.99].value < moment.latency[0.99].high == 0.5
    assert moment.mean_seconds == pytest.approx((54 * 0.05 + 6 * 0.4) / 60)
    (whole,) = chart(world, by="endpoint").groups
    assert (whole.arm, whole.version, whole.moments[0].requests) == ("", None, 90)
    assert [one.version for one in chart(world, by="version").groups] == [1, 2]


def test_a_chart_says_for_which_part_of_it_somebody_looked(world: World) -> None:
    key = world.source()
    world.count(1, ok=1)
    world.look(key)
    world.look(key)
    world.server.status = 500
    for _ in range(4):
        world.look(key)
    found = chart(world)
    assert list(found.covered.values()) == [0.5]
    assert [len(group.moments) for group in found.groups] == [1], "where nobody looked there is no zero"


def test_spans_and_steps_are_bounded(world: World) -> None:
    assert [queries.fitting(world.clock.now, world.clock.now + timedelta(hours=n)) for n in (3, 24, 72)] == [60, 300, 3600]
    for options, code in (({"step": 7}, "bad-step"), ({"step": 60, "days": 30}, "bad-span"), ({"days": -1}, "bad-span")):
        with world.database.read() as session, pytest.raises(Refusal) as told:
            start = world.clock.now - timedelta(days=options.get("days", 1))
            queries.chart(session, ENDPOINT, start, world.clock.now, step=options.get("step"))
        assert told.value.code == code


def test_triton_shows_queues_and_cold_starts_apart(world: World) -> None:
    """A batch job takes the model: requests wait. A cold start: they compute for long."""
    seconds = {"request_seconds": 10.0, "queue_seconds": 8.0, "compute_seconds": 2.0, "requests": 100.0}
    added = [
        Added(Identity(f"end_{ENDPOINT}", "server:srv_1", "server", name, "v1", 1), value) for name, value in seconds.items()
    ]
    with world.database.unit(SYSTEM) as tx:
        store(tx, "server:srv_1", [Looked(world.clock.now, world.clock.now - timedelta(seconds=30), added)])
    (moment,) = chart(world).groups[0].moments
    assert (moment.queue_share, moment.queue_seconds, moment.compute_seconds) == (0.8, 0.08, 0.02)
    assert moment.mean_seconds == 0.1
    assert moment.latency == {}


def test_whoever_stands_nearest_to_the_callers_is_believed(world: World) -> None:
    looks = [
        Added(Identity(f"end_{ENDPOINT}", source, teller, "requests", "v1", 1), value)
        for source, teller, value in (("server:srv_1", "server", 50.0), ("router:rtr_1", "router", 40.0))
    ]
    with world.database.unit(SYSTEM) as tx:
        for look, source in zip(looks, ("server:srv_1", "router:rtr_1"), strict=True):
            store(tx, source, [Looked(world.clock.now, world.clock.now - timedelta(seconds=30), [look])])
    assert [moment.requests for group in chart(world).groups for moment in group.moments] == [40.0]


# -- objectives


def fill(
    world: World, hours: float, *, bad: float = 0.0, slow: float = 0.0, covered: bool = True, shadow: bool = False
) -> None:
    """A hundred requests a minute from a router that tells everything."""
    base = (f"end_{ENDPOINT}", "router:rtr_1", "router")
    about = {"arm": "v1", "version": 1, "shadow": shadow}
    looks, before = [], world.clock.now
    for _ in range(round(hours * 60)):
        at = before + timedelta(minutes=1)
        added = [Added(Identity(*base, "covered"), 60.0)] if covered else []
        added += [
            Added(Identity(*base, "requests", **about), 100.0),  # type: ignore[arg-type]
            Added(Identity(*base, "errors", **about), 100.0 * bad),  # type: ignore[arg-type]
            Added(
                Identity(*base, "latency", **about, bounds=(0.1, 0.5)),  # type: ignore[arg-type]
                Histogram((0.1, 0.5), (100 * (1 - slow), 100 * slow, 0), 10.0),
            ),
        ]
        looks.append(Looked(at, before, added))
        before = at
    with world.database.unit(SYSTEM) as tx:
        store(tx, base[1], looks)
    world.clock.now = before


def standing(world: World) -> dict[str, queries.Promise]:
    with world.database.read() as session:
        found = queries.standing(session, ENDPOINT, now=world.clock.now)
    assert found is not None
    return {one.objective.name: one for one in found.promises}


def test_a_burning_budget_is_told_by_its_windows(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [HALF_NINES, QUICK])
    fill(world, 7, bad=0.0, slow=0.02)
    fill(world, 1.1, bad=0.2, slow=0.02)
    world.keeping.roll_up()
    found = standing(world)
    available = found["availability"]
    assert [one.verdict for one in available.alerts] == ["burning", "fine", "unknown", "unknown"]
    assert available.verdict == "burning"
    assert available.alerts[0].long.rate == pytest.approx(20, rel=0.01)
    assert available.alerts[2].reason == "In the last 1 day: only 34% of it was looked at."
    assert available.budget.used == pytest.approx(0.2 * 6600, rel=0.01)
    assert available.budget.reason.startswith("Only 1% of it was looked at")
    quick = found["latency-100ms"].alerts[0].long.rate
    assert quick == pytest.approx((0.02 + 0.2) / 0.05, rel=0.02), "an error is no quick answer"


def test_no_data_is_never_a_pass(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [HALF_NINES, QUICK])
    assert {one.verdict for one in standing(world).values()} == {"unknown"}
    fill(world, 1, covered=False)
    assert {one.verdict for one in standing(world).values()} == {"unknown"}


def found(world: World) -> list[tuple[str, str, str]]:
    """(kind, of what, severity) of findings that are not over."""
    with world.database.read() as session:
        rows = session.exec(select(Finding).where(Finding.state != "resolved").order_by(Finding.number)).all()  # type: ignore[arg-type]
        return [(row.kind, row.about, row.severity) for row in rows]


def test_a_budget_that_burns_is_a_finding_until_it_does_no_more(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [HALF_NINES])
    watch.watch_objectives(world.database)
    assert found(world) == [], "a promise is an hour old before it is told that nobody knows"
    fill(world, 1.2, bad=0.2)
    assert watch.watch_objectives(world.database) == 1
    assert found(world) == [("slo.burn", "availability", "critical")]
    fill(world, 0.2)
    assert watch.watch_objectives(world.database) == 0
    assert len(found(world)) == 1, "it has to be well for a quarter of an hour"
    fill(world, 0.3)
    watch.watch_objectives(world.database)
    assert found(world) == []


def test_that_nobody_knows_how_an_objective_stands_is_a_finding_too(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [HALF_NINES])
    world.clock.tick(hours=2)
    watch.watch_objectives(world.database)
    assert found(world) == [("slo.unknown", "availability", "warning")]
    world.slos.remove(world.olga, ENDPOINT)
    world.clock.tick(minutes=1)
    watch.watch_objectives(world.database)
    assert found(world) == [], "nothing is promised any more"


def test_copies_that_nobody_waits_for_do_not_count(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [HALF_NINES])
    fill(world, 1.1, bad=1.0, shadow=True)
    (found,) = standing(world).values()
    assert found.budget.left is None


def test_a_source_that_says_nothing_of_errors_proves_no_availability(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [HALF_NINES])
    key = world.source(figures=[{"metric": "requests", "name": "asked_total"}])
    for _ in range(20):
        world.count(1, ok=100)
        world.look(key)
    (found,) = standing(world).values()
    assert found.verdict == "unknown"
    assert "no source tells it" in found.alerts[0].reason


# -- commands


def test_objectives_are_set_changed_and_taken_away_on_record(world: World) -> None:
    with world.database.read() as session:
        assert queries.standing(session, ENDPOINT, now=world.clock.now) is None
    row = world.slos.set(world.olga, ENDPOINT, [HALF_NINES], days=28)
    again = world.slos.set(world.olga, ENDPOINT, [HALF_NINES], days=28)
    assert (row.id, row.revision) == (again.id, again.revision) == (again.id, 1)
    changed = world.slos.set(world.olga, ENDPOINT, [QUICK, HALF_NINES], days=28, revision=1)
    assert changed.revision == 2
    assert [one["kind"] for one in changed.objectives] == ["availability", "latency"]
    with pytest.raises(StaleWrite):
        world.slos.set(world.olga, ENDPOINT, [HALF_NINES], days=28, revision=1)
    with pytest.raises(StaleWrite):
        world.slos.set(world.olga, ENDPOINT, [HALF_NINES], revision=0)
    world.slos.remove(world.olga, ENDPOINT)
    with pytest.raises(NotFound):
        world.slos.remove(world.olga, ENDPOINT)
    with pytest.raises(NotFound):
        world.slos.set(world.olga, ENDPOINT, [HALF_NINES], revision=2)
    with world.database.read() as session:
        told = session.exec(select(LedgerRow.action).where(LedgerRow.subject_kind == "slo").order_by(LedgerRow.seq)).all()
    assert told == ["slo.set", "slo.set", "slo.remove"]


@pytest.mark.parametrize(
    ("objectives", "days"),
    [
        ([], 30),
        ([HALF_NINES] * 2, 30),
        ([HALF_NINES], 0),
        ([HALF_NINES], 91),
        ([Objective("availability", 1.0)], 30),
        ([Objective("availability", 0.3)], 30),
        ([Objective("availability", float("nan"))], 30),
        ([Objective("availability", 0.99, 0.1)], 30),
        ([Objective("latency", 0.99)], 30),
        ([Objective("latency", 0.99, 0.0)], 30),
        ([Objective("latency", 0.99, float("inf"))], 30),
        ([Objective("speed", 0.99)], 30),  # type: ignore[arg-type]
        ([Objective("latency", 0.99, 0.1 * n) for n in range(1, 8)], 30),
    ],
)
def test_what_cannot_be_promised_is_refused(world: World, objectives: list[Objective], days: int) -> None:
    with pytest.raises(Refusal) as told:
        world.slos.set(world.olga, ENDPOINT, objectives, days=days)
    assert told.value.code == "bad-slo"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"name": "A b"}, "bad-name"),
        ({"kind": "graphite"}, "unknown-kind"),
        ({"settings": {"url": "ftp://x/y", "preset": "mlserver", "model": "m"}}, "bad-settings"),
        ({"settings": {"url": "https://192.0.2.1/metrics"}}, "bad-settings"),
        ({"settings": {"url": "https://192.0.2.1/metrics?token=x", "preset": "mlserver", "model": "m"}}, "bad-settings"),
        ({"settings": {"url": "http://169.254.169.254/metrics", "preset": "mlserver", "model": "m"}}, "address-not-allowed"),
        ({"settings": {"url": "https://192.0.2.1/x", "figures": [{"metric": "covered", "name": "a"}]}}, "bad-settings"),
        ({"credential_from": "a secret"}, "bad-credential"),
    ],
)
def test_what_cannot_be_a_source_is_refused(world: World, given: dict[str, object], code: str) -> None:
    wanted = {"name": "own", "kind": "text", "settings": {"url": world.server.url, "preset": "mlserver", "model": "m"}, **given}
    with pytest.raises(Refusal) as told:
        world.sources.add(world.otto, ENDPOINT, **wanted)  # type: ignore[arg-type]
    assert told.value.code == code


def test_a_name_is_taken_once_and_a_source_needs_a_role_everywhere(world: World) -> None:
    world.source()
    with pytest.raises(Refusal) as told:
        world.source()
    assert told.value.code == "name-taken"
    with pytest.raises(NotFound):
        world.sources.remove(world.otto, ENDPOINT, "another")
