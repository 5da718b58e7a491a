"""One worker from one backend: which service looks after which kind of work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import structlog

from backend.access import last_admin
from backend.bootstrap import Backend
from backend.core.database import Database
from backend.delivery import looking
from backend.experiments.comparing import service as comparing
from backend.findings import tending
from backend.metrics.keeping import Done
from backend.metrics.scraping import KIND
from backend.monitoring import counting, runs, watch
from backend.notify import keeping
from backend.window_reports import service as window_reports
from backend.window_reports import tending as reports
from backend.worker import jobs, resync
from backend.worker.handling import Handler
from backend.worker.loop import Worker
from backend.worker.metrics import Metrics
from backend.worker.timers import Job
from backend.worker.timing import Timing

log = structlog.get_logger()
STALE_SECONDS, COMPACT_SECONDS, TEND_SECONDS, LOG_SECONDS = 10.0, 3600.0, 30.0, 300.0
MESSAGES_SECONDS, ADMINS_SECONDS = 3600.0, 3600.0
ROLL_UP_SECONDS, PRUNE_SECONDS = 60.0, 3600.0
FINDINGS_SECONDS = 15.0
WATCH_SECONDS, WATCH_OBJECTIVES_SECONDS, PRUNE_RUNS_SECONDS = 60.0, 60.0, 3600.0


def handlers(backend: Backend) -> Mapping[str, Handler]:
    """Kind of work -> the service that looks after one item of it."""
    return {
        "server": backend.reconciler.handle,
        "rollout": backend.rollouts.handle,
        "change": backend.changes.handle,
        "evidence": backend.evidence.handle,
        "notify": backend.outbox.handle,
        "route": backend.courier.handle,
        KIND: backend.scraping.handle,
        counting.KIND: backend.counting.handle,
        runs.KIND: backend.monitoring.handle,
        comparing.KIND: backend.comparing.handle,
        window_reports.KIND: backend.report_runner.handle,
        **_of_the_registry(backend),
    }


def _of_the_registry(backend: Backend) -> Mapping[str, Handler]:
    """Without a registry there is nothing to mirror, and no item of it may be claimed to fail for ever."""
    if backend.settings.mlflow_url is None:
        return {}
    return {"mirror": backend.mirror.handle_mirror, "alias": backend.mirror.handle_alias}


def _of_delivery(backend: Backend) -> tuple[Job, ...]:
    """What the leader does about endpoints that nobody looks at, the inference log's files and rows, and keys that go."""
    return (
        Job("mark-stale", STALE_SECONDS, lambda: _mark_stale(backend)),
        Job("compact-log", COMPACT_SECONDS, lambda: _compact(backend)),
        Job("tend-log", LOG_SECONDS, backend.log_tending.tend),
        Job("tend-reports", LOG_SECONDS, lambda: _tend_reports(backend)),
        Job("tend-keys", TEND_SECONDS, lambda: _tend_keys(backend)),
    )


def _of_access(backend: Backend) -> Job:
    """Says in time that the last admin's role runs out."""
    demo = backend.settings.demo_identities
    return Job("watch-admins", ADMINS_SECONDS, lambda: _watch_admins(backend.database, demo=demo))


def _watch_admins(database: Database, *, demo: bool) -> None:
    last_admin.watch(database, demo=demo)


def _mark_stale(backend: Backend) -> None:
    if found := looking.mark_stale(backend.database, backend.reconciler.timing):
        log.warning("endpoints.stale", count=found)


def _tend_keys(backend: Backend) -> None:
    """Goes on with a rotation of the sealing key, and seals anew what was sealed to an older one meanwhile."""
    done = backend.sealing_keys.tend()
    if done.resealed or done.destroyed:
        log.info("sealing.tended", resealed=done.resealed, destroyed=list(done.destroyed))
    if done.unreadable:
        log.warning("sealing.unreadable", rows=[f"{kind} {row}" for kind, row in done.unreadable])


def _tend_findings(backend: Backend) -> None:
    """Ends snoozes, calls whoever is next where nobody answered, and follows who owns what."""
    tending.tend(backend.database)


def _tend_reports(backend: Backend) -> None:
    """Removes reports that are old, too many, or show rows that were erased."""
    kept = timedelta(days=backend.settings.window_reports_days)
    reports.tend(backend.database, backend.report_store, kept=kept)


def _compact(backend: Backend) -> None:
    backend.inference_log.compact()


def _of_metrics(backend: Backend) -> tuple[Job, ...]:
    """What the leader does about points: coarser ones are made, and what is older than the policy keeps it goes."""
    return (
        Job("roll-up-metrics", ROLL_UP_SECONDS, lambda: _tell("metrics.rolled_up", backend.metric_keeping.roll_up())),
        Job("prune-metrics", PRUNE_SECONDS, lambda: _tell("metrics.pruned", backend.metric_keeping.prune())),
    )


def _of_monitoring(backend: Backend) -> tuple[Job, ...]:
    """What the leader does about monitors: it watches over them and over objectives, and old runs go."""
    return (
        Job("watch-monitors", WATCH_SECONDS, lambda: _watch_monitors(backend.database)),
        Job("watch-objectives", WATCH_OBJECTIVES_SECONDS, lambda: _watch_objectives(backend.database)),
        Job("prune-monitors", PRUNE_RUNS_SECONDS, lambda: watch.prune(backend.database)),
    )


def _watch_monitors(database: Database) -> None:
    if found := watch.watch(database):
        log.warning("monitors.not_well", count=found)


def _watch_objectives(database: Database) -> None:
    if found := watch.watch_objectives(database):
        log.warning("objectives.burning", count=found)


def _tell(event: str, done: Done) -> None:
    if not done.complete:
        log.warning(event, complete=False, made=done.made, gone=done.gone, remedy="The next round goes on with it.")
    elif done.made or done.gone:
        log.debug(event, made=done.made, gone=done.gone, series_gone=done.series_gone)


def worker(backend: Backend, name: str | None = None) -> Worker:
    """The worker of an installation, with the periodic jobs; ready to `run`."""
    metrics, timing, wired = Metrics(), Timing(), handlers(backend)
    resyncs = [one for one in resync.of_the_house() if one.kind in wired]
    periodic = jobs.standard(
        backend.database, backend.audit, metrics, resyncs, overdue_seconds=timing.overdue, kinds=sorted(wired)
    )
    messages = Job("prune-messages", MESSAGES_SECONDS, lambda: keeping.prune(backend.database))
    findings = Job("tend-findings", FINDINGS_SECONDS, lambda: _tend_findings(backend))
    rooms = (*_of_delivery(backend), *_of_metrics(backend), *_of_monitoring(backend))
    periodic = (*periodic, *rooms, _of_access(backend), messages, findings)
    return Worker(backend.database, wired, backend.settings, jobs=periodic, metrics=metrics, timing=timing, name=name)
