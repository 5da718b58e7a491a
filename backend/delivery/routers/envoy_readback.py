"""What an Envoy has in force, read from its configuration dump and told in our words. Pure.

The words that an endpoint's routes carry are rendered again and compared with all that is in force around them. Equal: the
words are the truth, because they are also what the script assigns by. Not equal: somebody changed a part that is not words,
and the route that comes out says what is really there as far as it can be read, and never equals the one that was pushed.

Source: Envoy 1.40, admin API (`/config_dump`: RoutesConfigDump, ClustersConfigDump).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.delivery.desired import ArmRoute, EndpointRoute
from backend.delivery.routers.envoy_render import ARM_FILTER, Json, arm_stat, digest_of, render
from backend.delivery.routers.port import SeenRouter
from backend.delivery.routers.words import from_words
from backend.embedded.envoy import ASSIGN_FILTER, GENERATION_HEADER, ROUTE_CONFIG

MAX_FOREIGN = 50
_OURS = re.compile(r"([a-z0-9-]{1,63})/.+")
_TARGET = re.compile(r'local INFER, READY = "/v2/models/([A-Za-z0-9_.-]+)/versions/([0-9]{1,15})/infer", "/v2/')


@dataclass(frozen=True)
class InForce:
    """The part of a configuration dump that routes our traffic."""

    configuration: Json = field(default_factory=dict)
    clusters: Mapping[str, Json] = field(default_factory=dict)

    def digest(self) -> str:
        """Digest of all of it."""
        return digest_of({"routes": self.configuration, "clusters": dict(self.clusters)})

    def named_clusters(self) -> frozenset[str]:
        """Every cluster that a route in force may send a request to."""
        return frozenset(_clusters_in(self.configuration))


@dataclass(frozen=True)
class _Endpoint:
    """One endpoint's routes in force, in order, and whether anything that is not ours may answer before they do."""

    name: str
    routes: list[Json]
    shadowed: bool


def parse_dump(dump: Mapping[str, Any]) -> InForce:
    """Our RouteConfiguration and every active cluster out of a whole `/config_dump`."""
    configuration: Json = {}
    clusters: dict[str, Json] = {}
    for part in dump["configs"]:
        for each in part.get("dynamic_route_configs", ()):
            if each.get("route_config", {}).get("name") == ROUTE_CONFIG:
                configuration = each["route_config"]
        for each in part.get("dynamic_active_clusters", ()):
            clusters[str(each["cluster"]["name"])] = each["cluster"]
    return InForce(configuration, clusters)


def seen(in_force: InForce, answer_seconds: float, rejected: str = "") -> SeenRouter:
    """What is in force, in our words."""
    hosts = in_force.configuration.get("virtual_hosts", [])
    ours = _our_host(in_force.configuration)
    strangers = [f"virtual host {_short(host.get('name'))}" for host in hosts if host is not ours]
    foreign = strangers + [_called(route) for route in ours.get("routes", ()) if _endpoint_of(route) is None]
    found = {each.name: _read(each, in_force, answer_seconds) for each in _endpoints(ours, bool(strangers))}
    return SeenRouter(found, tuple(foreign[:MAX_FOREIGN]), rejected, in_force.digest())


def _endpoints(host: Json, shadowed: bool) -> Iterable[_Endpoint]:
    """The endpoints of our virtual host. A stranger that stands in front of the last route of one may answer for it."""
    by_name: dict[str, list[Json]] = {}
    behind: dict[str, bool] = {}
    for route in host.get("routes", ()):
        name = _endpoint_of(route)
        if name is None:
            shadowed = True
            continue
        by_name.setdefault(name, []).append(route)
        behind[name] = shadowed
    return [_Endpoint(name, routes, behind[name]) for name, routes in by_name.items()]


def _read(endpoint: _Endpoint, in_force: InForce, answer_seconds: float) -> EndpointRoute:
    words = _words(endpoint)
    if words is None:
        return _unreadable(endpoint)
    if endpoint.shadowed:
        return _changed(words, "a route that is not ours may answer first")
    what = _difference(words, endpoint, in_force, answer_seconds)
    return words if not what else _really(words, endpoint, in_force, what)


def _difference(words: EndpointRoute, endpoint: _Endpoint, in_force: InForce, answer_seconds: float) -> str:
    """Which part is not what these words come to; "" when everything is."""
    ours = render([words], answer_seconds)
    if _envelope(ours.routes) != _envelope(in_force.configuration):
        return "the router's script or its virtual host was changed by hand"
    if _our_host(ours.routes)["routes"] != endpoint.routes:
        return "its routes were changed by hand"
    if any(in_force.clusters.get(name) != cluster for name, cluster in ours.clusters.items()):
        return "its clusters were changed by hand"
    return ""


