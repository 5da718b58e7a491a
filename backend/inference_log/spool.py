"""Rows that were accepted and are not yet in the log: one file a batch, on this machine, there before its sender is told so.

The web process only puts files here; the process `countersign ingest` takes them into the log and removes them. A file appears
whole or not, and survives a power cut. It is removed after its rows lie in the log, so that a crash between leaves rows twice,
which count once (docs/decisions/0013).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend.core.errors import ExternalFailure
from backend.core.failpoints import reach
from backend.inference_log.copies import Copy, Row
from backend.inference_log.layout import TABLES, Table
from backend.inference_log.rules import Outcome, Request

BEFORE_HAND_OVER = "inference-log.hand-over"
MOST_BYTES = 1 << 30
"""Of all files that wait. Beyond it nothing more is accepted: a full disk would stop everything else too."""
UNFINISHED_SECONDS = 86_400.0
_FILE = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{16}\.ndjson")
_FORM = 1
_TIMES = ("event_time", "known_at", "received_at")

_KINDS: Mapping[str, type[Request] | type[Outcome] | type[Copy]] = {"outcomes": Outcome, "copies": Copy}
Rows = Mapping[Table, Sequence[Row]]


@dataclass(frozen=True)
class Batch:
    """What was handed over at once.

    Args:
        values_left_out: features, or outcomes, that are not in the rows because their endpoint has enough names already.
    """

    endpoint: str
    rows: Rows
    values_left_out: int = 0


class Spool:
    """The folder of one machine. Any number of processes may put batches here; one takes them."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most = folder, most_bytes

    def put(self, batch: Batch, now: datetime) -> None:
        """Hands a batch over. Once this has returned, its rows will be in the log. ExternalFailure where that cannot be."""
        content = "".join(f"{line}\n" for line in _lines(batch)).encode()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._refuse_full(len(content))
            name = f"{now.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(8)}.ndjson"
            self._write(name, content)
        except OSError as error:
            raise ExternalFailure("The inference log's spool", "cannot be written", retryable=True) from error

    def waiting(self) -> list[Path]:
        """The files that wait, the oldest first."""
        with suppress(FileNotFoundError):
            return [self._folder / name for name in sorted(os.listdir(self._folder)) if _FILE.fullmatch(name)]
        return []

    def tidy(self, now: datetime) -> None:
        """Removes what a sender that died left unfinished long ago."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                path = self._folder / name
                with suppress(FileNotFoundError):
                    if name.startswith(".") and now.timestamp() - path.stat().st_mtime >= UNFINISHED_SECONDS:
                        path.unlink()

    def _write(self, name: str, content: bytes) -> None:
        unfinished = self._folder / f".{name}"
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            reach(BEFORE_HAND_OVER)
            os.replace(unfinished, self._folder / name)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync(self._folder)

    def _refuse_full(self, size: int) -> None:
        held = 0
        with os.scandir(self._folder) as found:
            for one in found:
                with suppress(FileNotFoundError):  # taken meanwhile
                    held += one.stat(follow_symlinks=False).st_size
        if held + size > self._most:
            raise ExternalFailure("The inference log", "takes no more until `countersign ingest` has caught up", retryable=True)


def read(path: Path) -> Batch:
    """The batch in a file. ValueError for one that is none of ours."""
    with path.open(encoding="utf-8") as stream:
        head = _object(stream.readline())
        if head.get("form") != _FORM or not isinstance(head.get("endpoint"), str):
            raise ValueError("not a batch of this form")
        rows: dict[Table, list[Row]] = {table: [] for table in TABLES}
        for line in stream:
            table, row = _row(_object(line))
            rows[table].append(row)
    left_out = head.get("values_left_out", 0)
    return Batch(head["endpoint"], {table: found for table, found in rows.items() if found}, int(left_out))


def _lines(batch: Batch) -> Iterator[str]:
    left_out = {"values_left_out": batch.values_left_out} if batch.values_left_out else {}
    yield json.dumps({"form": _FORM, "endpoint": batch.endpoint, **left_out})
    for table, rows in batch.rows.items():
        for row in rows:
            yield json.dumps({"table": table, "row": row._asdict()}, default=_moment)


def _row(told: Mapping[str, Any]) -> tuple[Table, Row]:
    table, fields = told.get("table"), told.get("row")
    if table not in TABLES or not isinstance(fields, dict):
        raise ValueError("not a row of ours")
    kind = _KINDS.get(table, Request)
    if kind is Request:
        fields.setdefault("unsampled", False)  # handed over by a version that did not know it
    if fields.keys() != set(kind._fields):
        raise ValueError("not a row of this form")
    for name in _TIMES:
        if name in fields:
            fields[name] = datetime.fromisoformat(fields[name]).astimezone(UTC)
    if "nulls" in fields:
        fields["nulls"] = tuple(fields["nulls"])
    return table, kind(**fields)


def _object(line: str) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _moment(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} has no place in a spool's file")
    return value.isoformat()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
