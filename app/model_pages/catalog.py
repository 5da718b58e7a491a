"""The list of models: what is asked for, one page of it, its records, and the same as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import streamlit as st
from sqlmodel import Session

from app import wiring
from app.kit import components, export, listing, times
from app.kit.palette import current
from app.model_pages import mirror, where_it_runs
from backend.access.checks import require_to_read
from backend.core.context import Actor
from backend.delivery.lines import EndpointLine
from backend.delivery.placed import live_models
from backend.policy import queries as policy
from backend.registry import catalog
from backend.registry.catalog import Counts, ModelLine, Order

PAGE = 50
MOST_EXPORTED = 100_000
_STEP = 500
_ANY = "Any"
_PICKLED, _GONE = "Pickled", "Gone"
_ORDERS: dict[str, Order] = {"Latest": "newest", "Name": "name"}
"""What the filters offer. An address holds the words that are shown, not values behind them (measured, Streamlit 1.67)."""
_EXPORTED = (
    "model", "owner", "latest_version", "versions_in_mlflow", "versions_registered", "versions_pickled", "aliases",
    "endpoints", "last_change", "gone_since", "description",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What the filters ask for; "" leaves one out. `live` is an environment, `flag` Pickled or Gone."""

    words: str = ""
    owner: str = ""
    live: str = ""
    alias: str = ""
    flag: str = ""
    order: Order = "newest"

    @property
    def is_everything(self) -> bool:
        """Whether no filter is set."""
        return not any((self.words.strip(), self.owner, self.live, self.alias, self.flag))

    def wanted(self, session: Session) -> catalog.Wanted:
        """The same for the registry's rows."""
        among = live_models(session, self.live) if self.live else None
        return catalog.Wanted(
            self.words, self.owner, self.alias, self.flag == _PICKLED, self.flag == _GONE, among=among
        )  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """What the filters offer."""

    owners: tuple[str, ...]
    aliases: tuple[str, ...]
    environments: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """One page: its models, what is counted of each by id, and where each runs by name; `total` counts all pages."""

    lines: tuple[ModelLine, ...]
    counts: Mapping[str, Counts]
    placed: Mapping[str, Sequence[EndpointLine]]
    total: int
    following: str | None


def choices(look: wiring.Reading) -> Choices:
    """Owners, aliases and environments that there are."""
    environments = tuple(one.name for one in policy.environments(look.session, look.now))
    return Choices(catalog.owners(look.session), catalog.alias_names(look.session), environments)


def ask(offered: Choices) -> Asked:
    """Draws the filter row."""
    with listing.filters():
        words = st.text_input("Search", key="q", bind="query-params", placeholder="delay team=fares", icon=":material/search:")
        owner = _choose("Owner", "owner", offered.owners)
        live = _choose("Live in", "live", offered.environments)
        alias = _choose("Alias", "alias", offered.aliases)
        flag = _choose("Flag", "flag", (_PICKLED, _GONE))
        order = st.selectbox("Order", list(_ORDERS), key="order", bind="query-params", width=150)
    return Asked(words or "", owner, live, alias, flag, _ORDERS.get(order or "", "newest"))


def page(look: wiring.Reading, asked: Asked, after: str) -> Shown:
    """One page from the place that an address names on ("" is the beginning)."""
    wanted = asked.wanted(look.session)
    found = catalog.page(look.session, wanted, order=asked.order, after=after or None, limit=PAGE)
    counts = catalog.counts(look.session, [one.id for one in found.items])
    where = where_it_runs.by_model(look, [one.name for one in found.items])
    return Shown(found.items, counts, where, catalog.count(look.session, wanted), found.after)


def records(shown: Shown, now: datetime) -> list[dict[str, Any]]:
    """Rows of the data table: plain text."""
    return [_record(one, shown.counts[one.id], shown.placed.get(one.name, ()), now) for one in shown.lines]