def _envelope(configuration: Json) -> Json:
    """Everything around the routes."""
    host = {key: value for key, value in _our_host(configuration).items() if key != "routes"}
    return {**configuration, "virtual_hosts": [host]}


def _our_host(configuration: Json) -> Json:
    hosts = configuration.get("virtual_hosts", [])
    return next((host for host in hosts if host.get("name") == ROUTE_CONFIG), {})


def _words(endpoint: _Endpoint) -> EndpointRoute | None:
    metadata = [route.get("metadata", {}).get("filter_metadata", {}).get(ASSIGN_FILTER) for route in endpoint.routes]
    told = [from_words(each) for each in metadata if each is not None]
    return told[0] if len(told) == 1 and told[0] is not None and told[0].endpoint == endpoint.name else None


# -- what is really there, where it is not what the words say


def _really(words: EndpointRoute, endpoint: _Endpoint, in_force: InForce, what: str) -> EndpointRoute:
    """The words with the targets that the clusters in force really have; marked where that shows no difference."""
    found, upstreams = [], []
    for arm in words.arms:
        target = _target(in_force.clusters.get(_leads_to(endpoint, words, arm)))
        if target is None:
            return _changed(words, what)
        upstream, model, version = target
        upstreams += [upstream] if upstream != words.upstream else []
        found.append(replace(arm, served_model=model, served_version=version))
    really = replace(words, upstream=[*upstreams, words.upstream][0], arms=tuple(found))
    return really if really != words else _changed(words, what)


def _leads_to(endpoint: _Endpoint, words: EndpointRoute, arm: ArmRoute) -> str:
    """The cluster that an arm's requests go to in force; "" when that cannot be told."""
    stat = arm_stat(words, arm) + "_"
    own = [route for route in endpoint.routes if arm.arm == words.shadow or route["name"] == f"{words.endpoint}/{arm.arm}"]
    return next((name for route in own for name in _clusters_in(route) if name.startswith(stat)), "")


def _target(cluster: Json | None) -> tuple[str, str, int] | None:
    """Address, served model and served version that a cluster of ours sends requests to, if they can be read."""
    try:
        (locality,) = cluster["load_assignment"]["endpoints"]  # type: ignore[index]
        (server,) = locality["lb_endpoints"]
        address = server["endpoint"]["address"]["socket_address"]
        (options,) = cluster["typed_extension_protocol_options"].values()  # type: ignore[index]
        (script,) = (one["typed_config"] for one in options["http_filters"] if one["name"] == ARM_FILTER)
        code = script["default_source_code"]["inline_string"]
        host, port, match = str(address["address"]), int(address["port_value"]), _TARGET.search(code)
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    if match is None:
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", match[1], int(match[2])


def _changed(words: EndpointRoute, what: str) -> EndpointRoute:
    """A route that no approval can ever want: its address says what was found."""
    return replace(words, upstream=f"{words.upstream} ({what})")


def _unreadable(endpoint: _Endpoint) -> EndpointRoute:
    """What remains of an endpoint whose words are gone or are no words: its name and the generation that it stamps."""
    return EndpointRoute(
        endpoint=endpoint.name,
        model="",
        upstream="unknown (its words were changed by hand)",
        generation=max((_stamped(route) for route in endpoint.routes), default=0),
        salt="",
        unit_header="",
        champion="",
        arms=(),
    )


def _stamped(route: Json) -> int:
    added = [each.get("header", {}) for each in route.get("response_headers_to_add", ())]
    values = [str(header.get("value", "")) for header in added if header.get("key") == GENERATION_HEADER]
    return max((int(value) for value in values if value.isascii() and value.isdigit() and len(value) < 16), default=0)


def _endpoint_of(route: Json) -> str | None:
    match = _OURS.fullmatch(str(route.get("name", "")))
    return match[1] if match else None


def _called(route: Json) -> str:
    match = route.get("match", {})
    where = next((match[kind] for kind in ("path", "prefix", "path_separated_prefix") if kind in match), "a pattern")
    return f"route {_short(route.get('name') or where)}"


def _short(text: object) -> str:
    """A stranger's name in one line."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(text or "without a name")).split())[:120]


def _clusters_in(node: Any) -> Iterable[str]:
    """Every value of a key that names a cluster, anywhere below."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("cluster", "cluster_name", "name") and isinstance(value, str):
                yield value
            else:
                yield from _clusters_in(value)
    elif isinstance(node, list):
        for each in node:
            yield from _clusters_in(each)
