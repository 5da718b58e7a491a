"""The one guard that every outgoing URL goes through, and the HTTP clients behind it.

A name is resolved once and the very address that was checked is connected to, so that a second answer of a hostile name
server changes nothing; redirects are not followed; proxies from the environment are ignored; private, loopback and
link-local ranges are reachable only where an administrator listed the range.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

from backend.core.errors import ExternalFailure, Refusal
from backend.core.unit import assert_outside_unit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Origin = tuple[str, int]
"""A host, by name or numeric, and a port."""
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?")
_CARRIERS = tuple(ipaddress.IPv6Network(one) for one in ("64:ff9b::/96", "::ffff:0:0:0/96"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")
"""Addresses that carry an IPv4 one in their last 32 bits (RFC 6052, RFC 2765, RFC 4291)."""
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(one)
    for one in (
        "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4",
        "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10",
    )
)  # fmt: skip
"""Ranges that are no public destination, whatever this Python's `is_global` says of them: its tables changed between versions.

192.0.0.0/24 holds a cloud's metadata service (192.0.0.192), 64:ff9b:1::/48 is a network's own NAT64 (RFC 8215).
"""
_METADATA = frozenset(
    ipaddress.ip_address(one)
    for one in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23",  # AWS, Azure, Google and others
        "fd20:ce::254", "192.0.0.192", "100.100.100.200", "168.63.129.16",  # Google, Oracle, Alibaba, Azure's host
    )
)  # fmt: skip
"""Where clouds hand out a machine's own credentials. A wider range that an administrator lists does not reach them: each is
listed by itself (`169.254.169.254/32`) or not called. 168.63.129.16 is a public address by every register."""
_OTHER_PROTOCOLS = frozenset(
    (7, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113,
     115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 445, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540,
     548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000,
     6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
     1433, 1521, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5984, 6379, 6443, 9042, 10250, 10255, 11211, 27017)
)  # fmt: skip
"""Ports that no model server has and that an HTTP request could do harm at: the Fetch standard's bad ports (but for two that
do nothing), then databases, caches and the management of containers. COUNTERSIGN_ALLOWED_PORTS says otherwise."""
MAX_BODY_BYTES = 64 << 20
MAX_ANSWER_SECONDS = 120.0
MOST_CLIENTS = 512
"""Clients that a guard keeps: people may name, test and remove as many addresses as they like."""
_deadline: ContextVar[float | None] = ContextVar("countersign_answer_deadline", default=None)


class Guard:
    """Decides which addresses may be called, and hands out one cached client per base URL.

    Measured with 200 endpoints: 132 ms a round with a client each against 7,500 ms for one shared client, because httpcore
    looks through its whole pool for each request. All of them share one TLS context, which is what costs memory, and those that
    were asked for longest ago are let go: one that somebody still holds works on, and is closed once nobody does.

    Args:
        allowed: private ranges an administrator listed, e.g. ["127.0.0.0/8", "10.2.0.0/16"]. Public addresses are allowed.
        ports: the only ports, as `443,8000-8002`; "" for all but those of other protocols.
        setting: where an administrator lists those ranges, which a refusal names.
        closed: what is not called whatever is allowed, asked at each call.
    """

    def __init__(
        self,
        allowed: Iterable[str] = (),
        *,
        ports: str = "",
        setting: str = "COUNTERSIGN_ALLOWED_NETWORKS",
        closed: Callable[[], Iterable[Origin]] = tuple,
    ) -> None:
        self.setting, self.closed = setting, closed
        self.allowed = tuple(_network(text, setting) for text in allowed if text.strip())
        self.ports = _ports(ports)
        self._clients: OrderedDict[tuple[Any, ...], httpx.Client] = OrderedDict()
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def address(self, host: str, port: int) -> str:
        """The numeric address to connect to for a host. Refusal when it is in a range, or at a port, that nobody allowed.

        A name with public addresses and others besides is refused whole: no honest name of a server has both.
        """
        found = _resolve(host, port)
        if not found:
            raise ExternalFailure(host, "has no address", retryable=True)
        refused = [one for one in found if not self.permits(one)]
        permitted = [one for one in found if self.permits(one)]
        if refused and (not permitted or any(_is_public(_unmapped(one)) for one in permitted)):
            raise Refusal(
                f"{host} is at {refused[0]}, which is not a public address.",
                f"If this is yours, add its range to {self.setting} (e.g. {_suggest(refused[0])}).",
                code="address-not-allowed",
                host=host,
                address=str(refused[0]),
            )
        if not self.permits_port(port):
            raise Refusal(
                f"Port {port} is not one that may be called.",
                "If a server of yours listens there, add it to COUNTERSIGN_ALLOWED_PORTS (e.g. 443,8000-8002).",
                code="port-not-allowed",
                port=port,
            )
        if self.is_closed(found, port, host):
            raise Refusal(
                f"{host}:{port} is an address of a server, a router or Countersign itself, to which this does not go.",
                "Give the address of the receiver.",
                code="address-not-allowed",
                host=host,
            )
        return str(permitted[0])

    def is_closed(self, addresses: Iterable[Address], port: int, host: str = "") -> bool:
        """Whether something closed is there: by the name as it is written, or at one of the addresses, under whatever name."""
        there = {_plain(name) for name, at in self.closed() if at == port}
        if not there or _plain(host) in there:
            return bool(there)
        return not _places(addresses).isdisjoint(_places(one for name in there for one in addresses_of(name, port)))

    def permits(self, address: Address) -> bool:
        """Whether an address is public, or in a listed range. An IPv4 address inside IPv6 is judged as what it is."""
        plain = _unmapped(address)
        ranges = [network for network in self.allowed if network.version == plain.version and plain in network]
        if plain in _METADATA:
            return any(network.num_addresses == 1 for network in ranges)
        return bool(ranges) or _is_public(plain)

    def permits_port(self, port: int) -> bool:
        """Whether a port may be called."""
        return port in self.ports if self.ports else 0 < port < 65_536 and port not in _OTHER_PROTOCOLS

    def check(self, url: str) -> httpx.URL:
        """The parsed URL if it may be called at all (scheme, host, no user info, resolvable, allowed). Else a Refusal."""
        parsed = parse_url(url)
        self.address(host_of(parsed), parsed.port or (443 if parsed.scheme == "https" else 80))
        return parsed

    def client(
        self, base_url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 10.0, verify: bool = True
    ) -> httpx.Client:
        """The cached client for a base URL and its headers. Timeouts are seconds for connect, read, write and pool each."""
        parse_url(base_url)
        key = (base_url, tuple(sorted((headers or {}).items())), timeout, verify)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._open(base_url, dict(headers or {}), timeout, verify)
                if len(self._clients) > MOST_CLIENTS:
                    self._clients.popitem(last=False)
            self._clients.move_to_end(key)
            return self._clients[key]

    def close(self) -> None:
        """Closes every client."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _open(self, base_url: str, headers: dict[str, str], timeout: float, verify: bool) -> httpx.Client:
        if verify not in self._contexts:
            self._contexts[verify] = ssl.create_default_context() if verify else httpx.create_ssl_context(verify=False)
        transport = _GuardedTransport(self, self._contexts[verify])
        client = httpx.Client(
            base_url=base_url,
            headers={"accept-encoding": "identity", **headers},
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )
        weakref.finalize(client, transport.close).atexit = False
        return client


