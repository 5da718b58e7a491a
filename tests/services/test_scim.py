"""SCIM 2.0: a directory's people and groups, with the requests that Entra ID and Okta really send."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import select
from starlette.testclient import TestClient

from backend import bootstrap
from backend.access import directory as roles_of_directories
from backend.access import requests, scim
from backend.access.group_mappings import GroupMappings
from backend.access.rows import Identity, Request, RoleGrant
from backend.api import app as api
from backend.bootstrap import Backend
from backend.core.errors import Refusal
from backend.core.ledger import LedgerRow
from backend.settings import Settings
from tests import databases
from tests.identity_provider import CLIENT, COOKIE_SECRET, SECRET, IdentityProvider, identity_provider

AT = "/v1/scim/v2/corp"


@dataclass
class Directory:
    """The directory of one provider, and what is behind it."""

    client: TestClient
    backend: Backend
    provider: IdentityProvider
    token: str

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        headers = {"authorization": f"Bearer {token or self.token}", "content-type": "application/scim+json"}
        return self.client.request(method, path if path.startswith("/v1") else AT + path, json=body, headers=headers)

    def person(self, user_name: str = "ada@corp.test", **more: Any) -> str:
        """A new person; its id."""
        answer = self.ask("POST", "/Users", {"schemas": [scim.USER], "userName": user_name, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def group(self, name: str, *members: str) -> str:
        body = {"schemas": [scim.GROUP], "displayName": name, "members": [{"value": one} for one in members]}
        answer = self.ask("POST", "/Groups", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def patch(self, path: str, *operations: dict[str, Any]) -> Any:
        return self.ask("PATCH", path, {"schemas": [scim.PATCH], "Operations": list(operations)})

    def identity(self, shown: str) -> Identity:
        with self.backend.database.read() as session:
            return session.exec(select(Identity).where(Identity.display_name == shown)).one()

    def roles(self, shown: str) -> set[tuple[str, str]]:
        with self.backend.database.read() as session:
            query = select(RoleGrant).join(Identity).where(Identity.display_name == shown)  # type: ignore[arg-type]
            return {(one.role, one.granted_by) for one in session.exec(query)}

    def sign_in(self, **changed: Any) -> dict[str, Any]:
        told = self.provider.claims(**changed)
        cookie = {**told, "provider": "corp"}
        self.backend.sessions.open(cookie, self.provider.sign(told))
        return cookie


@pytest.fixture
def directory(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> Iterator[Directory]:
    """On a SQLite file of its own; on the kind of database that a test names."""
    named = contextmanager(databases._opened)(request, tmp_path, None) if hasattr(request, "param") else nullcontext(None)
    with named as database, identity_provider() as provider:
        file = tmp_path / "sign-in.toml"
        file.write_text(
            f'[auth]\nredirect_uri = "http://localhost:8501/oauth2callback"\ncookie_secret = "{COOKIE_SECRET}"\n'
            f'[auth.corp]\nclient_id = "{CLIENT}"\nclient_secret = "{SECRET}"\nscim_claim = "oid"\n'
            'scim_identity = "directory"\n'
            f'server_metadata_url = "{provider.issuer}/.well-known/openid-configuration"\n'
            'roles = [{ value = "ml-reviewers", role = "reviewer" }, { value = "ml-operators", role = "operator" }, '
            '{ value = "ml-admins", role = "admin" }]\n'
            f'[auth.other]\nclient_id = "{CLIENT}"\nclient_secret = "{SECRET}"\nscim_identity = "directory"\n'
            'server_metadata_url = "https://id.example.com/.well-known/openid-configuration"\n'
            f'[auth.unnamed]\nclient_id = "{CLIENT}"\nclient_secret = "{SECRET}"\n'
            'server_metadata_url = "https://id2.example.com/.well-known/openid-configuration"\n'
        )
        url = database.url.render_as_string(hide_password=False) if database is not None else None
        told = {"sign_in_file": file, "allowed_networks": "127.0.0.0/8", "demo_identities": True, "database_url": url}
        settings = Settings(data_dir=tmp_path / "data", **told)
        settings.data_dir.mkdir()
        shutil.copy(sqlite_template, settings.data_dir / "countersign.db")
        backend = bootstrap.install(settings)
        otto, nora, ana = (backend.identities.act_as(name) for name in ("otto", "nora", "ana"))
        backend.identities.create(otto, "directory", kind="service", owner="ana", display_name="Directory")
        asked = backend.identities.grant(otto, "directory", "admin")
        backend.identities.confirm_grant(nora, asked.id)
        token = backend.tokens.create(ana, "scim", identity="directory").text
        yield Directory(TestClient(api.build(lambda: backend)), backend, provider, token)
        backend.close()


def test_without_a_token_or_the_right_nothing_is_answered(directory: Directory) -> None:
    assert directory.client.get(f"{AT}/Users").status_code == 401
    ana = directory.backend.tokens.create(directory.backend.identities.act_as("ana"), "mine").text
    for method, path in (("GET", "/Users"), ("GET", "/Groups"), ("GET", "/Users/x"), ("DELETE", "/Users/x")):
        answer = directory.ask(method, path, token=ana)
        assert answer.status_code == 403, (method, path)
        assert answer.json()["schemas"] == [scim.ERROR]
    answer = directory.ask("POST", "/Users", {"userName": "eve"}, token=ana)
    assert answer.status_code == 403
    with pytest.raises(Exception, match="No row"):
        directory.identity("eve")


def test_an_admin_tells_of_nobody_and_another_service_with_the_role_neither(directory: Directory) -> None:
    """Whoever makes up a group gives the roles that it is mapped to, and nobody confirms that."""
    backend = directory.backend
    otto, nora, olga = (backend.identities.act_as(name) for name in ("otto", "nora", "olga"))
    backend.identities.create(otto, "elsewhere", kind="service", owner="olga")
    backend.identities.confirm_grant(nora, backend.identities.grant(otto, "elsewhere", "admin").id)
    tokens = [backend.tokens.create(otto, "mine").text, backend.tokens.create(olga, "its", identity="elsewhere").text]
    row = directory.person(displayName="Ada")
    group = {"schemas": [scim.GROUP], "displayName": "ml-reviewers", "members": [{"value": row}]}
    for token in tokens:
        for method, path, body in (
            ("POST", "/Users", {"schemas": [scim.USER], "userName": "puppet@corp.test"}),
            ("POST", "/Groups", group),
            ("DELETE", f"/Users/{row}", None),
            ("GET", "/Users", None),
            ("GET", f"/Users/{row}", None),
        ):
            answer = directory.ask(method, path, body, token=token)
            assert answer.status_code == 403, (method, path)
            assert "scim_identity" in answer.json()["detail"]
    assert directory.roles("Ada") == set()


def test_whoever_owns_the_directorys_service_gets_no_role_by_it(directory: Directory) -> None:
    row = directory.person(externalId="o-9", displayName="Ada")
    backend = directory.backend
    asked = backend.service_owners.hand_over(backend.identities.act_as("otto"), "directory", directory.identity("Ada").name)
    assert isinstance(asked, Request)
    backend.service_owners.confirm(backend.identities.act_as("nora"), asked.id)
    directory.group("ml-reviewers", row, directory.person("bob@corp.test", displayName="Bob"))
    assert directory.roles("Ada") == set()
    assert directory.roles("Bob") == {("reviewer", "scim:corp")}
    directory.sign_in(oid="o-9", name="Ada", groups=[])
    assert directory.roles("Ada") == set()
    asked = backend.service_owners.hand_over(backend.identities.act_as("otto"), "directory", "ben")
    assert isinstance(asked, Request)
    backend.service_owners.confirm(backend.identities.act_as("nora"), asked.id)
    directory.group("ml-operators", row)
    directory.sign_in(oid="o-9", name="Ada", groups=[])
    assert directory.roles("Ada") == set(), "it was hers when she told of herself"


def test_a_provider_without_a_service_of_its_own_has_no_directory(directory: Directory) -> None:
    assert directory.ask("GET", "/v1/scim/v2/unnamed/Users").status_code == 403
    assert directory.ask("POST", "/v1/scim/v2/unnamed/Groups", {"displayName": "ml-reviewers"}).status_code == 403


def test_a_person_of_the_directory_is_an_identity_and_is_told_back(directory: Directory) -> None:
    row = directory.person(
        externalId="e-1",
        name={"givenName": "Ada", "familyName": "Lovelace"},
        emails=[{"value": "ada@corp.test", "primary": True}],
    )
    told = directory.ask("GET", f"/Users/{row}").json()
    assert (told["userName"], told["externalId"], told["displayName"], told["active"]) == (
        "ada@corp.test",
        "e-1",
        "Ada Lovelace",
        True,
    )
    assert told["emails"][0]["value"] == "ada@corp.test"
    assert told["meta"]["location"].endswith(f"{AT}/Users/{row}")
    found = directory.identity("Ada Lovelace")
    assert (found.name, found.active, found.is_demo) == ("ada", True, False)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('filter=userName eq "ADA@corp.test"', ["ada@corp.test"]),
        ('filter=externalId eq "e-2"', ["bob@corp.test"]),
        ('filter=userName eq "nobody"', []),
        ("count=1", ["ada@corp.test"]),
        ("startIndex=2&count=5", ["bob@corp.test"]),
        ("startIndex=9", []),
        ("", ["ada@corp.test", "bob@corp.test"]),
    ],
)
def test_people_are_found(directory: Directory, query: str, names: list[str]) -> None:
    directory.person("ada@corp.test", externalId="e-1")
    directory.person("bob@corp.test", externalId="e-2")
    told = directory.ask("GET", f"/Users?{query}").json()
    assert [one["userName"] for one in told["Resources"]] == names
    assert told["schemas"] == [scim.LIST]
    assert told["totalResults"] == (len(names) if "filter" in query else 2)


def test_one_user_name_is_one_person_and_another_directory_sees_nothing(directory: Directory) -> None:
    row = directory.person("ada@corp.test")
    again = directory.ask("POST", "/Users", {"userName": "Ada@Corp.test"})
    assert (again.status_code, again.json()["scimType"]) == (409, "uniqueness")
    other = "/v1/scim/v2/other"
    assert directory.ask("GET", f"{other}/Users/{row}").status_code == 404
    assert directory.ask("DELETE", f"{other}/Users/{row}").status_code == 404
    assert directory.ask("GET", f"{other}/Users").json()["totalResults"] == 0
    group = directory.ask("POST", f"{other}/Groups", {"displayName": "x", "members": [{"value": row}]})
    assert group.status_code == 404
    assert directory.ask("GET", "/v1/scim/v2/nowhere/Users").status_code == 404


DEACTIVATIONS = {
    "okta": {"op": "replace", "value": {"active": False}},
    "entra": {"op": "Replace", "path": "active", "value": "False"},
    "with-the-schema": {"op": "replace", "path": f"{scim.USER}:active", "value": False},
}


@pytest.mark.parametrize("how", DEACTIVATIONS)
def test_a_deactivation_counts_at_once_and_can_be_taken_back(directory: Directory, how: str) -> None:
    row = directory.person(externalId="o-1", displayName="Ada")
    cookie = directory.sign_in(oid="o-1", name="Ada")
    answer = directory.patch(f"/Users/{row}", DEACTIVATIONS[how])
    assert (answer.status_code, answer.json()["active"]) == (200, False)
    with pytest.raises(Refusal) as refused:
        directory.backend.sessions.resume(cookie)
    assert refused.value.code == "deactivated"
    with pytest.raises(Refusal, match="was deactivated"):
        directory.sign_in(oid="o-1", name="Ada", nonce="n-2")
    assert directory.patch(f"/Users/{row}", {"op": "replace", "path": "active", "value": True}).json()["active"] is True
    assert directory.sign_in(oid="o-1", name="Ada", nonce="n-3")
    with pytest.raises(Refusal):
        directory.backend.sessions.resume(cookie)


def test_who_was_deactivated_by_hand_is_not_activated_from_outside(directory: Directory) -> None:
    row = directory.person(displayName="Ada")
    directory.backend.identities.deactivate(directory.backend.identities.act_as("otto"), "ada")
    answer = directory.ask("PUT", f"/Users/{row}", {"userName": "ada@corp.test", "displayName": "Ada", "active": True})
    assert answer.json()["active"] is False
    assert not directory.identity("Ada").active


def test_a_deleted_person_is_deactivated_and_stays_for_the_ledger(directory: Directory) -> None:
    row = directory.person(displayName="Ada")
    directory.group("ml-reviewers", row)
    assert directory.roles("Ada") == {("reviewer", "scim:corp")}
    assert directory.ask("DELETE", f"/Users/{row}").status_code == 204
    assert directory.ask("GET", f"/Users/{row}").status_code == 404
    assert not directory.identity("Ada").active
    assert directory.roles("Ada") == set()


def test_the_first_sign_in_finds_whom_the_directory_announced(directory: Directory) -> None:
    directory.person(externalId="o-1", displayName="Ada")
    directory.sign_in(oid="o-1", name="Ada L.", sub="pairwise-1")
    assert directory.identity("Ada L.").name == "ada"
    directory.sign_in(oid="o-2", name="Bob", sub="pairwise-2", nonce="n-2")
    directory.sign_in(oid="o-1", name="Eve", sub="pairwise-3", nonce="n-3")
    assert directory.identity("Eve").id != directory.identity("Ada L.").id, "it is taken already"


def test_what_admins_gave_before_the_first_sign_in_goes_to_nobody_else_by_another_id(directory: Directory) -> None:
    backend = directory.backend
    otto, nora = (backend.identities.act_as(name) for name in ("otto", "nora"))
    vera = directory.person("vera@corp.test", externalId="oid-vera", displayName="Vera")
    name = directory.identity("Vera").name

    def moved(to: str = "oid-mallory") -> int:
        return int(directory.patch(f"/Users/{vera}", {"op": "replace", "path": "externalId", "value": to}).status_code)

    asked = _id(backend.identities.grant(otto, name, "operator"))
    with backend.database.read() as session:
        says = requests.line(session, asked, now=backend.database.now(session)).says
    told = "of whom only the directory of corp told, and who has not signed in yet"
    assert says == f"Give Vera [{name}] ({told}) the role operator everywhere."
    backend.identities.confirm_grant(nora, asked)
    put = {"schemas": [scim.USER], "userName": "vera@corp.test", "externalId": "", "displayName": "Vera"}
    assert (moved(), moved(""), moved("oid-vera")) == (400, 400, 200)
    assert directory.ask("PUT", f"/Users/{vera}", put).status_code == 400
    directory.sign_in(sub="u-mallory", oid="oid-mallory", name="Mallory", preferred_username="mallory", email="m@corp.test")
    assert directory.roles("Mallory") == {("admin", "claims:corp")}, "what her own groups say"
    assert directory.identity("Mallory").name != name
    backend.identities.take_back(otto, name, "operator")
    backend.teams.create(otto, "t")
    backend.teams.add_member(otto, "t", name)
    assert moved("oid-other") == 400
    backend.teams.remove_member(otto, "t", name)
    directory.group("ml-operators", vera)
    assert moved("oid-other") == 200, "what its groups gave is the directory's to say"


def _id(made: object) -> str:
    assert isinstance(made, Request)
    return made.id


def test_groups_of_the_directory_give_roles_at_once_and_beside_those_of_the_sign_in(directory: Directory) -> None:
    row = directory.person(externalId="o-1", displayName="Ada")
    group = directory.group("ml-reviewers", row)
    assert directory.roles("Ada") == {("reviewer", "scim:corp")}
    directory.sign_in(oid="o-1", name="Ada", groups=["ml-operators", "ml-reviewers"])
    assert directory.roles("Ada") == {("reviewer", "scim:corp"), ("operator", "claims:corp")}
    directory.sign_in(oid="o-1", name="Ada", groups=None, hasgroups=True, nonce="n-2")
    assert directory.roles("Ada") == {("reviewer", "scim:corp")}, "groups that Entra left out of the token"
    directory.patch(f"/Groups/{group}", {"op": "remove", "path": f'members[value eq "{row}"]'})
    assert directory.roles("Ada") == set()
    directory.patch(f"/Groups/{group}", {"op": "Add", "path": "members", "value": [{"value": row}]})
    directory.patch(f"/Groups/{group}", {"op": "replace", "value": {"displayName": "ml-operators"}})
    assert directory.roles("Ada") == {("operator", "scim:corp")}
    directory.patch(f"/Groups/{group}", {"op": "replace", "path": "members", "value": []})
    assert directory.roles("Ada") == set()
    directory.patch(f"/Groups/{group}", {"op": "add", "path": "members", "value": [{"value": row}]})
    assert directory.ask("DELETE", f"/Groups/{group}").status_code == 204
    assert directory.roles("Ada") == set()


def test_a_role_that_a_sign_in_told_first_is_the_directorys_once_it_says_so(directory: Directory) -> None:
    """It has no end then, and ends at once when the directory takes the person out."""
    row = directory.person(externalId="o-1", displayName="Ada")
    directory.sign_in(oid="o-1", name="Ada", groups=["ml-operators", "ml-reviewers"])
    group = directory.group("ml-operators", row)
    assert directory.roles("Ada") == {("operator", "scim:corp"), ("reviewer", "claims:corp")}
    with directory.backend.database.read() as session:
        assert session.exec(select(RoleGrant.expires_at).where(RoleGrant.granted_by == "scim:corp")).all() == [None]
    directory.sign_in(oid="o-1", name="Ada", groups=["ml-operators"], nonce="n-2")
    directory.patch(f"/Groups/{group}", {"op": "replace", "path": "members", "value": []})
    assert directory.roles("Ada") == set()


def test_a_member_more_or_less_touches_nobody_else(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of thousands would else be worked through, under the database's lock, for each."""
    ada, bob, eve = (directory.person(f"{name}@corp.test") for name in ("ada", "bob", "eve"))
    group, touched = directory.group("ml-reviewers", ada, bob), list[set[str]]()
    real = roles_of_directories.roles_up_to_date

    def watched(tx: Any, provider: Any, user_ids: Any, *, demo: bool) -> None:
        touched.append(set(user_ids))
        real(tx, provider, touched[-1], demo=demo)

    monkeypatch.setattr(roles_of_directories, "roles_up_to_date", watched)
    for operation in (
        {"op": "add", "path": "members", "value": [{"value": eve}]},
        {"op": "remove", "path": f'members[value eq "{ada}"]'},
        {"op": "replace", "value": {"displayName": "ml-operators"}},
    ):
        directory.patch(f"/Groups/{group}", operation)
    assert touched == [{eve}, {ada}, {bob, eve}]


