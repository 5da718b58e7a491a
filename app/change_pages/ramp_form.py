"""The ramp in the form of a change: one by name or steps with their gates, a copy of the same age, the split of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.kit.plain import escape
from backend.changes.shares import apportion
from backend.delivery.plan import BUCKETS
from backend.policy.ramps import RampLine
from backend.policy.rules import steps_say

MOST_STEPS = 8
OWN = ""
"""Chosen where steps are typed."""
_HOUR = 3_600
_STATISTICS: Mapping[str | None, str] = {
    None: "as usual: none failed, at the last step proved",
    "not_failed": "no guardrail failed",
    "passed": "every guardrail is proved to be kept",
}


def ramp(begun: Sequence[Mapping[str, Any]], known: Sequence[RampLine], asked_for: Sequence[str]) -> str | list[dict[str, Any]]:
    """The name of a ramp, or steps.

    Args:
        begun: steps that the form begins with.
        known: ramps by name; `asked_for`: those of which the policy wants one walked, and the first of which is offered then.
    """
    named = {one.name: one for one in known}
    first = next((one for one in asked_for if one in named), OWN) if not begun else OWN
    names = [OWN, *sorted(named, key=lambda one: (one not in asked_for, one))]
    chosen = st.selectbox(
        "Ramp",
        names,
        index=names.index(first),
        key="ramp.name",
        format_func=lambda name: _called(named[name], asked_for) if name else "Steps of its own",
        help="A ramp by name is taken over as it is now. What was approved never moves with its name.",
    )
    if chosen:
        st.markdown(f":small[:gray[{escape(steps_say(named[chosen].steps), 600)}; then all of it]]")
        return str(chosen)
    return _steps(begun)


def _called(line: RampLine, asked_for: Sequence[str]) -> str:
    whose = "the policy asks for it" if line.name in asked_for else "" if line.revision else "template"
    return f"{line.name} · {whose}" if whose else line.name


def _steps(begun: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """So many steps, each with a share, a time and what else it asks for."""
    count = st.number_input(
        "Steps on the way",
        0,
        max(MOST_STEPS, len(begun)),  # the API takes more than one would type here: all of them are kept
        value=len(begun),
        key="steps",
        help="Each is held before the next one; 0 goes there in one step.",
    )
    return [_step(number, begun[number] if number < len(begun) else {}) for number in range(int(count or 0))]


def _step(number: int, was: Mapping[str, Any]) -> dict[str, Any]:
    """One step: the share or copies, for how long, then what it asks for besides, in the order of the gates."""
    named, left_right = f"Step {number + 1}", st.columns(2)
    copies = bool(was.get("shadow"))
    if number == 0:
        copies = st.toggle(
            "Step 1 gets copies and answers nobody", value=copies, key="step.0.shadow", help="Its router has to copy requests."
        )
    share = left_right[0].number_input(
        f"{named}: share (%)",
        0.01,
        99.99,
        value=max(was.get("share", 0) or 1_000 * (number + 1), 1) / 100,
        key=f"step.{number}.share",
        disabled=copies,
    )
    hours = left_right[1].number_input(
        f"{named}: hold (hours)", 0.0, 720.0, value=was.get("hold_seconds", _HOUR) / _HOUR, step=1.0, key=f"step.{number}.hours"
    )
    units, statistics = (0, None) if copies else _measured(number, was)
    person = st.toggle(
        f"After step {number + 1} somebody lets it go on", value=bool(was.get("person")), key=f"step.{number}.person"
    )
    return {
        "share": 0 if copies else round(float(share or 0) * 100),
        "hold_seconds": round(float(hours or 0) * _HOUR),
        "person": bool(person),
        **({"min_units": units} if units else {}),
        **({"statistics": statistics} if statistics else {}),
        **({"shadow": True} if copies else {}),
    }


def _measured(number: int, was: Mapping[str, Any]) -> tuple[int, str | None]:
    """What has to be measured at a step before the next: units of the smallest arm, and its guardrails."""
    left_right, kinds = st.columns(2), list(_STATISTICS)
    units = left_right[0].number_input(
        f"Step {number + 1}: units in each arm",
        0,
        1_000_000_000,
        value=int(was.get("min_units", 0)),
        step=100,
        key=f"step.{number}.units",
        help="Of those that entered at this step and whose figures are complete. It takes a guardrail.",
    )
    statistics = left_right[1].selectbox(
        f"Step {number + 1}: guardrails",
        kinds,
        index=kinds.index(was.get("statistics")),
        key=f"step.{number}.statistics",
        format_func=lambda one: _STATISTICS[one].capitalize(),
    )
    return int(units or 0), statistics


def same_age(ramp: str | Sequence[object], was: bool) -> bool:
    """Whether a copy of what runs is loaded as newly and is what the version is compared with; only beside a ramp."""
    return bool(ramp) and st.toggle(
        "Compare it with a copy of the champion that is loaded as newly",
        value=was,
        key="same_age",
        help="So that a cold new version is compared with a cold old one. The copy gets as much as the new version on the way.",
    )


def rest(share: int, others: Mapping[int, int], was: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
    """How the rest is split at the end among the versions that run besides; empty where they keep their proportions.

    Args:
        share: of the version, in buckets.
        others: version -> its buckets now, of the others.
    """
    if len(others) < 2 or not st.toggle(
        "Say how the rest is split", value=bool(was), key="rest", help="Else what runs besides keeps its proportions."
    ):
        return []
    kept = apportion({str(version): part for version, part in others.items()}, BUCKETS - share)
    begun = {int(one["version"]): int(one["share"]) for one in was}
    return [_rest(version, begun.get(version, kept[str(version)])) for version in sorted(others)]


def _rest(version: int, share: int) -> dict[str, int]:
    typed = st.number_input(f"Version {version} at the end (%)", 0.0, 100.0, value=share / 100, key=f"rest.{version}")
    return {"version": version, "share": round(float(typed or 0) * 100)}
