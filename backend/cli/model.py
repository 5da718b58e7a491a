"""`countersign model`: register versions, upload new ones, and look at what the registry has."""

from __future__ import annotations

from pathlib import Path

import click

from backend.cli.output import emit, facts, guarded, json_option, note, printable, table
from backend.cli.session import Session, acting
from backend.registry import queries
from backend.registry.queries import AliasLine, VersionLine, VersionPage
from backend.registry.rows import Version

_MODEL = click.argument("model_name", metavar="MODEL")
_AFTER = click.option("--after", metavar="TOKEN", help="The next page: `next` of the page before.")
_LIMIT = click.option("--limit", type=click.IntRange(1, queries.MAX_PAGE), default=100, show_default=True)


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
    row = opened.backend.versions.register(opened.actor, model_name, number, progress=_Told())
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
    row = opened.backend.versions.upload(opened.actor, model_name, archive, description=description, progress=_Told())
    emit(as_json, {"version": _told(model_name, row)}, _registered(model_name, row))


@model.command("list")
@acting
@click.option("--words", default="", help="Every word is in the name, the description, the owner or the tags.")
@click.option("--owner")
@click.option("--by-name", is_flag=True, help="In order of names, not the latest change first.")
@_AFTER
@_LIMIT
@json_option
@guarded
def list_models(
    opened: Session, words: str, owner: str | None, by_name: bool, after: str | None, limit: int, as_json: bool
) -> None:
    """List models as the registry was last seen."""
    order: queries.Order = "name" if by_name else "newest"
    with opened.reading("model.read") as look:
        page = queries.models(look.session, words=words, owner=owner, order=order, after=after, limit=limit)
        fresh = queries.freshness(look.session)
    rows = [(one.name, one.latest_version, one.owner, _aliases(one.aliases), one.updated_at) for one in page.items]
    content = {"models": page.items, "next": page.after, "read_at": fresh.completed_at}
    emit(as_json, content, table(("model", "latest", "owner", "aliases", "updated"), rows))


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
    with opened.reading("model.read") as look:
        if number is not None:
            found = queries.version(look.session, model_name, number)
            emit(as_json, {"version": found}, _version_lines(found))
            return
        page = queries.versions(look.session, model_name, after=after, limit=limit)
        aliases = queries.aliases(look.session, model_name)
    content = {"model": model_name, "versions": page.items, "next": page.after, "aliases": aliases}
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
    opened.backend.changes.set_champion(opened.actor, model_name, environment, number)
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


def _told(name: str, row: Version) -> dict[str, object]:
    return {
        "model": name,
        **row.facts("id", "number", "artifact_digest", "registered_by", "registered_at", "author_identity_id", "pickled"),
    }


def _registered(name: str, row: Version) -> list[str]:
    return [
        f"Version {row.number} of {printable(name)} is registered.",
        *facts((("digest", row.artifact_digest), ("files", len(row.artifact_files)), ("pickled code", ", ".join(row.pickled)))),
    ]


def _versions(items: tuple[VersionLine, ...]) -> list[str]:
    rows = [
        (one.number, one.status, one.author, one.is_verified, one.registered_at, ", ".join(one.aliases), one.created_at)
        for one in items
    ]
    return table(("version", "status", "author", "verified", "registered", "aliases", "created"), rows)


def _alias_lines(found: tuple[AliasLine, ...]) -> list[str]:
    rows = [(one.alias, one.number, one.wanted if one.is_ours else "", one.wanted_since) for one in found]
    return table(("alias", "version", "wanted", "since"), rows) if rows else []


def _version_lines(found: VersionPage) -> list[str]:
    told, kept = found.told, found.registered
    return facts(
        (
            ("model", found.model),
            ("version", told.number),
            ("status", told.status),
            ("author", told.author),
            ("run", told.run_id),
            ("description", told.description),
            ("aliases", ", ".join(found.aliases)),
            ("digest", kept.artifact_digest if kept else "not registered"),
            ("registered", kept.registered_at if kept else None),
            ("pickled code", ", ".join(kept.pickled) if kept else None),
            ("files", len(kept.artifact_files) if kept else None),
            ("changed since", ", ".join(found.changed_since)),
            *((f"metric {name}", value) for name, value in sorted(told.metrics.items())),
        )
    )


def _aliases(pairs: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{alias}={number}" for alias, number in pairs)
