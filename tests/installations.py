"""A data folder in which people have worked for a week, for pages and pictures: every state that matters, in every room.

Everything goes through the real services and the real worker's handlers. Replaced are adapters only: the registry, servers and
routers are the in-memory ones, whose state lies in files under the folder; the checks run in this process instead of one of
their own; and the clock is set back, so that a week has passed. Names, titles, reasons and comments are hostile on purpose.

What stands there (endpoint: what it shows; changes are numbered in the order of `_history`):

    flight-delay-staging  versions 1, 2 and 3 went through
    flight-delay          version 1 was adopted and is proved; a rejected change; `REVIEW` waits with one of two votes
    flight-delay-eu       out of sync: somebody changed its route by hand, and it only reports
    flight-delay-apac     its server cannot be reached
    taxi-fare-staging     paused
    taxi-fare             `ROLLOUT` is under way: version 2 has 10 %
    taxi-fare-eu          `SUSPENDED`: what it was drawn on moved; `DONE` is live
    churn                 a hostile model; `BLOCKED`: its files changed; version 1 is live
    legacy-scores         only observed; beside it runs what is of no endpoint
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from sqlmodel import select

from backend import bootstrap
from backend.bootstrap import Backend
from backend.changes.rows import Change
from backend.core import work
from backend.core.canonical import canonical
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.delivery import memory_state
from backend.delivery.desired import Packaged
from backend.delivery.packagers import onnx_graph, onnx_signature
from backend.delivery.plan import parse_plan
from backend.delivery.routers.memory_world import MemoryRouterWorld
from backend.delivery.rows import Endpoint, Package, Server
from backend.delivery.targets import memory_server
from backend.delivery.targets.memory_server import MemoryServer
from backend.evidence import process
from backend.evidence.gates.names import gate_type
from backend.evidence.process import Outcome
from backend.evidence.wire import Order, result_of
from backend.policy.service import in_force
from backend.registry.memory import MemoryRegistry
from backend.registry.port import RunFacts
from backend.settings import Settings
from backend.worker.wiring import handlers
from tests.models import add_model

FLIGHTS, TAXI = "flight-delay", "taxi-fare"
CHURN = "*churn* <img src=x onerror=alert(1)> $risk$ | `v`"
"""A model that somebody named to hurt."""
PRODUCTION, STAGING, EU, APAC = "flight-delay", "flight-delay-staging", "flight-delay-eu", "flight-delay-apac"
TAXI_STAGING, TAXI_PRODUCTION, TAXI_EU, CHURNING, OBSERVED = (
    "taxi-fare-staging",
    "taxi-fare",
    "taxi-fare-eu",
    "churn",
    "legacy-scores",
)
SERVERS = ("serving-a", "serving-b", "serving-down")
ROUTER = "edge"
HOSTILE_TITLE = "Better *in summer* <script>alert(1)</script> | [look](https://evil.example) :red[now] $x$"
HOSTILE_REASON = (
    "# Calibrated\n\n<b onmouseover=alert(1)>0.02</b> better; `code`, ![pixel](https://evil.example/p.png) and\n- a list"
)
HOSTILE_COMMENT = (
    "Did you look at July?\n\n> <img src=x onerror=alert(2)> [here](javascript:alert(3)) **bold** :material/delete:"
)
TITLES: Mapping[str, str] = {
    "REVIEW": HOSTILE_TITLE,
    "STALE": "Version 3 for the summer schedule",
    "BY_HAND": "Version 2 for Europe, when operations say so",
    "BLOCKED": "Version 2 *without* the churned",
    "SUSPENDED": "Version 2 for the taxis of Europe",
    "DONE": "Version 3 for the taxis of Europe",
    "ROLLOUT": "Version 2 for the taxis, in steps",
    "REJECTED": "Version 4 at once",
    "WITHDRAWN": "Version 4, a first try",
}
"""Part in the story -> title of its change; `number_of` finds its number."""
WEEK = timedelta(days=6)


class Clock:
    """A clock that was set back; `on` lets time pass."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0) - WEEK

    def __call__(self) -> datetime:
        return self.now

    def on(self, **passed: float) -> None:
        """Lets so much time pass."""
        self.now += timedelta(**passed)

    def ago(self, **before: float) -> None:
        """Goes on to so long before the real present."""
        self.now = max(self.now, datetime.now(UTC) - timedelta(**before))


def populated(data: Path) -> None:
    """Fills a data folder, new or just migrated, in a few seconds. On one that was filled it changes nothing."""
    with ExitStack() as around:
        story = _Story(data, around)
        if story.is_told():
            return
        story.tell()


def number_of(backend: Backend, part: str) -> int:
    """The number of the change that plays this part (a key of `TITLES`)."""
    with backend.database.read() as session:
        return session.exec(select(Change.number).where(Change.title == TITLES[part])).one()


