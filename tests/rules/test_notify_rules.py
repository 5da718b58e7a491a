"""Messages: what a row of the ledger tells, quiet hours by the wall, pauses, and somebody else's text made harmless."""

from __future__ import annotations

import ast
import base64
import hashlib
import hmac
import importlib.util
import sys
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.access.rules import ACTIONS
from backend.changes.rules import CHANGE
from backend.core.errors import Refusal
from backend.notify import apprise_names, quiet, rules, webhooks
from backend.notify.answers import of_mail, of_status
from backend.notify.letters import Letter
from backend.notify.port import About
from backend.notify.quiet import Quiet, zone

BERLIN = zone("Europe/Berlin")
HOSTILE = "Better\r\nBcc: x@evil.example\u202e [look](https://evil.example/a) <!channel> @here **b** `c` evil.example/x &lt;"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# -- events


def test_every_state_that_a_change_comes_to_is_told_but_those_before_review() -> None:
    told = {state: rules.events_of("change.move", {"state": "x"}, {"state": state}) for state in CHANGE.states}
    assert {state for state, names in told.items() if not names} == {"draft", "checking"}
    assert told["review"] == ("change.waiting",)
    assert told["done"] == ("change.proved",)


def test_a_row_that_moves_nothing_tells_nothing() -> None:
    assert rules.events_of("change.wait", {"state_reason": "a", "state": "review"}, {"state": "review"}) == ()
    for action, event in (("rollout.roll_back", "rollout.rolled_back"), ("rollout.pause", "rollout.paused")):
        assert rules.events_of(action, None, None, by_itself=True) == (event,)
        assert rules.events_of(action, None, None) == (), "what somebody does by hand is told of the change"
    assert rules.events_of("change.comment", None, {"comment_id": "x"}) == ()
    assert rules.events_of("endpoint.observe", {"state": "unreachable"}, {"state": "unreachable"}) == ()
    assert rules.events_of("token.create", None, {"state": "review"}) == ()


@pytest.mark.parametrize(
    ("action", "was", "now", "names"),
    [
        ("endpoint.observe", "in_sync", "out_of_sync", ("endpoint.out_of_sync",)),
        ("endpoint.observe", "out_of_sync", "in_sync", ("endpoint.recovered",)),
        ("endpoint.observe", "pushing", "in_sync", ()),
        ("endpoint.call", "out_of_sync", "fight", ("endpoint.fight",)),
        ("endpoint.repair", "out_of_sync", "pushing", ("endpoint.repaired",)),
        ("endpoint.observe", "in_sync", "unreachable", ("endpoint.unreachable",)),
    ],
)
def test_endpoints_are_told_by_the_state_that_they_come_to(action: str, was: str, now: str, names: tuple[str, ...]) -> None:
    assert rules.events_of(action, {"state": was}, {"state": now}) == names


def test_every_event_that_a_row_can_tell_is_known_and_asks_for_a_right_that_exists() -> None:
    told = {*rules._OF_ACTIONS.values(), *rules._OF_CHANGES.values(), *rules._OF_ENDPOINTS.values(), "endpoint.recovered"}
    told |= {*rules._BY_ITSELF.values()}
    assert told | {"test"} == rules.EVENTS.keys()
    assert {one.needs for one in rules.EVENTS.values()} - {""} <= ACTIONS.keys()


def test_what_does_not_exist_cannot_be_asked_for() -> None:
    rules.check_events(("*",))
    for names in ((), ("change.eaten",), ("test",), ("change.waiting", "nothing")):
        with pytest.raises(Refusal):
            rules.check_events(names)
    for kind, name in (("server", "x"), ("model", ""), ("", "x"), ("model", "a\nb"), ("model", "x" * 300)):
        with pytest.raises(Refusal):
            rules.check_object(kind, name)


# -- quiet hours

NIGHT = Quiet(time(22), time(7), BERLIN)


@pytest.mark.parametrize(
    ("moment", "over"),
    [
        ("2026-03-02T12:00:00+00:00", "2026-03-02T12:00:00+00:00"),  # by day
        ("2026-03-02T21:00:00+00:00", "2026-03-03T06:00:00+00:00"),  # 22:00 itself is quiet; 07:00 is not
        ("2026-03-03T05:59:00+00:00", "2026-03-03T06:00:00+00:00"),
        ("2026-03-28T23:00:00+00:00", "2026-03-29T05:00:00+00:00"),  # the night that is an hour shorter
        ("2026-10-24T22:00:00+00:00", "2026-10-25T06:00:00+00:00"),  # the night that is an hour longer
    ],
)
def test_quiet_hours_end_by_the_clock_on_the_wall(moment: str, over: str) -> None:
    assert NIGHT.over_at(at(moment)) == at(over)


