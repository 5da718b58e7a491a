"""Every part of Admin, a person, and one's own access in a real browser: accessible, within the window, and quiet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from backend import bootstrap
from backend.settings import Settings
from tests.browsers import Server, serve, visit

PARTS = ("People", "Services", "Grants", "Teams", "Data sets", "Roles", "Policies", "Servers", "Sign-in", "Messages")
DETAILS = {
    "/person?person=ben": "Ben",
    "/person?person=builds": "Build server",
    "/person?person=nobody": "Person",
    "/account": "My access",
}
DIALOGS = {
    "/admin?part=Grants": ("Admin", "Give a role"),
    "/admin?part=teams": ("Admin", "Create a team"),
    "/account": ("My access", "Make a token"),
    "/person?person=ben": ("Ben", "Deactivate"),
}


@pytest.fixture(scope="module")
def server(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("admin")
    shutil.copytree(prepared, folder / "data")
    backend = bootstrap.build(Settings(data_dir=folder / "data", demo_identities=True))
    otto = backend.identities.act_as("otto")
    backend.teams.create(otto, "flights", "Flight delays")
    backend.teams.add_member(otto, "flights", "ana")
    backend.identities.create(otto, "builds", kind="service", display_name="Build server", owner="otto")
    backend.tokens.create(otto, "nightly", identity="builds")
    backend.identities.grant(otto, "carla", "operator")
    backend.close()
    with serve(folder / "data", folder) as running:
        yield running


def test_every_part_of_admin_is_clean(chromium: Browser, server: Server) -> None:
    with visit(chromium, server.url, policy=False) as seen:
        seen.open("/", title="Whom do you act as?").act_as("otto", title="Overview")
        for address, title in {**{f"/admin?part={part}": "Admin" for part in PARTS}, **DETAILS}.items():
            seen.open(address, title=title).clean(address)
        for address, (title, button) in DIALOGS.items():
            seen.open(address, title=title).page.get_by_role("button", name=button).first.click()
            seen.page.get_by_role("dialog").wait_for()
            assert seen.drawn().axe() == [], button
        assert seen.wrong == []
