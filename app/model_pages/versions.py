"""One model with its versions, read in one look, and the list of them in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import streamlit as st

from app import wiring
from app.kit import export, listing, times
from app.kit.addresses import number_in
from app.kit.palette import current
from app.kit.plain import escape, plural
from app.kit.states import LOOKS, badge, look
from app.model_pages import where_it_runs
from backend.access import queries as access
from backend.access.checks import require_to_read
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.delivery import placed as delivery
from backend.delivery.placed import PackageLine, Placement
from backend.registry import catalog, freshness, queries
from backend.registry.catalog import Counts, ModelLine
from backend.registry.queries import AliasLine, VersionLine, VersionPage

PAGE = 10


@dataclass(frozen=True)
class Whole:
    """One model, as its page shows it.

    Args:
        numbers: (number, whether it is registered) of the versions that MLflow still has, the highest first.
        chosen: the version that the address names, else the one that is live, else the newest; None where there is none.
        names: identity id -> the name that pages show.
        is_asked: whether MLflow was asked for this model and has not been read yet.
    """

    line: ModelLine
    counts: Counts
    numbers: tuple[tuple[int, bool], ...]
    aliases: tuple[AliasLine, ...]
    placements: tuple[Placement, ...]
    chosen: VersionPage | None
    packages: tuple[PackageLine, ...]
    names: Mapping[str, str]
    is_asked: bool

    @property
    def unregistered(self) -> list[int]:
        """Numbers that MLflow has and that are not registered here, the newest first."""
        return [number for number, registered in self.numbers if not registered]


def whole(look: wiring.Reading, name: str, version: str) -> Whole:
    """Everything of one model in one look. NotFound for a model or a version that is not there."""
    line = catalog.one(look.session, name)
    if line is None:
        raise NotFound("model", name, "It may not have been read yet, or be called otherwise: look in the list of models.")
    placements = delivery.of_model(look.session, name, now=look.now, interval=wiring.interval())
    numbers = queries.numbers(look.session, name)
    number = _number(version, name) or _of_interest(numbers, placements)
    chosen = queries.version(look.session, name, number) if number is not None else None
    kept = chosen.registered if chosen is not None else None
    ids = {one for one in (kept.registered_by, kept.author_identity_id) if one} if kept is not None else set()
    return Whole(
        line=line,
        counts=catalog.counts(look.session, [line.id])[line.id],
        numbers=numbers,
        aliases=queries.aliases(look.session, name),
        placements=placements,
        chosen=chosen,
        packages=delivery.packages(look.session, [kept.artifact_digest] if kept and kept.artifact_digest else []),
        names={key: one.name for key, one in access.some_people(look.session, ids, now=look.now).items()},
        is_asked=freshness.is_read_now(look.session, name, look.now),
    )


def badges(found: Whole) -> list[str]:
    """Where it is live, and what else must be seen at once."""
    gone = [badge("version", "removed")] if found.line.removed_at is not None else []
    moved = [badge("alias", "moved", f"{escape(one.alias)} moved by hand") for one in found.aliases if one.is_moved]
    return [*gone, *moved, *where_it_runs.badges([one.endpoint for one in found.placements])]


def meta(found: Whole, look: wiring.Reading) -> str:
    """One line of facts under the header."""
    owner = f"owner {escape(found.line.owner)}" if found.line.owner else "no owner named"
    counted = f"{found.counts.registered} of {plural(found.counts.told, 'version')} registered"
    return f"{owner} · {counted} · latest change {times.both(found.line.updated_at, look.now)}"


def live(found: Whole) -> list[int]:
    """Versions that are live somewhere, in the order of the endpoints."""
    return [one for each in found.placements if (one := where_it_runs.version_of(each.endpoint)) is not None]


def listed(look: wiring.Reading, name: str, after: str) -> queries.Lines[VersionLine]:
    """One page of its versions, the highest number first."""
    return queries.versions(look.session, name, after=after or None, limit=PAGE)


def records(lines: Sequence[VersionLine], found: Whole, now: datetime) -> list[dict[str, Any]]:
    """Rows of the data table: plain text."""
    at = where_it_runs.versions_at(found.placements)
    return [_record(one, at.get(one.number, []), now) for one in lines]


def columns(lines: Sequence[VersionLine], found: Whole) -> dict[str, Any]:
    """The columns, in the order shown."""
    fills = current().pills
    at = where_it_runs.versions_at(found.placements)
    where = sorted({text for texts in at.values() for text in texts})
    pills = max((sum(7 * len(text) + 26 for text in at.get(one.number, [])) for one in lines), default=0)
    aliases = max((7 * len(", ".join(one.aliases)) + 18 for one in lines), default=0)
    states = list(LOOKS["version"].values())
    return {
        "Version": st.column_config.TextColumn(width=58),
        "State": st.column_config.MultiselectColumn(
            options=[one.word for one in states], color=[fills[one.tone] for one in states], width=128
        ),
        "Runs as": st.column_config.MultiselectColumn(
            options=where, color=[fills["blue"]] * len(where), width=_between(136, pills, 330)
        ),
        "Aliases": st.column_config.TextColumn(width=_between(94, aliases, 330)),
        "Author": st.column_config.TextColumn(width=64),
        "Created (UTC)": st.column_config.TextColumn(width=158),
    }


def _between(least: int, wanted: int, most: int) -> int:
    """A width that shows what there is: a grid cuts its cells, and what does not fit beside them is scrolled to."""
    return max(least, min(wanted, most))


def choose(page: queries.Lines[VersionLine], found: Whole, place: listing.Place, now: datetime) -> int | None:
    """Draws one page of the versions; returns the number of another one that was clicked."""
    shown = records(page.items, found, now)
    picked = listing.rows(shown, columns(page.items, found), key=f"versions.{place.key}", alt="Versions of this model")
    if page.after or place.key:
        listing.walk(place, f"{len(page.items)} on this page", page.after)
    number = page.items[picked].number if picked is not None else None
    return None if found.chosen is not None and found.chosen.told.number == number else number


def exporter(actor: Actor, model: str) -> Any:
    """What makes the file of every version when the button is clicked."""

    def make() -> bytes:
        with wiring.reading(actor) as look:
            require_to_read(look.session, actor, "model.read", now=look.now)
            return export.to_csv(VersionLine._fields, _everything(look, model))

    return make


def runs(one: Placement) -> str:
    """Where, and what: `production · v1 gets 90 %, v2 gets 10 %`. Markdown."""
    return f"{escape(one.endpoint.environment)} · {_running(one)}"


def alias_rows(lines: Sequence[AliasLine], now: datetime) -> list[tuple[str, ...]]:
    """Aliases: (name with who minds it, where it points, state)."""
    return [_alias(one, now) for one in lines]


def _number(text: str, model: str) -> int | None:
    """The number in an address; None for no number at all."""
    if not text:
        return None
    if (number := number_in(text)) is None:
        raise NotFound("version", f"{model} {text[:20]}", "Choose one in the list of its versions.")
    return number


def _of_interest(numbers: Sequence[tuple[int, bool]], placements: Sequence[Placement]) -> int | None:
    """What is live (in the environment that is listed first), else the newest."""
    known = {number for number, _ in numbers}
    live = [where_it_runs.version_of(one.endpoint) for one in placements if one.endpoint.mode == "managed"]
    return next((one for one in live if one in known), next(iter(sorted(known, reverse=True)), None))


def _record(line: VersionLine, at: list[str], now: datetime) -> dict[str, Any]:
    states = ["registered" if line.registered_at is not None else "unregistered"]
    states += ["removed"] if line.removed_at is not None else []
    states += ["pickled"] if line.is_pickled else []
    return {
        "Version": f"v{line.number}",
        "State": [look("version", one).word for one in states],
        "Runs as": at,
        "Aliases": ", ".join(line.aliases),
        "Author": f"{line.author or 'unknown'}{' (verified)' if line.is_verified else ''}",
        "Created (UTC)": f"{times.short(line.created_at)} · {times.age(line.created_at, now)}",
    }


def _everything(look: wiring.Reading, model: str) -> Any:
    after: str | None = None
    while True:
        page = queries.versions(look.session, model, after=after, limit=queries.MAX_PAGE)
        yield from page.items
        after = page.after
        if after is None:
            return


def _running(one: Placement) -> str:
    if one.shares:
        return ", ".join(f"v{share.version} {_share(share.role, share.buckets)}" for share in one.shares)
    seen = one.endpoint.live_version
    return f"v{seen} was seen" if seen is not None else "nothing was admitted"


def _share(role: str, buckets: int) -> str:
    return f"gets {buckets / 100:g} %" if role == "arm" else {"shadow": "gets copies", "warm": "kept warm"}[role]


def _alias(one: AliasLine, now: datetime) -> tuple[str, ...]:
    points = f"v{one.number}" if one.number is not None else "nowhere"
    if not one.is_ours:
        return f"**{escape(one.alias)}**", points, badge("alias", "other")
    wanted = f"v{one.wanted}" if one.wanted is not None else "nowhere"
    since = f"wanted at {wanted} since {times.short(one.wanted_since)} UTC" if one.wanted_since else f"wanted at {wanted}"
    state = "moved" if one.is_moved else "there" if one.is_written else "pending"
    return f"**{escape(one.alias)}**  \n:small[:gray[{since}]]", points, badge("alias", state)