def test_an_end_that_the_wall_skips_comes_when_it_is_skipped() -> None:
    """On 29 March 2026 Berlin goes from 02:00 to 03:00: until 02:30 means until 03:00, which is 01:00 UTC."""
    assert Quiet(time(22), time(2, 30), BERLIN).over_at(at("2026-03-29T00:00:00+00:00")) == at("2026-03-29T01:00:00+00:00")


def test_an_hour_that_comes_twice_is_quiet_twice() -> None:
    """On 25 October 2026 Berlin has 02:00 to 03:00 twice (00:00 to 02:00 UTC)."""
    hours = Quiet(time(2, 15), time(2, 45), BERLIN)
    assert [hours.holds_at(at(f"2026-10-25T0{hour}:30:00+00:00")) for hour in (0, 1, 2)] == [True, True, False]


@given(
    st.integers(0, 2 * 366 * 24 * 60).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)),
    st.times().map(lambda one: one.replace(second=0, microsecond=0)),
    st.times().map(lambda one: one.replace(second=0, microsecond=0)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", "Africa/Casablanca"]),
)
def test_the_end_is_the_first_moment_that_is_not_quiet(moment: datetime, begins: time, ends: time, name: str) -> None:
    hours = Quiet(begins, ends, zone(name))
    over = hours.over_at(moment)
    assert over >= moment
    assert not hours.holds_at(over)
    assert over - moment <= timedelta(hours=27)
    if over > moment:
        assert hours.holds_at(moment)
        assert hours.holds_at(over - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("begins", "ends", "name"),
    [("22:00", "07:00", "Europe/Atlantis"), ("22:00", "07:00", "../../etc/passwd"), ("22:00", None, "UTC"),
     ("7:00", "22:00", "UTC"), ("25:00", "07:00", "UTC"), ("22:00", "22:00", "UTC"), ("٢٢:٠٠", "07:00", "UTC")],
)  # fmt: skip
def test_quiet_hours_that_are_none_are_refused(begins: str, ends: str | None, name: str) -> None:
    with pytest.raises(Refusal):
        quiet.quiet(begins, ends, name)


# -- pauses


def test_pauses_grow_to_six_hours_and_end_after_nine_tries_or_three_days() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    seconds = [rules.pause_after(number, 0.5).total_seconds() for number in range(1, 10)]
    assert seconds == [5, 20, 80, 320, 1280, 5120, 20480, 21600, 21600]
    assert rules.pause_after(1, 0.0) < rules.pause_after(1, 1.0)
    assert [rules.rest_after(number, 0.5).total_seconds() for number in (1, 2, 7, 100)] == [5, 10, 300, 300]
    assert not rules.is_over(8, now, now)
    assert rules.is_over(9, now, now)
    assert rules.is_over(1, now - timedelta(days=3, seconds=1), now)


# -- texts


def test_a_hostile_title_makes_no_header_markup_mention_or_link() -> None:
    said = rules.harmless(HOSTILE, 300)
    assert said.isprintable()
    for forbidden in ("\n", "\r", "\u202e", "[look]", "](", "://", "evil.example", "@", "<", ">", "`", "*", "&"):
        assert forbidden not in said, forbidden
    assert "evil[.]example" in said
    assert rules.harmless("flight_delay 2.1, version_3") == "flight_delay 2.1, version_3"


@given(st.text(max_size=300))
def test_no_text_escapes(text: str) -> None:
    said = rules.harmless(text)
    assert len(said) <= 120 + 2 * said.count("[.]")
    assert not set("<>`*~\\@&#!{}|$^\r\n") & set(said)
    assert "://" not in said
    assert "](" not in said
    assert all(one.isprintable() for one in said)


def test_mail_goes_to_one_plain_address() -> None:
    assert rules.is_mailbox("ada@corp.example")
    for text in ("a@b, c@d", "a@b\r\nBcc: x@y", "a b@c", "Ada <a@b>", "@b", "a@", "a@b@c", "ädä@b.example", "a@b c"):
        assert not rules.is_mailbox(text), text


def test_a_letter_says_what_happened_and_nothing_that_somebody_wrote_but_names() -> None:
    about = About(
        "Change 7", title=HOSTILE, environment="production", model="m", endpoint="e", number=7, state="review",
        until=datetime(2026, 3, 9, tzinfo=UTC), page="change", query=("change", "7"),
    )  # fmt: skip
    when = datetime(2026, 3, 2, 9, tzinfo=UTC)
    letter = Letter(
        "msg_1", "change.waiting", about, when, 12, ("change", "chg_1"), "review", 2, "Ana\nX: y", "https://c.example/base",
        "TOKEN", when + timedelta(days=1),
    )  # fmt: skip
    assert letter.title == "Countersign: A change waits for a vote (Change 7: e in production)"
    assert "https://c.example/base/open?link=TOKEN" in letter.text
    assert "https://c.example/base/change?change=7" in letter.text
    assert letter.text.count("https://") == 3
    assert "It happened 2 times" in letter.text
    assert b"TOKEN" not in letter.body
    assert b'"type":"change.waiting"' in letter.body
    bare = Letter(**{**vars(letter), "public_url": ""})
    assert "https://" not in bare.text


