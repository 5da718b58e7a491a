"""The page that somebody wanted before signing in: kept over the way to the provider and back.

It is taken from the address of the page whose button was pressed, and is nothing but a path of our own: what comes back in the
cookie is judged again, because a cookie can be planted.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit

NEXT = "countersign_next"
TOLD = "countersign_sign_in"
"""Cookie that tells the sign-in page for a minute how the last attempt ended: one of `OUTCOMES`."""
OUTCOMES = ("away", "denied", "failed")
KEPT_SECONDS, TOLD_SECONDS = 600, 60

_LONGEST = 1_500
_VISIBLE = re.compile(r"/[\x21-\x5b\x5d-\x7e]*")  # visible ASCII without the backslash, which browsers read as a slash
_NOT_PAGES = ("/auth/", "/oauth2callback", "/api/", "/_stcore/")


def own_path(text: str, base_path: str) -> str | None:
    """The text, if it is the path of a page below the base path, with its query; None for anything else."""
    if len(text) > _LONGEST or not _VISIBLE.fullmatch(text) or text.startswith("//"):
        return None
    parts = urlsplit(text)
    inner = parts.path.removeprefix(base_path)
    ours = parts.path == base_path or parts.path.startswith(f"{base_path}/")
    steps = unquote(parts.path).replace("\\", "/")
    if parts.scheme or parts.netloc or not ours or "//" in steps or "/../" in f"{steps}/":
        return None
    return None if inner.startswith(_NOT_PAGES) else text


def wanted(referer: str, origin: str, base_path: str) -> str | None:
    """The page that a request came from, if it is one of ours."""
    try:
        parts = urlsplit(referer)
    except ValueError:
        return None
    if f"{parts.scheme}://{parts.netloc}" != origin:
        return None
    return own_path((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), base_path)


def kept(cookie: str | None, base_path: str) -> str:
    """Where to go after signing in: the page that was kept, or the first one."""
    return own_path(unquote(cookie or ""), base_path) or f"{base_path}/"


def encoded(path: str) -> str:
    """A path as the value of a cookie."""
    return quote(path, safe="")
