"""Rules of rollouts: pure decisions on values."""

from __future__ import annotations

from backend.core.machine import Machine

ROLLOUT = Machine(
    noun="rollout",
    initial="waiting",
    states=("waiting", "ramping", "holding", "complete", "paused", "aborted", "rolled_back"),
    table={
        ("waiting", "begin"): "ramping",
        ("waiting", "abort"): "aborted",
        ("ramping", "step_proved"): "holding",
        ("ramping", "finished"): "complete",
        ("ramping", "pause"): "paused",
        ("ramping", "abort"): "aborted",
        ("ramping", "roll_back"): "rolled_back",
        ("holding", "advance"): "ramping",
        ("holding", "pause"): "paused",
        ("holding", "abort"): "aborted",
        ("holding", "roll_back"): "rolled_back",
        ("paused", "resume_ramping"): "ramping",
        ("paused", "resume_holding"): "holding",
        ("paused", "abort"): "aborted",
        ("paused", "roll_back"): "rolled_back",
        ("complete", "roll_back"): "rolled_back",
    },
    remedies={
        "aborted": "Propose the version again to start a new rollout.",
        "rolled_back": "Propose the version again to start a new rollout.",
    },
)
