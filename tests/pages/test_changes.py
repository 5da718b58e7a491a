"""Approvals, a change, and the form: what each identity is shown, offered and told, in an installation full of work."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import streamlit as st
from sqlmodel import select
from streamlit.testing.v1 import AppTest

from app.change_pages import approvals, change_cards, change_live, change_page, change_plan, proposal, proposed
from app.change_pages.change_plan import Live
from backend.access.service import DEMO
from backend.bootstrap import Backend
from backend.changes import course, queries
from backend.changes.queries import Filters
from backend.changes.rows import Change, Comment
from backend.changes.view import ChangeView, view
from backend.delivery.plan import parse_plan
from backend.registry import queries as registry
from backend.registry.service import Versions
from tests.installations import HOSTILE_COMMENT, HOSTILE_TITLE, PRODUCTION, TITLES, number_of
from tests.pages.conftest import Open, raw, words

NAMES = [name for name, _, _ in DEMO]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry still has what was registered; these pages run without one."""

    def digest_now(self: Versions, model: str, number: int) -> str:
        with self._database.read() as session:
            return str(registry.registered(session, model, number).artifact_digest)

    monkeypatch.setattr(Versions, "digest_now", digest_now)


def labels(test: AppTest) -> set[str]:
    """What can be clicked: buttons, and what the menu offers."""
    menus = [one.proto for one in test.get("menu_button") if one.proto.label == "More"]
    return {one.label for one in test.button} | {each for menu in menus for each in menu.options}


def seen(backend: Backend, part: str, name: str = "ben") -> ChangeView:
    with backend.database.read() as session:
        actor = backend.identities.act_as(name)
        return view(session, actor, number_of(backend, part), backend.database.now(session))


def clicked(test: AppTest, label: str) -> AppTest:
    next(one for one in test.button if one.label == label).click().run()
    return test


@pytest.mark.parametrize("file", ["approvals", "change", "propose"])
def test_the_pages_draw_for_every_identity_without_an_error(full: Backend, full_page: Open, file: str) -> None:
    query = {"change": str(number_of(full, "REVIEW"))} if file == "change" else {}
    test = full_page(file, NAMES[0], **query)
    for identity in NAMES:
        test.session_state["identity.name"] = identity
        test.run()
        assert not test.exception, words(test)
        assert not test.error, words(test)
        assert len(test.header) == 1


@pytest.mark.parametrize("part", list(TITLES))
def test_every_state_of_a_change_is_answered_in_one_sentence(full: Backend, full_page: Open, part: str) -> None:
    test = full_page("change", "olga", change=str(number_of(full, part)))
    assert not test.error, words(test)
    said = {
        "REVIEW": "It waits: 1 more approval of a reviewer.",
        "STALE": "It waits: 3 checks are out of date and will be repeated. 2 more approvals of reviewers.",
        "BY_HAND": "It waits: Somebody has to start it.",
        "BLOCKED": "It is stopped: Artifacts and packages did not pass.",
        "SUSPENDED": "is not what this was drawn on any more. Draw it anew on what is live now.",
        "DONE": "It is live and proved: version 3 has 100 % on taxi-fare-eu.",
        "ROLLOUT": "Step 1 of 3: version 1 has 90 %, version 2 has 10 %, held until",
        "REJECTED": "It was rejected: Never seen in staging.",
        "WITHDRAWN": "It was withdrawn: I try it in staging first, as Carla asked.",
    }[part]
    assert said in words(test)


def test_the_queue_holds_what_each_person_is_asked_and_nothing_else(full: Backend, full_page: Open) -> None:
    asked = {
        "ana": {"SUSPENDED", "BLOCKED", "BY_HAND"},
        "ben": {"STALE"},
        "carla": {"STALE", "REVIEW"},
        "olga": {"BY_HAND"},
        "audra": set(),
    }
    numbers = {number_of(full, part): part for part in TITLES}
    for name, parts in asked.items():
        test = full_page("approvals", name)
        opened = {numbers[int(one.key.removeprefix("open."))] for one in test.button if str(one.key).startswith("open.")}
        assert opened == parts, name
        assert ("Nothing waits for you" in words(test)) == (not parts)


