"""The overview: what is live, and what needs me; one part that refreshes itself, from one look."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import streamlit as st
from sqlmodel import Session

from app import identity, reach, ways, wiring
from app.access_pages import admins_left, second_person
from app.endpoint_pages import fleet
from app.endpoint_pages.endpoint_view import progress, waits_for
from app.home import needs
from app.home.needs import Need
from app.identity import Rights
from app.kit import components, links, listing, pictures, subjects, times
from app.kit.palette import current
from app.kit.plain import escape, plural, quoted
from app.kit.states import badge, look
from app.record_pages import ledger, policies
from app.wiring import Reading
from backend.audit.queries import Event
from backend.changes import briefly
from backend.changes import queries as changes
from backend.changes.queries import ChangeLine
from backend.delivery import fleet as queries
from backend.delivery import past
from backend.delivery.fleet import Filters, Standing
from backend.delivery.hands import signable
from backend.delivery.lines import EndpointLine
from backend.delivery.past import Move
from backend.delivery.plan import percent
from backend.findings import queries as findings
from backend.findings.queries import FindingLine
from backend.findings.rules import LIVE
from backend.policy.queries import EnvironmentView
from backend.rollouts import running as rollouts
from backend.rollouts.running import Running

FLEET, FEED, NEEDS, ROLLOUTS, FINDINGS = 12, 7, 6, 4, 5
OPEN_FINDINGS = findings.Filters(states=LIVE)
PACE = timedelta(days=30)


@dataclass(frozen=True)
class Seen:
    """One look at everything that moves."""

    at: datetime
    standing: Standing
    rows: tuple[EndpointLine, ...]
    waiting: tuple[Need, ...]
    running: tuple[Running, ...]
    running_count: int
    links: dict[str, briefly.Named]
    pace: timedelta | None
    newest: tuple[Event, ...] | None
    moves: tuple[tuple[str, Move], ...]
    names: dict[str, str]
    found: tuple[FindingLine, ...]
    found_count: int


def now(environments: Sequence[EnvironmentView]) -> None:
    """Everything but the header, drawn anew every few seconds."""
    with wiring.reading() as reading:
        seen = see(reading, environments)
    numbers(seen)
    left, right = components.pair()
    with left:
        _needs(seen)
    with right:
        _rollouts(seen)
    _fleet(seen)
    if seen.found:
        _findings(seen)
    left, right = components.pair()
    with left:
        _environments(environments)
    with right:
        _lately(seen)


def see(reading: Reading, environments: Sequence[EnvironmentView]) -> Seen:
    """Everything in one consistent look; what may not be read is None."""
    mine = reach.anywhere(identity.rights(reading))
    session, at = reading.session, reading.now
    found = queries.fleet(session, Filters(), now=at, interval=wiring.interval(), limit=FLEET)
    running = rollouts.running(session, at, limit=ROLLOUTS)
    newest = _newest(session) if mine.may("audit.read") else None
    standing = fleet.standing(reading)
    return Seen(
        at=at,
        standing=standing,
        rows=found.rows,
        waiting=tuple(waiting(reading, mine, environments)),
        running=running,
        running_count=rollouts.count(session),
        links=dict(briefly.named(session, [one.rollout.change_id for one in running])),
        pace=briefly.approval_to_done(session, at - PACE),
        newest=newest,
        moves=past.latest(session, limit=FEED) if newest is None else (),
        names=ledger.names_of(session, newest or (), at),
        found=findings.page(session, OPEN_FINDINGS, limit=FINDINGS).items,
        found_count=sum(findings.counts(session, OPEN_FINDINGS).values()),
    )


def _newest(session: Session) -> tuple[Event, ...]:
    """The newest rows that say something to a person, from the last hundred."""
    rows = ledger.read(session, ledger.Wanted(), limit=100)
    return tuple(one for one in rows if one.action not in subjects.QUIET)[:FEED]


def waiting(reading: Reading, mine: Rights, environments: Sequence[EnvironmentView]) -> list[Need]:
    """What needs whoever looks, most urgent first: endpoints nobody can vouch for, votes, sign-offs, requests, freezes."""
    operates = mine.may("endpoint.repair")
    troubled = queries.fleet(
        reading.session, Filters(state="troubled"), now=reading.now, interval=wiring.interval(), limit=20
    ).rows if operates else ()  # fmt: skip
    observed = queries.fleet(
        reading.session, Filters(mode="observe"), now=reading.now, interval=wiring.interval(), limit=20
    ).rows if mine.may("endpoint.sign_off") else ()  # fmt: skip
    ids = [one.id for one in observed]
    signs = signable(reading.session, ids, identity.current().id, mine.grants, now=reading.now) if ids else ()
    return [
        *needs.of_endpoints([one for one in troubled if one.state in ("fight", "out_of_sync")]),
        *needs.of_changes(_queue(reading, mine), reading.now),
        *needs.of_endpoints([one for one in troubled if one.state not in ("fight", "out_of_sync")]),
        *needs.of_baselines([one for one in observed if one.id in signs]),
        *needs.of_requests(second_person.for_me(reading, mine), reading.now),
        *needs.of_policies(environments, sets=mine.may("policy.set")),
        *needs.of_freezes(environments, lifts=mine.may("freeze.lift")),
        *(needs.of_admins(admins_left.outlook(reading)) if mine.may("role.grant") else ()),
    ]


def _queue(reading: Reading, mine: Rights) -> Sequence[ChangeLine]:
    """Changes that wait for this person's vote; asked anew only when the ledger has grown, as each costs several queries."""
    if not any(grant.role == "reviewer" for grant in mine.grants):
        return ()
    newest = ledger.read(reading.session, ledger.Wanted(), limit=1)
    actor, head = identity.current(), newest[0].seq if newest else 0
    kept: tuple[tuple[str, int], Sequence[ChangeLine]] | None = st.session_state.get("dashboard.queue")
    if kept is None or kept[0] != (actor.id, head):
        kept = ((actor.id, head), changes.queue(reading.session, actor, reading.now))
        st.session_state["dashboard.queue"] = kept
    return [one for one in kept[1] if one.decide_by is None or one.decide_by > reading.now]


