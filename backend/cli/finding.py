"""`countersign finding`: what was found wrong; answer it, say whose it is, silence it, say that it is over, try the alarm."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from backend.cli import inputs, names
from backend.cli.output import emit, facts, guarded, json_option, table
from backend.cli.session import Session, acting
from backend.client.results import Finding, FindingLine, FindingMessage
from backend.client.states import FINDING_OUTCOMES, FINDING_STATES, SEVERITIES

_REF = click.argument("ref", metavar="FINDING", shell_complete=names.findings)
_REASON = click.option("--reason", required=True, help="Why, in a sentence.")
_MOST_ROWS = 200


@click.group()
def finding() -> None:
    """What was found wrong, and who looks after it."""


@finding.command("list")
@acting
@click.option("--state", "states", multiple=True, type=click.Choice(FINDING_STATES), help="Again for several.")
@click.option("--severity", "severities", multiple=True, type=click.Choice(SEVERITIES), help="Again for several.")
@click.option("--environment", default="")
@click.option("--endpoint", default="", shell_complete=names.endpoints)
@click.option("--model", default="", shell_complete=names.models)
@click.option("--kind", default="", help="A kind, or a family of kinds such as `drift`.")
@click.option("--owner", default="", help="Name of a person or of a team.")
@click.option("--tests", is_flag=True, help="Tests too.")
@click.option("--after", metavar="TOKEN", help="The next page: `next` of the page before.")
@click.option("--limit", type=click.IntRange(1, _MOST_ROWS), default=50, show_default=True)
@json_option
@guarded
def list_findings(
    opened: Session,
    /,
    states: tuple[str, ...],
    severities: tuple[str, ...],
    tests: bool,
    after: str | None,
    limit: int,
    as_json: bool,
    **narrow: str,
) -> None:
    """List findings, the worst first; what is over comes last."""
    page = opened.client.findings.page(
        state=states, severity=severities, tests=tests or None, after=after, limit=limit, **narrow
    )
    emit(as_json, {"findings": page.items, "next": page.next}, _lines(page.items))


@finding.command()
@acting
@_REF
@json_option
@guarded
def show(opened: Session, ref: str, as_json: bool) -> None:
    """Show a finding: what was seen first and last, what waits for it, and what people said."""
    found = opened.client.findings.show(ref)
    emit(as_json, {"finding": found}, _whole(found))


@finding.command()
@acting
@_REF
@click.option("--reason", default="", help="What you are doing about it.")
@json_option
@guarded
def acknowledge(opened: Session, ref: str, reason: str, as_json: bool) -> None:
    """Say that you look after it, so that nobody else is called."""
    _told(opened.client.findings.acknowledge(ref, reason), as_json)


@finding.command()
@acting
@_REF
@click.option("--person", help="A person's name.")
@click.option("--team", help="A team's name.")
@click.option("--reason", default="", help="Why.")
@json_option
@guarded
def assign(opened: Session, ref: str, person: str | None, team: str | None, reason: str, as_json: bool) -> None:
    """Say whose it is; with neither it is the team's again that owns the place."""
    _told(opened.client.findings.assign(ref, person=person, team=team, reason=reason), as_json)