def test_the_queue_says_what_is_missing_and_until_when(full_page: Open) -> None:
    said = words(full_page("approvals", "carla"))
    assert "1 more approval of a reviewer." in said
    assert "expires in " in said


def test_filters_narrow_the_list(full: Backend, full_page: Open) -> None:
    test = full_page("approvals", "audra")
    everything = len(test.dataframe[0].value)
    test.selectbox(key="state").set_value("Open").run()
    assert set(test.dataframe[0].value["Change"]) == {number_of(full, one) for one in TITLES} - {
        number_of(full, one) for one in ("DONE", "REJECTED", "WITHDRAWN")
    }
    test.text_input(key="endpoint").set_value("taxi").run()
    assert set(test.dataframe[0].value["Where"]) == {"production · taxi-fare", "production · taxi-fare-eu"}
    test.text_input(key="endpoint").set_value("").run()
    test.text_input(key="model").set_value("churn*").run()
    assert list(test.dataframe[0].value["Change"]) == [number_of(full, "BLOCKED")]
    test.text_input(key="text").set_value("no such words").run()
    assert "No change matches" in words(test)
    assert everything > 10


def test_the_list_is_paged_by_key_and_counts_every_state(
    full: Backend, full_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "PAGE", 7)
    test = full_page("approvals", "audra")
    first = list(test.dataframe[0].value["Change"])
    clicked(test, "Older")
    second = list(test.dataframe[0].value["Change"])
    assert (len(first), len(second)) == (7, 7)
    assert not set(first) & set(second)
    assert "2 in review" in words(test)


def test_the_file_holds_every_change_that_is_asked_for(full: Backend) -> None:
    with full.database.read() as session:
        text = approvals.as_csv(approvals.everything(session, Filters(environment="production"))).decode("utf-8-sig")
    assert text.startswith("change,state,title,endpoint")
    assert HOSTILE_TITLE in text
    assert "flight-delay-staging" not in text


def test_a_requester_sees_no_approve_and_why(full: Backend, full_page: Open) -> None:
    test = full_page("change", "ana", change=str(number_of(full, "REVIEW")))
    assert not {"Approve", "Reject"} & labels(test)
    assert {"Withdraw", "Edit, or start at a time"} <= labels(test)
    assert "may not vote a change in production" in words(test)


def test_a_reviewer_who_voted_is_offered_to_vote_otherwise_and_told_why_not_again(full: Backend, full_page: Open) -> None:
    number = str(number_of(full, "REVIEW"))
    voted, other = full_page("change", "ben", change=number), full_page("change", "carla", change=number)
    assert "Approve" not in labels(voted)
    assert "Reject" in labels(voted)
    assert "Your vote is to approve it." in words(voted)
    assert {"Approve", "Reject"} <= labels(other)


@pytest.mark.parametrize("part", [(change_page, "plan_card"), (change_cards, "evidence_card"), (change_live, "timeline")])
def test_nothing_can_be_clicked_before_what_it_is_about_is_drawn(
    full: Backend, full_page: Open, monkeypatch: pytest.MonkeyPatch, part: tuple[ModuleType, str]
) -> None:
    number = str(number_of(full, "REVIEW"))
    offered = labels(full_page("change", "ben", change=number))
    monkeypatch.setattr(*part, lambda _seen: st.stop())
    assert {"Approve", "Reject"} & offered
    assert not {"Approve", "Reject"} & labels(full_page("change", "ben", change=number))


def test_an_operator_starts_pauses_and_goes_back(full: Backend, full_page: Open) -> None:
    waits = full_page("change", "olga", change=str(number_of(full, "BY_HAND")))
    assert {"Start now", "Revoke the approval"} <= labels(waits)
    walks = full_page("change", "olga", change=str(number_of(full, "ROLLOUT")))
    assert {"Pause the rollout", "Roll back"} <= labels(walks)
    assert "Resume the rollout" not in labels(walks)
    assert "cannot resume" in words(walks)
    done = full_page("change", "olga", change=str(number_of(full, "DONE")))
    assert "Roll back" in labels(done)


@pytest.mark.parametrize("part", ["REVIEW", "BY_HAND", "ROLLOUT", "SUSPENDED"])
def test_an_auditor_only_looks_and_reaches_the_ledger(full: Backend, full_page: Open, part: str) -> None:
    test = full_page("change", "audra", change=str(number_of(full, part)))
    assert labels(test) <= {"Approvals", "Propose one like it", "Older", "Newer"}
    assert "may not comment" in words(test)


