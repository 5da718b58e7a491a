"""Photograph the pages: every state that matters, 1440 x 900 and 1024 x 768, light and dark. Run by `make shots`.

    python scripts/shots.py [WORD ...] [--out shots] [--whole]

Words choose the states whose name holds one of them. To add a state, add a line to `SHOTS`; what it needs in the database is
put there by its installation (`fresh`: just migrated; `busy`: people have worked in it; `full`: `tests.installations`; `house`:
people sign in at a provider, `tests.sign_in_story`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import sync_playwright

from backend import bootstrap
from backend.access import rosters
from backend.bootstrap import Backend
from backend.core.context import Actor
from backend.settings import Settings
from tests.browsers import FLAGS, Visit, serve, visit
from tests.found import found_lately
from tests.installations import CHURN, FLIGHTS, PRODUCTION, populated
from tests.model_story import BAGS, told
from tests.sign_in_story import House, house
from tests.tried import SLUG, tried
from tests.watched import watched

SIZES = ((1440, 900), (1024, 768))
SCHEMES = ("light", "dark")
Act = Callable[[Visit], object]


@dataclass(frozen=True)
class Shot:
    """One state: its name, which is the file's; whose page, where, and what is done before the picture."""

    name: str
    path: str
    title: str
    identity: str | None = "otto"
    act: Act | None = None
    installation: str = "busy"


def press(button: str) -> Act:
    """Clicks a button and waits for what it opens."""

    def act(seen: Visit) -> None:
        seen.page.get_by_role("button", name=button).first.click()
        seen.page.wait_for_timeout(800)

    return act


def scrolled(card: str) -> Act:
    """Scrolls to a card, so that it stands at the top of the window."""
    return lambda seen: seen.page.get_by_role("heading", name=card).evaluate("one => one.scrollIntoView()")


def choose(label: str, option: str) -> Act:
    """Chooses an option of a select box, and waits for what it changes."""

    def act(seen: Visit) -> None:
        seen.page.get_by_role("combobox", name=label).click()
        seen.page.get_by_role("option", name=option).click()
        seen.drawn().page.wait_for_timeout(800)

    return act


PARTS = ("People", "Services", "Grants", "Teams", "Data sets", "Roles", "Policies", "Servers", "Sign-in", "Messages")
"""Of the Admin page."""
_TRIED = f"/experiment?endpoint=taxi-fare&experiment={SLUG}"
_WATCHED = f"/monitoring?endpoint={PRODUCTION}"

