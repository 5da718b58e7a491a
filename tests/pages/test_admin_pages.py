"""Admin, the page of a person, and one's own: found, changed, refused in words, and quick with hundreds of people."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select
from streamlit.testing.v1 import AppTest

from app import wiring
from app.access_pages import scopes
from app.access_pages.bindings import NARROWINGS
from app.endpoint_pages.admin_cards import KINDS
from backend.access import requests, teams
from backend.access.bearer_claims import ANCHORS, CLAIMS, NARROWING, check_binding
from backend.access.bearer_file import Kind
from backend.access.binding_rows import BearerUse
from backend.access.rows import Identity, RoleGrant
from backend.access.rules import MATRIX
from backend.bootstrap import Backend
from backend.core.context import SYSTEM
from backend.core.errors import Refusal
from tests.pages.conftest import Open, offered, press, words

BARRED = (
    "Add a person", "Add a service", "Bind a build", "Unbind", "Give a role", "Create a team", "Give a data set",
    "Register a server", "Add a route",
)  # fmt: skip
PARTS = ("People", "Services", "Grants", "Teams", "Data sets", "Roles", "Policies", "Servers", "Sign-in", "Messages")


@pytest.mark.parametrize("part", PARTS)
def test_every_part_draws_for_whoever_may_look_and_offers_nothing_that_would_be_refused(page: Open, part: str) -> None:
    test = page("admin", "otto", part=part)
    for name in ("otto", "ana"):
        test.session_state["identity.name"] = name
        test.run()
        assert not test.exception, test.exception
        assert not test.error, words(test)
        assert not test.warning, words(test)
        if name == "ana":
            for barred in BARRED:
                assert not offered(test, barred), (part, barred)


def test_a_part_has_an_address_in_small_letters_too(page: Open) -> None:
    assert "There is no team yet" in words(page("admin", "otto", part="teams"))
    assert "Ana" in words(page("admin", "otto", part="nothing like it")), "the first part"


def crowd(backend: Backend, count: int) -> None:
    """Many people with a grant each; every tenth one ends soon."""
    with backend.database.unit(SYSTEM) as tx:
        for number in range(count):
            person = tx.add(
                Identity(id=f"idn_{number:04}", name=f"p{number:04}", display_name=f"Person {number}", created_at=tx.now)
            )
            tx.record("identity.create", person)
        tx.session.flush()
        for number in range(count):
            end = tx.now + timedelta(days=1, minutes=number) if number % 10 == 0 else None
            held = RoleGrant(
                id=f"grt_{number:04}", identity_id=f"idn_{number:04}", role="viewer", scope="*", granted_by=SYSTEM.id,
                granted_at=tx.now, expires_at=end,
            )  # fmt: skip
            tx.record("role.grant", tx.add(held))


def test_hundreds_of_people_and_grants_are_paged_and_searched(page: Open, backend: Backend) -> None:
    crowd(backend, 300)
    test = page("admin", "otto", part="People")
    assert "307 people" in words(test)
    assert len(test.dataframe[0].value) == 50
    assert list(test.dataframe[0].value)[:2] == ["Name", "Short"], "two of one name are told apart where one sees it"
    first = list(test.dataframe[0].value["Short"])
    test.button(key="people.older").click().run()
    second = list(test.dataframe[0].value["Short"])
    assert not set(first) & set(second)
    test.text_input(key="who").set_value("person 29").run()
    assert list(test.dataframe[0].value["Short"]) == ["p0029", *(f"p029{number}" for number in range(10))]
    test.text_input(key="who").set_value("").run()
    test.selectbox(key="holds").set_value("Reviewer").run()
    assert {"ben", "carla"} == set(test.dataframe[0].value["Short"])
    grants = page("admin", "otto", part="Grants")
    assert list(grants.dataframe[0].value["Who"])[:2] == ["Person 0 [p0000]", "Person 10 [p0010]"]
    assert "ending within 14 days: 30" in words(grants)
    grants.selectbox(key="ends").set_value("Ending within 14 days").run()
    assert len(grants.dataframe[0].value) == 30
    grants.selectbox(key="ends").set_value("Over").run()
    assert "No grant is like this" in words(grants)


def test_a_person_has_a_page_with_roles_and_what_can_be_done(page: Open, backend: Backend) -> None:
    test = page("person", "otto", person="ben")
    said = words(test)
    for wanted in ("Ben (reviewer)", "Reviewer", "everywhere", "no end", "No session", "No token", "ben · person"):
        assert wanted in said, wanted
    assert offered(test, "Deactivate")
    assert offered(test, "Take back")
    assert offered(test, "Give a role")
    seen = page("person", "ana", person="ben")
    assert not any(offered(seen, label) for label in ("Deactivate", "Take back", "Give a role", "Move the end"))
    assert "Sessions" not in [one.value for one in seen.subheader], "not for everybody"
    assert "Nobody is called nemo" in words(page("person", "otto", person="nemo"))
    backend.identities.deactivate(backend.identities.act_as("otto"), "carla", "Left.")
    assert offered(page("person", "otto", person="carla"), "Activate again")
    assert not offered(page("person", "otto", person="carla"), "Keep deactivated")


def test_whom_a_directory_deactivated_an_admin_keeps_off(page: Open, backend: Backend) -> None:
    with backend.database.unit(SYSTEM) as tx:
        row = tx.session.exec(select(Identity).where(Identity.name == "carla")).one()
        row.active, row.off_by = False, "scim:corp"
        tx.record("identity.deactivate", row)
    test = page("person", "otto", person="carla")
    assert "deactivated by the directory of corp" in words(test)
    press(test, "Keep deactivated")
    assert "From now on only an admin does" in words(test)
    backend.identities.deactivate(backend.identities.act_as("otto"), "carla", "Left.")
    test = page("person", "otto", person="carla")
    assert offered(test, "Activate again")
    assert not offered(test, "Keep deactivated")


def test_a_service_whose_owner_is_gone_says_so_and_is_handed_over(page: Open, backend: Backend) -> None:
    otto = backend.identities.act_as("otto")
    backend.identities.create(otto, "builds", kind="service", owner="carla")
    backend.identities.deactivate(otto, "carla", "Left.")
    assert "No active owner" in str(page("admin", "otto", part="Services").dataframe[0].value["State"][0])
    assert not offered(page("person", "ana", person="builds"), "Hand over")
    test = page("person", "otto", person="builds")
    assert "No active owner" in words(test)
    press(test, "Hand over")
    assert "Nobody hands a service to himself" in words(test)
    offers = test.selectbox(key="hand.owner").options
    assert "Ben (reviewer) [ben]" in offers
    assert not {"Otto (administrator)", "Carla (reviewer)", "builds"} & set(offers)
    backend.service_owners.hand_over(otto, "builds", "ben")
    said = words(page("person", "otto", person="builds"))
    assert "service of ben" in said
    assert "No active owner" not in said


def test_nobody_deactivates_himself_or_the_last_admin(page: Open, backend: Backend) -> None:
    otto, nora = (backend.identities.act_as(name) for name in ("otto", "nora"))
    assert not offered(page("person", "otto", person="otto"), "Deactivate")
    backend.identities.take_back(nora, "otto", "admin", reason="moves on")
    with pytest.raises(Refusal) as last:
        backend.identities.take_back(nora, "nora", "admin")
    assert last.value.code == "last-admin"
    with pytest.raises(Refusal) as gone:
        backend.identities.deactivate(otto, "nora")
    assert gone.value.code == "not-allowed"


def test_ones_own_page_shows_roles_and_makes_a_token_that_is_shown_once(page: Open, backend: Backend) -> None:
    test = page("account", "ana")
    assert "My access" in words(test)
    assert "Contributor" in words(test)
    assert not any(offered(test, label) for label in ("Give a role", "Take back", "Move the end", "Deactivate"))
    press(test, "Make a token")
    assert "shown once" in words(test)
    ana = backend.identities.act_as("ana")
    made = backend.tokens.create(ana, "laptop *x*")
    said = words(page("account", "ana"))
    assert "laptop *x*" in said
    assert "never used" in said
    assert made.text not in said
    assert offered(page("account", "ana"), "Revoke")
    assert "laptop" not in words(page("person", "ben", person="ana"))
    assert offered(page("person", "otto", person="ana"), "Revoke")
    assert not offered(page("person", "otto", person="ana"), "Make a token"), "nobody makes a token of somebody else"


def test_a_service_shows_its_owner_and_its_owner_makes_its_tokens(page: Open, backend: Backend) -> None:
    otto = backend.identities.act_as("otto")
    backend.identities.create(otto, "builds", kind="service", display_name="Build server", owner="ana")
    services = page("admin", "otto", part="Services")
    assert list(services.dataframe[0].value["Owner"]) == ["ana"]
    assert offered(page("person", "ana", person="builds"), "Make a token")
    assert not offered(page("person", "otto", person="builds"), "Make a token")
    backend.tokens.create(backend.identities.act_as("ana"), "nightly", identity="builds")
    assert list(page("admin", "otto", part="Services").dataframe[1].value["Token"]) == ["nightly"]
    assert "nightly" in words(page("account", "ana"))
    backend.identities.grant(otto, "builds", "viewer", "environment:dev")
    backend.service_owners.hand_over(otto, "builds", "ben")
    backend.identities.deactivate(otto, "ana")
    test = page("person", "otto", person="builds")
    assert "Its maker is deactivated" in words(test)
    assert "not good while whoever made it is deactivated" in words(test)
    assert offered(test, "Revoke"), "she may come back, and the token with her"


def _inside(draw: str, who: str) -> AppTest:
    """What a dialog draws, as somebody: AppTest draws a dialog of a page no more after its first click."""

    def script(draw: str, who: str) -> None:
        from app import acting, wiring
        from app.access_pages import bindings, tokens
        from app.kit import feedback

        acting.choose(who)
        acting.recall()
        wiring.look_as(acting.current())
        with feedback.shown():
            if draw == "token":
                tokens._make({who: who})
            else:
                bindings._bind({one.name: one for one in wiring.backend().bindings.profiles(acting.current())}, None)

    return AppTest.from_function(script, default_timeout=60, kwargs={"draw": draw, "who": who}).run()


def test_a_token_is_made_within_a_role_and_a_scope_and_every_list_says_so(page: Open, backend: Backend) -> None:
    ana = backend.identities.act_as("ana")
    assert offered(page("account", "ana"), "Make a token")
    test = _inside("token", "ana")
    test.text_input(key="token.name").set_value("nightly").run()
    test.selectbox(key="token.role").set_value("Reviewer").run()
    test.selectbox(key="token.where").set_value(scopes.ENVIRONMENT).run()
    test.selectbox(key=f"token.{scopes.ENVIRONMENT}").set_value("staging").run()
    press(test, "Make the token")
    assert "holds nothing that counts for a token of the role reviewer in environment:staging" in words(test)
    test.selectbox(key="token.role").set_value("Contributor").run()
    press(test, "Make the token")
    (made,) = backend.tokens.list(ana)
    assert (made.role, made.scope) == ("contributor", "environment:staging")
    assert "at most contributor, only in environment:staging" in words(page("account", "ana"))
    everybodys = next(one.value for one in page("admin", "otto", part="Services").dataframe if "Token" in one.value)
    assert list(everybodys["At most"]) == ["Contributor in environment:staging"]


ISSUERS = '[github]\nkind = "github"\ntitle = "GitHub"\naudience = "https://countersign.example.com"\n'
JOB = {"repository_id": "456789", "ref": "refs/heads/main"}


@pytest.fixture
def bound(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """With an issuer in the settings, and a service of Ana's."""
    (tmp_path / "bearer.toml").write_text(ISSUERS)
    monkeypatch.setenv("COUNTERSIGN_BEARER_FILE", str(tmp_path / "bearer.toml"))
    wiring.forget()
    again = wiring.backend()
    again.identities.create(again.identities.act_as("otto"), "builds", kind="service", display_name="Build server", owner="ana")
    return again


