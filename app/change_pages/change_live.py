"""The parts of a change's page that go on while one looks: what it waits for, its rollout, the discussion, the timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from app import identity, ways, wiring
from app.change_pages import change_page, change_plan, changes
from app.change_pages.change_page import Seen, read
from app.compared import panel
from app.kit import components, feedback, pictures, plain, states, times
from app.kit.components import Told
from app.kit.live import live, moved_on
from app.kit.palette import Palette, current
from app.kit.plain import escape
from app.kit.states import badge
from backend.changes import course
from backend.changes.timeline import Moment
from backend.delivery import queries as delivery
from backend.delivery.plan import BUCKETS, percent
from backend.delivery.queries import PushView
from backend.rollouts.queries import RolloutView

QUICK = 2.0
"""Seconds between two looks while something is being pushed."""
COMPARED = 15.0
MOMENTS, PUSHES = 12, 6
_STAGES = (("checking", "Checks"), ("review", "Review"), ("approved", "Approved"), ("applying", "Applying"), ("done", "Done"))
_SAYS: Mapping[str, str] = {
    "change.propose": "proposed it", "change.submit": "handed it in", "change.checked": "found its checks done: review opened",
    "change.check_failed": "stopped it", "change.approve": "counted it approved", "change.vote": "voted",
    "change.reject": "rejected it", "change.edit": "edited it: votes and results are void", "change.draw": "drew its plan anew",
    "change.rebase": "drew it anew on what was live", "change.void_votes": "voided votes", "change.suspend": "suspended it",
    "change.withdraw": "withdrew it", "change.comment": "commented", "change.start": "started it",
    "change.ask_start": "asked for its start", "change.prove": "found it live and proved", "change.fail": "found it failed",
    "change.revoke": "revoked its approval", "change.roll_back": "found its way back proved", "change.expire": "let it expire",
    "change.supersede": "put another in its place", "change.recheck": "asked for its checks again",
    "evidence.request": "asked for a check", "evidence.passed": "passed a check", "evidence.failed": "failed a check",
    "evidence.error": "could not run a check", "evidence.void": "voided a result",
    "authorization.grant": "gave delivery the approval",
    "generation.admit": "put a generation in force", "generation.bake": "keeps what ran before loaded for a while",
    "authorization.revoke": "took the approval back",
    "rollout.begin": "began the rollout", "rollout.step_proved": "proved a step", "rollout.advance": "went on to the next step",
    "rollout.finished": "completed the rollout", "rollout.pause": "paused the rollout", "rollout.let_on": "let it go on",
    "rollout.skip_to": "asked for steps to be skipped", "rollout.skip": "skipped steps",
    "rollout.abort": "aborted the rollout", "rollout.roll_back": "took the way back",
}  # fmt: skip
_QUIET = ("change.submit", "change.draw", "evidence.request", "evidence.void", "authorization.grant")


@dataclass(frozen=True)
class Print:
    """What the page was drawn from: where it differs later, the page is drawn anew, or the person is told."""

    state: str
    plan_digest: str
    base_digest: str
    votes: int
    step: int

    @classmethod
    def of(cls, seen: Seen) -> Print:
        """Of a change as it was read."""
        walk, view = seen.view.rollout, seen.view
        votes = sum(1 for one in view.votes if one.counts)
        return cls(view.line.state, view.plan_digest, view.base_digest, votes, walk.step if walk is not None else -1)


def head(seen: Seen) -> None:
    """The answer and the four cards, drawn anew every few seconds; the first time from what the page has read."""
    seconds = QUICK if seen.view.line.state in ("checking", "applying") else 5.0
    st.session_state["change.first"] = seen
    live(_head, every=seconds)(seen.view.line.number, Print.of(seen))


def _head(number: int, drawn: Print) -> None:
    seen = _again(number)
    found = Print.of(seen)
    if found != drawn:
        _moved_on(found, drawn, seen)
    components.answer(changes.answer(seen.view, live=seen.live))
    change_page.four_cards(seen)


def _again(number: int) -> Seen:
    """What the page has just read, once; then a look of its own."""
    first = st.session_state.pop("change.first", None)
    if isinstance(first, Seen) and first.view.line.number == number:
        return first
    with wiring.reading() as look:
        return read(look, str(number))


def _moved_on(found: Print, drawn: Print, seen: Seen) -> None:
    """The page is drawn anew by itself, unless the plan is another than the one that is being read."""
    if (found.plan_digest, found.base_digest) == (drawn.plan_digest, drawn.base_digest):
        moved_on(f"**It is now {states.look('change', seen.view.line.state).word.lower()}.**")
    else:
        edited = "**It was edited while you looked.** Below it stands as it was; a vote would be refused."
        moved_on(edited, by_itself=False)


def compared(seen: Seen) -> None:
    """What its arms did beside each other, where its plan compares any; drawn anew while its rollout goes on."""
    if seen.view.rollout is None:
        return
    walks = seen.view.rollout.ended_at is None
    (live(_compared, every=COMPARED) if walks else _compared)(seen.view.line.number)


def _compared(number: int) -> None:
    with wiring.reading() as look:
        panel.draw(look, course.find(look.session, number).id)


def progress(seen: Seen) -> None:
    """Push, read-back and proofs, watched until the rollout is over."""
    if seen.view.rollout is None:
        return
    if seen.view.rollout.ended_at is None or seen.endpoint.line.proved_generation != seen.endpoint.line.generation:
        live(_progress, every=QUICK)(seen.view.line.number)
    else:
        _progress(seen.view.line.number)


def _progress(number: int) -> None:
    with wiring.reading() as look:
        seen = read(look, str(number))
        pushes = delivery.push_log(look.session, name=seen.view.line.endpoint, limit=PUSHES)
    walk = seen.view.rollout
    if walk is None:
        return
    line = seen.endpoint.line
    with components.card(
        "Rollout", f"step {walk.step + 1} of {len(walk.steps)} · {escape(line.name)} runs generation {line.generation}"
    ) as top:
        with top:
            st.markdown(f"{badge('rollout', walk.state)} {badge('endpoint', line.state)}")
        st.markdown(_bar(seen, walk, current()))
        components.table(
            _steps(seen, walk), ("Step", "Who gets what", "Goes on once", "Stands"), alt="Steps and gates", tight=(0, 3)
        )
        st.markdown(_waits(walk))
        components.table(_shares(seen, current()), ("Side", "Share", "In words"), alt="Desired and observed shares", tight=(0,))
        components.table(_proofs(seen), ("Proof", "State", "Age", "What it says"), alt="Proofs with their age", tight=(0, 1, 2))
        if pushes:
            components.table(
                [_push(one, seen) for one in pushes], ("Push", "Outcome", "Took", "Steps"), alt="Push log", tight=(0, 1, 2)
            )


def _bar(seen: Seen, walk: RolloutView, palette: Palette) -> str:
    over = walk.ended_at is not None and walk.state == "complete"
    done = len(walk.steps) if over else walk.step
    held = 0.0
    if walk.hold_until is not None and walk.steps[walk.step].hold_seconds:
        left = (walk.hold_until - seen.now).total_seconds()
        held = min(max(1 - left / walk.steps[walk.step].hold_seconds, 0.0), 1.0)
    told = " → ".join(
        f"{'**' * (number == walk.step)}{one.shares.get(seen.arm, 0) / 100:g} %{'**' * (number == walk.step)}"
        for number, one in enumerate(walk.steps)
    )
    until = f" · held until {times.both(walk.hold_until, seen.now)}" if walk.hold_until is not None else ""
    bar = pictures.steps(palette, done, len(walk.steps), held)
    return f"{bar}  \n:small[Version {seen.view.line.version}: {told}:gray[{until}]]"


_STANDS = {"done": ":gray[done]", "now": "**now**", "ahead": ":gray[ahead]"}


def _steps(seen: Seen, walk: RolloutView) -> list[tuple[str, str, str, str]]:
    """Each step with its gates in their order, and where the rollout stands."""
    told = change_plan.step_rows(seen.plan)
    return [(number, shares, then, _STANDS[one.standing]) for (number, shares, then), one in zip(told, walk.steps, strict=True)]


def _waits(walk: RolloutView) -> str:
    """What it waits for, who may do something about it, and how far steps may be skipped."""
    who = "Reviewers and operators let it go on. " if walk.waits_for_person else ""
    skip = f"Operators may skip to step {walk.may_skip_to + 1}. " if walk.may_skip_to is not None else ""
    return f":small[{escape(walk.reason, 400)} :gray[{who}{skip}]]" if walk.reason or who or skip else ""


def _shares(seen: Seen, palette: Palette) -> list[tuple[str, str, str]]:
    """Desired and observed are two bars: configuration is not what runs."""
    arms = [one for one in seen.endpoint.arms if one.role == "arm"]
    others = [one.name for one in arms if not one.champion]
    colours = {
        one.name: palette.arm("champion") if one.champion else palette.arm("challenger", others.index(one.name)) for one in arms
    }

    def row(name: str, shares: Mapping[str, int | None]) -> tuple[str, str, str]:
        known = {arm.name: share for arm in arms if (share := shares[arm.name]) is not None}
        if not known:
            return name, ":gray[unknown]", "Nobody has seen it lately."
        bar = pictures.share([(arm, share / BUCKETS * 100, colours[arm]) for arm, share in known.items() if share], width=200)
        words = ", ".join(f"version {one.version} {percent(known[one.name])}" for one in arms if known.get(one.name))
        return name, bar, words or "nothing"

    if not arms:
        return [("Desired", ":gray[nothing]", "Nothing is to run.")]
    return [
        row("Desired", {one.name: one.wanted_share for one in arms}),
        row("Observed", {one.name: one.seen_share for one in arms}),
    ]


def _proofs(seen: Seen) -> list[tuple[str, str, str, str]]:
    """Each proof of the newest generation; one of an earlier generation proves nothing of this one."""
    newest = seen.endpoint.line.generation
    rows = []
    for one in seen.endpoint.line.proofs:
        state = one.verdict if one.generation == newest else "missing"
        state = "stale" if state == "ok" and not one.holds else state
        said = escape(one.reason, 160) if one.reason else f"Of generation {one.generation}"
        rows.append((escape(one.kind.capitalize()), badge("proof", state), f"{times.span(one.age_seconds)} ago", said))
    return rows or [("None yet", badge("proof", "missing"), "", "The first proof follows the first push.")]


def _push(one: PushView, seen: Seen) -> tuple[str, str, str, str]:
    steps = ", ".join(f"{escape(str(each.get('step', '')))} {float(each.get('seconds', 0)):.1f} s" for each in one.steps)
    took = f"{one.seconds:.1f} s" if one.seconds is not None else "running"
    error = f" **{escape(one.error, 200)}**" if one.error else ""
    return (
        f"{times.age(one.started_at, seen.now)} · generation {one.generation}",
        badge("push", one.outcome),
        took,
        f"{steps}{error}" or "none",
    )


def discussion(seen: Seen) -> None:
    """What was said, drawn anew every few seconds, and a form that keeps what is being typed."""
    number = seen.view.line.number
    with components.card("Discussion", "plain text; times in UTC"):
        live(_comments)(number)
        if seen.view.may["comment"]:
            st.markdown(f":small[:gray[{escape(seen.view.may['comment'])}]]")
            return
        sent = f"change.sent.{number}"
        text = st.text_area(
            "Comment",
            key=f"comment.{number}.{st.session_state.get(sent, 0)}",
            placeholder="Write a comment…",
            height=76,
            max_chars=10_000,
            label_visibility="collapsed",
        )
        if st.button("Send", icon=":material/send:", key=f"send.{number}"):
            _send(number, (text or "").strip(), sent)


def _send(number: int, text: str, sent: str) -> None:
    """The field is emptied only when the comment is kept."""
    if not text:
        st.error("Not sent: write something first.", icon=":material/error:")
        return

    def command() -> None:
        wiring.backend().changes.comment(identity.current(), number, text)
        st.session_state[sent] = st.session_state.get(sent, 0) + 1

    feedback.act(command, f"Your comment on change {number} is kept.")


def _comments(number: int) -> None:
    with wiring.reading() as look:
        seen = read(look, str(number))
    for one in seen.view.comments:
        head = f"**{escape(one.author)}** :gray[{times.age(one.at, seen.now)}]"
        st.markdown(f":small[{head}]  \n:small[{plain.lines(one.text)}]")
    if not seen.view.comments:
        st.markdown(":small[:gray[Nobody has said anything yet.]]")


def timeline(seen: Seen) -> None:
    """The course so far, and what happened, newest first."""
    told = [one for one in reversed(seen.moments) if one.action not in _QUIET]
    with components.card("Timeline", f"{len(told)} moments, UTC") as top:
        with top:
            if seen.view.line.number and _reads_ledger(seen):
                st.page_link(ways.path("audit"), label="Ledger", query_params={"subject": f"change/{seen.view.line.id}"})
        st.markdown(f":small[{_stages(seen.view.line.state)}]")
        everything = len(told) > MOMENTS and st.toggle(f"All {len(told)} moments", key="moments", bind="query-params")
        components.feed([_told(one) for one in (told if everything else told[:MOMENTS])], narrow=True)


def _reads_ledger(seen: Seen) -> bool:
    with wiring.reading() as look:
        return identity.rights(look).may("audit.read")


def _stages(state: str) -> str:
    """Where it is on the straight way; off it, the state itself."""
    names = [name for name, _ in _STAGES]
    if state not in names:
        return badge("change", state)
    here = names.index(state)
    return " :gray[→] ".join(f"**{word}**" if number == here else f":gray[{word}]" for number, (_, word) in enumerate(_STAGES))


def _told(one: Moment) -> Told:
    what = _SAYS.get(one.action, one.action.replace(".", ": ").replace("_", " "))
    about = one.facts.get("gate") or one.facts.get("verdict") or ""
    more = f" ({escape(str(about).replace('_', ' '))})" if about and one.action != "change.reject" else ""
    why = f": {escape(one.reason, 160)}" if one.reason else ""
    return Told(times.short(one.at), f"**{escape(one.actor)}** {escape(what)}{more}{why}", f"row {one.seq:,}")


def moved(seen: Seen) -> None:
    """Of a suspended change: what it was drawn on, and what is live now."""
    if seen.view.line.state != "suspended":
        return
    with components.card("What moved", "drawn on, and live now"):
        rows = moved_rows(seen.view.base, seen.endpoint.base or {})
        components.table(rows, ("Version", "Drawn on", "Live now"), alt="What moved since it was drawn")
        st.markdown(":small[:gray[Draw it anew on what is live now: it keeps what is asked for, and returns to review.]]")


def moved_rows(before: Mapping[str, object], now: Mapping[str, object]) -> Sequence[tuple[str, str, str]]:
    """Version by version, then what was loaded by hand, then the generation: what a plan was drawn on, and what is live now."""
    was, have = _by_version(before), _by_version(now)
    rows = [(f"Version {one}", _share(was.get(one)), _share(have.get(one))) for one in sorted({*was, *have})]
    unknown, loaded = _by_hand(before), _by_hand(now)
    rows += [
        (f"Version {one[1]} of {escape(one[0], 60)}, which no approval names", _is(one in unknown), _is(one in loaded))
        for one in sorted({*unknown, *loaded})
    ]
    return [*rows, ("Generation", str(before.get("generation", "none")), str(now.get("generation", "none")))]


def _by_hand(base: Mapping[str, object]) -> set[tuple[str, int]]:
    """Served names and versions that somebody loaded there by hand."""
    found = base.get("strangers", ())
    return {(str(name), int(version)) for name, version in found} if isinstance(found, list | tuple) else set()


def _is(loaded: bool) -> str:
    return "loaded" if loaded else ":gray[none]"


def _by_version(base: Mapping[str, object]) -> dict[int, int]:
    arms = base.get("arms", ())
    return {int(one["version"]): int(one["buckets"]) for one in arms} if isinstance(arms, list | tuple) else {}


def _share(buckets: int | None) -> str:
    return ":gray[none]" if buckets is None else percent(buckets)
