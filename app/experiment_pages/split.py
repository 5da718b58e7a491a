"""The split editor: who gets what now, who would get what, and who moves; a request is a change like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app import identity, ways, wiring
from app.compared import words
from app.experiment_pages.seen import Seen
from app.kit import components, dialogs, feedback, pictures
from app.kit.dialogs import Ask
from app.kit.palette import Palette, current
from app.kit.plain import escape
from app.kit.states import tag
from backend.delivery import buckets
from backend.delivery.desired import Range
from backend.delivery.plan import BUCKETS, percent

MOST_TITLE = 100


@dataclass(frozen=True)
class Draft:
    """Shares in buckets by arm, as they are and as they would be; `units` that were seen in the arms so far."""

    live: Mapping[str, int]
    wanted: Mapping[str, int]
    versions: Mapping[str, int]
    control: str
    moved: Counter[tuple[str, str]]
    units: int

    @property
    def changed(self) -> bool:
        """Whether it is another split than the one that runs."""
        return self.live != self.wanted

    def says(self) -> str:
        """`v2 gets 25 % of units, v1 keeps 75 %`, escaped."""
        told: list[str] = []
        for name, share in self.wanted.items():
            before = self.live[name]
            verb = "keeps" if share <= before else "gets"
            told.append(f"{escape(name)} {verb} {percent(share)}{'' if told else ' of units'}")
        return ", ".join(told)

    def moves(self) -> str:
        """`About 2,763 of 18,420 units move from v1 to v2, none back`; buckets where no unit was seen."""
        if not self.moved:
            return "Nobody moves."
        told = [f"{self._count(number)} from {escape(one)} to {escape(other)}" for (one, other), number in self.moved.items()]
        back = any((other, one) in self.moved for one, other in self.moved)
        of = f"about {self.units:,} units" if self.units else f"{BUCKETS:,} buckets"
        return f"Of {of}, {' and '.join(told)} move{'' if back else ', none back'}."

    def _count(self, number: int) -> str:
        return f"{round(self.units * number / BUCKETS):,}" if self.units else f"{number:,}"


def card(seen: Seen, *, border: bool = False) -> None:
    """The editor of what runs; nothing where nobody is split."""
    arms = serving(seen)
    if seen.state != "running" or len(arms) < 2 or seen.compared is None:
        with components.card("Split", "who gets what", border=border):
            _shares(seen)
        return
    with components.card("Split", f"live: {live_words(seen)}", border=border) as head:
        drafted = _draft(seen, _typed(seen, arms))
        with head:
            st.markdown(tag("Draft", "edit_note") if drafted.changed else tag("Live", "check_circle", "green"))
        st.markdown(f"**{drafted.says()}**  \n:small[:gray[{drafted.moves()}]]")
        _bars(seen, drafted, current())
        _request(seen, drafted)


def serving(seen: Seen) -> Mapping[str, tuple[Range, ...]]:
    """Buckets by arm of those that get any, the control's first."""
    if seen.desired is None:
        return {}
    control = seen.compared.control if seen.compared is not None else seen.desired.champion
    own = {one.name: one.ranges for one in seen.desired.arms if one.ranges}
    return dict(sorted(own.items(), key=lambda one: (one[0] != control, one[0])))


def live_words(seen: Seen) -> str:
    """`v1 90 %, v2 10 %`, escaped."""
    return ", ".join(f"{escape(name)} {percent(buckets.share(ranges))}" for name, ranges in serving(seen).items())


def _typed(seen: Seen, arms: Mapping[str, Sequence[Range]]) -> dict[str, int]:
    """What was entered for each treatment, in buckets; the control has the rest."""
    control, *others = arms
    wanted = {}
    left = BUCKETS - len(others)
    for name in others:
        now = buckets.share(arms[name]) / 100
        label, key = f"{escape(name)} gets, % of units", f"split.{seen.id}.{name}"
        most = max(left / 100, 0.01)
        value = st.number_input(label, 0.01, 99.0, value=min(now, 99.0), step=1.0, key=key, format="%.2f")
        wanted[name] = min(max(round(value * 100), 1), max(round(most * 100), 1))
        left -= wanted[name] - 1
    return {control: BUCKETS - sum(wanted.values()), **wanted}


