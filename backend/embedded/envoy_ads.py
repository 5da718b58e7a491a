"""An Envoy of a fleet: the listener of the embedded one, with routes and clusters from an ADS server instead of files.

It is not live before it has both, so that nobody sends traffic to one that knows no routes yet.
Sources: Envoy 1.40 API reference (Bootstrap.DynamicResources, AggregatedConfigSource, UpstreamTlsContext).
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from backend.embedded import envoy
from backend.embedded.envoy import AccessLogTo, EnvoyServer
from backend.embedded.launch import Probe, launch
from backend.embedded.ports import LOOPBACK
from backend.embedded.specs import Spec
from backend.embedded.supervisor import Supervisor

ADS_CLUSTER = "countersign_xds"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


@dataclass(frozen=True)
class ClientTls:
    """Files, as Envoy sees them: who signed the ADS server's certificate, and the Envoy's own certificate and key."""

    ca: str
    certificate: str
    key: str


@dataclass(frozen=True)
class FleetMember:
    """What one Envoy of a fleet is told at its start.

    Args:
        node: its name, which no other of the fleet may have.
        ads, listener, admin: (host, port) of the ADS server, of where callers ask, and of its admin endpoint.
        access_log: a file for its access log.
    """

    node: str
    ads: tuple[str, int]
    listener: tuple[str, int]
    admin: tuple[str, int]
    tls: ClientTls | None = None
    access_log: str | None = None
    log_to: AccessLogTo | None = None


def bootstrap(member: FleetMember) -> dict[str, Any]:
    """The whole static configuration."""
    logs = [envoy.file_access_log(Path(member.access_log))] if member.access_log else []
    ingest = envoy.log_clusters(member.log_to) if member.log_to is not None else []
    logs += [envoy.grpc_access_log(member.log_to)] if member.log_to is not None else []
    return {
        "node": {"id": member.node, "cluster": "countersign"},
        "admin": {"address": _address(member.admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": ADS_CLUSTER}}],
            },
            "cds_config": _source(),
        },
        "static_resources": {
            "listeners": [envoy.inference_listener(_address(member.listener), _source(), logs)],
            "clusters": [_ads_cluster(member), *ingest],
        },
        "stats_config": envoy.stats_config(),
    }


def start_fleet_envoy(group: Supervisor, folder: Path, binary: Path, ads: tuple[str, int], *, node: str) -> EnvoyServer:
    """Starts one on loopback and waits until it takes traffic: until the ADS server has given it routes."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def described(ports: tuple[int, ...]) -> tuple[Spec, Probe]:
        listener, admin = ports
        log = str(folder / "access.log")
        member = FleetMember(node, ads, (LOOPBACK, listener), (LOOPBACK, admin), access_log=log)
        (folder / "bootstrap.json").write_text(json.dumps(bootstrap(member), indent=1))
        return envoy.spec(folder, listener, binary, node), _ready(admin, node)

    child, (listener, admin) = launch(group, node, 2, described, envoy.READY_SECONDS)
    return EnvoyServer(f"http://{LOOPBACK}:{listener}", f"http://{LOOPBACK}:{admin}", folder, child)


def _ready(admin: int, node: str) -> Probe:
    def probe(client: httpx.Client) -> bool:
        info = client.get(f"http://{LOOPBACK}:{admin}/server_info").json()
        return bool(info["state"] == "LIVE" and info["node"]["id"] == node)

    return probe


def _source() -> dict[str, Any]:
    """Both kinds over one stream, so that their order is the server's; waited for without an end."""
    return {"resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "0s"}


def _ads_cluster(member: FleetMember) -> dict[str, Any]:
    host, _ = member.ads
    kind = {"type": "STATIC"} if _is_ip(host) else {"type": "STRICT_DNS"}
    return envoy.grpc_cluster(ADS_CLUSTER, _address(member.ads), **kind, **_transport(member.tls, host))


def _transport(tls: ClientTls | None, host: str) -> dict[str, Any]:
    if tls is None:
        return {}
    certificate = {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.key}}
    name = {"san_type": "IP_ADDRESS" if _is_ip(host) else "DNS", "matcher": {"exact": host}}
    context = {
        "@type": _TLS,
        **({} if _is_ip(host) else {"sni": host}),
        "common_tls_context": {
            "tls_certificates": [certificate],
            "alpn_protocols": ["h2"],
            "validation_context": {"trusted_ca": {"filename": tls.ca}, "match_typed_subject_alt_names": [name]},
        },
    }
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def _address(place: tuple[str, int]) -> dict[str, Any]:
    return {"socket_address": {"address": place[0], "port_value": place[1]}}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
