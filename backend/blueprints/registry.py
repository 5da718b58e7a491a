"""Every kind that files may declare, in the order in which they are exported. A new kind is one line here."""

from __future__ import annotations

from collections.abc import Mapping

from backend.blueprints.endpoints import EndpointKind
from backend.blueprints.environments import EnvironmentKind
from backend.blueprints.kinds import Kind
from backend.blueprints.monitors import MonitorKind
from backend.blueprints.places import RouterKind, ServerKind
from backend.blueprints.ramps import RampKind
from backend.blueprints.slos import SloKind
from backend.blueprints.teams import TeamKind

KINDS: Mapping[str, Kind] = {
    one.name: one
    for one in (
        RampKind(),
        EnvironmentKind(),
        ServerKind(),
        RouterKind(),
        TeamKind(),
        EndpointKind(),
        SloKind(),
        MonitorKind(),
    )
}
"""Name -> the kind."""
