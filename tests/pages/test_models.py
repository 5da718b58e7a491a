"""Models, a model, its card, and taking versions in: what each identity sees, finds and may do."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from app import wiring
from app.model_pages import catalog, comparing, intakes, version_facts, versions
from backend import bootstrap
from backend.access.service import DEMO
from backend.bootstrap import Backend
from backend.core.errors import Refusal
from backend.registry import cards
from backend.registry.compare import compare
from backend.registry.memory import MemoryRegistry
from tests.installations import CHURN, FLIGHTS, TAXI, copied
from tests.model_story import BAGS, registry
from tests.pages.conftest import Open, _opener, offered, press, raw, words

NAMES = [name for name, _, _ in DEMO]
WRITERS = {"ana", "olga"}


@pytest.fixture
def memory(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryRegistry]:
    """The registry that the pages' own backend asks, on a filled folder."""
    made = registry()
    monkeypatch.setattr(bootstrap, "_registry", lambda *_: made)
    monkeypatch.setenv("COUNTERSIGN_DATA_DIR", str(copied(filled, tmp_path / "data")))
    monkeypatch.setenv("COUNTERSIGN_DEMO_IDENTITIES", "true")
    monkeypatch.setenv("COUNTERSIGN_MLFLOW_URL", "http://127.0.0.1:9")
    wiring.forget()
    yield made
    wiring.forget()


def listed(test: AppTest) -> list[str]:
    return list(test.dataframe[0].value["Model"])


@pytest.mark.parametrize(
    ("file", "query"),
    [
        ("models", {}),
        ("model", {"model": FLIGHTS}),
        ("model", {"model": CHURN, "version": "2"}),
        ("card", {"model": CHURN}),
        ("card", {"model": FLIGHTS, "revision": "1"}),
    ],
)
def test_everybody_sees_models_and_their_cards(full_page: Open, file: str, query: dict[str, str]) -> None:
    test = full_page(file, NAMES[0], **query)
    for name in NAMES:
        test.session_state["identity.name"] = name
        test.run()
        assert not test.exception
        assert not test.error, words(test)
        assert not test.warning, words(test)
        assert len(test.header) == 1
        assert offered(test, "Register") == (file == "models" and name in WRITERS)


def test_the_list_says_what_is_live_where_and_what_is_registered(full_page: Open) -> None:
    rows = {row["Model"]: row for row in full_page("models", "audra").dataframe[0].value.to_dict("records")}
    assert set(rows) == {FLIGHTS, TAXI, CHURN, BAGS}
    assert "production v1 · Unreachable" in rows[FLIGHTS]["Live"][:2], "the worst first"
    assert {one.split(" ")[0] for one in rows[TAXI]["Live"][:3]} <= {"production", "staging"}
    assert len(rows[TAXI]["Live"]) > 2
    assert rows[CHURN]["Live"][0].startswith("production v1")
    assert rows[FLIGHTS]["Registered"] == "4 of 5"
    assert list(rows[BAGS]["Flag"]) == ["Pickled"]
    assert list(rows[BAGS]["Live"]) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "delay"}, {FLIGHTS}),
        ({"q": "team=bags weight"}, {BAGS}),
        ({"q": "<img src=x"}, {CHURN}),
        ({"owner": "ground"}, {BAGS}),
        ({"live": "staging"}, {FLIGHTS, TAXI}),
        ({"live": "production"}, {FLIGHTS, TAXI, CHURN}),
        ({"live": "dev"}, set()),
        ({"flag": "Pickled"}, {BAGS}),
        ({"flag": "Gone"}, set()),
        ({"alias": "nobody-has-this"}, set()),
        ({"live": "staging", "q": "taxi"}, {TAXI}),
    ],
)
def test_the_address_filters_the_list(full_page: Open, query: dict[str, str], expected: set[str]) -> None:
    test = full_page("models", "ana", **query)
    assert (set(listed(test)) if test.dataframe else set()) == expected
    if not expected:
        assert "No model matches" in words(test)


