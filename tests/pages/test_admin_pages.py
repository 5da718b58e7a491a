"""Admin, the page of a person, and one's own: found, changed, refused in words, and quick with hundreds of people."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from backend.access.rows import Identity, RoleGrant
from backend.bootstrap import Backend
from backend.core.context import SYSTEM
from backend.core.errors import Refusal
from tests.pages.conftest import Open, offered, press, words

BARRED = ("Add a person", "Add a service", "Give a role", "Create a team", "Give a data set", "Register a server")
PARTS = ("People", "Services", "Grants", "Teams", "Data sets", "Roles", "Policies", "Servers", "Sign-in")


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
            for barred in (
                "Add a person",
                "Add a service",
                "Give a role",
                "Create a team",
                "Give a data set",
                "Register a server",
            ):
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
    assert list(grants.dataframe[0].value["Who"])[:2] == ["Person 0", "Person 10"], "the next to end first"
    assert "30 of all in force end within 14 days" in words(grants)
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
    assert "Ben (reviewer)" in offers
    assert not {"Otto (administrator)", "Carla (reviewer)", "builds"} & set(offers)
    backend.identities.hand_over(otto, "builds", "ben")
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
