"""Signing in as a person meets it: the real server, the real browser, a certified OpenID provider, and one that lies."""

from __future__ import annotations

import os
import re
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, BrowserContext, Page, expect

from backend import bootstrap
from backend.access.session_rows import SessionUse
from backend.bootstrap import Backend
from backend.core.context import SYSTEM, Actor
from backend.settings import Settings
from tests.browsers import _SERVE, SETTLED, Server, Visit, serve
from tests.certified_provider import CertifiedProvider, certified_provider, free_port
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET, IdentityProvider, identity_provider, rsa_key

FILE = """
[auth]
redirect_uri = "{origin}/oauth2callback"
cookie_secret = "{cookie_secret}"
first_administrator = "corp:ada@corp.test"

[auth.corp]
title = "Example Corp"
client_id = "{corp.client}"
client_secret_file = "corp-secret"
server_metadata_url = "{corp.metadata_url}"
prompt = "login"
roles = [{{ value = "ml-reviewers", role = "reviewer" }}]

[auth.other]
title = "Other Org"
client_id = "{client}"
client_secret_env = "OTHER_SECRET"
server_metadata_url = "{other.issuer}/.well-known/openid-configuration"
roles = [{{ value = "ml-admins", role = "operator" }}]
"""


@dataclass
class Place:
    """A running Countersign where people sign in."""

    origin: str
    server: Server
    corp: CertifiedProvider
    other: IdentityProvider
    behind: Backend
    log: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One server, one certified provider and one that lies when it is told to."""
    folder, port = tmp_path_factory.mktemp("sign-in"), free_port()
    origin = f"http://localhost:{port}"
    with certified_provider(folder, origin) as corp, identity_provider("other") as other:
        told = FILE.format(origin=origin, cookie_secret=COOKIE_SECRET, corp=corp, other=other, client=CLIENT)
        (folder / "corp-secret").write_text(corp.secret + "\n")
        (folder / "sign-in.toml").write_text(told)
        settings = Settings(data_dir=folder / "data")
        behind = bootstrap.install(settings)
        program = _SERVE.replace('"--port", "0"', f'"--port", "{port}"')
        given = {
            "COUNTERSIGN_SIGN_IN_FILE": str(folder / "sign-in.toml"),
            "COUNTERSIGN_DEMO_IDENTITIES": "false",
            "COUNTERSIGN_ALLOWED_NETWORKS": "127.0.0.0/8",
            "OTHER_SECRET": SECRET,
        }
        with serve(folder / "data", folder, program, **given) as server:
            yield Place(origin, server, corp, other, behind, folder / "web.log")
        behind.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[BrowserContext]:
    """A window of somebody whom nobody knows yet."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def honest(place: Place) -> Iterator[IdentityProvider]:
    """The other provider, which tells the truth again afterwards."""
    yield place.other
    place.other.forge, place.other.down = None, False


@pytest.fixture(autouse=True)
def people(place: Place, request: pytest.FixtureRequest) -> None:
    """Who comes from the other provider: somebody else in each test."""
    name = "Una Operator" if "deactivated" in request.node.name else "Otto Other"
    place.other.people = {"sub": request.node.name[:200], "name": name, "groups": ["ml-admins"]}


def sign_in(place: Place, context: BrowserContext, who: str, path: str = "/") -> Page:
    """Goes to an address and through the certified provider."""
    page = context.new_page()
    page.goto(place.origin + path)
    button = page.get_by_role("button", name="Sign in with Example Corp")
    button.wait_for()
    page.wait_for_function(SETTLED)  # a click while the page is still drawn anew may be lost
    button.click()
    page.wait_for_url("**/interaction/**")
    page.fill('input[name="login"]', who)
    page.fill('input[name="password"]', "any")
    page.click("button[type=submit]")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(place.origin + "/**")
    return page


def sign_in_with_other(place: Place, context: BrowserContext, path: str = "/") -> Page:
    page = context.new_page()
    page.goto(place.origin + path)
    page.get_by_role("button", name="Sign in with Other Org").click()
    return page