class _GuardedTransport(httpx.HTTPTransport):
    """httpx's transport on an httpcore pool whose sockets only go where the guard lets them."""

    def __init__(self, guard: Guard, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, max_connections=16, keepalive_expiry=30.0, network_backend=_GuardedSockets(guard)
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert_outside_unit(f"a call to {request.url.host}")
        token = _deadline.set(time.monotonic() + float(request.extensions.get("max_seconds", MAX_ANSWER_SECONDS)))
        try:
            response = super().handle_request(request)
        finally:
            _deadline.reset(token)
        assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101 - narrows the type for the wrapper
        response.stream = _BoundedStream(response.stream, request)
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            response.close()  # nobody was asked to compress, and a few bytes may unfold into gigabytes
            raise httpx.DecodingError("the answer is compressed, which was not asked for", request=request)
        return response


class _BoundedStream(httpx.SyncByteStream):
    """A body that may neither grow without end nor drip for ever: a read time-out alone bounds only each chunk.

    A download of a known size asks for more through the request's extensions, see `bounds`.
    """

    def __init__(self, stream: httpx.SyncByteStream, request: httpx.Request) -> None:
        self._stream = stream
        self._request = request
        self._limit = int(request.extensions.get("max_bytes", MAX_BODY_BYTES))
        self._deadline = time.monotonic() + float(request.extensions.get("max_seconds", MAX_ANSWER_SECONDS))

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > self._limit:
                raise httpx.ReadError("the answer is too large", request=self._request)
            if time.monotonic() > self._deadline:
                raise httpx.ReadTimeout("the answer takes too long", request=self._request)
            yield chunk

    def close(self) -> None:
        self._stream.close()


class _GuardedSockets(httpcore.SyncBackend):
    """Connects to the checked address; TLS still verifies the name, which httpcore takes from the URL."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        try:
            address = self._guard.address(host, port)
        except ExternalFailure as error:
            raise httpcore.ConnectError(str(error)) from error
        return _TimedStream(super().connect_tcp(address, port, *args, **options))

    def connect_unix_socket(self, path: str, *args: Any, **options: Any) -> httpcore.NetworkStream:
        raise httpcore.ConnectError(f"unix sockets are not called: {path}")


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every read ends by the deadline of the request: an answer's headers may not drip for ever either."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        deadline = _deadline.get()
        if deadline is None:  # a body: `_BoundedStream` looks after it
            return self._stream.read(max_bytes, timeout)
        left = deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the answer takes too long")
        return self._stream.read(max_bytes, left if timeout is None else min(timeout, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def bounds(*, max_bytes: int, max_seconds: float) -> dict[str, Any]:
    """`extensions=` for one request whose answer may be larger, or take longer, than an ordinary answer may."""
    return {"max_bytes": max_bytes, "max_seconds": max_seconds}


def parse_url(url: str) -> httpx.URL:
    """A URL of the only shape that is called: http(s), a host, no user info, no fragment. Else a Refusal."""
    try:
        parsed = httpx.URL(url)
        port_ok = parsed.port is None or 0 < parsed.port < 65536
    except (httpx.InvalidURL, ValueError, TypeError):
        parsed, port_ok = httpx.URL(""), False
    host_ok = _HOST.fullmatch(host_of(parsed)) is not None
    if parsed.scheme not in ("http", "https") or not host_ok or parsed.userinfo or parsed.fragment or not port_ok:
        raise Refusal(
            "This is not an address that can be called.",
            "Give http:// or https://, a host and a port, without user name, password or fragment.",
            code="bad-url",
        )
    return parsed


def host_of(url: httpx.URL) -> str:
    """A URL's host as it is connected to: of an internationalised name its form in ASCII, not what people read (`.host`)."""
    return url.raw_host.decode("ascii")


def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ExternalFailure(host, "could not be resolved", retryable=True) from error
    return [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]


def addresses_of(host: str, port: int) -> list[Address]:
    """Every address of a host; none where it has none, or cannot be resolved."""
    try:
        return _resolve(host, port)
    except ExternalFailure:
        return []


def _plain(host: str) -> str:
    if not host.isascii():
        with suppress(httpx.InvalidURL):
            host = host_of(httpx.URL(f"http://{host}"))
    return host.lower().rstrip(".")


def _places(addresses: Iterable[Address]) -> set[str]:
    """Addresses to compare: what listens on one of loopback's often does so on all of them, and on the unspecified one."""
    plain = map(_unmapped, addresses)
    return {"loopback" if one.is_loopback or one.is_unspecified else str(one) for one in plain}


def _is_public(address: Address) -> bool:
    reserved = any(address in network for network in _NOT_PUBLIC if network.version == address.version)
    return address.is_global and not address.is_multicast and not reserved


def _unmapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        carries = any(address in network for network in _CARRIERS)
        if carries or (address in _COMPATIBLE and int(address) > 0xFFFF):  # not :: and ::1
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address
    return address


def _network(text: str, setting: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise Refusal(
            f"{text!r} in {setting} is not a network.",
            "Write it as 10.2.0.0/16.",
            code="bad-setting",
        ) from error


def _ports(text: str) -> frozenset[int]:
    """`443,8000-8002` -> ports. Refusal for what is none."""
    found: set[int] = set()
    for part in filter(None, (one.strip() for one in text.split(","))):
        first, _, last = part.partition("-")
        try:
            ports = range(int(first), int(last or first) + 1)
        except ValueError:
            ports = range(0)
        if not ports or ports[0] < 1 or ports[-1] > 65_535:
            raise Refusal(
                f"{part!r} in COUNTERSIGN_ALLOWED_PORTS is not a port.", "Write it as 443 or 8000-8002.", code="bad-setting"
            )
        found.update(ports)
    return frozenset(found)


def _suggest(address: Address) -> str:
    return f"{address}/32" if address.version == 4 else f"{address}/128"
