"""Both listeners of `countersign xds` on one event loop: ADS for Envoys, and the door for workers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import uvicorn

from backend.core.errors import ExternalFailure, Refusal
from backend.settings import Settings
from backend.xds import door, snapshots, streams
from backend.xds.fleet import Fleet
from backend.xds.hub import Hub
from backend.xds.rules import Listen, parse_listen, refuse_open

GRACE_SECONDS = 1.0
LEAST_TOKEN = 32
_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", streams.MOST_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
]


@dataclass(frozen=True)
class Tls:
    """Files of the server's certificate, its key, and whose certificates are believed (None: nobody's are asked for)."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True)
class Wanted:
    """What the settings say, checked."""

    ads: Listen
    door: Listen
    token: str
    tls: Tls | None
    folder: Path
    nodes: tuple[str, ...]
    streams: int
    gone_seconds: float


@dataclass(frozen=True)
class Running:
    """Where it listens."""

    hub: Hub
    ads: Listen
    door: Listen


def wanted(settings: Settings) -> Wanted:
    """Refusals: bad-setting, not-protected, no-token."""
    tls = _tls(settings)
    ads = parse_listen(settings.xds_address, "COUNTERSIGN_XDS_ADDRESS")
    management = parse_listen(settings.xds_door_address, "COUNTERSIGN_XDS_DOOR_ADDRESS")
    refuse_open(ads, "COUNTERSIGN_XDS_ADDRESS", certificate=tls is not None, client_ca=bool(tls and tls.client_ca))
    refuse_open(management, "COUNTERSIGN_XDS_DOOR_ADDRESS", certificate=tls is not None, client_ca=True)
    nodes = tuple(one.strip() for one in settings.xds_nodes.split(",") if one.strip())
    folder = settings.data_dir.absolute() / "xds"
    return Wanted(ads, management, _token(settings), tls, folder, nodes, settings.xds_streams, settings.xds_gone_seconds)


@asynccontextmanager
async def running(want: Wanted) -> AsyncIterator[Running]:
    """Serves until the block is left."""
    with snapshots.opened(want.folder) as lying, _bound(want.door) as listener:
        fleet = Fleet(want.folder / "fleet.json", want.gone_seconds, time.monotonic)
        fleet.load()
        hub = Hub(lying, fleet, want.nodes)
        async with _ads(hub, want) as port, _door(hub, want, listener):
            keeping = asyncio.create_task(hub.keep())
            try:
                yield Running(hub, Listen(want.ads.host, port), Listen(want.door.host, listener.getsockname()[1]))
            finally:
                keeping.cancel()
                fleet.save()


@asynccontextmanager
async def _ads(hub: Hub, want: Wanted) -> AsyncIterator[int]:
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=want.streams)
    server.add_generic_rpc_handlers((streams.handler(hub),))
    try:
        if want.tls is None:
            port = server.add_insecure_port(str(want.ads))
        else:
            port = server.add_secure_port(str(want.ads), _credentials(want.tls))
    except RuntimeError as error:
        raise ExternalFailure("The ADS server's address", f"{want.ads} cannot be listened at", retryable=True) from error
    await server.start()
    try:
        yield int(port)
    finally:
        hub.end()
        await server.stop(GRACE_SECONDS)


@asynccontextmanager
async def _door(hub: Hub, want: Wanted, listener: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(
        door.app(hub, want.token),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        limit_concurrency=512,
        ssl_certfile=want.tls.certificate if want.tls else None,
        ssl_keyfile=str(want.tls.key) if want.tls else None,
    )
    server = _Quiet(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving


class _Quiet(uvicorn.Server):
    """Signals are for the process to hear, not for one of its listeners."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


@contextmanager
def _bound(listen: Listen) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # Named as TCP, or asyncio would not switch Nagle's algorithm off, and every answer would wait 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((listen.host, listen.port))
            listener.listen(128)
        except OSError as error:
            raise ExternalFailure("The door's address", f"{listen} cannot be listened at", retryable=True) from error
        yield listener


def _tls(settings: Settings) -> Tls | None:
    certificate, key = settings.xds_certificate_file, settings.xds_key_file
    if certificate is None and key is None and settings.xds_client_ca_file is None:
        return None
    if certificate is None or key is None:
        raise Refusal(
            "The ADS server has only a part of what TLS needs.",
            "Set COUNTERSIGN_XDS_CERTIFICATE_FILE and COUNTERSIGN_XDS_KEY_FILE both.",
            code="bad-setting",
        )
    return Tls(certificate, key, settings.xds_client_ca_file)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    ca = _content(tls.client_ca) if tls.client_ca else None
    pair = (_content(tls.key), _content(tls.certificate))
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refusal(f"{path} cannot be read.", "Correct the COUNTERSIGN_XDS_ settings.", code="bad-setting") from error


def _token(settings: Settings) -> str:
    token = settings.xds_token.get_secret_value() if settings.xds_token is not None else ""
    if len(token) >= LEAST_TOKEN and token.isascii() and token.isprintable() and " " not in token:
        return token
    raise Refusal(
        f"Workers must prove themselves at the ADS server by a token of {LEAST_TOKEN} characters or more.",
        "Set COUNTERSIGN_XDS_TOKEN, e.g. to what `openssl rand -hex 32` prints, and enter the same as the router's credential.",
        code="no-token",
    )
