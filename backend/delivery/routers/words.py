"""A route in words: what makes one sound, and its JSON form, in which it travels through a router and back. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from backend.core.errors import Refusal
from backend.delivery.closed import Slug
from backend.delivery.desired import ArmRoute, DesiredRouter, EndpointRoute
from backend.delivery.plan import BUCKETS, ServedName

SCHEMA = 1
MAX_TEXT = 256
_HEADER = re.compile(r"[a-z0-9-]{1,64}")
_UPSTREAM = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_SLUG, _SERVED = TypeAdapter[str](Slug), TypeAdapter[str](ServedName)


def to_words(route: EndpointRoute) -> dict[str, Any]:
    """The whole route as JSON."""
    return {
        "schema": SCHEMA,
        "endpoint": route.endpoint,
        "model": route.model,
        "upstream": route.upstream,
        "generation": route.generation,
        "salt": route.salt,
        "unit_header": route.unit_header,
        "champion": route.champion,
        "shadow": route.shadow,
        "arms": [
            {
                "arm": arm.arm,
                "version": arm.version,
                "served_model": arm.served_model,
                "served_version": arm.served_version,
                "ranges": [list(each) for each in arm.ranges],
            }
            for arm in route.arms
        ],
    }


def from_words(words: Any, is_upstream: Callable[[str], bool] | None = None) -> EndpointRoute | None:
    """The route that some words say; None when no sound route says them. Anything may have been written there."""
    try:
        route = EndpointRoute(
            endpoint=words["endpoint"],
            model=words["model"],
            upstream=words["upstream"],
            generation=_whole(words["generation"]),
            salt=words["salt"],
            unit_header=words["unit_header"],
            champion=words["champion"],
            arms=tuple(_arm(arm) for arm in words["arms"]),
            shadow=words["shadow"],
        )
        check(route, is_upstream)
        return route if to_words(route) == words else None
    except (KeyError, TypeError, ValueError, AttributeError, Refusal):
        return None


def check_all(desired: DesiredRouter, is_upstream: Callable[[str], bool] | None = None) -> None:
    """Refusal when a route cannot be carried, or is filed under another endpoint's name."""
    for name, route in desired.routes.items():
        check(route if route.endpoint == name else replace(route, endpoint=f"{name}/{route.endpoint}"), is_upstream)


def check(route: EndpointRoute, is_upstream: Callable[[str], bool] | None = None) -> None:
    """Refusal when a router could not carry the route, or it does not hold together.

    Args:
        is_upstream: whether a text names a server; `host:port` by default.
    """
    if wrong := _wrong(route, is_upstream or is_address):
        raise Refusal(
            f"The route of {route.endpoint!r:.80} cannot be carried by a router: {wrong}.",
            "Correct that where the endpoint, its server or its plan names it.",
            code="bad-route",
        )


def is_address(upstream: str) -> bool:
    """Whether a text is `host:port`; an IPv6 host stands in brackets."""
    match = _UPSTREAM.fullmatch(upstream)
    return match is not None and 0 < int(match[2]) < 65536


def infer_path(route: EndpointRoute) -> str:
    """Path of an inference under the router's public URL, percent-encoded."""
    return f"{model_path(route)}/infer"


def model_path(route: EndpointRoute) -> str:
    """Path of the endpoint's model under the router's public URL, percent-encoded."""
    return f"/{route.endpoint}/v2/models/{quote(route.model, safe='')}"


def _arm(words: Mapping[str, Any]) -> ArmRoute:
    ranges = tuple((_whole(start), _whole(end)) for start, end in words["ranges"])
    version, served_version = _whole(words["version"]), _whole(words["served_version"])
    return ArmRoute(words["arm"], version, words["served_model"], served_version, ranges)


def _whole(value: Any) -> int:
    """Routers keep JSON numbers as floating point; 2.0 is 2, and 2.5 is nothing of ours."""
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise ValueError("not a whole number")
    return int(value)


def _wrong(route: EndpointRoute, is_upstream: Callable[[str], bool]) -> str:
    """The first thing that is wrong, as half a sentence; "" for none."""
    names = [arm.arm for arm in route.arms]
    checks = [
        (_is(_SLUG, route.endpoint), f"{route.endpoint!r:.80} is not the name of an endpoint"),
        (_is_model(route.model), f"{route.model!r:.80} cannot stand in a path"),
        (is_upstream(route.upstream), f"{route.upstream!r:.80} is not the address of a server"),
        (0 <= route.generation < 2**53, "the generation is not a positive number"),
        (_is_text(route.salt), "the salt is too long or is not text"),
        (_HEADER.fullmatch(route.unit_header), f"{route.unit_header!r:.80} is not a header's name"),
        (len(set(names)) == len(names), "two arms have the same name"),
        (route.champion in names, f"the champion {route.champion!r:.80} is not one of its arms"),
        (route.shadow is None or route.shadow in names, f"the shadow {route.shadow!r:.80} is not one of its arms"),
        (route.shadow != route.champion, "the champion cannot be the shadow, which answers nobody"),
    ]
    wrong = next((says for holds, says in checks if not holds), "")
    return wrong or next((says for arm in route.arms if (says := _wrong_arm(arm))), "") or _wrong_ranges(route)


def _wrong_arm(arm: ArmRoute) -> str:
    if not _is(_SLUG, arm.arm):
        return f"{arm.arm!r:.80} is not the name of an arm"
    if not _is(_SERVED, arm.served_model):
        return f"{arm.served_model!r:.80} is not a name that a server could know a model by"
    if not (0 < arm.version < 2**53 and 0 < arm.served_version < 2**53):
        return f"arm {arm.arm} has a version that is not a positive number"
    return ""


def _wrong_ranges(route: EndpointRoute) -> str:
    ranges = sorted((start, end, arm.arm) for arm in route.arms for start, end in arm.ranges)
    if bad := next((each for each in ranges if not 0 <= each[0] < each[1] <= BUCKETS), None):
        return f"[{bad[0]}, {bad[1]}) is not a range of buckets"
    if any(left[1] > right[0] for left, right in pairwise(ranges)):
        return "two ranges share a bucket"
    if any(arm == route.shadow for _, _, arm in ranges):
        return "the shadow owns buckets, and it answers nobody"
    return ""


def _is(adapter: TypeAdapter[str], value: str) -> bool:
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _is_model(name: str) -> bool:
    """Slashes, even encoded ones, and dot segments are read as structure by whoever normalises the path on the way."""
    return 0 < len(name) <= MAX_TEXT and _is_text(name) and not set(name) & set("/\\\0") and name not in (".", "..")


def _is_text(text: str) -> bool:
    try:
        return len(text.encode()) <= 4 * MAX_TEXT
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
