"""A small world for tests of changes: one managed endpoint that runs version 1, five registered versions, every identity.

What other rooms do is done by hand here: `prove` marks the newest generation as read back, `check` ends the checks that are
queued. Versions and packaging are thin stands-in of the ports that changes ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

from backend.access.service import Identities
from backend.access.service_owners import ServiceOwners
from backend.changes import course, standing
from backend.changes.rows import Change, Vote
from backend.changes.service import Changes, settled
from backend.changes.standing import Standing
from backend.core import work
from backend.core.canonical import digest_bytes
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import ExternalFailure, NotFound, Refusal
from backend.core.ledger import LedgerRow, first_break
from backend.core.unit import Unit, assert_outside_unit
from backend.delivery import admission
from backend.delivery.base import base_digest
from backend.delivery.generations import DesiredArm, DesiredEndpoint, baseline_from
from backend.delivery.plan import ServedAs
from backend.delivery.rows import Endpoint, Generation, Package, RouterRow, Server
from backend.evidence.rows import Evidence
from backend.evidence.rules import EVIDENCE
from backend.policy.rules import Policy
from backend.policy.service import Policies
from backend.registry.rows import Model, Version
from backend.rollouts import queries as rollout_queries
from backend.rollouts.rows import Rollout
from backend.rollouts.service import Rollouts
from backend.settings import Settings
from tests.databases import Clock

ENDPOINT, MODEL = "flight-delay-production", "flight-delay"
SAME, OTHER = digest_bytes(b"interface"), digest_bytes(b"another interface")


def artifact(number: int) -> str:
    return digest_bytes(f"artifact {number}".encode())


def package(number: int) -> str:
    return digest_bytes(f"package {number}".encode())


class Versions:
    """The registry's versions: digests by number, changed by hand, down by hand."""

    def __init__(self) -> None:
        self.digests = {number: artifact(number) for number in range(1, 6)}
        self.down = False
        self.aliases: list[tuple[str, str, int | None]] = []

    def digest_now(self, model: str, number: int) -> str:
        assert_outside_unit("asking the registry")
        if self.down:
            raise ExternalFailure("The registry", "does not answer", retryable=True)
        if number not in self.digests:
            raise NotFound("version", f"{model} {number}")
        return self.digests[number]

    def fetch(self, model: str, number: int, folder: Path) -> str:
        assert list(folder.iterdir()) == []
        (folder / "model.onnx").write_text(self.digest_now(model, number))
        return self.digest_now(model, number)

    def want_alias(self, tx: Unit, model: str, environment: str, number: int | None) -> None:
        self.aliases.append((model, environment, number))


class Packaging:
    """Packages of artifacts; building one records its row, as the real one does."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.built: list[str] = []

    def find(self, session: Session, artifact_digest: str, target: str) -> Package | None:
        query = select(Package).where(Package.artifact_digest == artifact_digest, Package.target == target)
        return session.exec(query).one_or_none()

    def build(self, actor: Actor, artifact: Path, artifact_digest: str, target: str) -> Package:
        assert (artifact / "model.onnx").read_text() == artifact_digest
        self.built.append(artifact_digest)
        number = next(one for one in range(1, 6) if globals()["artifact"](one) == artifact_digest)
        with self.database.unit(actor) as tx:
            return add_package(tx, number, target, OTHER if number == 5 else SAME)


class Store:
    """The package store's answer to `verify`, by script."""

    def __init__(self) -> None:
        self.damaged: set[str] = set()

    def verify(self, digest: str) -> bool:
        assert_outside_unit("hashing a package")
        return digest not in self.damaged


def add_package(tx: Unit, number: int, target: str = "memory", interface: str = SAME) -> Package:
    row = Package(
        id=package(number), packager="tests@1", target=target, artifact_digest=artifact(number), interface_digest=interface,
        files=[], size=1, created_at=tx.now,
    )  # fmt: skip
    tx.record("package.keep", tx.add(row))
    return row


