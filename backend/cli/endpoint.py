"""`countersign endpoint`: look at endpoints, adopt them, and what an operator does to one by hand."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from backend.cli import inputs, names
from backend.cli.endpoint_show import (
    detail_lines,
    endpoint_lines,
    generation_lines,
    moment_lines,
    proposal_lines,
    push_lines,
)
from backend.cli.exits import DONE
from backend.cli.output import emit, guarded, json_option, note, plain, table
from backend.cli.session import Session, acting
from backend.cli.shadow_show import shadow_lines
from backend.cli.waiting import exit_of, told, wait_option
from backend.client.results import Endpoint
from backend.client.states import ENDPOINT_STATES
from backend.core.errors import Refusal

_NAME = click.argument("name", metavar="ENDPOINT", shell_complete=names.endpoints)
_reason = click.option("--reason", required=True, help="Why, in a sentence.")


@click.group()
def endpoint() -> None:
    """Look at endpoints, adopt them, and stop or repair them by hand."""


@endpoint.command("list")
@acting
@click.option("--environment")
@click.option("--model")
@click.option("--server")
@click.option("--mode", type=click.Choice(["observe", "managed"]))
@click.option("--state", type=click.Choice(ENDPOINT_STATES))
@click.option("--text", default="", help="Part of an endpoint's or its model's name.")
@click.option("--after", metavar="NAME", help="The next page: `next` of the page before.")
@click.option("--limit", type=click.IntRange(1, 199), default=50, show_default=True)
@json_option
@guarded
def list_endpoints(
    opened: Session,
    environment: str | None,
    model: str | None,
    server: str | None,
    mode: str | None,
    state: str | None,
    text: str,
    after: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List endpoints by name, each with its state and whether it is healthy."""
    narrow = {"environment": environment, "model": model, "server": server, "mode": mode, "state": state, "text": text}
    page = opened.client.endpoints.page(after=after, limit=limit, **narrow)
    emit(as_json, {"endpoints": page.items, "next": page.next}, endpoint_lines(page.items))


@endpoint.command()
@acting
@_NAME
@click.option("--at", "moment", type=inputs.MOMENT, help="As it stood at a moment, with its zone: 2026-03-01T06:00+01:00.")
@json_option
@guarded
def show(opened: Session, name: str, moment: datetime | None, as_json: bool) -> None:
    """Show what an endpoint shall serve, what it was seen to serve, and how each proof stands."""
    if moment is None:
        _emit(opened, name, as_json)
        return
    found = opened.client.endpoints.at(name, moment)
    emit(as_json, {"moment": found}, moment_lines(found))


@endpoint.command()
@acting
@_NAME
@click.option("--minutes", type=click.IntRange(1, 24 * 60), default=15, show_default=True, help="How far back.")
@json_option
@guarded
def served(opened: Session, name: str, minutes: int, as_json: bool) -> None:
    """Say which versions answered lately, by how many requests: traffic, not configuration."""
    found = opened.client.endpoints.served(name, minutes)
    rows = [(one.arm, one.version, one.requests) for one in found]
    said = table(("arm", "version", "requests"), rows) if found else ["No traffic was seen."]
    emit(as_json, {"served": found}, said)


@endpoint.command()
@acting
@_NAME
@click.option("--from", "start", type=inputs.MOMENT, help="By default a day before the end.")
@click.option("--to", "end", type=inputs.MOMENT, help="By default now.")
@click.option("--tolerance", type=float, help="Numbers that lie no further apart agree.")
@click.option("--threshold", type=float, help="Of decisions: numbers agree that are both below it, or both not.")
@click.option("--outcome", help="By which errors are measured; by default the only one that there is.")
@json_option
@guarded
def shadow(
    opened: Session,
    name: str,
    start: datetime | None,
    end: datetime | None,
    tolerance: float | None,
    threshold: float | None,
    outcome: str | None,
    as_json: bool,
) -> None:
    """Compare what shadow arms answered with what the live ones did."""
    asked = {"tolerance": tolerance, "threshold": threshold}
    found = opened.client.endpoints.shadow(name, start=start, end=end, outcome=outcome, **asked)
    emit(as_json, plain(found), shadow_lines(found))


@endpoint.command()
@acting
@_NAME
@click.option("--pushes", is_flag=True, help="Attempts to make generations true, instead of the generations.")
@click.option("--before", type=click.IntRange(min=1), help="Only generations before this one, for the next page.")
@click.option("--limit", type=click.IntRange(1, 199), default=50, show_default=True)
@json_option
@guarded
def history(opened: Session, name: str, pushes: bool, before: int | None, limit: int, as_json: bool) -> None:
    """List what was admitted for an endpoint, newest first."""
    if pushes:
        log = opened.client.endpoints.pushes(name, limit=limit).items
        emit(as_json, {"pushes": log}, push_lines(log))
        return
    found = opened.client.endpoints.history(name, after=before, limit=limit).items
    emit(as_json, {"generations": found}, generation_lines(found))


