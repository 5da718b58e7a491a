"""Endpoints, one endpoint, a server, Admin and the overview, as each identity sees them, on an installation with a history."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from streamlit.testing.v1 import AppTest

from app.endpoint_pages import endpoint_words, fleet
from backend.access.rows import Request
from backend.access.service import DEMO
from backend.bootstrap import Backend
from backend.core.errors import ExternalFailure, Refusal
from backend.delivery import queries
from backend.delivery.fleet import RANKS, Filters
from backend.delivery.queries import servers
from backend.delivery.rows import ENDPOINT_STATES
from tests import installations
from tests.installations import APAC, EU, OBSERVED, PRODUCTION, TAXI_PRODUCTION, TAXI_STAGING
from tests.pages.conftest import Open, raw, words
from tests.pages.test_pages import offered, press

NAMES = [name for name, _, _ in DEMO]
NOT_NOW = " · not now"


# -- the list


def test_the_list_shows_the_worst_first_with_the_age_of_each_proof(full_page: Open) -> None:
    table = full_page("endpoints", "ana").dataframe[0].value
    assert list(table["State"].map(lambda one: one[0]))[:4] == ["Unreachable", "Out of sync", "Paused", "Observed"]
    row = table.set_index("Endpoint").loc
    assert row[TAXI_PRODUCTION]["Live"] == "v1 90 · v2 10"
    assert row[APAC]["Live"] == "not known"
    assert row[APAC]["Bytes"].startswith("stale, ")
    assert row[APAC]["Seen"].startswith("stale, ")
    assert row[EU]["Configured"] == "failed"
    assert row[OBSERVED]["Answers"] == "–"
    assert "salt" in row[EU]["Why"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"state": "Needs attention"}, {APAC, EU}),
        ({"state": "Paused"}, {TAXI_STAGING}),
        ({"environment": "staging"}, {installations.STAGING, TAXI_STAGING}),
        ({"server": "serving-down"}, {APAC}),
        ({"model": installations.CHURN}, {installations.CHURNING}),
        ({"text": "taxi", "environment": "production"}, {TAXI_PRODUCTION, installations.TAXI_EU, OBSERVED}),
    ],
)
def test_a_link_carries_the_filters(full_page: Open, query: dict[str, str], expected: set[str]) -> None:
    test = full_page("endpoints", "ana", **query)
    assert set(test.dataframe[0].value["Endpoint"]) == expected


def test_nothing_found_says_why_and_keeps_the_filters(full_page: Open) -> None:
    test = full_page("endpoints", "ana", text="no such endpoint")
    assert "No endpoint matches" in words(test)
    assert test.text_input(key="text").value == "no such endpoint"


def test_the_list_goes_back_in_time(full_page: Open, full: Backend) -> None:
    test = full_page("endpoints", "ana", asof="2020-01-01")
    assert not test.dataframe
    assert "As of 1 Jan 2020 23:59:59 UTC" in words(test)
    assert "No endpoint was known at that moment" in words(test)
    assert "There is no endpoint yet" not in words(test)
    with full.database.read() as session:
        generation = queries.history(session, TAXI_PRODUCTION)[0]
    before = generation.admitted_at.replace(microsecond=0)
    test = full_page("endpoints", "ana", asof=f"{before:%Y-%m-%d %H:%M}")
    test.text_input(key="asof").set_value("2020-01-01").run()
    row = full_page("endpoints", "ana", asof=f"{generation.admitted_at:%Y-%m-%d %H:%M:%S}").dataframe[0].value
    row = row.set_index("Endpoint").loc[TAXI_PRODUCTION]
    assert row["Desired"] == "v1 90 · v2 10"
    assert row["Approved by"] == "Ben (reviewer), Carla (reviewer)"
    assert row["Policy"] == "production@2"
    assert row["Change"] == f"#{installations.number_of(full, 'ROLLOUT')}"


def test_the_file_of_a_moment_holds_what_the_list_of_it_shows(full_page: Open, full: Backend) -> None:
    with full.database.read() as session:
        then = queries.history(session, TAXI_PRODUCTION)[0].admitted_at.replace(microsecond=0) + timedelta(seconds=1)
    ana = full.identities.act_as("ana")
    text = fleet.exporter(ana, Filters(), then)().decode("utf-8-sig")
    found = {row["Endpoint"]: row for row in csv.DictReader(io.StringIO(text))}
    shown = full_page("endpoints", "ana", asof=f"{then:%Y-%m-%d %H:%M:%S}").dataframe[0].value
    assert set(found) == set(shown["Endpoint"])
    assert list(found[TAXI_PRODUCTION]) == list(shown.columns)
    assert found[TAXI_PRODUCTION]["Desired"] == "v1 90 · v2 10"
    assert found[TAXI_PRODUCTION]["State"] == shown.set_index("Endpoint").loc[TAXI_PRODUCTION]["State"][0]
    assert fleet.exported_name(then) == f"endpoints-as-of-{then:%Y-%m-%dT%H%M%S}Z.csv"
    assert "salt" in fleet.exporter(ana, Filters(), None)().decode("utf-8-sig")


def test_who_may_not_read_any_more_gets_no_file(full: Backend) -> None:
    ana = full.identities.act_as("ana")
    make = fleet.exporter(ana, Filters(), None)
    full.identities.deactivate(full.identities.act_as("otto"), "ana")
    with pytest.raises(Refusal):
        make()


def test_only_who_may_adopt_is_offered_it(full_page: Open) -> None:
    test = full_page("endpoints", "ana")
    for identity in NAMES:
        test.session_state["identity.name"] = identity
        test.run()
        assert offered(test, "Adopt an endpoint") == (identity in ("olga", "otto", "nora")), identity


def test_a_fresh_installation_says_what_to_do_first(page: Open) -> None:
    test = page("endpoints", "olga")
    assert "There is no endpoint yet" in words(test)
    assert "Register a server" in words(test)
    assert "A platform engineer registers a server" in words(page("endpoints", "ana"))


# -- one endpoint


ANSWERS = {
    TAXI_PRODUCTION: "What runs equals what was approved.",
    EU: "What runs is not what was approved.",
    APAC: "Nobody can say what runs here now.",
    TAXI_STAGING: "Delivery is paused: nothing is pushed or repaired here.",
    OBSERVED: "Nothing was approved here yet: it is only looked at.",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_comes_first_for_everybody(full_page: Open, name: str) -> None:
    test = full_page("endpoint", NAMES[0], endpoint=name)
    for identity in NAMES:
        test.session_state["identity.name"] = identity
        test.run()
        assert not test.exception, identity
        assert not test.error, words(test)
        assert [one.value.replace("\\", "") for one in test.header] == [name]
        assert test.subheader[0].value.endswith(ANSWERS[name]), identity


def test_every_state_is_explained_and_ranked() -> None:
    assert set(endpoint_words._TELL) == set(ENDPOINT_STATES) == set(RANKS)


def test_desired_observed_and_served_stand_field_by_field(full_page: Open) -> None:
    test = full_page("endpoint", "ana", endpoint=TAXI_PRODUCTION)
    table = next(one.value for one in test.table if "Desired" in one.value)
    rows = {str(row["Field"]).split(" :small")[0]: row for _, row in table.iterrows()}
    assert rows["Generation"]["Desired"] == "3"
    assert rows["Version 1"]["Desired"] == rows["Version 1"]["Observed"].split(",")[0] == "90 %"
    assert rows["Version 2"]["Observed"] == "10 %, ready"
    assert all("Equal" in row["Verdict"] for row in rows.values())
    assert "no traffic seen" in test.get("plotly_chart")[0].proto.spec, "configuration is not traffic"


def test_what_differs_is_named_and_what_nobody_saw_is_neither_equal_nor_different(full_page: Open) -> None:
    table = next(one.value for one in full_page("endpoint", "ana", endpoint=EU).table if "Desired" in one.value)
    differs = table[table["Verdict"].str.contains("Differs")]
    assert list(differs["Field"]) == ["Assignment salt", "What differs"]
    table = next(one.value for one in full_page("endpoint", "ana", endpoint=APAC).table if "Desired" in one.value)
    assert table["Verdict"].str.contains("Not known").all()


def test_traffic_that_was_logged_is_served(full_page: Open, full: Backend) -> None:
    now = full.database.now()
    full.inference_log.append(
        TAXI_PRODUCTION,
        [{"request_id": f"r{number}", "event_time": now, "served_arm": "v2" if number < 2 else "v1"} for number in range(8)],
    )
    full.inference_log.flush()
    spec = full_page("endpoint", "ana", endpoint=TAXI_PRODUCTION).get("plotly_chart")[0].proto.spec
    assert "no traffic seen" not in spec
    assert "version 2 \\u00b7 25 %" in spec or "version 2 · 25 %" in spec


def test_generations_name_their_changes_and_who_admitted_them(full_page: Open, full: Backend) -> None:
    test = full_page("endpoint", "ana", endpoint=TAXI_PRODUCTION)
    table = next(one.value for one in test.dataframe if "Admitted" in one.value)
    assert list(table["Generation"]) == [3, 2, 1]
    assert table["Change"][0] == f"#{installations.number_of(full, 'ROLLOUT')} {installations.TITLES['ROLLOUT']}"
    assert list(table["Why"]) == ["First step", "First step", "Baseline signed off"]


def test_an_operator_is_offered_everything_and_others_are_told_why_not(full_page: Open) -> None:
    test = full_page("endpoint", "olga", endpoint=TAXI_PRODUCTION)
    assert options(test) == [
        "Look now", "Repair now", "Pause delivery", "Hand-made changes: report", "Roll back to version 1",
    ]  # fmt: skip
    assert offered(test, "Roll back to version 1")
    test.session_state["identity.name"] = "audra"
    test.run()
    assert all(one.endswith(NOT_NOW) for one in options(test))
    assert not offered(test, "Roll back to version 1")


def test_a_paused_endpoint_can_be_resumed_and_not_repaired(full_page: Open) -> None:
    assert options(full_page("endpoint", "olga", endpoint=TAXI_STAGING))[:3] == [
        "Look now", f"Repair now{NOT_NOW}", "Resume delivery",
    ]  # fmt: skip


def test_a_previous_version_whose_time_is_over_is_no_difference(full_page: Open) -> None:
    """It was kept warm, and was taken off when that time was over."""
    test = full_page("endpoint", "olga", endpoint=TAXI_STAGING)
    table = next(one.value for one in test.table if "Desired" in one.value)
    assert table["Verdict"].str.contains("Equal").all()
    assert "Once resumed, version 2 gets 100 %." in words(test)


def test_the_way_back_is_said_in_absolute_words(full_page: Open) -> None:
    test = full_page("endpoint", "olga", endpoint=TAXI_PRODUCTION)
    press(test, "Roll back to version 1")
    said = words(test)
    assert "Version 1 gets 100 %, version 2 gets nothing" in said
    assert "No vote is needed" in said
    assert test.text_area(key="reason.Roll back").label == "Reason (goes to the ledger)"


def test_any_moment_tells_who_had_approved_what(full_page: Open, full: Backend) -> None:
    with full.database.read() as session:
        generation = queries.history(session, TAXI_PRODUCTION)[0]
    test = full_page("endpoint", "ana", endpoint=TAXI_PRODUCTION, at=f"{generation.admitted_at:%Y-%m-%d %H:%M:%S}")
    said = words(test)
    assert "generation 3: v1 90 · v2 10" in said
    assert f"change {installations.number_of(full, 'ROLLOUT')}, approved by Ben (reviewer), Carla (reviewer)" in said
    assert "It did not exist then" in words(full_page("endpoint", "ana", endpoint=TAXI_PRODUCTION, at="2020-01-01"))


@pytest.mark.parametrize("query", [{"generation": "x"}, {"generation": "-1"}, {"push": "x"}, {"push": "2026-01-01~x"}])
def test_a_page_of_the_past_that_is_none_is_refused(full_page: Open, query: dict[str, str]) -> None:
    test = full_page("endpoint", "ana", endpoint=TAXI_PRODUCTION, **query)
    assert "This is not a page of the list" in words(test)
    assert not test.exception


@pytest.mark.parametrize(("file", "key", "back"), [("endpoint", "endpoint", "Endpoints"), ("server", "server", "Admin")])
def test_what_is_not_there_is_an_empty_state_with_the_way_back(full_page: Open, file: str, key: str, back: str) -> None:
    for name in ("", "nobody", "' OR 1=1 --", "<script>alert(1)</script>", "é" * 400):
        test = full_page(file, "ana", **{key: name})
        assert not test.exception
        assert not test.error
        assert f"No {file} is called" in words(test)
        assert offered(test, back)


# -- adopting


def test_an_adoption_says_which_step_is_next_and_a_second_person_signs(full_page: Open, full: Backend) -> None:
    """The adopter may look at what runs, and is told to send it on; another one signs what runs as the baseline."""
    test = full_page("endpoint", "olga", endpoint=OBSERVED)
    press(test, "Look at what runs")
    said = words(test)
    assert "Version 2 of legacy-scores becomes the champion with all of the traffic." in said
    assert "nobody-asked-for-this" in said, "what else runs there is listed"
    assert "asks for a second person" in test.info[0].value
    assert not offered(test, "Sign off the baseline")

    test = full_page("endpoint", "ben", endpoint=OBSERVED)
    press(test, "Look at what runs")
    assert "Version 2 is registered" in words(test)
    press(test, "Sign off the baseline")
    assert "Nothing of what runs is changed now" in words(test)
    assert not offered(full_page("endpoint", "audra", endpoint=OBSERVED), "Look at what runs")
    assert full.endpoints.proposal(full.identities.act_as("ben"), OBSERVED).obstacles == ()


def test_what_shares_its_server_with_production_is_signed_by_whoever_may_sign_there(full_page: Open, full: Backend) -> None:
    otto, nora = full.identities.act_as("otto"), full.identities.act_as("nora")
    told = {"environment": "dev", "model": "flight-delay", "server": "serving-a"}
    full.endpoints.create(full.identities.act_as("olga"), name="toy", served_name="toy", **told)
    full.identities.take_back(otto, "ben", "reviewer")
    full.identities.grant(otto, "ben", "reviewer", "environment:dev")
    full.identities.confirm_grant(nora, full.identities.grant(otto, "ben", "viewer").id)
    test = full_page("endpoint", "ben", endpoint="toy")
    press(test, "Look at what runs")
    assert "(production)" in words(test), "what stands beside it is told"
    assert "managed endpoints of production" in test.info[0].value
    assert not offered(test, "Sign off the baseline")
    test = full_page("endpoint", "carla", endpoint="toy")
    press(test, "Look at what runs")
    assert "as production asks for it" in words(test)
    assert offered(test, "Sign off the baseline")


def test_who_said_where_its_server_is_is_not_offered_to_sign(full_page: Open, full: Backend) -> None:
    """The service refuses them, so neither the page nor the overview offers it."""
    assert "Sign off legacy-scores" in words(full_page("overview", "ben"))
    asked = full.identities.grant(full.identities.act_as("otto"), "ben", "operator")
    assert isinstance(asked, Request), "it reaches production, so another admin confirms it"
    full.identities.confirm_grant(full.identities.act_as("nora"), asked.id)
    with full.database.read() as session:
        server = next(one for one in servers(session) if one.name == "serving-a")
    full.servers.edit(full.identities.act_as("ben"), "serving-a", revision=server.revision, credential=None)
    test = full_page("endpoint", "ben", endpoint=OBSERVED)
    press(test, "Look at what runs")
    assert "said where its server or router is" in test.info[0].value
    assert not offered(test, "Sign off the baseline")
    assert "Sign off legacy-scores" not in words(full_page("overview", "ben"))


def test_a_version_that_is_not_registered_is_said_to_be(full_page: Open) -> None:
    test = full_page("endpoint", "ben", endpoint=OBSERVED)
    press(test, "Look at what runs")
    test.number_input[0].set_value(99).run()
    assert "No version 99 is registered" in words(test)


# -- servers


def test_a_test_of_the_connection_says_what_it_is_and_what_is_not_managed(full_page: Open) -> None:
    test = full_page("server", "olga", server="serving-a")
    assert "cannot split traffic" in words(test)
    press(test, "Test the connection")
    said = words(test)
    assert "Live" in said
    assert "nobody-asked-for-this" in said
    assert "version 3 ready" in said
    assert offered(test, "Adopt")


def test_a_server_that_does_not_answer_says_what_to_check(full_page: Open) -> None:
    test = full_page("server", "olga", server="serving-down")
    press(test, "Test the connection")
    assert "cannot be reached" in test.error[0].value
    assert "check that it runs" in words(test)
    assert not test.exception


def test_who_may_not_test_is_told_who_may(full_page: Open) -> None:
    test = full_page("server", "ana", server="serving-a")
    assert "for operators and admins" in words(test)
    for label in ("Test the connection", "Edit", "Forget", "Adopt an endpoint"):
        assert not offered(test, label), label


def test_a_move_under_production_waits_for_somebody_else(full_page: Open, full: Backend) -> None:
    olga, place = full.identities.act_as("olga"), "memory:moved"
    with full.database.read() as session:
        line = next(one for one in servers(session) if one.name == "serving-a")
    full.servers.edit(olga, "serving-a", revision=line.revision, upstream=place)
    for identity, may in (("olga", False), ("otto", True)):
        test = full_page("server", identity, server="serving-a")
        said = words(test)
        assert "A move waits for a second person" in said
        assert (place in said, "flight-delay" in said) == (True, True)
        assert (offered(test, "Confirm the move"), offered(test, "Give it up")) == (may, True)
    assert "Confirm the move" not in words(full_page("server", "ana", server="serving-a"))
    assert "A move waits" in words(full_page("admin", "otto", part="Servers"))
    press(test, "Give it up")
    with full.database.read() as session:
        after = next(one for one in servers(session) if one.name == "serving-a")
    assert (after.move, after.upstream) == (None, line.upstream)


def test_a_server_is_registered_by_the_form_of_its_own_settings(page: Open, backend: Backend) -> None:
    test = page("admin", "olga", part="Servers")
    assert "No server is registered yet" in words(test)
    press(test, "Register a server")
    labels = [one.label for one in test.text_input]
    assert {"Name", "Inference address", "Address", "Model repository"} <= set(labels)
    credential = next(one for one in test.text_input if one.label.startswith("Credential"))
    assert credential.proto.type == credential.proto.PASSWORD


def test_admin_says_what_each_role_may_do(full_page: Open) -> None:
    test = full_page("admin", "otto", part="Roles")
    table = next(one.value for one in test.table if "Operator" in one.value)
    rows = {row.iloc[0].partition("  ")[0].strip("*"): row for _, row in table.iterrows()}
    assert "repair" in rows["Endpoints"]["Operator"]
    assert "repair" not in rows["Endpoints"]["Reviewer"]
    assert "read" in rows["Ledger"]["Auditor"]
    assert rows["Ledger"]["Viewer"] == ":small[:gray[–]]"


# -- the overview


def test_the_overview_says_how_much_runs_what_was_approved(full_page: Open) -> None:
    test = full_page("overview", "ana")
    shown = {one.label: one.value for one in test.metric}
    assert shown["Runs what was approved"] == "5 of 8"
    assert shown["Running rollouts"] == "1"
    assert "Unreachable 1" in words(test)
    assert "taxi-fare" in words(test)


def test_each_is_shown_what_needs_them(full_page: Open) -> None:
    operator = words(full_page("overview", "olga"))
    assert "the salt is by hand" in operator
    assert "Sign off legacy-scores" not in operator, "she adopted it, and production asks for a second person"
    carla = words(full_page("overview", "carla"))
    assert "Vote on change" in carla
    assert "Sign off legacy-scores" in carla
    assert "Nothing waits for you" in words(full_page("overview", "audra"))


def test_who_may_not_read_the_ledger_is_told_what_happened_to_endpoints(full: Backend, full_page: Open) -> None:
    full.endpoints.pause(full.identities.act_as("olga"), PRODUCTION, reason="Maintenance")
    said = words(full_page("overview", "ana"))
    assert "The whole ledger is for auditors and admins" in said
    assert "observed endpoint" not in said
    said = words(full_page("overview", "audra"))
    assert f"paused endpoint {PRODUCTION}" in said, "by its name, not by its id"
    assert "end_" not in said


def test_hostile_names_stay_text_everywhere(full_page: Open) -> None:
    for file, query in (("overview", {}), ("endpoints", {}), ("endpoint", {"endpoint": installations.CHURNING})):
        said = raw(full_page(file, "otto", **query))
        assert "![pixel]" not in said, file
        assert "<img src=x onerror=alert(1)>" not in said.replace(installations.CHURN, ""), file
    assert r"\*churn\*" in raw(full_page("endpoint", "otto", endpoint=installations.CHURNING))


def test_one_part_that_fails_leaves_the_others(full_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise ExternalFailure("The inference log", "does not answer", retryable=True)

    monkeypatch.setattr("app.endpoint_pages.endpoint_compare._served_lately", down)
    spec = full_page("endpoint", "ana", endpoint=PRODUCTION).get("plotly_chart")[0].proto.spec
    assert "the inference log cannot be read" in spec


def options(test: AppTest) -> list[str]:
    """What the menu of actions offers."""
    return list(test.get("menu_button")[0].proto.options)
