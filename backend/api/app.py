"""The FastAPI application. Routers are files beside this one, added to `ROUTERS`; each operation acts as an identity."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from backend.api import public
from backend.api.guard import RequireToken
from backend.bootstrap import Backend
from backend.core.columns import new_id
from backend.core.errors import ExternalFailure, Refusal

ROUTERS: tuple[APIRouter, ...] = (public.router,)
"""Every router, under `/v1`."""

STATUS = {"not-found": 404, "not-allowed": 403, "deactivated": 403, "stale-write": 409, "conflict": 409, "too-large": 413}
"""A refusal's code -> HTTP status; every other refusal is a 422, because it says what to correct."""


def build(backend: Callable[[], Backend]) -> FastAPI:
    """The application; `backend` is called on the first request that needs it, never at construction."""
    api = FastAPI(title="Countersign", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    api.state.backend = backend
    api.state.asked = public.Asked(backend)
    api.add_middleware(RequireToken)
    for router in ROUTERS:
        api.include_router(router, prefix="/v1")
    api.add_exception_handler(Refusal, _refused)
    api.add_exception_handler(ExternalFailure, _failed)
    api.add_exception_handler(Exception, _defect)
    return api


def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)  # noqa: S101 - what it is registered for
    return _error(STATUS.get(error.code, 422), error.code, error.message, error.remedy)


def _failed(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ExternalFailure)  # noqa: S101 - what it is registered for
    remedy = "Try again; nothing needs to be changed." if error.retryable else "Correct that system, then try again."
    return _error(503 if error.retryable else 502, "external-failure", str(error), remedy)


def _defect(_request: Request, error: Exception) -> JSONResponse:
    """A defect of ours: the traceback goes to the log under the id that the answer names."""
    short = new_id("err")[-8:]
    structlog.get_logger().error("api_failed", error_id=short, exc_info=error)
    return _error(500, "defect", f"Something went wrong here ({short}).", "Give this id to whoever runs Countersign.")


def _error(status: int, code: str, message: str, remedy: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, "remedy": remedy}}, status_code=status)
