"""What an endpoint's state means and what to do next; versions and shares in absolute words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.kit import times
from app.kit.plain import escape
from backend.delivery.lines import ProofView
from backend.delivery.plan import percent
from backend.delivery.queries import ArmView, EndpointDetail

APPROVED = "What runs equals what was approved."


@dataclass(frozen=True)
class Told:
    """The answer in one sentence, what stands behind it, and the next step; Markdown, escaped. "" where there is none."""

    answer: str
    why: str
    step: str = ""


def told(found: EndpointDetail, now: datetime) -> Told:
    """What the state of an endpoint means, now."""
    return _TELL[found.line.state](found, now)


def shares(parts: Mapping[int, int]) -> str:
    """Version -> buckets as a sentence: `version 1 gets 90 %, version 2 gets 10 %`."""
    said = [f"version {number} gets {percent(share) if share else 'nothing'}" for number, share in sorted(parts.items())]
    return ", ".join(said) or "no version gets anything"


def wanted(found: EndpointDetail) -> str:
    """What the newest generation gives whom, as a sentence."""
    return shares({one.version: one.wanted_share for one in found.arms if one.role == "arm" or is_warm(one)})


def is_warm(one: ArmView) -> bool:
    """Whether a previous version is still there: once its time is over it may go, and nobody misses it."""
    return one.role == "warm" and one.seen_state not in (None, "not_loaded")


def seen_now(found: EndpointDetail) -> str:
    """Who was last seen to get what, as a sentence."""
    if any(one.seen_share is None for one in found.arms):
        return "what it is was not seen lately"
    return shares({one.version: one.seen_share or 0 for one in found.arms if one.role == "arm" or is_warm(one)})


def arm_note(one: ArmView) -> str:
    """What an arm is, beside its version."""
    if one.champion:
        return "champion"
    return {"arm": "challenger", "shadow": "shadow: copies only", "warm": "kept warm", "leaving": "being unloaded"}[one.role]


def state_words(state: str | None) -> str:
    """A version's state on its server."""
    return "not seen lately" if state is None else state.replace("_", " ")


def _observed(found: EndpointDetail, now: datetime) -> Told:
    return Told(
        "Nothing was approved here yet: it is only looked at.",
        "Countersign never writes to an endpoint that it only observes. What runs under its names is listed below.",
        "Look at what runs, say which registered versions it is, and sign it off as the baseline.",
    )


def _in_sync(found: EndpointDetail, now: datetime) -> Told:
    line = found.line
    if line.proved_generation != line.generation:
        return Told("What was read back equals what was approved.", "Its proofs are being taken.", "")
    failed = [one for one in line.proofs if one.verdict == "failed"]
    if failed:
        return Told("What was read back equals what was approved, but a proof failed.", escape(failed[0].reason, 400))
    return Told(APPROVED, f"{wanted(found).capitalize()}.")


def _pushing(found: EndpointDetail, now: datetime) -> Told:
    retry = f" The next attempt is {times.age(found.retry_at, now)}." if found.retry_at and found.retry_at > now else ""
    error = f" The last attempt failed: {escape(found.last_error, 400)}" if found.last_error and found.failures else ""
    return Told(
        f"Generation {found.line.generation} is being made true.",
        f"From then on {wanted(found)}.{error}",
        f"Nothing needs to be done.{retry}",
    )


def _partial(found: EndpointDetail, now: datetime) -> Told:
    return Told(
        "Only a part of what was approved is in force.",
        _because(found),
        f"It is tried again{_when(found, now)}. If the reason stays the same, settle it on the server, or roll back.",
    )


def _out_of_sync(found: EndpointDetail, now: datetime) -> Told:
    step = (
        "Here such changes are only reported: choose *Repair now*, or propose a change that makes it official."
        if found.line.repair == "report"
        else f"It is on record, and is repaired{_when(found, now)}. Ask whoever did it to propose a change instead."
    )
    return Told("What runs is not what was approved.", _because(found), step)


def _unreachable(found: EndpointDetail, now: datetime) -> Told:
    return Told(
        "Nobody can say what runs here now.",
        f"{_because(found)} {_last_seen(found)}",
        f"Test the connection on the page of {escape(found.line.server)}. It is tried again{_when(found, now)}, and what was "
        "approved is made true as soon as it answers.",
    )


