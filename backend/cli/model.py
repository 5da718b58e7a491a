"""`countersign model`: register versions, upload new ones, and look at what the registry has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from backend.cli import names
from backend.cli.output import emit, facts, guarded, json_option, note, plain, printable, table
from backend.cli.session import Session, acting
from backend.client.results import Alias, AliasedVersion, Registration, Version, VersionLine

_MOST_ROWS = 200
_MODEL = click.argument("model_name", metavar="MODEL", shell_complete=names.models)
_AFTER = click.option("--after", metavar="TOKEN", help="The next page: `next` of the page before.")
_LIMIT = click.option("--limit", type=click.IntRange(1, _MOST_ROWS), default=100, show_default=True)


@click.group()
def model() -> None:
    """Register versions, and look at models."""


@model.command()
@acting
@_MODEL
@click.argument("number", type=click.IntRange(min=1))
@json_option
@guarded
def register(opened: Session, model_name: str, number: int, as_json: bool) -> None:
    """Take version NUMBER of MODEL on: every file is read, hashed and searched for pickled code."""
    note("Every file is read, hashed and searched; a large version takes minutes.")
    row = opened.client.models.register(model_name, number)
    emit(as_json, {"version": _told(model_name, row)}, _registered(model_name, row))


@model.command()
@acting
@_MODEL
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--description", default="")
@json_option
@guarded
def upload(opened: Session, model_name: str, archive: Path, description: str, as_json: bool) -> None:
    """Make an ARCHIVE (zip, tar, tar.gz) of an artifact a new version of MODEL, and register it."""
    row = opened.client.models.upload(model_name, archive, description=description, told=_Told(), clock=opened.pace)
    emit(as_json, {"version": _told(model_name, row)}, _registered(model_name, row))


@model.command("list")
@acting
@click.option("--words", default="", help="Every word is in the name, the description, the owner or the tags.")
@click.option("--owner")
@click.option("--alias", default="", help="Those that carry this alias.")
@click.option("--live", metavar="ENVIRONMENT", default="", help="Those of which something was admitted there.")
@click.option("--pickled", is_flag=True, help="Those of which a registered version holds pickled code.")
@click.option("--by-name", is_flag=True, help="In order of names, not the latest change first.")
@_AFTER
@_LIMIT
@json_option
@guarded
def list_models(
    opened: Session, /, words: str, owner: str | None, by_name: bool, after: str | None, limit: int, as_json: bool, **more: Any
) -> None:
    """List models as the registry was last seen."""
    order = "name" if by_name else "newest"
    page = opened.client.models.page(words=words, owner=owner, order=order, counted=True, after=after, limit=limit, **more)
    rows = [
        (one.name, one.latest_version, f"{one.registered} of {one.told}", one.owner, _aliases(one.aliases), one.updated_at)
        for one in page.items
    ]
    content = {"models": page.items, "next": page.next, "read_at": page.read_at, "total": page.total}
    emit(as_json, content, table(("model", "latest", "registered", "owner", "aliases", "updated"), rows))


@model.command()
@acting
@_MODEL
@click.argument("number", type=click.IntRange(min=1), required=False)
@_AFTER
@_LIMIT
@json_option
@guarded
def show(opened: Session, model_name: str, number: int | None, after: str | None, limit: int, as_json: bool) -> None:
    """Show a model's versions and aliases, or one version whole."""
    if number is not None:
        found = opened.client.models.version(model_name, number)
        emit(as_json, {"version": found}, _version_lines(found))
        return
    page = opened.client.models.versions(model_name, after=after, limit=limit)
    aliases = opened.client.models.aliases(model_name)
    content = {"model": model_name, "versions": page.items, "next": page.next, "aliases": aliases}
    emit(as_json, content, [*_versions(page.items), *_alias_lines(aliases)])


@model.command("set-champion")
@acting
@_MODEL
@click.argument("number", type=click.IntRange(min=1))
@click.option("--environment", required=True)
@json_option
@guarded
def set_champion(opened: Session, model_name: str, number: int, environment: str, as_json: bool) -> None:
    """Point an environment's champion alias at the version that is proved to answer there."""
    opened.client.models.set_champion(model_name, environment, number)
    told = {"model": model_name, "environment": environment, "version": number}
    emit(as_json, {"champion": told}, [f"A worker points the alias at version {number} now."])


class _Told:
    """Progress on standard error: each new thing that is done, once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, fraction: float, words: str) -> None:
        if words != self._last:
            note(f"{fraction:4.0%}  {printable(words)}")
            self._last = words


def _told(name: str, row: Registration) -> dict[str, object]:
    return {"model": name, **plain(row)}


def _registered(name: str, row: Registration) -> list[str]:
    return [
        f"Version {row.number} of {printable(name)} is registered.",
        *facts((("digest", row.artifact_digest), ("pickled code", ", ".join(row.pickled)))),
    ]


def _versions(items: Sequence[VersionLine]) -> list[str]:
    rows = [
        (one.number, one.status, one.author, one.is_verified, one.registered_at, ", ".join(one.aliases), one.created_at)
        for one in items
    ]
    return table(("version", "status", "author", "verified", "registered", "aliases", "created"), rows)


def _alias_lines(found: tuple[Alias, ...]) -> list[str]:
    rows = [(one.alias, one.number, one.wanted if one.is_ours else "", one.wanted_since) for one in found]
    return table(("alias", "version", "wanted", "since"), rows) if rows else []


def _version_lines(found: Version) -> list[str]:
    kept = found.registered
    return facts(
        (
            ("model", found.model),
            ("version", found.number),
            ("status", found.status),
            ("author", found.author),
            ("run", found.run_id),
            ("description", found.description),
            ("aliases", ", ".join(found.aliases)),
            ("digest", kept.artifact_digest if kept else "not registered"),
            ("registered", kept.registered_at if kept else None),
            ("pickled code", ", ".join(kept.pickled) if kept else None),
            ("changed since", ", ".join(found.changed_since)),
            *((f"metric {name}", value) for name, value in sorted(found.metrics.items())),
        )
    )


def _aliases(pairs: tuple[AliasedVersion, ...]) -> str:
    return ", ".join(f"{one.alias}={one.version}" for one in pairs)
