"""Messages: how one is told, what one hears of, where it goes, and what became of each; and everybody's routes for admins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from app import identity, wiring
from app.kit import components, dialogs, feedback, objects, times
from app.kit.plain import escape, plural
from app.kit.states import badge
from app.record_pages import message_log
from app.wiring import Reading
from backend.access import teams
from backend.notify import queries
from backend.notify.queries import EventLine, PreferenceView, RouteLine, SubscriptionLine

_MINE, _EVERYBODYS = "Mine", "Everybody's"
_ALL_EVENTS, _ANYTHING = "Everything", "anything"
_KINDS = ("", "model", "endpoint", "environment", "change")
_TEAM = "team/"
_SECRET = "notifications.secret"


@dataclass(frozen=True)
class Mine:
    """What one's own page shows."""

    preference: PreferenceView
    routes: Sequence[RouteLine]
    subscriptions: Sequence[SubscriptionLine]
    email: str
    owners: dict[str, str]


def mine(look: Reading) -> Mine:
    """All of it in one look."""
    actor, session = identity.current(), look.session
    return Mine(
        queries.preference(session, actor),
        queries.routes(session, actor, look.now),
        queries.subscriptions(session, actor, look.now),
        queries.email(session, actor),
        _owners(look, identity.rights(look)),
    )


def summary(found: Mine) -> str:
    """The line below the title."""
    hours = f"quiet {found.preference.quiet_from} to {found.preference.quiet_to} {found.preference.zone}"
    told = [plural(len(found.subscriptions), "subscription"), plural(len(found.routes), "route")]
    return escape(" · ".join([*told, hours if found.preference.quiet_from else "no quiet hours"]))


# -- how one is told


def preference_card(now_so: PreferenceView, email: str) -> None:
    """Quiet hours, mail, and what one does not want to hear of."""
    with components.card("How I am told"):
        st.markdown(":small[:gray[What waits for my vote, and what becomes of what I asked for, comes by itself.]]")
        zone = st.text_input("Time zone", now_so.zone, key="zone", placeholder="Europe/Berlin")
        with st.container(horizontal=True, gap="small"):
            begins = st.text_input("Quiet from", now_so.quiet_from or "", key="quiet.from", placeholder="22:00")
            ends = st.text_input("Quiet until", now_so.quiet_to or "", key="quiet.to", placeholder="07:00")
        urgent = st.checkbox("What is urgent comes through quiet hours", now_so.urgent_through, key="urgent")
        at = f"Mail me at {escape(email, 80)}" if email else "Mail me (no address of mine is known here)"
        mail = st.checkbox(at, now_so.mail, key="mail")
        with st.expander("What comes by itself"):
            wanted = {one.name: _event_box(one, now_so) for one in queries.events() if one.audience}
        if st.button("Save", type="primary", icon=":material/save:", key="preferences.save"):
            feedback.act(
                lambda: wiring.backend().preferences.set(
                    identity.current(),
                    zone=(zone or "UTC").strip(),
                    quiet_from=_clock(begins),
                    quiet_to=_clock(ends),
                    urgent_through=urgent,
                    mail=mail,
                    muted=[name for name, is_wanted in wanted.items() if not is_wanted],
                ),
                "Saved. What waits is held or let go accordingly.",
            )


def _event_box(one: EventLine, now_so: PreferenceView) -> bool:
    return st.checkbox(escape(one.says), one.name not in now_so.muted, key=f"wants.{one.name}")


def _clock(text: str | None) -> str | None:
    return (text or "").strip() or None


# -- what one hears of


def subscriptions_card(lines: Sequence[SubscriptionLine], routes: Sequence[RouteLine]) -> None:
    """Subscriptions of one's mail and of the routes that one looks after."""
    with components.card("What I hear of besides", f"{len(lines)}" if lines else "") as head:
        if head.button("Subscribe", icon=":material/notifications:", key="subscribe"):
            _ask_subscribe(routes)
        for one in lines:
            _subscription(one)
        if not lines:
            components.empty(
                "No subscription yet",
                "Subscribe to events of everything, or of one model, endpoint, environment or change.",
                icon="notifications",
                key="empty.subscriptions",
            )


