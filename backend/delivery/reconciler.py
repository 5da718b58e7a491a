"""The reconciler: one pass over one server makes what is admitted true, or says why not. Level-triggered and repeatable.

Look, judge, write down what was found; then push, look again, prove, and write down what came of it. What another hand did
is on record before it is repaired. A crash between any two steps only means that the next pass repeats idempotent calls; a
worker that lost its lease writes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from backend.core import failpoints, work
from backend.core.columns import new_id
from backend.core.context import SYSTEM
from backend.core.database import Database
from backend.core.errors import CountersignError
from backend.core.unit import Unit
from backend.core.work import Claim
from backend.delivery import attempts as pushlog
from backend.delivery import courses, looking, proofs
from backend.delivery.attempts import Attempt, going
from backend.delivery.connections import Connections
from backend.delivery.door import Door
from backend.delivery.lease import Lease
from backend.delivery.looking import Judged, Reach, Sighting
from backend.delivery.port import Packages
from backend.delivery.proofs import Proved, Prover
from backend.delivery.pushing import Pusher
from backend.delivery.rows import Endpoint, Generation, Look
from backend.delivery.seen import ProofKind
from backend.delivery.standing import Place, Standing, read_place, revoked_now
from backend.delivery.timing import Timing

R = TypeVar("R")
A = TypeVar("A")
Settled = Callable[[Unit, str], None]
"""Told in the same unit when an endpoint's generation was proved, or its base moved, by its id: rollouts and changes wait."""