def numbers(seen: Seen) -> None:
    """Four figures: each with one line that says what stands behind it."""
    standing = seen.standing
    due = [one.due for one in seen.waiting if one.due is not None]
    told = (
        ("Runs what was approved", f"{standing.as_approved:,} of {standing.managed:,}", _approved_words(standing)),
        ("Needs me", f"{len(seen.waiting):,}", f"the first is due {times.age(min(due), seen.at)}" if due else "no deadline"),
        ("Running rollouts", f"{seen.running_count:,}", _running_words(seen)),
        ("Approval to done, median", times.span(seen.pace) if seen.pace is not None else "–", "changes of the last 30 days"),
    )
    for cell, (label, value, text) in zip(components.four(), told, strict=True):
        with cell, st.container(gap="xxsmall"):
            st.metric(label, value)
            st.markdown(f":small[:gray[{text}]]")


def _approved_words(standing: Standing) -> str:
    if not standing.managed:
        return "no endpoint is managed yet"
    if not standing.troubled:
        return "read back, equal and proved"
    return f"{standing.troubled:,} need{'s' if standing.troubled == 1 else ''} attention"


def _running_words(seen: Seen) -> str:
    persons = len([one for one in seen.running if one.rollout.waits_for_person])
    if persons:
        return f"{persons} wait{'s' if persons == 1 else ''} for a person"
    return "each goes on by itself" if seen.running_count else "nothing is on its way"


def _needs(seen: Seen) -> None:
    count = f"{len(seen.waiting)}, most urgent first" if seen.waiting else "nothing waits"
    with components.card("Needs me", count, border=False):
        for one in seen.waiting[:NEEDS]:
            components.line(one.title, one.note, one.badge, ways.path(one.page), dict(one.query) or None)
        if len(seen.waiting) > NEEDS:
            st.markdown(f":small[:gray[and {len(seen.waiting) - NEEDS} more]]")
        if not seen.waiting:
            components.empty(
                "Nothing waits for you",
                "Changes and requests that wait for you, and endpoints that need you, will stand here.",
                icon="done_all",
            )


def _rollouts(seen: Seen) -> None:
    count = f"{seen.running_count}, step and what it waits for" if seen.running_count else "nothing runs"
    with components.card("Running rollouts", count, border=False):
        for one in seen.running:
            _rollout(one, seen)
        if not seen.running:
            components.empty(
                "Nothing is on its way",
                "An approved change walks through its ramp here, step by step, until it is done.",
                icon="trending_up",
            )


