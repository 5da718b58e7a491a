"""Builds and clients: which jobs and programs act as which service without a secret, and whose tokens count at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import streamlit as st

from app import identity, wiring
from app.access_pages import granting, scopes
from app.identity import Rights
from app.kit import components, dialogs, feedback, listing, times
from app.kit.plain import escape
from app.kit.states import badge
from backend.access import bearer_claims, rosters, rules
from backend.access.bearer_file import Kind, Profile
from backend.access.bindings import BindingLine
from backend.access.rows import Request
from backend.policy.service import protected

_SHOWN = 50
_ORDER = ("not-honoured", "off", "expired", "active", "ended")
_NOT_ENDED, _ENDED = "Not ended", "Ended"
_KINDS: dict[Kind, str] = {"github": "GitHub Actions", "gitlab": "GitLab CI", "access": "A provider's access tokens"}


@dataclass(frozen=True)
class Narrowing:
    """One way to say which of a repository's jobs, by the claim that tells it and, where that is not enough, one besides."""

    label: str
    claim: str
    example: str
    besides: tuple[str, str] | None = None


_ANCHORS: dict[Kind, tuple[str, str]] = {
    "github": ("Number of the repository (repository_id)", "`gh api repos/OWNER/NAME --jq .id` tells it."),
    "gitlab": ("Number of the project (project_id)", "It stands on the project's page below its name."),
    "access": ("Subject of the client (sub)", "It stands in the client's tokens; a person's cannot be bound."),
}
NARROWINGS: dict[Kind, tuple[Narrowing, ...]] = {
    "github": (
        Narrowing("Of one branch or tag", "ref", "refs/heads/main"),
        Narrowing("That deploy to an environment", "environment", "production"),
        Narrowing("Of one workflow", "job_workflow_ref", "acme/flight-delay/.github/workflows/release.yml@refs/heads/main"),
    ),
    "gitlab": (
        Narrowing("Of one branch or tag", "ref_path", "refs/heads/main"),
        Narrowing("That deploy to a protected environment", "environment", "production", ("environment_protected", "true")),
        Narrowing("Of one pipeline file", "ci_config_ref_uri", "gitlab.com/acme/flight-delay//.gitlab-ci.yml@refs/heads/main"),
    ),
    "access": (),
}
_MORE: dict[Kind, str] = {
    "github": "environment=production\nevent_name=workflow_dispatch",
    "gitlab": "ref_protected=true\nref_type=branch",
    "access": "client_id=nightly-scores",
}


def lines(mine: Rights) -> Sequence[BindingLine]:
    """Every binding, ended ones too, for whoever may see them."""
    return wiring.backend().bindings.lines(identity.current(), ended=True) if mine.may("binding.list") else ()


def part(found: Sequence[BindingLine], mine: Rights, now: datetime, *, waiting: int = 0) -> None:
    """What is bound, and the issuers that the settings know; nothing for whoever may not see it.

    Args:
        waiting: how many were asked for and wait for a second admin.
    """
    if not mine.may("binding.list"):
        return
    profiles = wiring.backend().bindings.profiles(identity.current())
    if profiles or found:
        card(found, profiles, mine, now, waiting=waiting)
    _issuers(profiles)


