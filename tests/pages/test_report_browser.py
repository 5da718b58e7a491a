"""Evidently's page in Chromium: its library draws under the policy, and what stands in it reaches nothing of ours."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from backend import bootstrap
from backend.settings import Settings
from backend.window_reports.rules import Asked, Side
from backend.window_reports.runner import ReportRunner
from backend.window_reports.sample import draw
from tests.browsers import serve, visit
from tests.databases import Clock
from tests.installations import copied
from tests.pages.test_report_door import with_a_report
from tests.services.window_reports.evidently_rows import LINK, NAME, Quiet, logged

INJECTED = """(() => {
    const one = document.createElement('script');
    one.textContent = 'window.ran = 1';
    document.body.append(one);
    return window.ran === undefined;
})()"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_evidentlys_page_draws_and_reaches_nothing(chromium: Browser, filled: Path, tmp_path: Path) -> None:
    data = copied(filled, tmp_path / "data")
    backend = bootstrap.build(Settings(data_dir=data, demo_identities=True))
    link = with_a_report(backend, made(tmp_path))
    backend.close()
    with serve(data, tmp_path) as server, visit(chromium, server.url) as seen:
        seen.open("/").act_as("ana")
        answer = seen.page.goto(server.url + link)
        assert answer is not None
        assert answer.status == 200, answer.text()
        seen.page.locator(".js-plotly-plot .main-svg").first.wait_for()
        seen.page.get_by_text("Data drift").first.wait_for()
        assert seen.page.get_by_text("‹script›").count() > 0, "a hostile name is a name"
        assert seen.page.locator("a[href*='evil.example']").count() == 0
        charts = seen.page.locator(".main-svg")
        before = charts.count()
        seen.page.get_by_label("Detail panel visibility toggle").first.click()
        expect(charts).not_to_have_count(before)
        assert seen.wrong == [], "the library needs nothing that the policy refuses"
        assert seen.page.evaluate("origin") == "null"
        assert seen.page.evaluate(INJECTED)
        for act in ("document.cookie", "indexedDB.open('x')", "caches.keys()"):
            said = seen.page.evaluate(
                f"(async () => {{ try {{ await ({act}); return 'done' }} catch (one) {{ return one.name }} }})()"
            )
            assert said == "SecurityError", act
        for address in ("/api/v1/me", "https://evil.example/"):
            said = seen.page.evaluate(f"fetch('{address}').then(() => 'done', (one) => one.name)")
            assert said == "TypeError", address


def made(folder: Path) -> str:
    """What Evidently says of hostile rows."""
    clock, kept = Clock(), folder / "report"
    kept.mkdir()
    side = Side(clock.now - timedelta(hours=1), clock.now)
    with logged(folder / "log", clock) as log:
        asked = Asked(side, parts=("drift", "summary"), rows=300, features=("age", NAME, LINK))
        drawn = draw(log, "e", asked, kept, seed="s")
        runner = ReportRunner(None, log, None, lease_seconds=30)  # type: ignore[arg-type]  # neither is used here
        ended = runner._run(runner._order(asked, drawn, str(kept)), Quiet())  # type: ignore[arg-type]
    assert ended.last is not None, ended
    return (kept / "shown.json").read_text()
