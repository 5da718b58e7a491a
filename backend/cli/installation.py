"""`countersign migrate` and `countersign doctor`: what looks after the installation itself."""

from __future__ import annotations

import sys

import click

from backend import bootstrap
from backend.access import last_admin
from backend.cli.output import NO, emit, guarded, json_option
from backend.cli.session import Session, data_option
from backend.core.errors import CountersignError
from backend.embedded import platform


@click.command("migrate")
@data_option
@json_option
@guarded
def migrate(opened: Session, as_json: bool) -> None:
    """Make the data folder's keys, and bring the database to the schema of this program."""
    bootstrap.install(opened.settings).close()
    emit(as_json, {"migrated": True}, ["The database is at the schema of this program."])


@click.command()
@data_option
@json_option
@guarded
def doctor(opened: Session, as_json: bool) -> None:
    """Say what this machine and this installation lack, and what to do about each."""
    findings = [*_platform(), *_database(opened)]
    lines = [f"{name}: {says} {remedy}".strip() for name, says, remedy in findings] or ["Nothing is missing."]
    wanting = [{"part": name, "lacks": says, "remedy": remedy} for name, says, remedy in findings]
    emit(as_json, {"ok": not findings, "lacks": wanting}, lines)
    sys.exit(NO if findings else 0)


def _platform() -> list[tuple[str, str, str]]:
    machine = platform.inspect()
    parts = {"Triton": platform.triton_shortfalls(machine), "Envoy": platform.envoy_shortfalls(machine)}
    return [(f"embedded {name}", one.lacks, one.remedy) for name, lacking in parts.items() for one in lacking]


def _database(opened: Session) -> list[tuple[str, str, str]]:
    if (lacking := bootstrap.missing_database(opened.settings)) is not None:
        return [("database", lacking.message, lacking.remedy)]
    try:
        opened.require_ready()
    except CountersignError as error:
        return [("database", str(error), "")]
    return _admins(opened)


def _admins(opened: Session) -> list[tuple[str, str, str]]:
    database, demo = opened.backend.database, opened.settings.demo_identities
    with database.read() as session:
        problem = last_admin.outlook(session, now=database.now(session), demo=demo).problem
    return [("admins", *problem)] if problem is not None else []