def _subscription(one: SubscriptionLine) -> None:
    what = _ALL_EVENTS if one.events == ("*",) else ", ".join(one.events)
    of = f"{one.object_kind} {one.object_name}" if one.object_kind else _ANYTHING
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(f":small[**{escape(what, 200)}**  \n:gray[of {escape(of, 100)} · by {escape(one.route)}]]", width="stretch")
        if st.button("Take back", key=f"unsubscribe.{one.id}"):
            feedback.act(lambda: wiring.backend().routes.unsubscribe(identity.current(), one.id), "Taken back.")


def _ask_subscribe(routes: Sequence[RouteLine]) -> None:
    says = {"*": _ALL_EVENTS} | {one.name: one.says for one in queries.events()}
    ways = {"mail": "my mail"} | {one.id: one.name for one in routes}

    @dialogs.framed("Subscribe")
    def opened() -> None:
        event = st.selectbox("To what", list(says), format_func=says.__getitem__, key="subscribe.event")
        kind = st.selectbox("Of what", _KINDS, format_func=lambda one: one or _ANYTHING, key="subscribe.kind")
        name = _which(kind)
        way = st.selectbox("By what", list(ways), format_func=ways.__getitem__, key="subscribe.way")
        if dialogs.decide("Subscribe", "subscribe.do", icon="notifications"):
            feedback.act(
                lambda: wiring.backend().routes.subscribe(
                    identity.current(), (event,), route=way, object_kind=kind, object_name=name
                ),
                "Subscribed.",
            )

    opened()


def _which(kind: str) -> str:
    """The name of what one subscribes to; a change has a number."""
    if kind == "change":
        return (st.text_input("The change's number", key="subscribe.change", placeholder="12") or "").strip()
    return objects.choose(kind, f"subscribe.{kind}") if kind else ""


# -- where it goes


def routes_card(lines: Sequence[RouteLine], owners: dict[str, str]) -> None:
    """One's own routes and those that one looks after, and how each does."""
    _forget_secret()
    with components.card("Where it goes", plural(len(lines), "route")) as head:
        if head.button("Test my mail", icon=":material/send:", key="test.mail"):
            _act(lambda: wiring.backend().routes.test(identity.current(), "mail"), _TESTED)
        if head.button("Add a route", icon=":material/add:", key="add.route"):
            _ask_add({"me": "me", **owners})
        for one in lines:
            _route(one)
        if not lines:
            components.empty(
                "Only mail so far",
                "A route is a signed webhook, or a channel of Slack, Teams, Mattermost and others.",
                icon="outbox",
                key="empty.routes",
            )


def part(mine: identity.Rights) -> None:
    """Everybody's routes, for whoever may see them; those of teams and of everybody are set up and looked after here."""
    if not mine.may("route.list"):
        with st.container(border=True):
            components.empty(
                "This is for admins and auditors",
                "Your own routes, and those of teams that you look after, are on the page Notifications.",
                icon="lock",
            )
        return
    _forget_secret()
    with wiring.reading() as look:
        lines = queries.routes(look.session, identity.current(), look.now, everybodys=True)
        owners = _owners(look, mine)
    shared = [one for one in lines if one.manages and one.owner != "me"]
    _shared(shared, owners)
    _others([one for one in lines if one not in shared])
    message_log.card(lines)


def _owners(look: Reading, mine: identity.Rights) -> dict[str, str]:
    """For whom one may make routes besides oneself."""
    known = [one for one in teams.lines(look.session) if mine.may("route.manage", team=one.id)]
    everybody = {"*": "everybody"} if mine.may("route.manage") else {}
    return everybody | {f"{_TEAM}{one.name}": f"team {one.name}" for one in known}