def test_a_large_group_asks_the_database_no_more_often_than_a_small_one(directory: Directory) -> None:
    """SQLite's one writer waits while it is made: statements for each member made a thousand of them take seconds."""
    people = [directory.person(f"one-{number}@corp.test") for number in range(24)]

    def asked(name: str, members: list[str]) -> int:
        statements = list[str]()
        engine = directory.backend.database.engine
        sa.event.listen(engine, "before_cursor_execute", watched := lambda *told: statements.append(told[2]))
        try:
            directory.group(name, *members)
        finally:
            sa.event.remove(engine, "before_cursor_execute", watched)
        return len(statements)

    assert asked("few", people[:2]) == asked("many", people[2:])
    with directory.backend.database.read() as session:
        assert len(session.exec(select(RoleGrant).where(RoleGrant.role == "reviewer")).all()) == 2, "those of the demo"
    asked("ml-reviewers", people)
    with directory.backend.database.read() as session:
        assert len(session.exec(select(RoleGrant).where(RoleGrant.role == "reviewer")).all()) == 26
    odd = {"displayName": "odd", "members": [{"value": people[0]}, {"value": "scu_nobody"}]}
    assert directory.ask("POST", "/Groups", odd).status_code == 404


def test_a_group_is_told_back_with_or_without_its_members(directory: Directory) -> None:
    row = directory.person()
    group = directory.group("team", row)
    assert directory.ask("GET", f"/Groups/{group}").json()["members"] == [{"value": row}]
    assert "members" not in directory.ask("GET", f"/Groups/{group}?excludedAttributes=members").json()
    told = directory.ask("GET", '/Groups?filter=displayName eq "team"').json()
    assert [one["id"] for one in told["Resources"]] == [group]
    assert directory.ask("POST", "/Groups", {"displayName": "team"}).status_code == 409


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/Users", None),
        ("POST", "/Users", []),
        ("POST", "/Users", {"userName": ""}),
        ("POST", "/Users", {"userName": "x" * 300}),
        ("POST", "/Users", {"userName": "a\nb"}),
        ("POST", "/Users", {"userName": {"a": 1}}),
        ("POST", "/Users", {"userName": "a", "active": "perhaps"}),
        ("POST", "/Users", {"userName": "a", "name": "Ada"}),
        ("POST", "/Groups", {"displayName": "g", "members": [{"value": 7}]}),
        ("POST", "/Groups", {"displayName": "g", "members": ["x"]}),
        ("POST", "/Groups", {"displayName": "g", "members": [{"value": "a\0b"}]}),
        ("GET", '/Users?filter=userName sw "a"', None),
        ("GET", '/Users?filter=userName eq "a" or id eq "b"', None),
        ("GET", '/Users?filter=password eq "a"', None),
        ("GET", '/Users?filter=displayName eq "a"', None),
        ("GET", "/Users?count=many", None),
        ("PATCH", "/Users/ID", {"Operations": []}),
        ("PATCH", "/Users/ID", {"schemas": [scim.PATCH], "Operations": [{"op": "move", "path": "active"}]}),
        ("PATCH", "/Users/ID", {"schemas": [scim.PATCH], "Operations": [{"op": "remove"}]}),
        ("PATCH", "/Users/ID", {"schemas": [scim.PATCH], "Operations": [{"op": "remove", "path": "active"}]}),
        ("PATCH", "/Users/ID", {"schemas": [scim.PATCH], "Operations": [{"op": "add", "value": "x"}]}),
        ("PATCH", "/Users/ID", {"schemas": [scim.PATCH], "Operations": [{"op": "add", "path": "title", "value": 1}] * 101}),
    ],
    ids=str,
)
def test_what_cannot_be_understood_is_400_and_changes_nothing(directory: Directory, method: str, path: str, body: Any) -> None:
    row = directory.person()
    before = directory.ask("GET", f"/Users/{row}").json()
    answer = directory.ask(method, path.replace("ID", row), body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["schemas"] == [scim.ERROR]
    assert answer.headers["content-type"].startswith("application/scim+json")
    assert directory.ask("GET", f"/Users/{row}").json() == before
    assert directory.ask("GET", "/Users").json()["totalResults"] == 1


def test_what_is_not_kept_here_is_passed_over(directory: Directory) -> None:
    row = directory.person()
    answer = directory.patch(
        f"/Users/{row}",
        {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "ML"},
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "new@corp.test"},
        {"op": "replace", "path": "name.formatted", "value": "Ada L."},
    )
    assert answer.status_code == 200
    assert (answer.json()["displayName"], answer.json()["emails"][0]["value"]) == ("Ada L.", "new@corp.test")


