"""Endpoints as people meet them in Chromium: adopted by clicks, paused, watched while their server dies, never losing a word.

The worker's passes are made here, one at a time, by the real reconciler: what a page shows follows from them alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect
from sqlmodel import select

from backend import bootstrap
from backend.bootstrap import Backend
from backend.core import work
from backend.core.context import SYSTEM
from backend.delivery.packages import read_manifest
from backend.delivery.routers.memory_world import MemoryRouterWorld
from backend.delivery.rows import Endpoint, Server
from backend.delivery.targets.memory_server import Fault, MemoryServer
from backend.settings import Settings
from tests.browsers import Server as Running
from tests.browsers import Visit, serve, visit
from tests.installations import EU, PRODUCTION, STAGING, TAXI_PRODUCTION, copied
from tests.models import write_package

WAIT = 30_000


class Behind:
    """The services on the same data folder, as the worker's process would use them."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.backend: Backend = bootstrap.build(
            Settings(data_dir=data, demo_identities=True, observe_seconds=3_600, lease_seconds=60)
        )

    def memory(self, name: str) -> MemoryServer:
        return MemoryServer(path=str(self.data / "servers" / f"{name}.json"))

    def router(self) -> MemoryRouterWorld:
        return MemoryRouterWorld(path=str(self.data / "servers" / "edge.json"))

    def one_pass(self, server: str) -> None:
        """One pass of the real reconciler over a server, due or not."""
        with self.backend.database.unit(SYSTEM) as tx:
            row = tx.session.exec(select(Server).where(Server.name == server)).one()
            work.wake(tx, "server", row.id)
            (claim,) = work.claim_in(tx, "server", holder="worker", seconds=60, key=row.id)
        self.backend.reconciler.handle(claim)

    def row(self, endpoint: str) -> Endpoint:
        with self.backend.database.read() as session:
            return session.exec(select(Endpoint).where(Endpoint.name == endpoint)).one()


