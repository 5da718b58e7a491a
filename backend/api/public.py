"""What anybody may ask: whether this process lives, and whether it can serve. Neither says more than that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from backend.api.readiness import lacks
from backend.bootstrap import Backend
from backend.core.errors import Refusal

_KEPT_SECONDS = 1.0

router = APIRouter(tags=["public"])


@router.get("/health")
def health() -> dict[str, str]:
    """This process answers. Looks at nothing else."""
    return {"status": "alive"}


@router.get("/ready")
def ready(request: Request) -> JSONResponse:
    """Whether the database is there and of this program's schema; 503 with a code while it is not."""
    asked: Asked = request.app.state.asked
    code = asked.code()
    return JSONResponse({"ready": code is None, "lacks": code}, status_code=200 if code is None else 503)


class Asked:
    """The latest answer, kept for a second: the question is public, and each answer costs a connection."""

    def __init__(self, backend: Callable[[], Backend]) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._until = 0.0
        self._code: str | None = None

    def code(self) -> str | None:
        """The code of what is lacking, or None."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._code = _ask(self._backend())
                self._until = time.monotonic() + _KEPT_SECONDS
            return self._code


def _ask(backend: Backend) -> str | None:
    error = lacks(backend)
    if error is None:
        return None
    structlog.get_logger().warning("not_ready", says=str(error))
    return error.code if isinstance(error, Refusal) else "database"
