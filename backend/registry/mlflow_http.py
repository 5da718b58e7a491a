"""One HTTP call to MLflow: bounded bodies, errors translated once, no upstream body shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from backend.core.errors import CountersignError, ExternalFailure, NotFound, Refusal
from backend.core.outbound import Guard, bounds
from backend.registry.mlflow_wire import ErrorAnswer

B = TypeVar("B", bound=BaseModel)

SYSTEM = "MLflow"
_BLOCK = 1 << 20
_TRANSFER_SECONDS = 3600.0
_TIMEOUT_SECONDS = 60.0
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


class MlflowHttp:
    """Calls below one base URL.

    Args:
        url: the tracking server's address, a path prefix included where it has one.
        token: bearer token, or None.
        guard: decides which addresses may be reached.
    """

    def __init__(self, url: str, token: str | None, guard: Guard) -> None:
        # Unencoded answers only: a small compressed body could unpack to any size behind the guard's bound.
        headers = {"accept-encoding": "identity"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._client = guard.client(url, headers=headers, timeout=_TIMEOUT_SECONDS)

    def get(self, path: str, shape: type[B], /, *, what: str, **params: str | int) -> B:
        """A GET whose answer has the given shape. `what` says in a few words what was asked, e.g. "model flight"."""
        return self._json("GET", path, shape, what, params=params)

    def send(self, method: str, path: str, shape: type[B], *, what: str, body: Mapping[str, Any]) -> B:
        """A writing call with a JSON body."""
        return self._json(method, path, shape, what, json=dict(body))

    def put_file(self, path: str, file: Path, *, what: str) -> None:
        """Uploads one file as a stream."""
        with (
            file.open("rb") as stream,
            self._answer("PUT", path, what, content=stream, extensions=_transfer(1 << 20)) as answer,
        ):
            _body(answer, what)

    @contextmanager
    def stream(self, path: str, /, *, what: str, limit: int, **params: str | int) -> Iterator[Iterator[bytes]]:
        """The blocks of a download. Refusal as soon as more than `limit` bytes arrive."""
        # The guard's own bound lies beyond this one: what arrives is gathered into whole blocks before it is counted here.
        with self._answer("GET", path, what, params=params, extensions=_transfer(limit + 2 * _BLOCK)) as answer:
            yield _blocks(answer, what, limit)

    def _json(self, method: str, path: str, shape: type[B], what: str, **options: Any) -> B:
        with self._answer(method, path, what, **options) as answer:
            body = _body(answer, what)
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            raise _strange(what) from error

    @contextmanager
    def _answer(self, method: str, path: str, what: str, **options: Any) -> Iterator[httpx.Response]:
        try:
            with self._client.stream(method, path, **options) as answer:
                if answer.status_code != 200:
                    raise _refused(answer, what, writing=method != "GET")
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise _strange(what)
                yield answer
        except httpx.HTTPError as error:
            raise _failed(error, what, writing=method != "GET") from error


def _transfer(limit: int) -> dict[str, Any]:
    return bounds(max_bytes=limit, max_seconds=_TRANSFER_SECONDS)


def _body(answer: httpx.Response, what: str) -> bytes:
    try:
        return answer.read()
    except httpx.HTTPError as error:
        raise _failed(error, what, writing=answer.request.method != "GET") from error


def _blocks(answer: httpx.Response, what: str, limit: int) -> Iterator[bytes]:
    size = 0
    try:
        for block in answer.iter_raw(_BLOCK):
            size += len(block)
            if size > limit:
                raise too_large(what, limit)
            yield block
    except httpx.HTTPError as error:
        raise _failed(error, what, writing=False) from error


def too_large(what: str, limit: int) -> Refusal:
    """An artifact beyond the settings' bound."""
    return Refusal(
        f"The artifact is larger than {limit} bytes ({what}).",
        "Log a smaller artifact, or raise COUNTERSIGN_UPLOAD_MAX_BYTES.",
        code="too-large",
        limit=limit,
    )


def _failed(error: httpx.HTTPError, what: str, *, writing: bool) -> ExternalFailure:
    reached = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    verb = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "broke the connection"
    if not reached:
        verb = "cannot be reached"
    return ExternalFailure(SYSTEM, f"{verb} ({what})", retryable=True, applied_unknown=writing and reached)


def _refused(answer: httpx.Response, what: str, *, writing: bool) -> CountersignError:
    status, code = answer.status_code, _error_code(answer, what)
    if code in _MISSING:
        return NotFound("entry in the registry", what, "Check its name and number in MLflow; it may have been deleted there.")
    if status in (401, 403):
        return Refusal(
            f"MLflow refuses Countersign's access ({what}).",
            "Set COUNTERSIGN_MLFLOW_TOKEN to a token that may read models and runs and write aliases.",
            code="registry-access",
        )
    if status in (400, 409) and code:
        return Refusal(
            f"MLflow refuses this: {code} ({what}).", "Check the name, the number and the alias.", code="registry-refused"
        )
    if status == 429 or status >= 500:
        return ExternalFailure(SYSTEM, f"answered {status} ({what})", retryable=True, applied_unknown=writing and status >= 500)
    return ExternalFailure(
        SYSTEM, f"answered {status} without an MLflow error ({what}); is COUNTERSIGN_MLFLOW_URL right?", retryable=False
    )


def _error_code(answer: httpx.Response, what: str) -> str:
    try:
        code = ErrorAnswer.model_validate_json(_body(answer, what)).error_code
    except (ValidationError, ExternalFailure):
        return ""
    return code if code.replace("_", "").isalnum() and len(code) < 80 else ""


def _strange(what: str) -> ExternalFailure:
    return ExternalFailure(SYSTEM, f"sent an answer that cannot be understood ({what})", retryable=False)
