"""A real MLflow 3.17 sends the webhooks that `backend.registry.hooks` takes, and what has to be set for that.

By default it sends to https and public addresses alone (CVE-2026-2393): a webhook to this machine is refused when it is made.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from backend.core.database import Database
from backend.core.errors import Refusal
from backend.embedded import mlflow
from backend.embedded.mlflow import MlflowServer, start_mlflow
from backend.embedded.supervisor import Supervisor
from backend.registry.hooks import Hooks
from tests.receivers import Web, web

SECRET = "a secret of the tests, long enough"
pytestmark = pytest.mark.slow
sqlite = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)
LOCAL = {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}


@pytest.fixture
def sending_server(runtime_group: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """An MLflow that may send to this machine."""
    monkeypatch.setattr(mlflow, "_QUIET", {**mlflow._QUIET, **LOCAL})
    monkeypatch.setattr(mlflow, "NAME", "mlflow-webhooks")
    server = start_mlflow(runtime_group, tmp_path / "mlflow")
    yield server
    server.child.stop()


def call(server: MlflowServer, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/api/2.0/mlflow/{path}", json=body, timeout=30)


def made(server: MlflowServer, url: str) -> httpx.Response:
    events = [{"entity": "REGISTERED_MODEL", "action": "CREATED"}, {"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}]
    return call(server, "webhooks", name=f"w-{uuid.uuid4().hex[:6]}", url=url, secret=SECRET, events=events)


def until_taken(receiver: Web, count: int) -> None:
    end = time.monotonic() + 60
    while len(receiver.taken) < count:
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)


@sqlite
def test_what_a_real_server_sends_is_taken_once_and_wakes_the_mirror_of_its_model(
    sending_server: MlflowServer, real_time_database: Database
) -> None:
    hooks = Hooks(real_time_database, SecretStr(SECRET))
    with web() as receiver:
        answer = made(sending_server, receiver.url)
        assert answer.status_code == 200, answer.text
        assert call(sending_server, "registered-models/create", name="churn *v*").status_code == 200
        until_taken(receiver, 1)
    taken = receiver.taken[0]
    assert hooks.take(taken.headers, taken.body) == "churn *v*"
    with pytest.raises(Refusal, match="taken already"):
        hooks.take(taken.headers, taken.body)
    with pytest.raises(Refusal, match="not signed"):
        hooks.take(taken.headers, taken.body + b" ")
    with pytest.raises(Refusal, match="not signed"):
        Hooks(real_time_database, SecretStr("another secret of the tests")).take(taken.headers, taken.body)


def test_a_server_as_it_is_set_up_by_default_sends_to_no_private_address(mlflow_server: MlflowServer) -> None:
    for url in ("http://127.0.0.1:9/x", "https://127.0.0.1:9/x", "https://169.254.169.254/x"):
        assert made(mlflow_server, url).status_code == 400, url
