"""Envoys made of one ADS stream each, all in one process: each has a connection of its own and takes whatever it is sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc

from backend.xds import compiled, streams
from backend.xds.protos.discovery_pb2 import DiscoveryRequest, DiscoveryResponse


class Clients:
    """Any number of them, on a loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, ads: str, count: int) -> int:
        """Begins them; they go on by themselves."""

        async def begin() -> None:
            self._tasks = [asyncio.create_task(_client(ads, f"simulated-{number}")) for number in range(count)]

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(60)
        return count

    def ended(self) -> int:
        """How many of them are gone."""
        return sum(task.done() for task in self._tasks)


async def _client(ads: str, node: str) -> None:
    async with grpc.aio.insecure_channel(ads, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.stream_stream(
            f"/{streams.SERVICE}/{streams.METHOD}",
            request_serializer=DiscoveryRequest.SerializeToString,
            response_deserializer=DiscoveryResponse.FromString,
        )()
        await call.write(_asking(node, compiled.CLUSTERS))
        asked = False
        async for answer in _answers(call):
            await call.write(_asking(node, answer.type_url, version_info=answer.version_info, response_nonce=answer.nonce))
            if not asked:
                asked = True
                await call.write(_asking(node, compiled.ROUTES))


async def _answers(call: Any) -> AsyncIterator[DiscoveryResponse]:
    while (answer := await call.read()) is not grpc.aio.EOF:
        yield answer


def _asking(node: str, kind: str, **fields: Any) -> DiscoveryRequest:
    names = ["countersign"] if kind == compiled.ROUTES else []
    request = DiscoveryRequest(type_url=kind, resource_names=names, **fields)
    request.node.id = node
    return request


_clients = Clients()
CALLS = {"start": _clients.start, "ended": _clients.ended}
