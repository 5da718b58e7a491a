"""The commands on a real database: one object each, votes bound to what was shown, refusals with a way out."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import select

from backend.cli import inference_log
from backend.core import sealed
from backend.core.database import Database
from backend.core.ledger import LedgerRow
from backend.delivery.rows import Server
from backend.policy.rules import BUILT_IN
from tests.command_line import CommandLine
from tests.services.changes.world import ENDPOINT, World

pytestmark = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
"""The services behind the commands are tested on both kinds of database."""


@pytest.fixture
def world(real_time_database: Database) -> World:
    return World(real_time_database)


@pytest.fixture
def countersign(world: World, tmp_path: Path) -> CommandLine:
    sealed.create_keys(tmp_path / "data" / "keys")
    return CommandLine(
        data_dir=str(tmp_path / "data"),
        database_url=world.database.url.render_as_string(hide_password=False),
        demo_identities="true",
        allowed_networks="127.0.0.0/8",
        observe_seconds="3600",
    )


# -- feeding


def test_every_malformed_line_of_a_file_is_counted_and_the_rest_is_sent(
    world: World, countersign: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_log, "_BATCH", 150)
    good = '{"request_id": "r%s", "event_time": "2026-03-02T09:00:00Z"}'
    lines = ['{"request_id": "x"}'] * 130 + [good % n for n in range(40)] + ["no json", "", "[1]", "x" * (1 << 20) + "y"]
    told = countersign("inference-log", "feed", ENDPOINT, "-", by="ana", given="\n".join([*lines, good % "last"])).content
    assert (told["taken"], told["rejected"]) == (41, 133)
    assert [one["line"] for one in told["rejections"]] == [*range(1, 101), 171, 173, 174]


# -- votes


def test_a_vote_needs_the_plan_that_was_looked_at(world: World, countersign: CommandLine) -> None:
    number = str(world.reviewed())
    shown = countersign("change", "show", number, by="ben").content
    for given, code in (
        ((), "not-named"),
        (("--plan", shown["plan_digest"][:20]), "bad-digest"),
        (("--plan", shown["plan_digest"]), "not-named"),
        (("--plan", shown["base_digest"], "--base", shown["base_digest"]), "stale-vote"),
        (("--plan", shown["plan_digest"], "--base", shown["plan_digest"]), "stale-vote"),
    ):
        answer = countersign("change", "approve", number, *given, by="ben")
        assert (answer.code, answer.error) == (2, code)
    assert world.votes(int(number)) == []
    answer = countersign(
        "change",
        "approve",
        number,
        "--plan",
        shown["plan_digest"],
        "--base",
        shown["base_digest"],
        "--comment",
        "Sound",
        by="ben",
    )
    assert (answer.code, answer.content["line"]["state"]) == (0, "approved")
    (vote,) = world.votes(int(number))
    assert (vote.plan_digest, vote.base_digest, vote.comment) == (shown["plan_digest"], shown["base_digest"], "Sound")


def test_a_plan_that_was_edited_meanwhile_is_not_approved(world: World, countersign: CommandLine) -> None:
    number = str(world.reviewed())
    shown = countersign("change", "show", number, by="ben").content
    world.changes.edit(world.ana, number, share=5_000)
    world.run()
    world.check()
    answer = countersign("change", "approve", number, "--plan", shown["plan_digest"], "--base", shown["base_digest"], by="ben")
    assert (answer.code, answer.error) == (2, "stale-vote")
    assert world.votes(int(number)) == []


def test_yes_approves_what_is_shown_and_nothing_else(world: World, countersign: CommandLine) -> None:
    number = world.reviewed()
    answer = countersign("change", "approve", str(number), "--yes", by="ben")
    assert answer.code == 0
    (vote,) = world.votes(number)
    assert vote.plan_digest in answer.said
    assert vote.base_digest in answer.said
    assert "v2 (version 2) is new and gets 100 % of units." in answer.said


@pytest.mark.parametrize(("typed", "code", "votes"), [("{number}", 0, 1), ("yes", 2, 0)])
def test_on_a_terminal_the_number_is_typed(world: World, tmp_path: Path, typed: str, code: int, votes: int) -> None:
    """A process on a terminal of its own."""
    number = world.reviewed()
    ours, terminal = pty.openpty()
    environment = {**os.environ, "COUNTERSIGN_DATABASE_URL": str(world.database.url), "COUNTERSIGN_DEMO_IDENTITIES": "true"}
    environment |= {"COUNTERSIGN_DATA_DIR": str(tmp_path), "COUNTERSIGN_AS": "ben"}
    command = [sys.executable, "-m", "backend.cli.main", "change", "approve", str(number)]
    os.write(ours, f"{typed.format(number=number)}\n".encode())
    with os.fdopen(ours, "wb"), os.fdopen(terminal, "rb") as stdin:
        done = subprocess.run(command, env=environment, stdin=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, len(world.votes(number))) == (code, votes), done.stderr
    assert world.change(number).plan_digest in done.stderr


def test_a_rejection_ends_the_change_with_its_reason(world: World, countersign: CommandLine) -> None:
    number = str(world.reviewed())
    answer = countersign("change", "reject", number, "--yes", "--reason", "Too early", by="ben")
    assert (answer.content["line"]["state"], answer.content["line"]["state_reason"]) == ("rejected", "Too early")


def test_who_may_not_vote_is_refused(world: World, countersign: CommandLine) -> None:
    number = str(world.reviewed())
    for name in ("ana", "audra", "otto"):
        answer = countersign("change", "approve", number, "--yes", by=name)
        assert (answer.code, answer.error) == (2, "not-allowed")
    assert world.votes(int(number)) == []


# -- waiting


@contextmanager
def _meanwhile(step: Callable[[], object]) -> Iterator[None]:
    """Does this again and again while a command waits, as a worker and other people would."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.1):
            step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_waiting_ends_with_7_when_the_time_is_over(world: World, countersign: CommandLine) -> None:
    number = str(world.approved())
    answer = countersign("change", "start", number, "--wait", "0.2", by="olga")
    assert (answer.code, answer.content["reached"], answer.content["line"]["state"]) == (7, False, "approved")


