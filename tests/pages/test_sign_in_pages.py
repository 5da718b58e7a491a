"""What stands before every page where people sign in, and what an admin sees of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from sqlmodel import select
from streamlit.testing.v1 import AppTest

from app import wiring
from backend.access import rosters
from backend.access.claimed_roles import BOOTSTRAP
from backend.access.rows import RoleGrant
from backend.bootstrap import Backend
from backend.core.context import SYSTEM, Actor
from backend.core.errors import Refusal
from tests import plain_logs
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET, IdentityProvider, identity_provider
from tests.pages.conftest import ROOT, press, words


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as found:
        yield found


@pytest.fixture
def signs_in(prepared: Path, tmp_path: Path, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The backend that the pages of this test use, with one provider."""
    shutil.copytree(prepared, tmp_path / "data")
    file = tmp_path / "sign-in.toml"
    file.write_text(
        f'[auth]\nredirect_uri = "http://localhost:8501/oauth2callback"\ncookie_secret = "{COOKIE_SECRET}"\n'
        'first_administrator = "corp:u-ada"\n'
        f'[auth.corp]\ntitle = "Example *Corp*"\nclient_id = "{CLIENT}"\nclient_secret = "{SECRET}"\n'
        f'server_metadata_url = "{provider.issuer}/.well-known/openid-configuration"\n'
        'roles = [{ value = "ml-reviewers", role = "reviewer" }]\n'
    )
    monkeypatch.setenv("COUNTERSIGN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COUNTERSIGN_DEMO_IDENTITIES", "false")
    monkeypatch.setenv("COUNTERSIGN_SIGN_IN_FILE", str(file))
    monkeypatch.setenv("COUNTERSIGN_ALLOWED_NETWORKS", "127.0.0.0/8")
    wiring.forget()
    st.cache_data.clear()
    yield wiring.backend()
    wiring.forget()
    plain_logs.configure()


def opened(provider: IdentityProvider | None = None, **changed: Any) -> AppTest:
    """The first page, as somebody who came back from the provider, or as nobody."""
    test = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
    if provider is not None:
        told = provider.claims(**changed)
        test.user = {**told, "is_logged_in": True, "provider": "corp", "tokens": {"id": provider.sign(told)}}
    return test.run()


def headers(test: AppTest) -> list[str]:
    return [one.value for one in test.header]


def test_a_stranger_sees_the_providers_and_nothing_else(signs_in: Backend) -> None:
    test = opened()
    assert headers(test) == ["Sign in"]
    assert [one.key for one in test.button] == ["sign-in-corp"]
    assert r"Example \*Corp\*" in test.button[0].label
    assert not test.sidebar.markdown


def test_somebody_with_a_role_sees_the_page(signs_in: Backend, provider: IdentityProvider) -> None:
    test = opened(provider, sub="u-rita", name="Rita", groups=["ml-reviewers"])
    assert headers(test) == ["Overview"]
    assert "Rita" in "".join(one.value for one in test.sidebar.markdown)


def test_somebody_without_a_role_is_told_whom_to_ask(signs_in: Backend, provider: IdentityProvider) -> None:
    test = opened(provider, sub="u-nils", name="Nils", groups=[])
    assert headers(test) == ["You have no role here yet"]
    assert "Ask an admin" in words(test)
    assert "left out your groups" not in words(test)


def test_groups_that_were_left_out_are_spoken_of(signs_in: Backend, provider: IdentityProvider) -> None:
    test = opened(provider, sub="u-nils", name="Nils", groups=None, hasgroups=True)
    assert "left out your groups" in words(test)


def test_a_session_that_was_ended_shows_no_page(signs_in: Backend, provider: IdentityProvider) -> None:
    test = opened(provider)
    assert headers(test) == ["Overview"]
    signs_in.sessions.end(provider.claims() | {"nonce": "n-1", "iat": test.user["iat"]})  # type: ignore[index]
    test.run()
    assert headers(test) == ["You are signed out"]
    assert "You signed out." in test.info[0].value.replace("\\", "")


def _part(kept, drawn, asked):  # type: ignore[no-untyped-def]  # its source alone is run, where no type is known
    """A page with a file to be made at a click, and a dialog; run again, the dialog alone, as a click in it does."""
    from unittest.mock import patch

    import streamlit as st

    from app import acting
    from app.kit import dialogs, export

    if kept:
        with patch.object(st, "rerun", lambda *, scope: asked.append(scope) or st.stop()):
            kept[1]()
    acting.recall()
    with patch.object(st, "download_button", lambda *_, data, **__: kept.append(data)):
        export.download("Export CSV", "a.csv", lambda: b"rows", key="export")
    with patch.object(st, "dialog", lambda *_, **__: lambda draw: kept.append(draw) or draw):
        dialogs.framed("Who is here")(lambda: drawn.append("people"))()


def test_a_session_that_was_ended_makes_no_file_and_draws_no_dialog(signs_in: Backend, provider: IdentityProvider) -> None:
    """Streamlit calls both away from the run of the page, as long as the page is open."""
    kept, drawn, asked = list[Any](), list[str](), list[str]()
    told = provider.claims()
    test = AppTest.from_function(_part, args=(kept, drawn, asked), default_timeout=60)
    test.user = {**told, "is_logged_in": True, "provider": "corp", "tokens": {"id": provider.sign(told)}}
    test.run()
    assert not test.exception
    assert kept[0]() == b"rows"
    assert drawn == ["people"]
    signs_in.sessions.end(told | {"provider": "corp"})
    with pytest.raises(Refusal, match="You signed out"):
        kept[0]()
    test.run()
    assert (drawn, asked) == (["people"], ["app"])


