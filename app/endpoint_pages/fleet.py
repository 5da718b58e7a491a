"""The list of endpoints in words: what is live, how old each proof is, and how all of it stood at any moment of the past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from app import ways, wiring
from app.kit import components, export, states, times
from app.kit.live import live
from app.kit.states import badge, look, pill
from app.wiring import Reading
from backend.access.checks import require_to_read
from backend.changes import briefly
from backend.core.context import Actor
from backend.delivery import fleet, lines, past
from backend.delivery.fleet import RANKS, TROUBLED, Filters
from backend.delivery.lines import EndpointLine, EndpointPage
from backend.delivery.past import PastLine, PastPage, Span
from backend.delivery.plan import percent
from backend.delivery.proofs import KINDS
from backend.delivery.records import Share

PAGE = 50
MOST_EXPORTED = 20_000
KIND = {"configured": "Configured", "answers": "Answers", "bytes": "Bytes", "behaviour": "Behaviour"}
_EXPORTED = (
    "endpoint", "environment", "model", "server", "state", "reason", "live", "last_seen_seconds",
    *(f"{kind}_{what}" for kind in KINDS for what in ("verdict", "age_seconds")), "generation", "proved_generation",
)  # fmt: skip


def page(look: Reading, filters: Filters, after: str) -> EndpointPage:
    """Fifty endpoints, worst first."""
    return fleet.fleet(look.session, filters, now=look.now, interval=wiring.interval(), after=after, limit=PAGE)


def counts(look: Reading, filters: Filters) -> Mapping[str, int]:
    """Endpoints by state as shown, of those that the other filters let through."""
    return fleet.counts(look.session, filters, now=look.now, interval=wiring.interval())


def standing(look: Reading) -> fleet.Standing:
    """How the whole fleet stands."""
    return fleet.standing(look.session, now=look.now, interval=wiring.interval())


def as_approved(whole: fleet.Standing) -> str:
    """`1 runs`, `2 run`."""
    return f"{whole.as_approved:,} {'runs' if whole.as_approved == 1 else 'run'}"


def ordered(found: Mapping[str, int]) -> list[tuple[str, int]]:
    """(state, count), worst first."""
    return sorted(found.items(), key=lambda one: RANKS[one[0]])


def trouble(found: Mapping[str, int]) -> list[str]:
    """Badges of the states that need somebody, worst first."""
    return [badge("endpoint", state, f"{count} {look('endpoint', state).word.lower()}") for state, count in ordered(found)
            if state in TROUBLED]  # fmt: skip


ANY, TROUBLE = "Any state", "Needs attention"
STATES = {ANY: "", TROUBLE: "troubled"} | {look("endpoint", state).word: state for state in RANKS}
"""What the filter offers -> the state that is asked for. An address holds the words: Streamlit binds what is shown."""


def columns() -> dict[str, Any]:
    """The columns of the list; one for each kind of proof, with its age."""
    text = st.column_config.TextColumn
    proofs = {KIND[kind]: text(width=86) for kind in KINDS}
    return {
        "Endpoint": text(width=176),
        "State": states.column("endpoint", "State", 108),
        "Live": text("Live, %", width=112),
        **proofs,
        "Seen": text("Last seen", width=92),
        "Environment": text(width=92),
        "Model": text(width=132),
        "Server": text(width=120),
        "Why": text(width=320),
    }


def record(line: EndpointLine) -> dict[str, Any]:
    """One endpoint as a row of the list: plain text."""
    return {
        "Endpoint": line.name,
        "State": pill("endpoint", line.state),
        "Live": live_words(line),
        **{KIND[kind]: proof_age(line, kind) for kind in KINDS},
        "Seen": seen_age(line),
        "Environment": line.environment,
        "Model": line.model,
        "Server": line.server,
        "Why": line.reason,
    }


def live_words(line: EndpointLine) -> str:
    """`v1 90 · v2 10`, as it was seen; what is only observed has no arms of ours."""
    if line.live:
        several = len([one for one in line.live if one.buckets]) > 1
        return " · ".join(f"v{one.version} {percent(one.buckets).removesuffix(' %')}" if several else f"v{one.version}"
                          for one in line.live if one.buckets or not several)  # fmt: skip
    return "not known" if line.mode == "managed" and not lines.is_known(line) else "–"


def proof_age(line: EndpointLine, kind: str) -> str:
    """Age of the newest proof of a kind, or the word for why it counts for nothing now."""
    one = next((each for each in line.proofs if each.kind == kind), None)
    if one is None or line.mode == "observe":
        return "–"
    age = times.coarse(one.age_seconds)
    if one.verdict != "ok":
        return "failed" if one.verdict == "failed" else "not possible"
    return age if one.holds else f"stale, {age}"


def seen_age(line: EndpointLine) -> str:
    """How long ago its server and its router last answered."""
    if line.seen_seconds is None:
        return "never"
    age = times.coarse(line.seen_seconds)
    return f"stale, {age}" if line.stale else age


def counted(count: int, more: bool) -> str:
    """The result count in words."""
    return f"{count:,} shown, more follow" if more else f"{count:,} shown"


def exporter(actor: Actor, filters: Filters, moment: datetime | None) -> Callable[[], bytes]:
    """What makes the file when the button is clicked: it asks then whether this actor may, and reads one snapshot.

    It holds everything that the filters let through and this actor may see, at most 20,000 endpoints, as it is or as it stood
    at a moment.
    """

    def make() -> bytes:
        with wiring.reading(actor) as look:
            require_to_read(look.session, actor, "endpoint.read", now=look.now)
            if moment is not None:
                return export.to_csv(list(past_columns()), _past_exported(look, moment, filters))
            return export.to_csv(_EXPORTED, (_exported(one) for one in _everything(look, filters)))

    return make


def exported_name(moment: datetime | None) -> str:
    """The file's name, which says the moment that it is of."""
    return f"endpoints-as-of-{moment:%Y-%m-%dT%H%M%SZ}.csv" if moment is not None else "endpoints.csv"


