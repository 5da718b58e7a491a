"""The states of an experiment, and which of them may run beside each other. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from backend.core.errors import Refusal
from backend.core.machine import Machine

MAX_TITLE, MAX_REASON = 120, 1_000
Outcome = Literal["ship", "roll_back", "no_decision"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

EXPERIMENT = Machine(
    noun="experiment",
    initial="draft",
    states=("draft", "running", "decided", "withdrawn"),
    table={
        ("draft", "edit"): "draft",
        ("draft", "start"): "running",
        ("draft", "withdraw"): "withdrawn",
        ("running", "split"): "running",
        ("running", "decide"): "decided",
    },
    remedies={
        "draft": "Propose a change with it first: that starts it.",
        "running": "Say what came of it, then design another one.",
        "decided": "Design another experiment; each assigns units anew.",
        "withdrawn": "Design another experiment under another name.",
    },
    cannot={"split": "get another split"},
)
"""`start` and `split` are done by changes, everything else by people. A name is never used twice on an endpoint: it seeds the
assignment of units, and the same units in the same arms would carry over what the first experiment did to them."""


@dataclass(frozen=True)
class Running:
    """An experiment that runs, as far as another one has to know. `shown`: whether its name may be told."""

    endpoint: str
    slug: str
    layer: str | None
    shown: bool = True


def refuse_beside(endpoint: str, slug: str, layer: str | None, others: Iterable[Running]) -> None:
    """Refuses to start beside what runs already; Refusal `busy`.

    At most one experiment runs on an endpoint. On different endpoints, those of one layer exclude each other in time, as those
    have to whose effects meet (one page that shows both models' answers). Without a common layer they may run at once: their
    salts differ, so that the arm of a unit in one says nothing of its arm in the other, and each one's effect is the average
    over the other's arms.
    """
    for one in others:
        name = f"{one.slug} on {one.endpoint}" if one.shown else "another experiment"
        if one.endpoint == endpoint and one.slug != slug:
            raise Refusal(
                f"{name} is still running there.",
                "Say what came of it first (`countersign experiment decide`).",
                code="busy",
                experiment=one.slug,
            )
        if layer is not None and one.layer == layer and one.endpoint != endpoint:
            raise Refusal(
                f"{name[:1].upper()}{name[1:]} runs in the layer {layer}, whose experiments exclude each other.",
                "Wait until it is decided, or leave the layer out if their effects never meet.",
                code="busy",
                layer=layer,
            )


def check_slug(text: str) -> str:
    """A name that may be part of addresses and of a salt. Refusal `bad-name`."""
    if not _SLUG.fullmatch(text):
        raise Refusal(
            f"{text[:80]!r} cannot be the name of an experiment.",
            "Use up to 63 small letters, digits and hyphens, with a letter or digit at both ends.",
            code="bad-name",
        )
    return text


def check_title(text: str) -> str:
    """One line for lists. Refusal `bad-title`."""
    told = " ".join(text.split())
    if not told or len(told) > MAX_TITLE or not told.isprintable():
        raise Refusal("An experiment needs a title.", f"Say in at most {MAX_TITLE} characters what is tried.", code="bad-title")
    return told


def check_reason(text: str) -> str:
    """Why something is decided or withdrawn. Refusal `no-reason`."""
    told = " ".join(text.split())
    if not told or len(told) > MAX_REASON or not told.isprintable():
        raise Refusal(
            f"This needs a reason of at most {MAX_REASON:,} characters.",
            "Say in a sentence why, for whoever reads it later.",
            code="no-reason",
        )
    return told


def check_outcome(text: str) -> Outcome:
    """What came of it. Refusal `bad-outcome`."""
    for one in OUTCOMES:
        if text == one:
            return one
    raise Refusal(
        f"{text[:40]!r} is no outcome.", f"Say one of {', '.join(OUTCOMES)}; one that goes on has none.", code="bad-outcome"
    )
