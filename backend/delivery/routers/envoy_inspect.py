"""What an Envoy says of itself, and what it lacks for carrying our routes. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from backend.delivery.routers.port import RouterFacts
from backend.embedded.envoy import ARM_HEADER, ASSIGN_FILTER, ASSIGNED_HEADER, BUCKET_HEADER, ROUTE_CONFIG

_NEEDED = {
    ("envoy.router.cluster_specifier_plugin", "envoy.router.cluster_specifier_plugin.priority_group"): "a dead arm's fallback",
    ("envoy.filters.http.upstream", "envoy.filters.http.lua"): "pinning each arm's version",
}


def facts(server: Mapping[str, Any], dump: Mapping[str, Any], admin_url: str) -> RouterFacts:
    """From `/server_info` and `/config_dump`. Raises LookupError for the answers of something else."""
    version = str(server["version"]).split("/")[1]  # commit/version/...
    warnings = [*_missing(server["node"]), *_of_listeners(_listeners(dump)), *_of_admin(admin_url)]
    return RouterFacts("Envoy", version[:40], live=server["state"] == "LIVE", warnings=tuple(warnings))


def lacking(extensions: Iterable[tuple[str, str]]) -> list[str]:
    """What an Envoy with these extensions (category, name) lacks, in words; one that lists none is not judged."""
    known = set(extensions)
    return [
        f"this Envoy has no {name} in {category}, which {need} needs: use 1.40 or later"
        for (category, name), need in _NEEDED.items()
        if known and (category, name) not in known
    ]


def _missing(node: Mapping[str, Any]) -> list[str]:
    listed = [one for one in node.get("extensions", ()) if isinstance(one, Mapping) and not one.get("disabled")]
    return lacking((str(one.get("category")), str(one.get("name"))) for one in listed)


def _of_listeners(listeners: list[Mapping[str, Any]]) -> list[str]:
    managers = [one for one in _managers(listeners) if one.get("rds", {}).get("route_config_name") == ROUTE_CONFIG]
    if not managers:
        return [f"no listener takes its routes from `{ROUTE_CONFIG}`, so that nothing reaches the endpoints"]
    return [says for manager in managers for says in _of_manager(manager)]


def _of_manager(manager: Mapping[str, Any]) -> list[str]:
    filters = [one.get("name") for one in manager.get("http_filters", ())]
    removed = {one.get("remove") for one in _mutations(manager)}
    forgeable = sorted({BUCKET_HEADER, ASSIGNED_HEADER, ARM_HEADER} - removed)
    warnings = []
    if ASSIGN_FILTER not in filters:
        warnings.append(f"the listener has no Lua filter named {ASSIGN_FILTER}, so that every request goes to the champion")
    if forgeable:
        warnings.append(f"the listener lets callers forge {', '.join(forgeable)}")
    if not manager.get("use_remote_address") or "internal_address_config" in manager:
        warnings.append("the listener may believe callers' own x-envoy-* headers, which change time limits and repeats")
    if not manager.get("normalize_path"):
        warnings.append("the listener does not normalise paths")
    return warnings


def _of_admin(url: str) -> list[str]:
    host = urlsplit(url).hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return [] if loopback else [f"its admin endpoint answers without authentication at {host[:80]}: nobody else may reach it"]


def _listeners(dump: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every listener, static or not, as configured."""
    static = [one for part in dump["configs"] for one in part.get("static_listeners", ())]
    dynamic = [one.get("active_state", {}) for part in dump["configs"] for one in part.get("dynamic_listeners", ())]
    return [one["listener"] for one in (*static, *dynamic) if "listener" in one]


def _managers(listeners: list[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for listener in listeners:
        for chain in [*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})]:
            for one in chain.get("filters", ()):
                yield one.get("typed_config", {})


def _mutations(manager: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for extension in manager.get("early_header_mutation_extensions", ()):
        yield from extension.get("typed_config", {}).get("mutations", ())
