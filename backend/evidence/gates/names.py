"""The registry of gates: one line a gate. An unknown name is an error, never a default."""

from __future__ import annotations

from backend.core.errors import Refusal
from backend.evidence.gates.artifact import ArtifactGate
from backend.evidence.gates.monitors_armed import MonitorsArmedGate
from backend.evidence.gates.open_findings import OpenFindingsGate
from backend.evidence.gates.preflight import PreflightGate
from backend.evidence.gates.recorded_answers import RecordedAnswersGate
from backend.evidence.port import Gate

GATES: dict[str, type[Gate]] = {
    ArtifactGate.name: ArtifactGate,
    MonitorsArmedGate.name: MonitorsArmedGate,
    OpenFindingsGate.name: OpenFindingsGate,
    PreflightGate.name: PreflightGate,
    RecordedAnswersGate.name: RecordedAnswersGate,
}

HARD = frozenset(name for name, gate in GATES.items() if gate.hard)
"""Gates that must pass whatever a policy says."""


def gate_type(name: str) -> type[Gate]:
    """The gate's class, for its limits and its title. Refusal for an unknown name."""
    if name not in GATES:
        raise Refusal(f"{name!r} is not a gate.", f"Choose from {', '.join(sorted(GATES))}.", code="unknown-gate")
    return GATES[name]
