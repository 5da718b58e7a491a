"""Routes made, tested and subscribed in a real browser: a webhook's secret is shown once, and the address never again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browsers import serve, visit


def test_a_webhook_is_added_subscribed_and_tested_by_clicks(
    chromium: Browser, prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.mktemp("notifications") / "data"
    shutil.copytree(prepared, data)
    with (
        serve(data, data.parent, COUNTERSIGN_MESSAGE_NETWORKS="127.0.0.0/8") as server,
        visit(chromium, server.url) as seen,
    ):
        seen.open("/notifications", title="Whom do you act as?").act_as("olga", title="Notifications")
        assert seen.axe() == []
        page = seen.page
        page.get_by_role("button", name="Add a route").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("room")
        dialog.get_by_label("Address").fill("http://127.0.0.1:9/PLANTED")
        dialog.get_by_label("Address").press("Tab")
        assert seen.drawn().axe() == [], "the dialog"
        dialog.get_by_role("button", name="Add it", exact=True).click()
        expect(dialog.get_by_text("whsec_")).to_be_visible(timeout=20_000)
        dialog.get_by_role("button", name="I have it").click()
        dialog.wait_for(state="hidden")
        page.get_by_role("button", name="Subscribe").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Subscribe").click()
        dialog.wait_for(state="hidden")
        expect(page.get_by_text("of anything · by mail")).to_be_visible()
        page.get_by_role("button", name="More", exact=True).click()
        page.get_by_role("menuitem", name="Send a test").or_(page.get_by_role("option", name="Send a test")).click()
        expect(page.get_by_text("A test message", exact=True)).to_be_visible(timeout=20_000)
        seen.open("/notifications", title="Notifications").clean("with a route, a subscription and a message")
        assert "PLANTED" not in page.content()
        assert "whsec_" not in page.content()
        assert seen.wrong == []
