"""A house of forty where people sign in: with groups, roles that end soon, teams, services, data sets, and what waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backend import bootstrap
from backend.access import rosters
from backend.bootstrap import Backend
from backend.core.context import Actor
from backend.settings import Settings
from tests.browsers import _SERVE, Server, serve
from tests.certified_provider import free_port
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET, IdentityProvider, identity_provider

FILE = """
[auth]
redirect_uri = "{origin}/oauth2callback"
cookie_secret = "{cookie_secret}"
first_administrator = "corp:u-ada"

[auth.corp]
title = "Example Corp"
client_id = "{client}"
client_secret = "{secret}"
server_metadata_url = "{issuer}/.well-known/openid-configuration"
roles = [
    {{ value = "ml-reviewers", role = "reviewer", scope = "environment:production" }},
    {{ value = "ml-science", role = "contributor" }},
    {{ value = "ml-platform", role = "operator" }},
    {{ value = "audit", role = "auditor" }},
]

[auth.partner]
title = "Partner Org"
client_id = "{client}"
client_secret = "{secret}"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""
NAMES = (
    "Ada Admin", "Rita Reviewer", "Noor Haddad", "Bea Lindqvist", "Chidi Okafor", "Dana Weiss", "Emil Sørensen", "Fay Tanaka",
    "Goran Ilić", "Hana Kobayashi", "Ines Duarte", "Jonas Keller", "Kira Novak", "Liam Byrne", "Mei Chen", "Nils Nobody",
)  # fmt: skip
GROUPS = (["ml-science", "staff"], ["ml-reviewers", "staff"], ["ml-platform", "staff"], ["audit", "staff"], ["staff"])


@dataclass
class House:
    """It runs: where, its provider, and what is behind it."""

    server: Server
    provider: IdentityProvider
    behind: Backend

    def comes(self, name: str) -> None:
        """Whoever signs in next from here on."""
        number = NAMES.index(name)
        self.provider.people = person(number, name)


def person(number: int, name: str) -> dict[str, object]:
    """What the provider tells of somebody."""
    handle = name.split()[0].lower()
    groups = {"Ada Admin": ["ml-admins", "staff"], "Nils Nobody": ["staff"]}.get(name, GROUPS[number % len(GROUPS)])
    told = {"sub": f"u-{handle}" if number < len(NAMES) else f"u-{number}", "name": name, "groups": groups}
    return {**told, "preferred_username": handle, "email": f"{handle}@corp.test", "email_verified": True}


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """Starts it in that folder, and ends it."""
    port = free_port()
    origin = f"http://localhost:{port}"
    with identity_provider() as provider:
        file = folder / "sign-in.toml"
        told = {"origin": origin, "cookie_secret": COOKIE_SECRET, "client": CLIENT, "secret": SECRET}
        file.write_text(FILE.format(**told, issuer=provider.issuer))
        settings = Settings(data_dir=folder / "data", sign_in_file=file, allowed_networks="127.0.0.0/8")
        behind = bootstrap.install(settings)
        try:
            moved_in(behind, provider)
            given = {
                "COUNTERSIGN_SIGN_IN_FILE": str(file),
                "COUNTERSIGN_DEMO_IDENTITIES": "false",
                "COUNTERSIGN_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
            program = _SERVE.replace('"--port", "0"', f'"--port", "{port}"')
            with serve(folder / "data", folder, program, **given) as server:
                server.url = origin
                yield House(server, provider, behind)
        finally:
            behind.close()


def moved_in(backend: Backend, provider: IdentityProvider) -> None:
    """Everybody has signed in once, and the first administrator has set the house up."""
    devices = ("Chrome on Linux", "Firefox on Windows", "Safari on iPhone", "Edge on Windows", "Safari on macOS")
    actors: dict[str, Actor] = {}
    for number in range(40):
        name = NAMES[number] if number < len(NAMES) else f"{NAMES[number % 16].split()[0]} Number {number}"
        told = provider.claims(nonce=f"n-{number}", sid=f"s-{number}", **person(number, name))
        cookie = {**told, "is_logged_in": True, "provider": "corp"}
        found = backend.sessions.open(cookie, provider.sign(told), device=devices[number % len(devices)])
        actors[name] = found.actor
    _set_up(backend, actors["Ada Admin"], actors)


def _set_up(backend: Backend, ada: Actor, actors: dict[str, Actor]) -> None:
    with backend.database.read() as session:
        now = backend.database.now(session)
        short = {name: _short(rosters.person_by_id(session, one.id, now=now)) for name, one in actors.items()}
    for name, title in (("flights", "Flight delays, gates and bags"), ("rides", "Taxi fares and demand"), ("search", "")):
        backend.teams.create(ada, name, title)
    for name in ("Noor Haddad", "Bea Lindqvist", "Chidi Okafor", "Dana Weiss"):
        backend.teams.add_member(ada, "flights", short[name])
    backend.identities.create(ada, "builds", kind="service", display_name="Build server", owner=short["Noor Haddad"])
    backend.identities.create(ada, "nightly", kind="service", display_name="Nightly training", owner=short["Ada Admin"])
    backend.identities.grant(ada, "builds", "contributor", "environment:dev", expires_at=now + timedelta(days=9))
    backend.identities.grant(ada, short["Emil Sørensen"], "viewer", "environment:dev", expires_at=now + timedelta(hours=20))
    backend.identities.grant(
        ada, short["Fay Tanaka"], "operator", "environment:production", expires_at=now + timedelta(days=30)
    )
    backend.identities.grant(ada, short["Rita Reviewer"], "operator", "team:flights")
    backend.tokens.create(actors["Noor Haddad"], "build server", identity="builds")
    backend.tokens.create(ada, "laptop")
    backend.data_sets.grant(ada, "requests/flight-delay", until=now + timedelta(days=5), team="flights")
    backend.data_sets.grant(ada, "probes/taxi-fare", until=now + timedelta(days=40), identity=short["Dana Weiss"])
    backend.group_mappings.map(ada, "corp", "staff", "viewer")
    backend.identities.deactivate(ada, short["Goran Ilić"], "Left at the end of the month.")
    for name in ("Hana Kobayashi", "Ines Duarte"):
        backend.sessions.end_of(ada, actors[name].id, "A lost laptop.")


def _short(line: rosters.PersonLine | None) -> str:
    assert line is not None
    return line.name