def test_waiting_ends_with_0_when_the_change_is_proved(world: World, countersign: CommandLine) -> None:
    number = str(world.approved())

    def work() -> None:
        world.run()
        world.prove()

    with _meanwhile(work):
        answer = countersign("change", "start", number, "--wait", "200", by="olga")
        assert (answer.code, answer.content["reached"], answer.content["line"]["state"]) == (0, True, "done")
        assert "done" in answer.said
        back = countersign("change", "roll-back", number, "--reason", "It is worse", "--wait", "200", by="olga")
    assert (back.code, back.content["reached"], back.content["line"]["state"]) == (0, True, "rolled_back")


def test_waiting_ends_at_once_when_it_cannot_be_reached_any_more(world: World, countersign: CommandLine) -> None:
    number = world.approved()

    def change_of_mind() -> None:
        if world.change(number).start_at is not None:
            world.changes.revoke(world.olga, number, "Not now")

    with _meanwhile(change_of_mind):
        answer = countersign("change", "start", str(number), "--wait", "200", by="olga")
    assert (answer.code, answer.content["reached"], answer.content["line"]["state"]) == (5, False, "revoked")


# -- changes


def test_changes_are_listed_narrowed_and_paged(world: World, countersign: CommandLine) -> None:
    numbers = [world.reviewed(version) for version in (2, 3, 4)]
    page = countersign("change", "list", "--limit", "2", by="audra").content
    rest = countersign("change", "list", "--limit", "2", "--after", page["next"], by="audra").content
    assert [one["number"] for one in page["changes"] + rest["changes"]] == numbers
    assert rest["next"] is None
    countersign("change", "withdraw", str(numbers[0]), "--reason", "Not needed", by="ana")
    withdrawn = countersign("change", "list", "--state", "withdrawn", by="audra").content
    assert [one["number"] for one in withdrawn["changes"]] == numbers[:1]
    assert [one["number"] for one in countersign("change", "list", "--mine", by="ben").content["changes"]] == numbers[1:]
    assert countersign("change", "list", "--mine", by="ana").content["changes"] == []
    assert "review" in countersign.text("change", "list", by="audra")