def test_an_unreadable_body_and_an_unknown_place_are_told_in_the_protocols_shape(directory: Directory) -> None:
    headers = {"authorization": f"Bearer {directory.token}"}
    assert directory.client.post(f"{AT}/Users", content=b"{", headers=headers).status_code == 400
    assert directory.client.post(f"{AT}/Users", content=b"[" * 100_000, headers=headers).status_code == 400
    for path, status in (("/Bulk", 404), ("/Me", 404)):
        answer = directory.ask("GET", path)
        assert (answer.status_code, answer.json()["schemas"]) == (status, [scim.ERROR])
    assert directory.ask("PUT", "/Users").status_code == 405
    assert directory.ask("GET", "/ServiceProviderConfig").json()["patch"] == {"supported": True}
    assert directory.ask("GET", "/ResourceTypes").json()["totalResults"] == 2


def test_no_name_and_no_address_stands_in_the_ledger(directory: Directory) -> None:
    from backend.core.ledger import LedgerRow

    row = directory.person("ada.lovelace@corp.test", displayName="Ada Lovelace", externalId="planted-id")
    directory.group("planted-group", row)
    directory.ask("DELETE", f"/Users/{row}")
    with directory.backend.database.read() as session:
        said = "".join(f"{one.before_json}{one.after_json}{one.subject_id}" for one in session.exec(select(LedgerRow)))
    for planted in ("lovelace", "Lovelace", "planted"):
        assert planted not in said