def test_hostile_words_of_a_change_stay_words(full: Backend, full_page: Open) -> None:
    test = full_page("change", "ben", change=str(number_of(full, "REVIEW")))
    said = raw(test)
    assert "<script>" not in said
    assert ":red[now]" not in said
    assert "](https" not in said
    assert "](javascript" not in said
    assert HOSTILE_TITLE in words(test)
    assert "![pixel]" not in said
    assert HOSTILE_COMMENT.splitlines()[0] in words(test)


def test_evidence_that_went_stale_stands_first_with_its_remedy(full: Backend, full_page: Open) -> None:
    test = full_page("change", "ana", change=str(number_of(full, "STALE")))
    table = next(one.value for one in test.table if "Check" in one.value.columns)
    assert "Stale" in table["State"].iloc[0]
    assert "Out of date: check again." in table["Result"].iloc[0]
    clicked(test, "Check again")
    assert seen(full, "STALE").line.state == "checking"


def test_what_stops_a_change_stands_before_what_is_stale_and_that_before_what_passed(full: Backend) -> None:
    found = seen(full, "REVIEW").evidence
    mixed = [replace(one, standing=standing) for one, standing in zip(found, ("passed", "stale", "failed"), strict=True)]
    drawn = SimpleNamespace(view=SimpleNamespace(evidence=mixed), undecided=True)
    assert [one.standing for one in change_page.ordered(drawn)] == ["failed", "stale", "passed"]


def test_unchanged_fields_hide_until_they_are_asked_for(full: Backend, full_page: Open) -> None:
    test = full_page("change", "ben", change=str(number_of(full, "REVIEW")))
    shown = next(one.value for one in test.table if "Field" in one.value.columns)
    assert not shown["Change"].str.contains("Unchanged").any()
    assert "10 → 100 %" in list(shown["Plan"])
    test.toggle(key="unchanged").set_value(True).run()
    everything = next(one.value for one in test.table if "Field" in one.value.columns)
    assert everything["Change"].str.contains("Unchanged").any()


def test_every_field_of_a_plan_that_can_change_is_told(full: Backend) -> None:
    shown = seen(full, "REVIEW")
    plan = parse_plan(shown.plan)
    told = " ".join(f"{one.name} {one.plan}" for one in change_plan.fields(plan, Live(shown.base)))
    changed = plan.model_copy(
        update={"bake_seconds": 7_200, "shadow": "v1", "unit_header": "passenger", "salt": "other", "ramp": ()}
    )
    for value in ("for 2 h", "copies", "passenger", "other"):
        assert value not in told
        assert value in " ".join(f"{one.name} {one.plan}" for one in change_plan.fields(changed, Live(shown.base)))


def test_a_vote_shows_the_digests_that_it_is_bound_to(full: Backend, full_page: Open) -> None:
    shown = seen(full, "REVIEW")
    said = words(full_page("change", "audra", change=str(shown.line.number)))
    assert shown.votes[0].plan_digest == shown.plan_digest
    assert f"plan {shown.plan_digest[7:13]}…{shown.plan_digest[-4:]}" in said


def test_a_suspended_change_says_what_moved(full: Backend, full_page: Open) -> None:
    test = full_page("change", "ana", change=str(number_of(full, "SUSPENDED")))
    assert "What moved" in words(test)
    moved = next(one.value for one in test.table if "Drawn on" in one.value.columns)
    assert list(moved["Live now"])[:2] == [":gray[none]", "100 %"]
    assert "Draw anew" in labels(test)


def test_what_somebody_loaded_by_hand_is_named_in_what_moved() -> None:
    arms = [{"version": 1, "buckets": 10_000}]
    rows = change_live.moved_rows(
        {"arms": arms, "generation": 1}, {"arms": arms, "generation": 1, "strangers": [["flights", 9]]}
    )
    assert rows == [
        ("Version 1", "100 %", "100 %"),
        ("Version 9 of flights, which no approval names", ":gray[none]", "loaded"),
        ("Generation", "1", "1"),
    ]


