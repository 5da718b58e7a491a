"""Somebody's Markdown as a part of our page: harmless, and with headings that continue the page's own outline.

A card stands below a page's title (level 2) and a section's (level 3), so that its headings begin at 4, and none skips a level:
otherwise a screen reader's list of headings would tell a card's "# Churn" as the title of everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.kit.plain import card

_FIRST, _LAST = 4, 6
_HEADING = re.compile(r"^ {0,3}(#{1,6})(?=[ \t]|$)(.*)$")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_NO_TEXT = re.compile(r"^\s*$|^ {0,3}([#>|]|[-*+] |\d+[.)] )|^ {4}|^\t")
"""Lines that an underline does not make a heading of: blank ones, other blocks, code."""


def harmless(text: str) -> str:
    """The text as Markdown that may be drawn on a page of ours. Raises nothing."""
    lines = list(_one_kind(card(text).split("\n")))
    levels = {len(found[1]) for _, found in _headings(lines)}
    rank = {level: position for position, level in enumerate(sorted(levels))}
    before = _FIRST - 1
    for number, found in _headings(lines):
        before = min(_FIRST + rank[len(found[1])], before + 1, _LAST)
        lines[number] = f"{'#' * before}{found[2]}"
    return "\n".join(lines)


def _one_kind(lines: list[str]) -> Iterator[str]:
    """Headings that are underlined (`===`, `---`) as those with marks before them."""
    held: str | None = None
    for line, is_code in _marked(lines):
        under = _UNDERLINE.match(line)
        if held is not None and under is not None and not is_code and not _NO_TEXT.match(held):
            yield f"{'#' if under[1][0] == '=' else '##'} {held.strip()}"
            held = None
            continue
        if held is not None:
            yield held
        held = line
    if held is not None:
        yield held


def _headings(lines: list[str]) -> list[tuple[int, re.Match[str]]]:
    """(line number, heading), outside of code."""
    found = ((number, None if is_code else _HEADING.match(line)) for number, (line, is_code) in enumerate(_marked(lines)))
    return [(number, heading) for number, heading in found if heading is not None]


def _marked(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it stands in fenced code or is a fence."""
    fence = ""
    for line in lines:
        mark = _FENCE.match(line)
        if not fence and mark is not None:
            fence = mark[1]
            yield line, True
        elif fence:
            closes = mark is not None and mark[1][0] == fence[0] and len(mark[1]) >= len(fence)
            fence = "" if closes else fence
            yield line, True
        else:
            yield line, False