def test_without_issuers_the_page_says_how_a_build_is_let_in(page: Open) -> None:
    said = words(page("admin", "otto", part="Services"))
    assert "COUNTERSIGN_BEARER_FILE" in said
    assert "docs/machines.md" in said
    assert "Issuers" not in words(page("admin", "ana", part="Services")), "for admins and auditors"


def test_a_build_is_bound_by_the_dialog_and_waits_for_a_second_admin_where_it_reaches_production(
    page: Open, bound: Backend
) -> None:
    assert offered(page("admin", "otto", part="Services"), "Bind a build")
    test = _inside("binding", "otto")
    test.text_input(key="bind.github.anchor").set_value("456789").run()
    press(test, "Bind it")
    assert test.error[0].value.startswith("Not bound: "), "a repository alone is every branch of it"
    test.text_input(key="bind.ref").set_value("refs/heads/*").run()
    press(test, "Bind it")
    assert "Anybody who may push could make such a ref." in words(test)
    assert test.error[0].value.startswith("Not bound: ")
    test.text_input(key="bind.ref").set_value("refs/heads/main").run()
    test.selectbox(key="bind.role").set_value("Contributor").run()
    assert "second admin confirms it" in test.info[0].value
    otto = bound.identities.act_as("otto")
    with bound.database.read() as session:
        assert requests.lines(session, now=bound.database.now(session)) == (), "nothing was asked for so far"
    press(test, "Bind it")
    grants = page("admin", "nora", part="Grants")
    assert "to tokens of github with ref=refs/heads/main, repository_id=456789." in words(grants)
    assert offered(grants, "Confirm")
    assert bound.bindings.lines(otto) == (), "it waits"


