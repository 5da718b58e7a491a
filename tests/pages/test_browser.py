"""The web app as a person meets it: the real server, the real browser, both themes, nothing leaving this machine."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from backend import bootstrap
from backend.bootstrap import Backend
from backend.settings import Settings
from tests.browsers import Server, serve, visit

HEAVY = {"mlflow", "evidently", "feast", "sklearn", "onnxruntime"}


@pytest.fixture(scope="module")
def data(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of this file's own."""
    folder = tmp_path_factory.mktemp("browser") / "data"
    shutil.copytree(prepared, folder)
    return folder


@pytest.fixture(scope="module")
def behind(data: Path) -> Iterator[Backend]:
    """The services on the same database, as another process would use them."""
    backend = bootstrap.build(Settings(data_dir=data, demo_identities=True))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Server]:
    with serve(data, data.parent) as running:
        yield running


def test_every_page_is_clean(chromium: Browser, server: Server) -> None:
    """No error in the console, no request to anybody else, nothing that axe-core finds, and the bundled fonts are in use."""
    with visit(chromium, server.url) as seen:
        seen.open("/", title="Whom do you act as?")
        assert seen.axe() == []
        seen.act_as("otto", title="Overview")
        for name in ("Overview", "Audit", "Admin"):
            seen.go(name).clean(name)
        seen.page.get_by_role("button", name="Freeze starts").click()
        seen.page.get_by_role("dialog").wait_for()
        assert seen.drawn().axe() == [], "the dialog"
        seen.page.get_by_role("dialog").get_by_role("textbox").last.fill("For another freeze")
        seen.page.keyboard.press("Escape")
        seen.page.get_by_role("dialog").wait_for(state="hidden")
        seen.drawn().page.get_by_role("button", name="Freeze starts").click()
        reason = seen.page.get_by_role("dialog").get_by_role("textbox").last
        assert reason.input_value() == "", "what was begun is forgotten with the dialog"
        seen.page.keyboard.press("Escape")
        seen.page.get_by_role("dialog").wait_for(state="hidden")
        seen.drawn().go("Audit").open_row(r"/ledger_row\?.*row=")
        seen.drawn("Row").clean("a row of the ledger")
        assert seen.page.evaluate("document.fonts.check('14px InterVariable')")
        assert seen.page.evaluate("getComputedStyle(document.body).fontFamily").startswith("InterVariable")
        assert seen.wrong == []


def test_a_deep_link_is_kept_the_choice_outlives_a_reload_and_the_back_button_returns(
    chromium: Browser, server: Server
) -> None:
    with visit(chromium, server.url) as seen:
        answer = seen.page.goto(f"{server.url}/audit?action=environment.create")
        assert answer is not None
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        seen.drawn("Whom do you act as?").act_as("otto", title="Audit")
        assert "3 shown" in seen.say()
        seen.open_row(r"/ledger_row\?.*row=")
        seen.drawn("Row").page.go_back()
        seen.drawn("Audit")
        expect(seen.page.get_by_text("3 shown")).to_be_visible()
        expect(seen.page.get_by_role("textbox", name="Action")).to_have_value("environment.create")
        seen.page.go_forward()
        seen.drawn("Row").page.reload()
        seen.drawn("Row")
        assert "environment.create" in seen.say()
        seen.page.get_by_role("button", name="Audit").click()
        seen.drawn("Audit")
        seen.page.get_by_role("button", name="Act as").click()
        seen.page.get_by_text("Ana (data scientist)", exact=True).click()
        expect(seen.page.get_by_text("may not read an audit")).to_be_visible()
        assert seen.wrong == []


def test_two_people_freeze_and_lift(chromium: Browser, server: Server, behind: Backend) -> None:
    admin = behind.identities.act_as("otto")
    with visit(chromium, server.url) as olga, visit(chromium, server.url) as otto:
        olga.open("/admin", title="Whom do you act as?").act_as("olga", title="Admin")
        olga.page.get_by_role("button", name="Freeze starts").click()
        dialog = olga.page.get_by_role("dialog")
        freeze, reason = dialog.get_by_role("button", name="Freeze all starts"), dialog.get_by_role("textbox", name="Reason")
        freeze.click()
        expect(dialog.get_by_text("write the reason")).to_be_visible()
        reason.fill("Provider *outage* <b>x</b>")
        behind.identities.take_back(admin, "olga", "operator")
        freeze.click()
        expect(dialog.get_by_text("Olga (platform engineer) may not")).to_be_visible()
        expect(reason).to_have_value("Provider *outage* <b>x</b>")
        assert not frozen(behind), "a role that was taken back meanwhile"
        asked = behind.identities.grant(admin, "olga", "operator")
        behind.identities.confirm_grant(behind.identities.act_as("nora"), asked.id)
        freeze.dblclick()
        expect(olga.page.get_by_text("Frozen: no change starts anywhere.")).to_be_visible()
        expect(olga.page.get_by_text("Everything frozen")).to_be_visible()
        olga.page.get_by_role("tab", name="Policies").click()
        expect(olga.page.get_by_text("Provider *outage* <b>x</b>")).to_be_visible()
        expect(olga.page.get_by_role("button", name="Lift")).to_be_disabled()

        otto.open("/", title="Whom do you act as?").act_as("otto", title="Overview")
        expect(otto.page.get_by_text("Starts are frozen in production")).to_be_visible()
        otto.go("Admin").page.get_by_role("tab", name="Policies").click()
        otto.page.get_by_role("button", name="Lift").click()
        dialog = otto.page.get_by_role("dialog")
        expect(dialog.get_by_text("It was set because: Provider *outage*")).to_be_visible()
        dialog.get_by_role("textbox", name="Reason").fill("Provider is back")
        dialog.get_by_role("button", name="Lift the freeze").click()
        expect(otto.page.get_by_text("Lifted: everything is no longer frozen.")).to_be_visible()
        assert [*olga.wrong, *otto.wrong] == []
    assert [one.lifted_at is not None for one in frozen(behind)] == [True], "a double click is one freeze"


