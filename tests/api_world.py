"""The API over the world of changes: a client that acts by token, and holds every answer to the OpenAPI document."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import pytest
from httpx import Response
from starlette.testclient import TestClient

from backend import bootstrap
from backend.api import app as api
from backend.audit import heads
from backend.bootstrap import Backend
from backend.core import sealed
from backend.registry.memory import MemoryRegistry
from backend.settings import Settings
from scripts import problem_codes
from tests.databases import Clock
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET
from tests.services.changes.world import World

V1 = "/v1"


class Api:
    """Requests as the demo identities.

    Args:
        world: whose database and changes are served.
        folder: the data folder.
        services: put in place of the backend's own.
    """

    def __init__(self, world: World, folder: Path, **services: Any) -> None:
        sealed.create_keys(folder / "keys")
        heads.create_key(folder / "keys")
        settings = Settings(
            data_dir=folder,
            database_url=world.database.url.render_as_string(hide_password=False),
            demo_identities=True,
            allowed_networks="127.0.0.0/8",
            message_networks="127.0.0.0/8",
            observe_seconds=3600,
            api_requests_per_minute=0,
            sign_in_file=_sign_in_file(folder),
            bearer_file=_bearer_file(folder),
        )
        self.world = world
        with mock.patch.object(bootstrap, "_registry", return_value=MemoryRegistry(Clock())):
            built = bootstrap.build(settings)
        self.backend: Backend = replace(built, **{"changes": world.changes, **services})
        self.application = api.build(lambda: self.backend)
        self.client = TestClient(self.application, raise_server_exceptions=False)
        self.tokens: dict[str, str] = {}

    @property
    def document(self) -> dict[str, Any]:
        return _document()

    def token(self, name: str) -> str:
        """A token of a demo identity, made once."""
        if name not in self.tokens:
            actor = self.backend.identities.act_as(name)
            self.tokens[name] = self.backend.tokens.create(actor, "tests").text
        return self.tokens[name]

    def __call__(
        self,
        method: str,
        path: str,
        sent: Any = None,
        *,
        by: str | None = "ana",
        token: str | None = None,
        status: int = 200,
        **headers: str,
    ) -> Any:
        """One request; its answer's content, which has that status and the form that the document promises."""
        answer = self.asked(method, path, sent, by=by, token=token, **headers)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text[:600])
        return answer.json() if answer.content else None

    def asked(
        self, method: str, path: str, sent: Any = None, *, by: str | None = "ana", token: str | None = None, **headers: str
    ) -> Response:
        """The whole answer, which has the form that the document promises."""
        text = token or (self.token(by) if by is not None else None)
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        told |= {"authorization": f"Bearer {text}"} if text is not None else {}
        answer = self.client.request(method, V1 + path, json=sent, headers=told)
        self.check(method, path, answer)
        return answer

    def tag(self, path: str, *, by: str = "ana") -> str:
        """The tag of what there is now."""
        return str(self.asked("GET", path, by=by).headers["etag"])

    def refused(self, code: str, method: str, path: str, sent: Any = None, *, status: int, **options: Any) -> dict[str, Any]:
        """The error that a request gets."""
        error: dict[str, Any] = self(method, path, sent, status=status, **options)
        assert (error["code"], error["status"]) == (code, status), error
        assert code in problem_codes.names(), "docs/api.md lists every code"
        assert error["type"] == f"urn:countersign:problem:{code}"
        assert error["detail"]
        assert error["remedy"]
        return error

    def check(self, method: str, path: str, answer: Response) -> None:
        """That the document describes this answer, whole: nothing more is in it and nothing less."""
        told = self.operation(method, path)["responses"]
        assert str(answer.status_code) in told, (method, path, answer.status_code, answer.text[:600])
        if "content" not in told[str(answer.status_code)]:
            assert not answer.content, (method, path)
            return
        media = answer.headers["content-type"].partition(";")[0]
        self.fits(told[str(answer.status_code)]["content"][media]["schema"], answer.json())

    def fits(self, schema: Any, content: Any) -> None:
        """That a schema of the document describes a content."""
        jsonschema.Draft202012Validator({**_closed(schema), "components": _closed_components()}).validate(content)

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """The operation that the document has for a request."""
        bare = V1 + path.partition("?")[0]
        found = [each for each in self.document["paths"] if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", each), bare)]
        best = min(found, key=lambda each: each.count("{"))
        operation: dict[str, Any] = self.document["paths"][best][method.lower()]
        return operation

    def close(self) -> None:
        self.client.close()
        self.backend.close()


@cache
def _document() -> dict[str, Any]:
    """What the API says of itself: the same for every installation, and drawn once, which takes a second."""
    return api.build(lambda: pytest.fail("the document asks no backend")).openapi()


@cache
def _closed_components() -> Any:
    return _closed(_document()["components"])


def _sign_in_file(folder: Path) -> Path:
    """With one provider, whom nobody calls."""
    file = folder / "sign-in.toml"
    file.write_text(
        f'[auth]\nredirect_uri = "http://localhost:8501/oauth2callback"\ncookie_secret = "{COOKIE_SECRET}"\n'
        f'[auth.corp]\nclient_id = "{CLIENT}"\nclient_secret = "{SECRET}"\n'
        'server_metadata_url = "https://id.example.com/.well-known/openid-configuration"\n'
    )
    return file


def _bearer_file(folder: Path) -> Path:
    """With GitHub, whom nobody calls; or the one that a test names."""
    if "COUNTERSIGN_BEARER_FILE" in os.environ:
        return Path(os.environ["COUNTERSIGN_BEARER_FILE"])
    file = folder / "bearers.toml"
    file.write_text('[github]\nkind = "github"\naudience = "https://countersign.example.com"\n')
    return file


def _closed(schema: Any) -> Any:
    """The same with nothing allowed in objects that is not named."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed(value) for key, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema:
        inner["additionalProperties"] = False
    return inner