def test_a_token_that_lies_shows_no_page(signs_in: Backend, provider: IdentityProvider) -> None:
    test = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
    told = provider.claims()
    test.user = {**told, "is_logged_in": True, "provider": "corp", "tokens": {"id": provider.unsigned(told)}}
    test.run()
    assert "Overview" not in headers(test)
    assert "not signed by the provider" in words(test)
    test.user = {**told, "is_logged_in": True, "provider": "corp"}
    test.run()
    assert "not signed by the provider" in words(test)


def test_a_demo_identity_is_no_way_in(signs_in: Backend) -> None:
    test = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
    test.session_state["identity.name"] = "otto"
    test.run()
    assert headers(test) == ["Sign in"]


def admin(test: AppTest, part: str) -> AppTest:
    """Admin at one of its parts."""
    test.query_params["part"] = part
    return test.switch_page("../pages/admin.py").run()


def person(test: AppTest, name: str) -> AppTest:
    """The page of somebody."""
    test.query_params["person"] = name
    return test.switch_page("../pages/person.py").run()


def test_an_admin_sees_sessions_groups_and_settings_without_any_secret(signs_in: Backend, provider: IdentityProvider) -> None:
    opened(provider, sub="u-rita", name="Rita [x](http://evil.example)", nonce="n-2", groups=["ml-reviewers", "staff"])
    test = admin(opened(provider), "Sign-in")
    said = words(test)
    for wanted in (
        "Groups to roles",
        "ml-reviewers** gives reviewer",
        "Sign-in settings",
        "60 min after the last click",
        CLIENT,
    ):
        assert wanted in said, wanted
    press(test, "Ask the providers")
    assert "Answers" in words(test)
    assert "Calls itself" in words(test)
    provider.down = True
    press(test, "Ask the providers")
    assert "Does not answer" in words(test)
    assert "Nobody new gets in" in test.error[0].value
    assert CLIENT in str(test)
    assert SECRET not in str(test)
    assert COOKIE_SECRET not in str(test)
    test = admin(opened(provider, sub="u-rita", nonce="n-3", groups=["ml-reviewers"]), "Sign-in")
    assert "This is for admins" in words(test), "not for a reviewer"


def test_a_mapping_says_whom_it_touches_before_it_is_made(signs_in: Backend, provider: IdentityProvider) -> None:
    opened(provider, sub="u-rita", name="Rita", nonce="n-2", groups=["ml-reviewers", "staff"])
    test = admin(opened(provider, groups=["staff"]), "Sign-in")
    assert "nobody: no service named (scim_identity)" in words(test)
    press(test, "Map a group")
    assert [one.split(" (")[0] for one in test.selectbox(key="map.group").options] == ["ml-reviewers", "staff", "Another one …"]
    assert "**1 known person would get it** at the next sign-in, by a directory at once: Rita [" in words(test)
    assert any(one.label == "Ask for it" and not one.disabled for one in test.button)
    with signs_in.database.unit(SYSTEM) as tx:
        (grant,) = tx.session.exec(select(RoleGrant).where(RoleGrant.granted_by == BOOTSTRAP))
        grant.granted_at, grant.expires_at = tx.now - timedelta(days=60), tx.now + timedelta(days=2)
        tx.record("role.grant", grant)
        ada = Actor(grant.identity_id, "Ada")
    signs_in.group_mappings.map(ada, "corp", "ml-reviewers", "viewer")
    test = admin(opened(provider, groups=["staff"]), "Grants")
    assert "to whoever corp says is in the group ml-reviewers" in words(test)
    own = next(one for one in test.button if one.label == "Confirm")
    assert (own.disabled, "another admin confirms it" in own.help) == (True, True)
    assert "nobody is an admin everywhere" in words(test)
    with signs_in.database.read() as session:
        rita = next(name for name in rosters.names(session) if name.startswith("rita"))
    signs_in.identities.bootstrap(rita)
    test = admin(opened(provider, sub="u-rita", name="Rita", nonce="n-3", groups=["ml-reviewers"]), "Grants")
    next(one for one in test.button if one.label == "Confirm").click().run()
    assert "**1 known person would get it** at the next sign-in, by a directory at once: Rita [" in words(test)
    assert "It gives nothing to you, nor to whoever asked for it." in words(test)
    assert "nobody is an admin everywhere" not in words(test)


def test_a_person_has_a_page_with_sessions_and_the_groups_that_were_told(signs_in: Backend, provider: IdentityProvider) -> None:
    opened(provider, sub="u-rita", name="Rita", nonce="n-2", groups=["ml-reviewers", "staff"])
    test = admin(opened(provider), "People")
    names = list(test.dataframe[0].value["Short"])
    rita = next(name for name in names if name.startswith("rita"))
    said = words(person(opened(provider), rita))
    for wanted in ("1 running", "Example *Corp*", "ml-reviewers, staff", "groups of corp"):
        assert wanted in said, wanted
    assert any(one.label == "Sign out everywhere" for one in person(opened(provider), rita).button)


def test_one_sees_and_ends_ones_own_sessions(signs_in: Backend, provider: IdentityProvider) -> None:
    test = opened(provider, sub="u-rita", name="Rita", groups=["ml-reviewers"]).switch_page("../pages/account.py").run()
    said = words(test)
    assert "This one" in said
    assert "groups of corp" in said
    assert "Make a token" in [one.label for one in test.button]
    press(test, "Sign out everywhere")
    assert "this one as well" in words(test)