def _shared(lines: Sequence[RouteLine], owners: dict[str, str]) -> None:
    with components.card("Routes that you look after", _how_many(lines)) as head:
        if owners and head.button("Add a route", icon=":material/add:", key="admin.add.route"):
            _ask_add(owners)
        for one in lines:
            _route(one)
        if not lines:
            components.empty(
                "There is no route of a team or of everybody" if owners else "There is none",
                "Messages go by mail to people; a route takes them to a team's channel or to another system."
                if owners
                else "Admins set up where messages of a team, or of everybody, go.",
                icon="outbox",
                key="empty.shared.routes",
            )


def _others(lines: Sequence[RouteLine]) -> None:
    with components.card("All other routes", f"{_how_many(lines)}; changed by whoever they are of"):
        rows = [(*_told(one), badge("route", one.health), _counted(one)) for one in lines]
        if rows:
            components.table(rows, ("Route", "Whose", "State", "Messages"), alt="All other routes, and how each does")
        else:
            components.empty("Nobody has a route of their own", "People make theirs on the page Notifications.", icon="outbox",
                             key="empty.other.routes")  # fmt: skip


def _how_many(lines: Sequence[RouteLine]) -> str:
    failing = sum(one.health == "failing" for one in lines)
    return f"{plural(len(lines), 'route')}{f', {failing} failing' if failing else ''}"


def _told(one: RouteLine) -> tuple[str, str]:
    return f"**{escape(one.name)}**  \n:small[:gray[{escape(one.shown, 80)}]]", escape(one.owner, 60)


def _counted(one: RouteLine) -> str:
    told = f":small[:gray[{one.waiting} waiting, {one.dead} given up]]"
    return f"{told}  \n:small[:gray[{_says(one)}]]" if _says(one) else told


def _says(one: RouteLine) -> str:
    """Why it is paused, or what came of the latest try and since when that is so."""
    since = f" (since {times.short(one.failing_since)} UTC)" if one.health == "failing" and one.failing_since else ""
    return escape(one.state_reason or one.says + since, 160)


def _route(one: RouteLine) -> None:
    both = f"signed with the former secret too until {times.short(one.two_secrets_until)} UTC" if one.two_secrets_until else ""
    says = " · ".join(filter(None, (both, _says(one))))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(
            f":small[**{escape(one.name)}** {badge('route', one.health)}  \n"
            f":gray[{escape(one.shown, 80)} · {escape(one.owner, 40)} · {one.waiting} waiting, {one.dead} given up"
            f"{' · ' + says if says else ''}]]",
            width="stretch",
        )
        chosen = st.menu_button("More", _acts(one), key=f"route.{one.id}", icon=":material/more_horiz:")
    if chosen:
        _do(str(chosen), one)


_TEST, _PAUSE, _RESUME, _REPLAY, _ROTATE, _REMOVE = (
    "Send a test", "Pause", "Resume", "Send again what was given up", "Change the secret", "Remove",
)  # fmt: skip
_TESTED = "A test message waits for the worker; its line below says what came of it."


def _acts(one: RouteLine) -> list[str]:
    found = [_TEST, _RESUME if one.state == "paused" else _PAUSE]
    found += [_REPLAY] if one.dead else []
    found += [_ROTATE] if one.kind == "webhook" and one.two_secrets_until is None else []
    return [*found, _REMOVE]


def _do(chosen: str, one: RouteLine) -> None:
    routes, actor = wiring.backend().routes, identity.current()
    asks = {_ROTATE: _ask_rotate, _PAUSE: _ask_pause, _REMOVE: _ask_remove}
    if chosen in asks:
        asks[chosen](one)
        return
    acts: dict[str, tuple[Callable[[], object], str]] = {
        _TEST: (lambda: routes.test(actor, one.id), _TESTED),
        _RESUME: (lambda: routes.resume(actor, one.id), "It is sent on again."),
        _REPLAY: (lambda: routes.replay_dead(actor, one.id), "They wait again, under the ids that they had."),
    }
    _act(*acts[chosen])


