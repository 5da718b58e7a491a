"""What is shown: figures by arm and version over time, objectives as they stand, and that what nobody knows is never a pass."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlmodel import col, select

from backend.core.context import SYSTEM
from backend.core.errors import NotFound, Refusal, StaleWrite
from backend.core.ledger import LedgerRow
from backend.findings.rows import Finding
from backend.metrics import queries
from backend.metrics.quantiles import Histogram
from backend.metrics.rows import SloRow
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
    assert (moment.requests, moment.throughput, moment.error_rate) == (60, 2.0, 0.05), "half of this minute was looked at"
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
    world: World,
    hours: float,
    *,
    bad: float = 0.0,
    slow: float = 0.0,
    covered: bool = True,
    shadow: bool = False,
    timed: bool = True,
) -> None:
    """A hundred requests a minute from a router that tells everything; of latency only where they are timed."""
    base = (f"end_{ENDPOINT}", "router:rtr_1", "router")
    about = {"arm": "v1", "version": 1, "shadow": shadow}
    looks, before = [], world.clock.now
    for _ in range(round(hours * 60)):
        at = before + timedelta(minutes=1)
        added = [Added(Identity(*base, "covered"), 60.0)] if covered else []
        added += [
            Added(Identity(*base, "requests", **about), 100.0),  # type: ignore[arg-type]
            Added(Identity(*base, "errors", **about), 100.0 * bad),  # type: ignore[arg-type]
        ]
        quick = Histogram((0.1, 0.5), (100 * (1 - slow), 100 * slow, 0), 10.0)
        about_latency = Identity(*base, "latency", **about, bounds=(0.1, 0.5))  # type: ignore[arg-type]
        added += [Added(about_latency, quick)] if timed else []
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
    assert available.alerts[2].reason == "In the last day: only 34 % of it was looked at."
    assert available.budget.used == pytest.approx(0.2 * 6600, rel=0.01)
    assert available.budget.reason.startswith("Only 1.1 % of it was looked at")
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


def test_a_budget_that_burns_is_not_over_because_nobody_looks(world: World) -> None:
    """The source falls silent for forty minutes, then for hours; once it tells that all is well, the finding ends."""
    world.slos.set(world.olga, ENDPOINT, [HALF_NINES])
    fill(world, 1.2, bad=0.2)
    watch.watch_objectives(world.database)
    for minutes in (20, 20, 20, 240):
        world.clock.tick(minutes=minutes)
        watch.watch_objectives(world.database)
        assert found(world)[0] == ("slo.burn", "availability", "critical")
    assert {one.verdict for one in standing(world)["availability"].alerts} == {"unknown"}
    assert ("slo.unknown", "availability", "warning") in found(world)
    fill(world, 0.6)
    watch.watch_objectives(world.database)
    fill(world, 0.3)
    watch.watch_objectives(world.database)
    assert found(world) == []


def test_a_look_that_was_missed_is_no_clean_one(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [HALF_NINES])
    fill(world, 1.2, bad=0.2)
    watch.watch_objectives(world.database)
    fill(world, 0.2)
    watch.watch_objectives(world.database)
    world.clock.tick(minutes=20)
    watch.watch_objectives(world.database)
    fill(world, 0.1)
    watch.watch_objectives(world.database)
    assert found(world)[0] == ("slo.burn", "availability", "critical"), "it was well for six minutes, as far as anybody knows"


def test_of_several_alerts_that_burned_the_one_of_which_nothing_is_known_keeps_the_finding(world: World) -> None:
    """A slow burn over six hours falls silent; the last hour is soon known to be well, its half hour not yet."""
    world.slos.set(world.olga, ENDPOINT, [HALF_NINES])
    fill(world, 3.5, bad=0.1)
    watch.watch_objectives(world.database)
    assert [one.verdict for one in standing(world)["availability"].alerts] == ["fine", "burning", "unknown", "unknown"]
    world.clock.tick(hours=3)
    fill(world, 0.1)
    watch.watch_objectives(world.database)
    world.clock.tick(minutes=18)
    fill(world, 0.1)
    watch.watch_objectives(world.database)
    assert found(world)[0] == ("slo.burn", "availability", "critical")
    for _ in range(2):
        fill(world, 0.3)
        watch.watch_objectives(world.database)
    assert found(world) == []


def test_that_nobody_knows_is_told_at_a_low_target_too_and_not_after_a_look_that_was_missed(world: World) -> None:
    """At 90 % over 30 days the alert over an hour can never fire."""
    world.slos.set(world.olga, ENDPOINT, [Objective("availability", 0.9)])
    fill(world, 1.2)
    watch.watch_objectives(world.database)
    assert found(world) == [], "of six hours too little is known yet, of the last one enough"
    world.clock.tick(minutes=10)
    watch.watch_objectives(world.database)
    assert found(world) == []
    world.clock.tick(hours=5)
    watch.watch_objectives(world.database)
    assert found(world) == [("slo.unknown", "availability", "warning")]
    world.slos.set(world.olga, ENDPOINT, [Objective("availability", 0.91)])
    world.clock.tick(minutes=1)
    watch.watch_objectives(world.database)
    assert len(found(world)) == 1, "saying it again lets nobody know"


def test_what_was_promised_before_and_can_never_alarm_is_unknown(world: World) -> None:
    row = world.slos.set(world.olga, ENDPOINT, [HALF_NINES])
    with world.database.unit(SYSTEM) as tx:
        kept = [{"kind": "availability", "target": 0.5, "seconds": None}]
        values = {"days": 90, "objectives": kept}
        tx.session.connection().execute(sa.update(SloRow).where(col(SloRow.id) == row.id).values(values))
    fill(world, 1.2, bad=1.0)
    assert standing(world)["availability"].verdict == "unknown"
    watch.watch_objectives(world.database)
    assert found(world) == [("slo.unknown", "availability", "warning")]


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


def test_a_quick_error_is_no_quick_answer_where_nobody_tells_of_errors(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [QUICK])
    key = world.source(figures=[{"metric": "latency", "name": "took_seconds", "version_label": "version"}])
    for _ in range(20):
        world.count(1, failed=100, quick=100)
        world.look(key)
    (found,) = standing(world).values()
    assert found.verdict == "unknown"
    assert "no source tells it" in found.alerts[0].reason


def test_where_nobody_tells_how_long_requests_took_none_was_late(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [QUICK])
    fill(world, 1.1)
    fill(world, 0.2, timed=False)
    alert = standing(world)["latency-100ms"].alerts[0]
    assert (alert.verdict, alert.reason) == ("unknown", "In the last 5 minutes: no source tells it.")
    assert alert.long.rate == 0, "what is known of the hour is well"
    fill(world, 0.6, timed=False)
    hour = standing(world)["latency-100ms"].alerts[0].long
    assert (hour.blind, hour.reason) == (True, "only 20 % of it was looked at")


def test_requests_that_failed_before_anybody_timed_them_are_late(world: World) -> None:
    world.slos.set(world.olga, ENDPOINT, [QUICK])
    fill(world, 0.2)
    fill(world, 1.1, bad=1.0, timed=False)
    assert standing(world)["latency-100ms"].alerts[0].verdict == "burning"


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


@pytest.mark.parametrize(("target", "days"), [(0.5, 60), (0.66, 90)])
def test_what_no_alert_watches_is_refused(world: World, target: float, days: int) -> None:
    with pytest.raises(Refusal) as told:
        world.slos.set(world.olga, ENDPOINT, [HALF_NINES, Objective("latency", target, 0.1)], days=days)
    assert told.value.code == "slo-never-alarms"
    world.slos.set(world.olga, ENDPOINT, [Objective("latency", target, 0.1)], days=30)


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
