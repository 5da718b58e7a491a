"""Routes and clusters from JSON, as `envoy_render` writes them, to the bytes that Envoys get. An unknown field is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import any_pb2, json_format

from backend.core.errors import Refusal
from backend.xds.protos import (  # each makes its messages known by name
    cluster_pb2,
    http_protocol_options_pb2,
    lua_pb2,
    previous_hosts_pb2,
    priority_group_pb2,
    route_pb2,
    upstream_codec_pb2,
)
from backend.xds.protos.discovery_pb2 import DiscoveryResponse
from backend.xds.rules import one_line

ROUTES = f"type.googleapis.com/{route_pb2.RouteConfiguration.DESCRIPTOR.full_name}"
CLUSTERS = f"type.googleapis.com/{cluster_pb2.Cluster.DESCRIPTOR.full_name}"
_EXTENSIONS = (http_protocol_options_pb2, lua_pb2, previous_hosts_pb2, priority_group_pb2, upstream_codec_pb2)
_DEPTH = 60


def resource(content: Any, kind: str, name: str) -> bytes:
    """One resource as a serialized `Any`. Refusal `bad-snapshot` unless it is of that kind and name and wholly understood."""
    if not isinstance(content, Mapping) or content.get("@type") != kind or not name or content.get("name") != name:
        raise bad(f"what stands under {one_line(str(name), 80)!r} is no {kind.rpartition('.')[2]} of that name")
    try:
        packed = json_format.ParseDict(dict(content), any_pb2.Any(), max_recursion_depth=_DEPTH)
        return bytes(packed.SerializeToString(deterministic=True))
    except (json_format.ParseError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise bad(f"{one_line(name, 80)!r} is not understood: {one_line(str(error), 200)}") from error


def response(version: str, kind: str, resources: Iterable[bytes]) -> bytes:
    """A whole answer but for its nonce, which every stream appends: protobuf joins messages that stand one after the other."""
    packed = [any_pb2.Any.FromString(one) for one in resources]
    return bytes(DiscoveryResponse(version_info=version, type_url=kind, resources=packed).SerializeToString())


def with_nonce(answer: bytes, nonce: str) -> bytes:
    """The answer to one stream."""
    return answer + bytes(DiscoveryResponse(nonce=nonce).SerializeToString())


def bad(why: str) -> Refusal:
    """The refusal of a snapshot, before anything was changed."""
    message = f"This snapshot cannot be given to an Envoy: {why}."
    return Refusal(message, "Correct what made it; nothing was changed.", code="bad-snapshot")