class Reconciler:
    """Looks after servers, one claim at a time; any number of threads and processes may do so at once.

    Args:
        packages: the store that runtimes load from.
        connections: makes adapters.
        settled: see `Settled`.
        chance: between 0 and 1, for jitter.
    """

    def __init__(
        self,
        database: Database,
        packages: Packages,
        connections: Connections,
        *,
        timing: Timing | None = None,
        settled: Settled = lambda tx, endpoint_id: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._packages = packages
        self._connections = connections
        self._timing = timing or Timing()
        self._prover = Prover(packages, self._timing)
        self._settled = settled
        self._chance = chance

    def handle(self, claim: Claim) -> None:
        """One pass over the server that the claim names. LeaseLost when another worker took over."""
        with self._database.read() as session:
            place = read_place(session, claim.key)
        if place is None:
            with self._database.unit(SYSTEM) as tx:
                work.finish(tx, claim, next_due=None)
            return
        _Pass(self, Lease(self._database, claim), place).run()

    @property
    def timing(self) -> Timing:
        """The intervals in force."""
        return self._timing


class _Pass:
    """One pass: what was seen, and what is done about it."""

    def __init__(self, reconciler: Reconciler, lease: Lease, place: Place) -> None:
        self._all = reconciler
        self._database = reconciler._database
        self._timing = reconciler._timing
        self._prover = reconciler._prover
        self._lease = lease
        self._place = place
        self._reach = self._reached()
        self._due: list[datetime] = []

    def run(self) -> None:
        failpoints.reach("claim")
        sighting = self._look(self._to_hash(self._place.standings))
        judged = looking.judge(sighting, self._place.standings, self._timing)
        renewed = {one.standing.endpoint.id: self._renew(one) for one in judged}
        attempts = self._decide(judged, renewed)
        if not attempts or sighting.server is None:
            return
        self._act(attempts, judged, sighting)
        self._conclude(attempts)

    def _look(self, names: Sequence[str]) -> Sighting:
        return looking.look(self._lease, self._place, self._reach, names)

    # -- first unit: what was found, and what is to be done

    def _decide(self, judged: Sequence[Judged], renewed: dict[str, Sequence[Proved]]) -> list[Attempt]:
        """Writes down what was found and decides. With nothing to do, the server is given back in the same unit.

        The lease is compared last: admission locks an endpoint and then wakes its server, so the other order could lock up.
        """
        with self._database.unit(SYSTEM) as tx:
            quiet = [one for one in judged if not renewed[one.standing.endpoint.id] and self._is_quiet(one, tx.now)]
            looking.write_quiet(tx, quiet)
            told = {one.standing.endpoint.id for one in quiet}
            others = sorted(
                (one for one in judged if one.standing.endpoint.id not in told), key=lambda one: one.standing.endpoint.id
            )
            attempts = [made for one in others if (made := self._consider(tx, one, renewed[one.standing.endpoint.id]))]
            for attempt in attempts:
                pushlog.open_record(tx, attempt, self._lease.claim.token)
            if attempts:
                self._lease.fence(tx)
            else:
                self._give_back(tx)
            return attempts

    def _is_quiet(self, judged: Judged, now: datetime) -> bool:
        """Whether there is nothing to write down but the time, and nothing to do."""
        endpoint, remembered = judged.standing.endpoint, judged.standing.look
        if remembered.retry_at is not None or not looking.is_quiet(judged):
            return False
        return self._course(judged, endpoint, None, now, revoked=judged.standing.revoked) == "look"

    def _course(
        self, judged: Judged, endpoint: Endpoint, retry_at: datetime | None, now: datetime, *, revoked: bool
    ) -> courses.Course:
        return courses.course(
            judged.verdict,
            state=endpoint.state,
            repair=endpoint.repair,
            revoked=revoked,
            proved=endpoint.proved_generation == endpoint.generation,
            retry_at=retry_at,
            now=now,
        )

    def _consider(self, tx: Unit, judged: Judged, renewed: Sequence[Proved]) -> Attempt | None:
        endpoint = looking.write_down(tx, judged, proofs_failed=proofs.failure(renewed))
        if endpoint is None:
            return None
        self._tell_of_base(tx, judged, endpoint)
        proofs.keep(tx, endpoint.id, endpoint.generation, [*renewed, *_disproved(judged)])
        remembered = tx.session.get(Look, endpoint.id)
        retry_at = remembered.retry_at if remembered is not None else None
        if retry_at is not None:
            self._due.append(retry_at)
        revoked = bool(revoked_now(tx.session, [endpoint.id]))
        chosen = self._course(judged, endpoint, retry_at, tx.now, revoked=revoked)
        if chosen == "look" or (chosen == "prove" and proofs.failure(renewed)):
            return None
        if self._must_drain(endpoint, chosen, tx.now) or self._is_fight(tx, endpoint, chosen):
            return None
        return Attempt(judged.standing, chosen, new_id("psh"), tx.now)

    def _tell_of_base(self, tx: Unit, judged: Judged, endpoint: Endpoint) -> None:
        if endpoint.base_digest != judged.standing.endpoint.base_digest:
            self._all._settled(tx, endpoint.id)

    def _must_drain(self, endpoint: Endpoint, chosen: courses.Course, now: datetime) -> bool:
        """Whether requests may still be on their way to what would be unloaded."""
        until = endpoint.proved_at + self._timing.drain if endpoint.proved_at is not None else now
        if chosen != "unload" or now >= until:
            return False
        self._due.append(until)
        return True

    def _is_fight(self, tx: Unit, endpoint: Endpoint, chosen: courses.Course) -> bool:
        """Counts repairs; when they do not last, it stops and calls for a person instead."""
        if chosen != "push" or endpoint.proved_generation != endpoint.generation:
            return False
        before = endpoint.facts("state", "repairs")
        times = [datetime.fromisoformat(one) for one in endpoint.repairs]
        fought = endpoint.state in ("partial", "out_of_sync") and courses.fight(times, tx.now, interval=self._timing.observe)
        if fought:
            endpoint.state, endpoint.state_since = courses.ENDPOINT.next(endpoint.state, "call"), tx.now
        else:
            endpoint.repairs = [*endpoint.repairs, tx.now.isoformat()][-courses.FIGHT_REPAIRS :]
        endpoint.revision += 1
        tx.record(
            "endpoint.call" if fought else "endpoint.repair", endpoint, before=before, after=endpoint.facts("state", "repairs")
        )
        return fought

    # -- outside any unit: act, look again

    def _act(self, attempts: Sequence[Attempt], judged: Sequence[Judged], sighting: Sighting) -> None:
        if self._reach.target is None or sighting.server is None:
            return
        known = {one.standing.endpoint.id: one for one in judged}
        pusher = Pusher(
            self._database,
            self._all._packages,
            self._timing,
            self._lease,
            self._reach.target,
            self._reach,
            known,
            sighting.server,
        )
        if pushes := [one for one in attempts if one.course == "push"]:
            pusher.push(pushes)
        if unloads := [one for one in attempts if one.course == "unload"]:
            pusher.unload(unloads)

    # -- last unit: what came of it

    def _conclude(self, attempts: Sequence[Attempt]) -> None:
        """Looks again, proves what is as wanted, and writes it all down in the unit that gives the server back."""
        standings = [one.standing for one in attempts]
        sighting = self._look(sorted({name for one in standings for name in _names(one)}))
        judged = {one.standing.endpoint.id: one for one in looking.judge(sighting, standings, self._timing)}
        failpoints.reach("read-back")
        for attempt in going(attempts):
            if attempt.course != "unload":
                self._prove(attempt, judged[attempt.standing.endpoint.id])
        with self._database.unit(SYSTEM) as tx:
            for attempt in sorted(attempts, key=lambda one: one.standing.endpoint.id):
                self._settle(tx, attempt, judged[attempt.standing.endpoint.id])
            failpoints.reach("commit")
            self._give_back(tx)

    def _prove(self, attempt: Attempt, judged: Judged) -> None:
        if judged.verdict.state != "in_sync":
            attempt.fail(judged.verdict.reason)
            return
        with attempt.step("prove"):
            attempt.proved = self._take(judged, proofs.KINDS)
        if failed := proofs.failure(attempt.proved):
            attempt.fail(failed)

    def _settle(self, tx: Unit, attempt: Attempt, judged: Judged) -> None:
        endpoint = tx.get(Endpoint, attempt.standing.endpoint.id, lock=True)
        if endpoint.generation != attempt.standing.endpoint.generation:
            attempt.fail("A newer generation was admitted meanwhile.")
            pushlog.close_record(tx, attempt, "overtaken")
            return
        was_proved = endpoint.proved_generation == endpoint.generation
        if attempt.going and attempt.course != "unload":
            self._mark_proved(tx, attempt, endpoint, was_proved)
        looking.write_down(tx, judged, tried=True, proofs_failed=proofs.failure(attempt.proved))
        self._tell_of_base(tx, judged, endpoint)
        proofs.keep(tx, endpoint.id, endpoint.generation, attempt.proved)
        self._count(tx, attempt, endpoint)
        pushlog.close_record(tx, attempt, _outcome(attempt, was_proved))

    def _mark_proved(self, tx: Unit, attempt: Attempt, endpoint: Endpoint, was_proved: bool) -> None:
        before = endpoint.facts("proved_generation", "last_error")
        endpoint.proved_generation = endpoint.generation
        endpoint.routed_generation = endpoint.generation
        if not was_proved:
            endpoint.proved_at = tx.now
            self._begin_baking(tx, attempt, endpoint)
            self._all._settled(tx, endpoint.id)
        endpoint.last_error = None
        endpoint.revision += 1
        after = {**endpoint.facts("proved_generation", "state"), "proofs": {one.kind: one.verdict for one in attempt.proved}}
        tx.record("endpoint.prove", endpoint, before=before, after=after)

    def _begin_baking(self, tx: Unit, attempt: Attempt, endpoint: Endpoint) -> None:
        """From the proof on the previous versions stay warm for the plan's bake time."""
        desired = attempt.standing.desired
        if desired is None or desired.bake_seconds is None:
            return
        row = tx.get(Generation, f"{endpoint.id}/{endpoint.generation}", lock=True)
        if row.bake_until is None:
            row.bake_until = tx.now + timedelta(seconds=desired.bake_seconds)
            tx.record("generation.bake", row, after=row.facts("bake_until"))

    def _count(self, tx: Unit, attempt: Attempt, endpoint: Endpoint) -> None:
        """A failed attempt is repeated later and later; the first sight of a reason goes to the ledger."""
        remembered = tx.session.get(Look, endpoint.id, with_for_update=True) or tx.add(Look(endpoint_id=endpoint.id))
        if attempt.going:
            remembered.failures, remembered.retry_at = 0, None
            self._due.append(tx.now + self._timing.drain)
            return
        timing = self._timing
        pause = courses.backoff(remembered.failures, base=timing.retry_base, cap=timing.retry_cap, jitter=self._all._chance())
        remembered.failures += 1
        remembered.retry_at = tx.now + timedelta(seconds=pause)
        self._due.append(remembered.retry_at)
        if endpoint.last_error != attempt.error:
            endpoint.last_error = attempt.error
            endpoint.revision += 1
            tx.record("endpoint.attempt", endpoint, after={**endpoint.facts("generation"), "error": attempt.error})

    def _give_back(self, tx: Unit) -> None:
        interval = self._timing.observe * (1 - 0.1 * self._all._chance())
        bakes = [one.generation.bake_until for one in self._place.standings if one.generation and one.generation.bake_until]
        soon = [one for one in (*self._due, *bakes) if one > tx.now]
        work.finish(tx, self._lease.claim, next_due=min([tx.now + interval, *soon]))

    # -- adapters and proofs

    def _reached(self) -> Reach:
        troubles: dict[str, str] = {}
        connect = self._all._connections
        target = _made(connect.target, self._place.server, self._place.server.id, troubles)
        routers = {key: made for key, row in self._place.routers.items() if (made := _made(connect.router, row, key, troubles))}
        return Reach(target, routers, troubles)

    def _renew(self, judged: Judged) -> Sequence[Proved]:
        """Takes anew the proofs that failed or grew too old, where all is configured as it was proved."""
        standing = judged.standing
        if standing.desired is None or not standing.is_proved or judged.verdict.state != "in_sync":
            return ()
        due = self._prover.due(standing, judged.seen.at)
        return self._take(judged, due) if due else ()

    def _take(self, judged: Judged, kinds: Iterable[ProofKind]) -> tuple[Proved, ...]:
        if self._reach.target is None:
            return ()
        return self._prover.prove(self._lease, judged, kinds, self._reach.target, self._door(judged.standing))

    def _door(self, standing: Standing) -> Door | None:
        row = self._place.routers.get(standing.endpoint.router_id or "")
        return self._all._connections.door(row) if row is not None else None

    def _to_hash(self, standings: Iterable[Standing]) -> list[str]:
        """Served names whose storage is to be re-hashed in this look, because the proof of it is due."""
        now = self._lease.now()
        due = [one for one in standings if one.desired is not None and "bytes" in self._prover.due(one, now)]
        return sorted({name for one in due for name in _names(one)})


def _disproved(judged: Judged) -> list[Proved]:
    """A difference is at once a proof that failed: nothing may be shown as configured that a look found otherwise."""
    if not judged.standing.is_proved or judged.verdict.state not in ("partial", "out_of_sync"):
        return []
    return [Proved("configured", "failed", judged.verdict.reason)]


def _names(standing: Standing) -> set[str]:
    desired = standing.desired
    return {arm.place[0] for arm in desired.known} if desired is not None else set()


def _outcome(attempt: Attempt, was_proved: bool) -> str:
    if not attempt.going:
        return "failed"
    if attempt.course == "unload":
        return "unloaded"
    return "repaired" if was_proved else "proved"


def _made(make: Callable[[R], A], row: R, key: str, troubles: dict[str, str]) -> A | None:
    """The adapter for a row, or why there is none."""
    try:
        return make(row)
    except CountersignError as error:
        troubles[key] = str(error)[:500]
        return None
