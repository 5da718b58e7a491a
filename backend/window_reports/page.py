"""The page around what Evidently says: its own library, one script of ours that draws, and data that is never markup.

Evidently 0.7.23 writes data into a script as it stands, where a value `</script>` would end it
(`evidently/legacy/utils/dashboard.py`, `file_html_template`). Here data stands in a block that no browser runs, without a `<`,
and each script is named by its hash in the page's own policy: nothing else runs in it, whatever the data says, also where
somebody saved the page and opens it from a disk. What the library needs besides was measured (docs/window-reports.md).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path

from backend.core.errors import ExternalFailure

SANDBOX = "sandbox allow-scripts"
"""No origin, so no cookie and nothing of ours that it could ask for; no form, no window, no download, no way up."""

_BEFORE = "globalThis.global = globalThis;"
_AFTER = """const told = JSON.parse(document.getElementById("told").textContent);
drawDashboard(told.dashboard, new Map(Object.entries(told.graphs)), "drawn");"""
_STYLE = """@font-face { font-family: 'Material Icons'; src: url(data:font/woff2;base64,%s) format('woff2'); }
.material-icons { font-family: 'Material Icons'; font-size: 24px; line-height: 1; display: inline-block; direction: ltr;
  white-space: nowrap; text-transform: none; font-feature-settings: 'liga'; }
.center-align { text-align: center; }
body { margin: 0; }
#about { font: 14px/1.5 system-ui, sans-serif; padding: 16px 24px; border-bottom: 1px solid #ddd; }
#about h1 { font-size: 18px; margin: 0 0 4px; } #about ul { margin: 4px 0 0; padding-left: 20px; }"""


def policy(scripts: Sequence[str]) -> str:
    """The policy of a page whose scripts have these hashes, as far as a page can say it of itself."""
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(f"'{one}'" for one in scripts) or "'none'",
        "style-src": "'unsafe-inline'",
        "font-src": "data:",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def served(scripts: Sequence[str]) -> str:
    """The policy that a page is served with."""
    return f"{SANDBOX}; {policy(scripts)}; frame-ancestors 'none'"


def assembled(shown: str, *, title: str, lines: Sequence[str], notes: Sequence[str]) -> tuple[bytes, tuple[str, ...]]:
    """The whole page, and the hashes of its scripts.

    Args:
        shown: what is drawn, as JSON: `dashboard` and `graphs`.
        title: what this is; `lines` and `notes` say of what it was made and what was left out.
    """
    scripts = (_BEFORE, _library(), _AFTER)
    hashes = tuple(map(_hash, scripts))
    about = "".join(f"<div>{escape(one)}</div>" for one in lines)
    left = "".join(f"<li>{escape(one)}</li>" for one in notes)
    before, library, after = (f"<script>{one}</script>" for one in scripts)
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(policy(hashes))}"><meta name="referrer" content="no-referrer">
<title>{escape(title)}</title><style>{_STYLE % _font()}</style></head>
<body><header id="about"><h1>{escape(title)}</h1>{about}{f"<ul>{left}</ul>" if left else ""}</header><div id="drawn"></div>
<script type="application/json" id="told">{shown.replace("<", chr(92) + "u003c")}</script>
{before}
{library}
{after}
</body></html>
"""
    return page.encode(), hashes


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


@cache
def _library() -> str:
    """Evidently's own; it is read, never imported here."""
    text = (_static() / "index.js").read_text(encoding="utf-8").replace("\r\n", "\n").replace("\r", "\n")
    if "</script" in text.lower() or "<!--" in text:
        raise ExternalFailure("Evidently", "has a library that cannot stand in a page", retryable=False)
    return text


@cache
def _font() -> str:
    return base64.b64encode((_static() / "material-ui-icons.woff2").read_bytes()).decode()


def _static() -> Path:
    found = find_spec("evidently")
    if found is None or not found.submodule_search_locations:
        raise ExternalFailure("Evidently", "is not installed", retryable=False)
    return Path(found.submodule_search_locations[0]) / "nbextension" / "static"