@endpoint.command()
@acting
@_NAME
@click.option("--environment", required=True)
@click.option("--model", required=True, help="The registered model.")
@click.option("--server", required=True)
@click.option("--router", help="The router that splits its traffic.")
@click.option("--served-name", help="Under which the server knows the model; by default the endpoint's own name.")
@json_option
@guarded
def create(
    opened: Session,
    name: str,
    environment: str,
    model: str,
    server: str,
    router: str | None,
    served_name: str | None,
    as_json: bool,
) -> None:
    """Take an endpoint on in observe mode: it is looked at, and nothing is ever written to it."""
    made = opened.client.endpoints.create(
        name, environment=environment, model=model, server=server, router=router, served_name=served_name
    )
    _emit(opened, made, as_json)


@endpoint.command()
@acting
@_NAME
@json_option
@guarded
def adopt(opened: Session, name: str, as_json: bool) -> None:
    """Ask an observed endpoint's server what runs there now, and show what signing it off would mean."""
    proposal = opened.client.endpoints.baseline(name)
    emit(as_json, plain(proposal), proposal_lines(proposal))


@endpoint.command("sign-off")
@acting
@_NAME
@click.option("--base", help="The digest of what you looked at, as `endpoint adopt` prints it.")
@click.option("--yes", is_flag=True, help="Sign what is found now, without being asked.")
@click.option(
    "--version", "runs", multiple=True, metavar="NAME:VERSION=REGISTERED", help="Which registered version runs; repeatable."
)
@click.option("--champion", metavar="NAME:VERSION", help="Which of several answers, where no router says it.")
@wait_option
@json_option
@guarded
def sign_off(
    opened: Session,
    name: str,
    base: str | None,
    yes: bool,
    runs: tuple[str, ...],
    champion: str | None,
    wait: float | None,
    as_json: bool,
) -> None:
    """Sign that what runs is right: from then on the endpoint is managed, and anything else is found and repaired."""
    versions, first = inputs.places(runs), inputs.place(champion) if champion is not None else None
    base_digest = inputs.digest(base) if base is not None else _agreed(opened, name, yes)
    _emit(opened, opened.client.endpoints.sign_off(name, base_digest, versions=versions, champion=first), as_json, wait)


@endpoint.command()
@acting
@_NAME
@_reason
@json_option
@guarded
def pause(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """Push and repair nothing there any more; it is still looked at, and a rollback stays possible."""
    _emit(opened, opened.client.endpoints.pause(name, reason), as_json)


@endpoint.command()
@acting
@_NAME
@_reason
@json_option
@guarded
def resume(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """Make what was admitted true again."""
    _emit(opened, opened.client.endpoints.resume(name, reason), as_json)


@endpoint.command()
@acting
@_NAME
@_reason
@json_option
@guarded
def repair(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """Repair it now: without waiting for the next attempt, and also after a fight or where it is only reported."""
    _emit(opened, opened.client.endpoints.repair(name, reason), as_json)


@endpoint.command("set-repair")
@acting
@_NAME
@click.argument("choice", type=click.Choice(["repair", "report"]))
@_reason
@json_option
@guarded
def set_repair(opened: Session, name: str, choice: str, reason: str, as_json: bool) -> None:
    """Have changes made by hand repaired, or only reported."""
    seen = opened.client.endpoints.show(name)
    _emit(opened, opened.client.endpoints.set_repair(name, choice, reason, if_match=seen.etag), as_json)


@endpoint.command()
@acting
@_NAME
@json_option
@guarded
def look(opened: Session, name: str, as_json: bool) -> None:
    """Ask for a look at an endpoint's server without waiting for the next one."""
    _emit(opened, opened.client.endpoints.look(name), as_json)


@endpoint.command()
@acting
@_NAME
@_reason
@json_option
@guarded
def remove(opened: Session, name: str, reason: str, as_json: bool) -> None:
    """Forget an endpoint that is only observed; what runs goes on running."""
    opened.client.endpoints.remove(name, reason)
    emit(as_json, {"removed": name}, [f"{name} is forgotten."])


def _agreed(opened: Session, name: str, yes: bool) -> str:
    """The digest of what runs now, shown here and agreed to."""
    proposal = opened.client.endpoints.baseline(name)
    for line in proposal_lines(proposal):
        note(line)
    if yes:
        return proposal.digest
    if not sys.stdin.isatty():
        raise Refusal(
            "A signature is bound to what you looked at.",
            "Name it with `--base DIGEST`, as `endpoint adopt` prints it, or `--yes` for what is found now.",
            code="not-named",
        )
    if click.prompt(f"Type {name} to sign what is shown above", err=True).strip() != name:
        raise Refusal("That is not the endpoint's name.", "Nothing was signed; look again.", code="not-agreed")
    return proposal.digest


def _emit(opened: Session, endpoint: Endpoint | str, as_json: bool, wait: float | None = None) -> None:
    """Prints the endpoint as it stands; after waiting also whether it was proved, which the exit code tells too."""
    name, code, reached = endpoint if isinstance(endpoint, str) else endpoint.line.name, DONE, {}
    if wait is not None:
        outcome = opened.client.endpoints.wait(name, seconds=wait, told=told, clock=opened.pace)
        code, reached = exit_of(outcome), {"reached": outcome.reached, "outcome": outcome.end}
    found = endpoint if isinstance(endpoint, Endpoint) and wait is None else opened.client.endpoints.show(name)
    emit(as_json, {"endpoint": found} | reached, detail_lines(found))
    sys.exit(code)
