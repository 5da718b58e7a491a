"""CSV that a spreadsheet opens without running anything: text that could begin a formula is kept as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from app import acting

_BEGINS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """UTF-8 with a byte-order mark (Excel guesses wrong without), CRLF, every text cell guarded against formulas.

    Times are ISO 8601, lists and mappings canonical JSON, None is empty. Numbers stay numbers.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow([guarded(name) for name in header])
    writer.writerows([guarded(value) for value in row] for row in rows)
    return written.getvalue().encode("utf-8-sig")


def guarded(value: Any) -> Any:
    """One cell. A text that begins like a formula gets an apostrophe before it (OWASP, "CSV Injection")."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else _text(value)
    return f"'{text}" if text.lstrip(" \u00a0").startswith(_BEGINS) or text.startswith(_BEGINS) else text


def download(label: str, file: str, make: Callable[[], bytes], *, key: str, primary: bool = False) -> None:
    """A button that makes the file when it is clicked, not on every run, and only while whoever looks is still signed in."""
    st.download_button(
        label,
        data=acting.while_here(make),
        file_name=file,
        mime="text/csv",
        key=key,
        icon=":material/download:",
        on_click="ignore",
        type="primary" if primary else "secondary",
    )


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
