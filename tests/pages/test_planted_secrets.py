"""Recognisable secrets are planted wherever one enters, everything is driven, and every way out is searched for them."""

from __future__ import annotations

import io
import json
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlmodel import select
from starlette.testclient import TestClient

from app import menu
from backend.access.rows import Identity
from backend.api import app as api
from backend.api import readiness
from backend.bootstrap import Backend, build
from backend.core import work
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import CountersignError
from backend.notify.rows import Attempt
from backend.settings import Settings
from backend.worker import logs
from backend.worker.metrics import Metrics
from tests.command_line import CommandLine
from tests.installations import CHURN, FLIGHTS, ROUTER, SERVERS, copied
from tests.live_api import serving
from tests.pages.conftest import _opener, _wired, raw

MAIL_PASSWORD, HOOK_PATH, SERVICE_TOKEN = "PLANTED-mail-password-2d3e", "PLANTED-webhook-path-6b7c", "PLANTEDgotify8d9e"
PLANTED = {
    "a server's credential": "PLANTED-server-credential-9f8e",
    "a router's credential": "PLANTED-router-credential-7d6c",
    "a credential that was refused": "PLANTED-refused-credential-5b4a",
    "a credential in a file": "PLANTED-file-credential-3c2d",
    "the MLflow token": "PLANTED-mlflow-token-1e0f",
    "the client secret": "PLANTED-client-secret-of-the-provider-2a3b",
    "the cookie secret": "PLANTED-cookie-secret-0123456789abcdef-4c5d",
    "the database's password": "PLANTED-database-password-6e7f",
    "the store's key": "PLANTED-store-secret-key-8a9b",
    "a JWT": f"eyJhbGciOiJSUzI1NiJ9.{b64encode(json.dumps({'sub': 'PLANTED-jwt-subject'}).encode()).decode()}.c2ln",
    "a credential in the environment": "PLANTED-environment-credential-0b1c",
    "the mail server's password": MAIL_PASSWORD,
    "the registry's webhook secret": "PLANTED-registry-webhook-secret-4f5a",
    "a webhook's path": HOOK_PATH,
    "a service's token": SERVICE_TOKEN,
    "a token that is not good": f"cst_{'p1anted' * 4}_{'0' * 52}"[:84],
}


def _signed(**claims: str) -> str:
    """The form of a signed token of an issuer that the settings name; its signature is nobody's."""
    parts = [{"alg": "RS256", "kid": "k", "typ": "at+jwt"}, {"exp": 4102444800, "iat": 1767225600, **claims}]
    return ".".join([*(b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts), "UExBTlRFRC1zaWduYXR1cmU"])