# -- signatures and answers


def test_the_services_that_may_be_used_call_by_requests_and_smtplib_alone() -> None:
    """Python's own sockets are what their process watches: a library that brings others is to be looked at first."""
    found = importlib.util.find_spec("apprise")
    assert found is not None
    assert found.origin is not None
    plugins = Path(found.origin).parent / "plugins"
    theirs: dict[str, set[str]] = {}
    for module, name in set(apprise_names.SERVICES.values()):
        tree = ast.parse((plugins / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        assert any(isinstance(node, ast.ClassDef) and node.name == name for node in ast.walk(tree)), name
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        theirs[module] = {one.partition(".")[0] for one in imported} - sys.stdlib_module_names
    assert theirs.pop("pushover") == {"requests", "cryptography"}
    assert theirs.pop("email.base") == set()
    assert set(map(frozenset, theirs.values())) == {frozenset({"requests"})}


def test_a_webhook_is_signed_as_the_standard_says() -> None:
    """The example of Standard Webhooks' libraries (standard-webhooks/standard-webhooks, libraries/python/tests)."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signed = webhooks.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_secrets_give_two_signatures_and_each_is_new() -> None:
    first, second = webhooks.new_secret(), webhooks.new_secret()
    sent = webhooks.headers([first, second], "msg_1", 17, b"{}")
    assert sent["webhook-id"] == "msg_1"
    for secret, signed in zip((first, second), sent["webhook-signature"].split(" "), strict=True):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        assert len(key) == 32
        assert signed == "v1," + base64.b64encode(hmac.new(key, b"msg_1.17.{}", hashlib.sha256).digest()).decode()


def test_what_a_receiver_answers_is_said_in_our_words() -> None:
    assert of_status(204).ok
    assert of_status(410).gone
    assert of_status(410).final
    assert not of_status(302).ok
    assert "redirect" in of_status(302).says
    assert not of_status(500).final
    assert of_mail(550).final
    assert not of_mail(451).final


@pytest.mark.parametrize(
    "address",
    ["dbus://", "syslog://x", "json://127.0.0.1", "mqtt://h/t", "python://x", "slack://a/b/c?template=/etc/passwd",
     "ntfys://h/t?Verify=no", "ntfys://h/t?a=b;verify=no", "slack://a/b/c/#d?verify=no", "ntfys://h/t?a#b&verify=no",
     "ntfys://h/t?%76erify=no", "ntfys://h/t?%2576erify=no", "ntfys://h/t?a=?verify=no", "ntfys://h/t?+verify=no",
     "mailto://u:p@h?pgp=yes", "mailtos://u:p@h?mode=insecure", "mailto://u:p@h?mode=ssl;mode=insecure",
     "mailtos://u:p@h?%6dode=insecure", "mailtos://u:p@h?mode=%69nsecure",
     "slack", "ntfy://h/t\nx", "file:///etc/passwd", "ntfy://" + "x" * 3000],
)  # fmt: skip
def test_services_that_act_here_and_options_that_open_doors_are_refused(address: str) -> None:
    with pytest.raises(Refusal):
        apprise_names.check(address)
    assert apprise_names.check("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#c") == "slack"
    assert apprise_names.check("mailtos://u:p@mail.example.com?mode=starttls&from=a@example.com") == "mailtos"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("ntfy://topic-9f3c61d2secret", None),
        ("ntfys://topic-9f3c61d2secret/", None),
        ("ntfy://first-topic/second-topic", None),
        ("ntfys://ntfy.example.com/topic?mode=cloud", None),
        ("ntfys://ntfy.example.com/topic?%6dode=cloud", None),
        ("ntfys://to.pic", None),
        ("ntfys://ntfy.example.com/topic", ("ntfy.example.com", 443)),
        ("ntfy://inside:8080/topic?mode=private", ("inside", 8080)),
        ("rocket://webhooka/webhookb@chat.example.com/#c", ("chat.example.com", 80)),
        ("rockets://user:pass@chat.example.com:444/@ana", ("chat.example.com", 444)),
        ("workflows://127.0.0.1:8443/w/s", ("127.0.0.1", 8443)),
        ("mailtos://u:p@mail.example.com?smtp=other.example.com", ("other.example.com", 587)),
        ("mailto://user:pa/ss@mail.example.com", None),
        ("slack://T1JJ3T3L2/A1BRTD4JD/x", None),
    ],
)
def test_what_may_be_a_token_is_not_taken_for_a_host(address: str, host: tuple[str, int] | None) -> None:
    assert apprise_names.host_of(address) == host
