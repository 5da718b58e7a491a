"""Countersign behind a real Caddy with TLS and below a path: the configuration that `deploy/` hands out, in a real browser."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from backend import bootstrap
from backend.settings import Settings
from tests.browsers import _SERVE, KNOWN, serve
from tests.certified_provider import ROOT, free_port
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET, IdentityProvider, identity_provider

FILE = """
[auth]
redirect_uri = "{public}/release/oauth2callback"
cookie_secret = "{cookie_secret}"

[auth.corp]
title = "Example Corp"
client_id = "{client}"
client_secret = "{secret}"
server_metadata_url = "{issuer}/.well-known/openid-configuration"
roles = [{{ value = "ml-admins", role = "operator" }}]
"""


@dataclass
class Behind:
    """Countersign as browsers see it, and the process itself."""

    public: str
    inner: str
    provider: IdentityProvider


def caddy() -> Path:
    for folder in (os.environ.get("COUNTERSIGN_RUNTIMES_DIR"), ROOT / ".runtimes"):
        if folder and (found := Path(folder) / "proxy" / "bin" / "caddy").exists():
            return found
    raise AssertionError("The reverse proxy of the tests is not installed: run `make setup`.")


@contextmanager
def proxied(folder: Path, public: str, upstream: str) -> Iterator[None]:
    """Runs Caddy with the file that is handed out, and a certificate of its own making."""
    own = folder / "Caddyfile"
    own.write_text(
        "{\n\tadmin off\n\tlocal_certs\n\tskip_install_trust\n\tauto_https disable_redirects\n"
        f"\tstorage file_system {folder}\n}}\n" + (ROOT / "deploy" / "Caddyfile").read_text()
    )
    environment = {**os.environ, "COUNTERSIGN_PUBLIC": public, "COUNTERSIGN_UPSTREAM": upstream, "HOME": str(folder)}
    log = folder / "caddy.log"
    with log.open("w") as stream:
        command = [str(caddy()), "run", "--adapter", "caddyfile", "--config", str(own)]
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not answers(f"{public}/release/api/v1/health"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, verify=False, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder, port, public = tmp_path_factory.mktemp("proxy"), free_port(), f"https://localhost:{free_port()}"
    with identity_provider() as provider:
        told = FILE.format(public=public, cookie_secret=COOKIE_SECRET, client=CLIENT, secret=SECRET, issuer=provider.issuer)
        (folder / "sign-in.toml").write_text(told)
        bootstrap.install(Settings(data_dir=folder / "data")).close()
        given = {
            "COUNTERSIGN_SIGN_IN_FILE": str(folder / "sign-in.toml"),
            "COUNTERSIGN_DEMO_IDENTITIES": "false",
            "COUNTERSIGN_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        program = _SERVE.replace('"--port", "0"', f'"--port", "{port}"')
        with serve(folder / "data", folder, program, **given), proxied(folder, public, f"127.0.0.1:{port}"):
            yield Behind(public, f"http://127.0.0.1:{port}", provider)


@pytest.fixture
def browser(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, ignore_https_errors=True)
    context.set_default_timeout(30_000)
    yield context
    context.close()


def test_signing_in_and_out_below_a_path_and_behind_tls(behind: Behind, browser: BrowserContext) -> None:
    page, wrong = browser.new_page(), list[str]()
    page.on(
        "console",
        lambda told: wrong.append(told.text) if told.type == "error" and not KNOWN.search(told.location["url"]) else None,
    )
    page.on("response", lambda one: wrong.append(one.url) if one.status >= 400 and not KNOWN.search(one.url) else None)
    page.goto(f"{behind.public}/release/models?sort=name")
    page.get_by_role("button", name="Sign in with Example Corp").click()
    expect(page.get_by_role("heading", name="Models", level=2)).to_be_visible()
    assert page.url.startswith(f"{behind.public}/release/models")
    page.get_by_test_id("stSidebarNavLink").filter(has_text="Endpoints").click()
    expect(page.get_by_role("heading", name="Endpoints", level=2)).to_be_visible()
    assert page.url.startswith(f"{behind.public}/release/endpoints")
    page.wait_for_function("document.fonts.status === 'loaded'")
    assert page.evaluate("[...document.fonts].some(one => one.family.includes('Inter') && one.status === 'loaded')")
    cookies = browser.cookies()
    assert {one["name"] for one in cookies} >= {"_streamlit_user", "_streamlit_user_tokens", "countersign_browser"}
    assert all(one["secure"] for one in cookies), [one["name"] for one in cookies if not one["secure"]]
    signed_in = next(one for one in cookies if one["name"] == "_streamlit_user")
    assert (signed_in["path"], signed_in["httpOnly"]) == ("/release", True)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("Sign out here", exact=True).click()
    expect(page).to_have_url(f"{behind.public}/release/")  # by way of the provider; the page left may ask to sign in first
    expect(page.get_by_role("heading", name="Sign in", level=2)).to_be_visible()
    assert "/end" in behind.provider.asked, "the provider ended its session too"
    assert wrong == []


def test_the_api_lies_below_the_path_and_carries_the_headers(behind: Behind) -> None:
    with httpx.Client(verify=False, trust_env=False) as client:
        health = client.get(f"{behind.public}/release/api/v1/health")
        assert health.json() == {"status": "alive"}
        assert health.headers["strict-transport-security"]
        assert "frame-ancestors 'none'" in health.headers["content-security-policy"]
        assert client.get(f"{behind.public}/release/api/v1/me").status_code == 401
        assert client.post(f"{behind.public}/release/api/v1/sign-in/backchannel-logout").status_code in (400, 422)
        assert client.get(f"{behind.public}/api/v1/health").status_code != 401, "nothing of ours lies outside"


def test_by_another_name_nothing_is_answered(behind: Behind) -> None:
    with httpx.Client(trust_env=False) as client:
        for host in ("evil.example", "localhost.evil.example", "10.0.0.1"):
            assert client.get(f"{behind.inner}/release/", headers={"host": host}).status_code == 403
