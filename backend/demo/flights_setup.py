"""Sets the flights demo up, and finds it set up the next time: trained, registered, adopted, and live in staging.

Version 1 already runs on Triton, put there by hand. Olga takes the endpoint on, Ben signs its baseline off, and from then on
it is managed. Staging begins empty; each version is promoted there before it may go to production.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlmodel import Session, col, select

from backend.changes.rows import Change
from backend.core.errors import ExternalFailure
from backend.delivery.rows import Endpoint, Look, RouterRow, Server
from backend.demo.by_hand import serve_by_hand
from backend.demo.people import Cast
from backend.demo.stack import Say, Stack
from backend.demo.training_report import run_training
from backend.demo.waiting import wait_for
from backend.registry.cards import card
from backend.registry.rows import Model, Version

MODEL = "flight-delay"
PRODUCTION, STAGING = "flight-delay", "flight-delay-staging"
SERVER, ROUTER = "triton", "envoy"
RUNTIME = "triton"
OPEN = ("draft", "checking", "review", "approved", "applying", "blocked", "suspended")


@dataclass(frozen=True)
class Prepared:
    """The registered versions of the demo, in the order in which they were trained.

    `wrong` is the one that is wrong on purpose; None in a data folder from before there was one.
    """

    first: int
    second: int
    wrong: int | None = None


class FlightsSetup:
    """The steps of setting up; each finds what is there already."""

    def __init__(self, stack: Stack, say: Say) -> None:
        self.stack, self.backend, self.say = stack, stack.backend, say
        self.cast = Cast.of(stack.backend)
        self._began = stack.backend.database.now()

    def run(self) -> Prepared:
        """All of it."""
        self._connect()
        self.stack.work()
        versions = self._versions()
        production = self._endpoint(PRODUCTION)
        if production is None or production.mode == "observe":
            self.say("Version 1 runs on Triton already; taking it on ...")
            serve_by_hand(self.stack.triton, PRODUCTION, versions.first, self.package(versions.first))
        if production is None:
            self._create(PRODUCTION, "production")
        self._sign_off(PRODUCTION, {(PRODUCTION, versions.first): versions.first})
        if self._endpoint(STAGING) is None:
            self._create(STAGING, "staging")
        self._sign_off(STAGING, {})
        for number in (versions.first, versions.second):
            self.promote_to_staging(number)
        self._write_card()
        return versions

    def live_version(self, name: str) -> int | None:
        """The champion's version, if the endpoint's newest generation is proved and in force."""
        database = self.backend.database
        with database.read() as session:
            row = session.exec(select(Endpoint).where(Endpoint.name == name)).one_or_none()
        if row is None or row.state != "in_sync" or row.proved_generation != row.generation or not row.base:
            return None
        return next((int(arm["version"]) for arm in row.base["arms"] if arm["name"] == row.base["champion"]), None)

    def reason(self, name: str) -> str:
        """Why an endpoint is not where it should be, for a person."""
        with self.backend.database.read() as session:
            row = session.exec(select(Endpoint).where(Endpoint.name == name)).one_or_none()
        return f"{row.state}; {row.state_reason}; {row.last_error}" if row is not None else "it does not exist"

    def promote_to_staging(self, number: int) -> None:
        """A change that needs no vote there, unless the version is live in staging already or was before."""
        if self._was_promoted(STAGING, number):
            return
        self.say(f"Promoting version {number} to staging ...")
        change = self.backend.changes.propose(
            self.cast.ana, endpoint=STAGING, version=number, title=f"Try version {number}", reason="before production"
        )
        self.wait_change(change.id, "done")

    def wait_change(self, change_id: str, state: str, seconds: float = 120.0) -> Change:
        """Waits until a change reaches a state."""
        return wait_for(
            f"the change to be {state}",
            lambda: row if (row := self.change(change_id)).state == state else None,
            why_not=lambda: f"it is {self.change(change_id).state}: {self.change(change_id).state_reason}",
            seconds=seconds,
        )

    def change(self, change_id: str) -> Change:
        """A change as it is now."""
        with self.backend.database.read() as session:
            return session.get_one(Change, change_id)

    def open_change(self, name: str) -> Change | None:
        """The newest change of an endpoint that is not decided or not over yet."""
        with self.backend.database.read() as session:
            row = session.exec(select(Endpoint).where(Endpoint.name == name)).one()
            query = select(Change).where(Change.endpoint_id == row.id, col(Change.state).in_(OPEN))
            return session.exec(query.order_by(col(Change.number).desc())).first()

    # -- steps

    def _versions(self) -> Prepared:
        if (known := self._registered()) is None:
            self.say("Training three models on the flights of January to March 2013 (about 40 s the first time) ...")
            report = run_training(
                tracking_uri=self.stack.mlflow.url,
                model=MODEL,
                cache=self.stack.folder / "cache",
                author="ana",
                on_progress=self.say,
            )
            for trained in report.versions:
                self.backend.versions.register(self.cast.ana, MODEL, int(trained.version))
            known = self._registered()
        if known is None:
            raise ExternalFailure("The demo", "registered no two versions", retryable=False)
        return known

    def _registered(self) -> Prepared | None:
        with self.backend.database.read() as session:
            query = select(Version.number).join(Model).where(Model.name == MODEL, col(Version.registered_at).is_not(None))
            numbers = sorted(session.exec(query))
        if len(numbers) < 2:
            return None
        return Prepared(numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else None)

    def _write_card(self) -> None:
        """What the team says of the model, where nobody said anything yet."""
        with self.backend.database.read() as session:
            written = card(session, MODEL) is not None
        if not written:
            text = Path(__file__).with_name("flight_delay_card.md").read_text()
            self.backend.cards.write(self.cast.ana, MODEL, text, revision=0, summary="What each version is")

    def package(self, number: int) -> Path:
        """The package that the version's artifact makes, from the store."""
        with tempfile.TemporaryDirectory() as folder:
            artifact = Path(folder) / "artifact"
            artifact.mkdir()
            digest = self.backend.versions.fetch(MODEL, number, artifact)
            package = self.backend.packaging.build(self.cast.ana, artifact, digest, RUNTIME)
        return self.backend.packages.local(package.id)

    def _connect(self) -> None:
        """Registers Triton and Envoy, or tells where they are this time."""
        triton, envoy, olga = self.stack.triton, self.stack.envoy, self.cast.olga
        upstream = urlsplit(triton.url).netloc
        server: dict[str, Any] = {
            "url": triton.url,
            "model_repository": str(triton.models),
            "metrics_url": triton.metrics_url,
        }
        router = {
            "routes_file": str(envoy.routes_file),
            "clusters_file": str(envoy.clusters_file),
            "admin_url": envoy.admin_url,
            "log_file": str(envoy.child.log),
        }
        servers = self.backend.servers
        with self.backend.database.read() as session:
            known = _named(session, Server, SERVER)
            known_router = _named(session, RouterRow, ROUTER)
        if known is None:
            servers.register(olga, name=SERVER, kind=RUNTIME, settings=server, upstream=upstream, credential=triton.admin_key)
        else:
            row = servers.edit(
                olga, SERVER, revision=known.revision, settings=server, upstream=upstream, credential=triton.admin_key
            )
            if row.move is not None:  # other ports than the last time: production stands there, so a second person confirms it
                servers.confirm_move(self.cast.otto, SERVER, revision=row.revision)
        if known_router is None:
            servers.register_router(olga, name=ROUTER, kind="envoy", settings=router, public_url=envoy.url)
        elif (known_router.settings | router, envoy.url) != (known_router.settings, known_router.public_url):
            moved = servers.edit_router(olga, ROUTER, revision=known_router.revision, settings=router, public_url=envoy.url)
            if moved.move is not None:
                servers.confirm_router_move(self.cast.otto, ROUTER, revision=moved.revision)

    def _create(self, name: str, environment: str) -> None:
        self.backend.endpoints.create(
            self.cast.olga, name=name, environment=environment, model=MODEL, server=SERVER, router=ROUTER
        )

    def _sign_off(self, name: str, versions: dict[tuple[str, int], int]) -> None:
        endpoint = self._endpoint(name)
        if endpoint is not None and endpoint.mode == "observe":
            wait_for(f"a first look at {name}", lambda: self._endpoint(name, seen=True), why_not=lambda: self.reason(name))
            proposal = self.backend.endpoints.proposal(self.cast.ben, name)
            self.backend.endpoints.sign_off(self.cast.ben, name, base_digest=proposal.digest, versions=versions)
        if endpoint is not None and (endpoint.paused or endpoint.state == "fight" or endpoint.repair == "report"):
            return  # somebody left it so
        wait_for(f"{name} to be in sync", lambda: self._in_sync(name), why_not=lambda: self.reason(name))

    def _endpoint(self, name: str, *, seen: bool = False) -> Endpoint | None:
        with self.backend.database.read() as session:
            row = session.exec(select(Endpoint).where(Endpoint.name == name)).one_or_none()
        return None if row is None or (seen and row.base_digest is None) else row

    def _in_sync(self, name: str) -> bool | None:
        """Whether it was seen to be, since this start: what the database says of an earlier one is not true any more."""
        row = self._endpoint(name)
        if row is None or row.state != "in_sync" or row.proved_generation != row.generation:
            return None
        with self.backend.database.read() as session:
            look = session.get(Look, row.id)
        return True if look is not None and look.seen_at is not None and look.seen_at >= self._began else None

    def _was_promoted(self, name: str, number: int) -> bool:
        with self.backend.database.read() as session:
            row = session.exec(select(Endpoint).where(Endpoint.name == name)).one()
            done = session.exec(select(Change).where(Change.endpoint_id == row.id, Change.state == "done"))
            return any(int(one.wanted["version"]) == number for one in done)


def _named(session: Session, table: type[Any], name: str) -> Any:
    return session.exec(select(table).where(table.name == name)).one_or_none()
