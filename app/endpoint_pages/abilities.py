"""What a server or a router is able to do, in words: a list of abilities as people say them. Pure."""

from __future__ import annotations

from app.kit.states import tag
from backend.delivery.proofs import KINDS
from backend.delivery.routers.port import RouterAbilities
from backend.delivery.targets.port import Abilities

Said = list[tuple[str, bool]]
"""(what it can or cannot do, whether it can)."""


def of_server(able: Abilities) -> Said:
    """A runtime's abilities."""
    return [
        _said(able.versions_side_by_side, "keeps several versions side by side", "has one version at a time"),
        _said(able.names_side_by_side, "keeps models under several names", "has one model's name at a time"),
        _said(able.pin_a_version, "answers for a version that is asked for", "cannot be asked for one version"),
        _said(able.split, "splits traffic itself", "cannot split traffic: put a router before it"),
        _said(able.mirror, "copies requests to a shadow itself", "cannot copy requests to a shadow: a router does"),
        _said(able.read_back_versions, "tells which versions it has loaded", "cannot tell which versions it has loaded"),
        _said(able.zero_downtime_switch, "switches versions without a gap", "answers nothing while it switches versions"),
        _said(able.warm_up, "warms a version up before it answers", "cannot warm a version up"),
        *[_said(kind in able.proofs, f"proof {kind}: possible", f"proof {kind}: not possible here") for kind in KINDS],
    ]


def of_router(able: RouterAbilities) -> Said:
    """A router's abilities."""
    return [
        _said(able.split, "splits traffic by shares", "cannot split traffic"),
        _said(able.sticky, "keeps each unit on its arm", "cannot keep a unit on its arm"),
        _said(able.mirror, "copies requests to a shadow", "cannot copy requests to a shadow"),
        _said(able.fallback, "lets the champion answer for a dead arm", "answers an error for a dead arm"),
        _said(able.read_back, "tells the routes in force", "cannot tell the routes in force"),
        _said(able.counts, "counts each arm's requests", "counts requests only where its Envoys' admin addresses are named"),
    ]


def lines(said: Said) -> list[str]:
    """Markdown lines, what it can do first."""
    return [
        f":small[{':green[:material/check:]' if can else ':gray[:material/block:]'} {words}]"
        for words, can in sorted(said, key=lambda one: not one[1])
    ]


def lacking(said: Said) -> str:
    """The most important thing that is missing, as a badge; "" when nothing is."""
    missing = [words for words, can in said if not can]
    return tag(missing[0].split(":")[0].capitalize(), "info", "gray") if missing else ""


def _said(can: bool, able: str, unable: str) -> tuple[str, bool]:
    return (able if can else unable), can