SHOTS: tuple[Shot, ...] = (
    Shot("sign-in", "/", "Whom do you act as?", None),
    Shot("overview", "/", "Overview"),
    Shot("overview-fresh", "/", "Overview", installation="fresh"),
    Shot("overview-not-allowed", "/", "Overview", "ana"),
    Shot("models", "/models", "Models", "ana", installation="full"),
    Shot("models-filtered", "/models?q=flight&live=production", "Models", "ana", installation="full"),
    Shot("models-no-match", "/models?q=nothing+like+that", "Models", "ana", installation="full"),
    Shot("models-unread", "/models", "Models", "ana"),
    Shot("models-no-registry", "/models", "Models", "audra", installation="fresh"),
    Shot("model", f"/model?model={quote(FLIGHTS)}", FLIGHTS, "ana", installation="full"),
    Shot("model-not-registered", f"/model?model={quote(FLIGHTS)}&version=5", FLIGHTS, "ana", installation="full"),
    Shot("model-pickled", f"/model?model={quote(BAGS)}&version=2", BAGS, "olga", installation="full"),
    Shot("model-aliases", f"/model?model={quote(BAGS)}&version=3", BAGS, "ana", scrolled("Aliases"), "full"),
    Shot("model-lineage", f"/model?model={quote(FLIGHTS)}", FLIGHTS, "ana", scrolled("Lineage"), "full"),
    Shot("model-hostile", f"/model?model={quote(CHURN)}&version=1", "churn", "audra", installation="full"),
    Shot("model-unknown", "/model?model=nothing", "Model", "ana", installation="full"),
    Shot("card-edit", f"/card?model={quote(FLIGHTS)}", "Card", "ana", installation="full"),
    Shot("card-old", f"/card?model={quote(FLIGHTS)}&revision=1", "Card", "ana", installation="full"),
    Shot("card-read", f"/card?model={quote(CHURN)}", "Card", "audra", installation="full"),
    Shot("register", f"/register?model={quote(BAGS)}", "Register", "ana", installation="full"),
    Shot("register-upload", f"/register?model={quote(BAGS)}&how=upload", "Register", "ana", installation="full"),
    Shot("register-not-allowed", "/register", "Register", "ben", installation="full"),
    Shot("approvals", "/approvals", "Approvals", "carla", installation="full"),
    Shot("approvals-requester", "/approvals", "Approvals", "ana", installation="full"),
    Shot("approvals-filtered", "/approvals?state=In+review", "Approvals", "audra", installation="full"),
    Shot("approvals-no-match", "/approvals?text=nothing+like+it", "Approvals", "audra", installation="full"),
    Shot("approvals-fresh", "/approvals", "Approvals", "ana", installation="fresh"),
    Shot("change-review", "/change?change=16", "Better", "carla", installation="full"),
    Shot("change-requester", "/change?change=16", "Better", "ana", installation="full"),
    Shot("change-approve", "/change?change=16", "Better", "carla", press("Approve"), "full"),
    Shot("change-not-now", "/change?change=16", "Better", "ben", press("Not now"), "full"),
    Shot("change-stale", "/change?change=15", "Version 3", "ana", installation="full"),
    Shot("change-waits-for-start", "/change?change=17", "Version 2", "olga", installation="full"),
    Shot("change-start", "/change?change=17", "Version 2", "olga", press("Start now"), "full"),
    Shot("change-applying", "/change?change=18", "Version 2", "olga", installation="full"),
    Shot("change-suspended", "/change?change=13", "Version 2", "ana", installation="full"),
    Shot("change-draw-anew", "/change?change=13", "Version 2", "ana", press("Draw anew"), "full"),
    Shot("change-blocked", "/change?change=19", "Version 2", "ana", installation="full"),
    Shot("change-done", "/change?change=14", "Version 3", "ben", installation="full"),
    Shot("change-rejected", "/change?change=11", "Version 4", "audra", installation="full"),
    Shot("change-unknown", "/change?change=999", "Change", "ben", installation="full"),
    Shot("propose-empty", "/propose", "Propose a change", "ana", installation="full"),
    Shot("propose", "/propose?endpoint=flight-delay&version=3", "Propose a change", "ana", installation="full"),
    Shot(
        "propose-at-a-time",
        "/propose?endpoint=flight-delay&version=3",
        "Propose a change",
        "ana",
        choose("It starts", "At a time"),
        "full",
    ),
    Shot("propose-edit", "/propose?change=16", "Edit change", "ana", installation="full"),
    Shot("propose-not-allowed", "/propose", "Propose a change", "ben", installation="full"),
    Shot("experiments", "/experiments", "Experiments", "ana", installation="full"),
    Shot("experiments-fresh", "/experiments", "Experiments", "ana", installation="fresh"),
    Shot("experiment", _TRIED, "", "ana", installation="full"),
    Shot("experiment-decide", _TRIED, "", "ana", press("Decide"), "full"),
    Shot("experiment-unknown", "/experiment?endpoint=nothing", "Experiment", "ana", installation="full"),
    Shot("design", "/design?endpoint=taxi-fare-eu", "Design an experiment", "ana", installation="full"),
    Shot("monitoring", "/monitoring", "Monitoring", "ana", installation="full"),
    Shot("monitoring-unknown", "/monitoring?endpoint=nothing", "Monitoring", "ana", installation="full"),
    *[
        Shot(f"monitoring-{part.lower()}", f"{_WATCHED}&part={part}", "Monitoring", "ana", installation="full")
        for part in ("Drift", "Predictions", "Latency", "Monitors", "Reports")
    ],
    Shot("monitoring-ask", f"{_WATCHED}&part=Reports", "Monitoring", "ana", press("Ask for a report"), "full"),
    Shot("monitoring-pause", f"{_WATCHED}&part=Monitors", "Monitoring", "olga", press("Pause"), "full"),
    Shot("monitoring-fresh", "/monitoring", "Monitoring", "ana", installation="fresh"),
    Shot("overview-findings", "/", "Overview", "olga", scrolled("Findings"), "full"),
    Shot("findings", "/findings", "Findings", "olga", installation="full"),
    Shot("findings-filtered", "/findings?severity=Critical&state=Any", "Findings", "ana", installation="full"),
    Shot("findings-no-match", "/findings?endpoint=nothing-there", "Findings", "ana", installation="full"),
    Shot("findings-fresh", "/findings", "Findings", "ana", installation="fresh"),
    Shot("findings-test", "/findings", "Findings", "olga", press("Test the alarm"), "full"),
    Shot("finding", "/finding?finding=4", "schema", "olga", installation="full"),
    Shot("finding-looked-after", "/finding?finding=2", "distance", "ben", installation="full"),
    Shot("finding-acknowledge", "/finding?finding=4", "schema", "olga", press("Acknowledge"), "full"),
    Shot("finding-unknown", "/finding?finding=99", "Finding", "ana", installation="full"),
    Shot("audit", "/audit", "Audit", "audra"),
    Shot("audit-verified", "/audit", "Audit", "audra", press("Verify the chain")),
    Shot("audit-filtered", "/audit?action=freeze.set", "Audit", "audra"),
    Shot("audit-empty", "/audit?until=2020-01-01", "Audit", "audra"),
    Shot("audit-not-allowed", "/audit", "Audit", "ana"),
    Shot("ledger-row", "/ledger_row?row=27", "Row 27", "audra"),
    Shot("ledger-row-unknown", "/ledger_row?row=nowhere", "Ledger row", "audra"),
    Shot("notifications", "/notifications", "Notifications", "ana"),
    Shot("notifications-route", "/notifications", "Notifications", "ana", press("Add a route")),
    Shot("notifications-subscribe", "/notifications", "Notifications", "ana", press("Subscribe")),
    Shot("open-nothing", "/open", "Link from a message", "ben"),
    Shot("open-foreign", "/open?link=somebody-elses", "Link from a message", "ben"),
    Shot("admin", "/admin", "Admin"),
    Shot("admin-fresh", "/admin", "Admin", installation="fresh"),
    Shot("admin-freeze", "/admin", "Admin", "olga", press("Freeze starts")),
    Shot("admin-lift", "/admin", "Admin", "otto", press("Lift")),
    Shot("overview-full", "/", "Overview", "carla", installation="full"),
    Shot("overview-operator", "/", "Overview", "olga", installation="full"),
    Shot("endpoints", "/endpoints", "Endpoints", "olga", installation="full"),
    Shot("endpoints-fresh", "/endpoints", "Endpoints", "olga", installation="fresh"),
    Shot("endpoints-troubled", "/endpoints?state=Needs%20attention", "Endpoints", "ana", installation="full"),
    Shot("endpoints-nothing", "/endpoints?text=nothing-of-that-name", "Endpoints", "ana", installation="full"),
    Shot("endpoints-before", "/endpoints?asof=2020-01-01", "Endpoints", "ana", installation="full"),
    Shot("endpoint-rollout", "/endpoint?endpoint=taxi-fare", "taxi-fare", "olga", installation="full"),
    Shot("endpoint-out-of-sync", "/endpoint?endpoint=flight-delay-eu", "flight-delay-eu", "olga", installation="full"),
    Shot("endpoint-unreachable", "/endpoint?endpoint=flight-delay-apac", "flight-delay-apac", "olga", installation="full"),
    Shot("endpoint-paused", "/endpoint?endpoint=taxi-fare-staging", "taxi-fare-staging", "olga", installation="full"),
    Shot("endpoint-unknown", "/endpoint?endpoint=nobody", "Endpoint", "olga", installation="full"),
    Shot("endpoint-roll-back", "/endpoint?endpoint=taxi-fare", "taxi-fare", "olga", press("Roll back"), "full"),
    Shot("adoption", "/endpoint?endpoint=legacy-scores", "legacy-scores", "ben", press("Look at what runs"), "full"),
    Shot("adoption-own", "/endpoint?endpoint=legacy-scores", "legacy-scores", "olga", press("Look at what runs"), "full"),
    Shot("server", "/server?server=serving-a", "serving-a", "olga", press("Test the connection"), "full"),
    Shot("server-down", "/server?server=serving-down", "serving-down", "olga", press("Test the connection"), "full"),
    Shot("server-adopt", "/server?server=serving-a", "serving-a", "olga", press("Adopt an endpoint"), "full"),
    Shot("admin-servers", "/admin?part=Servers", "Admin", "olga", installation="full"),
    Shot("admin-register", "/admin?part=Servers", "Admin", "olga", press("Register a server"), "full"),
    Shot("way-in", "/", "Sign in", None, installation="house"),
    Shot("way-in-away", "/", "Sign in", None, press("Sign in with Partner Org"), "house"),
    Shot("no-role", "/", "You have no role here yet", "Nils Nobody", installation="house"),
    *(
        Shot(
            f"admin-{part.lower().replace(' ', '-')}", f"/admin?part={quote(part)}", "Admin", "Ada Admin", installation="house"
        )
        for part in PARTS
    ),
    Shot("admin-ask", "/admin?part=Sign-in", "Admin", "Ada Admin", press("Ask the providers"), "house"),
    Shot("admin-map", "/admin?part=Sign-in", "Admin", "Ada Admin", press("Map a group"), "house"),
    Shot("admin-give", "/admin?part=Grants", "Admin", "Ada Admin", press("Give a role"), "house"),
    *(
        Shot(f"admin-{name}", f"/admin?part={quote(part)}", "Admin", "Ada Admin", press(button), "house")
        for name, part, button in (
            ("add-person", "People", "Add a person"),
            ("add-service", "Services", "Add a service"),
            ("create-team", "Teams", "Create a team"),
            ("add-member", "Teams", "Add a member"),
            ("own", "Teams", "Set an owner"),
            ("give-data-set", "Data sets", "Give a data set"),
            ("add-route", "Messages", "Add a route"),
        )
    ),
    Shot("admin-reviewer", "/admin?part=Grants", "Admin", "Rita Reviewer", installation="house"),
    Shot("person", "/person?person=rita", "Rita Reviewer", "Ada Admin", installation="house"),
    Shot("person-off", "/person?person=rita", "Rita Reviewer", "Ada Admin", press("Deactivate"), "house"),
    Shot("person-take-back", "/person?person=rita", "Rita Reviewer", "Ada Admin", press("Take back"), "house"),
    Shot("person-hand-over", "/person?person=builds", "Build server", "Ada Admin", press("Hand over"), "house"),
    Shot("person-service", "/person?person=builds", "Build server", "Ada Admin", installation="house"),
    Shot("person-unknown", "/person?person=nobody", "Person", "Ada Admin", installation="house"),
    Shot("account-own", "/account", "My access", "Ada Admin", installation="house"),
    Shot("account-token", "/account", "My access", "Rita Reviewer", press("Make a token"), "house"),
    Shot("signed-out", "/models", "You are signed out", "Jonas Keller", installation="house"),
)


