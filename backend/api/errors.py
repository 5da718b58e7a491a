"""What the API answers when it does not do what was asked: one shape for every error, and the status that goes with each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from backend.api.tags import NotModified
from backend.core import context
from backend.core.columns import new_id
from backend.core.errors import ExternalFailure, Refusal

STATUS = {
    "not-found": 404,
    "not-allowed": 403,
    "deactivated": 403,
    "no-owner": 403,
    "not-a-person": 403,
    "conflict-of-interest": 403,
    "not-eligible": 403,
    "stale-write": 409,
    "stale-vote": 409,
    "stale-base": 409,
    "wrong-state": 409,
    "conflict": 409,
    "raced": 409,
    "key-used": 409,
    "not-proved": 409,
    "ramp-asked-for": 409,
    "settled": 409,
    "expired": 409,
    "stale-request": 409,
    "stale-plan": 409,
    "own-request": 403,
    "own-identity": 403,
    "data-set": 403,
    "frozen": 409,
    "findings": 409,
    "already-managed": 409,
    "bad-request": 422,
    "bad-tag": 400,
    "busy": 409,
    "condition-needed": 428,
    "in-use": 409,
    "managed": 409,
    "moved-on": 409,
    "name-taken": 409,
    "named-in-settings": 409,
    "no-rollout": 409,
    "not-asked": 409,
    "not-skipped": 409,
    "not-failed": 409,
    "own-adoption": 403,
    "shared-place": 403,
    "stale": 412,
    "rotating": 409,
    "too-large": 413,
    "no-database": 503,
    "schema": 503,
}
"""A refusal's code -> HTTP status; every other refusal is a 422, because it says what to correct."""


class FieldProblem(BaseModel):
    """One field, or one part of a file, that is wrong."""

    field: str = Field(
        description="Where it stands: `body.version`, `query.limit`, `header.If-Match`; in a file `FILE:LINE:COLUMN`.",
        examples=["body.version"],
    )
    detail: str = Field(description="What is wrong with it.", examples=["Field required"])
    remedy: str | None = Field(default=None, description="What to write or do instead, where that is known of this one.")
    code: str | None = Field(default=None, description="A stable word for programs, where this one has its own.")


class Problem(BaseModel):
    """What went wrong, for a program and for a person: RFC 9457, with `code`, `remedy`, `request_id` and `errors` besides."""

    type: str = Field(description="`urn:countersign:problem:` and the code.", examples=["urn:countersign:problem:stale-vote"])
    title: str = Field(description="The same for every problem of this type's status.", examples=["Conflict"])
    status: int = Field(description="The answer's status.", examples=[409])
    detail: str = Field(
        description="What was refused or failed, and why.", examples=["Change 7 is not what you looked at any more."]
    )
    code: str = Field(description="A stable word for programs.", examples=["stale-vote"])
    remedy: str = Field(description="What to do next.", examples=["Look at it as it is now, then vote."])
    request_id: str = Field(
        description="`X-Request-Id` of the answer, which is in the log too.", examples=["req_01jhq3s0000000000000000000"]
    )
    errors: list[FieldProblem] | None = Field(default=None, description="Fields that are wrong; only where there are some.")


MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:countersign:problem:"
_MOST_FIELDS = 20

SAYS = {
    400: "What was sent cannot be read.",
    401: "No token was sent, or it is malformed, unknown, expired, revoked, or of an identity that is not active.",
    403: "This identity may not do this; the answer names the roles that may.",
    404: "There is nothing of that name, or nothing that this identity may see.",
    408: "The body did not arrive in 30 seconds.",
    409: "Its state does not allow this, or the key of the request was used for another one.",
    412: "It is not as the caller saw it any more (`If-Match`).",
    413: "What was sent is larger than is taken here.",
    422: "It is refused, and the answer says what to correct. Nothing was changed.",
    428: "A blind write could lose somebody else's: `If-Match` is needed.",
    429: "Too many requests of this identity, or too many bad tokens from this address. Come back after `Retry-After` seconds.",
    500: "A defect of ours; the answer names the id under which the log has it.",
    502: "Another system refuses what it is asked; somebody has to correct it.",
    503: "Another system, or the database, does not answer; the same request may succeed later.",
}
"""Status -> what it means here."""


def add_handlers(api: FastAPI) -> None:
    """Gives every error that may leave an operation the one shape."""
    api.add_exception_handler(Refusal, _refused)
    api.add_exception_handler(ExternalFailure, _failed)
    api.add_exception_handler(RequestValidationError, _unreadable)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(NotModified, _unmodified)
    api.add_exception_handler(ClientDisconnect, _cut_off)
    api.add_exception_handler(DBAPIError, _unforeseen)
    api.add_exception_handler(Exception, _unforeseen)


