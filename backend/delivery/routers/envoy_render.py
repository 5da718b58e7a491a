"""Our routes as Envoy's configuration: one RouteConfiguration and its clusters, deterministic. Pure.

How a request goes, and why it is built so (each point was seen on Envoy 1.40):

- The last route of an endpoint is the champion's and matches every inference. Its metadata holds the whole route in words; the
  script of the virtual host reads them, names the bucket and the arm, and Envoy chooses again, now by the arm's name. So the
  words that are read back are the words that assign. No text of a user ever becomes code: what the script needs is data.
- Each arm has a cluster of its own, so that a slow arm exhausts its own connections only, and a filter in it rewrites the path
  to the arm's version at each attempt. Members of an aggregate cluster do not run such filters, and HeaderMutation may not
  change a path; Lua in the cluster can.
- Envoy retries inside one cluster. The priority group specifier with `refresh_cluster_on_retry` sends the second attempt to the
  champion's cluster. An inference changes nothing on the server, so that repeating one is harmless.
- Where an endpoint has a shadow, another filter of its arms' clusters hears what they answer and tells it to the listener for
  answers of `embedded.envoy`, which not every Envoy has. It stands first, so that it hears what the arm's own filter made of an
  answer. The generation comes to it by a header of the request: in the cluster it would make a new one at each change.
- A cluster's name ends with a digest of its content. A route and where it leads therefore change in one step.

Sources: Envoy 1.40 API reference (RouteConfiguration, RetryPolicy, PriorityGroupClusterSpecifier, Lua, HttpProtocolOptions).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from backend.core.canonical import digest_bytes
from backend.delivery.desired import ArmRoute, EndpointRoute
from backend.delivery.routers.words import infer_path, model_path, to_words
from backend.embedded.envoy import (
    ANSWERS_CLUSTER,
    ARM_HEADER,
    ASSIGN_FILTER,
    ASSIGNED_HEADER,
    BUCKET_HEADER,
    GENERATION_HEADER,
    ROUTE_CONFIG,
    VERSION_HEADER,
)

Json = dict[str, Any]
PREFIX = "countersign_"
MAX_REQUEST_BYTES = 16 << 20
"""The largest request that can be repeated at the champion, and the largest that is copied to a shadow."""
_IN_FLIGHT = 1024
ARM_FILTER = "countersign.arm"  # named as the listener's filter, it would run the virtual host's script
_ANSWER_FILTER = "countersign.answer"
_TYPE = "type.googleapis.com/envoy"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_STAMPS = (ARM_HEADER, ASSIGNED_HEADER, VERSION_HEADER, GENERATION_HEADER, BUCKET_HEADER)


@dataclass(frozen=True)
class Rendered:
    """The configuration of some endpoints: one RouteConfiguration, and the clusters that it needs by name."""

    routes: Json
    clusters: Mapping[str, Json]


def render(routes: Iterable[EndpointRoute], answer_seconds: float) -> Rendered:
    """Everything for these endpoints, in order of their names. `answer_seconds` bounds one attempt at one arm."""
    parts = [_Endpoint.of(route, answer_seconds) for route in sorted(routes, key=lambda route: route.endpoint)]
    listed = [one for part in parts for one in part.routes()]
    return Rendered(_configuration(listed), {one["name"]: one for part in parts for one in (part.server, *part.arms.values())})


def arm_stat(route: EndpointRoute, arm: ArmRoute) -> str:
    """Under which name Envoy counts a cluster, whatever its content is."""
    return f"{PREFIX}{route.endpoint}_{arm.arm}{'_shadow' if arm.arm == route.shadow else ''}"


def content_name(stat: str, content: Mapping[str, Any]) -> str:
    """A cluster's name: what it is called in figures, and a digest of all that it says besides its name."""
    return f"{stat}_{digest_of(content).removeprefix('sha256:')[:12]}"


def digest_of(value: Any) -> str:
    """`sha256:<hex>` over a value in a fixed form of its own: what is named by it never leaves this machine's Envoy."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def is_ours(cluster: Mapping[str, Any]) -> bool:
    """Whether a cluster is one that we made, unchanged: its name says its content."""
    content = {key: value for key, value in cluster.items() if key != "name"}
    content["load_assignment"] = {k: v for k, v in dict(cluster.get("load_assignment", {})).items() if k != "cluster_name"}
    stat = str(cluster.get("alt_stat_name", ""))
    return stat.startswith(PREFIX) and cluster.get("name") == content_name(stat, content)


def lua_string(text: str) -> str:
    """A text as a Lua literal that nothing can leave: every byte but letters, digits and a few marks is a decimal escape."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-. "
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in text.encode()) + '"'


def infer_target(arm: ArmRoute) -> str:
    """Path on the server that answers as this arm."""
    return f"{_version_target(arm)}/infer"


