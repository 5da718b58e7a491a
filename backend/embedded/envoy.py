"""The embedded Envoy: one listener and the admin endpoint on loopback, routes and clusters from files.

The bootstrap is generic. Whoever splits traffic replaces `routes_file` (RDS, a RouteConfiguration named `countersign`)
and `clusters_file` (CDS) by renaming a new file over them; a write in place is ignored. A Lua filter does nothing until
a virtual host or a route gives it code by `LuaPerRoute` under the name `ASSIGN_FILTER`: it names the arm that a request is
assigned to, and the route is chosen again after it ran, so that routes can match its header.

Headers that only the router may set are removed from every request as it arrives. The access log is one JSON object a
line, see `ACCESS_LOG_FIELDS`; where a port for it is named, it is also sent to the ingest of the inference log by gRPC.
Sources: Envoy 1.40 API reference (HttpConnectionManager, Lua, PathConfigSource) and its substitution formatter.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from backend.embedded.launch import Probe, launch
from backend.embedded.ports import LOOPBACK
from backend.embedded.specs import Restart, Spec
from backend.embedded.supervisor import Child, Supervisor

NAME = "envoy"
READY_SECONDS = 30.0
ROUTE_CONFIG = "countersign"
ASSIGN_FILTER = "envoy.filters.http.lua"
BUCKET_HEADER = "x-cs-bucket"
ASSIGNED_HEADER = "x-cs-assigned-arm"
ARM_HEADER = "x-cs-arm"  # the arm that answered
VERSION_HEADER = "x-cs-version"
GENERATION_HEADER = "x-cs-generation"
PROBE_HEADER = "x-cs-probe"  # marks our own requests, with a proof (`inference_log.probes`); anybody may send it
_OURS = (BUCKET_HEADER, ASSIGNED_HEADER, ARM_HEADER, VERSION_HEADER, GENERATION_HEADER)

ACCESS_LOG_FIELDS = {
    "start": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:ORIG)%",  # as the caller sent it; the query may hold personal data
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "duration_ms": "%DURATION%",
    "bucket": f"%REQ({BUCKET_HEADER})%",  # present exactly when the caller named a unit; the raw unit is not logged
    "assigned_arm": f"%REQ({ASSIGNED_HEADER})%",
    "served_arm": f"%RESP({ARM_HEADER})%",
    "served_version": f"%RESP({VERSION_HEADER})%",
    "generation": f"%RESP({GENERATION_HEADER})%",
    "probe": f"%REQ({PROBE_HEADER})%",
}
UNIT_HEADER = "x-unit-id"
INGEST_CLUSTER = "countersign_ingest"
ANSWERS_CLUSTER = "countersign_answers"
_ANSWERS_AT_ONCE = 64
"""Answers on their way to the ingest, of at most 64 KiB each. What comes beyond is not told."""
_LOGGED_REQUEST_HEADERS = (BUCKET_HEADER, ASSIGNED_HEADER, PROBE_HEADER)
_LOGGED_RESPONSE_HEADERS = (ARM_HEADER, VERSION_HEADER, GENERATION_HEADER)
LATENCY_BUCKETS_MS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10000)
_HTTP = "type.googleapis.com/envoy.extensions.filters.http"


@dataclass(frozen=True)
class AccessLogTo:
    """Where the gRPC access log goes: a port on loopback, and the headers that name units in requests, which go there too.

    Args:
        answers: the port for answers of shadow arms, and of live ones beside them; None where nobody listens for those.
    """

    port: int
    unit_headers: tuple[str, ...] = (UNIT_HEADER,)
    answers: int | None = None


@dataclass(frozen=True)
class EnvoyServer:
    """A started Envoy: `url` takes traffic, `admin_url` is its admin endpoint (loopback, unprotected)."""

    url: str
    admin_url: str
    folder: Path
    child: Child

    @property
    def routes_file(self) -> Path:
        """The DiscoveryResponse with the RouteConfiguration `countersign`."""
        return routes_file(self.folder)

    @property
    def clusters_file(self) -> Path:
        """The DiscoveryResponse with all clusters."""
        return clusters_file(self.folder)

    @property
    def access_log(self) -> Path:
        """One JSON object a line; older lines are in `access.log.1` and `.2`."""
        return self.folder / "access.log"


def routes_file(folder: Path) -> Path:
    """Where Envoy reads its routes."""
    return folder / "routes" / "rds.json"


def clusters_file(folder: Path) -> Path:
    """Where Envoy reads its clusters."""
    return folder / "clusters" / "cds.json"


def start_envoy(
    group: Supervisor, folder: Path, binary: Path, *, name: str = NAME, log_to: AccessLogTo | None = None
) -> EnvoyServer:
    """Start Envoy on the routes and clusters that `folder` holds (at first none) and wait until it takes traffic."""
    folder = folder.absolute()
    write_first_files(folder)
    identity = f"countersign-{secrets.token_hex(8)}"

    def described(ports: tuple[int, ...]) -> tuple[Spec, Probe]:
        listener, admin = ports
        (folder / "bootstrap.json").write_text(json.dumps(bootstrap(folder, listener, admin, identity, log_to), indent=1))
        return spec(folder, listener, binary, name), _ready(admin, identity)

    child, (listener, admin) = launch(group, name, 2, described, READY_SECONDS)
    return EnvoyServer(_url(listener), _url(admin), folder, child)


def spec(folder: Path, listener: int, binary: Path, name: str = NAME) -> Spec:
    """The command. Without `--disable-hot-restart` Envoy would follow the thread that spawned it."""
    return Spec(
        name=name,
        argv=(
            str(binary),
            *("--config-path", str(folder / "bootstrap.json")),
            *("--concurrency", "2"),
            *("--file-flush-interval-msec", "200"),
            *("--log-level", "warning"),
            "--disable-hot-restart",
        ),
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"},
        cwd=folder,
        restart=Restart(limit=5),
        reopened_logs=(folder / "access.log",),
        address=_url(listener),
    )


def write_first_files(folder: Path) -> None:
    """Empty but valid routes and clusters, where there are none yet: Envoy takes no traffic before it has read both."""
    empty_routes = {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": ROUTE_CONFIG}
    for path, resources in ((routes_file(folder), [empty_routes]), (clusters_file(folder), [])):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            replace(path, {"version_info": "0", "resources": resources})


def replace(path: Path, discovery_response: dict[str, Any]) -> None:
    """Put a new file in place in one step, as Envoy's watch on the folder needs it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(discovery_response))
    os.replace(fresh, path)


