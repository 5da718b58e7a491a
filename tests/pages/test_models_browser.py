"""Models in a real browser: found, registered while the page is left, uploaded, and described by a card that is hostile."""

from __future__ import annotations

import csv
import json
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from backend.bootstrap import Backend
from tests.browsers import Server, serve, visit
from tests.installations import CHURN, FLIGHTS, copied
from tests.model_story import BAGS, archive, files, opened, registry
from tests.pages.hostile_card import CARD
from tests.pages.test_browser import HEAVY

PROGRAM = (Path(__file__).parent / "serve_with_registry.py").read_text()


@pytest.fixture(scope="module")
def data(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled folder of this file's own."""
    return copied(filled, tmp_path_factory.mktemp("models") / "data")


@pytest.fixture(scope="module")
def behind(data: Path) -> Iterator[Backend]:
    """The services on the same database, as another process would use them."""
    backend = opened(data, registry())
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Server]:
    with serve(data, data.parent, PROGRAM, COUNTERSIGN_MLFLOW_URL="http://127.0.0.1:9") as running:
        yield running


def test_every_page_of_models_is_clean(chromium: Browser, server: Server) -> None:
    with visit(chromium, server.url) as seen:
        seen.open("/models", title="Whom do you act as?").act_as("ana", title="Models")
        seen.clean("models")
        for path, title in (
            (f"/model?model={FLIGHTS}", FLIGHTS),
            (f"/model?model={quote(CHURN)}&version=1", "churn"),
            (f"/card?model={FLIGHTS}", "Card"),
            (f"/register?model={BAGS}", "Register"),
            (f"/register?model={BAGS}&how=upload", "Register"),
            ("/model?model=nothing", "Model"),
        ):
            seen.open(path, title=title).clean(path)
        assert seen.wrong == []


LONG = {"heldout_expected_calibration_error_by_airport": 13970.0, "heldout_brier": 0.18342, "auc_of_every_month": 0.72}
BEYOND = """() => [...document.querySelectorAll("[data-testid=stTable], [data-testid=stVerticalBlock]")].flatMap(box =>
    [...box.querySelectorAll("td, th, p")].filter(one => {
        const told = document.createRange();
        told.selectNodeContents(one);
        return one.checkVisibility() && !one.closest("[data-testid=stDataFrame]")
            && told.getBoundingClientRect().right > box.getBoundingClientRect().right + 1;
    }).map(one => one.innerText))"""


@pytest.mark.parametrize(("width", "height"), [pytest.param(1440, 900, marks=pytest.mark.slow), (1024, 768)])
def test_no_value_of_a_version_is_cut(chromium: Browser, server: Server, data: Path, width: int, height: int) -> None:
    """Cut between a value and its name, a metric would be read as another's."""
    with sqlite3.connect(data / "countersign.db", timeout=10) as kept:
        changed = kept.execute(
            "UPDATE mirrored_version SET metrics = ?, tags = ? WHERE number = 1"
            " AND model_id = (SELECT id FROM model WHERE name = ?)",
            (json.dumps(LONG), json.dumps({"commit": "f" * 64}), FLIGHTS),
        )
        assert changed.rowcount == 1
    with visit(chromium, server.url) as seen:
        seen.page.set_viewport_size({"width": width, "height": height})
        seen.open(f"/model?model={FLIGHTS}&version=1", title="Whom do you act as?").act_as("ana", title=FLIGHTS)
        rows = seen.page.get_by_role("paragraph").filter(has_text="heldout_brier 0.1834")
        expect(rows.first).to_be_visible()
        assert rows.first.inner_text().splitlines() == [f"{name} {value:.4g}" for name, value in LONG.items()]
        assert seen.page.evaluate(BEYOND) == []
        assert seen.wrong == []


def test_a_model_is_found_opened_and_left_again(chromium: Browser, server: Server) -> None:
    with visit(chromium, server.url) as seen:
        seen.open("/models?q=flight&live=staging", title="Whom do you act as?").act_as("audra", title="Models")
        expect(seen.page.get_by_text("1 model matches")).to_be_visible()
        seen.open_row(r"/model\?.*model=flight-delay", x=60)
        seen.drawn(FLIGHTS).open_row("version=5", x=30)
        seen.drawn(FLIGHTS)
        expect(seen.page.get_by_role("heading", name="Version 5")).to_be_visible()
        seen.page.get_by_role("button", name="Models", exact=True).click()
        seen.drawn("Models")
        expect(seen.page.get_by_text("1 model matches")).to_be_visible()
        with seen.page.expect_download() as download:
            seen.page.get_by_role("button", name="Export CSV").click()
        with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as stream:
            assert [row["model"] for row in csv.DictReader(stream)] == [FLIGHTS]
        assert seen.wrong == []


def test_a_version_is_registered_while_its_page_is_left(chromium: Browser, server: Server, behind: Backend) -> None:
    with visit(chromium, server.url) as seen:
        seen.open(f"/model?model={BAGS}&version=1", title="Whom do you act as?").act_as("ana", title=BAGS)
        seen.page.get_by_role("button", name="Register it").click()
        seen.drawn("Register a version")
        seen.page.get_by_role("button", name="Register", exact=True).dblclick()
        expect(seen.page.get_by_text("you may leave this page").first).to_be_visible()
        expect(seen.page.get_by_role("progressbar").first).to_be_visible()
        seen.go("Overview").go("Models")
        server.process.send_signal(signal.SIGUSR2)
        seen.open(f"/register?model={BAGS}", title="Register a version")
        expect(seen.page.get_by_text("baggage-weight v1")).to_be_visible()
        card = seen.page.get_by_text("baggage-weight v1").locator("xpath=ancestor::*[@data-testid='stHorizontalBlock'][1]")
        expect(card.get_by_text("Registered")).to_be_visible(timeout=30_000)
        card.get_by_role("button", name="Open").click()
        seen.drawn(BAGS)
        expect(seen.page.get_by_test_id("stMarkdown").get_by_text("Registered", exact=True).first).to_be_visible()
        assert seen.wrong == []
    done = [one for one in intakes_of(behind) if (one.kind, one.number) == ("registry", 1)]
    assert [one.state for one in done] == ["done"], "a double click is one"


