"""Attacks that systems of this kind fell to, each under its number: what it was there, and that it leads nowhere here.

What each was is told from public advisories and write-ups of it (NVD, GitHub's advisories, SentinelOne's and others' pages).
"""

from __future__ import annotations

import ast
import json
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from app.edge import Edge
from backend.api import app as api
from backend.api.guard import PUBLIC
from backend.bootstrap import Backend
from backend.core.database import Database
from backend.core.errors import CountersignError, ExternalFailure, Refusal
from backend.core.outbound import Guard
from backend.core.sealed import Sealer
from backend.delivery.targets.port import Access
from backend.delivery.targets.triton import TritonTarget
from backend.notify.routes import Routes
from backend.registry.intake import Intake
from backend.registry.mlflow import MlflowRegistry
from backend.registry.port import VersionFacts
from tests.services.delivery.surroundings import Surroundings, refused
from tests.services.registry.worlds import World, archive

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = ["127.0.0.0/8"]
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get", "DELETE ", "X-Y")


class Hostile:
    """A server that gives every request the answer of `answers` for its path, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[str] = []
        self.location: str | None = None
        hostile = self

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                hostile.asked.append(self.path)
                status, content = hostile.answers.get(urlsplit(self.path).path, (404, {}))
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                if hostile.location:
                    self.send_header("location", hostile.location)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - the name is http.server's

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    made = Hostile()
    yield made
    made.server.shutdown()
    made.server.server_close()


# CVE-2023-1177, CVE-2023-2780, CVE-2024-1560, CVE-2025-11201: the `source` of a model version

SOURCES = (
    "/etc", "file:///etc", "file://localhost/etc", "//proc/self/root/etc", "../../../../etc", "./../etc", "..\\..\\etc",
    "C:\\x",
    "mlflow-artifacts:/../../../etc", "mlflow-artifacts:/a/../../etc", "mlflow-artifacts:/%2e%2e/%2e%2e/etc",
    "mlflow-artifacts:/%252e%252e/etc", "mlflow-artifacts:///etc/../..", "runs:/r1/../../../etc", "runs:/r1/%2e%2e/%2e%2e/etc",
    "runs:/r1/a/../../b", "http:///#/../../../../etc/", "http://evil.example/model", "ftp://evil.example/x", "s3://bucket/../x",
    "models:/m-1/../../etc", "models:/other/1", "dbfs:/etc", "hdfs:///etc", "", "\x00", "mlflow-artifacts:/\x00",
)  # fmt: skip


def test_cve_2023_1177_2780_2024_1560_2025_11201_a_source_of_a_version_leads_to_no_file(hostile: Hostile) -> None:
    """MLflow took the `source` of a version from whoever created it and read, deleted or wrote where it led.

    By an absolute path (CVE-2023-1177), by a path that its check read otherwise (2023-2780), by a path that was decoded twice
    (2024-1560), and by one that was not checked before it was used (2025-11201). Here a source is never opened: files come
    from MLflow over HTTP by paths that are checked, and none of these sources is handed on.
    """
    here, now = "/api/2.0/mlflow", datetime.now(UTC)
    registry = MlflowRegistry(hostile.url, Guard(LOOPBACK))
    hostile.answers[f"{here}/runs/get"] = (200, {"run": {"info": {"run_id": "r1", "artifact_uri": "s3://bucket/r1"}}})
    for source in SOURCES:
        version = VersionFacts("m", 1, now, now, source=source, run_id="r1")
        for resolved in (source, ""):
            hostile.answers[f"{here}/model-versions/get-download-uri"] = (200, {"artifact_uri": resolved})
            for fetch in (registry.files, registry.download):
                more = ("x",) if fetch == registry.download else ()
                with pytest.raises(CountersignError):
                    found = fetch(version, *more, limit=10)
                    found.__enter__()
    assert hostile.asked
    for asked in hostile.asked:
        parts = urlsplit(asked)
        handed_on = [unquote(parts.path), *(one for values in parse_qs(parts.query).values() for one in values)]
        assert not [one for one in handed_on if ".." in one.split("/") or "%" in one], asked


# CVE-2026-2393: a webhook's URL


METADATA = (
    "http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/latest", "http://100.100.100.200/latest",
    "http://168.63.129.16/machine", "http://2852039166/", "http://[::ffff:169.254.169.254]/", "http://127.0.0.1:9/hook",
)  # fmt: skip


@SQLITE
@pytest.mark.parametrize("url", METADATA)
def test_cve_2026_2393_an_address_that_somebody_enters_does_not_lead_to_metadata(
    database: Database, tmp_path: Path, url: str
) -> None:
    """MLflow kept the URL of a webhook as it was entered and sent to it, a cloud's metadata service included.

    Here every address that is entered is judged as it is kept, and judged again each time that it is called.
    """
    around = Surroundings(database, tmp_path)
    around.servers._guard = Guard()
    triton = {"url": url, "model_repository": "/srv/models"}
    code = "address-not-allowed"
    refused(code, around.server, kind="triton", settings=triton, upstream="93.184.216.34:8000")
    host = urlsplit(url).netloc if ":" in urlsplit(url).netloc.rpartition("]")[2] else f"{urlsplit(url).netloc}:80"
    with pytest.raises(Refusal):
        around.server(kind="triton", settings={**triton, "url": "http://93.184.216.34"}, upstream=host)
    refused(code, around.behind_router, admin_url=f"http://{urlsplit(url).netloc}")
    refused(code, around.behind_router, admin_url="http://93.184.216.34", public_url=url)
    routes = Routes(database, Guard(), lambda: Sealer.from_folder(tmp_path / "keys"))
    refused(code, routes.add, around.as_("olga"), "hook", url)
    with mock.patch("socket.create_connection", side_effect=AssertionError("it was called")):
        refused(code, Guard().client(url).post, "/", json={})


# CVE-2026-0545, CVE-2023-48022, CVE-2026-27482: what is answered without anybody having signed in


def untouchable() -> Backend:
    raise AssertionError("the backend was touched")


@cache
def addresses() -> list[str]:
    """Every address of the API, and some that other systems have."""
    ours = [path.replace("{", "").replace("}", "") for path in api.build(untouchable).openapi()["paths"]]
    others = ["/v1/jobs", "/v1/jobs/", "/ajax-api/3.0/jobs/", "/api/jobs/", "/v1/models/../jobs", "/v1/;/changes", "/V1/models"]
    scim = ["/v1/scim/v2/Users", "/v1/scim/v2/Groups/x", "/v1/scim/v2/corp/Users"]
    return sorted({*ours, *others, *scim} - PUBLIC)


def test_cve_2026_0545_2023_48022_no_operation_is_answered_without_a_token() -> None:
    """MLflow's job endpoints stood beside the application that asked for passwords, and Ray's jobs API asked for nothing.

    Whoever reached them ran jobs. Here one door stands before every route, known or not, whatever the method.
    """
    client = TestClient(api.build(untouchable), raise_server_exceptions=True)
    for path in addresses():
        for method in METHODS:
            answer = client.request(method, path, content=b"{}")
            assert answer.status_code in (400, 401), (method, path, answer.status_code)


def test_cve_2026_27482_no_method_is_forgotten_where_other_origins_are_refused() -> None:
    """Ray's dashboard refused POST and PUT that came from a browser's page of another site, and forgot DELETE. Here what is
    refused does not depend on the method."""
    edge = Edge(Starlette(routes=[Mount("/api", app=api.build(untouchable))]))
    client = TestClient(edge, base_url="http://127.0.0.1:8501")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:5000", "https://127.0.0.1.evil.example"):
        for method in METHODS:
            answer = client.request(method, "/api/v1/endpoints/flight-delay", headers={"origin": origin})
            assert answer.status_code == 403, (method, origin)
    rebound = TestClient(edge, base_url="http://rebound.example:8501")
    assert {rebound.request(method, "/api/v1/health").status_code for method in METHODS} == {403}
    with pytest.raises(WebSocketDisconnect):
        client.websocket_connect("/api/v1/changes").__enter__()


# CVE-2026-4137: a temporary folder that others may write to


@SQLITE
def test_cve_2026_4137_nobody_else_may_exchange_what_is_being_unpacked_or_built(database: Database, tmp_path: Path) -> None:
    """MLflow made the folder into which it downloads a model writable for everybody (0o777) or the group (0o770).

    So somebody else on the machine exchanged a pickle before it was loaded. Here such folders are their process's alone,
    whatever the umask, and nothing in them is ever loaded: digests are taken of what is stored, and compared.
    """
    world = World(database)
    modes: dict[str, int] = {}
    real = world.memory.log_version

    def log_version(model: str, folder: Path, **more: Any) -> VersionFacts:
        scratch = next(one for one in (folder, *folder.parents) if one.name.startswith("countersign-"))
        modes["scratch"] = stat.S_IMODE(scratch.stat().st_mode)
        return real(model, folder, **more)

    world.memory.log_version = log_version  # type: ignore[method-assign]
    intake = Intake(database, world.versions, tmp_path / "uploads")
    before = os.umask(0)
    try:
        packed = BytesIO(archive(tmp_path / "x.zip").read_bytes())
        done = intake.wait(intake.upload(world.act_as("ana"), "delay", packed, "x.zip"))
    finally:
        os.umask(before)
    modes["uploads"] = stat.S_IMODE((tmp_path / "uploads").stat().st_mode)
    assert (done.state, modes) == ("done", {"scratch": 0o700, "uploads": 0o700})


def test_cve_2026_4137_no_file_is_made_for_others_to_write_or_under_a_name_that_others_know() -> None:
    """Every mode that is written in the code, and every temporary name."""
    wrong = []
    for path in [one for folder in ("backend", "app") for one in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            modes = [
                one.value for one in [*node.args, *(each.value for each in node.keywords)] if isinstance(one, ast.Constant)
            ]
            open_to_all = [one for one in modes if isinstance(one, int) and one & 0o022]
            if (name in ("mkdir", "chmod", "fchmod", "makedirs") and open_to_all) or name in ("mktemp", "gettempdir"):
                wrong.append((path.name, node.lineno))
    assert wrong == []


# CVE-2023-43654, CVE-2024-35198: past a list of allowed addresses


@pytest.mark.parametrize("location", ["http://169.254.169.254/", "file:///etc/passwd", "http://127.0.0.1:1/model.mar"])
def test_cve_2023_43654_2024_35198_a_list_of_addresses_is_not_passed_by_a_redirect_or_by_dots(
    hostile: Hostile, location: str
) -> None:
    """TorchServe fetched models from any address by default (CVE-2023-43654); its list was passed by `..` (2024-35198).

    The issue names a redirect past such a list besides. Here the list is one of networks, asked of the address that is
    connected to: a path says nothing to it, and no redirect is followed.
    """
    hostile.location = location
    hostile.answers = {"/": (302, b""), "/etc": (302, b"")}
    guard = Guard(LOOPBACK)
    for path in ("/", "/allowed/../../etc", "//169.254.169.254/etc", "/@169.254.169.254/"):
        answer = guard.client(hostile.url).get(path)
        assert answer.history == []
    assert all(one.startswith("/") for one in hostile.asked)
    assert len(hostile.asked) == 4
    for past in ("/../169.254.169.254/", "/%2e%2e/@169.254.169.254"):
        with pytest.raises(Refusal):
            Guard(["10.0.0.0/8"]).client(f"{hostile.url}{past}").get("")


# CVE-2025-23319: what a failing server tells of its inside

INNER = "triton_python_backend_shm_region_4f50c226-b3d0-46e8-ac59-d4690b28b859"


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_cve_2025_23319_what_a_failing_server_says_of_its_inside_is_told_to_nobody(
    hostile: Hostile, tmp_path: Path, status: int
) -> None:
    """Triton's Python backend named its own shared memory in an error.

    Whoever read that could register the memory as his and take over the server. Whatever Triton answers, that name does not
    come through us, in any verb.
    """
    (tmp_path / "models").mkdir()
    settings = {"url": hostile.url, "model_repository": str(tmp_path / "models"), "timeout_seconds": 2}
    target = TritonTarget.connect(settings, Access("srv", None, Guard(LOOPBACK)))
    said = {"error": f"Failed to increase the shared memory pool size for key '{INNER}' to 67108864 bytes at 0x7f12aa34bb00"}
    listed = [{"name": "add", "version": "1", "state": "UNAVAILABLE", "reason": said["error"]}]
    everything = ("/v2", "/v2/health/ready", "/v2/health/live", "/v2/models/stats", "/v2/repository/index")
    for answers in (
        dict.fromkeys(everything, (status, said)),
        {"/v2": (200, {"name": "triton", "version": "2.51.0", "extensions": []}), "/v2/repository/index": (200, listed),
         "/v2/models/stats": (200, {"model_stats": []})},
    ):  # fmt: skip
        hostile.answers = answers
        for verb in (target.inspect, target.observe):
            try:
                told = repr(verb())
            except (Refusal, ExternalFailure) as error:
                told = f"{error} {error!r} {getattr(error, 'facts', '')}"
            assert INNER not in told
            assert "4f50c226" not in told
            assert "0x7f12aa34bb00" not in told
    assert hostile.asked