def test_what_moved_after_an_edit_is_shown_to_whoever_looks_again(full: Backend, full_page: Open, registered: None) -> None:
    number = number_of(full, "REVIEW")
    full.changes.edit(full.identities.act_as("ana"), number, bake_seconds=7_200)
    test = full_page("change", "carla", change=str(number))
    assert "Since the plan before" in words(test)
    since = next(one.value for one in test.table if "Before" in one.value.columns)
    assert since.to_dict("records") == [{"Field": "Stays loaded afterwards", "Before": "30 min", "Now": "2 h"}]
    assert "void" in words(test)


@pytest.mark.parametrize("address", ["", "nowhere", "99999", "1e9", "-1"])
def test_an_address_of_no_change_leads_back_to_the_list(full_page: Open, address: str) -> None:
    test = full_page("change", "ben", change=address)
    assert "No change is called" in words(test)
    assert [one.value for one in test.header] == ["Change"]
    assert "Approvals" in labels(test)
    assert not test.error


def test_a_click_is_bound_to_what_was_drawn_even_when_it_was_edited_meanwhile(
    full: Backend, full_page: Open, registered: None
) -> None:
    number = number_of(full, "REVIEW")
    test = full_page("change", "carla", change=str(number))
    full.changes.edit(full.identities.act_as("ana"), number, bake_seconds=7_200)
    clicked(test, "Approve")
    assert "was edited while you looked, and nothing was done" in words(test)
    assert "Stays loaded afterwards: 2 h; it was 30 min." in words(test)
    assert not [one for one in seen(full, "REVIEW").votes if one.counts]


def test_the_form_names_the_smallest_thing_that_is_missing(full: Backend, full_page: Open, registered: None) -> None:
    test = full_page("propose", "ana")
    assert "Still missing: Choose the endpoint." in words(test)
    test.selectbox(key="endpoint").set_value(PRODUCTION).run()
    assert "Still missing: Choose a registered version." in words(test)
    assert "version 5: it is not registered here yet" in words(test)
    assert all(not one.startswith("Version 5") for one in test.selectbox(key="version").options)
    test.selectbox(key="version").set_value(1).run()
    assert "already runs exactly that" in words(test)
    test.selectbox(key="version").set_value(3).run()
    assert "Still missing: Write a title." in words(test)
    test.text_input(key="title").set_value("Summer").run()
    assert "Still missing: Write the reason." in words(test)
    assert next(one for one in test.button if one.label == "Propose it").disabled
    test.text_area(key="reason").set_value("It holds in July.").run()
    assert "Nothing is missing: it can be proposed." in words(test)
    assert "2 more approvals of reviewers." in words(test)
    clicked(test, "Propose it")
    assert not test.error, words(test)
    with full.database.read() as session:
        newest = session.exec(select(Change).order_by(Change.number.desc())).first()
    assert (newest.title, newest.wanted["version"], newest.state) == ("Summer", 3, "checking")


def test_the_preview_is_the_plan_that_is_then_proposed(full: Backend, registered: None) -> None:
    ana, asked = full.identities.act_as("ana"), {"version": 3, "share": 5_000, "ramp": ({"share": 1_000, "hold_seconds": 60},)}
    preview = full.changes.preview(ana, endpoint=PRODUCTION, **asked)
    change = full.changes.propose(ana, endpoint=PRODUCTION, title="t", reason="r", **asked)
    assert preview.plan.digest() == change.plan_digest
    assert preview.base == change.base
    assert preview.is_packaged


def test_a_preview_writes_nothing_and_asks_nobody(full: Backend) -> None:
    with full.database.read() as session:
        before = sum(queries.counts(session).values())
    full.changes.preview(full.identities.act_as("ana"), endpoint=PRODUCTION, version=3)
    with full.database.read() as session:
        assert sum(queries.counts(session).values()) == before


def test_steps_of_the_ramp_are_previewed_as_they_are_typed(full_page: Open) -> None:
    test = full_page("propose", "ana", endpoint=PRODUCTION, version="3")
    test.number_input(key="steps").set_value(2).run()
    shown = next(one.value for one in test.table if "Field" in one.value.columns)
    assert "10 → 20 → 100 %" in list(shown["Plan"])
    test.number_input(key="step.0.share").set_value(30.0).run()
    assert "The ramp does not go one way" in words(test)