def _draft(seen: Seen, wanted: Mapping[str, int]) -> Draft:
    arms, found = serving(seen), seen.compared
    live = {name: buckets.share(ranges) for name, ranges in arms.items()}
    after = buckets.allocate(arms, {name: wanted.get(name, share) for name, share in live.items()})
    units = sum(one.units for one in found.figures.arms) if found is not None and found.figures is not None else 0
    versions = {one.name: one.version for one in seen.desired.arms} if seen.desired is not None else {}
    return Draft(live, dict(wanted), versions, next(iter(arms)), buckets.moves(arms, after), units)


def _bars(seen: Seen, drafted: Draft, palette: Palette) -> None:
    rows = [_bar(seen, name, shares, drafted, palette) for name, shares in (("Live", drafted.live), ("Draft", drafted.wanted))]
    head = ("Split", "Units by arm", *(escape(name) for name in drafted.live))
    components.table(rows, head, alt="Units by arm, live and as drafted", tight=(0,), right=range(2, len(head)))


def _bar(seen: Seen, name: str, shares: Mapping[str, int], drafted: Draft, palette: Palette) -> tuple[str, ...]:
    colour = words.colour
    found = seen.compared
    parts = [(arm, share / 100, colour(found, palette, arm) if found is not None else palette.champion)
             for arm, share in shares.items()]  # fmt: skip
    figures = (f"{round(drafted.units * share / BUCKETS):,}" if drafted.units else percent(share) for share in shares.values())
    return (name, pictures.share(parts, width=190), *figures)


def _shares(seen: Seen) -> None:
    """What a draft asks for, or what an experiment had in the end."""
    rows = [(f"Version {one.version}" if one.version else "Champion", percent(one.buckets)) for one in seen.view.shares]
    components.table(rows, ("Arm", "Share of units"), alt="Who gets what", right=(1,))


def _request(seen: Seen, drafted: Draft) -> None:
    place = seen.view.line.environment
    if not seen.mine.may("change.propose", place):
        st.markdown(":small[:gray[:material/info: You may look, and not ask for another split.]]")
    elif st.button("Request split…", icon=":material/tune:", key="split.request", disabled=not drafted.changed):
        _ask(seen, drafted)


def _ask(seen: Seen, drafted: Draft) -> None:
    line = seen.view.line

    def says() -> Ask:
        preview = wiring.backend().changes.preview(identity.current(), endpoint=line.endpoint, **asked(seen, drafted))
        lacks = " ".join(f"{one[:1].upper()}{one[1:]}." for one in preview.lacks)
        return Ask(
            says=[f"**{drafted.says()}.** {drafted.moves()}", f":gray[{escape(preview.changes.summary, 1000)}]"],
            confirm="Propose this split",
            done="The split is proposed; it waits for its approval.",
            hint="Why should more, or fewer, units get this?",
            warning=escape(preview.waits, 300),
            also=f":small[:gray[It takes its checks, then what the policy asks for. {escape(lacks, 500)}]]",
        )

    def act(reason: str) -> None:
        title = f"Split of {line.title}"[:MOST_TITLE]
        told = asked(seen, drafted)
        change = wiring.backend().changes.propose(
            identity.current(), endpoint=line.endpoint, title=title, reason=reason, **told
        )
        feedback.done(f"Change {change.number} asks for the split; it waits for its approval.")
        ways.go("change", change=change.number)

    dialogs.ask("Request another split", says, act)


def asked(seen: Seen, drafted: Draft) -> dict[str, Any]:
    """The split as `Changes.propose` takes it: the first treatment's share, and what the others have."""
    first = next(name for name in drafted.wanted if name != drafted.control)
    rest = [{"version": drafted.versions[name], "share": share} for name, share in drafted.wanted.items() if name != first]
    return {
        "version": drafted.versions[first],
        "share": drafted.wanted[first],
        "rest": rest,
        "experiment": seen.view.line.slug,
        "unit_header": seen.design.unit_header,
    }
