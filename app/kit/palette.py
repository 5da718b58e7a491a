"""The only place that knows colours: charts and small pictures take them from here, Streamlit from its config.toml.

Red, orange and green mean a state and nothing else. An arm keeps its colour on every page, and no arm has a state's colour or
the button's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import streamlit as st

Tone = Literal["green", "orange", "red", "blue", "violet", "gray"]
FONT = "InterVariable, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Palette:
    """The colours of one theme, as `#RRGGBB`."""

    text: str
    muted: str
    grid: str
    line: str
    surface: str
    on_arm: str
    champion: str
    challengers: tuple[str, ...]
    shadow: str
    good: str
    warn: str
    bad: str
    accent: str
    pills: dict[Tone, str]
    """Pale fills of the pills in data tables; Streamlit picks black or white text by their lightness."""

    def tone(self, tone: Tone) -> str:
        """A state's colour for lines and marks."""
        strong = {"green": self.good, "orange": self.warn, "red": self.bad, "blue": self.accent}
        return strong.get(tone, self.challengers[0] if tone == "violet" else self.muted)

    def arm(self, role: str, order: int = 0) -> str:
        """An arm's colour by its role: champion, shadow, or challenger with its order among the challengers."""
        if role in ("champion", "shadow"):
            return self.champion if role == "champion" else self.shadow
        return self.challengers[order % len(self.challengers)]


LIGHT = Palette(
    text="#0B1220", muted="#4A5463", grid="#E9ECF1", line="#C9D0DA", surface="#FFFFFF", on_arm="#FFFFFF",
    champion="#5B6779", challengers=("#6D3FD1", "#A3388F", "#3B4CA8"), shadow="#0B7F97",
    good="#0B7A50", warn="#B4570A", bad="#B3261E", accent="#1F5EDC",
    pills={"green": "#E2F4EB", "orange": "#FDEFDC", "red": "#FCE7E5",
           "blue": "#E6EEFD", "violet": "#EFE9FB", "gray": "#EDF0F4"},
)  # fmt: skip
DARK = Palette(
    text="#E8ECF2", muted="#A9B4C2", grid="#222B37", line="#3A4553", surface="#0F141B", on_arm="#0F141B",
    champion="#A3AEBF", challengers=("#A78BFA", "#E08AD0", "#93A3F0"), shadow="#45C1DA",
    good="#4CC38A", warn="#E39A4B", bad="#F0837C", accent="#6F9BEA",
    pills={"green": "#12322A", "orange": "#4A2F10", "red": "#4A201E",
           "blue": "#1B3360", "violet": "#2F2551", "gray": "#2A3340"},
)  # fmt: skip


def mode() -> Literal["light", "dark"]:
    """The theme that this browser shows."""
    return "dark" if st.context.theme.type == "dark" else "light"


def current() -> Palette:
    """The colours of the theme that this browser shows."""
    return DARK if mode() == "dark" else LIGHT


def tint(colour: str, alpha: float) -> str:
    """A colour with an opacity from 0 to 1, as plotly takes it."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