def heading(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", name=name, level=2).first).to_be_visible(timeout=30_000)


def signed_out(page: Page, why: str) -> None:
    heading(page, "You are signed out")
    expect(page.get_by_text(why)).to_be_visible()
    expect(page.get_by_role("button", name="Sign in with Example Corp")).to_be_visible()


def sessions_of(place: Place, name: str) -> tuple[Actor, list[str]]:
    """Somebody, and the numbers of the sessions that run."""
    with place.behind.database.read() as session:
        row = session.connection().execute(sa.text("SELECT id, name FROM identity WHERE display_name = :n"), {"n": name}).one()
        query = "SELECT id FROM sign_in_session WHERE identity_id = :i AND ended_at IS NULL ORDER BY opened_at"
        found = session.connection().execute(sa.text(query), {"i": row.id}).scalars().all()
    return Actor(row.id, row.name), list(found)


def administrator(place: Place, chromium: Browser) -> Actor:
    """Ada, whom the settings name; she signs in."""
    with chromium.new_context() as context:
        heading(sign_in(place, context, "ada"), "Overview")
    return sessions_of(place, "Ada Admin")[0]


def test_the_page_that_was_wanted_is_there_after_signing_in_with_the_roles_of_the_groups(
    place: Place, browser: BrowserContext
) -> None:
    page = sign_in(place, browser, "rita", "/admin?part=Sign-in")
    heading(page, "Admin")
    assert page.url == place.origin + "/admin?part=Sign-in"
    sidebar = page.get_by_test_id("stSidebar")
    expect(sidebar.get_by_text("Rita Reviewer")).to_be_visible()
    expect(sidebar.get_by_text("Example Corp")).to_be_visible()
    expect(page.get_by_test_id("stSidebarNavLink").filter(has_text="Audit")).to_have_count(0)
    cookies = {one["name"]: one for one in browser.cookies(place.origin)}
    assert cookies["_streamlit_user"]["httpOnly"]
    assert cookies["_streamlit_user"]["sameSite"] == "Lax"
    assert "countersign_next" not in cookies, "used up"


def test_the_first_administrator_gets_in_as_an_admin(place: Place, browser: BrowserContext) -> None:
    page = sign_in(place, browser, "ada", "/audit")
    heading(page, "Audit")
    page.reload()
    heading(page, "Audit")


def test_somebody_without_a_role_is_told_so_and_signs_out(place: Place, browser: BrowserContext) -> None:
    page = sign_in(place, browser, "nils", "/endpoints")
    heading(page, "You have no role here yet")
    expect(page.get_by_text("Nils Nobody, nothing is open to you")).to_be_visible()
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    heading(page, "Sign in")
    assert page.url == place.origin + "/"


def test_a_cookie_that_was_kept_is_worth_nothing_after_the_logout(
    place: Place, browser: BrowserContext, chromium: Browser
) -> None:
    page = sign_in(place, browser, "rita")
    heading(page, "Overview")
    stolen: Any = browser.cookies(place.origin)
    other_tab = browser.new_page()
    other_tab.goto(place.origin + "/models")
    heading(other_tab, "Models")
    choose(page, "Sign out", "Sign out here")
    page.get_by_role("button", name="Yes, sign me out").click()
    heading(page, "Sign in")
    signed_out(other_tab, "You signed out.")
    with chromium.new_context() as thief:
        thief.add_cookies(stolen)
        replayed = thief.new_page()
        replayed.goto(place.origin + "/models")
        signed_out(replayed, "You signed out.")


@pytest.mark.slow
def test_signing_out_by_address_ends_the_session_too(place: Place, browser: BrowserContext, chromium: Browser) -> None:
    page = sign_in(place, browser, "rita", "/models")
    heading(page, "Models")
    stolen: Any = browser.cookies(place.origin)
    browser.new_page().goto(place.origin + "/auth/logout")
    signed_out(page, "You signed out.")
    with chromium.new_context() as thief:
        thief.add_cookies(stolen)
        replayed = thief.new_page()
        replayed.goto(place.origin + "/models")
        signed_out(replayed, "You signed out.")


def choose(page: Page, menu: str, entry: str) -> None:
    page.get_by_role("button", name=menu).click()
    page.get_by_text(entry, exact=True).click()


def test_a_session_that_is_ended_while_a_page_is_open_is_over_without_a_click(
    place: Place, browser: BrowserContext, chromium: Browser
) -> None:
    page = sign_in(place, browser, "rita")
    heading(page, "Overview")
    _, running = sessions_of(place, "Rita Reviewer")
    place.behind.sessions.revoke(administrator(place, chromium), running[-1])
    signed_out(page, "An administrator ended your session.")


def test_somebody_who_is_deactivated_is_out_on_open_pages_too(place: Place, browser: BrowserContext, chromium: Browser) -> None:
    page = sign_in_with_other(place, browser, "/admin?part=Roles")
    heading(page, "Admin")
    who, _ = sessions_of(place, "Una Operator")
    ada = administrator(place, chromium)
    place.behind.identities.deactivate(ada, who.name, "Left.")
    signed_out(page, "Una Operator was deactivated.")  # without a click, on a page that does not refresh itself
    place.behind.identities.activate(ada, who.name, "Came back.")
    page.goto(place.origin + "/models")
    signed_out(page, "Your identity was deactivated.")  # the old session stays dead
    page.get_by_role("button", name="Sign in with Other Org").click()
    heading(page, "Models")


def test_somebody_makes_a_token_without_the_command_line_and_sees_where_he_is_signed_in(
    place: Place, browser: BrowserContext
) -> None:
    page = sign_in(place, browser, "rita")
    heading(page, "Overview")
    page.get_by_test_id("stSidebar").get_by_role("link", name="My access").click()
    heading(page, "My access")
    expect(page.get_by_text("groups of corp").first).to_be_visible()
    expect(page.get_by_text("This one")).to_be_visible()
    expect(page.get_by_text("Chrome on Linux").first).to_be_visible()
    page.get_by_role("button", name="Make a token").click()
    page.get_by_label("Where is it used?").fill("laptop")
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_text("it is not shown again")).to_be_visible()
    token = page.get_by_role("dialog").get_by_test_id("stCode").inner_text().strip()
    with httpx.Client(trust_env=False, headers={"authorization": f"Bearer {token}"}) as client:
        assert client.get(f"{place.origin}/api/v1/me").json()["name"] == "Rita Reviewer"
        page.get_by_role("button", name="I have copied it").click()
        page.get_by_role("button", name="Revoke").click()
        page.get_by_role("button", name="Revoke it").click()
        expect(page.get_by_text("Revoked.", exact=True)).to_be_visible()
        assert client.get(f"{place.origin}/api/v1/me").status_code == 401
    assert token not in page.content()


