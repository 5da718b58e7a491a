"""Signing in as an admin sees it: groups to roles, the settings as they were loaded, and what each provider answers now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from app import wiring
from app.access_pages import groups, second_person
from app.identity import Rights
from app.kit import components, times
from app.kit.plain import escape, plural
from app.kit.states import badge
from backend.access.providers import Examined
from backend.access.sign_in_file import Provider, SignIn
from backend.core.errors import CountersignError

_EXAMINED = "sign_in.examined"


@dataclass(frozen=True)
class _Answer:
    """What came of asking one provider; kept for the session that asked."""

    found: Examined | None
    failed: str
    at: datetime


def part(mine: Rights) -> None:
    """All of it, for whoever may see other people's sessions; where nobody signs in, what to do about that."""
    backend = wiring.backend()
    if backend.sign_in is None:
        with st.container(border=True):
            components.empty(
                "Nobody signs in here",
                "Write a file with the providers that people sign in at, and start again with COUNTERSIGN_SIGN_IN_FILE: "
                "docs/sign-in.md shows it for Keycloak, Entra ID, Okta, Google, Auth0 and Dex.",
                icon="login",
            )
        return
    if not mine.may("session.list"):
        with st.container(border=True):
            components.empty("This is for admins", "Ask one whose group should give you a role.", icon="lock")
        return
    with wiring.reading() as look:
        lines = backend.group_mappings.lines(look.session)
        waiting = sum(one.kind == "group_mapping.make" for one in second_person.waiting(look, mine))
    groups.card(lines, backend.sign_in, mine, waiting=waiting)
    _providers(backend.sign_in, look.now)
    _settings(backend.sign_in)


def _providers(sign_in: SignIn, now: datetime) -> None:
    answers: dict[str, _Answer] = st.session_state.get(_EXAMINED, {})
    with components.card("Providers", "asked when you ask; secrets are never shown") as head:
        if head.button("Ask the providers", icon=":material/network_check:"):
            answers = st.session_state[_EXAMINED] = {one.name: _asked(one) for one in sign_in.providers}
        with st.container(gap="medium"):
            for one in sign_in.providers:
                _provider(one, answers.get(one.name), now)


def _asked(provider: Provider) -> _Answer:
    backend = wiring.backend()
    at = backend.database.now()
    with st.spinner(f"Asking {escape(provider.title)} …"):
        try:
            return _Answer(backend.providers.examine(provider), "", at)
        except CountersignError as error:
            return _Answer(None, f"{error} {_remedy(error)}", at)


def _remedy(error: CountersignError) -> str:
    return str(getattr(error, "remedy", "")) or (
        "Check that it runs, that the address in the settings is right, and that this machine reaches it. Nobody new gets in "
        "until then; sessions that run go on."
    )


def _provider(one: Provider, answer: _Answer | None, now: datetime) -> None:
    state = "" if answer is None else badge("provider", _state(answer))
    with st.container(gap="xsmall"):
        st.markdown(f"**{escape(one.title)}** {state}")
        components.facts(_lines(one))
        if answer is None:
            return
        if answer.found is None:
            st.error(escape(answer.failed, 600), icon=":material/cloud_off:")
            return
        for problem in answer.found.problems:
            st.warning(escape(problem, 600), icon=":material/warning:")
        out = "it can be signed out at" if answer.found.ends_sessions else "it has no address to sign out at"
        back = "says that it tells of logouts" if answer.found.tells_of_logout else "does not say that it tells of logouts"
        keys = plural(answer.found.keys, "key")
        st.markdown(
            f":small[:gray[Calls itself {escape(answer.found.issuer, 200)} · {keys} · {out} · {back} · "
            f"asked {times.age(min(answer.at, now), now)}]]"
        )


def _state(answer: _Answer) -> str:
    if answer.found is None:
        return "away"
    return "odd" if answer.found.problems else "good"


def _lines(one: Provider) -> list[tuple[str, str]]:
    verified = "only with an address that it verified" if one.require_verified_email else "with or without a verified address"
    return [
        ("Name here", escape(one.name)),
        ("Client", f"{escape(one.client_id)} :gray[· secret: set]"),
        ("Metadata", escape(one.server_metadata_url, 200)),
        ("Issuer", escape(", ".join(one.issuers), 300) or f"{escape(one.expected_issuer, 200)} :gray[· from the metadata]"),
        ("Asked for", f"{escape(one.scope)} :gray[· prompt] {escape(one.prompt or 'none')}"),
        ("Groups", f"from the claim {escape(one.groups_claim)}, {len(one.roles)} mapped in the settings file"),
        ("Signed with", escape(", ".join(one.algorithms))),
        ("Who gets in", verified),
        (
            "Directory",
            f"people meet by the claim {escape(one.scim_claim)}" if one.scim_claim else "no claim named (scim_claim)",
        ),
        (
            "Sent by",
            f"the service {escape(one.scim_identity)} (SCIM)"
            if one.scim_identity
            else "nobody: no service named (scim_identity)",
        ),
    ]


def _settings(sign_in: SignIn) -> None:
    logout = f"{sign_in.origin}{sign_in.base_path}/api/v1/sign-in/backchannel-logout"
    with components.card("Sign-in settings", "as loaded at the start; change the file and start again"):
        components.facts(
            [
                ("Seen at", escape(sign_in.origin + sign_in.base_path, 200)),
                ("Redirect", f"{escape(sign_in.redirect_uri, 300)} :gray[· register exactly this at each provider]"),
                ("Back-channel", f"{escape(logout, 300)} :gray[· register it where the provider tells of logouts]"),
                (
                    "Cookies",
                    f"secret: set :gray[·] {'only by TLS' if sign_in.is_secure else 'also without TLS: this machine only'}",
                ),
                (
                    "A session ends",
                    f"{sign_in.idle_minutes} min after the last click, {sign_in.absolute_hours} h after the sign-in",
                ),
                ("Group roles", f"lapse {sign_in.claims_days} days after the last sign-in"),
                ("First admin", escape(sign_in.first_administrator) or "none named"),
            ]
        )
