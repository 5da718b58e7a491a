"""Monitoring and Findings in Chromium: every part fits small windows, and axe-core finds nothing in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from backend import bootstrap
from backend.settings import Settings
from tests.browsers import serve, visit
from tests.found import found_lately
from tests.installations import PRODUCTION, copied
from tests.watched import watched

PARTS = ("Drift", "Predictions", "Latency", "Monitors", "Reports")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_monitoring_and_findings_are_clean(chromium: Browser, filled: Path, tmp_path: Path) -> None:
    data = copied(filled, tmp_path / "data")
    backend = bootstrap.build(Settings(data_dir=data, demo_identities=True))
    watched(backend)
    found_lately(backend)
    backend.close()
    pages = ["/monitoring", *(f"/monitoring?endpoint={PRODUCTION}&part={part}" for part in PARTS), "/findings"]
    with serve(data, tmp_path) as server, visit(chromium, server.url) as seen:
        seen.open("/").act_as("olga", title="Overview")
        for address in pages:
            title = "Findings" if address == "/findings" else "Monitoring"
            seen.open(address, title=title).clean(address)
        assert seen.open("/finding?finding=1").axe() == []
        seen.open(f"/monitoring?endpoint={PRODUCTION}&part=Monitors", title="Monitoring")
        seen.page.get_by_role("button", name="Pause").click()
        dialog = seen.page.get_by_role("dialog")
        dialog.get_by_role("textbox", name="Reason").fill("The feed is down until noon.")
        assert seen.drawn().axe() == [], "the dialog"
        dialog.get_by_role("button", name="Pause it").click()
        seen.page.get_by_role("button", name="Resume").wait_for()
        assert "The feed is down until noon." in seen.drawn().say()
        assert seen.wrong == []
