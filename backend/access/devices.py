"""What a browser calls itself, in a few words: enough to find one's own session in a list. It decides nothing."""

from __future__ import annotations

import re

_BROWSERS = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("HeadlessChrome/", "Chrome"), ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"), ("FxiOS/", "Firefox"), ("Safari/", "Safari"),
)  # fmt: skip
"""In this order: each of them also calls itself what stands further down."""
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,30}")


def device(user_agent: str | None) -> str:
    """`Firefox on Windows`; the program's own first word where it is no known browser; "" where nothing is told."""
    text = (user_agent or "")[:1000]
    browser = next((name for mark, name in _BROWSERS if mark in text), None)
    system = next((name for mark, name in _SYSTEMS if mark in text), None)
    if browser is not None:
        return f"{browser} on {system}" if system is not None else browser
    found = _NAME.match(text)
    return found.group() if found is not None else ""
