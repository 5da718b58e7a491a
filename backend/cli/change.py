"""`countersign change`: propose, look, vote, start, revoke, go back. A change is named by its number or its id."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from backend.cli import inputs, names
from backend.cli.change_show import list_lines, plan_lines, whole_lines
from backend.cli.exits import DONE
from backend.cli.output import emit, guarded, json_option, note, plain, table
from backend.cli.session import Session, acting
from backend.cli.waiting import exit_of, told, wait_option
from backend.client.results import Change, Page
from backend.client.states import CHANGE_STATES
from backend.core.errors import Refusal

if TYPE_CHECKING:
    from backend.client.changes import Goal

P = ParamSpec("P")
T = TypeVar("T")
_REF = click.argument("ref", metavar="CHANGE", shell_complete=names.changes)
_reason = click.option("--reason", required=True, help="Why, in a sentence.")
_MOST_ROWS = 200


@click.group()
def change() -> None:
    """Propose, review, start, revoke and take back changes."""


def _wishes(command: Callable[P, T]) -> Callable[P, T]:
    """The options that say what a change shall do, as text; what is not given is None."""
    for option in reversed(
        (
            click.option("--share", help="The version's final share in percent; 100 unless given."),
            click.option(
                "--ramp",
                help="Steps on the way, like shadow:30m:person,1:10m:units=100,25:1h:proved,50:1h:person, or a ramp's name.",
            ),
            click.option(
                "--rest",
                metavar="VERSION=PERCENT",
                multiple=True,
                help="Final share of another version that runs there; else those keep their proportions.",
            ),
            click.option("--bake", help="How long what runs now stays loaded afterwards, like 1h."),
            click.option("--start", type=click.Choice(["at-once", "by-hand"]), help="How it starts once it is approved."),
            click.option("--start-at", type=inputs.MOMENT, help="Or when, with its zone: 2026-03-01T06:00+01:00."),
            click.option("--supersede/--no-supersede", default=None, help="Whether it may take over a rollout under way."),
            click.option(
                "--shadow", type=click.Choice(["keep", "this", "none"]), help="A shadow gets copies and answers nobody."
            ),
            click.option("--experiment", metavar="NAME", help="A new experiment: every unit is assigned anew."),
            click.option("--unit-header", metavar="NAME", help="Request header that carries the unit of randomisation."),
            click.option(
                "--guardrail",
                "guardrails",
                metavar="[NAME=]KIND:MARGIN[:...]",
                multiple=True,
                help="What must not get worse, like errors:0.01, p95=latency:10%:relative:q=0.95:hold or slow:1%:above=250ms; "
                "`none` for none.",
            ),
            click.option(
                "--same-age/--no-same-age",
                default=None,
                help="Whether a copy of what runs, loaded as newly, is what the version is compared with.",
            ),
        )
    ):
        command = option(command)
    return command


@change.command()
@acting
@click.argument("endpoint", shell_complete=names.endpoints)
@click.argument("version", type=click.IntRange(min=1))
@click.option("--title", required=True)
@_reason
@_wishes
@click.option("--key", metavar="WORD", help="Of your own choice: the same command again under it makes no second change.")
@wait_option
@json_option
@guarded
def propose(
    opened: Session,
    /,
    endpoint: str,
    version: int,
    title: str,
    reason: str,
    key: str | None,
    wait: float | None,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Propose that ENDPOINT serves registered VERSION of its model; `--wait` waits until its checks have passed."""
    made = opened.client.changes.propose(endpoint, version, title=title, reason=reason, key=key, **_asked(**wishes))
    _emit(opened, made, as_json, wait, "checked")


@change.command()
@acting
@_REF
@click.option("--version", type=click.IntRange(min=1))
@click.option("--title")
@click.option("--reason")
@_wishes
@json_option
@guarded
def edit(
    opened: Session, /, ref: str, version: int | None, title: str | None, reason: str | None, as_json: bool, **wishes: Any
) -> None:
    """Change what a change asks for; votes and checks are then void, and reviewers see the difference."""
    given = {"version": version, "title": title, "reason": reason}
    asked = {name: value for name, value in given.items() if value is not None} | _asked(**wishes)
    if not asked:
        raise Refusal("Nothing is to be changed.", "Give what shall be different, e.g. `--share 25`.", code="nothing-asked")
    seen = opened.client.changes.show(ref)
    _emit(opened, opened.client.changes.edit(ref, if_match=seen.etag, **asked), as_json)