def columns(shown: Shown) -> dict[str, Any]:
    """The columns, in the order shown."""
    fills = current().pills
    flags = {"Pickled": fills["orange"], "Gone": fills["orange"]}
    return {
        "Model": st.column_config.TextColumn(width=196),
        "Latest": st.column_config.TextColumn(width=56),
        "Live": where_it_runs.column("What is live where", shown.placed, width=276),
        "Registered": st.column_config.TextColumn("Registered", width=84, help="Registered here, of what MLflow has"),
        "Flag": st.column_config.MultiselectColumn(options=list(flags), color=list(flags.values()), width=72),
        "Aliases": st.column_config.TextColumn(width=124),
        "Owner": st.column_config.TextColumn(width=84),
        "Last change (UTC)": st.column_config.TextColumn(width=176),
    }


def counted(shown: Shown, asked: Asked) -> str:
    """The result count in words."""
    one = shown.total == 1
    matching = "" if asked.is_everything else " matches" if one else " match"
    following = "" if len(shown.lines) == shown.total else f", {len(shown.lines)} on this page"
    return f"{shown.total:,} {'model' if one else 'models'}{matching}{following}"


def ways_on(asked: Asked) -> tuple[str, str]:
    """What the ways to the page before and after are called."""
    return ("Newer", "Older") if asked.order == "newest" else ("Previous", "Next")


def empty(asked: Asked, *, may_register: bool) -> bool:
    """Why no model is shown. Returns whether the way to register was taken."""
    if asked.is_everything:
        return mirror.nothing_mirrored(may_register=may_register)
    return components.empty(
        "No model matches",
        "Every word has to be in the name, the description, the owner or a tag (written key=value). Clear a filter.",
        icon="search_off",
    )


def exporter(actor: Actor, asked: Asked) -> Callable[[], bytes]:
    """What makes the file when the button is clicked: it asks then whether this actor may, and reads one snapshot."""

    def make() -> bytes:
        with wiring.reading(actor) as look:
            require_to_read(look.session, actor, "model.read", now=look.now)
            return export.to_csv(_EXPORTED, _everything(look, asked))

    return make


def _choose(label: str, key: str, options: Sequence[str]) -> str:
    """A filter among names that others gave; what the address names is offered too, so that a link always holds."""
    asked = st.query_params.get(key, "")
    offered = ["", *options, *([asked] if asked and asked not in options else [])]
    return st.selectbox(label, offered, key=key, bind="query-params", format_func=lambda one: one or _ANY) or ""


def _record(line: ModelLine, counts: Counts, lines: Sequence[EndpointLine], now: datetime) -> dict[str, Any]:
    return {
        "Model": line.name,
        "Latest": f"v{line.latest_version}" if line.latest_version else "none",
        "Live": where_it_runs.pills(lines),
        "Registered": f"{counts.registered} of {counts.told}",
        "Aliases": ", ".join(f"{alias} v{number}" for alias, number in line.aliases),
        "Owner": line.owner,
        "Last change (UTC)": f"{times.short(line.updated_at)} · {times.age(line.updated_at, now)}",
        "Flag": [*(["Pickled"] if counts.pickled else []), *(["Gone"] if line.removed_at else [])],
    }


def _everything(look: wiring.Reading, asked: Asked) -> Iterator[Sequence[Any]]:
    after: str | None = None
    for _ in range(MOST_EXPORTED // _STEP):
        found = catalog.page(look.session, asked.wanted(look.session), order=asked.order, after=after, limit=_STEP)
        counts = catalog.counts(look.session, [one.id for one in found.items])
        where = where_it_runs.by_model(look, [one.name for one in found.items])
        for one in found.items:
            yield _exported(one, counts[one.id], where.get(one.name, ()))
        after = found.after
        if after is None:
            return


def _exported(line: ModelLine, counts: Counts, lines: Sequence[EndpointLine]) -> Sequence[Any]:
    endpoints = ", ".join(f"{one.name}: {where_it_runs.words(one)}" for one in lines)
    aliases = ", ".join(f"{alias}=v{number}" for alias, number in line.aliases)
    return (
        line.name, line.owner, line.latest_version, counts.told, counts.registered, counts.pickled, aliases, endpoints,
        line.updated_at, line.removed_at, line.description,
    )  # fmt: skip
