"""The ADS service by grpc.aio: one task a stream, so that an Envoy that takes nothing holds no other back.

A stream holds no queue: it looks at what the newest snapshot is whenever it may write, so that whoever was slow gets the newest
next and nothing in between. Sources: Envoy's API, `envoy/service/discovery/v3/ads.proto`; gRPC for Python, `grpc.aio`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import structlog

from backend.xds import rules
from backend.xds.exchange import Exchange, Malformed
from backend.xds.fleet import Envoy, lacks_of, version_of
from backend.xds.hub import Hub
from backend.xds.protos.discovery_pb2 import DiscoveryRequest

SERVICE, METHOD = "envoy.service.discovery.v3.AggregatedDiscoveryService", "StreamAggregatedResources"
MOST_BYTES = 1 << 20
"""Of one request; Envoy's first names all of its extensions in some 60 KiB."""
FIRST_SECONDS = 20.0
log = structlog.get_logger()


class Turned(Exception):
    """A stream that is ended with a reason."""

    def __init__(self, code: grpc.StatusCode, why: str) -> None:
        super().__init__(why)
        self.code, self.why = code, why


def handler(hub: Hub) -> Any:
    """The service, for `add_generic_rpc_handlers`."""

    async def stream(requests: AsyncIterator[DiscoveryRequest], context: Any) -> None:
        try:
            await _Stream(hub, requests, context).run()
        except Turned as turned:
            hub.fleet.turned_away[turned.why] += 1
            log.warning("xds.turned_away", peer=_peer(context), problem=turned.why)
            await context.abort(turned.code, turned.why)

    method = grpc.stream_stream_rpc_method_handler(stream, request_deserializer=DiscoveryRequest.FromString)
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})


class _Stream:
    def __init__(self, hub: Hub, requests: AsyncIterator[DiscoveryRequest], context: Any) -> None:
        self._hub, self._requests, self._context = hub, aiter(requests), context
        self._exchange = Exchange(hub.claim, hub.snapshots.get)
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Until either side ends it."""
        envoy = self._joining(await self._first())
        self._hub.join(envoy, self._woken)
        reader = asyncio.create_task(self._read())
        try:
            await self._write(reader)
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError, Turned):
                await reader
            self._hub.leave(envoy, self._woken)

    async def _first(self) -> DiscoveryRequest:
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                return await anext(self._requests)
        except (TimeoutError, StopAsyncIteration):
            raise Turned(grpc.StatusCode.INVALID_ARGUMENT, "nothing was asked for") from None

    def _joining(self, request: DiscoveryRequest) -> Envoy:
        node = request.node
        if not rules.is_node(node.id):
            raise Turned(grpc.StatusCode.INVALID_ARGUMENT, "the node has no name, or one that cannot be told")
        if not rules.may_connect(node.id, self._hub.nodes):
            raise Turned(grpc.StatusCode.PERMISSION_DENIED, "the node's name is not in COUNTERSIGN_XDS_NODES")
        self._heard(request)
        return Envoy(node.id, _peer(self._context), version_of(node), lacks_of(node), self._hub.fleet.now(), self._exchange)

    def _heard(self, request: DiscoveryRequest) -> None:
        try:
            self._exchange.take(request, self._hub.fleet.now())
        except Malformed as error:
            raise Turned(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    async def _read(self) -> None:
        async for request in self._requests:
            before = self._exchange.refused
            self._heard(request)
            if self._exchange.refused not in (None, before):
                log.warning("xds.refused", node=request.node.id or None, reason=str(self._exchange.refused))
            self._hub.changed()
            self._woken.set()

    async def _write(self, reader: asyncio.Task[None]) -> None:
        while not (reader.done() or self._hub.ending):
            self._woken.clear()
            newest, now = self._hub.snapshots.to_give, self._hub.fleet.now()
            answer = self._exchange.next(newest, now)
            if answer is not None:
                await self._context.write(answer.content)
                continue
            await self._wait(reader, self._exchange.wake_in(newest, now))
        if reader.done():
            await reader

    async def _wait(self, reader: asyncio.Task[None], seconds: float | None) -> None:
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait({woken, reader}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()


def _peer(context: Any) -> str:
    """Whom a certificate names, else the address."""
    names = context.auth_context().get("x509_common_name") or ()
    said = names[0].decode(errors="replace") if names else str(context.peer())
    return rules.one_line(said, 100)