def test_a_session_ends_when_nothing_was_done_for_a_while(place: Place, browser: BrowserContext) -> None:
    page = sign_in(place, browser, "rita", "/models")
    heading(page, "Models")
    _, running = sessions_of(place, "Rita Reviewer")
    with place.behind.database.unit(SYSTEM) as tx:
        tx.session.merge(SessionUse(session_id=running[-1], used_at=tx.now - timedelta(minutes=61)))
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Endpoints").click()
    signed_out(page, "Nothing was done here for a while.")


@pytest.mark.slow
def test_a_logout_at_the_provider_ends_the_session_here(place: Place, browser: BrowserContext) -> None:
    page = sign_in(place, browser, "rita")
    heading(page, "Overview")
    elsewhere = browser.new_page()
    elsewhere.goto(place.corp.issuer + "/session/end")
    elsewhere.get_by_role("button", name="Yes, sign me out").click()
    signed_out(page, "Your provider ended your session.")
    assert "backchannel.success" in place.corp.log.read_text()


@pytest.mark.slow
def test_signing_out_everywhere_ends_the_sessions_in_other_browsers(
    place: Place, browser: BrowserContext, chromium: Browser
) -> None:
    with chromium.new_context() as elsewhere:
        there = sign_in(place, elsewhere, "rita")
        heading(there, "Overview")
        here = sign_in(place, browser, "rita")
        heading(here, "Overview")
        choose(here, "Sign out", "Sign out everywhere")
        here.get_by_role("button", name="Yes, sign me out").click()
        heading(here, "Sign in")
        signed_out(there, "You were signed out everywhere.")


