"""`/intakes`: versions being taken in, from the registry or as an upload. The work goes on after the answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field, StringConstraints
from sqlmodel import select
from starlette.concurrency import run_in_threadpool

from backend.access.checks import require_now
from backend.api.asking import Asks, Caller, Instant, ModelName, Name, Page, Paged, Plain, Reading, Sent, Shown, Whole
from backend.api.once import Making, Once
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.registry import intakes, rules
from backend.registry.rows import IntakeRow

router = APIRouter(tags=["intakes"])
IntakeId = Annotated[str, Path(pattern=r"^int_[0-9a-z]{26}$", description="The intake's id.")]
FileName = Annotated[
    str, Query(min_length=1, max_length=200, description="What the archive is called.", examples=["model.zip"])
]
Said = Annotated[
    str, StringConstraints(max_length=2_000), Plain, Query(description="What is said of the version.", examples=["Retrained"])
]
ARCHIVES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_MOST = 1_000
_IN_MEMORY = 1 << 20


class IntakeShown(Shown):
    """One version being taken in."""

    id: str
    kind: str = Field(description="registry (the registry has it) or upload.")
    model: str
    number: int | None
    file: str
    started_by: str = Field(description="The id of an identity.")
    started_by_name: str
    started_at: datetime
    finished_at: datetime | None
    state: str = Field(description="running, done, refused, failed, or interrupted: its process ended before it did.")
    fraction: float = Field(description="How far it is, from 0 to 1.")
    doing: str
    message: str = Field(description="Why it did not come through.")
    remedy: str
    kept: str = Field(description="What of it there is, in a sentence.")
    tried_again: bool = Field(description="Whether another one has taken its place.")


class Taking(Sent):
    """A version of the registry to be registered."""

    model: Name = Field(examples=["flight-delay"])
    version: Whole = Field(examples=[2])


class IntakesNarrow(Paged):
    """Which of them."""

    model: Annotated[str | None, Field(max_length=256)] = None
    since: Annotated[Instant | None, Field(description="Begun since this moment, with its zone.")] = None


@router.get("/intakes")
def list_intakes(asks: Asks, narrow: Annotated[IntakesNarrow, Query()]) -> Page[IntakeShown]:
    """Versions being taken in, newest first; the latest 1,000."""
    with asks.reading("model.read") as look:
        found = intakes.latest(look.session, now=look.now, model=narrow.model, since=narrow.since, limit=_MOST)
    items, following = narrow.cut(found, lambda one: (one.started_at, one.id), newest_first=True)
    return Page(items=tuple(map(IntakeShown.model_validate, items)), next=following)


@router.post("/intakes", status_code=202)
def start_intake(asks: Asks, once: Making, sent: Taking, response: Response) -> IntakeShown:
    """Starts to register a version that the registry has, and answers at once. One that is under way for the same is found."""
    _demand(asks, sent.model)
    made = once.make(IntakeRow, lambda: asks.backend.intake.register(asks.actor, sent.model, sent.version))
    return _begun(asks, made.id, response)


@router.get("/intakes/{intake}")
def show_intake(asks: Asks, intake: IntakeId, tagged: Tagged) -> IntakeShown:
    """How far one is, and what came of it."""
    return tagged(_view(asks, intake))


@router.post("/intakes/{intake}/again", status_code=202)
def retry_intake(asks: Asks, held: Held, once: Making, intake: IntakeId, response: Response) -> IntakeShown:
    """Tries once more what failed or was interrupted; answers with the new one. 409 `not-failed` where there is no need."""
    row = select(IntakeRow.id).where(IntakeRow.id == intake)
    with held.held("model.read", _shown(intake), row):
        made = once.make(IntakeRow, lambda: asks.backend.intake.again(asks.actor, intake))
    return _begun(asks, made.id, response)


@router.post(
    "/models/{model}/uploads",
    status_code=202,
    openapi_extra={"requestBody": {"required": True, "content": ARCHIVES}},
)
async def upload_version(
    request: Request, asks: Asks, once: Making, model: ModelName, response: Response, file: FileName, description: Said = ""
) -> IntakeShown:
    """Takes an archive (zip or tar, the request's body as it is) and starts to make it a new version of a model.

    The only operation whose body may be larger than 256 KiB: up to `COUNTERSIGN_UPLOAD_MAX_BYTES`. Answers once the archive is
    here; what comes of it stands in the intake.
    """
    await run_in_threadpool(_demand, asks, model)
    most, size = asks.backend.settings.upload_max_bytes, 0
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as archive:
        async for block in request.stream():
            size += len(block)
            if size > most:
                raise Refusal(f"This archive is larger than {most:,} bytes.", "Leave out what is not needed.", code="too-large")
            await run_in_threadpool(archive.write, block)
        return await run_in_threadpool(_take, asks, once, model, archive, (file, description), response)


def _demand(asks: Caller, model: str) -> None:
    """Asked before a byte of a body is taken or the registry is spoken of, and again by the command."""
    rules.check_model_name(model)
    with asks.backend.database.read() as session:
        require_now(session, asks.actor, "version.register", now=asks.backend.database.now(session), model=model)


def _take(
    asks: Caller,
    once: Once,
    model: str,
    archive: tempfile.SpooledTemporaryFile[bytes],
    said: tuple[str, str],
    response: Response,
) -> IntakeShown:
    file, description = said
    digest = _digest(archive) if once.key is not None else ""

    def start() -> str:
        archive.seek(0)
        return asks.backend.intake.upload(asks.actor, model, archive, file, description=description)  # type: ignore[arg-type]

    return _begun(asks, once.make(IntakeRow, start, digest=digest).id, response)


def _digest(archive: tempfile.SpooledTemporaryFile[bytes]) -> str:
    archive.seek(0)
    whole = sha256()
    while block := archive.read(_IN_MEMORY):
        whole.update(block)
    return whole.hexdigest()


def _begun(asks: Caller, intake: str, response: Response) -> IntakeShown:
    response.headers["location"] = f"/api/v1/intakes/{intake}"
    return _view(asks, intake)


def _view(asks: Caller, intake: str) -> IntakeShown:
    with asks.reading("model.read") as look:
        return _shown(intake)(look, asks.actor)


def _shown(intake: str) -> Callable[[Reading, Actor], IntakeShown]:
    return lambda look, _actor: IntakeShown.model_validate(intakes.one(look.session, intake, now=look.now))