def test_an_archive_is_uploaded_and_a_bad_one_is_refused_with_what_was_kept(
    chromium: Browser, server: Server, behind: Backend, tmp_path: Path
) -> None:
    good, bad = tmp_path / "bags-11.zip", tmp_path / "escape.zip"
    good.write_bytes(archive(files(11)).getvalue())
    bad.write_bytes(archive({"../../evil": b"x"}).getvalue())
    with visit(chromium, server.url) as seen:
        seen.open(f"/register?model={BAGS}&how=upload", title="Whom do you act as?").act_as("olga", title="Register a version")
        for file in (bad, good):
            seen.page.locator("input[type=file]").set_input_files(file)
            expect(seen.page.get_by_text(file.name).first).to_be_visible()
            seen.drawn().page.get_by_test_id("stChatInputSubmitButton").click()
            expect(seen.page.get_by_text(f"{file.name} is being taken in")).to_be_visible(timeout=30_000)
            seen.drawn()
        expect(seen.page.get_by_text("../../evil").first).to_be_visible(timeout=30_000)
        expect(seen.page.get_by_text("Nothing reached MLflow, and the archive was removed.").first).to_be_visible()
        assert seen.wrong == []
        until(lambda: any(one.file == "bags-11.zip" and one.state == "done" for one in intakes_of(behind)))
    assert [path.name for path in (behind.settings.data_dir / "uploads").glob("*.archive") if path.stat().st_size < 300] == []


def test_a_hostile_card_is_written_previewed_and_shown_and_runs_nothing(chromium: Browser, server: Server) -> None:
    with visit(chromium, server.url) as seen:
        seen.open(f"/card?model={FLIGHTS}", title="Whom do you act as?").act_as("ana", title="Card")
        text = seen.page.get_by_role("textbox", name="Text")
        text.fill(f"{CARD}\n\nend of the card")
        seen.page.get_by_role("textbox", name="What you changed").fill("<script>window.ran = 9</script> *hostile*")
        expect(seen.page.get_by_role("paragraph").filter(has_text="end of the card")).to_be_visible()
        harmless(seen)
        seen.page.get_by_role("button", name="Save").click()
        seen.drawn(FLIGHTS)
        expect(seen.page.get_by_text("revision 3 by Ana")).to_be_visible(timeout=30_000)
        expect(seen.page.get_by_role("paragraph").filter(has_text="end of the card")).to_be_visible()
        harmless(seen)
        seen.open(f"/card?model={FLIGHTS}", title="Card")
        expect(seen.page.get_by_text("check_circle: Approved]").first).to_be_attached()
        expect(seen.page.get_by_text("<script>window.ran = 9</script> *hostile*")).to_be_visible()
        assert seen.wrong == []


def test_what_was_typed_outlives_another_page_and_somebody_elses_revision(
    chromium: Browser, server: Server, behind: Backend
) -> None:
    with visit(chromium, server.url) as seen:
        seen.open(f"/card?model={quote(CHURN)}", title="Whom do you act as?").act_as("ana", title="Card")
        text = seen.page.get_by_role("textbox", name="Text")
        text.fill("Half a thought")
        text.blur()
        seen.drawn().go("Models").page.go_back()
        seen.drawn("Card")
        expect(seen.page.get_by_role("textbox", name="Text")).to_have_value("Half a thought")
        behind.cards.write(behind.identities.act_as("olga"), CHURN, "Hers", revision=1)
        seen.page.get_by_role("button", name="Save").click()
        expect(seen.page.get_by_text("changed while you were looking at it")).to_be_visible()
        expect(seen.page.get_by_role("textbox", name="Text")).to_have_value("Half a thought")
        assert seen.wrong == []


def test_the_web_process_holds_no_heavy_library_after_all_of_it(server: Server) -> None:
    assert not {name.split(".")[0] for name in server.modules()} & HEAVY


def harmless(seen) -> None:  # type: ignore[no-untyped-def]
    """Nothing ran, nothing was fetched, no state was forged, no link runs anything."""
    main = seen.page.locator("[data-testid=stMain]")
    assert main.locator("img, script, iframe, object, embed, form").count() == 0
    assert main.get_by_text("Approved", exact=True).count() == 0
    targets = main.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href') || '')")
    assert not [one for one in targets if one.lower().startswith(("javascript:", "vbscript:"))]
    assert seen.page.evaluate("window.ran") is None
    assert seen.wrong == []


def intakes_of(behind: Backend):  # type: ignore[no-untyped-def]
    """Everything that was taken in, the newest first."""
    from backend.registry import intakes

    with behind.database.read() as session:
        return intakes.latest(session, now=behind.database.now(session), limit=50)


def until(true) -> None:  # type: ignore[no-untyped-def]
    """Waits until something is so."""
    import time

    for _ in range(120):
        if true():
            return
        time.sleep(0.25)
    raise AssertionError("it never became so")