def fresh(_backend: Backend) -> None:
    """Just migrated."""


def busy(backend: Backend) -> None:
    """Freezes set and lifted, a stricter policy, one that nobody can meet, and somebody who left."""
    olga, otto = (backend.identities.act_as(name) for name in ("olga", "otto"))
    for number in range(30):
        freeze = backend.policies.freeze(olga, "dev", f"Rehearsal {number + 1} of the release")
        backend.policies.lift(otto, freeze.id, "The rehearsal is over")
    strict = {"schema": 1, "approvals_needed": 2, "ramp": {"min_steps": 3, "max_first_share": 500, "min_hold_seconds": 21600}}
    backend.policies.set_policy(otto, "production", strict)
    backend.policies.set_policy(otto, "staging", {"schema": 1, "approvals_needed": 5})
    backend.policies.freeze(olga, "production", "Provider maintenance until Thursday 06:00 UTC; we look again on Thursday.")
    backend.identities.create(otto, "ci", kind="service", display_name="Build service", owner="olga")
    backend.identities.deactivate(otto, "carla")


def full(backend: Backend) -> None:
    """Every state of endpoints and changes."""
    populated(backend.settings.data_dir)
    told(backend.settings.data_dir)
    tried(backend.settings.data_dir)
    watched(backend)
    found_lately(backend)


