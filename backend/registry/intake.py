"""Takes versions in for people who need not wait: the work runs in threads of this process, how far it is stands in rows.

Whoever started it may close the page, and finds it again from any browser. A process that ends in the middle leaves a row
that nobody renews: it is shown as interrupted, with what was kept, and can be tried again.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from backend.access.checks import require, require_now
from backend.core import context
from backend.core.context import Actor
from backend.core.database import Database
from backend.core.errors import ExternalFailure, Refusal
from backend.core.unit import Unit
from backend.registry import intakes, rules
from backend.registry.intakes import IntakeView
from backend.registry.rows import IntakeRow
from backend.registry.service import Versions
from backend.registry.signatures import clean

_BLOCK = 1 << 20
_NOTE_SECONDS = 0.5
_BEAT_SECONDS = 5.0
log = structlog.get_logger()


@dataclass
class _Work:
    """What one thread does and how far it is; the keeper beside it writes that down."""

    row: IntakeRow
    actor: Actor
    archive: Path | None
    description: str = ""
    request: str = field(default_factory=context.request_id.get)
    fraction: float = 0.0
    doing: str = "starting"
    number: int | None = None
    error: Exception | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    told: threading.Event = field(default_factory=threading.Event)

    def progress(self, fraction: float, words: str) -> None:
        self.fraction, self.doing = fraction, words

    def numbered(self, number: int) -> None:
        self.number = number


class Intake:
    """Registers versions and takes uploads in, a few at a time.

    Args:
        database: where the rows are.
        versions: what does the work.
        folder: where archives lie until they were taken; removed with success and refusal, kept for a while after a failure.
        most: how many at a time in this process.
    """

    def __init__(self, database: Database, versions: Versions, folder: Path, *, most: int = 4) -> None:
        self._database = database
        self._versions = versions
        self._folder = folder
        self._most = most
        self._running: dict[str, _Work] = {}
        self._lock = threading.Lock()

    def register(self, actor: Actor, model: str, number: int) -> str:
        """Starts to register a version that the registry has. Returns the intake's id; that of one under way for the same."""
        self._versions.require_connected()
        return self._start(actor, None, kind="registry", model=model, number=number)

    def upload(self, actor: Actor, model: str, archive: BinaryIO, file: str, *, description: str = "") -> str:
        """Copies an archive aside and starts to make it a new version. Returns the intake's id."""
        return self._upload(actor, archive, description, model=model, file=file[:200])

    def again(self, actor: Actor, identifier: str) -> str:
        """Tries once more what failed or was interrupted: from the registry, if that has the version, else from the archive.

        Once: of two who try, the second is refused (`not-failed`). Who handed the archive in stays its author, whoever tries
        again, and what was said of it goes along.
        """
        with self._database.read() as session:
            now = self._database.now(session)
            old = intakes.one(session, identifier, now=now)
            require_now(session, actor, "version.register", now=now, model=old.model, missing=intakes.missing(identifier))
        if not old.may_be_tried_again:
            raise _not_again()
        if old.number is not None:
            self._versions.require_connected()
            return self._start(actor, None, again=old.id, kind="registry", model=old.model, number=old.number)
        path = self._path(identifier)
        if not path.exists():
            raise Refusal(f"{old.file} is not kept any more.", "Choose the file again and upload it.", code="not-kept")
        same = {"model": old.model, "file": old.file, "started_by": old.started_by}
        with path.open("rb") as archive:
            new = self._upload(actor, archive, _said(path), again=old.id, **same)
        _drop(path)
        return new

    def wait(self, identifier: str, seconds: float = 60.0) -> IntakeView:
        """Waits for one that this process does, and returns how it stands."""
        with self._lock:
            work = self._running.get(identifier)
        if work is not None:
            work.told.wait(seconds)
        with self._database.read() as session:
            return intakes.one(session, identifier, now=self._database.now(session))

    def _upload(self, actor: Actor, archive: BinaryIO, description: str, *, again: str = "", **columns: Any) -> str:
        self._versions.require_connected()
        model = rules.check_model_name(columns["model"])
        with self._database.unit(actor) as tx:
            require(tx, actor, "version.register", model=model)
            identifier = tx.new_id("int")
        path = self._keep(identifier, archive, description)
        try:
            return self._start(actor, path, description, again=again, id=identifier, kind="upload", **columns)
        except BaseException:
            _drop(path)
            raise

    def _start(self, actor: Actor, archive: Path | None, description: str = "", *, again: str = "", **columns: Any) -> str:
        """Writes the row and starts the threads; a double click finds the first one's row.

        `again` is the one that this takes the place of, in the same unit.
        """
        self._sweep()
        with self._database.unit(actor) as tx:
            require(tx, actor, "version.register", model=columns["model"])
            if again:
                _take_over(tx, again)
            if (same := _same(tx, columns)) is not None:
                return same
            self._require_room()
            row = tx.add(_row(tx, columns))
        work = _Work(row, actor, archive, description, number=row.number)
        with self._lock:
            self._running[row.id] = work
        threading.Thread(target=self._work, args=(work,), name=f"intake-{row.id}", daemon=True).start()
        threading.Thread(target=self._note, args=(work,), name=f"intake-note-{row.id}", daemon=True).start()
        return row.id

    def _require_room(self) -> None:
        with self._lock:
            if len(self._running) >= self._most:
                raise Refusal(
                    f"{len(self._running)} versions are being taken in already.", "Start this one when one of them is done.",
                    code="busy",
                )  # fmt: skip

    def _work(self, work: _Work) -> None:
        context.request_id.set(work.request)  # the thread's own: what it writes belongs to the request that began it
        try:
            work.number = self._do(work).number
        except Exception as error:  # a thread's end is nobody's to catch: the keeper says what came of it
            work.error = error
        finally:
            work.ended.set()

    def _do(self, work: _Work) -> Any:
        if work.archive is None:
            return self._versions.register(work.actor, work.row.model, work.row.number or 0, progress=work.progress)
        return self._versions.upload(
            work.actor,
            work.row.model,
            work.archive,
            description=work.description,
            author=work.row.started_by,
            progress=work.progress,
            numbered=work.numbered,
        )

    def _note(self, work: _Work) -> None:
        """Writes down how far the work is, when that moved or a sign of life is due, and at the end what came of it."""
        said, at = (0.0, ""), time.monotonic()
        while not work.ended.wait(_NOTE_SECONDS):
            now = (round(work.fraction, 2), work.doing)
            if now != said or time.monotonic() - at >= _BEAT_SECONDS:
                said, at = now, time.monotonic()
                self._try_to_write(work, lambda _tx: {})
        outcome = _outcome(work)
        while not self._try_to_write(work, lambda tx: {"finished_at": tx.now, **outcome}):
            time.sleep(_BEAT_SECONDS)  # the database is away: the work is done, and will be told of once it is back
        self._finish(work)

    def _finish(self, work: _Work) -> None:
        if work.archive is not None and (work.number is not None or not isinstance(work.error, ExternalFailure)):
            _drop(work.archive)
        with self._lock:
            self._running.pop(work.row.id, None)
        work.told.set()

    def _try_to_write(self, work: _Work, more: Callable[[Unit], dict[str, Any]]) -> bool:
        try:
            self._write(work, more)
        except SQLAlchemyError as error:
            log.warning("intake_not_noted", intake=work.row.id, error=type(error).__name__)
            return False
        return True

    def _write(self, work: _Work, more: Callable[[Unit], dict[str, Any]]) -> None:
        values: dict[str, Any] = {"fraction": work.fraction, "doing": work.doing[:200], "number": work.number}
        with self._database.unit(work.actor) as tx:
            table: sa.Table = IntakeRow.__table__  # type: ignore[attr-defined]  # SQLModel adds it
            own = (table.c.id == work.row.id) & (table.c.code != rules.TRIED_AGAIN)  # one taken for dead may speak once more
            change = sa.update(table).where(own).values({**values, "beat_at": tx.now, **more(tx)})
            tx.session.connection().execute(change)

    def _keep(self, identifier: str, archive: BinaryIO, description: str) -> Path:
        """The archive, and beside it what was said of it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # nobody else exchanges a file on its way
        path = self._path(identifier)
        with path.open("wb") as stream:
            shutil.copyfileobj(archive, stream, _BLOCK)
        _beside(path).write_bytes(description.encode(errors="replace"))
        return path

    def _path(self, identifier: str) -> Path:
        return self._folder / f"{identifier}.archive"

    def _sweep(self) -> None:
        """Removes archives that were kept for long enough."""
        limit = time.time() - rules.ARCHIVE_KEPT.total_seconds()
        for path in self._folder.glob("*.archive") if self._folder.exists() else ():
            if path.stat().st_mtime < limit:
                _drop(path)


def _beside(archive: Path) -> Path:
    return archive.with_suffix(".said")


def _said(archive: Path) -> str:
    beside = _beside(archive)
    return beside.read_bytes().decode(errors="replace") if beside.exists() else ""


def _drop(archive: Path) -> None:
    for path in (archive, _beside(archive)):
        path.unlink(missing_ok=True)


def _not_again() -> Refusal:
    return Refusal("This one need not be tried again.", "Look at the latest one of this model.", code="not-failed")


def _take_over(tx: Unit, identifier: str) -> None:
    """Joins: ends one that failed or was interrupted in favour of another try. Refusal where somebody was faster."""
    table: sa.Table = IntakeRow.__table__  # type: ignore[attr-defined]  # SQLModel adds it
    silent = (table.c.state == "running") & (table.c.beat_at < tx.now - rules.SILENT_INTAKE)
    free = (table.c.id == identifier) & (table.c.code != rules.TRIED_AGAIN) & ((table.c.state == "failed") | silent)
    if tx.session.connection().execute(sa.update(table).where(free).values(code=rules.TRIED_AGAIN)).rowcount != 1:
        raise _not_again()


def _row(tx: Unit, columns: dict[str, Any]) -> IntakeRow:
    plain: dict[str, Any] = {name: clean(value) if isinstance(value, str) else value for name, value in columns.items()}
    fresh: dict[str, Any] = {"id": tx.new_id("int"), "started_by": tx.actor.id, "started_at": tx.now, "beat_at": tx.now}
    return IntakeRow(**{**fresh, **plain})


def _same(tx: Unit, columns: dict[str, Any]) -> str | None:
    """The id of one under way for the same version of the registry."""
    if columns["kind"] != "registry":
        return None
    query = select(IntakeRow).where(IntakeRow.model == columns["model"], IntakeRow.number == columns["number"])
    rows = tx.session.exec(query.where(IntakeRow.state == "running"))
    return next((row.id for row in rows if not rules.is_interrupted(row.beat_at, tx.now)), None)


def _outcome(work: _Work) -> dict[str, Any]:
    """What is told of the end. An upstream's words are never among them: both errors are ours, anything else is logged."""
    error = work.error
    if error is None:
        return {"state": "done", "fraction": 1.0}
    if isinstance(error, Refusal):
        return {"state": "refused", "message": error.message, "remedy": error.remedy, "code": error.code}
    if isinstance(error, ExternalFailure):
        remedy = "Try again in a moment." if error.retryable else "Correct that system, then try again."
        return {"state": "failed", "message": f"{error}.", "remedy": remedy, "code": "external-failure"}
    log.error("intake_failed", error_id=work.row.id[-8:], exc_info=error)
    message = f"Something went wrong here; the log has it under {work.row.id[-8:]}."
    return {"state": "failed", "message": message, "remedy": "Try again; if it fails again, ask whoever runs Countersign."}
