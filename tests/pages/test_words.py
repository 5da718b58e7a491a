"""Times, escaping, model cards and files: what a person reads is what was meant, whatever the text holds."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.change_pages import approvals
from app.kit import export, outline, plain, times
from backend.core.errors import Refusal

AT = datetime(2026, 11, 23, 10, 13, 48, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s ago"), (12, "12 s ago"), (59.6, "59 s ago"), (60, "1 min ago"), (185, "3 min ago"), (4_440, "1 h 14 min ago"),
        (21_600, "6 h ago"), (24_000, "6 h ago"), (86_399, "23 h ago"), (200_000, "2 d ago"), (-8_880, "in 2 h 28 min"),
    ],
)  # fmt: skip
def test_an_age_is_said_as_a_person_would(seconds: float, said: str) -> None:
    assert times.age(AT, AT + timedelta(seconds=seconds)) == said


def test_a_time_carries_its_zone_and_its_age() -> None:
    berlin = AT.astimezone(timezone(timedelta(hours=1)))
    assert times.both(berlin, AT + timedelta(seconds=12)) == "23 Nov 2026 10:13:48 UTC, 12 s ago"
    with pytest.raises(ValueError, match="zone"):
        times.stamp(AT.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23 10:13:48", "2026-11-23T10:13:48.999999+00:00"),
        (" 2026-11-23T10:13 ", "2026-11-23T10:13:59.999999+00:00"),
        ("2026-11-23", "2026-11-23T23:59:59.999999+00:00"),
        ("", None),
    ],
)
def test_a_moment_includes_what_happened_in_it(text: str, moment: str | None) -> None:
    found = times.moment(text)
    assert (found.isoformat() if found else None) == moment
    assert times.moment(times.written(AT)) == AT + timedelta(microseconds=999_999)


@pytest.mark.parametrize("text", ["tomorrow", "2026-02-30", "1", "2026-11-23 25:00", "２０２６-11-23 x"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="not a time"):
        times.moment(text)


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31 23:59", "1899-12-31"])
def test_a_moment_that_no_page_can_count_from_is_refused(text: str) -> None:
    """A period that ends in the year 1 begins at no time at all."""
    with pytest.raises(Refusal, match="out of reach"):
        times.moment(text)
    with pytest.raises(Refusal, match="out of reach"):
        times.entered(text)


@pytest.mark.parametrize("text", ["http://evil.example/x", "HTTPS://evil.example", "see www.evil.example", "a.b@evil.example"])
def test_a_bare_address_is_no_link(text: str) -> None:
    """As mdast-util-gfm-autolink-literal finds them, in what is left of the text once Markdown was read."""
    finds = (r"(https?://|www(?=\.))([-.\w]+)([^ \t\r\n]*)", r"([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)")
    for shown in (plain.escape(text), plain.lines(f"one\n{text}")):
        read = shown.replace("\\", "")
        assert not [one for one in finds if re.search(one, read, re.I)]
        assert text in read.replace("\u2060", ""), "it is still read as it was written"


@pytest.mark.parametrize(("count", "said"), [(0, "0 wait for you"), (1, "1 waits for you"), (2, "2 wait for you")])
def test_one_is_said_as_one(count: int, said: str) -> None:
    assert approvals.waits(count) == said
    assert (plain.plural(1, "model"), plain.plural(2, "model"), plain.plural(1200, "version")) == (
        "1 model", "2 models", "1,200 versions",
    )  # fmt: skip


@given(st.text(max_size=80))
def test_an_escaped_text_is_one_line_of_printable_characters_without_a_live_mark(text: str) -> None:
    shown = plain.escape(text)
    assert "\n" not in shown
    unescaped = []
    position = 0
    while position < len(shown):
        if shown[position] == "\\":
            position += 2
            continue
        unescaped.append(shown[position])
        position += 1
    assert not set("`*_{}[]<>()#!|~$:&") & set(unescaped)
    assert not any(one in shown for one in "\u202e\u200b\u2066\x00\x1b")


def test_a_long_text_is_cut() -> None:
    assert plain.escape("x" * 500, 20) == "x" * 19 + "…"


PICTURES = [
    "![x](http://evil.example/a.png)",
    "![x][e]\n\n[e]: http://evil.example/a.png",
    "![e]\n\n> [e]: http://evil.example/a.png",
    "![e][]\n\n[e]: <http://evil.example/a.png>",
    "[![x](http://evil.example/a.png)](http://evil.example)",
    "![a\nb](http://evil.example/a.png)",
    "- a\n  ```\n  b\n```\n\n![x](http://evil.example/a.png)\n\n```",
    "<!--\n```\n-->\n![x](//evil.example/a.png)",
    "![x](\nhttp://evil.example/a.png)",
    "![![x](http://evil.example/b.png)](http://evil.example/a.png)",
]


@pytest.mark.parametrize("text", PICTURES)
def test_a_card_holds_no_picture(text: str) -> None:
    assert "![" not in plain.card(text)


def test_a_card_keeps_its_links_and_its_code() -> None:
    kept = "# Flight delay\n\n[paper](https://example.org)\n\n```rust\nlet a = vec![1, 2];\n```"
    assert plain.card(kept) == kept
    assert plain.card("![A chart](c.png)") == "[Picture: A chart](c.png)"


@pytest.mark.parametrize(
    "text", [":green-badge[Approved]", ":red[x]", ":material/check:", ":color[x]{foreground=red}", "::small[x]"]
)
def test_a_card_cannot_forge_a_state(text: str) -> None:
    assert r"\:" in plain.card(text)
    assert plain.card("ratio 3:1, see: blue and :8080") == "ratio 3:1, see: blue and :8080"


def test_a_card_of_any_size_and_kind_is_shown() -> None:
    assert len(plain.card("x" * 300_000)) == plain.LONGEST_CARD
    assert plain.card("a\x00b\u202ec\r\nd") == "a?b?c\nd"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", "\n=1"])
def test_a_cell_cannot_begin_a_formula(text: str) -> None:
    assert rows(export.to_csv(["a"], [[text]]))[1][0].startswith("'")


def test_a_file_holds_what_it_was_given() -> None:
    written = export.to_csv(
        ["name", "=n", "at", "facts", "none"], [['a, "b"\nc', -3.5, AT, {"b": [1], "a": "ü"}, None], [True, 0, "x", [], ""]]
    )
    assert written.startswith(b"\xef\xbb\xbf")
    assert rows(written) == [
        ["name", "'=n", "at", "facts", "none"],
        ['a, "b"\nc', "-3.5", "2026-11-23T10:13:48+00:00", '{"a": "ü", "b": [1]}', ""],
        ["True", "0", "x", "[]", ""],
    ]


def rows(written: bytes) -> list[list[str]]:
    """The file as a spreadsheet reads it."""
    return list(csv.reader(io.StringIO(written.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# A\n## B\n# C", "#### A\n##### B\n#### C"),
        ("### A\n###### B\n# C", "#### A\n##### B\n#### C"),
        ("# A\n### B", "#### A\n##### B"),
        ("A\n===\n\nB\n---\ntext", "#### A\n\n##### B\ntext"),
        ("```\n# not one\nA\n---\n```\n# A", "```\n# not one\nA\n---\n```\n#### A"),
        ("| a |\n|---|\n| b |\n\n---\n", "| a |\n|---|\n| b |\n\n---\n"),
        ("- a\n---\n#tag", "- a\n---\n#tag"),
        ("", ""),
    ],
)
def test_a_card_continues_the_outline_of_its_page(text: str, shown: str) -> None:
    assert outline.harmless(text) == shown


@given(st.text(alphabet="#=-`~ \nab", max_size=60))
def test_no_heading_of_a_card_skips_a_level_or_stands_above_its_section(text: str) -> None:
    levels = [3, *(len(found[1]) for _, found in outline._headings(outline.harmless(text).split("\n")))]
    assert all(4 <= now <= before + 1 for before, now in pairwise(levels))
