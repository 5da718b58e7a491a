"""Where an OpenID provider tells that its sessions ended (OpenID Connect Back-Channel Logout 1.0).

Answered without a token of ours: the provider's signed logout token is what it is judged by.
"""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Form, Request
from fastapi.responses import JSONResponse

from backend.api import errors
from backend.bootstrap import Backend
from backend.core.errors import ExternalFailure, Refusal

PATH = "/sign-in/backchannel-logout"

router = APIRouter(tags=["public"])


@router.post(PATH)
def provider_logout(request: Request, logout_token: Annotated[str, Form(max_length=65536)]) -> JSONResponse:
    """Ends the sessions that a provider's logout token names. Sending the same token again is refused."""
    backend: Backend = request.app.state.backend()
    try:
        backend.sessions.provider_logout(logout_token)
    except Refusal as refusal:
        structlog.get_logger().warning("sign_in.logout_token_refused", code=refusal.code, says=refusal.message)
        return errors.answer(400, refusal.code, refusal.message, refusal.remedy)
    except ExternalFailure as failure:
        structlog.get_logger().warning("sign_in.provider_away", says=str(failure))
        return errors.answer(503, "external-failure", str(failure), "Send it again later.")
    return JSONResponse({})
