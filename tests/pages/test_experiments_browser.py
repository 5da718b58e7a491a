"""Experiments in Chromium: every page fits small windows, axe-core finds nothing, and a split becomes a change."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browsers import serve, visit
from tests.installations import EU, TAXI_PRODUCTION, copied
from tests.tried import SLUG, tried


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_experiments_are_clean_and_a_draft_is_saved(chromium: Browser, filled: Path, tmp_path: Path) -> None:
    data = copied(filled, tmp_path / "data")
    tried(data, looks=2, units=2_000)
    running = f"/experiment?endpoint={TAXI_PRODUCTION}&experiment={SLUG}"
    with serve(data, tmp_path) as server, visit(chromium, server.url) as seen:
        seen.open("/").act_as("ana", title="Overview")
        seen.open("/experiments", title="Experiments").clean("the list")
        seen.open_row("/experiment")
        seen.open(running).drawn().clean("what runs")
        assert "always-valid interval" in seen.say()
        seen.page.get_by_role("button", name="Decide…").click()
        dialog = seen.page.get_by_role("dialog")
        dialog.get_by_text("Roll back", exact=True).click()
        dialog.get_by_text("All units go back to the version that it was compared with.").wait_for()
        assert seen.drawn().axe() == [], "the dialog"
        dialog.get_by_role("button", name="Cancel").click()
        seen.open(f"/design?endpoint={EU}", title="Design an experiment").clean("the form")
        seen.page.get_by_label("Title", exact=True).fill("Fewer failures")
        seen.page.get_by_label("Hypothesis").fill("Version 2 fails less often.")
        seen.page.get_by_role("combobox", name="Version of arm 1").click()
        seen.page.get_by_role("option", name="2", exact=True).click()
        seen.drawn().page.get_by_role("button", name="Save the draft").click()
        seen.page.get_by_role("button", name="Start…").wait_for()
        assert "Version 2 fails less often." in seen.drawn().say()
        assert seen.wrong == []