def test_a_ramp_by_name_is_told_in_words_and_previewed(full_page: Open) -> None:
    test = full_page("propose", "ana", endpoint=PRODUCTION, version="3")
    assert "linear · template" in test.selectbox(key="ramp.name").options
    test.selectbox(key="ramp.name").set_value("linear").run()
    assert "10 % for 10m; 20 % for 10m" in words(test)
    shown = next(one.value for one in test.table if "Field" in one.value.columns)
    assert "10 → 20 → 30 → 40 → 50 → 60 → 70 → 80 → 90 → 100 %" in list(shown["Plan"])
    test.selectbox(key="ramp.name").set_value("canary").run()
    assert "1 % for 10m" in words(test)


def test_gates_guardrails_and_a_copy_of_the_same_age_are_asked_for(full: Backend, full_page: Open, registered: None) -> None:
    test = full_page("propose", "ana", endpoint=PRODUCTION, version="3")
    test.number_input(key="steps").set_value(2).run()
    test.toggle(key="step.0.shadow").set_value(True).run()
    test.toggle(key="same_age").set_value(True).run()
    assert "version 3 gets copies and answers nobody" in words(test)
    assert "Share of version 1 (v1-same-age)" in words(test)
    test.number_input(key="step.1.units").set_value(100).run()
    assert "Name a guardrail" in words(test)
    test.number_input(key="step.1.units").set_value(0).run()
    test.number_input(key="guardrails").set_value(2).run()
    test.selectbox(key="guardrail.1.kind").set_value("latency").run()
    test.toggle(key="guardrail.1.relative").set_value(True).run()
    test.number_input(key="guardrail.1.margin").set_value(10.0).run()
    assert "let the champion be measured first" in words(test), "it would be blind"
    for number in (0, 1):
        test.selectbox(key=f"guardrail.{number}.on_fail").set_value("warn").run()
    test.text_input(key="title").set_value("Guarded").run()
    test.text_area(key="reason").set_value("Slowly.").run()
    clicked(test, "Propose it")
    assert not test.error, words(test)
    with full.database.read() as session:
        wanted = session.exec(select(Change).order_by(Change.number.desc())).first().wanted
    assert [(one["name"], one["kind"], one["margin"], one["relative"], one["on_fail"]) for one in wanted["guardrails"]] == [
        ("errors", "errors", 0.01, False, "warn"), ("latency", "latency", 0.1, True, "warn"),
    ]  # fmt: skip
    assert (wanted["same_age"], wanted["ramp"][0]) == (
        True,
        {"share": 0, "hold_seconds": 3_600, "person": False, "shadow": True},
    )


def test_an_edit_begins_with_the_guardrails_that_were_asked_for(full: Backend, full_page: Open, registered: None) -> None:
    number = number_of(full, "REVIEW")
    slow = {"name": "slow", "kind": "slow", "margin": 0.02, "above_seconds": 0.5, "on_fail": "warn"}
    late = {
        "name": "late",
        "kind": "outcome",
        "margin": 0.3,
        "outcome": "late",
        "horizon_seconds": 7_200,
        "better": "higher",
        "on_fail": "warn",
    }
    full.changes.edit(full.identities.act_as("ana"), number, guardrails=(slow, late))
    with full.database.read() as session:
        before = course.find(session, number).wanted
    test = full_page("propose", "ana", change=str(number))
    assert not test.exception, words(test)
    test.text_input(key="title").set_value("The same").run()
    clicked(test, "Save the edit")
    with full.database.read() as session:
        assert course.find(session, number).wanted["guardrails"] == before["guardrails"]


def test_a_time_that_cannot_be_is_refused_where_it_is_typed(full_page: Open) -> None:
    test = full_page("propose", "ana", endpoint=PRODUCTION, version="3")
    test.selectbox(key="mode").set_value("at_time").run()
    assert "Still missing: Write the time at which it shall start." in words(test)
    test.text_input(key="at").set_value("2020-01-01 10:00").run()
    assert "cannot be set to start at that time" in words(test)


