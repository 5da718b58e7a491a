"""The pages of experiments as every role sees them, in every state, with texts that somebody wrote to hurt."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app import wiring
from app.compared import words as compared_words
from app.experiment_pages import experiment_list, exports, metric_fields
from backend.api import app as api
from backend.bootstrap import Backend
from backend.cli import experiment as experiment_commands
from backend.client.results import Comparison
from backend.client.shapes import read
from backend.core.context import SYSTEM
from backend.delivery.named import named
from backend.delivery.rows import Endpoint
from backend.experiments.comparing import showing
from backend.experiments.comparing.rows import ComparisonState
from backend.experiments.comparing.views import ComparisonView
from backend.experiments.designs import service as designs
from backend.experiments.designs.spec import Design, MetricAsked
from tests.installations import EU, TAXI_PRODUCTION, copied, number_of
from tests.pages.conftest import Open, offered, press, raw, words
from tests.tried import DESIGN, SLUG, TITLE, begun, tried

HERE = {"endpoint": TAXI_PRODUCTION, "experiment": SLUG}


@pytest.fixture(scope="module")
def running(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled folder with an experiment that runs; leave it as it is."""
    data = copied(filled, tmp_path_factory.mktemp("running") / "data")
    tried(data, looks=2, units=11_000)
    return data


