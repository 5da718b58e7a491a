"""`countersign data-set`: who may read recorded requests row by row, and reading them. No role brings that."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from backend.cli import inputs
from backend.cli.output import emit, guarded, json_option, table
from backend.cli.session import Session, acting

_SET = click.argument("name", metavar="DATA_SET")


@click.group("data-set")
def data_set() -> None:
    """Grants of data sets (`probes/MODEL`, `requests/ENDPOINT`), and reading them. Each read is in the ledger."""


@data_set.command("list")
@acting
@click.option("--mine", is_flag=True, help="Your own, for which no role is needed.")
@json_option
@guarded
def list_grants(opened: Session, mine: bool, as_json: bool) -> None:
    """List who may read which data set until when."""
    found = opened.client.data_sets.grants(mine=mine)
    rows = [(one.id, one.data_set, one.identity or f"team {one.team}", one.until, one.is_in_force) for one in found]
    emit(as_json, {"grants": found}, table(("grant", "data set", "who", "until", "in force"), rows))


@data_set.command()
@acting
@_SET
@click.option("--to", "identity", metavar="IDENTITY")
@click.option("--to-team", "team", metavar="TEAM")
@click.option("--until", type=inputs.MOMENT, required=True, help="When it ends, with its zone; within 366 days.")
@json_option
@guarded
def grant(opened: Session, name: str, identity: str | None, team: str | None, until: datetime, as_json: bool) -> None:
    """Let an identity, or a team's members, read a data set."""
    made = opened.client.data_sets.grant(name, until=until, identity=identity, team=team)
    told = {"id": made, "data_set": name, "identity": identity, "team": team, "until": until.astimezone(UTC)}
    emit(as_json, {"granted": told}, ["Granted."])


@data_set.command("take-back")
@acting
@click.argument("grant_id", metavar="GRANT")
@json_option
@guarded
def take_back(opened: Session, grant_id: str, as_json: bool) -> None:
    """End a grant at once."""
    opened.client.data_sets.take_back(grant_id)
    emit(as_json, {"taken_back": grant_id}, ["Taken back."])


@data_set.command()
@acting
@click.argument("model")
@click.argument("number", type=click.IntRange(min=1))
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@json_option
@guarded
def probes(opened: Session, model: str, number: int, limit: int, as_json: bool) -> None:
    """Show the recorded requests inside the package of a version."""
    found = opened.client.data_sets.probes(model, number, limit=limit)
    rows = [(one["request"], one["answer"]) for one in found]
    emit(as_json, {"model": model, "version": number, "recorded": found}, table(("request", "answer"), rows))


@data_set.command()
@acting
@click.argument("endpoint")
@click.option("--from", "start", type=inputs.MOMENT, required=True)
@click.option("--to", "end", type=inputs.MOMENT, required=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@json_option
@guarded
def requests(opened: Session, endpoint: str, start: datetime, end: datetime, limit: int, as_json: bool) -> None:
    """Show the requests that an endpoint was asked, from its inference log."""
    found = opened.client.data_sets.requests(endpoint, start, end, limit=limit)
    rows = [(one["event_time"], one["version"], one["status"], one["prediction"]) for one in found]
    emit(as_json, {"endpoint": endpoint, "requests": found}, table(("time", "version", "status", "prediction"), rows))