def _ask_pause(one: RouteLine) -> None:
    wanted = dialogs.Ask(
        says=(
            f"Nothing is sent to **{escape(one.name)}** until somebody resumes it. What waits "
            f"({plural(one.waiting, 'message')}) goes on waiting; nothing new is added to it meanwhile.",
        ),
        confirm="Pause it",
        done="Nothing is sent there until it is resumed.",
        hint="The receiver moves, it is told too much …",
        icon="pause",
        label="Reason (whoever looks at the route reads it)",
    )
    dialogs.ask(
        "Pause a route", lambda: wanted, lambda reason: wiring.backend().routes.pause(identity.current(), one.id, reason)
    )


def _ask_remove(one: RouteLine) -> None:
    @dialogs.framed("Remove a route")
    def opened() -> None:
        st.markdown(
            f"**{escape(one.name)}** ends with its subscriptions, and what waits for it is not sent. Its address and secrets "
            "are forgotten; what was sent stays in the log. This cannot be undone."
        )
        if dialogs.decide("Remove it", "route.remove", icon="delete"):
            feedback.act(
                lambda: wiring.backend().routes.remove(identity.current(), one.id),
                "Removed; its address and secrets are forgotten.",
            )

    opened()


def _act(command: Callable[[], object], says: str) -> None:
    feedback.act(command, says)


def _ask_add(owners: dict[str, str]) -> None:
    @dialogs.framed("Add a route")
    def opened() -> None:
        if _shown_once():
            return
        st.markdown(
            "`https://…` makes a signed webhook; an address in Apprise's form, such as `slack://…`, a channel. "
            "The address is sealed and shown to nobody again."
        )
        name = st.text_input("Name", key="route.name", placeholder="release-room")
        address = st.text_input("Address", key="route.address", type="password", live=True)
        whose = (
            st.selectbox("For", list(owners), format_func=owners.__getitem__, key="route.whose") if len(owners) > 1 else None
        )
        owner = whose or next(iter(owners))
        if dialogs.decide("Add it", "route.add", icon="add"):
            team = owner.removeprefix(_TEAM) if owner.startswith(_TEAM) else None
            with feedback.shown() as outcome:
                made = wiring.backend().routes.add(
                    identity.current(), (name or "").strip(), address or "", team=team, everybody=owner == "*"
                )
            if outcome.ok:
                _made(made.secret)

    opened()


def _ask_rotate(one: RouteLine) -> None:
    @dialogs.framed("Change the secret")
    def opened() -> None:
        if _shown_once():
            return
        st.markdown(f"**{escape(one.name)}** is signed with a new secret and, for a day, with the present one as well.")
        if dialogs.decide("Change it", "route.rotate", icon="key"):
            with feedback.shown() as outcome:
                made = wiring.backend().routes.rotate(identity.current(), one.id)
            if outcome.ok:
                _made(made.secret)

    opened()


def _made(secret: str | None) -> None:
    """A secret stays in the dialog until it is closed; a route without one is there at once."""
    if secret is None:
        feedback.done("The route is there. Send a test, and subscribe it to something.")
        st.rerun()
    st.session_state[_SECRET] = secret
    st.rerun(scope="fragment")


def _shown_once() -> bool:
    """Whether there is a secret to be shown: it is drawn then, and forgotten with the dialog."""
    secret = st.session_state.get(_SECRET)
    if secret is None:
        return False
    st.success("It is there. This is what it is signed with, shown now and never again:", icon=":material/key:")
    st.code(secret, language=None)
    if st.button("I have it", key="route.seen", type="primary"):
        st.rerun()
    return True


def _forget_secret() -> None:
    """A page that is drawn anew has closed its dialog."""
    st.session_state.pop(_SECRET, None)