def copied(source: Path, target: Path) -> Path:
    """A copy of a filled folder that stands alone: its servers and routers are the copy's own files. Returns `target`."""
    shutil.copytree(source, target)
    for file in (target / "servers").glob("*.json"):
        file.write_text(file.read_text().replace(str(source), str(target)))
    connection = sqlite3.connect(target / "countersign.db")
    with connection:
        for table, column in (("server", "settings"), ("server", "upstream"), ("router", "settings"), ("router", "public_url")):
            swap = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            connection.execute(swap, (str(source), str(target)))
    connection.close()
    return target


def put_back(kept: Path, folder: Path) -> None:
    """Makes a folder what it was when `kept` was copied from it, under the eyes of those who have its database open."""
    shutil.copytree(kept, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("countersign.db*"))
    with (
        closing(sqlite3.connect(kept / "countersign.db")) as source,
        closing(sqlite3.connect(folder / "countersign.db")) as target,
    ):
        source.backup(target)


class _Story:
    """The hands of everybody in it."""

    def __init__(self, data: Path, around: ExitStack) -> None:
        self.data, self.clock = data, Clock()
        self.registry = MemoryRegistry(self.clock)
        settings = Settings(data_dir=data, demo_identities=True)
        with (
            mock.patch.object(bootstrap, "Database", partial(Database, clock=self.clock)),
            mock.patch.object(bootstrap, "_registry", return_value=self.registry),
        ):
            self.backend = bootstrap.install(settings)
        around.callback(self.backend.close)
        around.enter_context(mock.patch.object(process, "run", self._check))
        for files in (memory_server, memory_state):  # nobody else reads them yet, so that they need no second file
            around.enter_context(mock.patch.object(files, "_replace", lambda path, text: path.write_text(text)))
        around.enter_context(mock.patch.object(onnx_signature, "_read_apart", lambda model: onnx_graph.describe(str(model))))
        (data / "servers").mkdir(parents=True, exist_ok=True)
        self.handlers = handlers(self.backend)
        act_as = self.backend.identities.act_as
        self.ana, self.ben, self.carla, self.olga, self.otto = map(act_as, ("ana", "ben", "carla", "olga", "otto"))

    def is_told(self) -> bool:
        with self.backend.database.read() as session:
            return session.exec(select(Endpoint.id).limit(1)).first() is not None

    def tell(self) -> None:
        """A week, in order."""
        self._models()
        self._policies()
        self._places()
        self._endpoints()
        self._history()
        self._present()

    # -- what there is

    def _models(self) -> None:
        for number in range(1, 6):
            self._log(FLIGHTS, number, auc=0.71 + number / 100, brier=0.19 - number / 200)
        for number in range(1, 4):
            self._log(TAXI, number, rmse=4.2 - number / 10)
            self._log(CHURN, number, auc=0.6 + number / 50)
        self.backend.mirror.mirror_all()
        for model, numbers in ((FLIGHTS, range(1, 5)), (TAXI, range(1, 4)), (CHURN, range(1, 4))):
            for number in numbers:
                self.clock.on(minutes=7)
                self.backend.versions.register(self.ana, model, number)

    def _log(self, model: str, number: int, **metrics: float) -> None:
        """Somebody trains a version, with everything that MLflow would know of it."""
        offset = float(number if model == FLIGHTS else number + 10 if model == TAXI else number + 20)
        probes = {
            "schema": 1,
            "inputs": [{"x": [1.0, 2.0]}],
            "outputs": [{"y": [1.0 + offset, 2.0 + offset]}],
            "tolerance": 1e-6,
        }
        columns = [{"type": "double", "name": name, "required": True} for name in ("hour", "distance", "<i>wind</i> *speed*")]
        papers = (
            "flavors:\n  onnx:\n    data: model.onnx\nsaved_input_example_info:\n  artifact_path: input_example.json\n"
            f"signature:\n  inputs: '{json.dumps(columns)}'\n"
            """  outputs: '[{"type": "double", "name": "probability", "required": true}]'\n"""
        )
        files = {
            "MLmodel": papers.encode(),
            "model.onnx": add_model(offset).SerializeToString(deterministic=True),
            "probes.json": canonical(probes),
            "input_example.json": b'{"hour": 8.0, "distance": 412.0}',
            "requirements.txt": b"numpy==2.4.6\nonnx==1.23\nscikit-learn==1.7.2\n",
        }
        dataset = {"name": "flights-2013-q1", "digest": f"d{number}7f3a", "source_type": "local", "context": "training"}
        run = RunFacts(
            metrics=metrics,
            params={"learning_rate": str(0.1 / number), "max_depth": str(3 + number), "<u>note</u>": "*none* | `x`"},
            tags={"feature_service": "flights_v1"} if model == FLIGHTS else {},
            datasets=(dataset,),
            author="ana",
            code_version=f"{number}c0ffee{number}"[:8] * 5,
        )
        said = f"Trained on <b>January to March</b> 2013, attempt {number}"
        self.clock.on(minutes=5)
        self.registry.add_version(model, files, description=said, tags={"stage": "candidate"}, author="ana", run=run)

    def _policies(self) -> None:
        with self.backend.database.read() as session:
            present = in_force(session, "production").policy
        self.backend.policies.set_policy(self.otto, "production", present.model_copy(update={"approvals_needed": 2}))

    def _places(self) -> None:
        for name in SERVERS:
            path = str(self._file(name))
            self.backend.servers.register(
                self.olga, name=name, kind="memory", settings={"path": path}, upstream=f"memory:{path}"
            )
        path = str(self._file(ROUTER))
        self.backend.servers.register_router(
            self.olga, name=ROUTER, kind="memory", settings={"path": path}, public_url=f"memory:{path}"
        )

    def _endpoints(self) -> None:
        a, b, down = SERVERS
        self._runs_by_hand(a, PRODUCTION, FLIGHTS, 1)
        self._create(PRODUCTION, "production", FLIGHTS, a, {(PRODUCTION, 1): 1})
        for name, model, environment, server in (
            (STAGING, FLIGHTS, "staging", a),
            (TAXI_STAGING, TAXI, "staging", a),
            (TAXI_PRODUCTION, TAXI, "production", a),
            (TAXI_EU, TAXI, "production", b),
            (EU, FLIGHTS, "production", b),
            (CHURNING, CHURN, "production", b),
            (APAC, FLIGHTS, "production", down),
        ):
            self._create(name, environment, model, server, {})
        self._runs_by_hand(a, OBSERVED, TAXI, 2)
        self._runs_by_hand(a, "nobody-asked-for-this", TAXI, 3)
        self.backend.endpoints.create(self.olga, name=OBSERVED, environment="production", model=TAXI, server=a)
        self.look(a)

    def _history(self) -> None:
        for number in (1, 2, 3):
            self._staged(STAGING, number)
        self._staged(TAXI_STAGING, 1)
        self._staged(TAXI_STAGING, 2)
        a, b, down = SERVERS
        for name, server in ((TAXI_PRODUCTION, a), (TAXI_EU, b), (EU, b), (CHURNING, b), (APAC, down)):
            self._promoted(name, server, f"First version of {name}")
        rejected = self.propose(PRODUCTION, 4, "REJECTED")
        self.vote(rejected, self.carla, "reject", "Never seen in staging. <b>Please</b> try it there first.")
        withdrawn = self.propose(PRODUCTION, 4, "WITHDRAWN")
        self.backend.changes.withdraw(self.ana, withdrawn, "I try it in staging first, as Carla asked.")
        self._suspends()
        self.clock.ago(hours=24, minutes=30)  # results are good for a day, so that these have just gone stale
        self.propose(PRODUCTION, 3, "STALE", share=2_500)

    def _suspends(self) -> None:
        """Of two that were drawn on the same, the second meets another world once the first is live."""
        self.propose(TAXI_EU, 2, "SUSPENDED")
        done = self.propose(TAXI_EU, 3, "DONE")
        self.vote(done, self.ben)
        self.vote(done, self.carla)
        self.settle(SERVERS[1])

    def _present(self) -> None:
        """The last hours. What was decided before keeps its age: only servers are looked at in the end."""
        self.clock.ago(hours=5)
        review = self.propose(PRODUCTION, 2, "REVIEW", reason=HOSTILE_REASON, ramp=[{"share": 1_000, "hold_seconds": 3_600}])
        self.clock.on(minutes=25)
        self.backend.changes.comment(self.carla, review, HOSTILE_COMMENT)
        self.clock.on(minutes=12)
        self.backend.changes.comment(self.ana, review, "Yes: the difference holds in July, and in staging.")
        self.vote(review, self.ben, words="The evidence is sound. *Go.*")
        waiting = self.propose(EU, 2, "BY_HAND", start_mode="by_hand")
        self.vote(waiting, self.ben)
        self.vote(waiting, self.carla)
        self.clock.on(minutes=40)
        rollout = self.propose(
            TAXI_PRODUCTION, 2, "ROLLOUT", ramp=[{"share": 1_000, "hold_seconds": 21_600}, {"share": 5_000, "person": True}]
        )
        self.vote(rollout, self.ben)
        self.vote(rollout, self.carla)
        self.settle(SERVERS[0])
        self._goes_wrong()
        self.clock.ago(seconds=0)
        self.look(*SERVERS)

    def _goes_wrong(self) -> None:
        blocked = self.propose(CHURNING, 2, "BLOCKED", damaged=True)
        self.backend.changes.comment(self.ben, blocked, "Who touched these files?")
        self.backend.endpoints.set_repair(self.olga, EU, "report", reason="Europe repairs by hand during the trial")
        self.backend.endpoints.pause(self.olga, TAXI_STAGING, reason="Load test until <noon>")
        self.clock.on(minutes=9)
        router = MemoryRouterWorld(path=str(self._file(ROUTER)))
        router.change(EU, salt="by hand")
        MemoryServer(path=str(self._file(SERVERS[2]))).stop()
        self.look(*SERVERS)

    # -- what people do

    def propose(
        self, endpoint: str, version: int, part: str, *, reason: str = "It is better.", damaged: bool = False, **options: Any
    ) -> int:
        """A change whose checks have run, an hour after whatever was before."""
        self.clock.on(minutes=20)
        asked = {"endpoint": endpoint, "version": version, "title": TITLES.get(part, part), "reason": reason, **options}
        number = self.backend.changes.propose(self.ana, **asked).number
        if damaged:
            with self.backend.database.read() as session:
                row = session.exec(select(Endpoint).where(Endpoint.name == endpoint)).one()
            self.registry.change_byte(row.model, version, "model.onnx")
        self.run()
        return number

    def vote(self, number: int, by: Actor, verdict: str = "approve", words: str = "I looked.") -> None:
        """A vote on the change as it is now."""
        self.clock.on(minutes=6)
        with self.backend.database.read() as session:
            row = session.exec(select(Change).where(Change.number == number)).one()
        cast = self.backend.changes.approve if verdict == "approve" else self.backend.changes.reject
        cast(by, number, plan_digest=row.plan_digest, base_digest=row.base_digest, comment=words)

    def settle(self, server: str) -> None:
        """What was approved becomes true, and what it replaced is taken off."""
        for _ in range(2):
            self.clock.on(seconds=20)
            self.run()
            self.look(server)
        self.run()

    def _staged(self, endpoint: str, version: int) -> None:
        self.propose(endpoint, version, f"Try version {version}")
        self.settle(SERVERS[0])

    def _promoted(self, endpoint: str, server: str, title: str) -> None:
        number = self.propose(endpoint, 1, title)
        self.vote(number, self.ben)
        self.vote(number, self.carla)
        self.settle(server)

    def _create(self, name: str, environment: str, model: str, server: str, running: Mapping[tuple[str, int], int]) -> None:
        self.clock.on(minutes=3)
        endpoints = self.backend.endpoints
        endpoints.create(self.olga, name=name, environment=environment, model=model, server=server, router=ROUTER)
        self.look(server)
        proposal = endpoints.proposal(self.ben, name)
        endpoints.sign_off(self.ben, name, base_digest=proposal.digest, versions=running)
        self.look(server)

    # -- what machines do

    def run(self) -> None:
        """Changes, their checks and their rollouts, until nothing of them is due."""
        for _ in range(60):
            claims = [
                (handle, claim)
                for kind, handle in self.handlers.items()
                if kind != "server"
                for claim in work.claim(self.backend.database, kind, holder="worker", seconds=30, limit=100)
            ]
            if not claims:
                return
            for handle, claim in claims:
                handle(claim)

    def look(self, *servers: str) -> None:
        """One pass over these servers, due or not."""
        for name in servers:
            with self.backend.database.unit(SYSTEM) as tx:
                row = tx.session.exec(select(Server).where(Server.name == name)).one()
                work.wake(tx, "server", row.id)
                (claim,) = work.claim_in(tx, "server", holder="worker", seconds=60, key=row.id)
            self.backend.reconciler.handle(claim)

    def _check(self, order: Order, *_: Any, **__: Any) -> Outcome:
        """One gate, in this process, on the same things as the real one."""
        backend = self.backend
        context = replace(bootstrap.gate_context(backend.settings), database=backend.database, artifacts=backend.versions)
        plan = parse_plan(order.plan)
        return Outcome(result_of(plan.digest(), gate_type(order.gate)(context).run(plan, lambda *_: None)))

    def _runs_by_hand(self, server: str, name: str, model: str, version: int) -> None:
        """What a team did before it had Countersign."""
        folder = self.data / "by-hand" / name
        folder.mkdir(parents=True)
        digest = self.backend.versions.fetch(model, version, folder)
        package: Package = self.backend.packaging.build(self.ana, folder, digest, "memory")
        packaged = Packaged(package.id, self.backend.packages.local(package.id))
        MemoryServer(path=str(self._file(server))).load(name, {version: packaged}, package.interface_digest, by="somebody")

    def _file(self, name: str) -> Path:
        return self.data / "servers" / f"{name}.json"