def text_of(response: Mapping[str, Any]) -> str:
    """The bytes of a file, deterministic: sorted keys, one line a level."""
    return json.dumps(response, indent=1, sort_keys=True) + "\n"


def _configuration(routes: list[Json]) -> Json:
    if not routes:
        return {"@type": f"{_TYPE}.config.route.v3.RouteConfiguration", "name": ROUTE_CONFIG, "validate_clusters": True}
    script = {
        "@type": f"{_TYPE}.extensions.filters.http.lua.v3.LuaPerRoute",
        "source_code": {"inline_string": _script("envoy_script.lua")},
    }
    host = {"name": ROUTE_CONFIG, "domains": ["*"], "routes": routes, "typed_per_filter_config": {ASSIGN_FILTER: script}}
    return {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTE_CONFIG,
        "validate_clusters": True,  # else an unknown cluster is accepted and its share gets 503
        "virtual_hosts": [host],
    }


@cache
def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text()


# -- the routes of one endpoint


@dataclass(frozen=True)
class _Endpoint:
    """One endpoint with its clusters: its server as such, and the server as each arm sees it."""

    route: EndpointRoute
    answer_seconds: float
    server: Json
    arms: Mapping[str, Json]

    @classmethod
    def of(cls, route: EndpointRoute, answer_seconds: float) -> _Endpoint:
        server = _server(route)
        arms = {arm.arm: _arm_cluster(route, arm, server["name"]) for arm in route.arms}
        return cls(route, answer_seconds, server, arms)

    def routes(self) -> list[Json]:
        serving = [arm for arm in self.route.arms if arm.arm != self.route.shadow]
        challengers = [arm for arm in serving if arm.arm != self.route.champion]
        champion = next(arm for arm in serving if arm.arm == self.route.champion)
        return [
            *(self._challenger(arm) for arm in challengers),
            self._champion(champion),
            self._read(champion, ""),
            self._read(champion, "/ready"),
        ]

    def _challenger(self, arm: ArmRoute) -> Json:
        """Answers for its buckets; when it fails, the champion does."""
        groups = [
            {"name": name, "clusters": [{"cluster_name": self.arms[name]["name"], "weight": 1}]}
            for name in (arm.arm, self.route.champion)
        ]
        kind = f"{_TYPE}.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
        specifier = {
            "name": "envoy.router.cluster_specifier_plugin.priority_group",
            "typed_config": {"@type": kind, "priority_groups": groups},
        }
        retry = {**_retry("5xx"), "per_try_timeout": _seconds(self.answer_seconds), "refresh_cluster_on_retry": True}
        action = {
            "inline_cluster_specifier_plugin": {"extension": specifier},
            "retry_policy": retry,
            "timeout": _seconds(2 * self.answer_seconds + 1),
        }
        match = self._infer_match(_exactly(ASSIGNED_HEADER, arm.arm))
        return self._inference(arm, match, action, "challenger")

    def _champion(self, arm: ArmRoute) -> Json:
        """Answers for its buckets and for whoever has none. It is tried again only where a connection broke, on itself."""
        action = {
            "cluster": self.arms[arm.arm]["name"],
            "retry_policy": _retry("connect-failure,refused-stream,reset"),
            "timeout": _seconds(self.answer_seconds),
        }
        chosen_first = self._inference(arm, self._infer_match(), action, "champion")
        return {**chosen_first, "metadata": {"filter_metadata": {ASSIGN_FILTER: to_words(self.route)}}}

    def _inference(self, arm: ArmRoute, match: Json, action: Json, role: str) -> Json:
        stamps = [
            _stamp(ASSIGNED_HEADER, arm.arm),
            _stamp(GENERATION_HEADER, str(self.route.generation)),
            _stamp(BUCKET_HEADER, f"%REQ({BUCKET_HEADER})%"),  # left out where the request has none
            _stamp(ARM_HEADER, arm.arm, "ADD_IF_ABSENT"),  # for what Envoy answers itself; else the arm has stamped it
            _stamp(VERSION_HEADER, str(arm.version), "ADD_IF_ABSENT"),
        ]
        return {
            "name": f"{self.route.endpoint}/{arm.arm}",
            "match": match,
            "route": {**action, **self._mirror()},
            "response_headers_to_add": stamps,
            "request_body_buffer_limit": str(MAX_REQUEST_BYTES),  # 64-bit numbers are texts in protobuf's JSON
            "stat_prefix": f"{self.route.endpoint}.{arm.arm}.{role}",
            **self._generation(),
        }

    def _generation(self) -> Json:
        """For whoever hears the answers, the shadow's too, which no route stamps."""
        if self.route.shadow is None:
            return {}
        return {"request_headers_to_add": [_stamp(GENERATION_HEADER, str(self.route.generation))]}

    def _mirror(self) -> Json:
        if self.route.shadow is None:
            return {}
        policy = {"cluster": self.arms[self.route.shadow]["name"], "disable_shadow_host_suffix_append": True}
        return {"request_mirror_policies": [policy]}

    def _infer_match(self, *more: Json) -> Json:
        return {"path": infer_path(self.route), "headers": [_exactly(":method", "POST"), *more]}

    def _read(self, champion: ArmRoute, what: str) -> Json:
        """The champion's metadata or readiness under the endpoint's own path. Nothing else of the server can be reached."""
        stamps = {ARM_HEADER: champion.arm, VERSION_HEADER: champion.version, GENERATION_HEADER: self.route.generation}
        return {
            "name": f"{self.route.endpoint}/{champion.arm}{what or '/metadata'}",
            "match": {"path": model_path(self.route) + what, "headers": [_exactly(":method", "GET")]},
            "route": {
                "cluster": self.server["name"],
                "prefix_rewrite": _version_target(champion) + what,
                "retry_policy": _retry("connect-failure,refused-stream,reset"),
                "timeout": _seconds(self.answer_seconds),
            },
            "response_headers_to_remove": list(_STAMPS),
            "response_headers_to_add": [_stamp(name, str(value)) for name, value in stamps.items()],
        }


