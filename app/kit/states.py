"""How every state is shown: always a word, an icon and a colour together, the same on every page.

A state that is not in the table is a defect and raises KeyError: a state machine that grew must be drawn before it ships
(`tests/pages/test_states.py` compares these tables with the machines).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.kit.palette import Tone, current


@dataclass(frozen=True)
class Look:
    """A state's word, its Material icon, and its tone."""

    word: str
    icon: str
    tone: Tone


_PASSED, _FAILED = Look("Passed", "check_circle", "green"), Look("Failed", "error", "red")
_STALE, _RUNNING = Look("Stale", "history", "orange"), Look("Running", "progress_activity", "blue")

LOOKS: dict[str, dict[str, Look]] = {
    "endpoint": {
        "observed": Look("Observed", "visibility", "gray"),
        "in_sync": Look("In sync", "check_circle", "green"),
        "pushing": Look("Pushing", "sync", "blue"),
        "partial": Look("Partial", "rule", "orange"),
        "out_of_sync": Look("Out of sync", "sync_problem", "red"),
        "unreachable": Look("Unreachable", "cloud_off", "red"),
        "stale": _STALE,
        "fight": Look("Fight", "front_hand", "red"),
        "paused": Look("Paused", "pause_circle", "gray"),
    },
    "route": {
        "new": Look("Nothing sent yet", "hourglass_empty", "gray"),
        "ok": Look("Taken", "check_circle", "green"),
        "failing": Look("Failing", "error", "red"),
        "paused": Look("Paused", "pause_circle", "gray"),
    },
    "message": {
        "waiting": Look("Waiting", "schedule", "blue"),
        "sent": Look("Sent", "check_circle", "green"),
        "dead": Look("Given up", "error", "red"),
        "dropped": Look("Not told", "remove_circle", "gray"),
    },
    "mode": {
        "observe": Look("Observed only", "visibility", "gray"),
        "managed": Look("Managed", "verified_user", "blue"),
    },
    "change": {
        "draft": Look("Draft", "edit_note", "gray"),
        "checking": Look("Checking", "progress_activity", "blue"),
        "review": Look("In review", "rate_review", "blue"),
        "approved": Look("Approved", "check_circle", "green"),
        "applying": Look("Applying", "sync", "blue"),
        "done": Look("Done", "task_alt", "green"),
        "blocked": Look("Blocked", "block", "red"),
        "rejected": Look("Rejected", "cancel", "red"),
        "withdrawn": Look("Withdrawn", "remove_circle", "gray"),
        "expired": Look("Expired", "timer_off", "gray"),
        "suspended": Look("Suspended", "pause_circle", "orange"),
        "revoked": Look("Revoked", "gpp_bad", "red"),
        "failed": _FAILED,
        "rolled_back": Look("Rolled back", "undo", "orange"),
        "superseded": Look("Superseded", "move_up", "gray"),
    },
    "rollout": {
        "waiting": Look("Waiting", "hourglass_empty", "orange"),
        "ramping": Look("Ramping", "trending_up", "blue"),
        "holding": Look("Holding", "hourglass_top", "blue"),
        "complete": Look("Complete", "task_alt", "green"),
        "paused": Look("Paused", "pause_circle", "orange"),
        "aborted": Look("Aborted", "cancel", "red"),
        "rolled_back": Look("Rolled back", "undo", "orange"),
    },
    "finding": {
        "open": Look("Open", "error", "red"),
        "acknowledged": Look("Acknowledged", "person_check", "blue"),
        "snoozed": Look("Snoozed", "snooze", "gray"),
        "resolved": Look("Resolved", "task_alt", "green"),
    },
    "experiment": {
        "draft": Look("Draft", "edit_note", "gray"),
        "running": _RUNNING,
        "decided": Look("Decided", "task_alt", "green"),
        "withdrawn": Look("Withdrawn", "remove_circle", "gray"),
    },
    "verdict": {
        "pass": Look("Within limit", "check_circle", "green"),
        "fail": Look("Beyond limit", "error", "red"),
        "inconclusive": Look("Still open", "hourglass_empty", "gray"),
        "missing": Look("Missing", "help", "orange"),
        "stale": _STALE,
    },
    "comparison": {
        "ship": Look("Ship", "check_circle", "green"),
        "roll_back": Look("Roll back", "undo", "red"),
        "keep_running": Look("Keep running", "hourglass_empty", "blue"),
    },
    "outcome": {
        "ship": Look("Shipped", "check_circle", "green"),
        "roll_back": Look("Rolled back", "undo", "orange"),
        "no_decision": Look("No decision", "remove_circle", "gray"),
    },
    "severity": {
        "critical": Look("Critical", "emergency_home", "red"),
        "warning": Look("Warning", "warning", "orange"),
        "info": Look("Info", "info", "gray"),
    },
    "monitor": {
        "ok": Look("In order", "check_circle", "green"),
        "alarm": Look("Alarm", "notification_important", "red"),
        "never": Look("Not yet", "hourglass_empty", "gray"),
        "idle": Look("Nothing to compare", "pending", "gray"),
        "late": Look("Late", "history", "orange"),
        "no_data": Look("No data", "help", "orange"),
        "failing": Look("Failing", "error", "red"),
        "paused": Look("Paused", "pause_circle", "gray"),
    },
    "source": {
        "ok": Look("Answers", "check_circle", "green"),
        "late": Look("Late", "history", "orange"),
        "failing": Look("Failing", "error", "red"),
        "empty": Look("Tells nothing", "help", "orange"),
        "never": Look("Not asked yet", "hourglass_empty", "gray"),
    },
    "objective": {
        "fine": Look("Kept", "check_circle", "green"),
        "burning": Look("Budget burns", "local_fire_department", "red"),
        "unknown": Look("Not known", "help", "orange"),
    },
    "window_report": {
        "queued": Look("Queued", "schedule", "gray"),
        "running": _RUNNING,
        "done": Look("Made", "task_alt", "green"),
        "failed": _FAILED,
    },
    "proof": {
        "ok": _PASSED,
        "failed": _FAILED,
        "impossible": Look("Not possible", "do_not_disturb_on", "gray"),
        "stale": _STALE,
        "missing": Look("Not proved", "pending", "gray"),
    },
    "evidence": {
        "missing": Look("Not run", "pending", "gray"),
        "queued": Look("Queued", "schedule", "gray"),
        "running": _RUNNING,
        "passed": _PASSED,
        "failed": _FAILED,
        "error": Look("Could not run", "warning", "orange"),
        "stale": _STALE,
        "void": Look("Void", "do_not_disturb_on", "gray"),
    },
    "vote": {
        "approve": Look("Approved", "check_circle", "green"),
        "reject": Look("Rejected", "cancel", "red"),
        "waiting": Look("Waiting", "hourglass_empty", "orange"),
        "void": Look("Void", "do_not_disturb_on", "gray"),
    },
    "push": {
        "running": _RUNNING,
        "proved": Look("Proved", "check_circle", "green"),
        "failed": _FAILED,
        "repaired": Look("Repaired", "build_circle", "orange"),
        "unloaded": Look("Unloaded", "eject", "gray"),
        "lost": Look("Taken over", "move_up", "gray"),
    },
    "difference": {
        "added": Look("Added", "add", "green"),
        "removed": Look("Removed", "remove", "red"),
        "changed": Look("Changed", "edit", "blue"),
        "unchanged": Look("Unchanged", "drag_handle", "gray"),
        "equal": Look("Equal", "check", "green"),
        "differs": Look("Differs", "difference", "red"),
    },
    "freeze": {
        "in_force": Look("In force", "ac_unit", "orange"),
        "lifted": Look("Lifted", "task_alt", "gray"),
        "none": Look("Open", "check_circle", "green"),
    },
    "policy": {
        "sound": Look("Sound", "check_circle", "green"),
        "alone": Look("One person alone", "person_alert", "orange"),
        "unsatisfiable": Look("Cannot be met", "error", "red"),
    },
    "version": {
        "registered": Look("Registered", "task_alt", "green"),
        "unregistered": Look("Not registered", "radio_button_unchecked", "gray"),
        "removed": Look("Gone from MLflow", "delete", "orange"),
        "pickled": Look("Pickled code", "warning", "orange"),
        "changed": Look("Changed in MLflow since", "edit", "orange"),
    },
    "author": {
        "verified": Look("Verified", "verified_user", "green"),
        "claimed": Look("Claimed", "person", "gray"),
    },
    "alias": {
        "there": Look("As proved", "check_circle", "green"),
        "moved": Look("Moved by hand", "back_hand", "red"),
        "pending": Look("To be written", "schedule", "blue"),
        "other": Look("Not ours", "label", "gray"),
    },
    "mirror": {
        "fresh": Look("Up to date", "check_circle", "green"),
        "stale": _STALE,
        "reading": Look("Reading", "sync", "blue"),
        "failing": Look("MLflow fails", "cloud_off", "red"),
        "never": Look("Never read", "pending", "orange"),
        "none": Look("No registry", "link_off", "gray"),
    },
    "intake": {
        "running": _RUNNING,
        "done": Look("Registered", "task_alt", "green"),
        "refused": Look("Refused", "front_hand", "orange"),
        "failed": _FAILED,
        "interrupted": Look("Interrupted", "power_off", "orange"),
    },
    "identity": {
        "active": Look("Active", "check_circle", "green"),
        "unanswered": Look("No active owner", "person_alert", "orange"),
        "deactivated": Look("Deactivated", "person_off", "gray"),
    },
    "grant": {
        "in_force": Look("In force", "check_circle", "green"),
        "soon": Look("Ends soon", "timer", "orange"),
        "over": Look("Over", "timer_off", "gray"),
        "idle": Look("Deactivated", "person_off", "gray"),
    },
    "token": {
        "active": Look("Good", "check_circle", "green"),
        "off": Look("Its maker is deactivated", "person_off", "orange"),
        "expired": Look("Expired", "schedule", "gray"),
        "revoked": Look("Revoked", "block", "gray"),
    },
    "binding": {
        "active": Look("In force", "check_circle", "green"),
        "not-honoured": Look("No longer honoured", "gpp_bad", "orange"),
        "off": Look("Issuer not in the settings", "link_off", "orange"),
        "expired": Look("Expired", "schedule", "gray"),
        "ended": Look("Ended", "block", "gray"),
    },
    "key": {
        "current": Look("In force", "check_circle", "green"),
        "due": Look("In force for over a year", "history", "orange"),
        "old": Look("Being replaced", "autorenew", "blue"),
        "unknown": Look("Not known here", "help", "orange"),
        "destroyed": Look("Destroyed", "delete", "gray"),
    },
    "provider": {
        "good": Look("Answers", "check_circle", "green"),
        "odd": Look("Does not fit", "warning", "orange"),
        "away": Look("Does not answer", "cloud_off", "red"),
    },
    "advisory": {
        "known": Look("Known weakness", "gpp_maybe", "orange"),
        "none": Look("Nothing known", "check_circle", "green"),
    },
    "session": {
        "active": Look("Running", "check_circle", "green"),
        "expired": Look("Expired", "schedule", "gray"),
        "ended": Look("Ended", "logout", "gray"),
    },
    "chain": {
        "intact": Look("Intact", "verified", "green"),
        "broken": Look("Not intact", "gpp_bad", "red"),
        "unverified": Look("Not verified yet", "pending", "gray"),
    },
}
"""Kind of thing -> its states -> how each is shown."""


def look(kind: str, state: str) -> Look:
    """How a state of a kind of thing is shown. KeyError for one that nobody drew."""
    return LOOKS[kind][state]


def badge(kind: str, state: str, label: str = "") -> str:
    """A state as Markdown; `label` says more than the state's own word and must be escaped already."""
    shown = look(kind, state)
    return tag(label or shown.word, shown.icon, shown.tone)


def tag(label: str, icon: str, tone: Tone = "gray") -> str:
    """A badge that is no state of the tables; `label` must be escaped already."""
    return f":{tone}-badge[:material/{icon}: {label}]"


def mark(kind: str, state: str) -> str:
    """Only the icon, in its colour, for a narrow column that stands beside the words."""
    shown = look(kind, state)
    return f":{shown.tone}[:material/{shown.icon}:]"


def pill(kind: str, state: str) -> list[str]:
    """A state as the value of a `column(kind)` in a data table."""
    return [look(kind, state).word]


def column(kind: str, label: str, width: int | None = None) -> Any:
    """The column of a data table that shows a kind's states as pale pills."""
    fills = current().pills
    shown = {one.word: fills[one.tone] for one in LOOKS[kind].values()}
    return st.column_config.MultiselectColumn(label, options=list(shown), color=list(shown.values()), width=width)
