"""Keeps the rows that pages list equal to what the registry says, and the aliases that are ours where they are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from backend.access.checks import require
from backend.core.context import SYSTEM, Actor
from backend.core.database import Database
from backend.core.errors import CountersignError, NotFound
from backend.core.outbound import MAX_ANSWER_SECONDS
from backend.core.work import Claim, LeaseLost, finish, renew, wake
from backend.registry import aliases, rules
from backend.registry.aliases import Aliases, PutBack
from backend.registry.passes import Done, GoOn, Walk
from backend.registry.port import Registry
from backend.registry.rows import MirrorState

KIND = "mirror"
"""The kind of work item, keyed by `*` for everything or by the name of one model."""
EVERYTHING, RECENT = "*", "recent"
"""Keys of the state of a whole pass and of one over the latest changes; the former also of the work item."""
LONGEST_CALL_SECONDS = 60.0 + MAX_ANSWER_SECONDS
"""One page of a large registry may take so long (to be reached, and to answer), and nothing can be renewed meanwhile."""


class Mirror:
    """Copies the registry's models, versions, runs and aliases into rows, level-triggered and in whole passes.

    Args:
        database: where the rows are.
        registry: what is copied; None where none is configured: every pass is refused then.
        put_back: whether an alias that was moved by hand is put back, or only reported; see `Aliases`.
        interval: seconds between two looks; where a whole pass takes long, most of them are at the latest changes only.
        lease_seconds: for how long a claim is renewed while a pass goes on; at least as long as one call may take.
        most_runs, most_absent: runs read, and absences confirmed, in one pass; the rest waits for the next.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry | None,
        *,
        put_back: PutBack = lambda _session, _alias: True,
        interval: float = rules.READ_SECONDS,
        lease_seconds: float = 30.0,
        most_runs: int = 500,
        most_absent: int = 200,
    ) -> None:
        self._database = database
        self._connected = registry
        self._put_back = put_back
        self._interval = interval
        self._lease_seconds = max(lease_seconds, LONGEST_CALL_SECONDS)
        self._most = (most_runs, most_absent)

    def start(self) -> None:
        """Makes the pass over everything due. A worker calls it when it starts; repeating it is harmless."""
        with self._database.unit(SYSTEM) as tx:
            wake(tx, KIND, EVERYTHING)

    def ask(self, actor: Actor, model: str | None = None) -> None:
        """Makes the next look at everything, or at one model, due now. A worker takes it; what it finds is in the lists."""
        with self._database.unit(actor) as tx:
            require(tx, actor, "registry.refresh", model=model)
            self._registry()
            wake(tx, KIND, model or EVERYTHING)

    def mirror_all(self, go_on: GoOn = lambda: None) -> Done:
        """One pass over the whole registry. `go_on` is called before each call to it, and may raise."""
        started = time.monotonic()
        done = self._walk(go_on).everything()
        self._look_at_aliases(go_on)
        self._note_pass(done, time.monotonic() - started)
        return done

    def mirror_recent(self, go_on: GoOn = lambda: None) -> Done:
        """What changed lately, without looking at everything: for the time between two whole passes."""
        started = time.monotonic()
        done = self._walk(go_on).recent()
        self._look_at_aliases(go_on)
        self._note_pass(done, time.monotonic() - started, RECENT)
        return done

    def mirror_model(self, name: str, go_on: GoOn = lambda: None) -> Done:
        """One pass over one model, as when somebody asks to look again."""
        done = self._walk(go_on).one(name)
        self._look_at_aliases(go_on)
        return done

    def sync_alias(self, model_id: str, go_on: GoOn = lambda: None) -> bool:
        """Brings a model's aliases to where they are wanted. Returns whether any is to be watched further."""
        return self._aliases().sync(model_id, go_on)

    def handle_mirror(self, claim: Claim) -> None:
        """Looks after a claimed item: `*` comes again, one model's is done once. A failing registry rests longer each time."""
        go_on = self._renewing(claim, self._lease_seconds / 3)
        if claim.key == EVERYTHING:
            self._look_after(claim, lambda: self._next_pass(go_on))
        else:
            self._look_after(claim, lambda: _nothing_more(self.mirror_model(claim.key, go_on)))

    def handle_alias(self, claim: Claim) -> None:
        """Looks after a claimed model's aliases: written where wanted, and watched as long as one of them is ours."""
        go_on = self._renewing(claim, 0.0)
        again = timedelta(seconds=self._interval)
        self._look_after(claim, lambda: again if self.sync_alias(claim.key, go_on) else None)

    def _next_pass(self, go_on: GoOn) -> timedelta:
        """A whole pass when one is due, else what changed lately; sooner again while something is left to ask for."""
        with self._database.read() as session:
            last, now = session.get(MirrorState, EVERYTHING), self._database.now(session)
        is_due = last is None or rules.is_whole_pass_due(last.completed_at, last.seconds, now, interval=self._interval)
        done = self.mirror_all(go_on) if is_due else self.mirror_recent(go_on)
        is_left = done.runs_left > 0 or done.absent_left > 0
        return timedelta(seconds=self._interval / 10 if is_left else self._interval)

    def _look_after(self, claim: Claim, work: Callable[[], timedelta | None]) -> None:
        """Does the work and gives the claim back, whatever came of it. A lost lease is somebody else's to finish."""
        error = None
        try:
            again = work()
        except LeaseLost:
            raise
        except CountersignError as failure:
            again, error = rules.retry_after(claim.failures), str(failure)
        with self._database.unit(SYSTEM) as tx:
            finish(tx, claim, next_due=None if again is None else tx.now + again, error=error)

    def _renewing(self, claim: Claim, every: float) -> GoOn:
        """Renews the claim before the first call, and then at most once in `every` seconds."""
        renewed: float | None = None

        def go_on() -> None:
            nonlocal renewed
            if renewed is None or time.monotonic() - renewed >= every:
                renew(self._database, claim, seconds=self._lease_seconds)
                renewed = time.monotonic()

        return go_on

    def _walk(self, go_on: GoOn) -> Walk:
        return Walk(self._database, self._registry(), go_on, *self._most)

    def _aliases(self) -> Aliases:
        return Aliases(self._database, self._registry(), put_back=self._put_back)

    def _registry(self) -> Registry:
        if self._connected is None:
            raise rules.no_registry()
        return self._connected

    def _look_at_aliases(self, go_on: GoOn) -> None:
        with self._database.read() as session:
            ids = aliases.astray(session)
        for model_id in ids:
            go_on()
            try:
                self._aliases().look(model_id)
            except NotFound:
                continue  # the model is gone, which the alias's own item reports

    def _note_pass(self, done: Done, seconds: float, which: str = EVERYTHING) -> None:
        with self._database.unit(SYSTEM) as tx:
            row = tx.session.get(MirrorState, which) or tx.add(MirrorState(id=which, completed_at=tx.now))
            row.completed_at, row.seconds = tx.now, seconds
            row.models, row.versions, row.runs_left = done.models, done.versions, done.runs_left


def _nothing_more(_done: Done) -> None:
    """A model's pass is not due again."""