def _retry(on: str) -> Json:
    """Once more, at once, and on another replica where there is one."""
    predicate = "envoy.retry_host_predicates.previous_hosts"
    kind = f"{_TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "retry_on": on,
        "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.010s"},
        "retry_host_predicate": [{"name": predicate, "typed_config": {"@type": kind}}],
        "host_selection_retry_max_attempts": "3",
    }


def _exactly(header: str, value: str) -> Json:
    return {"name": header, "string_match": {"exact": value}}


def _stamp(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _seconds(value: float) -> str:
    """Protobuf's own form of a duration: no fraction, or three digits of it."""
    return f"{value:.0f}s" if value == int(value) else f"{value:.3f}s"


# -- the clusters of one endpoint


def _server(route: EndpointRoute) -> Json:
    """The endpoint's server, paths as they come: for metadata, and to ask whether a version is ready."""
    return _named(_cluster(route.upstream, f"{PREFIX}{route.endpoint}", []))


def _arm_cluster(route: EndpointRoute, arm: ArmRoute, server: str) -> Json:
    values = {
        "INFER": infer_target(arm),
        "READY": f"{_version_target(arm)}/ready",
        "ARM": arm.arm,
        "VERSION": str(arm.version),
        "SERVER": server,
    }
    filters = [_lua(ARM_FILTER, "envoy_arm.lua", values)]
    if route.shadow is not None:
        filters.insert(0, _answer_filter(route, arm, route.shadow))
    return _named(_cluster(route.upstream, arm_stat(route, arm), filters))


def _answer_filter(route: EndpointRoute, arm: ArmRoute, shadow: str) -> Json:
    values = {
        "ENDPOINT": route.endpoint,
        "SHADOW": shadow,
        "ARM": arm.arm,
        "VERSION": str(arm.version),
        "UNIT": route.unit_header,
        "LISTENER": ANSWERS_CLUSTER,
    }
    return _lua(_ANSWER_FILTER, "envoy_answer.lua", values)


def _lua(filter_name: str, script: str, values: Mapping[str, str]) -> Json:
    code = _script(script)
    for name, value in values.items():
        code = code.replace(f"@{name}@", lua_string(value))
    lua = {"@type": f"{_TYPE}.extensions.filters.http.lua.v3.Lua", "default_source_code": {"inline_string": code}}
    return {"name": filter_name, "typed_config": lua}


def _cluster(upstream: str, stat: str, filters: list[Json]) -> Json:
    host, _, port = upstream.rpartition(":")
    address = {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}
    codec = {"@type": f"{_TYPE}.extensions.filters.http.upstream_codec.v3.UpstreamCodec"}
    limits = {f"max_{what}": _IN_FLIGHT for what in ("connections", "pending_requests", "requests", "retries")}
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "alt_stat_name": stat,
        **({"type": "STATIC"} if _is_ip(host) else {"type": "STRICT_DNS", "dns_lookup_family": "V4_PREFERRED"}),
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"{_TYPE}.{_HTTP_OPTIONS.removeprefix('envoy.')}",
                "common_http_protocol_options": {"idle_timeout": "30s"},
                "explicit_http_config": {"http_protocol_options": {}},
                "http_filters": [*filters, {"name": "envoy.filters.http.upstream_codec", "typed_config": codec}],
            }
        },
    }


def _named(content: Json) -> Json:
    name = content_name(content["alt_stat_name"], content)
    return {**content, "name": name, "load_assignment": {**content["load_assignment"], "cluster_name": name}}


def _version_target(arm: ArmRoute) -> str:
    return f"/v2/models/{arm.served_model}/versions/{arm.served_version}"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
