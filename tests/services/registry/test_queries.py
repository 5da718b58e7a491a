"""Lists page by key and cost the same at any page; one version whole; versions side by side."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import Session

from backend.core.database import Database
from backend.core.errors import NotFound, Refusal
from backend.registry import queries
from backend.registry.compare import compare
from backend.registry.port import RunFacts
from tests.databases import Clock
from tests.services.registry.worlds import FILES, SQLITE, World


@pytest.fixture
def world(database: Database, clock: Clock) -> World:
    """Twelve models, each a minute newer than the one before, with two versions; two pairs at the same moment."""
    world = World(database)
    for number in range(12):
        name = f"m{number:02}"
        tags = {"team": "delay" if number % 2 else "fares", "owner": "ana" if number < 3 else "olga"}
        world.memory.add_model(name, description=f"Über: Predicts {number} things at 100% or a_b", tags=tags)
        for _ in range(2):
            world.log(name, run=RunFacts(metrics={"auc": number / 100}, params={"n": str(number)}, author="trainer"))
        if number not in (4, 8):
            clock.tick(minutes=1)
    world.memory.move_alias("m03", "champion", 1)
    world.memory.move_alias("m03", "former", 1)
    world.mirror.mirror_all()
    world.memory.move_alias("m03", "former", None)
    world.mirror.mirror_all()
    return world


def whole(ask: Any, session: Session, **options: Any) -> list[Any]:
    """Every item of a list, three at a time."""
    found: list[Any] = []
    after = None
    while True:
        page = ask(session, after=after, limit=3, **options)
        assert len(page.items) <= 3
        found += page.items
        after = page.after
        if after is None:
            return found


def test_models_page_by_name_and_by_latest_change_without_gap_or_repeat(world: World) -> None:
    names = [f"m{number:02}" for number in range(12)]
    with world.database.read() as session:
        assert [one.name for one in whole(queries.models, session, order="name")] == names
        newest = whole(queries.models, session, order="newest")
        assert sorted(one.name for one in newest) == names
        times = [one.updated_at for one in newest]
        assert times == sorted(times, reverse=True)
        third = next(one for one in newest if one.name == "m03")
        assert (third.aliases, third.latest_version, third.owner) == ((("champion", 1),), 2, "olga")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", 12),
        ("M03", 1),
        ("predicts team=DELAY", 6),
        ("team=delay m03", 1),
        ("ÜBER", 12),
        ("100%", 12),
        ("%", 12),
        ("1%", 0),
        ("a_b", 12),
        ("axb", 0),
        ("absent", 0),
        ("\x00", 0),
        ("' OR 1=1 --", 0),
        ("\ud800", 0),
        ("m " * 1000, 12),
    ],
)
@SQLITE
def test_every_word_has_to_be_found(world: World, words: str, expected: int) -> None:
    with world.database.read() as session:
        assert len(queries.models(session, words=words).items) == expected


def test_filters_and_search_hold_on_both_databases(world: World) -> None:
    world.memory.remove_model("m05")
    world.mirror.mirror_all()
    with world.database.read() as session:
        assert [one.name for one in queries.models(session, owner="ana", order="name").items] == ["m00", "m01", "m02"]
        assert len(queries.models(session, words="predicts TEAM=delay").items) == 5
        assert [one.name for one in queries.models(session, removed=True).items] == ["m05"]
        for hostile in ("\x00", "\ud800", "%", "\\"):
            queries.models(session, words=hostile, owner=hostile)


def test_versions_of_a_model_and_of_all_page_without_gap_or_repeat(world: World) -> None:
    world.versions.register(world.act_as("ana"), "m03", 1)
    with world.database.read() as session:
        newest = whole(queries.newest_versions, session)
        assert len({(one.model, one.number) for one in newest}) == len(newest) == 24
        assert [one.created_at for one in newest] == sorted((one.created_at for one in newest), reverse=True)
        lines = whole(lambda *positional, **named: queries.versions(*positional, "m03", **named), session)
        assert [one.number for one in lines] == [2, 1]
        assert (lines[0].artifact_digest, lines[0].aliases, lines[0].author) == (None, (), "trainer")
        assert lines[1].artifact_digest is not None
        assert (lines[1].aliases, lines[1].registered_by) == (("champion",), world.act_as("ana").id)
        only = queries.newest_versions(session, registered=True).items
        assert [(one.model, one.number, one.is_verified) for one in only] == [("m03", 1, False)]


def test_a_page_that_nobody_gave_is_refused(world: World) -> None:
    with world.database.read() as session:
        other = queries.models(session, order="name", limit=3).after
        for after in (other, "x", ""):
            with pytest.raises(Refusal) as refused:
                queries.models(session, after=after)
            assert refused.value.code == "bad-page"


def test_an_alias_leads_to_its_version_and_what_is_absent_is_not_found(world: World) -> None:
    with world.database.read() as session:
        assert queries.by_alias(session, "m03", "champion") == 1
        for model, alias in (("m03", "other"), ("m03", "former"), ("m04", "champion"), ("\x00", "\x00")):
            with pytest.raises(NotFound):
                queries.by_alias(session, model, alias)
        for call in (lambda: queries.version(session, "m03", 9), lambda: queries.versions(session, "absent")):
            with pytest.raises(NotFound):
                call()
        with pytest.raises(Refusal) as refused:
            queries.registered(session, "m03", 1)
        assert refused.value.code == "not-registered"


def test_versions_stand_side_by_side(world: World) -> None:
    other = {
        **FILES,
        "requirements.txt": b"numpy==2.5\nscipy\n",
        "MLmodel": FILES["MLmodel"].replace(b'"hour"', b'"minute"'),
    }
    data = ({"name": "flights", "digest": "d1", "source_type": "", "context": "training"},)
    world.log("delay", run=RunFacts(metrics={"auc": 0.7, "loss": 0.2}, params={"depth": "3"}, datasets=data))
    world.log(
        "delay", other, run=RunFacts(metrics={"auc": 0.8}, params={"depth": "3"}, datasets=({**data[0], "digest": "d2"},))
    )
    for number in (1, 2):
        world.versions.register(world.act_as("ana"), "delay", number)
    with world.database.read() as session:
        both = compare(session, "delay", [2, 1])
        for numbers in ([1], [1, 1], list(range(1, 12))):
            with pytest.raises(Refusal):
                compare(session, "delay", numbers)
    assert [(row.name, row.values, row.differs) for row in both.metrics] == [
        ("auc", (0.8, 0.7), True),
        ("loss", (None, 0.2), True),
    ]
    assert [(row.name, row.values, row.differs) for row in both.params] == [("depth", ("3", "3"), False)]
    assert [(row.name, row.values) for row in both.dependencies] == [
        ("numpy", ("==2.5", "==2.4.6")),
        ("onnx", (None, "==1.23")),
        ("scipy", ("any", None)),
    ]
    assert [row.name for row in both.signature] == ["inputs.hour", "inputs.minute", "outputs.probability"]
    assert [(row.name, row.values) for row in both.datasets] == [("flights (training)", ("d2", "d1"))]


def explained(session: Session, ask: Any) -> str:
    """SQLite's plans of the statements that a read runs."""
    plans: list[str] = []
    connection = session.connection()

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("EXPLAIN"):
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in rows)

    sa.event.listen(connection, "before_cursor_execute", note)
    ask()
    sa.event.remove(connection, "before_cursor_execute", note)
    return "\n".join(plans)