class World:
    """The services, the identities by name, and hands for what other rooms do."""

    def __init__(self, database: Database, *, empty: bool = False) -> None:
        self.database = database
        self.empty = empty
        self.identities = Identities(database, Settings(demo_identities=True))
        self.identities.seed_demo()
        self.owners = ServiceOwners(database)
        self.policies = Policies(database)
        self.policies.seed()
        names = ("ana", "ben", "carla", "olga", "otto", "nora", "audra")
        self.ana, self.ben, self.carla, self.olga, self.otto, self.nora, self.audra = map(self.identities.act_as, names)
        self.versions, self.packaging, self.store = Versions(), Packaging(database), Store()
        self.changes = Changes(database, versions=self.versions, packaging=self.packaging, packages=self.store)
        self.rollouts = Rollouts(database, self.store)
        self._found()
        self.prove()

    def _found(self) -> None:
        """One endpoint whose baseline was signed off (version 1, or nothing), and what is registered."""
        with self.database.unit(SYSTEM) as tx:
            common = {"created_by": SYSTEM.id, "created_at": tx.now}
            server = tx.add(Server(id="srv_1", name="s", kind="memory", settings={}, upstream="", **common))
            router = tx.add(RouterRow(id="rou_1", name="r", kind="memory", settings={}, public_url="", **common))
            tx.record("server.register", server)
            tx.record("router.register", router)
            tx.session.flush()
            endpoint = tx.add(
                Endpoint(
                    id="end_1", name=ENDPOINT, environment="production", model=MODEL, server_id="srv_1", router_id="rou_1",
                    served_name=MODEL, mode="managed", state_since=tx.now, **common,
                )
            )  # fmt: skip
            tx.record("endpoint.create", endpoint)
            add_package(tx, 1)
            model = tx.add(Model(id="mod_1", name=MODEL, created_at=tx.now, updated_at=tx.now, mirrored_at=tx.now))
            tx.record("model.mirror", model)
            tx.session.flush()
            for number in range(1, 6):
                _register(tx, number)
            served = ServedAs(model=MODEL, version=1)
            arm = DesiredArm(name="v1", version=1, artifact_digest=artifact(1), package_digest=package(1), served_as=served)
            nothing = DesiredEndpoint(step=0, champion=None, salt=ENDPOINT)
            admission.admit_baseline(tx, endpoint, nothing if self.empty else baseline_from(arm, salt=ENDPOINT))

    def prove(self) -> None:
        """As the reconciler does once the newest generation was read back whole."""
        with self.database.unit(SYSTEM) as tx:
            endpoint = tx.get(Endpoint, "end_1", lock=True)
            newest = tx.get(Generation, f"end_1/{endpoint.generation}")
            base = seen_base(newest.number, DesiredEndpoint.model_validate(newest.desired))
            endpoint.proved_generation, endpoint.proved_at, endpoint.state = newest.number, tx.now, "in_sync"
            endpoint.base, endpoint.base_digest = base, base_digest(base)
            tx.record("endpoint.prove", endpoint)
            settled(tx, endpoint.id)

    def touch(self, **values: Any) -> None:
        """Something happens to the endpoint. A base is given its digest."""
        with self.database.unit(SYSTEM) as tx:
            endpoint = tx.get(Endpoint, "end_1", lock=True)
            if "base" in values:
                values["base_digest"] = base_digest(values["base"])
            for name, value in values.items():
                setattr(endpoint, name, value)
            tx.record("endpoint.observe", endpoint)
            settled(tx, endpoint.id)

    def drift(self) -> None:
        """Somebody takes a tenth of the traffic off by hand."""
        arms = [{**one, "buckets": one["buckets"] - 1_000} for one in self.endpoint().base["arms"]]
        self.touch(base={**self.endpoint().base, "arms": arms}, state="out_of_sync")

    def restart(self) -> None:
        """The server is started anew, and what was live there is lost until it is brought back."""
        base = self.endpoint().base
        self.touch(base={**base, "arms": [], "lost": base["arms"]}, state="partial")

    def check(self, verdict: str = "passed", gate: str | None = None) -> None:
        """Ends the checks that are queued, as the runner does."""
        with self.database.unit(SYSTEM) as tx:
            query = select(Evidence).where(Evidence.verdict == "queued")
            for row in tx.session.exec(query).all():
                if gate in (None, row.gate):
                    row.verdict = EVIDENCE.next(EVIDENCE.next(row.verdict, "begin"), verdict)
                    row.started_at = row.finished_at = tx.now
                    row.summary = f"{row.gate} {verdict}"
                    tx.record(f"evidence.{verdict}", row)
                    work.wake(tx, "change", row.change_id)
        self.run()

    def run(self) -> None:
        """Handles what is due, as a worker does, until nothing is."""
        handlers: dict[str, Callable[[work.Claim], None]] = {
            "change": self.changes.handle, "rollout": self.rollouts.handle,
        }  # fmt: skip
        for _ in range(60):
            claims = [(handle, one) for kind, handle in handlers.items() for one in self.claims(kind)]
            if not claims:
                return
            for handle, claim in claims:
                handle(claim)
        raise AssertionError("there is always something due")

    def claims(self, kind: str) -> list[work.Claim]:
        return work.claim(self.database, kind, holder="w1", seconds=30, limit=100)

    def policy(self, **changes: Any) -> None:
        """A new policy of production that is the old one with some changes."""
        with self.database.read() as session:
            from backend.policy.service import in_force

            present: Policy = in_force(session, "production").policy
        saved = self.policies.set_policy(self.otto, "production", present.model_copy(update=changes))
        if saved.request_id is not None:
            self.policies.confirm_policy(self.nora, saved.request_id)

    def propose(self, version: int = 2, actor: Actor | None = None, **options: Any) -> int:
        asked: dict[str, Any] = {"endpoint": ENDPOINT, "version": version, "title": "Newer", "reason": "It is better."}
        return self.changes.propose(actor or self.ana, **{**asked, **options}).number

    def reviewed(self, version: int = 2, **options: Any) -> int:
        """A change whose checks have passed."""
        number = self.propose(version, **options)
        self.run()
        self.check()
        return number

    def vote(self, number: int, actor: Actor | None = None, verdict: str = "approve", **options: Any) -> Change:
        row = self.change(number)
        digests = {"plan_digest": row.plan_digest, "base_digest": row.base_digest}
        cast = self.changes.approve if verdict == "approve" else self.changes.reject
        return cast(actor or self.ben, number, **{**digests, "comment": "I looked.", **options})

    def approved(self, version: int = 2, **options: Any) -> int:
        """A change that is approved and waits for somebody to start it."""
        number = self.reviewed(version, **{"start_mode": "by_hand", **options})
        self.vote(number)
        return number

    def applied(self, version: int = 2, **options: Any) -> int:
        """A change that has started and is not proved."""
        number = self.reviewed(version, **options)
        self.vote(number)
        self.run()
        return number

    def done(self, version: int = 2, **options: Any) -> int:
        number = self.applied(version, **options)
        self.prove()
        self.run()
        return number

    def change(self, number: int) -> Change:
        with self.database.read() as session:
            return course.find(session, number)

    def state(self, number: int) -> str:
        return self.change(number).state

    def standing(self, number: int) -> Standing:
        with self.database.read() as session:
            return standing.read(session, course.find(session, number), self.database.now(session))

    def endpoint(self) -> Endpoint:
        with self.database.read() as session:
            return session.get_one(Endpoint, "end_1")

    def generations(self) -> list[str]:
        """Reasons of the endpoint's generations after the baseline."""
        with self.database.read() as session:
            return list(session.exec(select(Generation.reason).order_by(col(Generation.number)).offset(1)))

    def desired_champion(self) -> str | None:
        """The champion of the newest generation; None when it wants nothing."""
        with self.database.read() as session:
            newest = session.get_one(Generation, f"end_1/{session.get_one(Endpoint, 'end_1').generation}")
            return DesiredEndpoint.model_validate(newest.desired).champion

    def rollout(self) -> Rollout:
        with self.database.read() as session:
            return rollout_queries.of_endpoint(session, "end_1", limit=1)[0]

    def votes(self, number: int, *, valid: bool = True) -> list[Vote]:
        with self.database.read() as session:
            rows = session.exec(select(Vote).where(Vote.change_id == course.find(session, number).id)).all()
            return [row for row in rows if (row.voided_at is None) == valid]

    def evidence(self, number: int) -> list[tuple[str, str]]:
        with self.database.read() as session:
            query = select(Evidence).where(Evidence.change_id == course.find(session, number).id)
            return [(row.gate, row.verdict) for row in session.exec(query.order_by(col(Evidence.id)))]

    def ledger(self, kind: str = "change") -> list[str]:
        """Actions on a kind of subject; the whole chain is checked on the way."""
        with self.database.read() as session:
            rows = list(session.exec(select(LedgerRow).order_by(col(LedgerRow.seq))))
        assert first_break(rows)[0] is None
        return [row.action for row in rows if row.subject_kind == kind]


def seen_base(number: int, desired: DesiredEndpoint) -> dict[str, Any]:
    """The base that a look tells of a generation that is in force as a whole."""
    arms = [{**arm.model_dump(mode="json", exclude={"ranges"}), "buckets": arm.buckets} for arm in desired.arms]
    whole = sorted(arms, key=lambda one: str(one["name"]))
    return {"generation": number, "champion": desired.champion, "arms": whole, "routed": bool(whole)}


def refused(code: str, call: Any, *args: Any, **options: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call(*args, **options)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.remedy
    return caught.value


def _register(tx: Unit, number: int) -> None:
    row = Version(
        id=f"ver_{number}", model_id="mod_1", number=number, artifact_digest=artifact(number), registered_at=tx.now,
        created_at=tx.now, mirrored_at=tx.now,
    )  # fmt: skip
    tx.record("version.register", tx.add(row))


__all__ = ["ENDPOINT", "MODEL", "Clock", "World", "artifact", "package", "refused"]