def test_the_list_is_paged_by_key_in_both_orders_and_exported_whole(full_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "PAGE", 3)
    test = full_page("models", "ana", order="Name")
    first = listed(test)
    assert "4 models, 3 on this page" in words(test)
    press(test, "Next")
    assert sorted([*first, *listed(test)]) == sorted([FLIGHTS, TAXI, CHURN, BAGS])
    press(test, "Previous")
    assert listed(test) == first
    monkeypatch.setattr(catalog, "_STEP", 2)
    actor = wiring.backend().identities.act_as("audra")
    found = list(csv.DictReader(io.StringIO(catalog.exporter(actor, catalog.Asked())().decode("utf-8-sig"))))
    assert len(found) == 4
    assert {row["model"].lstrip("'") for row in found} == {FLIGHTS, TAXI, CHURN, BAGS}
    assert next(row for row in found if row["model"] == BAGS)["versions_pickled"] == "1"


def test_an_empty_list_says_why_and_what_to_do(page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    said = words(page("models", "ana"))
    assert "No MLflow is configured" in said
    assert "COUNTERSIGN_MLFLOW_URL" in said
    assert "No registry" in said
    monkeypatch.setenv("COUNTERSIGN_MLFLOW_URL", "http://127.0.0.1:9")
    wiring.forget()
    test = page("models", "ana")
    assert "No model has been read yet" in words(test)
    assert "Never read" in words(test)
    assert "no worker runs that could read it" in words(test)
    assert offered(test, "Register a version")


def test_the_registry_is_read_on_demand_by_whoever_may(memory: MemoryRegistry) -> None:
    open_page = _opener()
    test = open_page("models", "audra")
    assert not offered(test, "Read the registry now")
    test = open_page("models", "ben")
    press(test, "Read the registry now")
    assert "will be read at once" in words(test)
    with pytest.raises(Refusal, match="may not refresh a registry"):
        wiring.backend().mirror.ask(wiring.backend().identities.act_as("audra"))


def test_a_model_shows_its_live_version_first_and_another_on_demand(full_page: Open) -> None:
    test = full_page("model", "ana", model=FLIGHTS)
    said = words(test)
    assert "Version 1" in [one.value for one in test.subheader]
    for expected in (
        "production v1 · Unreachable",
        "4 of 5 versions registered",
        "none found",
        "Claimed",
        "3 inputs, 1 output",
    ):
        assert expected in said, expected
    assert offered(full_page("model", "ana", model=FLIGHTS, version="5"), "Register it")
    test = full_page("model", "ana", model=BAGS, version="2")
    assert "Runs when loaded encoder.pkl" in words(test).replace(":orange-badge[:material/warning: ", "").replace("]", "")
    assert "Verified" in words(full_page("model", "ana", model=BAGS, version="4"))


def test_only_what_can_be_proposed_is_offered_to_whoever_may(full_page: Open) -> None:
    def propose(name: str, **query: str) -> bool:
        test = full_page("model", name, **query)
        return "Propose" in str([one.label for one in test.button if not one.disabled]) or any(
            "Propose" in one.label and not one.disabled for one in test.get("menu_button")
        )

    assert propose("ana", model=CHURN, version="1")
    assert not propose("ben", model=CHURN, version="1")
    assert not propose("ana", model=FLIGHTS, version="5"), "not registered"
    assert not propose("ana", model=BAGS, version="2"), "no endpoint"


@pytest.mark.parametrize(
    "query", [{"model": "nothing"}, {"model": FLIGHTS, "version": "99"}, {"model": FLIGHTS, "version": "x"}]
)
@pytest.mark.parametrize("file", ["model", "card"])
def test_what_is_not_there_is_said_without_a_traceback(full_page: Open, file: str, query: dict[str, str]) -> None:
    asked = {"revision" if file == "card" and name == "version" else name: value for name, value in query.items()}
    test = full_page(file, "ana", **asked)
    assert not test.exception
    assert len(test.warning) == 1
    assert "No " in test.warning[0].value


@pytest.mark.parametrize(
    ("file", "query"),
    [
        ("propose", {"endpoint": "flight-delay", "version": "9" * 5_000}),
        ("register", {"model": FLIGHTS, "number": "²"}),
        ("register", {"model": FLIGHTS, "number": "9" * 5_000}),
        ("model", {"model": FLIGHTS, "compare": "9" * 5_000}),
        ("model", {"model": FLIGHTS, "compare": "²,1"}),
    ],
)
def test_a_number_that_is_none_is_as_if_there_were_none(memory: MemoryRegistry, file: str, query: dict[str, str]) -> None:
    test = _opener()(file, "ana", **query)
    assert not test.exception, words(test)
    assert "Something went wrong" not in "".join(str(one.value) for one in (*test.error, *test.warning))
    assert len(test.header) == 1


def test_versions_stand_side_by_side_with_the_better_metric_marked(full_page: Open) -> None:
    test = full_page("model", "ana", model=FLIGHTS, version="2", compare="1")
    test.selectbox(key="compare.more").set_value("v4").run()
    tables = {tuple(one.value.columns): one.value for one in test.table if "v4" in one.value.columns}
    (metrics, params, *_), said = [one.value for one in test.table if "v4" in one.value.columns], words(test)
    assert tables
    assert "Better" in metrics.set_index("Field")["v4"]["auc"]
    assert "Better" in metrics.set_index("Field")["v4"]["brier"], "the lower one"
    assert "Better" not in str(list(metrics["v1"]))
    assert set(params["Field"]) == {r"learning\_rate", r"max\_depth"}
    assert "numpy" not in said, "equal in both"
    test.toggle(key="equal").set_value(True).run()
    assert "numpy" in words(test)


def test_the_comparison_is_exported_whole(full: Backend) -> None:
    with wiring.reading(wiring.backend().identities.act_as("audra")) as look:
        found = compare(look.session, FLIGHTS, [1, 4])
    rows = list(csv.DictReader(io.StringIO(comparing.exporter(found)().decode("utf-8-sig"))))
    assert {row["section"] for row in rows} == {"Metrics", "Parameters", "Signature", "Data sets", "Dependencies"}
    assert next(row for row in rows if row["field"] == "numpy") == {
        "section": "Dependencies", "field": "numpy", "v1": "'==2.4.6", "v4": "'==2.4.6", "differs": "False",
    }  # fmt: skip


def test_hostile_names_and_texts_stay_what_they_are(full_page: Open) -> None:
    for file in ("model", "card"):
        said = raw(full_page(file, "ben", model=CHURN))
        assert r"\*churn\* \<img src\=x onerror\=alert\(1\)\> \$risk\$ \| \`v\`"[:60] in said
        assert "![" not in said.replace(r"\!\[", "")
        assert ":green-badge[:material/check_circle: Approved]" not in said


def test_a_card_is_written_with_template_and_summary_and_an_old_one_taken_over(full_page: Open, full: Backend) -> None:
    test = full_page("card", "ana", model=TAXI)
    press(test, "Insert the template")
    text = test.text_area[0]
    assert text.value.startswith("## What it is for")
    text.set_value("Fares of taxis.").run()
    assert "Fares of taxis." in [one.value for one in test.markdown]
    test.text_input[0].set_value("First words").run()
    press(test, "Save")
    with full.database.read() as session:
        found = cards.card(session, TAXI)
    assert found is not None
    assert (found.revision, found.text, found.summary) == (1, "Fares of taxis.", "First words")
    test = full_page("card", "ana", model=FLIGHTS, revision="1")
    press(test, "Take this text over")
    assert test.text_area[0].value == "A first try."
    assert "Not saved yet" in words(test)


def test_somebody_elses_revision_is_not_overwritten_and_what_was_typed_stays(full_page: Open, full: Backend) -> None:
    test = full_page("card", "ana", model=FLIGHTS)
    test.text_area[0].set_value("My words").run()
    full.cards.write(full.identities.act_as("olga"), FLIGHTS, "Her words", revision=2)
    press(test, "Save")
    assert "changed while you were looking at it" in words(test)
    test.run()
    assert test.text_area[0].value == "My words"
    assert "saved revision 3 while you were writing on revision 2" in words(test)
    press(test, "Go on from revision 3")
    press(test, "Save")
    with full.database.read() as session:
        assert [one.text for one in cards.history(session, FLIGHTS)][:2] == ["My words", "Her words"]


def test_a_reader_has_no_editor(full_page: Open) -> None:
    test = full_page("card", "ben", model=FLIGHTS)
    assert not test.text_area
    assert not offered(test, "Save")
    assert "Operations plan gates with it" in words(test)


def test_a_version_is_registered_from_the_page_and_goes_on_without_it(memory: MemoryRegistry) -> None:
    test = _opener()("register", "ana", model=BAGS, number="3")
    assert test.number_input[0].value == 3
    press(test, "Register")
    assert "is being taken in; you may leave this page" in words(test)
    backend = wiring.backend()
    with wiring.reading(wiring.backend().identities.act_as("audra")) as look:
        (newest, *_) = intakes.intakes.latest(look.session, now=look.now)
    assert backend.intake.wait(newest.id).state == "done"
    assert "Registered" in words(test.run())
    test = _opener()("model", "ana", model=BAGS, version="3")
    assert "Registered" in words(test)
    assert "Taken in lately" in [one.value for one in test.subheader]


def test_an_upload_without_a_file_starts_nothing(memory: MemoryRegistry) -> None:
    test = _opener()("register", "ana", model=BAGS, how="upload")
    before = words(test).count("baggage-weight")
    test.chat_input[0].set_value("I forgot the file").run()
    assert "no archive was attached" in words(test)
    assert words(test).count("baggage-weight") == before


def test_what_went_wrong_is_told_with_what_was_kept(full_page: Open) -> None:
    said = words(full_page("register", "olga"))
    for expected in (
        "would leave its folder", "Nothing reached MLflow, and the archive was removed", "cannot be reached",
        "The archive is kept here for 24 hours", "At most 200 MiB", "bags *9* <b>.zip",
    ):  # fmt: skip
        assert expected in said, expected


def test_whoever_may_not_register_is_told_who_may(full_page: Open) -> None:
    test = full_page("register", "ben")
    assert "may not register a version" in words(test)
    assert not test.chat_input


def test_everything_in_the_lineage_opens_or_can_be_copied(full: Backend, full_page: Open) -> None:
    test = full_page("model", "ana", model=FLIGHTS)
    version = test.button(key="open.version")
    assert any(one.key and one.key.startswith("open.endpoint.") for one in test.button)
    copied = {str(one.value) for one in test.code}
    with full.database.read() as session:
        found = versions.whole(wiring.Reading(session, full.database.now(session)), FLIGHTS, "")
    assert {one.digest for one in found.packages} <= copied
    assert found.chosen is not None
    assert {found.chosen.told.run_id, found.chosen.told.code_version} - {None, ""} <= copied
    assert "version" not in test.query_params
    version.click().run()
    assert list(test.query_params["version"]) == [str(found.chosen.told.number)]


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("https://mlflow.example.com/", "https://mlflow.example.com/#/runs/a%2Fb%22%3E"),
        ("file:///srv/mlruns", None),
        ("javascript:alert(1)", None),
        (None, None),
    ],
)
def test_a_run_is_opened_in_mlflow_only_where_a_browser_may(
    monkeypatch: pytest.MonkeyPatch, address: str | None, link: str | None
) -> None:
    settings = SimpleNamespace(settings=SimpleNamespace(mlflow_url=address))
    monkeypatch.setattr(wiring, "backend", lambda: settings)
    assert version_facts.run_in_mlflow('a/b">') == link


def test_an_alias_where_it_was_proved_one_that_was_moved_and_one_that_is_not_ours(full_page: Open) -> None:
    said = words(full_page("model", "ana", model=BAGS))
    assert "production-champion moved by hand" in said
    assert all(word in said for word in ("As proved", "Moved by hand", "Not ours"))