def card(
    found: Sequence[BindingLine],
    profiles: Sequence[Profile],
    mine: Rights,
    now: datetime,
    *,
    of: str | None = None,
    waiting: int = 0,
) -> None:
    """Bindings, what stands against one first.

    Args:
        of: the service whose they are; None for a list of everybody's, which is filtered.
    """
    good = sum(one.state == "active" for one in found)
    waits = f" · {waiting:,} for a second admin under Grants" if waiting else ""
    with components.card("Builds and clients", f"{good} in force{waits}") as head:
        service = f" to {of}" if of is not None else ""
        may = mine.may("binding.make") and profiles
        if may and head.button("Bind a build", help=f"Bind a build or a client{service}", icon=":material/link:", key="bind"):
            _ask_bind(profiles, of)
        shown = [one for one in found if one.state != "ended"] if of is not None else _filtered(found)
        who = _shown({one.made_by for one in shown})
        for one in sorted(shown, key=lambda line: _ORDER.index(line.state))[:_SHOWN]:
            _row(one, who, mine, now, shows_whose=of is None)
        if len(shown) > _SHOWN:
            st.markdown(f":small[:gray[and {len(shown) - _SHOWN} more: say a part of a service or claim]]")
        if not shown:
            components.empty(
                "Nothing is bound here" if of is not None or not found else "No binding is like this",
                "A binding lets the jobs of one repository and branch, or one client of a provider, act as a service. An admin "
                "who does not own the service makes it.",
                icon="link_off",
                key="empty.bindings",
            )


def _filtered(found: Sequence[BindingLine]) -> Sequence[BindingLine]:
    if not found:
        return ()
    with listing.filters():
        text = st.text_input("Service or claim", key="bound", bind="query-params", icon=":material/search:")
        which = st.selectbox("Which bindings", [_NOT_ENDED, _ENDED], key="bindings", bind="query-params")
    wanted = (text or "").strip().casefold()
    return [one for one in found if (one.state == "ended") is (which == _ENDED) and wanted in _said(one).casefold()]


def _said(one: BindingLine) -> str:
    return " ".join((one.identity, one.profile, one.issuer, *(f"{name}={value}" for name, value in one.claims.items())))


def _shown(ids: Iterable[str]) -> Mapping[str, str]:
    with wiring.reading() as look:
        return rosters.shown(look.session, ids)


