"""Where a model runs, in words: one per endpoint, with its environment, its version and its state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from app import wiring
from app.kit.palette import Tone, current
from app.kit.plain import escape
from app.kit.states import look, tag
from backend.delivery.lines import EndpointLine, of_models
from backend.delivery.placed import Placement

_MOST_PILLS = 3
_URGENCY: tuple[Tone, ...] = ("red", "orange", "blue", "violet", "gray", "green")


def by_model(reading: wiring.Reading, models: Sequence[str]) -> dict[str, list[EndpointLine]]:
    """Endpoints of these models, by model."""
    found: dict[str, list[EndpointLine]] = {}
    for one in of_models(reading.session, models, now=reading.now, interval=wiring.interval()):
        found.setdefault(one.model, []).append(one)
    return found


def version_of(line: EndpointLine) -> int | None:
    """The version that an endpoint stands for: the admitted champion, or what was seen where nothing was admitted."""
    return line.champion_version if line.champion_version is not None else line.live_version


def words(line: EndpointLine) -> str:
    """`production v1`, and its state's word where that is another than in sync. Plain text."""
    version = version_of(line)
    where = f"{line.environment} v{version}" if version is not None else line.environment
    return where if line.state == "in_sync" else f"{where} · {look('endpoint', line.state).word}"


def badges(lines: Sequence[EndpointLine]) -> list[str]:
    """One badge for endpoints that say the same, with their number; the worst first."""
    counted = Counter(words(one) for one in _worst_first(lines))
    first = {words(one): look("endpoint", one.state) for one in lines}
    return [tag(escape(_times(text, count)), first[text].icon, first[text].tone) for text, count in counted.items()]


def pills(lines: Iterable[EndpointLine]) -> list[str]:
    """The values of a cell of `column`: what the first three say that differ, and how many more there are."""
    said = list(_counted(words(one) for one in _worst_first(lines)))
    more = len(said) - _MOST_PILLS
    return said if more <= 0 else [*said[:_MOST_PILLS], f"{more} more"]


def column(label: str, shown: Mapping[str, Sequence[EndpointLine]], width: int | None = None) -> Any:
    """The column that shows them, each in its state's tone."""
    tones: dict[str, Tone] = {words(one): look("endpoint", one.state).tone for lines in shown.values() for one in lines}
    options = sorted({text for lines in shown.values() for text in pills(lines)})
    colours = [current().pills[tones.get(text.split(" ×")[0], "gray")] for text in options]
    return st.column_config.MultiselectColumn(label, options=options, color=colours, width=width)


def versions_at(placements: Iterable[Placement]) -> dict[int, list[str]]:
    """Version number -> what it does where, in words: `production 95 %`, `production shadow`."""
    found: dict[int, list[str]] = {}
    for one in placements:
        if not one.shares and one.endpoint.live_version is not None:
            found.setdefault(one.endpoint.live_version, []).append(f"{one.endpoint.environment} observed")
        for share in one.shares:
            does = f"{share.buckets / 100:g} %" if share.role == "arm" else share.role
            found.setdefault(share.version, []).append(f"{one.endpoint.environment} {does}")
    return {version: _counted(texts) for version, texts in found.items()}


def _worst_first(lines: Iterable[EndpointLine]) -> list[EndpointLine]:
    return sorted(lines, key=lambda one: _URGENCY.index(look("endpoint", one.state).tone))


def _counted(texts: Iterable[str]) -> list[str]:
    return [_times(text, count) for text, count in Counter(texts).items()]


def _times(text: str, count: int) -> str:
    return text if count == 1 else f"{text} ×{count}"