def test_an_edit_begins_with_what_was_asked_and_says_what_it_voids(full: Backend, full_page: Open, registered: None) -> None:
    number = number_of(full, "REVIEW")
    test = full_page("propose", "ana", change=str(number))
    assert test.text_input(key="title").value == HOSTILE_TITLE
    assert test.number_input(key="steps").value == 1
    assert "1 vote and every check's result are void" in words(test)
    test.number_input(key="bake").set_value(2.0).run()
    clicked(test, "Save the edit")
    shown = seen(full, "REVIEW")
    assert (shown.plan["bake_seconds"], shown.line.state) == (7_200, "checking")
    assert not [one for one in shown.votes if one.counts]


def test_an_edit_shows_and_keeps_more_steps_than_the_form_offers(full: Backend, full_page: Open, registered: None) -> None:
    number, many = number_of(full, "REVIEW"), 49
    ramp = [{"share": 100 * (step + 1), "hold_seconds": 61 + step, "person": step % 2 == 0} for step in range(many)]
    full.changes.edit(full.identities.act_as("ana"), number, share=10_000, ramp=ramp)
    test = full_page("propose", "ana", change=str(number))
    assert not test.exception, words(test)
    assert not test.error, words(test)
    assert test.number_input(key="steps").value == many
    test.text_input(key="title").set_value("All of them").run()
    clicked(test, "Save the edit")
    with full.database.read() as session:
        assert course.find(session, number).wanted["ramp"] == ramp
        assert course.find(session, number).title == "All of them"


def test_a_second_edit_begins_with_what_the_first_one_saved(full: Backend, full_page: Open, registered: None) -> None:
    number = number_of(full, "REVIEW")
    test = full_page("propose", "ana", change=str(number))
    for title in ("Saved once", "Saved twice"):
        test.text_input(key="title").set_value(title).run()
        clicked(test, "Save the edit")
        assert not test.warning, words(test)
        with full.database.read() as session:
            assert session.exec(select(Change.title).where(Change.number == number)).one() == title
        test.switch_page("../pages/change.py").run()
        test.query_params["change"] = str(number)
        test.switch_page("../pages/propose.py").run()
        assert test.text_input(key="title").value == title


def test_an_edit_entered_anew_begins_with_the_change_as_it_is(full: Backend, full_page: Open, registered: None) -> None:
    number, ana = number_of(full, "REVIEW"), full.identities.act_as("ana")
    test = full_page("propose", "ana", change=str(number))
    full.changes.edit(ana, number, title="Meanwhile")
    test.switch_page("../pages/change.py").run()
    test.query_params["change"] = str(number)
    test.switch_page("../pages/propose.py").run()
    assert test.text_input(key="title").value == "Meanwhile"


def test_an_edit_that_somebody_overtook_is_refused(full: Backend, full_page: Open, registered: None) -> None:
    number = number_of(full, "REVIEW")
    test = full_page("propose", "ana", change=str(number))
    full.changes.edit(full.identities.act_as("olga"), number, share=5_000)
    test.number_input(key="bake").set_value(2.0).run()
    clicked(test, "Save the edit")
    assert f"Change {number} was edited while you typed." in words(test)
    assert seen(full, "REVIEW").plan["bake_seconds"] == 1_800


def test_who_may_not_propose_is_told_so_and_who_may_not_edit_is_refused(full: Backend, full_page: Open) -> None:
    assert "You may look, and not propose." in full_page("propose", "ben").info[0].value
    test = full_page("propose", "ben", change=str(number_of(full, "REVIEW")))
    assert "cannot be edited by you now" in words(test)


def test_an_unmanaged_endpoint_in_the_address_is_refused_with_what_to_do(full_page: Open) -> None:
    assert "No managed endpoint is called" in words(full_page("propose", "ana", endpoint="legacy-scores"))


def test_a_comment_is_kept_and_its_field_emptied(full: Backend, full_page: Open) -> None:
    number = number_of(full, "REVIEW")
    test = full_page("change", "ben", change=str(number))
    test.text_area(key=f"comment.{number}.0").set_value("I looked at July.").run()
    clicked(test, "Send")
    with full.database.read() as session:
        assert "I looked at July." in set(session.exec(select(Comment.text)))
    assert [one.value for one in test.text_area] == [""]


def test_the_form_is_pure_about_what_it_offers() -> None:
    assert proposed.of(proposal.Start(()), proposal.Form()).missing == "Choose the endpoint."