@pytest.fixture(scope="module")
def behind(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    made = Behind(copied(filled, tmp_path_factory.mktemp("endpoints") / "data"))
    yield made
    made.backend.close()


@pytest.fixture(scope="module")
def server(behind: Behind) -> Iterator[Running]:
    with serve(behind.data, behind.data.parent) as running:
        yield running


ADDRESSES = {
    "/": "Overview",
    "/endpoints": "Endpoints",
    "/endpoints?asof=2026-11-24": "Endpoints",
    f"/endpoint?endpoint={TAXI_PRODUCTION}": TAXI_PRODUCTION,
    f"/endpoint?endpoint={EU}": EU,
    "/endpoint?endpoint=legacy-scores": "legacy-scores",
    "/endpoint?endpoint=nobody": "Endpoint",
    "/server?server=serving-a": "serving-a",
    "/admin?part=Servers": "Admin",
}


def test_every_page_of_endpoints_is_clean(chromium: Browser, server: Running) -> None:
    with visit(chromium, server.url) as seen:
        seen.open("/", title="Whom do you act as?").act_as("olga", title="Overview")
        for address, title in ADDRESSES.items():
            seen.open(address, title=title).clean(address)
        for address, title, button in (
            (f"/endpoint?endpoint={TAXI_PRODUCTION}", TAXI_PRODUCTION, "Roll back to version 1"),
            ("/admin?part=Servers", "Admin", "Register a server"),
            ("/server?server=serving-a", "serving-a", "Adopt an endpoint"),
        ):
            seen.open(address, title=title).page.get_by_role("button", name=button).click()
            seen.page.get_by_role("dialog").wait_for()
            assert seen.drawn().axe() == [], button
        assert seen.wrong == []


def test_an_endpoint_is_paused_with_a_reason_while_somebody_else_watches(
    chromium: Browser, server: Running, behind: Behind
) -> None:
    with visit(chromium, server.url) as olga, visit(chromium, server.url) as ana:
        opened(ana, "ana", STAGING)
        opened(olga, "olga", STAGING)
        dialog = asked(olga, "Pause delivery")
        expect(dialog.get_by_text("version 3 gets 100 %")).to_be_visible()
        dialog.get_by_role("button", name="Pause delivery").click()
        expect(dialog.get_by_text("write the reason")).to_be_visible()
        dialog.get_by_role("textbox", name="Reason").fill("Load test until *noon* <b>x</b>")
        dialog.get_by_role("button", name="Pause delivery").dblclick()
        expect(olga.page.get_by_text("Paused: nothing is pushed to")).to_be_visible()
        for seen in (olga, ana):
            expect(seen.page.get_by_text("Delivery is paused: nothing is pushed or repaired here.")).to_be_visible(timeout=WAIT)
            expect(seen.page.get_by_text("Load test until *noon* <b>x</b>").first).to_be_visible()
        assert behind.row(STAGING).paused
        dialog = asked(olga, "Resume delivery")
        dialog.get_by_role("textbox", name="Reason").fill("The load test is over")
        dialog.get_by_role("button", name="Resume delivery").click()
        expect(olga.page.get_by_text("Delivery is paused: nothing is pushed or repaired here.")).to_be_hidden(timeout=WAIT)
        behind.one_pass("serving-a")
        for seen in (olga, ana):
            expect(seen.page.get_by_text("What runs equals what was approved.")).to_be_visible(timeout=WAIT)
        assert [*olga.wrong, *ana.wrong] == []
    assert not behind.row(STAGING).paused


def test_a_server_that_dies_while_watched_is_told_and_comes_back(chromium: Browser, server: Running, behind: Behind) -> None:
    with visit(chromium, server.url) as seen:
        opened(seen, "ana", PRODUCTION)
        expect(seen.page.get_by_text("What runs equals what was approved.")).to_be_visible()
        behind.memory("serving-a").script(Fault("observe", "timeout", times=2))
        behind.one_pass("serving-a")
        expect(seen.page.get_by_text("Nobody can say what runs here now.")).to_be_visible(timeout=WAIT)
        expect(seen.page.get_by_text("Test the connection on the page of serving-a", exact=False)).to_be_visible()
        expect(seen.page.get_by_text("not seen lately").first).to_be_visible()
        behind.memory("serving-a").script()
        for _ in range(3):
            behind.one_pass("serving-a")
        expect(seen.page.get_by_text("What runs equals what was approved.")).to_be_visible(timeout=WAIT)
        assert seen.wrong == []


def test_what_was_typed_and_chosen_outlives_what_happens_meanwhile(chromium: Browser, server: Running, behind: Behind) -> None:
    with visit(chromium, server.url) as seen:
        opened(seen, "olga", EU)
        expect(seen.page.get_by_text("What runs is not what was approved.")).to_be_visible()
        dialog = asked(seen, "Repair now")
        dialog.get_by_role("textbox", name="Reason").fill("I am still typ")
        behind.router().change(EU, salt=EU)
        behind.one_pass("serving-b")
        expect(seen.page.get_by_text("What runs equals what was approved.")).to_be_attached(timeout=WAIT)
        expect(dialog.get_by_role("textbox", name="Reason")).to_have_value("I am still typ")
        seen.page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")
        moment = seen.page.get_by_role("textbox", name="As of (UTC)")
        moment.fill("2026-11-2")
        behind.router().change(EU, salt="by hand once more")
        behind.one_pass("serving-b")
        expect(seen.page.get_by_text("What runs is not what was approved.")).to_be_visible(timeout=WAIT)
        expect(moment).to_have_value("2026-11-2")
        assert seen.wrong == []


def test_a_row_opens_its_endpoint_and_back_leads_to_the_list_as_it_was_filtered(chromium: Browser, server: Running) -> None:
    with visit(chromium, server.url) as seen:
        seen.open("/endpoints?text=taxi&state=In%20sync", title="Whom do you act as?").act_as("ana", title="Endpoints")
        seen.open_row(r"/endpoint\?.*endpoint=taxi-fare", x=60)
        seen.drawn("taxi-fare").page.go_back()
        seen.drawn("Endpoints")
        expect(seen.page.get_by_role("textbox", name="Search")).to_have_value("taxi")
        assert "2 shown" in seen.say()
        seen.open("/", title="Overview").open_row(r"/endpoint\?.*endpoint=", x=60)
        seen.page.get_by_text("Desired against observed").wait_for()
        assert seen.wrong == []


def test_what_runs_already_is_adopted_by_clicks_and_signed_off_by_a_second_person(
    chromium: Browser, server: Running, behind: Behind
) -> None:
    file = behind.data / "servers" / "old.json"
    package = write_package(behind.data / "old-package")
    interface = read_manifest(package.path).interface_digest
    for name in ("scores", "not-ours"):
        MemoryServer(path=str(file)).load(name, {1: package}, interface, by="another team")
    with visit(chromium, server.url) as olga, visit(chromium, server.url) as ben:
        _register(olga, file)
        olga.page.get_by_role("button", name="Test the connection").click()
        expect(olga.page.get_by_text("not-ours")).to_be_visible()
        olga.page.get_by_role("button", name="Adopt", exact=True).nth(1).click()
        dialog = olga.page.get_by_role("dialog")
        expect(dialog.get_by_role("textbox", name="Endpoint's name")).to_have_value("scores")
        _choose(olga, dialog, "Environment", "production")
        _choose(olga, dialog, "Registered model", "flight-delay")
        dialog.get_by_role("button", name="Begin to observe it").click()
        olga.drawn("scores")
        expect(olga.page.get_by_text("The worker has not looked yet.")).to_be_visible()
        behind.one_pass("old")
        expect(olga.page.get_by_text("Found running")).to_be_visible(timeout=WAIT)
        olga.page.get_by_role("button", name="Look at what runs").click()
        expect(olga.page.get_by_text("asks for a second person. Send")).to_be_visible()
        expect(olga.page.get_by_role("button", name="Sign off the baseline")).to_have_count(0)

        opened(ben, "ben", "scores")
        ben.page.get_by_role("button", name="Look at what runs").click()
        ben.page.get_by_role("spinbutton").fill("9")
        ben.page.get_by_role("spinbutton").press("Enter")
        expect(ben.page.get_by_text("No version 9 is registered")).to_be_visible()
        ben.page.get_by_role("button", name="Sign off the baseline").click()
        ben.page.get_by_role("dialog").get_by_role("button", name="Sign off", exact=True).click()
        expect(ben.page.get_by_text("scores is managed from now on.")).to_be_visible(timeout=WAIT)
        behind.one_pass("old")
        expect(ben.page.get_by_text("What runs equals what was approved.")).to_be_visible(timeout=WAIT)
        assert [*olga.wrong, *ben.wrong] == []
    with behind.backend.database.read() as session:
        assert session.exec(select(Server).where(Server.name == "old")).one().sealed_credential
    assert [one["by"] for one in MemoryServer(path=str(file)).journal] == ["another team"] * 2, "nothing was ever written there"


def _register(seen: Visit, file: Path) -> None:
    seen.open("/admin?part=Servers", title="Whom do you act as?").act_as("olga", title="Admin")
    seen.page.get_by_role("button", name="Register a server").click()
    dialog = seen.page.get_by_role("dialog")
    _choose(seen, dialog, "Kind", "In memory (demos and tests)")
    dialog.get_by_role("textbox", name="Name").first.fill("old")
    dialog.get_by_role("textbox", name="Inference address").fill(f"memory:{file}")
    dialog.get_by_role("textbox", name="File").fill(str(file))
    credential = dialog.locator("input[type=password]")
    credential.fill("s3cret")
    credential.press("Tab")  # to Streamlit's own eye, from where it would hand over nothing if it were not live
    expect(dialog.get_by_text("A credential of 6 characters will be sealed.")).to_be_visible()
    dialog.get_by_role("button", name="Register the server").click()
    seen.drawn("old")
    assert "s3cret" not in seen.page.content()


def _choose(seen: Visit, dialog: Locator, label: str, option: str) -> None:
    dialog.get_by_role("combobox", name=label).click()
    seen.page.get_by_role("option", name=option, exact=True).click()


def opened(seen: Visit, identity: str, endpoint: str) -> None:
    seen.open(f"/endpoint?endpoint={endpoint}", title="Whom do you act as?").act_as(identity, title=endpoint)


def asked(seen: Visit, action: str) -> Locator:
    """The dialog of an action of the menu."""
    seen.page.get_by_role("button", name="Actions").click()
    seen.page.get_by_role("menuitem", name=action).or_(seen.page.get_by_role("option", name=action)).first.click()
    dialog = seen.page.get_by_role("dialog")
    dialog.wait_for()
    return dialog