@pytest.fixture
def lived(running: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The backend that pages use, on a copy of that folder."""
    return _wired(copied(running, tmp_path / "lived"), monkeypatch)


def _wired(data: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    monkeypatch.setenv("COUNTERSIGN_DATA_DIR", str(data))
    monkeypatch.setenv("COUNTERSIGN_DEMO_IDENTITIES", "true")
    wiring.forget()
    return wiring.backend()


def _view(backend: Backend) -> ComparisonView:
    with backend.database.read() as session:
        found = showing.of_experiment(session, TAXI_PRODUCTION, SLUG, now=backend.database.now(session))
    assert found is not None
    return found


def _design(backend: Backend, slug: str) -> Design:
    with backend.database.read() as session:
        return designs.design_of(session, named(session, Endpoint, EU).id, slug)


def test_the_list_is_empty_with_a_next_step_for_whoever_may_take_it(full_page: Open) -> None:
    for who, may in (("ana", True), ("olga", True), ("otto", False), ("audra", False)):
        test = full_page("experiments", who)
        assert not test.exception
        assert "Nothing was tried yet" in words(test)
        assert offered(test, "New experiment") == may, who


def test_the_list_says_how_far_each_is_and_what_it_says(page: Open, lived: Backend) -> None:
    test = page("experiments", "audra")
    assert not test.exception
    shown = test.dataframe[0].value
    assert list(shown["Experiment"]) == [TITLE], "plain text, as it was written"
    assert list(shown["Day"]) == ["1 of 14"]
    assert list(shown["Decision"]) == ["Ship"]
    assert list(shown["Endpoint"]) == [TAXI_PRODUCTION]
    told = list(
        csv.reader(io.StringIO(experiment_list.exporter(lived.identities.act_as("audra"), "", "")().decode("utf-8-sig")))
    )
    assert told[1][:2] == [TAXI_PRODUCTION, SLUG]
    assert "Take a filter off" in words(page("experiments", "audra", place=EU))


@pytest.mark.parametrize(("who", "decides", "splits"), [("ana", True, True), ("ben", True, False), ("audra", False, False)])
def test_a_running_experiment_is_told_in_absolute_words(
    page: Open, lived: Backend, who: str, decides: bool, splits: bool
) -> None:
    test = page("experiment", who, **HERE)
    assert not test.exception
    assert not test.error
    said = words(test)
    assert "v2 lowers log-loss by" in said
    assert "always-valid interval" in said
    assert "safe to ship; sample ratio as planned." in said
    assert "Running, day 1 of 14" in said
    assert "v1 keeps 90 % of units, v2 keeps 10 %" in said
    assert "2 of 2 guardrails within limit" in said
    assert "Exploratory" in said
    assert "it decides nothing" in said
    assert "0 units in two arms" in said
    assert "Began to compare its arms." in said
    assert offered(test, "Decide…") == decides
    assert any(one.label == "Request split…" for one in test.button) == splits


def test_what_somebody_wrote_stays_text(page: Open, lived: Backend) -> None:
    test = page("experiment", "ana", **HERE)
    said = raw(test)
    assert "<script>" not in said
    assert "![p](" not in said
    assert ":red[now]" not in said
    assert test.header[0].value.replace("\\", "").replace("\u2060", "") == TITLE


def test_a_drafted_split_says_who_moves(page: Open, lived: Backend) -> None:
    test = page("experiment", "ana", **HERE)
    test.number_input[0].set_value(25.0).run()
    said = words(test)
    assert "v1 keeps 75 % of units, v2 gets 25 %" in said
    assert "Of about 22,000 units, 3,300 from v1 to v2 move, none back." in said
    assert offered(test, "Request split…")


def test_the_raw_aggregates_make_the_figures_again(lived: Backend) -> None:
    vera = lived.identities.act_as("audra")
    told = json.loads(exports.as_json(vera, TAXI_PRODUCTION, SLUG)())
    mine = [one for one in told["rows"] if one["metric"] == "errors" and not one["segment"]]
    effect = next(one for one in _view(lived).figures.effects if one.metric == "errors" and not one.segment)  # type: ignore[union-attr]
    assert {one["arm"]: one["n"] for one in mine} == {"v1": effect.n_control, "v2": effect.n_treatment}
    own = next(one for one in mine if one["arm"] == "v2")
    assert own["centre"] + own["value"] / own["denominator"] == pytest.approx(effect.treatment_value)
    rows = list(csv.DictReader(io.StringIO(exports.as_csv(vera, TAXI_PRODUCTION, SLUG)().decode("utf-8-sig"))))
    assert len(rows) == len(told["rows"]) == 2 * 3 * 3
    assert float(rows[0]["n"]) == told["rows"][0]["n"]


def test_a_failed_and_a_stale_look_are_said(page: Open, lived: Backend) -> None:
    with lived.database.unit(SYSTEM) as tx:
        tx.get(ComparisonState, _view(lived).id).problem = "The log <b>cannot</b> be read"
    said = words(page("experiment", "audra", **HERE))
    assert "The latest look failed." in said
    assert "Last look failed" in said


def test_a_decision_ends_it_and_says_so(page: Open, lived: Backend) -> None:
    lived.experiments.decide(lived.identities.act_as("ana"), TAXI_PRODUCTION, SLUG, "ship", "It loses *less*.")
    test = page("experiment", "audra", **HERE)
    assert not test.exception
    said = words(test)
    assert "Shipped by ana" in test.info[0].value
    assert "It loses *less*." in test.info[0].value.replace("\\", "")
    assert "Decided it: shipped. It loses *less*." in said
    assert not offered(test, "Decide…")
    assert list(page("experiments", "audra").dataframe[0].value["Decision"]) == ["Shipped"]


def test_no_figures_yet_and_units_in_two_arms(
    page: Open, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copied(filled, tmp_path / "early")
    begun(data)
    _wired(data, monkeypatch)
    said = words(page("experiment", "ana", **HERE))
    assert "Nothing can be said yet." in said
    assert "No figures yet" in said
    data = copied(filled, tmp_path / "crossed")
    tried(data, looks=1, units=2_000, crossed=True)
    _wired(data, monkeypatch)
    said = words(page("experiment", "ana", **HERE))
    assert "Nothing may be read from this." in said
    assert "Unsound" in said
    assert "safe to ship" not in said


def test_a_draft_is_designed_edited_and_planned_by_clicks(full_page: Open, full: Backend) -> None:
    test = full_page("design", "ana", endpoint=EU)
    assert not test.exception
    assert "Write a title." in words(test)
    test.text_input(key="design.title").set_value("Fewer failures")
    test.text_area(key="design.hypothesis").set_value("Version 2 fails less.")
    test.selectbox(key="design.arm.0.version").set_value(2)
    test.run()
    said = words(test)
    assert "The champion keeps 90 % of units" in said
    assert "v2 gets 10 % of units" in said
    assert "let the champion be measured first" in said
    press(test, "Save the draft")
    assert not test.exception
    found = _design(full, "fewer-failures")
    assert found.primary.smallest == 0.01
    assert [(one.version, one.share) for one in found.arms] == [(2, 1_000)]
    test = full_page("design", "ana", endpoint=EU, experiment="fewer-failures")
    test.number_input(key="design.days").set_value(7).run()
    press(test, "Add a guardrail")
    press(test, "Save the draft")
    found = _design(full, "fewer-failures")
    assert (found.planned_days, len(found.guardrails)) == (7, 1)
    test = full_page("experiment", "ana", endpoint=EU, experiment="fewer-failures")
    assert offered(test, "Start…")
    assert not offered(full_page("experiment", "audra", endpoint=EU, experiment="fewer-failures"), "Start…")
    assert "You may look, and not design." in full_page("design", "audra", endpoint=EU).info[0].value


def test_a_draft_keeps_what_the_form_does_not_ask(full_page: Open, full: Backend) -> None:
    ana = full.identities.act_as("ana")
    metrics = [
        {**DESIGN["metrics"][0], "cap": [0.0, 5.0]},
        *DESIGN["metrics"][1:],
        {"name": "slow", "kind": "slow", "above_seconds": 0.5},
    ]
    full.experiments.create(ana, EU, "kept", "Kept", {**DESIGN, "metrics": metrics, "looks": "pocock", "failures": 3})
    before = _design(full, "kept")
    test = full_page("design", "ana", endpoint=EU, experiment="kept")
    press(test, "Save the draft")
    assert _design(full, "kept") == before


def test_the_change_shows_the_same_arms(page: Open, lived: Backend) -> None:
    test = page("change", "ana", change=str(number_of(lived, "ROLLOUT")))
    assert not test.exception
    said = words(test)
    assert "Arms beside each other" in said
    assert "v2 lowers log-loss by" in said
    assert "Arms beside each other" not in words(page("change", "ana", change=str(number_of(lived, "REVIEW"))))


def test_the_api_the_client_and_the_command_line_tell_the_same(lived: Backend) -> None:
    token = lived.tokens.create(lived.identities.act_as("ana"), "tests").text
    client = TestClient(api.build(lambda: lived), headers={"authorization": f"Bearer {token}"})
    at = f"/v1/endpoints/{TAXI_PRODUCTION}/experiments/{SLUG}"
    told = client.get(f"{at}/figures").json()
    assert (told["decision"], told["experiment"], told["figures"]["decision"]) == ("ship", SLUG, "ship")
    assert client.get(f"/v1/endpoints/{TAXI_PRODUCTION}/rollout/comparison").json()["id"] == told["id"]
    looks = client.get(f"{at}/looks?limit=1").json()
    assert (len(looks["items"]), looks["items"][0]["at"] == told["looked_at"]) == (1, True)
    older = client.get(f"{at}/looks", params={"after": looks["next"]}).json()
    assert [one["decision"] for one in older["items"]] == ["keep_running"] or older["items"][0]["at"] < told["looked_at"]
    assert len(client.get(f"{at}/aggregates").json()["rows"]) == 18
    lines = "\n".join(experiment_commands._figures(read(Comparison, told)))
    assert "The newest look at" in lines
    assert "says: ship." in lines
    assert "log-loss" in lines
    assert client.get(f"/v1/endpoints/{EU}/rollout/comparison").status_code == 404
    refused = client.post(f"{at}/decide", json={"outcome": "ship", "reason": "It loses less."})
    assert refused.json()["code"] == "no-registry", "the change cannot be proposed"
    assert client.get(at).json()["state"] == "running", "and so nothing is decided"


def test_an_experiment_that_is_not_there_leads_back(full_page: Open) -> None:
    for query in ({}, {"endpoint": EU, "experiment": "nothing"}, {"endpoint": "nothing", "experiment": "x"}):
        test = full_page("experiment", "ana", **query)
        assert not test.exception
        assert "A link may be older than what it leads to." in words(test)


def test_amounts_are_said_in_their_unit() -> None:
    design = {one["name"]: one for one in DESIGN["metrics"]}
    errors, p95, loss = (MetricAsked(**design[name]).metric(()) for name in ("errors", "p95", "log-loss"))
    assert compared_words.change(errors, -0.00003) == "−0.003 pp"
    assert compared_words.amount(errors, 0.00041) == "0.041 %"
    assert compared_words.change(p95, 0.0031) == "+3.1 ms"
    assert compared_words.change(loss, None) == "no end"
    assert compared_words.interval(loss, -0.074, -0.048) == "−0.074 to −0.048"
    assert metric_fields.name_of({"kind": "latency", "quantile": 0.999}) == "p99-9"
    metrics: list[dict[str, object]] = [{"name": "slow", "kind": "slow", "above_seconds": 0.2}]
    assert metric_fields.apart(metrics, {"name": "slow", "kind": "slow", "above_seconds": 0.3}) == "slow-2"
    assert metric_fields.apart(metrics, {"name": "slow", "kind": "slow", "above_seconds": 0.2}) == "slow"
