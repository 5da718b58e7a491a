"""What a hostile address, name server or server tries on the guard, and that nothing calls out beside it."""

from __future__ import annotations

import ast
import gzip
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest

from backend.core import outbound
from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard, parse_url
from backend.delivery.addresses import check_upstream, check_url

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = ["127.0.0.0/8"]


@pytest.fixture
def answers() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Starts a server that says whatever a test likes, byte for byte; returns its URL."""
    listeners: list[socket.socket] = []

    def start(say: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.recv(65_536)
                    say(connection)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for one in listeners:
        one.close()


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """A name server that gives these answers in turn, the last one for ever; who was asked for."""
    left, asked = list(answers), list[str]()

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        now = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in now]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def connecting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is connected to; what would have been."""
    tried: list[str] = []

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        tried.append(address[0])
        raise OSError("no route in this test")

    monkeypatch.setattr(socket, "create_connection", connect)
    return tried


SPELLINGS = (
    "http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0x7f.0x0.0x0.0x1/", "http://0177.0.0.1/",
    "http://127.1/", "http://127.0.1/", "http://0/", "http://0.0.0.0/", "http://[::]/", "http://[::1]/", "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]/", "http://[::127.0.0.1]/", "http://[64:ff9b::127.0.0.1]/", "http://[2002:7f00:1::]/",
    "http://[2001:0:0:0:0:0:80ff:fffe]/", "http://169.254.169.254/", "http://2852039166/", "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/", "http://169.254.43518/", "http://[fd00:ec2::254]/", "http://100.64.0.1/",
    "http://100.100.100.200/", "http://168.63.129.16/", "http://224.0.0.251/", "http://[ff02::1]/", "http://255.255.255.255/",
    "http://127.0.0.1./", "http://localhost./", "http://LOCALHOST/", "http://[fe80::1]/", "http://[fd12:3456::1]/",
)  # fmt: skip