@change.command("list")
@acting
@click.option("--state", "states", multiple=True, type=click.Choice(CHANGE_STATES))
@click.option("--environment", default="")
@click.option("--endpoint", default="")
@click.option("--model", default="")
@click.option("--text", default="", help="Part of a title or of an endpoint's name.")
@click.option("--requester", metavar="NAME", default="", help="Asked for by this identity.")
@click.option("--mine", is_flag=True, help="Those that wait for my vote.")
@click.option("--after", metavar="TOKEN", help="The next page: `next` of the page before.")
@click.option("--limit", type=click.IntRange(1, _MOST_ROWS), default=50, show_default=True)
@json_option
@guarded
def list_changes(
    opened: Session, /, states: tuple[str, ...], mine: bool, after: str | None, limit: int, as_json: bool, **narrow: str
) -> None:
    """List changes, what needs somebody first."""
    changes = opened.client.changes
    page: Page[Any] = (
        changes.queue(after=after, limit=limit) if mine else changes.page(state=states, after=after, limit=limit, **narrow)
    )
    emit(as_json, {"changes": page.items, "next": page.next}, list_lines(page.items))


@change.command("asked")
@acting
@json_option
@guarded
def asked_of_me(opened: Session, as_json: bool) -> None:
    """List what is asked of you now: votes, starts, looks at a rollout's step, and changes of yours that are stuck."""
    found = opened.client.changes.asked()
    rows = [(one.what, one.line.number, one.line.title, one.line.endpoint, " ".join(one.missing)) for one in found]
    emit(as_json, {"asked": found}, table(("asked", "change", "title", "endpoint", "still takes"), rows))


@change.command()
@acting
@_REF
@json_option
@guarded
def show(opened: Session, ref: str, as_json: bool) -> None:
    """Show one change whole: what it changes, its digests, checks and votes, what is missing, and what happened."""
    found = opened.client.changes.show(ref)
    happened = opened.client.changes.timeline(ref)
    emit(as_json, plain(found) | {"timeline": plain(happened)}, whole_lines(found, happened))


@change.command()
@acting
@_REF
@click.option("--plan", help="The digest of the plan that you looked at, as `change show` prints it.")
@click.option("--base", help="The digest of what it was drawn on; named with the plan.")
@click.option("--comment", default="", help="What you found.")
@click.option("--yes", is_flag=True, help="Approve what is shown now, without being asked.")
@wait_option
@json_option
@guarded
def approve(
    opened: Session,
    ref: str,
    plan: str | None,
    base: str | None,
    comment: str,
    yes: bool,
    wait: float | None,
    as_json: bool,
) -> None:
    """Approve exactly the plan that is shown, on what it was drawn on."""
    plan_digest, base_digest = _seen(opened, ref, "approve", plan, base, yes)
    voted = opened.client.changes.approve(ref, plan_digest, base_digest, comment)
    _emit(opened, voted, as_json, wait, "live" if voted.start_mode == "at_once" else "decided")


@change.command()
@acting
@_REF
@_reason
@click.option("--plan", help="The digest of the plan that you looked at.")
@click.option("--base", help="The digest of what it was drawn on.")
@click.option("--yes", is_flag=True, help="Reject what is shown now, without being asked.")
@json_option
@guarded
def reject(opened: Session, ref: str, reason: str, plan: str | None, base: str | None, yes: bool, as_json: bool) -> None:
    """Reject a change, which ends it."""
    plan_digest, base_digest = _seen(opened, ref, "reject", plan, base, yes)
    _emit(opened, opened.client.changes.reject(ref, plan_digest, base_digest, reason), as_json)


@change.command()
@acting
@_REF
@click.argument("text")
@json_option
@guarded
def comment(opened: Session, ref: str, text: str, as_json: bool) -> None:
    """Add a remark to the discussion of a change."""
    emit(as_json, {"comment": opened.client.changes.comment(ref, text)}, ["Added."])


@change.command()
@acting
@_REF
@wait_option
@json_option
@guarded
def start(opened: Session, ref: str, wait: float | None, as_json: bool) -> None:
    """Start an approved change that waits for somebody to do so."""
    _emit(opened, opened.client.changes.start(ref), as_json, wait)


@change.command("roll-back")
@acting
@_REF
@_reason
@wait_option
@json_option
@guarded
def roll_back(opened: Session, ref: str, reason: str, wait: float | None, as_json: bool) -> None:
    """Go back to what ran before, as was approved together with the change."""
    _emit(opened, opened.client.changes.roll_back(ref, reason), as_json, wait, "rolled_back")


@change.command()
@acting
@_REF
@_reason
@json_option
@guarded
def revoke(opened: Session, ref: str, reason: str, as_json: bool) -> None:
    """Take an approval back: nothing more is pushed under it; what runs stays until it is rolled back."""
    _emit(opened, opened.client.changes.revoke(ref, reason), as_json)


@change.command()
@acting
@_REF
@_reason
@json_option
@guarded
def withdraw(opened: Session, ref: str, reason: str, as_json: bool) -> None:
    """Take a change back before it starts."""
    _emit(opened, opened.client.changes.withdraw(ref, reason), as_json)