def test_a_change_is_shown_whole_and_hostile_words_move_no_cursor(world: World, countersign: CommandLine) -> None:
    number = world.reviewed(title="\x1b[2J\x1b]0;owned\x07Newer", reason="line\none \u202eevil")
    countersign("change", "comment", str(number), "\x1b[31mred", by="ben")
    text = countersign.text("change", "show", str(number), by="ben")
    shown = countersign("change", "show", str(number), by="ben").content
    for told in (shown["plan_digest"], shown["base_digest"], "?[2J", "?[31mred", "It still takes"):
        assert told in text
    assert [one["action"] for one in shown["timeline"]][:1] == ["change.propose"]
    assert {one["standing"] for one in shown["evidence"]} == {"passed"}
    assert shown["may"]["approve"] == ""


def test_an_unknown_change_is_refused(world: World, countersign: CommandLine) -> None:
    for ref in ("77", "chg_absent", "99999999999999999999"):
        answer = countersign("change", "show", ref, by="ben")
        assert (answer.code, answer.error) == (2, "not-found")


def test_an_edit_asks_for_what_it_is_given(world: World, countersign: CommandLine) -> None:
    number = str(world.reviewed())
    assert countersign("change", "edit", number, by="ana").error == "nothing-asked"
    both = countersign("change", "edit", number, "--start", "by-hand", "--start-at", "2030-01-01T00:00+0000", by="ana")
    assert both.error == "bad-start"
    assert countersign("change", "edit", number, "--share", "101", by="ana").error == "bad-share"


def test_checks_are_run_again(world: World, countersign: CommandLine) -> None:
    number = str(world.reviewed())
    assert countersign("change", "recheck", number, by="ana").content["line"]["state"] == "checking"


# -- rollouts


def test_a_rollout_is_shown_paused_let_on_and_aborted(world: World, countersign: CommandLine) -> None:
    world.applied(2, ramp=[{"share": 1_000, "hold_seconds": 0, "person": True}])
    world.prove()
    world.run()
    shown = countersign("rollout", "show", ENDPOINT, by="audra").content["rollout"]
    assert (shown["state"], shown["step"], shown["waits_for_person"]) == ("holding", 0, True)
    assert shown["steps"][0]["shares"] == {"v1": 9_000, "v2": 1_000}
    assert "v1 90 %, v2 10 %" in countersign.text("rollout", "show", ENDPOINT, by="audra")
    said = ("--reason", "Have a look")
    assert countersign("rollout", "pause", ENDPOINT, *said, by="ana").content["rollout"]["state"] == "paused"
    assert countersign("rollout", "resume", ENDPOINT, *said, by="ana").error == "not-allowed"
    assert countersign("rollout", "resume", ENDPOINT, *said, by="olga").content["rollout"]["state"] == "holding"
    assert countersign("rollout", "let-on", ENDPOINT, "--step", "2", *said, by="olga").error == "moved-on"
    assert (
        countersign("rollout", "let-on", ENDPOINT, "--step", "1", *said, by="olga").content["rollout"]["waits_for_person"]
        is False
    )
    world.run()
    assert world.rollout().step == 1
    assert countersign("rollout", "abort", ENDPOINT, *said, by="ana").content["rollout"]["state"] == "aborted"
    assert countersign("rollout", "pause", ENDPOINT, *said, by="ana").error == "no-rollout"
    assert countersign("rollout", "show", "absent", by="audra").error == "not-found"


