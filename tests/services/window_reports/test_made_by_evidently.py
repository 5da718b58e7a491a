"""A report that Evidently itself makes, from a log with hostile names and values, with every part that it has, confined."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from backend.window_reports.rules import Asked, Part, Side
from backend.window_reports.runner import ReportRunner
from backend.window_reports.sample import draw
from backend.window_reports.wire import Made
from tests.databases import Clock
from tests.services.window_reports.evidently_rows import NAME, Quiet, logged

NOTED = (
    "`gone` has no value in the window", "2 infinite values of `far`", "`who` has 39", "Lists and objects are not shown",
    "have no prediction or outcome",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", ["classification", "regression"])
def test_evidently_makes_every_part_of_hostile_rows_where_it_may_do_nothing(part: Part, tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    outcome = "late" if part == "classification" else "delay"
    side = Side(clock.now - timedelta(hours=1), clock.now)
    asked = Asked(side, parts=("drift", "summary", part), outcome=outcome, rows=350)
    with logged(tmp_path / "log", clock) as log:
        drawn = draw(log, "e", asked, folder, seed="s")
        runner = ReportRunner(None, log, None, tmp_path, lease_seconds=30)  # type: ignore[arg-type]  # neither is used here
        ended = runner._run(runner._order(asked, drawn, str(folder)), Quiet())  # type: ignore[arg-type]
    assert ended.trouble == "", ended.tail
    assert isinstance(ended.last, Made), (ended.last, ended.tail)
    notes = " ".join((*drawn.notes, *ended.last.notes))
    assert ended.last.parts == ["drift", "summary", part], notes
    assert [one for one in NOTED if one not in notes] == [], notes
    shown = (folder / "shown.json").read_text()
    told = json.loads(shown)
    assert [one["title"] for one in told["dashboard"]["widgets"]] == ["Data drift", "Data summary", part.capitalize()]
    assert "NaN" not in shown, "browsers read no such JSON"
    assert NAME not in shown
    assert "<a href" not in shown
    assert "‹script›" in json.dumps(told, ensure_ascii=False), "a hostile name is a name"
    assert sum(f'"user-{one}"' in shown for one in range(400)) < 40, "rare values are told together"