def test_bindings_show_who_made_them_their_limits_and_the_job_that_used_them_last(
    page: Open, bound: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    otto, now = bound.identities.act_as("otto"), bound.database.now()
    made = bound.bindings.bind(otto, "builds", "github", JOB, role="contributor", scope="environment:staging")
    with bound.database.unit(SYSTEM) as tx:
        told = {"repository": "acme/flight-delay", "ref": "refs/heads/main", "run_id": "1842"}
        use = {"binding_id": made.id, "identity_id": made.identity_id, "jti": "j1", "told": told}
        tx.session.add(BearerUse(id="use", first_at=now, used_at=now, expires_at=now, **use))
    for who in ("otto", "audra"):
        said = words(page("admin", who, part="Services"))
        wanted = (
            "**builds** by github", "repository_id = 456789, ref = refs/heads/main", "bound by Otto", "no end",
            "at most contributor, only in environment:staging", "by acme/flight-delay, refs/heads/main, run 1842",
        )  # fmt: skip
        assert all(one in said for one in wanted), (who, said)
    services = page("admin", "otto", part="Services").dataframe[0].value
    assert list(services["Bindings"]) == [1]
    assert list(services["Used"]) != ["never"]
    assert "repository_id" in words(page("person", "otto", person="builds"))
    assert "456789" not in words(page("admin", "ana", part="Services"))
    assert "456789" not in words(page("person", "ana", person="builds"))
    assert not offered(page("admin", "audra", part="Services"), "Unbind")
    test = page("admin", "otto", part="Services")
    press(test, "Details")
    assert [one.value for one in test.code] == [made.id]
    test = page("admin", "otto", part="Services")
    press(test, "Unbind")
    assert "do not act as **builds** any more, from the next request on" in words(test)
    bound.bindings.unbind(otto, made.id, "The repository moved.")
    assert "No binding is like this" in words(page("admin", "otto", part="Services"))
    assert "456789" in words(page("admin", "otto", part="Services", bindings="Ended"))
    with monkeypatch.context() as before:
        before.setattr("backend.access.bearer_claims.check_binding", lambda *_: None)
        bound.bindings.bind(otto, "builds", "github", {"repository_id": "987"}, scope="environment:staging")
    said = words(page("admin", "otto", part="Services"))
    assert "No longer honoured" in said
    assert "Make it anew: Say one of environment" in said


@pytest.mark.parametrize("kind", sorted(CLAIMS))
def test_the_form_of_a_binding_asks_for_claims_that_narrow(kind: Kind) -> None:
    asked = {one.claim for one in NARROWINGS[kind]}
    assert asked <= NARROWING[kind] & CLAIMS[kind]
    assert asked or NARROWING[kind] == {ANCHORS[kind]}
    for one in NARROWINGS[kind]:
        check_binding(kind, {ANCHORS[kind]: "1", one.claim: one.example, **dict([one.besides] if one.besides else [])})


def test_keys_say_since_when_what_depends_on_them_and_how_others_take_their_place(page: Open, backend: Backend) -> None:
    otto = backend.identities.act_as("otto")
    before = backend.audit.signing_key()
    name = backend.sealing_keys.rotate(otto)
    succession = backend.audit.rotate_key(otto)
    test = page("admin", "otto", part="Servers")
    said = words(test)
    for wanted in (name, succession.next_id, "In force", "Being replaced", f"after row {succession.last_seq}", " s ago"):
        assert wanted in said, wanted
    assert before.id not in said
    assert "countersign secrets rotate" in test.code[0].value
    auditors = page("admin", "audra", part="Servers")
    assert name in words(auditors)
    assert not auditors.code, "who may not rotate is not told how"
    assert name not in words(page("admin", "ana", part="Servers"))


def test_the_matrix_on_the_page_has_every_kind_of_action() -> None:
    assert set(KINDS) == {line.action.partition(".")[0] for line in MATRIX}


def test_a_role_is_given_by_the_dialog_and_says_what_waits(page: Open, backend: Backend) -> None:
    test = page("person", "otto", person="ana")
    press(test, "Give a role")
    assert "holds **viewer** everywhere" in words(test)
    assert "a second admin confirms it" in test.info[0].value, "everywhere reaches production"


def test_teams_are_found_by_member_and_by_what_they_own(page: Open, backend: Backend) -> None:
    otto = backend.identities.act_as("otto")
    backend.teams.create(otto, "flights", "Flight *delays*")
    backend.teams.create(otto, "rides")
    backend.teams.add_member(otto, "flights", "ana")
    test = page("admin", "otto", part="Teams", team="ana")
    assert [one.value for one in test.subheader] == ["flights"]
    assert "Flight *delays*" in words(test)


def test_an_admin_of_one_team_is_offered_that_team_s_acts_alone(page: Open, backend: Backend) -> None:
    otto, nora = backend.identities.act_as("otto"), backend.identities.act_as("nora")
    for team in ("flights", "rides"):
        backend.teams.create(otto, team)
    asked = backend.identities.grant(otto, "ana", "admin", "team:flights")
    backend.confirm_request(nora, asked.id)
    test = page("admin", "ana", part="Teams")
    with backend.database.read() as session:
        ids = {one.name: one.id for one in teams.lines(session)}
    keys = {one.key for one in test.button}
    assert f"add.{ids['flights']}" in keys
    assert f"add.{ids['rides']}" not in keys
    assert not offered(test, "Create a team")


def test_outgoing_calls_of_servers_and_of_messages_are_told_apart(page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    none = words(page("admin", "olga", part="Servers"))
    for setting in ("COUNTERSIGN_ALLOWED_NETWORKS", "COUNTERSIGN_MESSAGE_NETWORKS", "COUNTERSIGN_ALLOWED_PORTS"):
        assert setting in none, setting
    assert none.count("no private range is allowed") == 2
    monkeypatch.setenv("COUNTERSIGN_MESSAGE_NETWORKS", "10.2.7.15/32")
    monkeypatch.setenv("COUNTERSIGN_ALLOWED_PORTS", "443,8000-8002")
    wiring.forget()
    said = words(page("admin", "olga", part="Servers"))
    assert "of private ones 10.2.7.15/32.  \n:gray[COUNTERSIGN_MESSAGE_NETWORKS]" in said
    assert "443,8000-8002" in said
    assert said.count("no private range is allowed") == 1, "nothing is opened to servers by it"


def test_an_address_that_may_not_be_called_is_refused_in_words(page: Open) -> None:
    test = page("admin", "olga", part="Servers")
    assert "no private range is allowed" in words(test)
    test.text_input(key="outgoing.url").set_value("http://169.254.169.254/").run()
    press(test, "Look")
    assert "not a public address" in test.warning[0].value


def test_what_is_left_of_a_session_when_somebody_comes_back(backend: Backend) -> None:
    otto = backend.identities.act_as("otto")
    backend.identities.deactivate(otto, "carla", "Lost a laptop.")
    backend.identities.activate(otto, "carla", "Found it.")
    with pytest.raises(Refusal) as own:
        backend.identities.activate(otto, "otto")
    assert own.value.code == "own-identity"
    with backend.database.read() as session:
        assert session.exec(select(Identity.active).where(Identity.name == "carla")).one()