@finding.command()
@acting
@_REF
@click.option("--for", "how_long", required=True, metavar="DURATION", help="Such as 90m, 8h or 2d.")
@_REASON
@json_option
@guarded
def snooze(opened: Session, ref: str, how_long: str, reason: str, as_json: bool) -> None:
    """Call nobody for a time. What waits for the finding goes on waiting, and becoming worse ends it."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=inputs.seconds(how_long))
    _told(opened.client.findings.snooze(ref, until, reason), as_json)


@finding.command()
@acting
@_REF
@click.option("--outcome", type=click.Choice(FINDING_OUTCOMES), default="fixed", show_default=True)
@_REASON
@json_option
@guarded
def resolve(opened: Session, ref: str, outcome: str, reason: str, as_json: bool) -> None:
    """Say that it is over; what waited for it goes on."""
    _told(opened.client.findings.resolve(ref, reason, outcome=outcome), as_json)


@finding.command()
@acting
@_REF
@_REASON
@json_option
@guarded
def reopen(opened: Session, ref: str, reason: str, as_json: bool) -> None:
    """Say that it is not over, or that somebody has to answer it anew."""
    _told(opened.client.findings.reopen(ref, reason), as_json)


@finding.command()
@acting
@click.argument("endpoint", shell_complete=names.endpoints)
@click.option("--severity", type=click.Choice(SEVERITIES), default="warning", show_default=True)
@click.option("--wait", type=click.IntRange(0, 120), default=30, show_default=True, help="Seconds to wait for the messages.")
@json_option
@guarded
def test(opened: Session, endpoint: str, severity: str, wait: int, as_json: bool) -> None:
    """Open a finding at ENDPOINT that says that it is a test, end it, and say whom that reached."""
    client, clock = opened.client.findings, opened.pace
    made = client.test(endpoint, severity=severity)
    until, messages = clock.now() + wait, client.messages(made.line.number)
    while (not messages or any(one.state == "waiting" for one in messages)) and clock.now() < until:
        clock.sleep(clock.shortest)
        messages = client.messages(made.line.number)
    was_read = bool(messages) or client.show(made.line.number).messages_made
    emit(as_json, {"finding": made.line, "messages": messages}, _reached(messages, was_read=was_read))


def _told(found: Finding, as_json: bool) -> None:
    at = f" until {found.line.snoozed_until:%Y-%m-%d %H:%M} UTC" if found.line.snoozed_until else ""
    owner = f", of {found.line.owner}" if found.line.owner else ""
    emit(as_json, {"finding": found}, [f"Finding {found.line.number} is {found.line.state}{at}{owner}."])


def _lines(found: Sequence[FindingLine]) -> list[str]:
    rows = [
        (one.number, one.severity, one.state, one.endpoint or one.model, one.kind, one.owner, one.last_seen_at, one.last_says)
        for one in found
    ]
    return table(("finding", "severity", "state", "at", "kind", "owner", "last seen", ""), rows)


def _whole(found: Finding) -> list[str]:
    line = found.line
    waits = [name for name, so in (("starts", found.blocks), ("a rollout under way", found.holds)) if so]
    told = (
        ("finding", line.number), ("id", line.id), ("says", line.says), ("last", line.last_says), ("severity", line.severity),
        ("state", line.state), ("since", line.state_since), ("snoozed until", line.snoozed_until), ("outcome", found.outcome),
        ("reason", found.reason), ("by", found.by), ("owner", f"{line.owner_kind} {line.owner}".strip()),
        ("endpoint", line.endpoint), ("environment", line.environment), ("model", line.model), ("kind", line.kind),
        ("subject", line.subject), ("found by", line.found_by), ("seen first", line.first_seen_at),
        ("seen last", line.last_seen_at), ("times", line.times), ("not seen since", line.clean_since),
        ("waits for it", ", ".join(waits)), ("the one before", found.former), ("the one after", found.later),
        ("beside it", ", ".join(map(str, found.beside))),
    )  # fmt: skip
    evidence = [(f"evidence: {name}", str(value)) for name, value in found.latest_evidence.items()]
    history = [(one.at, one.by, one.what.replace("_", " "), one.severity, one.reason) for one in found.history]
    return [*facts((*told, *evidence)), "", *table(("at", "by", "", "severity", ""), history)]


def _reached(messages: Sequence[FindingMessage], *, was_read: bool) -> list[str]:
    if not messages and was_read:
        return ["No message was made: nobody is told of findings there. Subscribe somebody, or give it an owner."]
    if not messages:
        return ["No message was made yet: no worker has read that it was opened. See whether one runs."]
    return table(("to", "event", "is"), [(one.whom, one.event, one.state) for one in messages])