def _stale(found: EndpointDetail, now: datetime) -> Told:
    return Told(
        "Nobody looked lately: what was last seen says nothing of now.",
        _last_seen(found),
        "Choose *Look now*. If nothing follows, the worker does not run: start it with `countersign worker`.",
    )


def _fight(found: EndpointDetail, now: datetime) -> Told:
    return Told(
        "Somebody else keeps changing this, and repairing has been stopped.",
        f"It was repaired three times in short order and was changed again each time. {_because(found)}",
        "Find who else changes it (a script, another tool, a colleague). Then choose *Repair now*, roll back, or pause.",
    )


def _paused(found: EndpointDetail, now: datetime) -> Told:
    return Told(
        "Delivery is paused: nothing is pushed or repaired here.",
        f"{_because(found)} It is still looked at. Once resumed, {wanted(found)}.",
        "Resume it when the reason is gone. Rolling back stays possible and ends the pause.",
    )


_TELL = {
    "observed": _observed, "in_sync": _in_sync, "pushing": _pushing, "partial": _partial, "out_of_sync": _out_of_sync,
    "unreachable": _unreachable, "stale": _stale, "fight": _fight, "paused": _paused,
}  # fmt: skip


def _because(found: EndpointDetail) -> str:
    reason = found.line.reason
    return f"{escape(_capital(reason), 600)}." if reason else ""


def _when(found: EndpointDetail, now: datetime) -> str:
    """When the next attempt is, to be put behind a verb."""
    due = found.retry_at if found.retry_at is not None and found.retry_at > now else found.next_look_at
    if found.working or due is None or due <= now:
        return " now"
    return f" {times.age(due, now)}"


def _last_seen(found: EndpointDetail) -> str:
    return f"It was last seen {times.stamp(found.seen_at)}." if found.seen_at is not None else "It was never seen."


# -- proofs


@dataclass(frozen=True)
class ProofWords:
    """One kind of proof in a small card: how it stands (a state of `proof`), what it saw, and what that speaks of."""

    kind: str
    standing: str
    saw: str
    speaks_of: str
    age: str


_SPEAKS = {
    "configured": "read back whole",
    "answers": "a request to every arm",
    "bytes": "storage, not memory",
    "behaviour": "recorded requests",
}


def proofs(found: EndpointDetail, kinds: Sequence[str]) -> list[ProofWords]:
    """Every kind of proof, whether it was ever taken or not."""
    newest = {one.kind: one for one in found.line.proofs}
    return [_proof(kind, newest.get(kind)) for kind in kinds]


def stale_proofs(found: EndpointDetail) -> int:
    """How many proofs were good once and say nothing of now."""
    return len([one for one in found.line.proofs if one.verdict == "ok" and not one.holds])


def _proof(kind: str, one: ProofView | None) -> ProofWords:
    if one is None:
        return ProofWords(kind, "missing", "Not taken yet", _SPEAKS[kind], "")
    age = f"{times.coarse(one.age_seconds)} ago"
    if one.verdict == "ok":
        return ProofWords(kind, "ok" if one.holds else "stale", _SAW[kind](one.details), _SPEAKS[kind], age)
    if one.verdict == "failed":
        return ProofWords(kind, "failed", escape(_capital(one.reason), 32), _SPEAKS[kind], age)
    return ProofWords(kind, "impossible", escape(_capital(one.reason), 32), _SPEAKS[kind], age)


def _configured_saw(details: Mapping[str, object]) -> str:
    names = f"{details.get('models', 0)} served name{'' if details.get('models') == 1 else 's'}"
    return f"{names} and the route equal" if details.get("route") else f"{names} equal"


def _answers_saw(details: Mapping[str, Mapping[str, float]]) -> str:
    slowest = max((float(one.get("seconds", 0)) for one in details.values()), default=0.0)
    return f"{_counted(len(details), 'version')} answered in {slowest * 1000:.0f} ms"


def _bytes_saw(details: Mapping[str, object]) -> str:
    return f"{_counted(len(details), 'package')} re-hashed, equal"


def _behaviour_saw(details: Mapping[str, Mapping[str, int]]) -> str:
    rows = sum(int(one.get("rows", 0)) for one in details.values())
    return f"{rows:,} of {rows:,} recorded answers hold"


_SAW: Mapping[str, Callable[[Any], str]] = {
    "configured": _configured_saw, "answers": _answers_saw, "bytes": _bytes_saw, "behaviour": _behaviour_saw,
}  # fmt: skip


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
