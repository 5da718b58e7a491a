"""A window report's page in a browser, by a link that pages show: `report_door.link(endpoint, report)`.

Who asks is told by the browser's own session, as for any page; what the page holds is drawn without it. The answer gives up its
origin (`sandbox` in its policy), so that nothing in it can ask for anything of ours: no cookie, no storage, no request. A page
of another site cannot have it opened, because each opening is in the ledger.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app import acting, outside, wiring
from app.edge import COOKIE
from backend.api.errors import STATUS
from backend.core.context import Actor
from backend.core.errors import ExternalFailure, Refusal

PATH = "/window-report/{endpoint}/{report}"
_FROM_HERE = ("", "none", "same-origin")
"""`Sec-Fetch-Site`: an address that somebody typed or kept, or a link on a page of ours."""


def link(endpoint: str, report: str) -> str:
    """The address of a report's page, from the root of the pages."""
    return PATH.format(endpoint=quote(endpoint, safe=""), report=quote(report, safe=""))


async def opened(request: Request) -> Response:
    """The page, or in words why not."""
    if request.headers.get("sec-fetch-site", "") not in _FROM_HERE or "prefetch" in request.headers.get("sec-purpose", ""):
        return _words(
            HTTPStatus.FORBIDDEN, "A report is opened from Countersign alone. Open its endpoint there, then the report."
        )
    try:
        return await run_in_threadpool(_opened, request)
    except Refusal as refusal:
        return _words(HTTPStatus(STATUS.get(refusal.code, 422)), str(refusal))
    except ExternalFailure as failure:
        return _words(HTTPStatus.SERVICE_UNAVAILABLE, f"{failure}. Try again.")


def _opened(request: Request) -> Response:
    actor = _actor(request)
    if actor is None:
        return _words(HTTPStatus.UNAUTHORIZED, "Nobody is signed in in this browser. Sign in, then open the report again.")
    found = wiring.backend().window_reports.open(actor, request.path_params["endpoint"], request.path_params["report"])
    headers = {"content-security-policy": found.policy, "cache-control": "no-store"}
    return Response(found.page, media_type="text/html; charset=utf-8", headers=headers)


def _actor(request: Request) -> Actor | None:
    """Whoever acts on the pages of this browser."""
    if wiring.backend().sign_in is not None:
        session = outside.signed_in(request.cookies, by_click=True)
        if session is not None:
            return session.actor
    return acting.chosen(request.cookies.get(COOKIE, ""))


def _words(status: HTTPStatus, says: str) -> Response:
    return PlainTextResponse(f"{says}\n", status_code=status, headers={"cache-control": "no-store"})
