"""A change as `countersign change` shows it to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from backend.cli.gates import gates_say
from backend.cli.output import facts, percent, printable, table
from backend.client.results import Change, ChangeLine, Moment, Rollout, Step


def list_lines(items: Sequence[ChangeLine]) -> list[str]:
    """A table of changes."""
    rows = [(one.number, one.state, one.endpoint, one.version, one.title, one.requester, one.updated_at) for one in items]
    return table(("change", "state", "endpoint", "version", "title", "by", "updated"), rows)


def plan_lines(view: Change) -> list[str]:
    """What a vote is about, and to what it is bound."""
    line = view.line
    return [
        f"Change {line.number}: {printable(line.title)}",
        *facts(
            (
                ("endpoint", f"{line.endpoint} ({line.environment})"),
                ("version", f"{line.version} of {line.model}"),
                ("asked by", line.requester),
                ("reason", view.reason),
                ("policy", view.policy),
                ("plan", view.plan_digest),
                ("drawn on", view.base_digest),
                ("", view.drawn_on),
            )
        ),
        *_titled("It changes", (one.says for one in view.changes.lines)),
        *_titled("Since the plan before", (one.says for one in view.since_earlier.lines) if view.since_earlier else ()),
        *_titled("Checks", (f"{one.title}: {one.standing}. {one.summary}" for one in view.evidence)),
    ]


def whole_lines(view: Change, happened: Sequence[Moment] = ()) -> list[str]:
    """Everything about a change."""
    line = view.line
    votes = (f"{one.voter}: {one.verdict}{'' if one.counts else ' (does not count)'} {one.comment}" for one in view.votes)
    return [
        *plan_lines(view),
        *facts((("state", line.state), ("", line.state_reason), ("starts", _start(view)), ("decide by", line.decide_by))),
        *_titled("Votes", votes),
        *_titled("Comments", (f"{one.author}: {one.text}" for one in view.comments)),
        *_titled("It still takes", view.missing),
        *(rollout_lines(view.rollout) if view.rollout is not None else []),
        *_titled("What happened", (f"{one.at:%Y-%m-%d %H:%M:%S} {one.actor}: {one.action} {one.reason}" for one in happened)),
    ]


def rollout_lines(view: Rollout) -> list[str]:
    """A rollout and the steps of its ramp."""
    rows = [
        (number, one.standing, _step_says(one), gates_say(one) if number < len(view.steps) else "")
        for number, one in enumerate(view.steps, 1)
    ]
    skips = f"to step {view.may_skip_to + 1}" if view.may_skip_to is not None else None
    return [
        f"Rollout: {view.state}. {printable(view.reason)}".rstrip(),
        *table(("step", "", "shares", "goes on after"), rows),
        *facts((("next not before", view.hold_until), ("may be skipped", skips), ("ended", view.ended_at))),
    ]


def _step_says(step: Step) -> str:
    copies = f"; {step.shadow} gets copies" if step.shadow else ""
    return f"{shares_say(step.shares)}{copies}"


def shares_say(shares: Mapping[str, int]) -> str:
    """`v1 90 %, v2 10 %`."""
    return ", ".join(f"{name} {percent(share)}" for name, share in sorted(shares.items()) if share)


def _start(view: Change) -> str:
    return f"at {view.start_at:%Y-%m-%d %H:%M} UTC" if view.start_at else view.start_mode.replace("_", " ")


def _titled(title: str, lines: Iterator[str] | Sequence[str]) -> list[str]:
    told = [f"  {printable(one)}" for one in lines]
    return [f"{title}:", *told] if told else []
