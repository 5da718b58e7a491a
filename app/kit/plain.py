"""Text from elsewhere, made harmless: names, reasons and model cards are shown as what they are, never as our own marks.

What Streamlit draws as Markdown has three kinds of trouble in it: pictures, which the browser fetches from any host;
directives such as `:green-badge[Approved]`, which would forge our states; and plain formatting, which a name should not have.
HTML is shown as text and `javascript:` links lose their target in Streamlit itself (react-markdown's list of schemes), and the
content security policy of `app/edge.py` stands behind both. `tests/pages/test_browser.py` holds all of it to a real browser.
"""

from __future__ import annotations

import re
import unicodedata

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$:&=^@/])")
_DIRECTIVE = re.compile(
    r":(?=(?:red|orange|yellow|blue|green|violet|gray|grey|primary|rainbow|small|color|material|streamlit|shimmer)\b)", re.I
)
_ICON = re.compile(r"\\:(?=material|streamlit)", re.I)
_APART = "\\:\u2060"
"""Streamlit looks for icons in the text after Markdown was read, where a backslash is gone: a word joiner keeps it from one."""
_LINK = re.compile(r"https?:(?=//)|www(?=\.)|(?<=[\w.+\-])@(?=[\w\-]+\.)", re.I)
"""What a bare address begins with: Streamlit makes a link of it after Markdown was read, so it gets a word joiner too."""
_NAMED = re.compile(r"`([^`]*)`")
_BLANK = re.compile(r"\n[ \t]*\n")
_DEFINITION = re.compile(r"\]:")
_PICTURE = re.compile(r"!\[")
LONGEST_CARD = 200_000


def escape(text: object, limit: int = 300) -> str:
    """One line of text for use inside Markdown: every mark is literal, control and direction characters are shown as `?`."""
    shown = "".join(_visible(one) for one in str(text).replace("\n", " "))
    shown = shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
    return _ICON.sub(lambda _: _APART, _SPECIAL.sub(r"\\\1", _LINK.sub("\\g<0>\u2060", shown)))


def quoted(sentence: str) -> str:
    """A sentence of ours that names things in backticks, as plain text: `temp` stands in quotation marks."""
    return _NAMED.sub("\u201c\\1\u201d", sentence)


def plural(count: int, noun: str) -> str:
    """`1 model`, `1,200 models`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def lines(text: str, limit: int = 10_000) -> str:
    """Several lines of plain text for use inside Markdown: every mark is literal, line breaks and empty lines stay."""
    return "  \n".join(escape(one, limit) or "\u00a0" for one in text[:limit].strip().splitlines())


def card(text: str) -> str:
    """Somebody's Markdown (a model card) as Markdown that fetches nothing and forges nothing: pictures become links.

    Raises nothing: whatever the text holds, something harmless is returned, cut at 200,000 characters.
    """
    kept = "".join(one if one in "\n\t" else _visible(one) for one in text[:LONGEST_CARD].replace("\r\n", "\n"))
    kept = _ICON.sub(lambda _: _APART, _DIRECTIVE.sub(r"\:", kept))
    return _without_pictures(kept)


def _without_pictures(text: str) -> str:
    """`![words](address)` becomes `[Picture: words](address)`.

    Not by telling code from text (whoever writes the card could fool that), but by asking whether `![` could be a picture at
    all: one needs `](` or `][` before the next blank line, or a definition `]:` somewhere. Code such as `vec![1]` stays.
    """
    if _DEFINITION.search(text):
        return _PICTURE.sub("[Picture: ", text)
    paragraphs = _BLANK.split(text)
    breaks = _BLANK.findall(text)
    safe = [_PICTURE.sub("[Picture: ", one) if "](" in one or "][" in one else one for one in paragraphs]
    return "".join(part for pair in zip(safe, [*breaks, ""], strict=True) for part in pair)


def _visible(one: str) -> str:
    """Control, format (zero width, right-to-left override) and surrogate characters could hide or reorder what is read."""
    return "?" if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else one