def bootstrap(folder: Path, listener: int, admin: int, identity: str, log_to: AccessLogTo | None = None) -> dict[str, Any]:
    """The whole static configuration. `identity` names this very process in its answers."""
    logs = [file_access_log(folder / "access.log"), *([grpc_access_log(log_to)] if log_to is not None else [])]
    return {
        "node": {"id": identity, "cluster": "countersign"},
        "admin": {"address": _address(admin)},
        "dynamic_resources": {"cds_config": _from_file(clusters_file(folder))},
        "static_resources": {
            "listeners": [inference_listener(_address(listener), _from_file(routes_file(folder)), logs)],
            **({"clusters": log_clusters(log_to)} if log_to is not None else {}),
        },
        "stats_config": stats_config(),
    }


def stats_config() -> dict[str, Any]:
    """Buckets of the latencies that `metrics` reads."""
    return {"histogram_bucket_settings": [{"match": {"suffix": "upstream_rq_time"}, "buckets": list(LATENCY_BUCKETS_MS)}]}


def inference_listener(address: dict[str, Any], routes: dict[str, Any], logs: list[dict[str, Any]]) -> dict[str, Any]:
    """Where callers ask. `routes`: the source of its route configuration."""
    return {
        "name": "inference",
        "address": address,
        "enable_reuse_port": False,  # else a second Envoy could share the port unnoticed
        "filter_chains": [{"filters": [_typed("envoy.filters.network.http_connection_manager", _manager(routes, logs))]}],
    }


def _manager(routes: dict[str, Any], logs: list[dict[str, Any]]) -> dict[str, Any]:
    """What happens to a request before and after routing."""
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inference",
        "rds": {"route_config_name": ROUTE_CONFIG, "config_source": routes},
        **_request_ids(),
        **_distrust(),
        "access_log": logs,
        "http_filters": [
            _keep_path(),
            _typed(ASSIGN_FILTER, {"@type": f"{_HTTP}.lua.v3.Lua"}),
            _typed("envoy.filters.http.router", {"@type": f"{_HTTP}.router.v3.Router"}),
        ],
    }


