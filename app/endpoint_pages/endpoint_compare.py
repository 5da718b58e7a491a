"""Desired, observed and served of one endpoint: three bars, then field by field. Configuration is not traffic."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import streamlit as st

from app import wiring
from app.endpoint_pages import endpoint_words
from app.kit import charts, components, times
from app.kit.charts import Bar
from app.kit.palette import Palette, current
from app.kit.plain import escape
from app.kit.states import badge
from backend.core.errors import ExternalFailure
from backend.delivery.plan import percent
from backend.delivery.queries import ArmView, EndpointDetail
from backend.inference_log.exposure import Served, served

WITHIN = timedelta(minutes=15)
"""How far back traffic counts as served now."""


def compared(found: EndpointDetail, at: datetime) -> None:
    """Desired, observed and served as three bars, then field by field."""
    with components.card("Desired against observed", "share of traffic, %"):
        if not found.arms:
            components.empty("Nothing shall run here", "The first change brings the first version.", icon="inbox")
            return
        lately = _served(found.line.name, at)
        bars = share_bars(current(), found, lately)
        charts.show(charts.shares(current(), bars), key="shares", alt=_bars_words(bars))
        components.table(
            fields(found), ("Field", "Desired", "Observed", "Verdict"), alt="Desired against observed, field by field"
        )
        components.digests(_digests(found.arms))


def share_bars(palette: Palette, found: EndpointDetail, lately: Sequence[Served] | str) -> list[Bar]:
    """The three bars. What nobody saw is said, not drawn; served are requests, not configuration."""
    colours = arm_colours(palette, found.arms)
    desired = [(_named(one), one.wanted_share / 100, colours[one.name]) for one in found.arms if one.wanted_share]
    known = [one for one in found.arms if one.seen_share is not None]
    observed = [(_named(one), (one.seen_share or 0) / 100, colours[one.name]) for one in known if one.seen_share]
    total = sum(one.requests for one in lately) if not isinstance(lately, str) else 0
    names = {one.name: _named(one) for one in found.arms}
    parts = [] if isinstance(lately, str) else [
        (names.get(one.arm, f"{one.arm} (not of this generation)"), round(100 * one.requests / total, 1),
         colours.get(one.arm, palette.warn))
        for one in lately
    ]  # fmt: skip
    seen = "not seen lately" if not known else "no traffic is routed"
    window = f"Served, {times.span(WITHIN)}"
    return [
        Bar("Desired", desired, "nothing shall run"),
        Bar("Observed", observed, seen),
        Bar(window, parts, lately if isinstance(lately, str) else "no traffic seen"),
    ]


def arm_colours(palette: Palette, arms: Sequence[ArmView]) -> dict[str, str]:
    """Arm -> colour: the champion, the shadow, and each challenger its own."""
    others = sorted({one.name for one in arms if not one.champion and one.role != "shadow"})
    return {
        one.name: palette.arm("champion" if one.champion else "shadow" if one.role == "shadow" else "challenger",
                              others.index(one.name) if one.name in others else 0)
        for one in arms
    }  # fmt: skip


def fields(found: EndpointDetail) -> list[tuple[str, str, str, str]]:
    """Field by field: desired, observed, equal or not. What nobody saw is neither."""
    line = found.line
    champion = next((one for one in found.arms if one.champion), None)
    live = next((one for one in found.arms if one.seen_champion), None)
    known = any(one.seen_share is not None for one in found.arms)
    proved = line.proved_generation == line.generation
    rows = [_row("Generation", str(line.generation), _proved(line.proved_generation), proved, known)]
    rows.append(_row("Champion", _named(champion) if champion else "none", _named(live) if live else "none",
                     champion is live, known))  # fmt: skip
    for one in [each for each in found.arms if each.role != "warm" or endpoint_words.is_warm(each)]:
        note = f":small[:gray[{endpoint_words.arm_note(one)}]]"
        seen = percent(one.seen_share) if one.seen_share is not None else ""
        wanted = percent(one.wanted_share) if one.role != "leaving" else "unloaded"
        state = endpoint_words.state_words(one.seen_state)
        equal = one.seen_share == one.wanted_share and one.seen_state == "ready" and one.role != "leaving"
        rows.append(_row(f"Version {one.version} {note}", wanted, f"{seen or 'nothing'}, {state}", equal, known))
    rows += _routed(found)
    hashed = next((one.details for one in line.proofs if one.kind == "bytes" and one.holds), {})
    for one in [each for each in found.arms if each.name in hashed]:
        ours, theirs = one.package_digest, str(hashed[one.name])
        name = f"Package of version {one.version}"
        rows.append(_row(name, components.short(ours), components.short(theirs), ours == theirs, True))
    if line.state in ("out_of_sync", "partial") and known:
        rows.append(("What differs", "", escape(line.reason, 300), badge("difference", "differs")))
    return rows


def _routed(found: EndpointDetail) -> list[tuple[str, str, str, str]]:
    """What a router keeps besides the shares: the salt by which units are assigned, and the header that names a unit."""
    route = (found.seen or {}).get("route")
    if found.line.router is None or not route:
        return []
    salt = str(route["salt"])
    return [_row("Assignment salt", escape(found.salt, 40), escape(salt, 40), salt == found.salt, True)]


def _served(name: str, at: datetime) -> Sequence[Served] | str:
    """What the inference log says of the last minutes; words where it cannot be read."""
    try:
        return _served_lately(name, int(at.timestamp()) // 15)
    except ExternalFailure:
        return "the inference log cannot be read"


@st.cache_data(ttl=30, max_entries=500, show_spinner=False)
def _served_lately(name: str, slot: int) -> tuple[Served, ...]:
    """One reading for everybody who looks within the same quarter of a minute (`slot`)."""
    return served(wiring.backend().inference_log, name, wiring.backend().database.now(), WITHIN)


def _named(one: ArmView) -> str:
    return f"version {one.version}"


def _proved(number: int) -> str:
    return f"{number}, proved" if number else "none proved yet"


def _row(name: str, desired: str, observed: str, equal: bool, known: bool) -> tuple[str, str, str, str]:
    if not known:
        return name, desired, ":gray[not seen lately]", badge("proof", "missing", "Not known")
    return name, desired, observed, badge("difference", "equal" if equal else "differs")


def _digests(arms: Sequence[ArmView]) -> dict[str, str]:
    packages = {f"package of version {one.version}": one.package_digest for one in arms}
    return packages | {f"artifact of version {one.version}": one.artifact_digest for one in arms}


def _bars_words(bars: Sequence[Bar]) -> str:
    told = [f"{bar.name}: {', '.join(f'{arm} {share:g} %' for arm, share, _ in bar.parts) or bar.instead}" for bar in bars]
    return "; ".join(told)
