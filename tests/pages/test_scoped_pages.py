"""Pages as somebody whose grants reach one model only: what lists show, and what an address with a foreign name answers."""

from __future__ import annotations

import re

import pytest
from sqlmodel import select

from app import reach, wiring
from app.change_pages import approvals
from app.endpoint_pages import fleet
from app.identity import Rights
from app.model_pages import catalog, versions
from backend.access import queries
from backend.access.rows import Request
from backend.bootstrap import Backend
from backend.changes import queries as changes
from backend.changes.rows import Change
from backend.core.errors import NotFound
from backend.delivery.fleet import Filters
from backend.delivery.rows import Endpoint
from tests.installations import CHURN, CHURNING, EU, FLIGHTS, PRODUCTION, SERVERS, TAXI
from tests.pages.conftest import Open, offered, raw, words

FOREIGN_WORDS = (FLIGHTS, TAXI, EU, PRODUCTION)


@pytest.fixture
def narrow(full: Backend) -> Backend:
    """Ana, whose role reaches the model of customers that leave, and nothing else."""
    otto, nora = full.identities.act_as("otto"), full.identities.act_as("nora")
    full.identities.take_back(otto, "ana", "contributor")
    for role in ("contributor", "reviewer", "operator"):
        asked = full.identities.grant(otto, "ana", role, f"model:{CHURN}")
        assert isinstance(asked, Request)
        full.identities.confirm_grant(nora, asked.id)
    return full


def _number(backend: Backend, endpoint: str) -> int:
    with backend.database.read() as session:
        query = select(Change.number).join(Endpoint).where(Endpoint.name == endpoint)
        found = session.exec(query).first()
    assert found is not None
    return found


def test_lists_show_the_one_model_and_count_nothing_else(narrow: Backend, full_page: Open) -> None:
    for file in ("overview", "models", "approvals", "endpoints", "admin"):
        test = full_page(file, "ana")
        assert not test.exception
        assert not test.error, (file, words(test))
        said = words(test)
        assert not [one for one in FOREIGN_WORDS if one in said], (file, said)
        assert CHURN in said or CHURNING in said or file == "admin", (file, said)
    assert "1 endpoint" in words(full_page("overview", "ana"))


@pytest.mark.parametrize(
    ("file", "key", "foreign", "missing"),
    [
        ("model", "model", FLIGHTS, "nothing-there"),
        ("card", "model", FLIGHTS, "nothing-there"),
        ("endpoint", "endpoint", EU, "nothing-there"),
        ("server", "server", SERVERS[0], "nothing-there"),
        ("propose", "endpoint", EU, "nothing-there"),
        ("experiment", "endpoint", EU, "nothing-there"),
        ("change", "change", "", "99999"),
    ],
)
def test_an_address_with_a_foreign_name_answers_as_one_with_a_name_of_nothing(
    narrow: Backend, full_page: Open, file: str, key: str, foreign: str, missing: str
) -> None:
    foreign = foreign or str(_number(narrow, EU))
    told = _said(full_page, file, key, foreign)
    assert told == _said(full_page, file, key, missing)
    assert "*" in told or file == "propose"


def _said(full_page: Open, file: str, key: str, value: str) -> str:
    test = full_page(file, "ana", **{key: value})
    assert not test.exception
    said = raw(test).replace("\\", "").replace(value, "*")
    return re.sub(r"\b[0-9a-f]{6,}\b|\d+ s ago|\d\d:\d\d(:\d\d)?", "", said)


def test_exported_files_hold_the_one_model_wherever_they_are_made(narrow: Backend) -> None:
    """A file is made outside every session, for whoever asked for it."""
    ana = narrow.identities.act_as("ana")
    made = {
        "models": catalog.exporter(ana, catalog.Asked()),
        "changes": approvals.exporter(ana, changes.Filters()),
        "endpoints": fleet.exporter(ana, Filters(), None),
        "endpoints then": fleet.exporter(ana, Filters(), narrow.database.now()),
    }
    for name, make in made.items():
        said = make().decode("utf-8-sig")
        assert said.count("\r\n") > 1, (name, said)
        assert not [one for one in FOREIGN_WORDS if one in said], (name, said)
    with pytest.raises(NotFound):
        versions.exporter(ana, FLIGHTS)()


def test_a_role_on_a_model_is_offered_there_what_it_allows(narrow: Backend, full_page: Open) -> None:
    said = words(full_page("endpoint", "ana", endpoint=CHURNING))
    assert "You may not" not in said
    assert offered(full_page("models", "ana"), "Register")
    assert offered(full_page("approvals", "ana"), "Propose a change")
    with wiring.reading(narrow.identities.act_as("ana")) as look:
        mine = Rights(queries.grants(look.session, narrow.identities.act_as("ana").id), look.now)
        here = reach.at(look, mine, environment="production", model=CHURN, endpoint=CHURNING)
        there = reach.at(look, mine, environment="production", model=FLIGHTS, endpoint=EU)
    assert here.may("endpoint.repair")
    assert not there.may("endpoint.repair")
    assert not mine.may("endpoint.repair")


def test_admin_shows_grants_teams_and_what_waits_for_a_second_person(narrow: Backend, full_page: Open) -> None:
    otto, nora = narrow.identities.act_as("otto"), narrow.identities.act_as("nora")
    narrow.teams.create(otto, "flights", "Flight *delays*")
    asked = narrow.identities.grant(otto, "carla", "operator", "team:flights")
    assert isinstance(asked, Request)
    for name, may in (("otto", False), ("nora", True)):
        test = full_page("admin", name, part="Grants")
        assert "the role operator in team:flights" in words(test)
        assert offered(test, "Confirm") == may, name
    assert "For a second person" not in words(full_page("admin", "ana", part="Grants"))
    assert "the role operator" not in words(full_page("admin", "ana", part="Grants")), "that is for admins and auditors"
    narrow.confirm_request(nora, asked.id)
    said = words(full_page("admin", "otto", part="Grants"))
    assert "team:flights" in said
    assert "Nothing waits" in said