def told(
    status: int, code: str, detail: str, remedy: str, *, request: str = "", fields: Sequence[FieldProblem] = ()
) -> dict[str, Any]:
    """The one shape."""
    problem = Problem(
        type=_TYPE + code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        remedy=remedy,
        request_id=request or context.request_id.get(),
        errors=list(fields) or None,
    )
    return problem.model_dump(exclude_none=True)


def answer(status: int, code: str, detail: str, remedy: str, fields: Sequence[FieldProblem] = ()) -> JSONResponse:
    """An error as an answer."""
    return JSONResponse(told(status, code, detail, remedy, fields=fields), status_code=status, media_type=MEDIA_TYPE)


def unforeseen(error: Exception) -> JSONResponse:
    """What nothing else answered: a database that is away is another system's failure, everything else a defect of ours."""
    away = isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)
    if not away:
        return defect(error)
    structlog.get_logger().warning("api.database", exc_info=error)
    return answer(503, "database", "The database does not answer.", "Try again; nothing needs to be changed.")


def defect(error: Exception) -> JSONResponse:
    """A defect of ours: the traceback goes to the log under the id that the answer names."""
    short = new_id("err")[-8:]
    structlog.get_logger().error("api.failed", error_id=short, exc_info=error)
    return answer(500, "defect", f"Something went wrong here ({short}).", "Give this id to whoever runs Countersign.")


def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)  # noqa: S101 - what it is registered for
    return answer(STATUS.get(error.code, 422), error.code, error.message, error.remedy, _parts(error.facts.get("errors")))


def _parts(told: object) -> list[FieldProblem]:
    """Everything that a refusal says is wrong, each at its place."""
    listed = [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
    return [
        FieldProblem(field=one["where"][:4_200], detail=one["message"], remedy=one["remedy"] or None, code=one["code"])
        for one in listed[:_MOST_FIELDS]
    ]


def _failed(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ExternalFailure)  # noqa: S101 - what it is registered for
    remedy = "Try again; nothing needs to be changed." if error.retryable else "Correct that system, then try again."
    return answer(503 if error.retryable else 502, "external-failure", str(error), remedy)


def _unreadable(_request: Request, error: Exception) -> JSONResponse:
    """Everything that is wrong, by its place; what was sent is not repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    fields = [_field(one) for one in error.errors()[:_MOST_FIELDS]]
    first = fields[0]
    return answer(
        422,
        "bad-request",
        f"{first.field}: {first.detail}.",
        "Correct these fields; the OpenAPI document says what each operation takes.",
        fields,
    )


def _field(error: Mapping[str, Any]) -> FieldProblem:
    where = ".".join(str(part) for part in error["loc"])[:200]
    return FieldProblem(field=where, detail=str(error["msg"]).removeprefix("Value error, ")[:300])


def _unmodified(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NotModified)  # noqa: S101 - what it is registered for
    return Response(status_code=304, headers={"etag": error.tag})


def _cut_off(_request: Request, _error: Exception) -> JSONResponse:
    return answer(400, "cut-off", "The connection ended before the body did.", "Send it again.")


def _http(request: Request, error: Exception) -> Response:
    """What the framework itself answers: no such path, no such method, a body that is no JSON. OPTIONS tells the methods."""
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    if request.method == "OPTIONS" and error.status_code == 405:
        return Response(status_code=204, headers={"allow": ", ".join(_methods(request))})
    told = {
        404: ("no-such-path", "There is no such path.", "Look into /api/v1/openapi.json."),
        405: ("no-such-method", "This path does not take that method.", "Look into /api/v1/openapi.json."),
    }
    code, message, remedy = told.get(error.status_code, ("bad-request", "This cannot be read.", "Send one JSON object."))
    found = answer(error.status_code, code, message, remedy)
    found.headers.update(error.headers or {})
    if error.status_code == 405:
        found.headers["allow"] = ", ".join(_methods(request))
    return found


def _methods(request: Request) -> list[str]:
    """Every method that the path takes; the framework names those of one of its routes alone."""
    path = str(request.scope["path"]).removeprefix(request.scope.get("root_path", ""))
    told: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    fits = (each for each in told if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", each), path))
    taken = {method.upper() for each in fits for method in told[each]}
    return sorted(taken | {"OPTIONS"} | ({"HEAD"} if "GET" in taken else set()))


def _unforeseen(_request: Request, error: Exception) -> JSONResponse:
    return unforeseen(error)