@pytest.mark.parametrize("late", [False, True], ids=["told-at-once", "told-by-a-later-patch"])
def test_a_directory_that_is_connected_later_shuts_out_whoever_signed_in_before(directory: Directory, late: bool) -> None:
    cookie = directory.sign_in(oid="o-9", name="Ben Early", sub="pairwise-9", groups=["ml-operators"])
    row = directory.person("ben.early@corp.test", displayName="Ben Early", **({} if late else {"externalId": "o-9"}))
    if late:
        directory.patch(f"/Users/{row}", {"op": "Add", "path": "externalId", "value": "o-9"})
    answer = directory.patch(f"/Users/{row}", DEACTIVATIONS["entra"])
    assert (answer.status_code, answer.json()["active"]) == (200, False)
    with pytest.raises(Refusal, match="was deactivated"):
        directory.backend.sessions.resume(cookie)
    with pytest.raises(Refusal, match="was deactivated"):
        directory.sign_in(oid="o-9", name="Ben Early", sub="pairwise-9", nonce="n-2")


@pytest.mark.parametrize("active", [True, False])
def test_a_login_whose_id_was_not_known_yet_meets_the_directory_at_the_next_sign_in(directory: Directory, active: bool) -> None:
    old = directory.sign_in(name="Ben", sub="pairwise-9", groups=[])
    row = directory.person("ben@corp.test", externalId="o-9", displayName="Ben of the directory")
    directory.group("ml-reviewers", row)
    directory.patch(f"/Users/{row}", {"op": "replace", "path": "active", "value": active})
    if active:
        directory.sign_in(oid="o-9", name="Ben", sub="pairwise-9", groups=[], nonce="n-2")
    else:
        with pytest.raises(Refusal, match="was deactivated"):
            directory.sign_in(oid="o-9", name="Ben", sub="pairwise-9", groups=[], nonce="n-2")
        with pytest.raises(Refusal, match="was deactivated"):
            directory.backend.sessions.resume(old)
    assert directory.roles("Ben") == {("reviewer", "scim:corp")}
    assert directory.roles("Ben of the directory") == set()
    assert directory.identity("Ben").active is active
    assert not directory.identity("Ben of the directory").active


