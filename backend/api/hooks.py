"""Where the registry's server tells that something changed there. Answered without a token of ours: its signature counts."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from backend.api import errors
from backend.api.document import problem
from backend.bootstrap import Backend
from backend.core.errors import Refusal
from backend.registry.hooks import DELIVERY, SIGNATURE, TIMESTAMP

PATH = "/hooks/mlflow"

router = APIRouter(tags=["public"])
_REMEDY = "Give the webhook in MLflow the secret of COUNTERSIGN_MLFLOW_WEBHOOK_SECRET."
_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: problem(400, "bad-json", "This is not JSON.", "Send what MLflow sends.", says="It is signed, and is no JSON."),
    401: problem(
        401, "bad-signature", "This webhook is not taken. It is not signed for this installation.", _REMEDY,
        says="It is not signed with the secret of this installation, too old, or was taken already.",
    ),
}  # fmt: skip
_EVENT = {
    "type": "object",
    "properties": {
        "entity": {"type": "string", "description": "`registered_model`, `model_version`, `model_version_tag` and so on."},
        "action": {"type": "string"},
        "timestamp": {"type": "string"},
        "data": {"type": "object", "description": "Its `name` is all that is read of it."},
    },
}


def _field(name: str, says: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": says}


@router.post(
    PATH,
    responses=_ANSWERS,
    openapi_extra={
        "requestBody": {"content": {"application/json": {"schema": _EVENT}}, "required": True},
        "parameters": [
            _field(SIGNATURE, "`v1,` and the base64 of HMAC-SHA256 over `delivery.timestamp.body`, with the webhook's secret."),
            _field(TIMESTAMP, "Seconds since 1970; five minutes off at most."),
            _field(DELIVERY, "Taken once."),
        ],
    },
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
