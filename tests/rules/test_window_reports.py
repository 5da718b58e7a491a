"""What may be asked of a window report, its states, and the page around what Evidently says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from backend.core.bounded import Unreadable
from backend.core.errors import Refusal
from backend.window_reports import page, wire
from backend.window_reports.rules import LONGEST, MOST_FEATURES, MOST_ROWS, REPORT, WEEK, Asked, Side, check

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = Side(NOW - timedelta(days=1), NOW, version=2)
ASKED = Asked(DAY)


def test_a_window_is_compared_with_the_week_before_unless_another_time_is_named() -> None:
    check(ASKED, NOW)
    assert ASKED.compared_with == Side(DAY.start - WEEK, DAY.end - WEEK, version=2)
    other = Side(DAY.start, DAY.end, version=1)
    check(replace(ASKED, reference=other), NOW)
    assert replace(ASKED, reference=other).compared_with == other


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (replace(ASKED, current=replace(DAY, end=DAY.start)), "bad-window"),
        (replace(ASKED, current=replace(DAY, start=DAY.end - LONGEST - timedelta(seconds=1))), "bad-window"),
        (replace(ASKED, current=Side(*(one.replace(tzinfo=None) for one in (DAY.start, DAY.end)))), "bad-window"),
        (replace(ASKED, current=Side(NOW, NOW + timedelta(hours=1))), "bad-window"),
        (replace(ASKED, current=Side(datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC))), "bad-window"),
        (replace(ASKED, reference=DAY), "bad-window"),
        (replace(ASKED, parts=()), "bad-parts"),
        (replace(ASKED, parts=("drift", "drift")), "bad-parts"),
        (replace(ASKED, parts=("classification", "regression"), outcome="late"), "bad-parts"),
        (replace(ASKED, parts=("classification",)), "outcome-needed"),
        (replace(ASKED, threshold=1.1), "bad-threshold"),
        (replace(ASKED, threshold=float("nan")), "bad-threshold"),
        (replace(ASKED, rows=MOST_ROWS + 1), "bad-sample"),
        (replace(ASKED, rows=1), "bad-sample"),
        (replace(ASKED, features=()), "bad-features"),
        (replace(ASKED, features=("x",) * (MOST_FEATURES + 1)), "bad-features"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_with_what_to_do(asked: Asked, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        check(asked, NOW)
    assert refused.value.code == code
    assert refused.value.remedy


def test_what_was_asked_for_is_read_back_as_it_was() -> None:
    whole = Asked(DAY, replace(DAY, version=1, arm="canary"), ("classification",), 700, ("hour", "carrier"), "late", 0.3)
    for one in (whole, ASKED):
        kept = json.loads(json.dumps(wire.told(one)))
        assert wire.read_asked(kept) == replace(one, reference=one.compared_with)


def test_a_report_that_ended_stays_as_it_ended() -> None:
    assert REPORT.final == {"done", "failed"}
    assert [REPORT.allowed(state) for state in REPORT.states] == [("begin",), ("begin", "done", "fail"), (), ()]


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b'{"kind": "made", "parts": ["other"], "notes": []}', b'{"kind": "doing", "says": 7}', b"\xff",
     b'{"kind": "order"}', b'{"kind": "failed", "says": "x", "more": 1}', b"[" * 9_999,
     json.dumps({"kind": "failed", "says": "x" * 501}).encode()],
)  # fmt: skip
def test_what_a_process_answers_is_read_as_if_it_were_hostile(line: bytes) -> None:
    with pytest.raises(Unreadable):
        wire.parse_answer(line)


class Read(HTMLParser):
    """A page as a browser takes it apart: scripts by their types, and every other element."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[tuple[str, str]] = []
        self.elements: list[str] = []
        self.policy = ""
        self.text = ""
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.elements.append(tag)
        self.inside = tag == "script"
        if tag == "script":
            self.scripts.append((told.get("type") or "", ""))
        if told.get("http-equiv") == "Content-Security-Policy":
            self.policy = told["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        self.text += data


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--"


@pytest.fixture(scope="module")
def assembled() -> tuple[Read, tuple[str, ...], str]:
    shown = json.dumps({"dashboard": {"name": HOSTILE, "widgets": []}, "graphs": {}})
    made, hashes = page.assembled(shown, title=HOSTILE, lines=[HOSTILE], notes=[HOSTILE])
    text = made.decode()
    read = Read()
    read.feed(text)
    return read, hashes, text


def test_data_is_never_markup(assembled: tuple[Read, tuple[str, ...], str]) -> None:
    read, _, text = assembled
    assert "img" not in read.elements
    assert [kind for kind, _ in read.scripts] == ["application/json", "", "", ""]
    assert json.loads(read.scripts[0][1])["dashboard"]["name"] == HOSTILE, "and is what it was"
    assert "<script>alert" not in text
    assert read.text.count(HOSTILE) == 4, "title, heading, line and note show it as it is"


def test_only_the_three_scripts_of_the_page_may_run_in_it(assembled: tuple[Read, tuple[str, ...], str]) -> None:
    read, hashes, _ = assembled
    found = [_hash(text) for kind, text in read.scripts if not kind]
    assert tuple(found) == hashes
    told = _rules(read.policy)
    assert told["script-src"].split() == [f"'{one}'" for one in hashes]
    assert told["default-src"] == "'none'"
    assert "connect-src" not in told, "nothing is asked of anybody"
    served = _rules(page.served(hashes))
    assert served.pop("sandbox").split() == ["allow-scripts"], "no origin, no form, no window, no way up"
    assert served.pop("frame-ancestors") == "'none'"
    assert served == told
    assert not re.search(r"unsafe-eval|https?:|\*", page.served(hashes))


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _rules(policy: str) -> dict[str, Any]:
    return dict(one.split(" ", 1) for one in policy.split("; "))