def test_a_live_part_refreshes_under_what_is_being_typed(chromium: Browser, server: Server, behind: Backend) -> None:
    with visit(chromium, server.url) as seen:
        seen.open("/", title="Whom do you act as?").act_as("otto", title="Overview")
        seen.page.get_by_role("button", name="Freeze starts").click()
        reason = seen.page.get_by_role("dialog").get_by_role("textbox", name="Reason")
        reason.fill("I am still typ")
        behind.identities.create(behind.identities.act_as("otto"), "newcomer", display_name="Nora Newcomer")
        expect(seen.page.get_by_text("created identity Nora Newcomer")).to_be_attached(timeout=30_000)
        expect(reason).to_have_value("I am still typ")
        assert seen.wrong == []


def test_the_ledger_is_exported_by_whoever_may(chromium: Browser, server: Server, tmp_path: Path) -> None:
    with visit(chromium, server.url) as seen:
        seen.open("/audit?action=environment.create", title="Whom do you act as?").act_as("audra", title="Audit")
        with seen.page.expect_download() as download:
            seen.page.get_by_role("button", name="Export CSV").click()
        download.value.save_as(tmp_path / "ledger.csv")
        seen.open_row(r"/ledger_row\?.*row=")
        assert seen.wrong == []
    with (tmp_path / "ledger.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [one["subject_id"] for one in rows] == ["production", "staging", "dev"]
    assert {one["name"] for one in rows} == {"Countersign"}


_SERVE_CARD = f"""
import sys
import streamlit as st
from pathlib import Path
from starlette.middleware import Middleware
from app.edge import Edge
st.App(Path({str(Path(__file__).parent / "hostile_card.py")!r}), middleware=[Middleware(Edge)]).run(
    config={{"server.address": "127.0.0.1", "server.port": 0, "server.headless": True, "browser.gatherUsageStats": False}})
"""


def test_a_hostile_model_card_fetches_nothing_runs_nothing_and_forges_nothing(chromium: Browser, tmp_path: Path) -> None:
    """The card as the pages draw it, and below it the same text without our cleaning: the policy alone must hold as well."""
    with serve(tmp_path, tmp_path, _SERVE_CARD) as server, visit(chromium, server.url) as seen:
        seen.page.goto(server.url)
        expect(seen.page.get_by_text("end of the card")).to_be_visible()
        expect(seen.page.get_by_text("Flight delay")).to_be_visible()
        assert seen.wrong == []
        main = seen.page.locator("[data-testid=stMain]")
        assert main.locator("img, script, iframe, object, embed, form, [data-testid=stMarkdownBadge]").count() == 0
        targets = main.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href') || '')")
        assert [one for one in targets if one.startswith("https://example.org")]
        assert not [one for one in targets if one.lower().startswith(("javascript:", "vbscript:"))]
        for link in main.locator("a").filter(has_text="run").all():
            link.click()
        assert seen.page.evaluate("window.ran") is None

        seen.page.goto(f"{server.url}/?raw=1")
        expect(seen.page.get_by_text("end of the card")).to_be_visible()
        seen.page.wait_for_timeout(500)
        assert seen.page.evaluate("window.ran") is None
        assert (
            seen.page.evaluate("[...document.images].filter(one => one.naturalWidth && !one.src.startsWith('data:')).length")
            == 0
        )
        blocked = [one for one in seen.wrong if "Content Security Policy" in one]
        assert blocked, "the picture was asked for and the policy refused it"


def test_the_web_process_holds_no_heavy_library(server: Server) -> None:
    """After every page above has been drawn: each of these costs seconds and hundreds of megabytes."""
    loaded = {name.split(".")[0] for name in server.modules()}
    assert {"streamlit", "app", "backend"} <= loaded
    assert not loaded & HEAVY


def frozen(backend: Backend):
    """Every freeze, those in force first."""
    from backend.policy.queries import freezes

    with backend.database.read() as session:
        return list(freezes(session))
