"""Every state of every machine is drawn, with a word, an icon that exists and colours that can be read."""

from __future__ import annotations

import tomllib
from typing import get_args

import pytest
from streamlit import material_icon_names

from app.kit import palette, states
from backend.changes.rules import CHANGE
from backend.delivery.rows import ENDPOINT_STATES, Proof, PushRecord
from backend.evidence.rules import EVIDENCE
from backend.experiments.comparing import figures
from backend.experiments.designs.rules import EXPERIMENT, Outcome
from backend.findings.rules import FINDING, SEVERITIES
from backend.metrics.faring import SourceWord
from backend.metrics.slo import Verdict
from backend.monitoring.rules import Word
from backend.rollouts.rules import ROLLOUT
from backend.window_reports.rules import REPORT
from tests.pages.conftest import ROOT

ICONS = {name for value in vars(material_icon_names).values() if isinstance(value, set | frozenset | dict) for name in value}
THEME = tomllib.loads((ROOT / "app/.streamlit/config.toml").read_text())["theme"]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("endpoint", ENDPOINT_STATES),
        ("change", CHANGE.states),
        ("rollout", ROLLOUT.states),
        ("finding", FINDING.states),
        ("experiment", EXPERIMENT.states),
        ("outcome", get_args(Outcome)),
        ("verdict", get_args(figures.Verdict)),
        ("comparison", get_args(figures.Decision)),
        ("severity", SEVERITIES),
        ("evidence", (*EVIDENCE.states, "missing", "stale")),
        ("monitor", get_args(Word)),
        ("source", get_args(SourceWord)),
        ("objective", get_args(Verdict)),
        ("window_report", REPORT.states),
        ("proof", ("ok", "failed", "impossible")),
        ("push", ("running", "proved", "failed", "repaired", "unloaded", "lost")),
    ],
)
def test_each_state_of_a_machine_is_drawn(kind: str, wanted: tuple[str, ...]) -> None:
    assert set(wanted) <= set(states.LOOKS[kind])


def test_the_words_of_one_kind_are_all_different() -> None:
    for kind, looks in states.LOOKS.items():
        words = [one.word for one in looks.values()]
        assert len(words) == len(set(words)), kind


def test_every_icon_is_in_the_bundled_font() -> None:
    assert len(ICONS) > 1000
    assert {one.icon for looks in states.LOOKS.values() for one in looks.values()} <= ICONS


def test_a_state_that_nobody_drew_is_a_defect() -> None:
    with pytest.raises(KeyError):
        states.badge("endpoint", "unheard_of")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_badges_can_be_read(mode: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for text, in the theme's own colours."""
    theme = THEME[mode]
    for tone in ("green", "orange", "red", "blue", "violet", "gray"):
        assert contrast(theme[f"{tone}TextColor"], theme[f"{tone}BackgroundColor"]) >= 4.5, tone
        assert contrast(theme[f"{tone}TextColor"], theme["backgroundColor"]) >= 4.5, tone


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_arms_can_be_told_apart_and_are_no_state(colours: palette.Palette) -> None:
    arms = [colours.champion, *colours.challengers, colours.shadow]
    taken = {colours.good, colours.warn, colours.bad, colours.accent}
    assert len(set(arms)) == len(arms)
    assert not set(arms) & taken
    assert all(contrast(one, colours.surface) >= 3 for one in (*arms, *taken)), "WCAG 1.4.11, graphics"
    assert all(contrast(one, colours.on_arm) >= 4.5 for one in arms), "the words inside a bar"
    assert contrast(colours.muted, colours.surface) >= 4.5


def test_the_charts_and_the_theme_agree() -> None:
    for mode, colours in (("light", palette.LIGHT), ("dark", palette.DARK)):
        assert colours.surface == THEME[mode]["backgroundColor"]
        assert colours.text == THEME[mode]["textColor"]


def test_the_tables_name_every_verdict() -> None:
    """The two tables without a state machine say their words in a CHECK or a comment; both are held here."""
    check = next(str(one.sqltext) for one in Proof.__table__.constraints if one.name == "proof_verdict")
    assert all(f"'{word}'" in check for word in ("ok", "failed", "impossible"))
    assert check.count("'") == 6
    assert PushRecord.model_fields["outcome"].default in states.LOOKS["push"]


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two `#RRGGBB` colours."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
