"""The FastAPI application. Routers are files beside this one, added to `ROUTERS`; each operation acts as an identity."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, FastAPI

from backend.api import (
    audit,
    changes,
    config,
    data_sets,
    endpoints,
    errors,
    grants,
    me,
    models,
    proposals,
    public,
    requests,
    scim,
    servers,
    sign_in,
    starts,
    teams,
    versions,
    votes,
)
from backend.api.asking import TOKEN
from backend.api.guard import Guard
from backend.bootstrap import Backend

ROUTERS: tuple[APIRouter, ...] = (
    models.router,
    versions.router,
    proposals.router,
    changes.router,
    votes.router,
    starts.router,
    endpoints.router,
    servers.router,
    teams.router,
    grants.router,
    requests.router,
    data_sets.router,
    config.router,
    audit.router,
    me.router,
)
"""Every router whose operations act as an identity, under `/v1`."""

TAGS = {
    "models": "Registered models, as the registry was last seen.",
    "versions": "Versions of models: registering one, and comparing several.",
    "changes": "Requests that an endpoint serves another version.",
    "votes": "Approvals and rejections, each bound to one plan and one base.",
    "starts": "Starting, revoking and rolling back what was approved.",
    "endpoints": "What shall run, what was seen to run, and since when.",
    "servers": "Where models run.",
    "grants": "Who holds which role where, and what environments ask for.",
    "data-sets": "Who may read recorded requests row by row, and reading them.",
    "requests": "What waits for a second person.",
    "teams": "Who belongs to which team, and what each owns.",
    "config": "What there shall be, as files: compared, applied and exported.",
    "audit": "The ledger.",
    "me": "Whom a token acts as.",
    "public": "What anybody may ask.",
}

ABOUT = """The same services as the pages and the command line, for programs.

Every operation acts as the identity of its token, with the roles that identity has at that moment. Reading is safe to repeat;
every command says what sending it again does. An error is one JSON object, `{"error": {"code", "message", "remedy"}}`."""


def build(backend: Callable[[], Backend]) -> FastAPI:
    """The application; `backend` is called on the first request that needs it, never at construction."""
    api = FastAPI(
        title="Countersign",
        version="1",
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        openapi_tags=[{"name": name, "description": says} for name, says in TAGS.items()],
        root_path_in_servers=True,
    )
    asked = public.Asked(backend)
    api.state.backend, api.state.asked = backend, asked
    api.add_middleware(Guard, backend=backend, ready=asked)
    api.include_router(public.router, prefix="/v1")
    api.include_router(sign_in.router, prefix="/v1")
    for router in ROUTERS:
        api.include_router(router, prefix="/v1", dependencies=TOKEN, responses=errors.ERRORS)
    api.mount(scim.PATH, scim.build(backend))
    errors.add_handlers(api)
    return api