def test_who_is_deleted_and_told_anew_is_the_same_and_can_be_shut_out_again(directory: Directory) -> None:
    row = directory.person("zoe@corp.test", externalId="o-5", displayName="Zoe")
    directory.sign_in(oid="o-5", name="Zoe", sub="pairwise-5")
    before = directory.identity("Zoe").id
    directory.ask("DELETE", f"/Users/{row}")
    row = directory.person("zoe@corp.test", externalId="o-5", displayName="Zoe", active=True)
    assert directory.ask("GET", f"/Users/{row}").json()["active"] is True
    cookie = directory.sign_in(oid="o-5", name="Zoe", sub="pairwise-5", nonce="n-2")
    assert directory.identity("Zoe").id == before
    directory.patch(f"/Users/{row}", DEACTIVATIONS["okta"])
    with pytest.raises(Refusal, match="was deactivated"):
        directory.backend.sessions.resume(cookie)


def test_what_an_admin_switched_off_after_the_directory_stays_off(directory: Directory) -> None:
    row = directory.person("zoe@corp.test", externalId="o-5", displayName="Zoe")
    directory.sign_in(oid="o-5", name="Zoe", sub="pairwise-5")
    directory.ask("DELETE", f"/Users/{row}")
    otto = directory.backend.identities.act_as("otto")
    directory.backend.identities.activate(otto, "zoe")
    directory.backend.identities.deactivate(otto, "zoe")
    row = directory.person("zoe@corp.test", externalId="o-5", displayName="Zoe", active=True)
    assert directory.ask("GET", f"/Users/{row}").json()["active"] is False


