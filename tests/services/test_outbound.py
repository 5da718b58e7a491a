"""The outgoing-URL guard, against real sockets on loopback."""

from __future__ import annotations

import gc
import ipaddress
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from backend.core import outbound
from backend.core.errors import ExternalFailure, Refusal
from backend.core.outbound import Guard, parse_url


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[BaseHTTPRequestHandler], None]], str]]:
    """Starts a tiny HTTP server around a handler and returns its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(handle: Callable[[BaseHTTPRequestHandler], None]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                handle(self)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _ok(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"fine")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "http://10.0.0.1/", "http://192.168.1.1/",
        "http://172.16.0.1/", "http://169.254.169.254/latest/meta-data", "http://0.0.0.0/", "http://[fe80::1]/",
        "http://[::ffff:127.0.0.1]/", "http://[::ffff:169.254.169.254]/", "http://[2002:7f00:1::]/", "http://2130706433/",
        "http://0x7f.1/", "http://100.64.0.1/", "http://224.0.0.1/", "http://[fc00::1]/", "http://192.0.0.192/opc/v2/",
        "http://[::ffff:192.0.0.192]/", "http://[64:ff9b:1::a9fe:a9fe]/", "http://[64:ff9b:1:ffff::1]/",
        "http://[::ffff:0:169.254.169.254]/", "http://[fec0::1]/", "http://[feff::1]/",
    ],
)  # fmt: skip
def test_private_ranges_are_refused_without_an_entry(url: str) -> None:
    with pytest.raises(Refusal) as refused:
        Guard().check(url)
    assert refused.value.code == "address-not-allowed"
    assert "COUNTERSIGN_ALLOWED_NETWORKS" in refused.value.remedy


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x/", "file:///etc/passwd", "http://", "http://user:pw@x/", "http://x/#f", "x", "http://x:99999/", "gopher://x:1/",
     "http://x:0/", "javascript:alert(1)", "http://[bad/"],
)  # fmt: skip
def test_what_is_no_callable_address_is_refused(url: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_url(url)
    assert refused.value.code == "bad-url"


def test_a_listed_range_is_reached(serve: Callable[..., str]) -> None:
    url = serve(_ok)
    guard = Guard(["127.0.0.0/8"])
    assert guard.client(url).get("/").text == "fine"
    with pytest.raises(Refusal):
        Guard(["10.0.0.0/8"]).client(url).get("/")


def test_the_checked_address_is_the_one_connected_to(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers first with a public address and then with loopback gains nothing."""
    port = int(serve(_ok).rsplit(":", 1)[1])
    answers = iter(["203.0.113.7", "127.0.0.1"])
    connected: list[str] = []
    monkeypatch.setattr(outbound, "_resolve", lambda host, port: [ipaddress.ip_address(next(answers))])
    monkeypatch.setattr(Guard, "permits", lambda self, address: str(address) == "203.0.113.7")

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        connected.append(address[0])
        raise OSError("no route in this test")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(httpx.ConnectError):
        Guard().client(f"http://rebinding.example:{port}").get("/")
    assert connected == ["203.0.113.7"]


def test_a_redirect_is_not_followed(serve: Callable[..., str]) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("location", "http://169.254.169.254/")
        handler.end_headers()

    assert Guard(["127.0.0.0/8"]).client(serve(redirect)).get("/").status_code == 302


def test_an_endless_body_ends(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "MAX_BODY_BYTES", 10_000)

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x" * 1000)

    with pytest.raises(httpx.ReadError, match="too large"):
        Guard(["127.0.0.0/8"]).client(serve(flood)).get("/")


def test_a_dripping_body_ends(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "MAX_ANSWER_SECONDS", 0.5)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(50):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.1)
        except OSError:
            return

    with pytest.raises(httpx.ReadTimeout, match="too long"):
        Guard(["127.0.0.0/8"]).client(serve(drip)).get("/")


