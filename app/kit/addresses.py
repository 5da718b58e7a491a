"""What an address says: anybody writes it, so that nothing in it is taken for what it should be."""

from __future__ import annotations

_MOST_DIGITS = 9


def number_in(text: str) -> int | None:
    """The whole number that an address names, of at most nine plain digits; None for anything else.

    `str.isdigit` alone lets "²" through, which `int` refuses, as it does thousands of digits; databases end at 2^31.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