def _everything(look: Reading, filters: Filters) -> list[EndpointLine]:
    found: list[EndpointLine] = []
    after: str | None = ""
    while after is not None and len(found) < MOST_EXPORTED:
        part = fleet.fleet(look.session, filters, now=look.now, interval=wiring.interval(), after=after, limit=200)
        found, after = [*found, *part.rows], part.after
    return found


def _exported(line: EndpointLine) -> list[Any]:
    proofs = {one.kind: one for one in line.proofs}
    each = [value for kind in KINDS for value in _proof_cells(proofs.get(kind))]
    seen = [line.name, line.environment, line.model, line.server, line.state, line.reason, live_words(line), line.seen_seconds]
    return [*seen, *each, line.generation, line.proved_generation]


def _proof_cells(one: lines.ProofView | None) -> tuple[str, float | None]:
    return ("", None) if one is None else (one.verdict, round(one.age_seconds, 1))


# -- the past


def past_page(look: Reading, moment: datetime, filters: Filters, after: str) -> PastPage:
    """Fifty endpoints by name as they stood at a moment."""
    return past.fleet_at(look.session, moment, filters, after=after, limit=PAGE)


def past_columns() -> dict[str, Any]:
    """The columns of the list of a moment of the past."""
    text = st.column_config.TextColumn
    return {
        "Endpoint": text(width=186),
        "State": states.column("endpoint", "State then", 112),
        "Desired": text("Desired, %", width=150),
        "Approved by": text(width=210),
        "Policy": text(width=104),
        "Change": text(width=66),
        "Seen": text("Last seen running", width=170),
        "Seen at": st.column_config.DatetimeColumn("Seen at (UTC)", format="D MMM YYYY HH:mm:ss", timezone="UTC", width=150),
        "Environment": text(width=96),
        "Why": text(width=320),
    }


def past_records(look: Reading, rows: Sequence[PastLine]) -> list[dict[str, Any]]:
    """Endpoints as they stood, as rows of plain text."""
    changes = briefly.named(look.session, [one.desired.change_id for one in rows if one.desired is not None])
    return [_past_record(one, changes) for one in rows]