INSTALLATIONS: dict[str, Callable[[Backend], None]] = {"fresh": fresh, "busy": busy, "full": full}


_MLFLOW: dict[str, dict[str, str]] = {
    "fresh": {},
    "busy": {"COUNTERSIGN_MLFLOW_URL": "http://127.0.0.1:9"},
    "full": {"COUNTERSIGN_MLFLOW_URL": "http://127.0.0.1:9"},
}
"""Installation -> whether its web process knows of a registry; that one does not answer."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes `OUT/NAME-SCHEME-WIDTH.png` for each state; returns 1 if a page was not clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of names of states; none: all")
    parser.add_argument("--out", type=Path, default=Path("shots"), help="folder of the pictures (default: %(default)s)")
    parser.add_argument("--whole", action="store_true", help="the whole page, not only what the window shows")
    chosen = parser.parse_args(arguments)
    wanted = [one for one in SHOTS if not chosen.words or any(word in one.name for word in chosen.words)]
    chosen.out.mkdir(parents=True, exist_ok=True)
    wrong = [each for name in INSTALLATIONS for each in _photograph(name, wanted, chosen.out, whole=chosen.whole)]
    wrong += _photograph_house(wanted, chosen.out, whole=chosen.whole)
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


def _photograph_house(wanted: Sequence[Shot], out: Path, *, whole: bool) -> list[str]:
    """The states in which people sign in at a provider."""
    here = [one for one in wanted if one.installation == "house"]
    if not here:
        return []
    found: list[str] = []
    with tempfile.TemporaryDirectory() as name, house(Path(name)) as running, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for shot in here:
            for scheme in SCHEMES:
                with visit(browser, running.server.url, scheme=scheme) as seen:
                    _sign_in(seen, running, shot)
                    _in_every_size(seen, shot, out, scheme, whole=whole)
                    found += [f"{shot.name}, {scheme}: {one}" for one in seen.wrong if running.provider.issuer not in one]
        browser.close()
    return found


def _sign_in(seen: Visit, running: House, shot: Shot) -> None:
    seen.open(shot.path, title="Sign in")
    if shot.identity is not None:
        running.comes(shot.identity)
        seen.page.get_by_role("button", name="Sign in with Example Corp").click()
        seen.drawn("Models" if shot.name == "signed-out" else shot.title)
    if shot.name == "signed-out":
        _end_sessions(running, str(shot.identity))
        seen.open(shot.path, title=shot.title)
    if shot.act is not None:
        shot.act(seen)


def _end_sessions(running: House, shown: str) -> None:
    """What an administrator does to somebody."""
    with running.behind.database.read() as session:
        now = running.behind.database.now(session)
        ada, whose = (rosters.people(session, now=now, text=name).rows[0] for name in ("Ada Admin", shown))
    running.behind.sessions.end_of(Actor(ada.id, ada.name), whose.id, "A lost laptop.")


def _photograph(installation: str, wanted: Sequence[Shot], out: Path, *, whole: bool) -> list[str]:
    here = [one for one in wanted if one.installation == installation]
    if not here:
        return []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder / "data", INSTALLATIONS[installation])
        with serve(folder / "data", folder, **_MLFLOW[installation]) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            found: list[str] = []
            for shot in here:
                for scheme in SCHEMES:
                    with visit(browser, server.url, scheme=scheme) as seen:
                        _take(seen, shot, out, scheme, whole=whole)
                        found += [f"{shot.name}, {scheme}: {one}" for one in seen.wrong]
            browser.close()
    return found


def _prepare(folder: Path, work: Callable[[Backend], None]) -> None:
    backend = bootstrap.build(Settings(data_dir=folder, demo_identities=True))
    bootstrap.prepare(backend)
    work(backend)
    backend.close()


def _take(seen: Visit, shot: Shot, out: Path, scheme: str, *, whole: bool) -> None:
    """One state in every size; the window is resized, so that what was opened stays open."""
    if shot.identity is not None:
        seen.open(shot.path, title="Whom do you act as?").act_as(shot.identity, title=shot.title)
    else:
        seen.open(shot.path, title=shot.title)
    if shot.act is not None:
        shot.act(seen)
    _in_every_size(seen, shot, out, scheme, whole=whole)


def _in_every_size(seen: Visit, shot: Shot, out: Path, scheme: str, *, whole: bool) -> None:
    for width, height in SIZES:
        seen.page.set_viewport_size({"width": width, "height": height})
        seen.drawn().page.wait_for_timeout(400)
        if whole:
            _stretch(seen, width)
        file = out / f"{shot.name}-{scheme}-{width}.png"
        seen.page.screenshot(path=file)
        print(file)


def _stretch(seen: Visit, width: int) -> None:
    """Streamlit scrolls inside the window, so the window is made as high as the page."""
    height = seen.page.evaluate("document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight")
    seen.page.set_viewport_size({"width": width, "height": max(int(height) + 20, 700)})
    seen.drawn().page.wait_for_timeout(400)


if __name__ == "__main__":
    sys.exit(main())
