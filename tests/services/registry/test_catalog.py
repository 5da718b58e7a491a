"""The list of models filters by what is indexed, counts what it shows, and knows how old it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from backend.core.database import Database
from backend.core.errors import Refusal
from backend.registry import catalog, freshness, queries
from backend.registry.catalog import Counts, Wanted
from backend.registry.mirror import Mirror
from backend.registry.port import RunFacts
from tests.databases import Clock
from tests.services.registry.worlds import FILES, World


@pytest.fixture
def world(database: Database) -> World:
    """Three models: two versions of which one is registered; one with pickled code; one that is gone."""
    world = World(database)
    world.memory.add_model("delay", tags={"owner": "ana"})
    world.log("delay", run=RunFacts(metrics={"auc": 0.7}))
    world.log("delay")
    world.memory.add_model("bags", tags={"owner": "olga"})
    world.log("bags", {**FILES, "encoder.pkl": b"\x80\x04K\x01."})
    world.log("gone")
    world.memory.move_alias("delay", "champion", 1)
    world.mirror.mirror_all()
    ana = world.act_as("ana")
    world.versions.register(ana, "delay", 1)
    world.versions.register(ana, "bags", 1)
    world.memory.remove_model("gone")
    world.mirror.mirror_all()
    return world


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Wanted(), {"delay", "bags"}),
        (Wanted(words="owner=ana"), {"delay"}),
        (Wanted(owner="olga"), {"bags"}),
        (Wanted(alias="champion"), {"delay"}),
        (Wanted(alias="champion\x00"), set()),
        (Wanted(pickled=True), {"bags"}),
        (Wanted(pickled=True, alias="champion"), set()),
        (Wanted(removed=True), {"gone"}),
        (Wanted(among=sa.select(sa.literal("delay"))), {"delay"}),
    ],
)
def test_each_filter_finds_and_counts_its_models(world: World, wanted: Wanted, names: set[str]) -> None:
    with world.database.read() as session:
        assert {one.name for one in catalog.page(session, wanted).items} == names
        assert catalog.count(session, wanted) == len(names)


def test_versions_are_counted_by_what_is_known_of_them(world: World) -> None:
    with world.database.read() as session:
        lines = {one.name: one.id for one in catalog.page(session, Wanted()).items}
        found = catalog.counts(session, list(lines.values()))
        assert found == {lines["delay"]: Counts(2, 1, 0), lines["bags"]: Counts(1, 1, 1)}
        assert queries.numbers(session, "delay") == ((2, False), (1, True))
        assert [one.is_pickled for one in queries.versions(session, "bags").items] == [True]
        assert catalog.owners(session) == ("ana", "olga")
        assert catalog.alias_names(session) == ("champion",)
        one = catalog.one(session, "delay")
        assert one is not None
        assert one.aliases == (("champion", 1),)
        assert catalog.one(session, "nothing") is None


def test_the_lists_of_thousands_are_read_by_their_indexes(database: Database) -> None:
    """What each database plans to do, on its own statistics of 20,000 versions."""
    rows = 2_000
    with database.engine.begin() as connection:
        _many(connection, rows)
        connection.exec_driver_sql("ANALYZE")
    with database.engine.connect() as connection:
        for wanted, index in (
            (Wanted(), "model_updated"),
            (Wanted(owner="team-7"), "ix_model_owner"),
            (Wanted(alias="rare"), "mirrored_alias_name"),
            (Wanted(pickled=True), "version_pickled"),
        ):
            plan = _plan(connection, _query(wanted), is_sqlite=database.is_sqlite)
            assert index in plan, plan
        counted = sa.select(sa.func.count()).select_from(catalog._V.model_id.table).where(catalog._V.model_id.in_(["m1", "m2"]))
        found = "SEARCH mirrored_version USING" if database.is_sqlite else "mirrored_version_model_id_number"
        assert found in _plan(connection, counted, is_sqlite=database.is_sqlite)


def test_how_old_the_lists_are_and_why(world: World, clock: Clock) -> None:
    def now() -> freshness.Reading:
        with world.database.read() as session:
            return freshness.reading(session, clock.now)

    first = now()
    assert (first.read_at, first.whole_at, first.is_stale, first.models) == (clock.now, clock.now, False, 2)
    clock.tick(seconds=100)
    world.mirror.mirror_recent()
    assert (now().read_at, now().whole_at) == (clock.now, first.whole_at), "the latest changes were read, not everything"
    clock.tick(seconds=170)
    assert not now().is_stale
    clock.tick(seconds=30)
    assert now().is_stale
    world.mirror.ask(world.act_as("ben"))
    assert now().due_at == clock.now
    world.memory.up = False
    claim = world.claim("mirror", "*")
    assert claim is not None
    assert now().is_working
    world.mirror.handle_mirror(claim)
    failed = now()
    assert (failed.failures, failed.is_working) == (1, False)
    assert "cannot be reached" in failed.error


def test_one_model_is_asked_for_until_it_was_read(world: World, clock: Clock) -> None:
    world.mirror.ask(world.act_as("olga"), "delay")
    with world.database.read() as session:
        assert freshness.is_read_now(session, "delay", clock.now)
    claim = world.claim("mirror", "delay")
    assert claim is not None
    world.mirror.handle_mirror(claim)
    with world.database.read() as session:
        assert not freshness.is_read_now(session, "delay", clock.now)


def test_whoever_may_not_ask_or_has_nobody_to_ask_is_told(world: World) -> None:
    with pytest.raises(Refusal, match="may not refresh a registry"):
        world.mirror.ask(world.act_as("audra"))
    with pytest.raises(Refusal, match="No model registry"):
        Mirror(world.database, None).ask(world.act_as("olga"))


def _query(wanted: Wanted) -> sa.Select[Any]:
    ordered = catalog._listed().where(*catalog._holds(wanted)).order_by(catalog._M.updated_at.desc(), catalog._M.id.desc())
    return ordered.limit(51)


def _plan(connection: sa.Connection, query: sa.Select[Any], *, is_sqlite: bool) -> str:
    text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
    return "\n".join(str(row) for row in connection.exec_driver_sql((explain + text).replace("%", "%%")))


def _many(connection: sa.Connection, rows: int) -> None:
    """Models of a hundred owners with ten versions each; one in a thousand carries the rare alias or is pickled."""
    models, versions, aliases, kept = catalog.Model, catalog.MirroredVersion, catalog.MirroredAlias, catalog.Version
    insert = {one: one.__table__.insert() for one in (models, versions, aliases, kept)}  # type: ignore[attr-defined]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=number) for number in range(rows)]
    told = {"mirrored_at": start, "created_at": start}
    connection.execute(
        insert[models],
        [
            {"id": f"m{n}", "name": f"model-{n}", "description": "d" * 200, "tags": {}, "owner": f"team-{n % 100}",
             "latest_version": 10, "updated_at": times[n], "search": f"model-{n}", **told}
            for n in range(rows)
        ],
    )  # fmt: skip
    blank = {"status": "READY", "author": "", "code_version": "", "description": "", "source": "", "tags": {}, "metrics": {},
             "params": {}, "datasets": []}  # fmt: skip
    connection.execute(
        insert[versions],
        [
            {"id": f"v{n}-{k}", "model_id": f"m{n}", "number": k, "updated_at": start, "fingerprint": "", **blank, **told}
            for n in range(rows)
            for k in range(1, 11)
        ],
    )
    connection.execute(
        insert[aliases],
        [
            {"model_id": f"m{n}", "alias": "rare" if n % 1000 == 0 else "champion", "number": 1, "seen_at": start}
            for n in range(rows)
        ],
    )
    connection.execute(
        insert[kept],
        [
            {"id": f"v{n}-1", "model_id": f"m{n}", "number": 1, "pickled": ["x.pkl"] if n % 1000 == 0 else [],
             "dependencies": [], "artifact_files": [], **blank, **told}
            for n in range(rows)
        ],
    )  # fmt: skip