def _past_exported(look: Reading, moment: datetime, filters: Filters) -> Iterator[list[Any]]:
    """Every row of the list of a moment; a state as its word."""
    after: str | None = ""
    left = MOST_EXPORTED
    while after is not None and left > 0:
        part = past.fleet_at(look.session, moment, filters, after=after, limit=200)
        for one in past_records(look, part.rows):
            yield [*({**one, "State": ", ".join(one["State"])}[name] for name in past_columns())]
        after, left = part.after, left - len(part.rows)


def _past_record(line: PastLine, changes: Mapping[str, briefly.Named]) -> dict[str, Any]:
    change = changes.get(line.desired.change_id or "") if line.desired is not None else None
    return {
        "Endpoint": line.name,
        "State": pill("endpoint", line.state),
        "Desired": desired_words(line.desired),
        "Approved by": approved_words(line),
        "Policy": line.policy or "–",
        "Change": f"#{change.number}" if change is not None else "–",
        "Seen": seen_words(line.seen),
        "Seen at": line.seen_at,
        "Environment": line.environment,
        "Why": line.reason,
    }


def desired_words(span: Span | None) -> str:
    """What a generation wanted: `v1 90 · v2 10`."""
    if span is None:
        return "nothing approved"
    return share_words(span.shares)


def share_words(shares: Sequence[Share]) -> str:
    """`v1 90 · v2 10`, or the only version."""
    parts = [one for one in shares if one.buckets]
    if len(parts) == 1:
        return f"v{parts[0].version}"
    return " · ".join(f"v{one.version} {percent(one.buckets).removesuffix(' %')}" for one in parts) or "nothing"


def approved_words(line: PastLine) -> str:
    """Who approved it; a baseline was signed off."""
    if line.desired is None:
        return "–"
    if line.policy is None:
        return "signed off as found"
    return ", ".join(line.approved_by) or "nobody was asked"


def seen_words(seen: Mapping[str, Any] | None) -> str:
    """Which versions had last been seen under which names."""
    if seen is None:
        return "never seen by then"
    models: Mapping[str, Any] = seen.get("models", {})
    told = [f"{name} {number}" for name, one in models.items() for number in one.get("versions", {})]
    return ", ".join(told) or "nothing ran"


# -- what moved since the list was drawn


def watch(filters: Filters, drawn: Mapping[str, int]) -> None:
    """A live line: how the listed endpoints stand now, and a way to draw the list anew once it is behind."""
    live(_watched)(filters, dict(drawn))


def _watched(filters: Filters, drawn: dict[str, int]) -> None:
    with wiring.reading() as now:
        found = counts(now, filters)
    told = [badge("endpoint", state, f"{look('endpoint', state).word} {count:,}") for state, count in ordered(found)]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(" ".join(told) or components.NBSP, width="content")
        if dict(found) != drawn:
            st.markdown(":small[:gray[The list below is older than this.]]", width="content")
            if st.button("Draw it anew", icon=":material/refresh:", type="tertiary"):
                st.rerun()
        st.markdown(f":small[:gray[{times.stamp(now.now)}]]", width="stretch", text_alignment="right")


def nothing(filters: Filters, moment: datetime | None, *, adopts: bool) -> None:
    """Why the list is empty, and the next step."""
    with st.container(border=True):
        if filters != Filters():
            components.empty("No endpoint matches", "Change or clear a filter.", icon="search_off")
        elif moment is not None:
            components.empty(
                "No endpoint was known at that moment",
                f"Nothing had been adopted by {times.stamp(moment)}. Choose a later one, or clear it to see the present.",
                icon="history",
            )
        elif adopts:
            components.empty(
                "There is no endpoint yet",
                "Register a server, test the connection, adopt what runs there: it is only looked at until you sign it off.",
                icon="lan",
                step="Servers",
                page=ways.path("admin"),
            )
        else:
            components.empty(
                "There is no endpoint yet",
                "A platform engineer registers a server and adopts what runs there. It will stand here then.",
                icon="lan",
            )


def opened(name: str, moment: datetime | None) -> dict[str, str]:
    """The address of an endpoint's own page, at the moment that the list shows."""
    return {"endpoint": name} | ({"at": times.written(moment)} if moment is not None else {})
