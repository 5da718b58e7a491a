"""From the spool into the log: written first, removed after, so that what dies in between leaves a row twice and never none."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from backend.core.errors import ExternalFailure, Refusal
from backend.core.failpoints import reach
from backend.inference_log import spool
from backend.inference_log.copies import Copy
from backend.inference_log.handling import is_erased
from backend.inference_log.rules import Outcome, Request
from backend.inference_log.service import InferenceLog
from backend.inference_log.spool import Batch, Spool
from backend.ingest.known import Known
from backend.ingest.mixed import Mixed

AT_ONCE = 500
"""Files that are taken before the log is written: many small batches become few files."""
ROWS_AT_ONCE = 50_000
EVERY_SECONDS = 1.0
BEFORE_REMOVAL = "inference-log.taken"
log = structlog.get_logger()


class Taking:
    """One thread of one process: two of them would only do everything twice."""

    def __init__(self, spool: Spool, inference_log: InferenceLog, known: Known, key: bytes) -> None:
        self._spool, self._log, self._known, self._key = spool, inference_log, known, key
        self._unwritten: list[Path] = []
        """Files whose rows the writer holds, because the log could not be written."""
        self._crowded: dict[str, int] = {}
        self.mixed = Mixed()

    def run(self, stop: threading.Event) -> None:
        """Until it is told to stop; then what waits still goes in, where the log can be written."""
        while not stop.wait(EVERY_SECONDS if not self.once() else 0.0):
            continue
        while self.once():
            continue

    def once(self) -> int:
        """Takes some of what waits; how many files. A log that cannot be written leaves them where they are."""
        try:
            done, rows = self._write(), 0
            for path in self._spool.waiting()[:AT_ONCE]:
                rows += self._take(path)
                if rows >= ROWS_AT_ONCE:
                    break
            return done + self._write()
        except ExternalFailure as failure:
            log.warning("ingest.log_unwritable", problem=str(failure))
            return 0

    def _take(self, path: Path) -> int:
        try:
            batch = spool.read(path)
        except (ValueError, TypeError, KeyError) as error:
            self._put_aside(path, error)
            return 0
        count = self._append(batch)  # what fails in the middle is taken once more, whole
        self._unwritten.append(path)
        return count

    def _append(self, batch: Batch) -> int:
        count, left_out = 0, batch.values_left_out
        for table, rows in batch.rows.items():
            kept = [row for row in rows if isinstance(row, Outcome) or not self._is_erased(batch.endpoint, row)]
            self.mixed.look(batch.endpoint, self._every(batch.endpoint), kept)
            try:
                found = self._log.append_checked(table, batch.endpoint, kept)
            except Refusal:
                log.error("ingest.not_taken", endpoint=batch.endpoint[:63], rows=len(kept))
                continue
            count, left_out = count + found.kept, left_out + found.values_left_out
        if left_out:
            log.warning("ingest.too_many_names", endpoint=batch.endpoint, values_left_out=left_out)
            self._crowded[batch.endpoint] = self._crowded.get(batch.endpoint, 0) + left_out
        return count

    def crowded(self) -> Mapping[str, int]:
        """Endpoint -> values left out since this was asked last, because the endpoint has enough names already."""
        found, self._crowded = self._crowded, {}
        return found

    def _every(self, endpoint: str) -> int:
        handling = self._known.rules().handling.get(endpoint)
        return handling.every if handling is not None else 1

    def _is_erased(self, endpoint: str, row: Request | Copy) -> bool:
        """A unit that was erased while its rows lay in the spool."""
        handling = self._known.rules().handling.get(endpoint)
        if handling is None or row.unit is None or not handling.erased:
            return False
        return is_erased(self._key, row.unit, row.received_at, handling.erased)

    def _write(self) -> int:
        """Writes what is held, and only then forgets the files that it came from."""
        if not self._unwritten:
            return 0
        self._log.flush()
        reach(BEFORE_REMOVAL)
        done, self._unwritten = self._unwritten, []
        for path in done:
            path.unlink(missing_ok=True)
        return len(done)

    def _put_aside(self, path: Path, error: Exception) -> None:
        """A file that is none of ours, or damaged, is kept for whoever looks into it and stops nothing."""
        log.error("ingest.damaged", file=path.name, problem=type(error).__name__)
        aside = path.parent.with_name("damaged")
        with suppress(OSError):
            aside.mkdir(mode=0o700, exist_ok=True)
            path.rename(aside / path.name)
