"""Guardrails in the form of a change: what must not get worse on the way, besides what the policy asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.kit.plain import escape
from backend.policy.guardrails import OF_OUTCOMES, GuardrailAsked, Kind, says

MOST = 20
_KINDS: Mapping[Kind, str] = {
    "errors": "Failed requests",
    "slow": "Slow requests",
    "latency": "A quantile of the latency",
    "predictions": "How far predictions lie apart",
    "outcome": "Mean of an outcome",
    "log_loss": "Log loss beside an outcome",
    "brier": "Brier score beside an outcome",
    "squared_error": "Squared error beside an outcome",
    "absolute_error": "Absolute error beside an outcome",
}
_SHARES = ("errors", "slow", "predictions")
_FOLLOWS = {"rollback": "Roll back", "hold": "Hold until a person acts", "warn": "Tell, and go on"}


def draw(begun: Sequence[Mapping[str, Any]], by_policy: Sequence[GuardrailAsked]) -> list[dict[str, Any]]:
    """Those that are typed; those that the policy asks for stand above them and cannot be left out."""
    for one in by_policy:
        st.markdown(f":small[:gray[By the policy: {escape(says(one), 300)}]]")
    count = st.number_input(
        "Guardrails of its own" if by_policy else "Guardrails",
        0,
        MOST,
        value=len(begun),
        key="guardrails",
        help="What must not get worse while two versions share the traffic, against what runs at the same time.",
    )
    return [_one(number, begun[number] if number < len(begun) else {}) for number in range(int(count or 0))]


def _one(number: int, was: Mapping[str, Any]) -> dict[str, Any]:
    key, kinds, left_right = f"guardrail.{number}", list(_KINDS), st.columns(2)
    kind = left_right[0].selectbox(
        f"Guardrail {number + 1}",
        kinds,
        index=kinds.index(was.get("kind", "errors")),
        key=f"{key}.kind",
        format_func=lambda one: _KINDS[one],
    )
    name = left_right[1].text_input(
        "Called", was.get("name", ""), key=f"{key}.name", max_chars=63, placeholder=kind.replace("_", "-")
    )
    told = {"name": (name or "").strip() or kind.replace("_", "-"), "kind": kind}
    return {**told, **_harm(key, kind, was), **_needs(key, kind, was)}


def _harm(key: str, kind: Kind, was: Mapping[str, Any]) -> dict[str, Any]:
    """How much harm is tolerated, and what follows where more is proved."""
    relative = kind != "predictions" and st.toggle(
        "Its margin is a share of the champion's figure", value=bool(was.get("relative")), key=f"{key}.relative"
    )
    in_percent, left_right = relative or kind in _SHARES, st.columns(2)
    unit = "% of the champion's" if relative else "% of requests" if in_percent else "s" if kind == "latency" else "in its unit"
    margin = left_right[0].number_input(
        f"Tolerated harm ({unit})",
        0.0,
        value=float(was.get("margin", 0.01)) * (100 if in_percent else 1),
        format="%.4g",
        key=f"{key}.margin",
    )
    on_fail = left_right[1].selectbox(
        "Where more is proved",
        list(_FOLLOWS),
        index=list(_FOLLOWS).index(was.get("on_fail", "rollback")),
        key=f"{key}.on_fail",
        format_func=lambda one: _FOLLOWS[one],
    )
    return {"margin": float(margin or 0) / (100 if in_percent else 1), "relative": bool(relative), "on_fail": on_fail}


def _needs(key: str, kind: Kind, was: Mapping[str, Any]) -> dict[str, Any]:
    """What just this kind has to be told."""
    if kind == "slow":
        above = st.number_input(
            "Slow is longer than (s)", 0.001, value=float(was.get("above_seconds") or 0.25), format="%.3f", key=f"{key}.above"
        )
        return {"above_seconds": float(above or 0)}
    if kind == "latency":
        part = st.number_input(
            "Quantile (%)", 50.0, 99.9, value=float(was.get("quantile") or 0.95) * 100, key=f"{key}.quantile"
        )
        return {"quantile": round(float(part or 0) / 100, 4)}
    return _outcome(key, kind, was) if kind in OF_OUTCOMES else {}


def _outcome(key: str, kind: Kind, was: Mapping[str, Any]) -> dict[str, Any]:
    left_right = st.columns(2)
    outcome = left_right[0].text_input(
        "Outcome", was.get("outcome") or "", key=f"{key}.outcome", max_chars=128, placeholder="As it is logged"
    )
    hours = left_right[1].number_input(
        "Known after (hours)", 0.0, 8_760.0, value=was.get("horizon_seconds", 0) / 3_600, key=f"{key}.horizon"
    )
    higher = kind == "outcome" and st.toggle("More of it is better", value=was.get("better") == "higher", key=f"{key}.higher")
    return {
        "outcome": (outcome or "").strip() or None,
        "horizon_seconds": round(float(hours or 0) * 3_600),
        "better": "higher" if higher else "lower",
    }