def _keep_path() -> dict[str, Any]:
    """Remembers the path that the caller asked for: the rewrite by Lua, unlike a route's own, leaves no trace of it."""
    header = {"key": "x-envoy-original-path", "value": "%REQ(:PATH)%"}
    mutation = {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    kind = f"{_HTTP}.header_mutation.v3.HeaderMutation"
    return _typed("countersign.keep-path", {"@type": kind, "mutations": {"request_mutations": [mutation]}})


def _request_ids() -> dict[str, Any]:
    """A caller may name its request, since it joins outcomes later by that name; the id comes back unchanged."""
    return {
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "request_id_extension": {
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
            }
        },
    }


def _distrust() -> dict[str, Any]:
    """Callers are strangers: their x-envoy-* headers and ours are removed, their paths normalised before routing."""
    return {
        "use_remote_address": True,  # and no internal_address_config: with one, even an empty one, loopback is trusted
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "request_headers_timeout": "10s",
        "early_header_mutation_extensions": [
            _typed(
                "envoy.http.early_header_mutation.header_mutation",
                {
                    "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation"
                    ".header_mutation.v3.HeaderMutation",
                    "mutations": [{"remove": header} for header in _OURS],
                },
            )
        ],
    }


def file_access_log(path: Path) -> dict[str, Any]:
    """One JSON object a line."""
    return _typed(
        "envoy.access_loggers.file",
        {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": ACCESS_LOG_FIELDS},
        },
    )


def grpc_access_log(to: AccessLogTo) -> dict[str, Any]:
    """The log as `countersign ingest` takes it. Envoy holds a second, or 64 KiB, back, and drops what it cannot send.

    Source: Envoy's API, `envoy/extensions/access_loggers/grpc/v3/als.proto`.
    """
    return _typed(
        "envoy.access_loggers.http_grpc",
        {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {
                "log_name": "countersign",
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": INGEST_CLUSTER}},
                "buffer_flush_interval": "1s",
                "buffer_size_bytes": 64 << 10,
            },
            "additional_request_headers_to_log": [*_LOGGED_REQUEST_HEADERS, *to.unit_headers],
            "additional_response_headers_to_log": list(_LOGGED_RESPONSE_HEADERS),
        },
    )


def ingest_cluster(to: AccessLogTo) -> dict[str, Any]:
    """Where `countersign ingest` listens."""
    return grpc_cluster(INGEST_CLUSTER, _address(to.port))


def grpc_cluster(name: str, address: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A cluster of one place that speaks gRPC, which needs HTTP/2."""
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"connection_keepalive": {"interval": "30s", "timeout": "10s"}} if fields else {}
    options = {"@type": f"type.googleapis.com/{kind}", "explicit_http_config": {"http2_protocol_options": http2}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
        "typed_extension_protocol_options": {kind: options},
        **fields,
    }


def answers_cluster(port: int) -> dict[str, Any]:
    """Where `countersign ingest` listens for answers. Little may be under way: whoever is slow there must cost nothing here."""
    limits = {"max_connections": 4, "max_pending_requests": _ANSWERS_AT_ONCE, "max_requests": _ANSWERS_AT_ONCE}
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": ANSWERS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "0.250s",
        "circuit_breakers": {"thresholds": [limits]},
        "health_checks": [_listens_check()],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},  # else what is away is asked all the same
        "load_assignment": {"cluster_name": ANSWERS_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _listens_check() -> dict[str, Any]:
    """Whether anybody listens: where nobody does, an answer costs no attempt to connect."""
    often = {"interval": "1s", "no_traffic_interval": "1s", "unhealthy_interval": "1s"}
    return {"timeout": "0.250s", **often, "unhealthy_threshold": 1, "healthy_threshold": 1, "tcp_health_check": {}}


def log_clusters(to: AccessLogTo) -> list[dict[str, Any]]:
    """Where what is logged goes: the access log, and answers where somebody listens for those."""
    return [ingest_cluster(to), *([answers_cluster(to.answers)] if to.answers is not None else [])]


def _from_file(path: Path) -> dict[str, Any]:
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
    }


def _typed(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "typed_config": config}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _ready(admin: int, identity: str) -> Probe:
    def probe(client: httpx.Client) -> bool:
        info = client.get(f"{_url(admin)}/server_info").json()
        return bool(info["state"] == "LIVE" and info["node"]["id"] == identity)

    return probe
