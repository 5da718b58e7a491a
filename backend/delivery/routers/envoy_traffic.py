"""What an Envoy's counters say of arms. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from backend.delivery.routers.envoy_render import PREFIX
from backend.delivery.routers.port import ArmTraffic

_ROUTE_STATS = re.compile(r"vhost\.countersign\.route\.([a-z0-9-]+)\.([a-z0-9-]+)\.(champion|challenger)\.upstream_rq_(\w+)")
_SHADOW_STATS = re.compile(rf"cluster\.{PREFIX}([a-z0-9-]+)_([a-z0-9-]+)_(shadow)\.upstream_rq_(\w+)")
COUNTED = rf"^(vhost\.countersign\.route\.|cluster\.{PREFIX}[a-z0-9-]+_[a-z0-9-]+_shadow\.).*rq_(completed|5xx|retry_success)$"
"""The names of all counters that are read."""


def summed(figures: Iterable[Mapping[str, str]]) -> tuple[ArmTraffic, ...]:
    """Of one Envoy or several, by endpoint and arm."""
    totals: dict[tuple[str, str], list[int]] = {}
    for name, value in (each for one in figures for each in one.items()):
        if match := _ROUTE_STATS.fullmatch(name) or _SHADOW_STATS.fullmatch(name):
            endpoint, arm, role, figure = match.groups()
            total = totals.setdefault((endpoint, arm), [0, 0, 0])
            for place, times in enumerate(_outcome(role, figure)):
                total[place] += times * int(value)
    return tuple(ArmTraffic(endpoint, arm, *total) for (endpoint, arm), total in sorted(totals.items()))


def _outcome(role: str, figure: str) -> tuple[int, int, int]:
    """How often one counter counts as a request, a failure, and a fallback.

    A repeated request ends either well (`retry_success`) or in a 5xx, which was counted once. The champion is repeated on
    itself, after a broken connection: that is neither a failure nor a fallback.
    """
    if figure == "retry_success":
        return (0, 1, 1) if role == "challenger" else (0, 0, 0)
    return (1, 0, 0) if figure == "completed" else (0, 1, 0)