@SQLITE
def test_lists_and_lookups_walk_along_indexes(world: World) -> None:
    with world.database.read() as session:
        after = queries.newest_versions(session, limit=3).after
        by_time = queries.models(session, limit=3).after
        by_name = queries.models(session, order="name", limit=3).after
        cases = {
            "mirrored_version_created": lambda: queries.newest_versions(session, after=after),
            "version_created": lambda: queries.newest_versions(session, registered=True, after=after),
            "model_updated": lambda: queries.models(session, after=by_time),
            "model_name": lambda: queries.models(session, order="name", after=by_name),
            "sqlite_autoindex_mirrored_alias_1 (model_id=? AND alias=?)": lambda: queries.by_alias(session, "m03", "champion"),
            "sqlite_autoindex_mirrored_version_2 (model_id=? AND number<?)": lambda: queries.versions(
                session, "m03", after=queries.versions(session, "m03", limit=1).after
            ),
        }
        for index, ask in cases.items():
            plan = explained(session, ask)
            assert f"USING INDEX {index}" in plan or f"USING COVERING INDEX {index}" in plan, f"{index}:\n{plan}"
            assert "SCAN" not in plan.replace(f"SCAN model USING INDEX {index}", ""), f"{index}:\n{plan}"
            assert "TEMP B-TREE" not in plan, f"{index}:\n{plan}"