def test_people_of_two_providers_stand_beside_each_other(place: Place, browser: BrowserContext) -> None:
    page = sign_in_with_other(place, browser, "/models")
    heading(page, "Models")
    expect(page.get_by_test_id("stSidebar").get_by_text("Other Org")).to_be_visible()


@pytest.mark.slow
def test_while_a_provider_is_down_its_button_says_so_and_sessions_go_on(
    place: Place, browser: BrowserContext, chromium: Browser, honest: IdentityProvider
) -> None:
    page = sign_in_with_other(place, browser, "/models")
    heading(page, "Models")
    honest.down = True
    with chromium.new_context() as another:
        late = sign_in_with_other(place, another)
        expect(late.get_by_text("Other Org does not answer.")).to_be_visible()
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Endpoints").click()
    heading(page, "Endpoints")


@pytest.mark.slow
def test_keys_that_the_provider_turned_are_found(place: Place, browser: BrowserContext, honest: IdentityProvider) -> None:
    heading(sign_in_with_other(place, browser, "/models"), "Models")
    browser.clear_cookies()
    honest.rotate()
    heading(sign_in_with_other(place, browser, "/models"), "Models")


Forge = Callable[[IdentityProvider], Callable[[dict[str, Any]], str]]
LIES: dict[str, Forge] = {
    "another-nonce": lambda idp: lambda told: idp.sign({**told, "nonce": "another"}),
    "no-nonce": lambda idp: lambda told: idp.sign({key: value for key, value in told.items() if key != "nonce"}),
    "another-issuer": lambda idp: lambda told: idp.sign({**told, "iss": "https://accounts.example.com"}),
    "another-audience": lambda idp: lambda told: idp.sign({**told, "aud": "another"}),
    "another-audience-with-us-as-the-party": lambda idp: lambda told: idp.sign({**told, "aud": "another", "azp": CLIENT}),
    "alg-none": lambda idp: idp.unsigned,
    "hs256-with-the-public-key": lambda idp: idp.signed_with_the_public_key,
    "hs256-with-the-client-secret": lambda idp: lambda told: idp.signed_with_the_client_secret(told),
    "a-key-that-is-not-published": lambda idp: lambda told: idp.sign(told, key=rsa_key("stranger")),
    "an-old-token": lambda idp: lambda told: idp.sign({**told, "iat": told["iat"] - 3600}),
    "an-expired-token": lambda idp: lambda told: idp.sign({**told, "exp": told["iat"] - 3600}),
}


OFTEN = ("alg-none", "hs256-with-the-public-key", "another-nonce")
"""In a browser the others are walked with the slow tests; tests/services/test_sign_in.py holds the services to all of them."""


@pytest.mark.parametrize("lie", [lie if lie in OFTEN else pytest.param(lie, marks=pytest.mark.slow) for lie in LIES])
def test_a_token_that_lies_lets_nobody_in(place: Place, browser: BrowserContext, honest: IdentityProvider, lie: str) -> None:
    honest.forge = LIES[lie](honest)
    page = sign_in_with_other(place, browser, "/models")
    expect(page.get_by_text(TURNED_AWAY).first).to_be_visible(timeout=30_000)
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(0)
    assert page.url.startswith(place.origin + "/models")
    with place.behind.database.read() as session:
        query = "SELECT count(*) FROM external_login WHERE external_subject = :s"
        assert session.connection().execute(sa.text(query), {"s": honest.people["sub"]}).scalar_one() == 0


