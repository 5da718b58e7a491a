"""What stands before every page where people sign in, and what an admin sees of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
import structlog
from streamlit.testing.v1 import AppTest

from app import wiring
from backend.bootstrap import Backend
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET, IdentityProvider, identity_provider
from tests.pages.conftest import ROOT, words


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
    structlog.reset_defaults()


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


def test_an_admin_sees_sessions_groups_and_settings_without_any_secret(signs_in: Backend, provider: IdentityProvider) -> None:
    opened(provider, sub="u-rita", name="Rita [x](http://evil.example)", nonce="n-2", groups=["ml-reviewers"])
    test = opened(provider).switch_page("../pages/admin.py").run()
    said = words(test)
    for wanted in ("Sessions", "Groups to roles", "ml-reviewers", "Sign-in settings", "60 min after the last click", CLIENT):
        assert wanted in said, wanted
    assert "](http://evil" not in "".join(one.value.to_csv() for one in test.table)
    assert CLIENT in str(test)
    assert SECRET not in str(test)
    assert COOKIE_SECRET not in str(test)
    test = opened(provider, sub="u-rita", nonce="n-3", groups=["ml-reviewers"]).switch_page("../pages/admin.py").run()
    assert "Sign-in settings" not in words(test), "not for a reviewer"
