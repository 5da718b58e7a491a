"""The OpenAPI document, beyond what the operations say themselves: errors, header fields, and an example of everything.

Examples are what a real installation answered (`examples.json`); tests hold each to its schema.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from backend.api import errors

EXAMPLES = Path(__file__).with_name("examples.json")
"""operationId -> `request` and `response`, each where there is one."""
_REF = "#/components/schemas/{model}"
_ALWAYS = (400, 401, 403, 404, 422, 429, 500, 503)
_WRITES = (409, 502)
_BODY = (408, 413)
_CODES = {
    400: ("bad-request", "An address holds no NUL character.", "Leave it out."),
    401: ("no-token", "This API answers only to a bearer token.", "Send `Authorization: Bearer cst_...`."),
    403: ("not-allowed", "Vera may not do this.", "Ask an admin for a role that may."),
    404: ("not-found", "No model is called 'flight-delays'.", "Check the name; it is case-sensitive."),
    408: ("too-slow", "The body did not arrive in time.", "Send it again."),
    409: ("wrong-state", "Change 7 is done.", "Look at it as it is now."),
    412: ("stale", "It is not as you saw it any more.", "Read it again, then repeat this if it still makes sense."),
    413: ("too-large", "The body is larger than 256 KiB.", "Send less."),
    422: ("bad-request", "body.version: Field required.", "Correct these fields."),
    428: ("condition-needed", "This would replace what others may have written meanwhile.", "Send `If-Match`."),
    429: ("too-many-requests", "Too many requests of this identity.", "Try again in 2 seconds."),
    500: ("defect", "Something went wrong here (9f3c2d1a).", "Give this id to whoever runs Countersign."),
    502: ("external-failure", "MLflow refused the token", "Correct that system, then try again."),
    503: ("external-failure", "MLflow answered 500", "Try again; nothing needs to be changed."),
}
_TEXT = {"schema": {"type": "string"}}
_SECONDS = {"schema": {"type": "integer", "minimum": 1}}
REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "title": "X-Request-Id"},
    "description": "An id of your own for this request: the answer, the log and the ledger rows that it writes carry it. One "
    "that is not 8 to 64 letters, digits, `_`, `.`, `:` and `-` is passed over, and one is made.",
    "example": "build-1842-propose",
}


def complete(api: FastAPI) -> None:
    """Has the application answer with the whole document, which is made once."""
    made, lock = api.openapi, threading.Lock()

    @cache
    def drawn() -> dict[str, Any]:
        told = made()
        for path, method, operation in operations(told):
            _describe(path, method, operation)
        schemas = told["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas.update(_problem_schemas())
        return told

    def whole() -> dict[str, Any]:
        with lock:  # the first requests come at once, and each would draw it for itself
            return drawn()

    api.openapi = whole  # type: ignore[method-assign]  # the way that FastAPI documents: "Extending OpenAPI"


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of each operation."""
    for path, each in document["paths"].items():
        for method, operation in each.items():
            yield path, method, operation


def _describe(path: str, method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    fields = {one["name"] for one in operation.get("parameters", [])}
    if "If-None-Match" in fields and method == "get":
        answers["304"] = {"description": "It is as the caller has it.", "headers": {"ETag": _field("Of what there is.")}}
    for status in _statuses(path, method, operation, fields):
        answers.setdefault(str(status), problem(status))
    secured = "security" in operation
    for status, answer in answers.items():
        answer.setdefault("headers", {}).update(_fields(status, method, fields, secured=secured))
    operation.setdefault("parameters", []).append(REQUEST_ID)
    _exemplify(operation)


def _statuses(path: str, method: str, operation: dict[str, Any], fields: set[str]) -> Iterator[int]:
    if "security" not in operation:
        yield from (400, 413, 422, 503) if method == "post" else ()
        yield 500
        return
    yield from _ALWAYS
    if method != "get":
        yield from (*_WRITES, *_BODY)
    if "If-Match" in fields:
        yield 412
        if NEEDS_A_TAG in operation["description"]:
            yield 428


NEEDS_A_TAG = "eeds `If-Match`"
"""What the description of an operation says that does nothing without it."""


def _fields(status: str, method: str, sent: set[str], *, secured: bool) -> dict[str, Any]:
    told = {"X-Request-Id": _field("Of this request; in the log and in its ledger rows too.")}
    if secured and status not in ("400", "401", "408", "413", "500", "503"):
        told["RateLimit-Policy"] = _field("How many requests an identity may send, in how many seconds.")
        told["RateLimit"] = _field("How many of them are left, and in how many seconds there are all of them again.")
    if status == "429":
        told["Retry-After"] = {**_SECONDS, "description": "Seconds to wait."}
    if status.startswith("2") and sent & {"If-Match", "If-None-Match"} and status != "204":
        told["ETag"] = _field("Of what the answer tells: for `If-Match` and `If-None-Match`.")
    if status == "201" or (status == "202" and "Idempotency-Key" in sent):
        told["Location"] = _field("Where what was made is found.")
    if status.startswith("2") and "Idempotency-Key" in sent:
        told["Idempotency-Replayed"] = _field("`true` where an earlier request under this key made it.")
    return told


def _field(says: str) -> dict[str, Any]:
    return {**_TEXT, "description": says, "required": False}


def problem(status: int, code: str = "", detail: str = "", remedy: str = "", *, says: str = "") -> dict[str, Any]:
    """One error of an operation. What is not said is as everywhere; an operation declares what differs there."""
    usual = _CODES[status]
    example = errors.told(
        status, code or usual[0], detail or usual[1], remedy or usual[2], request="req_01jhq3s0000000000000000000"
    )
    content = {"schema": {"$ref": _REF.format(model="Problem")}, "example": example}
    return {"description": says or errors.SAYS[status], "content": {errors.MEDIA_TYPE: content}}


def _problem_schemas() -> dict[str, Any]:
    schema = TypeAdapter(errors.Problem).json_schema(ref_template=_REF, mode="serialization")
    return {**schema.pop("$defs"), "Problem": schema}


def _exemplify(operation: dict[str, Any]) -> None:
    told = _examples().get(operation["operationId"], {})
    for media in operation.get("requestBody", {}).get("content", {}).values():
        if "request" in told:
            media["example"] = told["request"]
    for status, answer in operation["responses"].items():
        if status.startswith("2") and "response" in told:
            for media in answer.get("content", {}).values():
                media["example"] = told["response"]


@cache
def _examples() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(EXAMPLES.read_text())
    return found
