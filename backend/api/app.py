"""The FastAPI application. Routers are files beside this one, added to `ROUTERS`; each operation acts as an identity."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from backend.api import (
    audit,
    bindings,
    cards,
    changes,
    comparisons,
    config,
    data_sets,
    document,
    endpoints,
    errors,
    experiments,
    findings,
    fleet,
    freezes,
    grants,
    group_mappings,
    hooks,
    identities,
    inference_log,
    intakes,
    keys,
    lineage,
    me,
    metrics,
    models,
    monitors,
    notify,
    outgoing,
    policies,
    proposals,
    providers,
    public,
    ramps,
    registry,
    requests,
    rights,
    rollouts,
    routers,
    scim,
    servers,
    sessions,
    shadows,
    sign_in,
    starts,
    teams,
    tokens,
    versions,
    votes,
    watching,
    window_reports,
)
from backend.api.asking import TOKEN
from backend.api.guard import Guard
from backend.bootstrap import Backend

ROUTERS: tuple[APIRouter, ...] = (
    models.router,
    cards.router,
    versions.router,
    lineage.router,
    intakes.router,
    registry.router,
    proposals.router,
    changes.router,
    votes.router,
    starts.router,
    endpoints.router,
    rollouts.router,
    experiments.router,
    comparisons.router,
    metrics.router,
    shadows.router,
    monitors.router,
    watching.router,
    fleet.router,
    findings.router,
    servers.router,
    routers.router,
    outgoing.router,
    keys.router,
    policies.router,
    ramps.router,
    freezes.router,
    identities.router,
    tokens.router,
    sessions.router,
    group_mappings.router,
    providers.router,
    teams.router,
    grants.router,
    rights.router,
    bindings.router,
    requests.router,
    data_sets.router,
    inference_log.router,
    window_reports.router,
    notify.router,
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
    "rollouts": "How a version goes live step by step, and the ways to hold it or go back.",
    "experiments": "What is tried on an endpoint's units, what that would show, and what came of it.",
    "metrics": "How fast endpoints answer and how often they fail, against what is promised of them.",
    "monitors": "What is watched at endpoints, how monitors fare, and what versions were made from.",
    "fleet": "All endpoints together, now and at any moment.",
    "findings": "What was found wrong, who looks after it, and what waits for it.",
    "servers": "Where models run.",
    "routers": "What sends callers to servers.",
    "outgoing": "Where this installation may call.",
    "keys": "Which keys secrets are sealed to, and which one signs the ledger's heads.",
    "intakes": "Versions being taken in, from the registry or as an upload.",
    "registry": "How old the lists of models are, and having them read again.",
    "policies": "What each environment asks for.",
    "ramps": "Steps under a name, which proposals use and policies ask for.",
    "freezes": "Stops of all starts.",
    "identities": "People and services.",
    "tokens": "What programs act by.",
    "sessions": "Who is signed in where.",
    "sign-in": "The providers that people sign in at, and which of their groups gives which role.",
    "grants": "Who holds which role where, and the table of rights.",
    "bindings": "Which builds and machine clients act as which service.",
    "data-sets": "Who may read recorded requests row by row, and reading them.",
    "inference-log": "Feeding it, what is kept of it, and erasing a unit from it.",
    "window-reports": "Evidently's page of one window against a reference, for whoever may see rows.",
    "requests": "What waits for a second person.",
    "teams": "Who belongs to which team, and what each owns.",
    "notify": "Messages: where they go, who hears of what, and what became of each.",
    "config": "What there shall be, as files: compared, applied and exported.",
    "audit": "The ledger.",
    "me": "Whom a token acts as.",
    "public": "What anybody may ask.",
}

ABOUT = """The same services as the pages and the command line, for programs.

Every operation acts as the identity of its token, with the roles that identity has at that moment. Reading is safe to repeat;
every command says what sending it again does. An error is `application/problem+json` (RFC 9457) with a stable `code`, a
`remedy`, and the `request_id` of the answer."""


def build(backend: Callable[[], Backend], door: Callable[[ASGIApp], ASGIApp] | None = None) -> FastAPI:
    """The application; `backend` is called on the first request that needs it, never at construction.

    Args:
        door: what stands before every operation and says who acts, for callers in this process; by default the guard, which
            asks for a token.
    """
    api = FastAPI(
        title="Countersign",
        version="1",
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        openapi_tags=[{"name": name, "description": says} for name, says in TAGS.items()],
        root_path_in_servers=True,
        generate_unique_id_function=_by_name,
    )
    asked = public.Asked(backend)
    api.state.backend, api.state.asked = backend, asked
    if door is not None:
        api.add_middleware(door)
    else:
        api.add_middleware(Guard, backend=backend, ready=asked)
    api.router.routes.extend(_routes())
    api.mount(scim.PATH, scim.build(backend))
    errors.add_handlers(api)
    document.complete(api)
    return api


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Every operation, once a process: they know of no backend, and FastAPI takes half a second to make them ready."""
    made = APIRouter(generate_unique_id_function=_by_name)
    for router in (public.router, sign_in.router, hooks.router):
        made.include_router(router, prefix="/v1")
    for router in ROUTERS:
        made.include_router(router, prefix="/v1", dependencies=TOKEN)
    return tuple(made.routes)


def _by_name(route: APIRoute) -> str:
    return route.name