def _row(one: BindingLine, who: Mapping[str, str], mine: Rights, now: datetime, *, shows_whose: bool) -> None:
    title = f"**{escape(one.identity, 80)}** by" if shows_whose else "By"
    facts = (
        scopes.narrowed(one.role, one.scope) or "all that the service may do",
        _used(one, now),
        f"bound by {escape(who.get(one.made_by, one.made_by), 60)} {times.age(one.made_at, now)}",
        f"until {times.both(one.expires_at, now)}" if one.expires_at is not None else "no end",
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.markdown(
            f"{title} {escape(one.profile)} {badge('binding', one.state)}  \n"
            f":small[{claims(one.claims)}]{_lacks(one)}  \n:small[:gray[{' · '.join(facts)}]]",
            width="stretch",
        )
        if st.button("Details", key=f"details.{one.id}", type="tertiary"):
            _details(one, who, now)
        if mine.may("binding.end") and one.state != "ended" and st.button("Unbind", key=f"unbind.{one.id}"):
            _ask_unbind(one)


def _lacks(one: BindingLine) -> str:
    return f"  \n:small[{escape(one.says, 400)}]" if one.says else ""


def claims(asked: Mapping[str, str]) -> str:
    """What its tokens must say, escaped; whose they are first."""
    return ", ".join(_each(asked))


def _each(said: Mapping[str, str]) -> list[str]:
    order = sorted(said.items(), key=lambda pair: (pair[0] not in bearer_claims.ANCHORS.values(), pair[0]))
    return [f"{escape(name)} = {escape(value, 160)}" for name, value in order]


def _used(one: BindingLine, now: datetime) -> str:
    if one.last_used_at is None:
        return "never used"
    told = one.last_used_by
    named = ("repository", "project_path", "client_id")
    job = next((told[name] for name in named if name in told), "")
    run = next((f"run {told[name]}" for name in ("run_id", "pipeline_id") if name in told), "")
    by = ", ".join(escape(part, 100) for part in (job, told.get("ref", ""), run) if part)
    return f"last used {times.age(one.last_used_at, now)}{f' by {by}' if by else ''}"


def _details(one: BindingLine, who: Mapping[str, str], now: datetime) -> None:
    @dialogs.framed("A binding", width="large")
    def opened() -> None:
        end = times.both(one.expires_at, now) if one.expires_at is not None else "none"
        components.facts(
            [
                ("Acts as", f"{escape(one.identity)} {badge('binding', one.state)}"),
                ("At most", escape(scopes.at_most(one.role, one.scope))),
                ("Issuer", f"{escape(one.profile)} :gray[·] {escape(one.issuer, 300)}"),
                ("Asks for", "  \n".join(_each(one.claims))),
                ("Bound", f"{times.both(one.made_at, now)} by {escape(who.get(one.made_by, one.made_by))}"),
                ("Ends", end),
                ("Last used", times.both(one.last_used_at, now) if one.last_used_at is not None else "never"),
                ("By the job", "  \n".join(_each(one.last_used_by)) or "none yet"),
            ]
        )
        st.markdown(":small[:gray[Its id, for the API and the command line:]]")
        st.code(one.id, language=None)

    opened()


def _ask_unbind(one: BindingLine) -> None:
    wanted = dialogs.Ask(
        says=(
            f"Tokens of {escape(one.profile)} with {claims(one.claims)} do not act as **{escape(one.identity, 80)}** any more, "
            "from the next request on.",
            _used_last(one),
        ),
        confirm="Unbind it",
        done="Unbound.",
        hint="The repository moved, the pipeline is gone …",
        icon="link_off",
    )
    bindings = wiring.backend().bindings
    dialogs.ask("Unbind", lambda: wanted, lambda reason: bindings.unbind(identity.current(), one.id, reason))


def _used_last(one: BindingLine) -> str:
    return "It was never used." if one.last_used_at is None else f"It was last used on {times.stamp(one.last_used_at)}."


def _issuers(profiles: Sequence[Profile]) -> None:
    """The settings as loaded; they hold no secret."""
    with components.card("Issuers", "COUNTERSIGN_BEARER_FILE, as loaded at the start; it holds no secret"):
        if not profiles:
            components.empty(
                "Only Countersign's own tokens count",
                "A CI job or a machine client can act as a service without a secret that somebody keeps. Write a TOML file "
                "with its issuer and an audience, name it in COUNTERSIGN_BEARER_FILE, start again, and bind the job here: "
                "docs/machines.md shows it for GitHub Actions, GitLab CI and providers.",
                icon="badge",
                key="empty.issuers",
            )
            return
        for one in profiles:
            signs = f"signed with {escape(', '.join(one.algorithms))} · good for {times.span(one.max_age)} at most"
            st.markdown(
                f"**{escape(one.title)}** :small[:gray[{_KINDS[one.kind]}]]  \n"
                f":small[{escape(one.issuer, 200)} :gray[· audience] {escape(one.audience, 200)}]  \n:small[:gray[{signs}]]"
                f"{_people(one)}"
            )


def _people(one: Profile) -> str:
    """What a person's access token is good for, where the issuer has any."""
    if one.kind != "access":
        return ""
    each = " · ".join(f"{escape(scope, 80)} at most {role}" for scope, role in one.scopes.items())
    return f"  \n:small[:gray[{each or 'people: with all of their roles, whatever scopes a token has'}]]"


# -- binding


def _ask_bind(profiles: Sequence[Profile], service: str | None) -> None:
    @dialogs.framed("Bind a build or a client", width="large")
    def opened() -> None:
        with feedback.shown():
            _bind({one.name: one for one in profiles}, service)

    opened()


def _bind(profiles: Mapping[str, Profile], preset: str | None) -> None:
    with wiring.reading() as look:
        services = rosters.names(look.session, kind="service")
        own = {one.name for one in rosters.services_of(look.session, identity.current().id, now=look.now)}
        places, careful = scopes.places(look), protected(look.session)
    others = [preset] if preset is not None else [name for name in services if name not in own]
    if not others or preset in own:
        components.empty(
            "There is no service that you can bind to",
            "Nobody binds anything to a service of his own: another admin does. Without any service, add one first.",
            icon="smart_toy",
            key="empty.services",
        )
        return
    named = {name: one.title for name, one in profiles.items()}
    with _row_of_fields():
        service = str(st.selectbox("It acts as", others, key="bind.service", format_func=lambda name: services.get(name, name)))
        issuer = str(st.selectbox("Whose tokens", list(named), key="bind.issuer", format_func=lambda name: named[name]))
    profile = profiles[issuer]
    pairs = _pairs(profile.kind)
    with _row_of_fields():
        role, scope = scopes.limits(places, "bind")
    lasts = st.selectbox("Until", list(granting.LASTS), index=4, key="bind.until")
    typed = granting.entered_end("bind.at") if lasts == granting.AT else ""
    until = granting.end(lasts, typed, look.now)
    asked = _judged(profile.kind, pairs)
    if asked and scope:
        most = scopes.narrowed(role, scope) or "with all that it may do"
        end = f"until {times.stamp(until)}" if until is not None else "until somebody unbinds them"
        whom = escape(services.get(service, service), 80)
        st.markdown(f"Tokens of **{escape(profile.title)}** with {claims(asked)} act as **{whom}**, {most}, {end}.")
        if rules.reaches(scope, careful):
            st.info(granting.WAITS, icon=":material/group:")
    if not dialogs.decide("Bind it", "bind.confirm", icon="link"):
        return
    if asked and scope:
        _ask_for(service, profile.name, asked, role, scope, until)
    else:
        st.error("Not bound: say whose tokens, which of their jobs, and where; then bind it again.", icon=":material/error:")


def _row_of_fields() -> Any:
    return st.container(horizontal=True, vertical_alignment="bottom", gap="small")


def _pairs(kind: Kind) -> list[str]:
    """What its tokens must say, as NAME=VALUE; empty while what tells whose they are is not written."""
    label, where = _ANCHORS[kind]
    anchor = st.text_input(label, key=f"bind.{kind}.anchor", help=where, max_chars=512, required=True)
    pairs = [(bearer_claims.ANCHORS[kind], (anchor or "").strip())]
    ways = {one.label: one for one in NARROWINGS[kind]}
    if ways:
        with _row_of_fields():
            way = ways[str(st.selectbox("Which of its jobs", list(ways), key=f"bind.{kind}.way"))]
            asks = f"As the token has it ({way.claim})"
            said = st.text_input(asks, key=f"bind.{way.claim}", placeholder=way.example, max_chars=512, required=True)
        pairs += [(way.claim, (said or "").strip()), *([way.besides] if way.besides is not None else [])]
    more = st.text_area(
        "What the token must say besides, one NAME=VALUE a line", key=f"bind.{kind}.more", height=76, placeholder=_MORE[kind]
    )
    written = [f"{name}={value}" for name, value in pairs] if all(value for _, value in pairs) else []
    return [*written, *_lines_of(more)] if written else []


def _judged(kind: Kind, pairs: Sequence[str]) -> dict[str, str]:
    """The same as claims; what is wrong with them is told, and the form stays."""
    asked: dict[str, str] = {}
    if pairs:
        with feedback.shown() as outcome:
            asked = bearer_claims.written(pairs)
            bearer_claims.check_binding(kind, asked)
        return asked if outcome.ok else {}
    return asked


def _lines_of(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _ask_for(
    service: str, profile: str, asked: Mapping[str, str], role: str | None, scope: str, until: datetime | None
) -> None:
    """Asks for it, and says whether it counts or waits."""
    found: list[object] = []
    with feedback.shown() as outcome:
        bindings = wiring.backend().bindings
        found.append(bindings.bind(identity.current(), service, profile, asked, role=role, scope=scope, expires_at=until))
    if outcome.ok:
        waits = isinstance(found[0], Request)
        feedback.done("Asked for: another admin confirms it under Grants." if waits else "Bound, and in force.")
        st.rerun()
