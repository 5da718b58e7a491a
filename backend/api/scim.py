"""SCIM 2.0 (RFC 7644): a provider's directory tells of its people and groups, at `/v1/scim/v2/<provider>`.

A protocol with a shape of its own, so that it stands beside the OpenAPI document; the same token, guard and bounds stand before
it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.access import scim
from backend.access.directory_groups import GroupLine
from backend.access.directory_people import UserLine
from backend.bootstrap import Backend
from backend.core.columns import new_id
from backend.core.context import Actor
from backend.core.errors import NotFound, Raced, Refusal

PATH = "/v1/scim/v2"
_TYPE = "application/scim+json"
_STATUS = {"not-allowed": 403, "deactivated": 403, "no-owner": 403, "uniqueness": 409, "last-admin": 409, "raced": 503}

Answer = Callable[[Backend, Actor, Request, Any], Response]


def build(backend: Callable[[], Backend]) -> Starlette:
    """The application; `backend` is called on the first request."""

    def route(path: str, **verbs: Answer) -> Route:
        return Route(f"/{{provider}}{path}", _endpoint(backend, verbs), methods=[verb.upper() for verb in verbs])

    return Starlette(
        routes=[
            route("/Users", get=_users, post=_create_user),
            route("/Users/{id}", get=_user, put=_replace_user, patch=_patch_user, delete=_delete_user),
            route("/Groups", get=_groups, post=_create_group),
            route("/Groups/{id}", get=_group, put=_replace_group, patch=_patch_group, delete=_delete_group),
            route("/ServiceProviderConfig", get=_config),
            route("/ResourceTypes", get=_types),
        ],
        exception_handlers={404: _nothing, 405: _nothing},
    )


def _endpoint(backend: Callable[[], Backend], verbs: dict[str, Answer]) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(_answer, verbs[_verb(request)], backend, request, body)

    return answered


def _verb(request: Request) -> str:
    return "get" if request.method == "HEAD" else request.method.lower()


def _answer(answer: Answer, backend: Callable[[], Backend], request: Request, body: bytes) -> Response:
    try:
        told = json.loads(body) if body else None
        try:
            return answer(backend(), request.state.actor, request, told)
        except Raced:  # with somebody who signs in, or an admin: a directory would take that for a refusal
            return answer(backend(), request.state.actor, request, told)
    except (ValueError, RecursionError):
        return _problem(400, "What was sent is no JSON.", "invalidSyntax")
    except NotFound as error:
        return _problem(404, error.message)
    except Refusal as refusal:
        kind = str(refusal.facts.get("scim_type", ""))
        return _problem(_STATUS.get(kind) or _STATUS.get(refusal.code, 400), f"{refusal.message} {refusal.remedy}", kind)
    except Exception as error:
        short = new_id("err")[-8:]
        structlog.get_logger().error("scim.failed", error_id=short, exc_info=error)
        return _problem(500, f"Something went wrong here ({short}).")


def _users(backend: Backend, actor: Actor, request: Request, _body: Any) -> Response:
    first, most = _page(request)
    total, lines = backend.directory_people.users(
        actor, request.path_params["provider"], scim.asked_for(request.query_params.get("filter")), first, most
    )
    return _listed(total, first, [_user_json(one, request) for one in lines])


def _user(backend: Backend, actor: Actor, request: Request, _body: Any) -> Response:
    return _shown(_user_json(backend.directory_people.user(actor, *_at(request)), request))


def _create_user(backend: Backend, actor: Actor, request: Request, body: Any) -> Response:
    found = backend.directory_people.create_user(actor, request.path_params["provider"], scim.user(body))
    return _shown(_user_json(found, request), status=201)


def _replace_user(backend: Backend, actor: Actor, request: Request, body: Any) -> Response:
    return _shown(_user_json(backend.directory_people.replace_user(actor, *_at(request), scim.user(body)), request))


def _patch_user(backend: Backend, actor: Actor, request: Request, body: Any) -> Response:
    return _shown(_user_json(backend.directory_people.patch_user(actor, *_at(request), body), request))


def _delete_user(backend: Backend, actor: Actor, request: Request, _body: Any) -> Response:
    backend.directory_people.delete_user(actor, *_at(request))
    return Response(status_code=204)


def _groups(backend: Backend, actor: Actor, request: Request, _body: Any) -> Response:
    first, most = _page(request)
    total, lines = backend.directory_groups.groups(
        actor, request.path_params["provider"], scim.asked_for(request.query_params.get("filter")), first, most
    )
    return _listed(total, first, [_group_json(one, request) for one in lines])


def _group(backend: Backend, actor: Actor, request: Request, _body: Any) -> Response:
    return _shown(_group_json(backend.directory_groups.group(actor, *_at(request)), request))


def _create_group(backend: Backend, actor: Actor, request: Request, body: Any) -> Response:
    found = backend.directory_groups.create_group(actor, request.path_params["provider"], scim.group(body))
    return _shown(_group_json(found, request), status=201)


def _replace_group(backend: Backend, actor: Actor, request: Request, body: Any) -> Response:
    return _shown(_group_json(backend.directory_groups.replace_group(actor, *_at(request), scim.group(body)), request))


def _patch_group(backend: Backend, actor: Actor, request: Request, body: Any) -> Response:
    return _shown(_group_json(backend.directory_groups.patch_group(actor, *_at(request), body), request))


def _delete_group(backend: Backend, actor: Actor, request: Request, _body: Any) -> Response:
    backend.directory_groups.delete_group(actor, *_at(request))
    return Response(status_code=204)


def _config(_backend: Backend, _actor: Actor, _request: Request, _body: Any) -> Response:
    off = {"supported": False}
    return _shown(
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
            "patch": {"supported": True},
            "bulk": {**off, "maxOperations": 0, "maxPayloadSize": 0},
            "filter": {"supported": True, "maxResults": scim.MOST_LISTED},
            "changePassword": off,
            "sort": off,
            "etag": off,
            "authenticationSchemes": [
                {
                    "type": "oauthbearertoken",
                    "name": "Token",
                    "description": "A token of a service: `countersign token create`.",
                }
            ],
        }
    )


def _types(_backend: Backend, _actor: Actor, _request: Request, _body: Any) -> Response:
    kind = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
    told = [("User", "/Users", scim.USER), ("Group", "/Groups", scim.GROUP)]
    return _listed(
        2, 1, [{"schemas": [kind], "id": name, "name": name, "endpoint": at, "schema": schema} for name, at, schema in told]
    )


def _user_json(line: UserLine, request: Request) -> dict[str, Any]:
    told = line.told
    return {
        "schemas": [scim.USER],
        "id": line.id,
        **({"externalId": told.external_id} if told.external_id else {}),
        "userName": told.user_name,
        "displayName": told.display_name,
        "active": told.active,
        **({"emails": [{"value": told.email, "type": "work", "primary": True}]} if told.email else {}),
        "meta": _meta("User", "Users", line.id, (line.created_at, line.changed_at), request),
    }


def _group_json(line: GroupLine, request: Request) -> dict[str, Any]:
    told = line.told
    leaves_members = "members" in request.query_params.get("excludedAttributes", "")
    return {
        "schemas": [scim.GROUP],
        "id": line.id,
        **({"externalId": told.external_id} if told.external_id else {}),
        "displayName": told.display_name,
        **({} if leaves_members else {"members": [{"value": one} for one in sorted(told.members)]}),
        "meta": _meta("Group", "Groups", line.id, (line.created_at, line.changed_at), request),
    }


def _meta(kind: str, place: str, row_id: str, times: tuple[datetime, datetime], request: Request) -> dict[str, str]:
    base = str(request.url).split(f"{PATH}/", 1)[0]
    return {
        "resourceType": kind,
        "created": times[0].isoformat(),
        "lastModified": times[1].isoformat(),
        "location": f"{base}{PATH}/{request.path_params['provider']}/{place}/{row_id}",
    }


def _page(request: Request) -> tuple[int, int]:
    try:
        first, most = int(request.query_params.get("startIndex", "1")), int(request.query_params.get("count", "100"))
    except ValueError:
        raise Refusal(
            "startIndex and count are whole numbers.", "Correct them.", code="scim", scim_type="invalidValue"
        ) from None
    return min(max(first, 1), 10**9), min(max(most, 0), scim.MOST_LISTED)


def _at(request: Request) -> tuple[str, str]:
    return request.path_params["provider"], request.path_params["id"]


def _listed(total: int, first: int, found: list[dict[str, Any]]) -> Response:
    told = {"schemas": [scim.LIST], "totalResults": total, "startIndex": first, "itemsPerPage": len(found), "Resources": found}
    return _shown(told)


def _shown(content: dict[str, Any], *, status: int = 200) -> Response:
    headers = {"location": content["meta"]["location"]} if status == 201 else None
    return JSONResponse(content, status_code=status, media_type=_TYPE, headers=headers)


def _problem(status: int, detail: str, kind: str = "") -> Response:
    told = {"schemas": [scim.ERROR], "status": str(status), "detail": detail}
    return JSONResponse({**told, **({"scimType": kind} if kind else {})}, status_code=status, media_type=_TYPE)


async def _nothing(_request: Request, error: Exception) -> Response:
    status = int(getattr(error, "status_code", 404))
    return _problem(status, "There is nothing here." if status == 404 else "This cannot be done here.")
