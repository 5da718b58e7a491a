"""What the API answers when it does not do what was asked: one shape for every error, and the status that goes with each."""

from __future__ import annotations

import re
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, OperationalError
from starlette.exceptions import HTTPException

from backend.core.columns import new_id
from backend.core.errors import ExternalFailure, Refusal

STATUS = {
    "not-found": 404,
    "not-allowed": 403,
    "deactivated": 403,
    "conflict-of-interest": 403,
    "not-eligible": 403,
    "stale-write": 409,
    "stale-vote": 409,
    "stale-base": 409,
    "wrong-state": 409,
    "conflict": 409,
    "key-used": 409,
    "not-proved": 409,
    "settled": 409,
    "expired": 409,
    "stale-request": 409,
    "stale-plan": 409,
    "own-request": 403,
    "own-identity": 403,
    "data-set": 403,
    "frozen": 409,
    "too-large": 413,
    "no-database": 503,
    "schema": 503,
}
"""A refusal's code -> HTTP status; every other refusal is a 422, because it says what to correct."""


class Problem(BaseModel):
    """What went wrong, for a program and for a person."""

    code: str = Field(description="A stable word for programs.", examples=["stale-vote"])
    message: str = Field(
        description="What was refused or failed, and why.", examples=["Change 7 is not what you looked at any more."]
    )
    remedy: str = Field(description="What to do next.", examples=["Look at it as it is now, then vote."])


class Failure(BaseModel):
    """The body of every answer that is not a success."""

    error: Problem


_SAYS = {
    400: "What was sent cannot be read.",
    401: "No token was sent, or it is malformed, unknown, expired, revoked, or of an identity that is not active.",
    403: "This identity may not do this; the answer names the roles that may.",
    404: "There is nothing of that name.",
    409: "It is not as the caller saw it any more, or its state does not allow this.",
    413: "What was sent is larger than 256 KiB.",
    422: "It is refused, and the answer says what to correct. Nothing was changed.",
    429: "Too many tokens from this address were not good. Come back after `Retry-After` seconds.",
    502: "Another system refuses what it is asked; somebody has to correct it.",
    503: "Another system, or the database, does not answer; the same request may succeed later.",
}
ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": Failure, "description": says} for status, says in _SAYS.items()}
"""For the OpenAPI document: what any operation may answer besides success."""


def add_handlers(api: FastAPI) -> None:
    """Gives every error that may leave an operation the one shape."""
    api.add_exception_handler(Refusal, _refused)
    api.add_exception_handler(ExternalFailure, _failed)
    api.add_exception_handler(RequestValidationError, _unreadable)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(DBAPIError, _unforeseen)
    api.add_exception_handler(Exception, _unforeseen)


def body(code: str, message: str, remedy: str) -> dict[str, Any]:
    """The one shape."""
    return {"error": {"code": code, "message": message, "remedy": remedy}}


def answer(status: int, code: str, message: str, remedy: str) -> JSONResponse:
    """An error as an answer."""
    return JSONResponse(body(code, message, remedy), status_code=status)


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
    return answer(STATUS.get(error.code, 422), error.code, error.message, error.remedy)


def _failed(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ExternalFailure)  # noqa: S101 - what it is registered for
    remedy = "Try again; nothing needs to be changed." if error.retryable else "Correct that system, then try again."
    return answer(503 if error.retryable else 502, "external-failure", str(error), remedy)


def _unreadable(_request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong, by its place; what was sent is not repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])[:200]
    says = first["msg"].removeprefix("Value error, ")[:300]
    return answer(
        422, "bad-request", f"{where}: {says}.", "Correct that field; the OpenAPI document says what each operation takes."
    )


def _http(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself answers: no such path, no such method, a body that is no JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
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
    return sorted({method.upper() for each in fits for method in told[each]})


def _unforeseen(_request: Request, error: Exception) -> JSONResponse:
    return unforeseen(error)