def test_steps_are_skipped_where_the_policy_lets_it(world: World, countersign: CommandLine) -> None:
    ramp = [{"share": 1_000, "hold_seconds": 3_600}, {"share": 5_000, "person": True}]
    world.policy(may_skip=True)
    world.applied(2, ramp=ramp)
    world.prove()
    world.run()
    assert countersign("rollout", "show", ENDPOINT, by="audra").content["rollout"]["may_skip_to"] == 1
    shown = " ".join(countersign.text("rollout", "show", ENDPOINT, by="audra").split())
    assert "1 now v1 90 %, v2 10 % 1h 2 ahead v1 50 %, v2 50 % 0s, then a person" in shown
    assert "may be skipped to step 2" in shown
    said = ("--step", "1", "--reason", "Watched on another endpoint")
    assert countersign("rollout", "skip", ENDPOINT, "--step", "2", "--reason", "x", by="olga").error == "moved-on"
    assert countersign("rollout", "skip", ENDPOINT, *said, by="ana").error == "not-allowed"
    assert countersign("rollout", "skip", ENDPOINT, *said, by="olga").code == 0
    world.run()
    assert (world.rollout().state, world.rollout().step) == ("ramping", 1)
    assert countersign("rollout", "skip", "absent", *said, by="olga").error == "not-found"


# -- endpoints, servers, policies


def test_endpoints_are_listed_and_shown_as_they_are_and_were(world: World, countersign: CommandLine) -> None:
    world.done()
    (line,) = countersign("endpoint", "list", "--environment", "production", by="ana").content["endpoints"]
    assert (line["name"], line["champion_version"], line["generation"]) == (ENDPOINT, 2, 2)
    assert line["healthy"] is False  # nobody has looked since
    assert countersign("endpoint", "list", "--environment", "dev", by="ana").content == {"endpoints": [], "next": None}
    shown = countersign("endpoint", "show", ENDPOINT, by="ana").content["endpoint"]
    assert [one["name"] for one in shown["arms"]] == ["v2", "v1"]
    generations = countersign("endpoint", "history", ENDPOINT, by="ana").content["generations"]
    assert [(one["number"], one["reason"]) for one in generations] == [(2, "start"), (1, "baseline")]
    moment = countersign("endpoint", "show", ENDPOINT, "--at", "2020-01-01T00:00+0000", by="ana").content["moment"]
    assert (moment["exists"], moment["desired"]) == (False, None)
    assert countersign("endpoint", "history", ENDPOINT, "--pushes", by="ana").content == {"pushes": []}
    assert ENDPOINT in countersign.text("endpoint", "show", ENDPOINT, by="ana")
    assert "baseline" in countersign.text("endpoint", "history", ENDPOINT, by="ana")


def test_an_operator_pauses_resumes_and_repairs(world: World, countersign: CommandLine) -> None:
    said = ("--reason", "Maintenance")
    assert countersign("endpoint", "pause", ENDPOINT, *said, by="ana").error == "not-allowed"
    assert countersign("endpoint", "pause", ENDPOINT, *said, by="olga").content["endpoint"]["line"]["paused"] is True
    assert countersign("endpoint", "resume", ENDPOINT, *said, by="olga").content["endpoint"]["line"]["paused"] is False
    assert countersign("endpoint", "repair", ENDPOINT, *said, by="olga").content["endpoint"]["line"]["state"] == "pushing"
    reported = countersign("endpoint", "set-repair", ENDPOINT, "report", *said, by="olga").content["endpoint"]
    assert reported["line"]["repair"] == "report"
    assert countersign("endpoint", "look", ENDPOINT, by="ana").code == 0
    assert countersign("endpoint", "remove", ENDPOINT, *said, by="olga").error == "managed"