@pytest.mark.parametrize(
    "address",
    [
        "192.0.0.0", "192.0.0.9", "192.0.0.192", "192.0.0.255", "100.64.0.0", "100.127.255.255", "198.18.0.1", "198.19.255.255",
        "192.88.99.1", "240.0.0.1", "255.255.255.255", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "100::1",
        "2001:2::1", "2001:db8::1", "3fff::1", "5f00::1", "fec0::1", "feff:ffff::1", "2002:c000:c0::1", "2002:6440:1::1",
        "2002:c612:1::1",
        "::ffff:0:c000:c0", "::ffff:0:7f00:1", "::ffff:0:a00:1", "::c000:c0", "64:ff9b::c000:c0",
    ],
)  # fmt: skip
def test_a_range_that_is_no_public_destination_needs_an_entry(address: str) -> None:
    """Whatever this Python's own tables say of it."""
    found = ipaddress.ip_address(address)
    assert not Guard().permits(found)
    assert Guard(["0.0.0.0/0", "::/0", "192.0.0.192/32"]).permits(found)


@pytest.mark.parametrize(
    "address",
    ["192.0.1.1", "191.255.255.255", "100.63.255.255", "100.128.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
     "64:ff9b::808:808", "::ffff:0:808:808", "::ffff:8.8.8.8", "2002:808:808::1", "2606:4700::1111", "2001:4860:4860::8888"],
)  # fmt: skip
def test_what_lies_beside_those_ranges_is_public(address: str) -> None:
    assert Guard().permits(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "::a9fe:a9fe", "::ffff:10.0.0.1", "2002:7f00:1::"]
)
def test_an_address_that_carries_a_private_one_is_judged_as_that(address: str) -> None:
    assert not Guard().permits(ipaddress.ip_address(address))
    assert Guard(["::1/128"]).permits(ipaddress.ip_address("::1"))


def test_dripping_headers_end(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "MAX_ANSWER_SECONDS", 0.5)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        try:
            for number in range(50):
                handler.wfile.write(f"x-{number}: y\r\n".encode() if number else b"HTTP/1.1 200 OK\r\n")
                handler.wfile.flush()
                time.sleep(0.1)
        except OSError:
            return

    with pytest.raises(httpx.ReadTimeout):
        Guard(["127.0.0.0/8"]).client(serve(drip)).get("/")


def test_proxies_from_the_environment_are_ignored(serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert Guard(["127.0.0.0/8"]).client(serve(_ok)).get("/").status_code == 200


def test_a_client_is_made_once_for_each_base(serve: Callable[..., str]) -> None:
    guard = Guard(["127.0.0.0/8"])
    assert guard.client("http://127.0.0.1:9") is guard.client("http://127.0.0.1:9")
    assert guard.client("http://127.0.0.1:9", headers={"a": "1"}) is not guard.client("http://127.0.0.1:9")


def test_clients_share_what_is_large_and_the_oldest_are_let_go(
    serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "MOST_CLIENTS", 3)
    made = list[object]()
    context = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: made.append(1) or context())
    guard, url = Guard(["127.0.0.0/8"]), serve(_ok)
    held = guard.client(url)
    dropped = weakref.ref(guard.client("http://127.0.0.1:8"))
    closed = list[object]()
    monkeypatch.setattr(outbound._GuardedTransport, "close", lambda one: closed.append(one) or one._pool.close())
    for number in range(10):
        guard.client(f"https://h{number}.example")
    gc.collect()
    assert (len(guard._clients), len(made), dropped()) == (3, 1, None)
    assert closed
    assert held.get("/").text == "fine", "one that an adapter holds works on"
    assert guard.client(url) is not held
    guard.close()


def test_an_internationalised_name_is_called_by_its_ascii_form(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = list[str]()
    answer = [(0, 0, 0, "", ("203.0.114.7", 443))]
    monkeypatch.setattr("socket.getaddrinfo", lambda host, *_, **__: looked.append(host) or answer)
    for url in ("https://b\u00fccher.example/hook", "https://xn--bcher-kva.example/hook"):
        assert Guard().check(url).host == "b\u00fccher.example"
    assert set(looked) == {"xn--bcher-kva.example"}
    with pytest.raises(Refusal):
        Guard(closed=lambda: [("b\u00fccher.example", 443)]).check("https://xn--bcher-kva.example/")


def test_a_name_that_does_not_resolve_is_an_external_failure() -> None:
    with pytest.raises(ExternalFailure):
        Guard().address("no-such-host.invalid", 80)


def test_a_bad_entry_in_the_allow_list_is_named() -> None:
    with pytest.raises(Refusal, match="COUNTERSIGN_ALLOWED_NETWORKS"):
        Guard(["10.0.0.0/99"])
