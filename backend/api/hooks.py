"""Where the registry's server tells that something changed there. Answered without a token of ours: its signature counts."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from backend.api import errors
from backend.bootstrap import Backend
from backend.core.errors import Refusal

PATH = "/hooks/mlflow"

router = APIRouter(tags=["public"])


@router.post(
    PATH,
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}},
)
async def take_hook(request: Request) -> JSONResponse:
    """Takes a signed webhook of MLflow's registry as a hint: the model that it names is looked at sooner."""
    body = await request.body()
    backend: Backend = request.app.state.backend()
    try:
        await run_in_threadpool(backend.registry_hooks.take, request.headers, body)
    except Refusal as refusal:
        structlog.get_logger().warning("hooks.refused", code=refusal.code, says=refusal.message)
        status = 401 if refusal.code == "bad-signature" else 400
        return errors.answer(status, refusal.code, refusal.message, refusal.remedy)
    return JSONResponse({})
