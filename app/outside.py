"""What Streamlit and the edge are told of the settings of sign-in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog
from streamlit.web.server.starlette import starlette_websocket
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from app import wiring
from app.edge import Outside
from backend.access.sessions import SignedIn
from backend.access.sign_in_file import SignIn
from backend.core.errors import CountersignError

_HERE = ["localhost", "127.0.0.1", "::1"]


def base_path(sign_in: SignIn | None) -> str:
    """The path below which this is seen: "" or `/countersign`."""
    return sign_in.base_path if sign_in is not None else ""


def seen_as(sign_in: SignIn | None) -> Outside | None:
    """How browsers see this; None where nobody signs in."""
    return Outside(sign_in.origin, sign_in.host, sign_in.base_path) if sign_in is not None else None


def options(sign_in: SignIn | None) -> dict[str, Any]:
    """Streamlit's options that follow from it: under which path it serves, and by which names it is called."""
    if sign_in is None:
        return {}
    return {"server.baseUrlPath": sign_in.base_path.strip("/"), "server.allowedHosts": [*_HERE, sign_in.host]}


def leave(cookies: Mapping[str, str]) -> None:
    """Ends the session that Streamlit's cookie stands for: `/auth/logout` only makes the browser forget it."""
    try:
        if (claims := _claims(cookies)) is not None:
            wiring.backend().sessions.end(claims)
    except Exception as error:  # whoever signs out is signed out in the browser all the same
        structlog.get_logger().error("sign_in.session_not_ended", exc_info=error)


def is_signed_in(cookies: Mapping[str, str]) -> bool:
    """Whether Streamlit's cookie stands for a session that goes on."""
    try:
        return signed_in(cookies, by_click=False) is not None
    except CountersignError:
        return False


def signed_in(cookies: Mapping[str, str], *, by_click: bool) -> SignedIn | None:
    """The session that Streamlit's cookie stands for, as long as it goes on; what `sessions.resume` refuses is refused."""
    claims = _claims(cookies)
    return wiring.backend().sessions.resume(claims, by_click=by_click) if claims is not None else None


def _claims(cookies: Mapping[str, str]) -> dict[str, Any] | None:
    """What the cookie says, if it is signed. Its one reader is Streamlit's; a journey holds that it still reads one."""
    told = starlette_websocket._get_signed_cookie_with_chunks(dict(cookies), USER_COOKIE_NAME)
    claims = json.loads(told) if told else None
    return claims if isinstance(claims, dict) else None


def secrets(sign_in: SignIn | None) -> dict[str, Any] | None:
    """What `st.login` needs, in the form of Streamlit's secrets."""
    if sign_in is None:
        return None
    providers = {
        one.name: {
            "client_id": one.client_id,
            "client_secret": one.client_secret.get_secret_value(),
            "server_metadata_url": one.server_metadata_url,
            "client_kwargs": {"scope": one.scope, "prompt": one.prompt},
        }
        for one in sign_in.providers
    }
    own = {
        "redirect_uri": sign_in.redirect_uri,
        "cookie_secret": sign_in.cookie_secret.get_secret_value(),
        "expose_tokens": ["id"],  # checked anew when a session is opened (backend/access/sessions.py)
    }
    return {"auth": {**own, **providers}}