class Echo:
    """A server that fails and repeats, in every answer, whatever it was sent."""

    other: Echo
    third: Echo
    receiver: Echo

    def __init__(self) -> None:
        heard: list[str] = []

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = self.rfile.read(int(self.headers.get("content-length", 0))).decode("latin-1")
                told = json.dumps({"error": f"{dict(self.headers)} {sent}", "error_code": f"{dict(self.headers)}"}).encode()
                heard.append(told.decode())
                self.send_response(500 if "load" in self.path else 400)
                self.send_header("content-length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names are http.server's

            def log_message(self, *_: Any) -> None:
                return

        self.heard = heard
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def echo() -> Iterator[Echo]:
    """One, and others beside it: each server has an address of its own, and so has who receives messages."""
    made = Echo()
    made.other, made.third, made.receiver = Echo(), Echo(), Echo()
    yield made
    for one in (made, made.other, made.third, made.receiver):
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def planted(filled: Path, tmp_path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """A filled installation whose settings hold planted secrets, from files and from the environment."""
    folder = copied(filled, tmp_path / "data")
    secret = tmp_path / "client-secret"
    secret.write_text(PLANTED["the client secret"])
    token = tmp_path / "mlflow-token"
    token.write_text(PLANTED["the MLflow token"] + "\n")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "kept").write_text(PLANTED["a credential in a file"])
    (tmp_path / "credentials" / "kept.origins").write_text(echo.other.url)
    sign_in = tmp_path / "sign-in.toml"
    sign_in.write_text(
        f'[auth]\nredirect_uri = "http://localhost:8501/oauth2callback"\ncookie_secret = "{PLANTED["the cookie secret"]}"\n'
        f'[auth.corp]\nclient_id = "countersign"\nclient_secret_file = "{secret}"\n'
        f'server_metadata_url = "{echo.url}/.well-known/openid-configuration"\n'
    )
    bearers = tmp_path / "bearers.toml"
    bearers.write_text(f'[builds]\nkind = "access"\nissuer = "{echo.url}"\naudience = "countersign-api"\n')
    for name, value in {
        "CREDENTIAL_KEPT": PLANTED["a credential in the environment"], "CREDENTIAL_KEPT_ORIGINS": echo.third.url,
        "MAIL_URL": f"mailto://me:{MAIL_PASSWORD}@127.0.0.1:1?from=countersign@corp.example",
        "MLFLOW_WEBHOOK_SECRET": PLANTED["the registry's webhook secret"], "BEARER_FILE": str(bearers),
        "SIGN_IN_FILE": str(sign_in), "MLFLOW_URL": echo.url, "MLFLOW_TOKEN_FILE": str(token),
        "ALLOWED_NETWORKS": "127.0.0.0/8", "MESSAGE_NETWORKS": "127.0.0.0/8",
        "CREDENTIALS_DIR": str(tmp_path / "credentials"),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"COUNTERSIGN_{name}", value)
    yield from _wired(folder, monkeypatch)


def test_no_planted_secret_comes_out_anywhere(planted: Backend, echo: Echo, tmp_path: Path) -> None:
    written, said = io.StringIO(), dict[str, str]()
    sign_in = planted.sign_in
    assert sign_in is not None
    secrets = [*logs.secrets_of(planted.settings), *sign_in.secrets]
    logs.configure("DEBUG", worker="test", secrets=secrets, stream=written)
    log = structlog.get_logger()

    def tried(what: str, call: Callable[[], object]) -> None:
        """What it raises is kept as everybody could see it, and logged with its traceback as a door would."""
        try:
            said[what] = repr(call())
        except CountersignError as error:
            said[what] = f"{error} {error!r} {getattr(error, 'facts', '')} {error.__cause__!r}"
            log.error("tried", exc_info=error)

    token = _drive(planted, echo, tried)
    made = {**PLANTED, "an API token": token, **_private_keys(planted.settings.data_dir / "keys")}
    made |= _messages(planted, echo, tried)
    made["a bearer token"] = _signed(iss=echo.url, aud="countersign-api", sub="builder")
    assert any(PLANTED["a server's credential"] in one for one in echo.heard), "the secret really was sent, and repeated"
    assert any(PLANTED["the MLflow token"] in one for one in echo.heard)
    assert any(PLANTED["a credential in a file"] in one for one in echo.other.heard)
    assert any(PLANTED["a credential in the environment"] in one for one in echo.third.heard)
    said |= _settings(planted, tmp_path) | _doors(planted, made["a bearer token"]) | _pages()
    said |= _command_line(planted.settings.data_dir) | _logged_in(planted, tmp_path / "config", made)
    said["the database"] = _dump(planted.settings.data_dir / "countersign.db")
    said["metrics"] = _metrics()
    said["the log"] = written.getvalue()
    assert len(said["the log"]) > 1000
    assert len(said["the database"]) > 100_000
    leaks = [(where, what) for where, text in said.items() for what, value in made.items() if value in text]
    assert leaks == []


def _drive(backend: Backend, echo: Echo, tried: Callable[[str, Callable[[], object]], None]) -> str:
    """Everything that a secret passes through: registration, tests, a pass of the worker, moves, refusals, sign-in, MLflow."""
    olga, otto = backend.identities.act_as("olga"), backend.identities.act_as("otto")
    settings = {"url": echo.url, "model_repository": "/srv/models", "credential_header": "authorization"}
    where = {"kind": "triton", "settings": settings, "upstream": "127.0.0.1:8001"}
    add, servers = backend.servers.register, backend.servers
    backend.servers.register(olga, name="leaky", credential=PLANTED["a server's credential"], **where)
    other = {**where, "settings": {**settings, "url": echo.other.url, "model_repository": "/srv/others"}}
    add(olga, name="filed", credential_from="file:kept", **{**other, "upstream": "127.0.0.1:8002"})
    third = {**where, "settings": {**settings, "url": echo.third.url, "model_repository": "/srv/third"}}
    add(olga, name="told", credential_from="env:KEPT", **{**third, "upstream": "127.0.0.1:8003"})
    refused = PLANTED["a credential that was refused"]
    tried("a refused credential", lambda: add(olga, name="no", credential=f"{refused}\nx", **where))
    for what, wrong in {
        "a secret in a URL": {"url": f"http://a:{refused}@b"},
        "a secret in a query": {"url": f"{echo.url}?k={refused}"},
        "a secret as a setting": {"timeout_seconds": refused},
        "a secret as a header": {"credential_header": refused + " "},
    }.items():
        meant = {**settings, **wrong}
        tried(what, lambda meant=meant: servers.edit(olga, "leaky", revision=1, settings=meant))  # type: ignore[misc]
    tried("a secret as a reference", lambda: add(olga, name="no", credential_from=refused, **where))
    envoy = {"admin_url": echo.url, "routes_file": "/srv/r.json", "clusters_file": "/srv/c.json"}
    tried("a router", lambda: servers.register_router(
        olga, name="leaky-edge", kind="envoy", settings=envoy, public_url="http://127.0.0.1:10000",
        credential=PLANTED["a router's credential"],
    ))  # fmt: skip
    for name in ("leaky", "filed", "told"):
        tried(f"a test of {name}", lambda name=name: servers.test(olga, name))  # type: ignore[misc]
        tried(f"what runs on {name}", lambda name=name: servers.unmanaged(olga, name))  # type: ignore[misc]
    tried("a test of a router", lambda: servers.test_router(olga, "leaky-edge"))
    tried("an adoption", lambda: backend.endpoints.create(
        olga, name="leaking", environment="dev", model=FLIGHTS, server="leaky", served_name="leaking"
    ))  # fmt: skip
    _one_pass(backend, tried)
    tried("a rotation", lambda: backend.sealing_keys.rotate(otto))
    tried("tending", backend.sealing_keys.tend)
    tried("a new ledger key", lambda: backend.audit.rotate_key(otto).next_id)
    tried("a head", backend.audit.export_head)
    tried("a version", lambda: backend.versions.register(backend.identities.act_as("ana"), FLIGHTS, 99))
    tried("a look at the registry", lambda: backend.mirror.mirror_all())
    tried("a provider", lambda: backend.providers.ask(backend.sign_in.providers[0]))  # type: ignore[union-attr]
    tried("a session", lambda: backend.sessions.open({"provider": "corp", "sub": "x"}, PLANTED["a JWT"]))
    tried("a logout", lambda: backend.sessions.provider_logout(PLANTED["a JWT"]))
    return backend.tokens.create(backend.identities.act_as("audra"), "planted").text


def _messages(backend: Backend, echo: Echo, tried: Callable[[str, Callable[[], object]], None]) -> dict[str, str]:
    """Routes whose addresses hold secrets, and a message on each; what else was made on the way."""
    olga, routes = backend.identities.act_as("olga"), backend.routes
    with backend.database.unit(SYSTEM) as tx:
        row = tx.session.exec(select(Identity).where(Identity.id == olga.id)).one()
        row.email = "olga@corp.example"
        tx.record("identity.describe", row)
    hook = routes.add(olga, "hook", f"{echo.receiver.url}/{HOOK_PATH}")
    gotify = f"gotify://{echo.receiver.url.removeprefix('http://')}/{SERVICE_TOKEN}"
    for what, call in {
        "a route": lambda: routes.add(olga, "service", gotify).id,
        "a wrong address": lambda: routes.add(olga, "wrong", f"evil://{SERVICE_TOKEN}@x"),
        "a test of a webhook": lambda: routes.test(olga, "hook"), "a test of a service": lambda: routes.test(olga, "service"),
        "a test of mail": lambda: routes.test(olga, "mail"), "another secret": lambda: routes.rotate(olga, "hook").id,
        "a hint": lambda: backend.registry_hooks.take({"x-mlflow-signature": "v1,x"}, b"{}"),
    }.items():  # fmt: skip
        tried(what, call)
    for claim in work.claim(backend.database, "route", holder="w", seconds=60, limit=50):
        tried(f"messages on {claim.key}", lambda claim=claim: backend.courier.handle(claim))  # type: ignore[misc]
    with backend.database.read() as session:
        tries = session.exec(select(Attempt)).all()
    assert len(tries) == 3, tries
    return {"a webhook's signing secret": hook.secret or "", "a signing key": (hook.secret or "").removeprefix("whsec_")}


def _one_pass(backend: Backend, tried: Callable[[str, Callable[[], object]], None]) -> None:
    """The worker's pass over everything that is due; it keeps what went wrong."""
    for claim in work.claim(backend.database, "server", holder="w", seconds=60, limit=50):
        tried(f"a pass over {claim.key}", lambda claim=claim: backend.reconciler.handle(claim))  # type: ignore[misc]


def _private_keys(folder: Path) -> dict[str, str]:
    found = {one.name: one.read_text() for one in folder.glob("*.key")}
    assert len(found) >= 2
    return found


def _settings(backend: Backend, folder: Path) -> dict[str, str]:
    """What can be printed by accident, and what a database and a store say that are not there."""
    database, store = PLANTED["the database's password"], PLANTED["the store's key"]
    settings = Settings(
        data_dir=folder / "elsewhere", database_url=f"postgresql+psycopg://me:{database}@127.0.0.1:1/x",
        package_store_url=f"ftp://AKIA:{store}@127.0.0.1:1/packages", ledger_heads_url=f"ftp://AKIA:{store}@127.0.0.1:1/heads",
        inference_log_url=f"ftp://AKIA:{store}@127.0.0.1:1/log",
    )  # fmt: skip
    written = io.StringIO()
    with closing(build(settings)) as made:
        logs.configure("DEBUG", worker="test", secrets=logs.secrets_of(settings), stream=written)
        said = {"settings": f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"}
        said["the backend"] = f"{backend!r} {backend} {made!r}"
        said["readiness"] = repr(readiness.lacks(made))
        for what, call in {
            "a database": lambda: Database(settings.sqlalchemy_url).now(),
            "a store": lambda: made.packages.path("sha256:" + "0" * 64) if hasattr(made.packages, "path") else made.packages,
            "heads": lambda: made.audit.verify(),
        }.items():
            try:
                call()
            except Exception as error:
                said[what] = str(error) if isinstance(error, CountersignError) else ""
                structlog.get_logger().error("failed", exc_info=error)
    return {**said, "the other log": written.getvalue()}


def _doors(backend: Backend, bearer: str) -> dict[str, str]:
    """Every GET of the API, by somebody who may read everything; and by tokens that are not good."""
    client = TestClient(api.build(lambda: backend), raise_server_exceptions=False)
    token = backend.tokens.create(backend.identities.act_as("otto"), "reads").text
    said = {}
    names = {"model": FLIGHTS, "endpoint": "leaking", "change": "1", "server": "leaky", "router_name": "leaky-edge",
             "number": "1", "environment": "production", "row": "1", "route": "hook"}  # fmt: skip
    for path, operations in client.app.openapi()["paths"].items():  # type: ignore[attr-defined]
        if "get" not in operations:
            continue
        address = path
        for part, value in names.items():
            address = address.replace(f"{{{part}}}", value)
        answer = client.get(address, headers={"authorization": f"Bearer {token}"}, params={"limit": 200})
        said[f"GET {path}"] = answer.text.replace(token, "") + str(answer.headers)
    for what, wrong in (("JWT", PLANTED["a JWT"]), ("token", PLANTED["a token that is not good"]), ("bearer", bearer)):
        answer = client.get("/v1/models", headers={"authorization": f"Bearer {wrong}"})
        assert answer.status_code in (401, 503)
        said[f"a wrong {what}"] = answer.text + str(answer.headers)
    said["a hint"] = client.post("/v1/hooks/mlflow", json={}, headers={"x-mlflow-signature": "v1,x"}).text
    said["a logout token"] = client.post("/v1/sign-in/backchannel-logout", data={"logout_token": PLANTED["a JWT"]}).text
    assert sum("leaky" in text for text in said.values()) >= 2
    return said


def _pages() -> dict[str, str]:
    """Every page, with all that was handed to the browser, as an operator where there is something to operate."""
    opened, said = _opener(), dict[str, str]()
    queries: dict[str, dict[str, str]] = {
        "server": {"server": "leaky"}, "endpoint": {"endpoint": "leaking"}, "admin": {"part": "Servers"},
        "model": {"model": FLIGHTS}, "card": {"model": CHURN}, "change": {"change": "1"}, "ledger_row": {"row": "1"},
    }  # fmt: skip
    for page in menu.PAGES:
        for who in ("olga",) if page.file in ("server", "endpoint", "endpoints") else ("otto",):
            test = opened(page.file, who, **queries.get(page.file, {}))
            said[f"{page.file} as {who}"] = raw(test) + repr(test)
    assert "leaky" in said["server as olga"]
    return said


def _command_line(folder: Path) -> dict[str, str]:
    run = CommandLine(data_dir=str(folder), demo_identities="true")
    said = {}
    for command in ("doctor", "server list", "router list", "secrets status", "audit log --limit 1000", "notify routes",
                    "notify log", "export"):  # fmt: skip
        answer = run(*command.split(), by=None if command == "doctor" else "otto")
        said[command] = json.dumps(answer.content) + answer.said
    assert {ROUTER, *SERVERS} <= set(json.dumps(said).replace('"', " ").replace("\\", " ").split())
    return said


def _logged_in(backend: Backend, folder: Path, made: dict[str, str]) -> dict[str, str]:
    """`login` keeps a token in a file of one's own, and neither it nor any other command says it."""
    token = backend.tokens.create(backend.identities.act_as("audra"), "at home").text
    made["a token that `login` kept"] = token
    run = CommandLine(config_dir=str(folder))
    with serving(api.build(lambda: backend)) as url:
        answers = {
            "login by a wrong token": run("login", "--url", url, given=PLANTED["a token that is not good"] + "\n"),
            "login": run("login", "--url", url, given=token + "\n"),
            "whoami": run("whoami"),
            "models": run("model", "list"),
            "a refusal": run("server", "register", "x", "--kind", "memory", "--upstream", "memory:x"),
        }
        answers["login by nothing"] = run("login", "--url", url.replace("http", "ftp"), given=token + "\n")
    answers["a server that is gone"] = run("whoami")
    (kept,) = folder.iterdir()
    assert token in kept.read_text()
    assert (kept.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert {"login": 0, "whoami": 0, "a refusal": 2}.items() <= {what: one.code for what, one in answers.items()}.items()
    return {what: json.dumps(one.content) + one.said for what, one in answers.items()}


def _dump(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump())


def _metrics() -> str:
    metrics = Metrics()
    metrics.handled("server", "failed", 1.0)
    server = metrics.serve(0)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        import httpx

        return httpx.get(f"http://127.0.0.1:{server.server_port}/metrics").text
    finally:
        server.shutdown()
        server.server_close()


def test_the_search_finds_what_is_planted(planted: Backend) -> None:
    """Written into a governed row as it should never be, a secret is found in the dump and by the API."""
    with planted.database.unit(SYSTEM) as tx:
        tx.record("server.edit", ("server", "x"), after={"credential": PLANTED["a server's credential"]})
    assert PLANTED["a server's credential"] in _dump(planted.settings.data_dir / "countersign.db")
    assert any(PLANTED["a server's credential"] in text for text in _doors_after_leak(planted))


def _doors_after_leak(backend: Backend) -> list[str]:
    client = TestClient(api.build(lambda: backend), raise_server_exceptions=False)
    token = backend.tokens.create(backend.identities.act_as("audra"), "reads").text
    return [client.get("/v1/audit/events?limit=5", headers={"authorization": f"Bearer {token}"}).text]