TURNED_AWAY = re.compile(
    "Signing in did not work|meant for another application|names another issuer|is not signed by|too old to begin"
    "|did not say who"
)


@pytest.mark.slow
@pytest.mark.parametrize("query", ["code=x&state=forged", "code=x", "state=forged", "error=server_error&state=forged"])
def test_a_callback_that_nobody_asked_for_lets_nobody_in(place: Place, browser: BrowserContext, query: str) -> None:
    page = browser.new_page()
    page.goto(f"{place.origin}/oauth2callback?{query}")
    expect(page.get_by_text("Signing in did not work.")).to_be_visible()
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "planted", ["//evil.example/x", "https://evil.example", "/\\evil.example", "/%2F/evil.example", "/auth/logout"]
)
def test_a_planted_cookie_leads_nowhere_else(place: Place, browser: BrowserContext, planted: str) -> None:
    from app.deep_links import encoded

    path = f"{place.origin}/oauth2callback"
    browser.add_cookies([{"name": "countersign_next", "value": encoded(planted), "url": path}])
    seen: list[str] = []
    page = browser.new_page()
    page.on("request", lambda asked: seen.append(asked.url) if asked.is_navigation_request() else None)
    page.goto(f"{path}?code=x&state=forged")
    expect(page.get_by_text("Signing in did not work.")).to_be_visible()
    assert seen == [f"{path}?code=x&state=forged", f"{place.origin}/"]


def test_a_websocket_from_another_origin_or_without_a_session_runs_nothing(place: Place, browser: BrowserContext) -> None:
    heading(sign_in(place, browser, "rita"), "Overview")
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in browser.cookies(place.origin))
    assert " 101 " in upgraded(place, place.origin, cookies)
    assert " 403 " in upgraded(place, "http://evil.example", cookies)
    assert " 403 " in upgraded(place, "null", cookies)


def upgraded(place: Place, origin: str, cookies: str) -> str:
    """The status line of an attempt to open the page's WebSocket."""
    host = place.origin.removeprefix("http://")
    key = b64encode(os.urandom(16)).decode()
    told = [
        "GET /_stcore/stream HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade", f"Origin: {origin}",
        f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Cookie: {cookies}", "", "",
    ]  # fmt: skip
    with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])), timeout=10) as line:
        line.sendall("\r\n".join(told).encode())
        return line.recv(200).decode("latin-1").splitlines()[0]


@pytest.mark.slow
def test_axe_finds_nothing_on_the_pages_of_sign_in(place: Place, chromium: Browser) -> None:
    with chromium.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True) as context:
        page = context.new_page()
        page.goto(place.origin + "/models")
        heading(page, "Sign in")
        seen = Visit(page, place.origin)
        assert seen.drawn().axe() == [], "signing in"
        page.close()
        seen = Visit(sign_in(place, context, "ada", "/admin?part=Sign-in"), place.origin)
        expect(seen.page.get_by_role("heading", name="Sign-in settings")).to_be_visible()
        assert seen.drawn().axe() == [], "sessions, groups and settings"
        seen.page.get_by_role("button", name="Map a group").click()
        seen.page.get_by_role("dialog").wait_for()
        assert seen.drawn().axe() == [], "the dialog"
        ada, running = sessions_of(place, "Ada Admin")
        for one in running:
            place.behind.sessions.revoke(ada, one)
        seen.page.goto(place.origin + "/models")
        signed_out(seen.page, "You signed out.")
        assert seen.drawn().axe() == [], "signed out"
    with chromium.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True) as context:
        seen = Visit(sign_in(place, context, "nils"), place.origin)
        heading(seen.page, "You have no role here yet")
        assert seen.drawn().axe() == [], "no role"


def test_no_secret_and_no_token_stands_in_the_log(place: Place) -> None:
    """Runs last: everything above has been logged."""
    text = place.log.read_text()
    for planted in (COOKIE_SECRET, SECRET, place.corp.secret, "eyJ"):
        assert planted not in text
