"""Envoy's gRPC Access Log Service on loopback: what the router's log says of inferences goes into the spool.

Envoy neither waits for an answer nor sends anything again, so that what it sends while nobody listens is lost; what arrived is
in the spool. Nobody is asked who he is: the port is on loopback, for what runs on this machine.
Source: Envoy, `envoy/service/accesslog/v3/als.proto`; gRPC for Python, `grpc.method_handlers_generic_handler`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import structlog

from backend.core.errors import ExternalFailure
from backend.ingest import exposures
from backend.ingest.als.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from backend.ingest.entrance import Entrance

LOOPBACK = "127.0.0.1"
SERVICE, METHOD = "envoy.service.accesslog.v3.AccessLogService", "StreamAccessLogs"
STREAMS = 32
"""At once; an Envoy has one a worker thread."""
MOST_BYTES = 4 << 20
GRACE_SECONDS = 2.0
log = structlog.get_logger()


@contextmanager
def serving(entrance: Entrance, port: int) -> Iterator[int]:
    """Listens until the block is left. Gives the port. ExternalFailure for one that somebody has."""
    pool = ThreadPoolExecutor(STREAMS, thread_name_prefix="access-log")
    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MOST_BYTES)]
    server = grpc.server(pool, options=options, maximum_concurrent_rpcs=STREAMS)
    server.add_generic_rpc_handlers((_handler(entrance),))
    try:
        taken = server.add_insecure_port(f"{LOOPBACK}:{port}")
    except RuntimeError as error:
        raise ExternalFailure("The access log's port", f"{port} of this machine is taken", retryable=True) from error
    server.start()
    try:
        yield int(taken)
    finally:
        server.stop(GRACE_SECONDS).wait()
        pool.shutdown(wait=False, cancel_futures=True)


def take(entrance: Entrance, message: StreamAccessLogsMessage) -> None:
    """What one message tells, of each endpoint at once."""
    headers = entrance.known.rules().unit_headers
    found = [exposures.of_entry(entry, headers) for entry in message.http_logs.log_entry]
    entrance.exposures(one for one in found if one is not None)


def _handler(entrance: Entrance) -> Any:
    def stream(messages: Iterator[StreamAccessLogsMessage], _context: Any) -> StreamAccessLogsResponse:
        for message in messages:
            try:
                take(entrance, message)
            except ExternalFailure as failure:
                log.warning("ingest.access_log_lost", problem=str(failure), entries=len(message.http_logs.log_entry))
        return StreamAccessLogsResponse()

    method = grpc.stream_unary_rpc_method_handler(
        stream,
        request_deserializer=StreamAccessLogsMessage.FromString,
        response_serializer=StreamAccessLogsResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})