def _rollout(one: Running, seen: Seen) -> None:
    walk = one.rollout
    change = seen.links.get(walk.change_id)
    state = look("rollout", walk.state).word
    with st.container(gap="xxsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.markdown(f"**{escape(one.endpoint)}** :small[:gray[{escape(one.environment)}]]", width="stretch")
            st.markdown(badge("rollout", walk.state, f"{state}, step {walk.step + 1} of {len(walk.steps)}"))
        st.markdown(pictures.steps(current(), walk.step, len(walk.steps), progress(walk, seen.at)))
        shares = ", ".join(
            f"{escape(arm)} gets {percent(share)}" for arm, share in walk.steps[walk.step].shares.items() if share
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.markdown(f":small[{shares}]  \n:small[:gray[{waits_for(walk, seen.at)}]]", width="stretch")
            if change is not None:
                links.to_change(change)
            else:
                links.to_endpoint(one.endpoint)


def _fleet(seen: Seen) -> None:
    total = seen.standing.total
    shown = f"worst first, {len(seen.rows)} of {total:,}" if total > len(seen.rows) else f"{total:,}, worst first"
    with components.card("Endpoints", shown if total else "") as head:
        with head:
            st.page_link(ways.path("endpoints"), label="All endpoints", icon=":material/lan:")
        if not seen.rows:
            _no_endpoints()
            return
        st.markdown(state_bar(seen.standing))
        st.markdown(" ".join(_state_words(seen.standing)))
        columns = {name: one for name, one in fleet.columns().items() if name not in ("Model", "Why")}
        key = f"fleet.{zlib.crc32(' '.join(one.name for one in seen.rows).encode())}"
        chosen = listing.rows([fleet.record(one) for one in seen.rows], columns, key=key, alt="Endpoints, worst first")
    if chosen is not None:
        ways.open_detail("endpoint", endpoint=seen.rows[chosen].name)


def _findings(seen: Seen) -> None:
    count = f"{seen.found_count:,} not over, worst first"
    with components.card("Findings", count) as head:
        with head:
            st.page_link(ways.path("findings"), label="All findings", icon=":material/notification_important:")
        for one in seen.found:
            whose = f"of {escape(one.owner)}" if one.owner else "of nobody"
            where = escape(one.endpoint or one.model)
            note = f"Finding {one.number} · {where} · {whose} · last seen {times.age(one.last_seen_at, seen.at)}"
            marks = f"{badge('severity', one.severity)} {badge('finding', one.state)}"
            components.line(escape(quoted(one.last_says), 120), note, marks, ways.path("finding"), {"finding": str(one.number)})


def state_bar(standing: Standing) -> str:
    """Every endpoint in one bar, by state, worst first."""
    palette, total = current(), max(1, standing.total)
    parts = [
        (look("endpoint", state).word, round(100 * count / total, 2), palette.tone(look("endpoint", state).tone))
        for state, count in fleet.ordered(standing.counts)
    ]
    return pictures.share(parts, width=1060, height=10)


def _state_words(standing: Standing) -> list[str]:
    return [
        badge("endpoint", state, f"{look('endpoint', state).word} {count:,}") for state, count in fleet.ordered(standing.counts)
    ]


def _no_endpoints() -> None:
    with wiring.reading() as reading:
        adopts = reach.anywhere(identity.rights(reading)).may("endpoint.create")
    if adopts:
        components.empty(
            "There is no endpoint yet",
            "Register a server, test the connection, and adopt what runs there. Nothing is written before you sign it off.",
            icon="lan",
            step="Servers",
            page=ways.path("admin"),
        )
    else:
        components.empty(
            "There is no endpoint yet", "It will stand here once a platform engineer has adopted what runs.", icon="lan"
        )


def _environments(environments: Sequence[EnvironmentView]) -> None:
    with components.card("Environments", "in promotion order; what each asks for", border=False) as head:
        with head:
            st.page_link(ways.path("admin"), label="Policies", icon=":material/gavel:")
        rows = [policies.short_row(one) for one in environments]
        components.table(rows, policies.SHORT_HEAD, alt="Environments", tight=(1, 2, 3))


def _lately(seen: Seen) -> None:
    whole = seen.newest is not None
    with components.card("What changed lately", "ledger, UTC" if whole else "endpoints, UTC", border=False) as head:
        if seen.newest is not None:
            with head:
                st.page_link(ways.path("audit"), label="Open the ledger", icon=":material/receipt_long:")
            components.feed(ledger.told(one, seen.names) for one in seen.newest)
            return
        components.feed(_moved(name, move) for name, move in seen.moves)
        if not seen.moves:
            components.empty("Nothing happened yet", "What happens to endpoints will stand here.", icon="history")
        st.markdown(":small[:gray[The whole ledger is for auditors and admins.]]")


def _moved(name: str, move: Move) -> components.Told:
    """A change of an endpoint's state, which everybody may read."""
    reason = f": {escape(move.reason, 120)}" if move.reason else ""
    return components.Told(times.short(move.at), f"{badge('endpoint', move.after)} {escape(name, 60)}{reason}", "")


def badges(found: Standing, environments: Sequence[EnvironmentView]) -> list[str]:
    """What stands beside the title: what needs somebody, and what is frozen."""
    frozen = [policies.frozen_badge(one.name) for one in environments if one.frozen]
    return [*fleet.trouble(found.counts), *frozen]


def meta(found: Standing, environments: Sequence[EnvironmentView], at: datetime) -> str:
    """The line below the title."""
    return f"{plural(found.total, 'endpoint')} in {plural(len(environments), 'environment')} · {times.stamp(at)}"
