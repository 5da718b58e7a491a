"""An Envoy made of nothing but one ADS stream, that takes or refuses when it is told to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, Self

import grpc

from backend.xds import compiled, streams
from backend.xds.protos.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from backend.xds.rules import parse_version

CLUSTERS, ROUTES = compiled.CLUSTERS, compiled.ROUTES
ROUTE_NAMES = ("countersign",)


class AdsClient:
    """One stream, while it is entered."""

    def __init__(self, ads: tuple[str, int], node: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        place = f"{ads[0]}:{ads[1]}"
        self._channel = grpc.secure_channel(place, credentials) if credentials else grpc.insecure_channel(place)
        self._said: queue.Queue[DiscoveryRequest | None] = queue.Queue()
        self.heard: queue.Queue[DiscoveryResponse | grpc.RpcError] = queue.Queue()
        self.node = node

    def __enter__(self) -> Self:
        method = f"/{streams.SERVICE}/{streams.METHOD}"
        call = self._channel.stream_stream(
            method,
            request_serializer=DiscoveryRequest.SerializeToString,
            response_deserializer=DiscoveryResponse.FromString,
        )
        self._call = call(iter(self._requests()))
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._said.put(None)
        self._call.cancel()
        self._channel.close()

    def ask(self, kind: str, *names: str, version: str = "", **fields: Any) -> None:
        """The first request of a kind, or another subscription."""
        request = DiscoveryRequest(type_url=kind, resource_names=names, version_info=version, **fields)
        request.node.id = self.node
        self._said.put(request)

    def get(self, seconds: float = 5.0) -> DiscoveryResponse:
        """The next answer. Raises grpc.RpcError where the stream ended, queue.Empty where nothing comes."""
        found = self.heard.get(timeout=seconds)
        if isinstance(found, grpc.RpcError):
            raise found
        return found

    def ack(self, answer: DiscoveryResponse) -> None:
        """Takes it."""
        names = ROUTE_NAMES if answer.type_url == ROUTES else ()
        self.ask(answer.type_url, *names, version=answer.version_info, response_nonce=answer.nonce)

    def nack(self, answer: DiscoveryResponse, reason: str) -> None:
        """Refuses it."""
        names = ROUTE_NAMES if answer.type_url == ROUTES else ()
        self.ask(answer.type_url, *names, response_nonce=answer.nonce, error_detail={"code": 13, "message": reason})

    def boot(self) -> DiscoveryResponse:
        """As an Envoy starts: clusters, then routes, both taken. Gives the routes."""
        self.ask(CLUSTERS)
        self.ack(self.get())
        self.ask(ROUTES, *ROUTE_NAMES)
        routes = self.get()
        self.ack(routes)
        return routes

    def take(self) -> DiscoveryResponse:
        """Takes the clusters and then the routes of the next snapshot; gives the routes."""
        while True:
            answer = self.get()
            self.ack(answer)
            if answer.type_url == ROUTES:
                return answer

    def _requests(self) -> Iterator[DiscoveryRequest]:
        while (request := self._said.get()) is not None:
            yield request

    def _listen(self) -> None:
        try:
            for answer in self._call:
                self.heard.put(answer)
        except grpc.RpcError as error:
            self.heard.put(error)


def number_of(answer: DiscoveryResponse) -> int:
    """Of which snapshot an answer is."""
    version = parse_version(answer.version_info)
    assert version is not None, answer.version_info
    return version.number


def names_of(answer: DiscoveryResponse) -> set[str]:
    """The clusters in an answer."""
    from backend.xds.protos.cluster_pb2 import Cluster

    return {Cluster.FromString(one.value).name for one in answer.resources}
