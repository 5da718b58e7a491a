"""Pages as somebody whose grants reach one model only: what lists show, and what an address with a foreign name answers."""

from __future__ import annotations

import re

import pytest
from sqlmodel import select

from backend.access.rows import Request
from backend.bootstrap import Backend
from backend.changes.rows import Change
from backend.delivery.rows import Endpoint
from tests.installations import CHURN, CHURNING, EU, FLIGHTS, PRODUCTION, SERVERS, TAXI
from tests.pages.conftest import Open, raw, words

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