def test_what_the_directory_switched_off_is_kept_off_by_an_admin(directory: Directory) -> None:
    row = directory.person(displayName="Ada")
    directory.patch(f"/Users/{row}", DEACTIVATIONS["okta"])
    otto = directory.backend.identities.act_as("otto")
    for _ in range(2):
        directory.backend.identities.deactivate(otto, "ada", "Compromised.")
    assert directory.patch(f"/Users/{row}", {"op": "replace", "path": "active", "value": True}).json()["active"] is False
    with directory.backend.database.read() as session:
        query = select(LedgerRow.after_json).where(LedgerRow.action == "identity.deactivate").order_by(LedgerRow.seq)
        assert [one for one in session.exec(query) if one is not None and "Compromised" in one] == [
            '{"active":false,"reason":"Compromised."}'
        ]


def test_the_last_admin_is_neither_deactivated_nor_loses_the_role_by_the_directory(directory: Directory) -> None:
    row = directory.person(externalId="o-1", displayName="Ada")
    group = directory.group("ml-admins", row)
    cookie = directory.sign_in(oid="o-1", name="Ada", groups=["ml-admins"])
    found = directory.backend.sessions.resume(cookie)
    assert found is not None
    for name in ("otto", "nora"):
        directory.backend.identities.deactivate(found.actor, name)
    for answer in (directory.patch(f"/Users/{row}", DEACTIVATIONS["okta"]), directory.ask("DELETE", f"/Users/{row}")):
        assert (answer.status_code, "Nobody else is an admin" in answer.json()["detail"]) == (409, True)
    directory.patch(f"/Groups/{group}", {"op": "replace", "path": "members", "value": []})
    assert directory.roles("Ada") == {("admin", "scim:corp")}
    directory.sign_in(oid="o-1", name="Ada", groups=[], nonce="n-2")
    assert directory.roles("Ada") == {("admin", "scim:corp")}
    directory.backend.identities.activate(found.actor, "otto")
    directory.sign_in(oid="o-1", name="Ada", groups=[], nonce="n-3")
    assert directory.roles("Ada") == set()