@change.command()
@acting
@_REF
@wait_option
@json_option
@guarded
def recheck(opened: Session, ref: str, wait: float | None, as_json: bool) -> None:
    """Run every check of a change again."""
    _emit(opened, opened.client.changes.recheck(ref), as_json, wait, "checked")


@change.command()
@acting
@_REF
@json_option
@guarded
def rebase(opened: Session, ref: str, as_json: bool) -> None:
    """Draw a suspended change anew on what is live now; it goes back to review without votes."""
    _emit(opened, opened.client.changes.rebase(ref), as_json)


@change.command("wait")
@acting
@_REF
@click.option(
    "--for",
    "goal",
    type=click.Choice(["checks", "decision", "live"]),
    default="decision",
    show_default=True,
    help="Until its checks passed, it is approved, or it is proved to be live.",
)
@click.option("--timeout", default="1h", show_default=True, help="How long, like 90s, 10m, 1h or 2d.")
@json_option
@guarded
def wait_for(opened: Session, ref: str, goal: str, timeout: str, as_json: bool) -> None:
    """Wait for what others do; the exit code tells 0 reached, 5 rejected, 6 expired, 7 time over and 4 anything else apart.

    A connection that is lost meanwhile is no end. Waiting changes nothing, so that it can be broken off and begun again.
    """
    _emit(opened, ref, as_json, inputs.seconds(timeout), _GOALS[goal])


def _asked(
    share: str | None,
    ramp: str | None,
    bake: str | None,
    start: str | None,
    start_at: datetime | None,
    guardrails: tuple[str, ...],
    rest: tuple[str, ...],
    **others: Any,
) -> dict[str, Any]:
    """The wishes that were given, as the client takes them."""
    if start is not None and start_at is not None:
        raise Refusal("A change starts in one way.", "Give `--start` or `--start-at`.", code="bad-start")
    asked = {name: value for name, value in others.items() if value is not None}
    if share is not None:
        asked["share_percent"] = inputs.percent(share)
    if ramp is not None:
        asked["ramp"] = inputs.ramp(ramp)
    if guardrails:
        asked["guardrails"] = inputs.guardrails(guardrails)
    if rest:
        asked["rest"] = inputs.rest(rest)
    if bake is not None:
        asked["bake_seconds"] = inputs.seconds(bake)
    if start is not None:
        asked |= {"start_mode": start.replace("-", "_"), "start_at": None}
    return asked if start_at is None else asked | {"start_mode": "at_time", "start_at": start_at}


def _seen(opened: Session, ref: str, verb: str, plan: str | None, base: str | None, yes: bool) -> tuple[str, str]:
    """The digests that a vote is bound to: those that were named, else those that are shown here and agreed to."""
    found = opened.client.changes.show(ref)
    named = inputs.digest(plan) if plan is not None else None, inputs.digest(base) if base is not None else None
    for line in plan_lines(found):
        note(line)
    if named[0] is not None and named[1] is not None:
        return named[0], named[1]
    if named != (None, None):
        raise Refusal(
            "A vote is bound to a plan and to what it was drawn on.",
            "Name both with `--plan DIGEST --base DIGEST`, as `change show` prints them, or neither.",
            code="not-named",
        )
    if not yes:
        _ask(found.line.number, verb)
    return found.plan_digest, found.base_digest


def _ask(number: int, verb: str) -> None:
    """A person types the number of the change that is shown; where nobody can, the digest has to be named."""
    if not sys.stdin.isatty():
        raise Refusal(
            "A vote is bound to what you looked at.",
            "Name both digests with `--plan` and `--base`, as `change show` prints them, or `--yes` for what is shown now.",
            code="not-named",
        )
    typed = click.prompt(f"Type {number} to {verb} what is shown above", err=True)
    if typed.strip() != str(number):
        raise Refusal("That is not the number of the change.", "Nothing was decided; look again.", code="not-agreed")


def _emit(opened: Session, change: Change | str, as_json: bool, wait: float | None = None, goal: Goal = "live") -> None:
    """Prints the change as it stands; after waiting also whether it was reached, which the exit code tells too."""
    ref, code, reached = change if isinstance(change, str) else change.line.number, DONE, {}
    if wait is not None:
        outcome = opened.client.changes.wait(ref, goal, seconds=wait, told=told, clock=opened.pace)
        code, reached = exit_of(outcome), {"reached": outcome.reached, "outcome": outcome.end}
    found = change if isinstance(change, Change) and wait is None else opened.client.changes.show(ref)
    emit(as_json, plain(found) | reached, whole_lines(found))
    sys.exit(code)


_GOALS: dict[str, Goal] = {"checks": "checked", "decision": "decided", "live": "live"}