def test_a_credential_is_read_from_standard_input_and_shown_nowhere(world: World, countersign: CommandLine) -> None:
    described = ("--kind", "triton", "--upstream", "127.0.0.1:8001", "--credential-stdin")
    described += ("--setting", "url=http://127.0.0.1:8000", "--setting", "model_repository=/tmp/models")
    answer = countersign("server", "register", "prod", *described, by="olga", given="s3cret-key\n")
    assert (answer.code, answer.content["server"]["has_credential"]) == (0, True)
    listed = countersign("server", "list", by="ana")
    with world.database.read() as session:
        row = session.exec(select(Server).where(Server.name == "prod")).one()
        ledger = [one.after_json for one in session.exec(select(LedgerRow))]
    assert row.sealed_credential
    told = (answer.said, json.dumps(answer.content), json.dumps(listed.content), str(row.sealed_credential), *ledger)
    assert not any("s3cret-key" in one for one in told)
    assert countersign("server", "register", "none", *described, by="olga", given="").error == "bad-credential"
    assert countersign("router", "list", by="ana").content["routers"][0]["endpoints"] == 1


def test_a_server_under_production_moves_when_a_second_person_confirms(world: World, countersign: CommandLine) -> None:
    asked = countersign("server", "edit", "s", "--upstream", "127.0.0.1:9000", by="olga").content["server"]
    assert (asked["upstream"], asked["move"]["place"], asked["move"]["endpoints"]) == ("", "127.0.0.1:9000", [ENDPOINT])
    revision = str(asked["revision"])
    assert countersign("server", "confirm-move", "s", "--revision", revision, by="olga").error == "own-request"
    moved = countersign("server", "confirm-move", "s", "--revision", revision, by="otto").content["server"]
    assert (moved["upstream"], moved["move"]) == ("127.0.0.1:9000", None)
    assert countersign("server", "drop-move", "s", by="olga").error == "nothing-to-confirm"
    assert countersign("router", "edit", "nowhere", "--public-url", "http://127.0.0.1:1", by="olga").error == "not-found"


def test_settings_are_checked_by_the_adapter(world: World, countersign: CommandLine) -> None:
    wrong = ("--kind", "memory", "--upstream", "127.0.0.1:1", "--settings", "-")
    answer = countersign("server", "register", "x", *wrong, by="olga", given='{"nmae": "x"}')
    assert (answer.code, answer.error) == (2, "bad-setting")
    assert "nmae" in answer.content["error"]["message"]


def test_a_freeze_is_set_listed_and_lifted(world: World, countersign: CommandLine) -> None:
    frozen = countersign("freeze", "set", "production", "--reason", "Peak season", by="olga").content["freeze"]
    (listed,) = countersign("freeze", "list", by="ana").content["freezes"]
    assert (listed["id"], listed["reason"], listed["lifted_at"]) == (frozen["id"], "Peak season", None)
    shown = countersign("policy", "show", "production", by="ana").content["environments"][0]
    assert shown["frozen"] == "Peak season"
    assert countersign("freeze", "lift", frozen["id"], "--reason", "Over", by="olga").error == "not-allowed"
    assert countersign("freeze", "lift", frozen["id"], "--reason", "Over", by="otto").code == 0
    assert countersign("freeze", "list", by="ana").content["freezes"][0]["lifted_at"]
    assert countersign("freeze", "set", "nowhere", "--reason", "x", by="olga").error == "not-found"


def test_a_policy_is_shown_as_it_is_set(world: World, countersign: CommandLine) -> None:
    stricter = BUILT_IN["production"].to_json() | {"approvals_needed": 2}
    saved = countersign("policy", "set", "production", "-", by="otto", given=json.dumps(stricter))
    assert saved.content["policy"] == "production@2"
    (shown,) = countersign("policy", "show", "production", by="ana").content["environments"]
    assert shown["policy"] == stricter
    wrong = countersign("policy", "set", "production", "-", by="otto", given=json.dumps(stricter | {"approvals": 1}))
    assert (wrong.code, wrong.error) == (2, "bad-policy")
    assert countersign("policy", "show", "nowhere", by="ana").error == "not-found"
    assert "production (production@2)" in countersign.text("policy", "show", by="ana")


def test_wrong_usage_is_an_object_too(world: World, countersign: CommandLine) -> None:
    for arguments in (("change", "approve"), ("change", "list", "--state", "odd"), ("absent",), ("change", "show", "1", "--x")):
        answer = countersign(*arguments, by="ben")
        assert (answer.code, answer.error) == (2, "usage")