def test_a_mapping_counts_for_a_directorys_group_as_soon_as_it_is_confirmed_and_no_longer_than_it_is_there(
    directory: Directory,
) -> None:
    directory.group("g1", directory.person(displayName="Kim"))
    mappings = directory.backend.group_mappings
    otto, nora = (directory.backend.identities.act_as(name) for name in ("otto", "nora"))
    asked = mappings.map(otto, "corp", "g1", "operator", "environment:production")
    assert directory.roles("Kim") == set()
    made = mappings.confirm(nora, asked.id)
    assert directory.roles("Kim") == {("operator", "scim:corp")}
    mappings.unmap(otto, made.id)
    assert directory.roles("Kim") == set()


@pytest.mark.parametrize("directory", ["sqlite", "postgresql"], indirect=True)
def test_what_left_the_settings_gives_nothing_from_the_next_start_on(directory: Directory) -> None:
    directory.group("ml-reviewers", directory.person(displayName="Kim"))
    backend, settings = directory.backend, directory.backend.sign_in
    assert settings is not None
    corp, other = settings.providers[:2]
    fewer = corp.model_copy(update={"roles": corp.roles[1:]})
    for left in (None, settings.model_copy(update={"providers": (corp, other)})):
        GroupMappings(backend.database, left).settle()
        assert directory.roles("Kim") == {("reviewer", "scim:corp")}
    GroupMappings(backend.database, settings.model_copy(update={"providers": (fewer, other)})).settle()
    assert directory.roles("Kim") == set()
    backend.group_mappings.settle()
    assert directory.roles("Kim") == {("reviewer", "scim:corp")}
    GroupMappings(backend.database, settings.model_copy(update={"providers": (other,)})).settle()
    assert directory.roles("Kim") == set()
    bootstrap.prepare(backend)
    assert directory.roles("Kim") == {("reviewer", "scim:corp")}