@pytest.mark.parametrize("url", SPELLINGS)
def test_no_spelling_of_a_private_address_is_called(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = connecting(monkeypatch)
    for ask in (lambda: Guard().check(url), lambda: Guard().client(url).get("/")):
        with pytest.raises((Refusal, ExternalFailure, httpx.ConnectError)) as refused:
            ask()  # a name with a dot at its end is not known everywhere
        assert getattr(refused.value, "code", "bad-url") in ("address-not-allowed", "bad-url")
    assert tried == []


@pytest.mark.parametrize(
    "url",
    [
        "http://public.example@127.0.0.1/", "http://127.0.0.1@public.example/", "http://a:b@public.example/", "http:///etc/passwd",
        "http://public.example\\@127.0.0.1/", "http://127.0.0.1\\.public.example/", "http:\\\\127.0.0.1\\",
        "http://pub lic.example/",
        "http://public.example\t/", "http://public\r\n.example/", "http://public.example\r\nHost: 127.0.0.1/", "http://\x00/",
        "http://public.example%00.evil/", "http://public.example%2f127.0.0.1/", "http://[fe80::1%25eth0]/x y\n", "http://[::1]evil/",
        "http://127.0.0.1:80:80/", "http://public.example:0x50/", "http://public.example:-1/", "http://public.example#@127.0.0.1/",
        "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://ⓛocalhost/", "http://exämple.com/", "http://public.example:８０/",
        "https:public.example", "//public.example/", "HTTP:/public.example", "data:text/plain,x", "gopher://127.0.0.1:6379/_x",
        "file:///etc/passwd", "dict://127.0.0.1/", "unix:///run/docker.sock", "http+unix://%2frun%2fdocker.sock/",
    ],
)  # fmt: skip
def test_an_address_that_can_be_read_in_two_ways_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either it is refused as it stands, or what it is read as is refused; nothing is ever connected to."""
    resolving(monkeypatch, ["127.0.0.1"])
    tried = connecting(monkeypatch)
    for ask in (lambda: Guard().check(url), lambda: check_url(Guard(), url, "the URL"), lambda: Guard().client(url).get("/")):
        with pytest.raises(Refusal):
            ask()
    assert tried == []


@pytest.mark.parametrize(
    "upstream",
    ["127.0.0.1:8000", "2130706433:8000", "0x7f.1:8000", "[::1]:8000", "[::ffff:127.0.0.1]:8000", "a@127.0.0.1:8000",
     "169.254.169.254:80", "localhost.:8000", "[fe80::1%eth0]:8000", "public.example:8000/../x", "public.example:8000\n"],
)  # fmt: skip
def test_a_router_is_led_nowhere_either(upstream: str) -> None:
    with pytest.raises(Refusal):
        check_upstream(Guard(), upstream)


def test_a_name_that_is_rebound_after_it_was_checked_is_refused_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = connecting(monkeypatch)
    asked = resolving(monkeypatch, ["93.184.216.34"], ["169.254.169.254"])
    guard = Guard()
    guard.check("http://rebinding.example/")
    with pytest.raises(Refusal, match=r"169\.254\.169\.254"):
        guard.client("http://rebinding.example").get("/")
    assert (tried, len(asked)) == ([], 2)


def test_what_was_resolved_and_judged_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look-up a connection: there is no second answer that anything could be misled by."""
    tried = connecting(monkeypatch)
    asked = resolving(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    with pytest.raises(httpx.ConnectError):
        Guard().client("http://rebinding.example").get("/")
    assert (tried, asked) == (["93.184.216.34"], ["rebinding.example"])


@pytest.mark.parametrize("found", [["93.184.216.34", "127.0.0.1"], ["10.0.0.1", "93.184.216.34"], ["93.184.216.34", "fd00::1"]])
def test_a_name_with_public_and_private_addresses_is_refused_whole(found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, found)
    with pytest.raises(Refusal) as refused:
        Guard().address("both.example", 80)
    assert refused.value.code == "address-not-allowed"


def test_of_several_private_addresses_the_listed_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is 127.0.0.1 and ::1 on most machines."""
    resolving(monkeypatch, ["::1", "127.0.0.1"])
    assert Guard(LOOPBACK).address("localhost", 80) == "127.0.0.1"


@pytest.mark.parametrize("name", ["metadata.google.internal", "metadata.google.internal.", "instance-data.ec2.internal"])
def test_names_of_metadata_services_lead_nowhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["169.254.169.254"])
    with pytest.raises(Refusal):
        Guard().check(f"http://{name}/computeMetadata/v1/")


@pytest.mark.parametrize(
    ("address", "wider"),
    [("169.254.169.254", "169.254.0.0/16"), ("fd00:ec2::254", "fd00::/8"), ("100.100.100.200", "100.64.0.0/10"),
     ("192.0.0.192", "0.0.0.0/0"), ("168.63.129.16", "168.63.0.0/16"), ("::ffff:169.254.169.254", "0.0.0.0/0")],
)  # fmt: skip
def test_a_wide_range_in_the_settings_does_not_reach_a_clouds_metadata(address: str, wider: str) -> None:
    found = ipaddress.ip_address(address)
    plain = getattr(found, "ipv4_mapped", None) or found
    assert not Guard([wider]).permits(found)
    assert Guard([wider, str(plain)]).permits(found), "listed by itself it is meant"


@pytest.mark.parametrize("port", [22, 25, 2375, 2379, 5432, 6379, 10250, 11211, 27017])
def test_ports_of_other_protocols_are_not_called(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = connecting(monkeypatch)
    with pytest.raises(Refusal) as refused:
        Guard(LOOPBACK).client(f"http://127.0.0.1:{port}").get("/")
    assert (refused.value.code, tried) == ("port-not-allowed", [])


def test_where_ports_are_listed_no_other_is_called() -> None:
    guard = Guard(LOOPBACK, ports="443, 8000-8002")
    assert [port for port in (80, 443, 7999, 8000, 8002, 8003) if guard.permits_port(port)] == [443, 8000, 8002]
    with pytest.raises(Refusal) as refused:
        guard.check("http://127.0.0.1/")
    assert refused.value.code == "port-not-allowed"
    for wrong in ("http", "0", "70000", "9-8", "-1"):
        with pytest.raises(Refusal, match="COUNTERSIGN_ALLOWED_PORTS"):
            Guard(ports=wrong)


def test_a_redirect_past_the_list_is_an_answer_and_not_followed(answers: Callable[..., str]) -> None:
    for status in (301, 302, 303, 307, 308):
        for target in ("http://169.254.169.254/", "/elsewhere"):
            said = f"HTTP/1.1 {status} X\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
            answer = Guard(LOOPBACK).client(answers(lambda connection, said=said: connection.sendall(said))).get("/")
            assert (answer.status_code, answer.history) == (status, [])


def test_a_bomb_is_not_unfolded(answers: Callable[..., str]) -> None:
    bomb = gzip.compress(b"\0" * (32 << 20))
    asked: list[bytes] = []

    def explode(connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        connection.sendall(head.encode() + bomb)

    def listen(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(httpx.DecodingError):
        Guard(LOOPBACK).client(answers(explode)).get("/")
    client = Guard(LOOPBACK).client(answers(listen))
    client.event_hooks["request"] = [lambda request: asked.append(request.headers["accept-encoding"].encode())]
    client.get("/")
    assert asked == [b"identity"]


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n", b"-ERR unknown command\r\n", b"\x00" * 1000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * (1 << 20) + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", b"",
    ],
    ids=lambda said: repr(said[:24]),
)  # fmt: skip
def test_what_is_no_answer_is_an_error_and_nothing_hangs(answers: Callable[..., str], said: bytes) -> None:
    begun = time.monotonic()
    with pytest.raises(httpx.HTTPError):
        Guard(LOOPBACK).client(answers(lambda connection: connection.sendall(said)), timeout=2.0).get("/")
    assert time.monotonic() - begun < 5


def test_an_answer_that_drips_for_ever_ends(answers: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "MAX_ANSWER_SECONDS", 0.4)

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(60):
            connection.sendall(b"x")
            time.sleep(0.05)

    begun = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        Guard(LOOPBACK).client(answers(drip)).get("/")
    assert time.monotonic() - begun < 2


def test_headers_that_would_split_a_request_are_not_sent(answers: Callable[..., str]) -> None:
    url = answers(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    client = Guard(LOOPBACK).client(url, headers={"authorization": "Bearer a\r\nX-Evil: 1"})
    with pytest.raises(httpx.LocalProtocolError):
        client.get("/")


def test_an_address_is_read_once_and_the_same_by_everybody() -> None:
    """The part that checks and the part that connects read one URL with one parser."""
    for url in ("https://models.example:8443/v2", "http://[2001:db8::1]:8000", "http://10.2.0.7:8000"):
        parsed = parse_url(url)
        request = httpx.Request("GET", url)
        assert (parsed.host, parsed.port) == (request.url.host, request.url.port)


def test_a_name_that_nobody_knows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, [])
    with pytest.raises(ExternalFailure):
        Guard().address("nobody.example", 80)


# Nothing calls out beside the guard

CALLS = {"httpx", "httpcore", "requests", "aiohttp", "urllib3", "http.client", "urllib.request", "socket", "ssl", "smtplib",
         "ftplib", "telnetlib", "imaplib", "poplib", "asyncio.streams", "websockets", "websocket", "fsspec", "s3fs", "apprise",
         "paramiko", "grpc", "tritonclient", "authlib.integrations.httpx_client",
         "authlib.integrations.requests_client"}  # fmt: skip
"""Libraries that can reach another machine."""

MAY = {
    "backend/core/confined.py": "asks where certificates lie; it is there to refuse connections",
    "backend/core/outbound.py": "the guard itself",
    "backend/access/providers.py": "names httpx's errors; calls through the guard",
    "backend/cli/here.py": "the API in this process, by httpx's transport for it; nothing listens and nothing is called",
    "backend/client/countersign.py": "names httpx's transport as a type",
    "backend/client/wire.py": "runs where a person does, and calls the server that this person names: TLS, or loopback",
    "backend/delivery/door.py": "names httpx's errors and limits; calls through the guard",
    "backend/delivery/footprint.py": "names of hosts and addresses are compared, and nothing is called",
    "backend/delivery/routers/ads_door.py": "names httpx's errors; calls through the guard",
    "backend/delivery/routers/envoy_admin.py": "names httpx's errors; calls through the guard",
    "backend/delivery/targets/triton.py": "names httpx's errors; calls through the guard",
    "backend/delivery/targets/triton_http.py": "names httpx's errors; calls through the guard",
    "backend/notify/apprise_child.py": "a process of its own, under a hook that asks the guard before every connection",
    "backend/notify/webhooks.py": "names httpx's errors; calls through the guard",
    "backend/registry/mlflow_http.py": "names httpx's errors; calls through the guard",
    "backend/worker/loop.py": "the name of this machine, as part of the worker's",
    "backend/audit/heads.py": "a store that an administrator's settings name",
    "backend/equipment/keys.py": "reads which folder a store's URL means",
    "backend/delivery/store.py": "a store that an administrator's settings name",
    "backend/window_reports/store.py": "a store that an administrator's settings name",
    "backend/metrics/sources/http.py": "names httpx's errors; calls through the guard",
    "backend/inference_log/files.py": "a store that an administrator's settings name",
    "backend/ingest/als_server.py": "listens on loopback for the router's log, and calls nobody",
    "backend/xds/server.py": "listens for Envoys and workers, and calls nobody",
    "backend/xds/streams.py": "answers Envoys, and calls nobody",
    "backend/demo/by_hand.py": "the demo calls what it started itself, on loopback",
    "backend/demo/stack.py": "asks whether a process that it started listens, on loopback",
    "backend/demo/replayer.py": "the demo calls what it started itself, on loopback",
    "backend/embedded/envoy.py": "what was started here, on loopback",
    "backend/embedded/envoy_ads.py": "what was started here, on loopback",
    "backend/embedded/group.py": "ports of this machine",
    "backend/embedded/launch.py": "what was started here, on loopback",
    "backend/embedded/mlflow.py": "what was started here, on loopback",
    "backend/embedded/own.py": "what was started here, on loopback",
    "backend/embedded/ports.py": "ports of this machine",
    "backend/embedded/supervise.py": "a socket between two processes of this machine",
    "backend/embedded/supervisor.py": "a socket between two processes of this machine",
    "backend/embedded/triton.py": "what was started here, on loopback",
}
"""Who imports one of them, and why it reaches nobody that a user named. A new file has to be argued for here."""
UNGUARDED = {"Client", "AsyncClient", "get", "post", "put", "delete", "head", "request", "stream", "create_connection"}
OF_PERSONS = "backend/client/wire.py"
HERE_ALONE = {one for one in MAY if one.startswith(("backend/embedded/", "backend/demo/"))}
OWN_CALLS = {"backend/core/outbound.py", OF_PERSONS, *HERE_ALONE}


def _imports(tree: ast.AST) -> set[str]:
    named = _named(tree)
    return {library for library in CALLS for name in named if name == library or name.startswith(f"{library}.")}


def _named(tree: ast.AST) -> set[str]:
    """Every module that is imported, anywhere in a file."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def _sources() -> list[tuple[str, ast.AST]]:
    files = [one for folder in ("backend", "app", "pages") for one in sorted((ROOT / folder).rglob("*.py"))]
    return [(one.relative_to(ROOT).as_posix(), ast.parse(one.read_text(encoding="utf-8"))) for one in files]


def test_whoever_can_reach_another_machine_is_listed_with_its_reason() -> None:
    found = {name for name, tree in _sources() if _imports(tree)}
    assert found - MAY.keys() == set(), "argue for it in MAY, or call through backend.core.outbound.Guard"
    assert MAY.keys() - found == set(), "it needs no place in MAY any more"


def test_nobody_else_opens_a_client_of_its_own() -> None:
    """`httpx.Client(...)`, `httpx.get(...)`, `socket.create_connection(...)` past the guard."""
    past = []
    for name, tree in _sources():
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.attr in UNGUARDED:
                past += [name] if called.value.id in ("httpx", "requests", "socket", "httpcore") else []
    assert past
    assert set(past) <= OWN_CALLS


def test_the_client_of_persons_calls_nothing_for_a_server() -> None:
    """It calls what it is told to, past the guard: neither a page nor the API nor a worker may hand an address to it.

    The demo feeds the web app that it started itself, on loopback.
    """
    using = {name for name, tree in _sources() if any(one.startswith("backend.client") for one in _named(tree))}
    assert OF_PERSONS in {name for name, _ in _sources()}
    assert {name for name in using if not name.startswith(("backend/client/", "backend/cli/"))} == {"backend/demo/feeding.py"}


def test_the_look_for_calls_finds_them() -> None:
    text = "import httpx\nfrom urllib import request\nimport urllib.parse\nfrom http import client\n"
    assert _imports(ast.parse(text)) == {"httpx", "urllib.request", "http.client"}
