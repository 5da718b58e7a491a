"""Settings in, one explicitly constructed backend out. Nothing here connects; the first use of each part does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlmodel import Session, col, select

from backend import migrate
from backend.access import bearer_file, requests, sign_in_file
from backend.access.bearer_file import Profile
from backend.access.bearers import Bearers
from backend.access.bindings import Bindings
from backend.access.data_sets import DataSets
from backend.access.directory_groups import DirectoryGroups
from backend.access.directory_people import DirectoryPeople
from backend.access.group_mappings import GroupMappings
from backend.access.providers import Providers
from backend.access.service import Identities
from backend.access.service_owners import ServiceOwners
from backend.access.sessions import Sessions
from backend.access.sign_in_file import SignIn
from backend.access.teams import Teams
from backend.access.tokens import Tokens
from backend.audit import heads
from backend.audit.service import Audit
from backend.blueprints.kinds import Hands
from backend.blueprints.service import Blueprints
from backend.changes.notices import Notices
from backend.changes.service import Changes, settled
from backend.core.behind import Behind
from backend.core.configured import read_settings as read_settings
from backend.core.context import Actor
from backend.core.credentials import References
from backend.core.database import Database
from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.delivery.connections import Connections
from backend.delivery.endpoints import Endpoints
from backend.delivery.feeding import Feed
from backend.delivery.log_rules import LogKeeping
from backend.delivery.log_tending import LogTending
from backend.delivery.packaging import Packaging
from backend.delivery.reconciler import Reconciler
from backend.delivery.recorded import Recorded
from backend.delivery.resealing import SealingKeys
from backend.delivery.routers.names import router_type
from backend.delivery.rows import Endpoint
from backend.delivery.servers import Servers
from backend.delivery.store import PackageStore
from backend.delivery.targets.names import target_type
from backend.delivery.timing import Timing
from backend.equipment import keys, outgoing
from backend.evidence.port import GateContext
from backend.evidence.runner import EvidenceRunner
from backend.experiments.comparing.aggregates import Aggregating
from backend.experiments.comparing.looking import Comparing
from backend.experiments.designs.service import Experiments
from backend.findings.service import Findings
from backend.inference_log import probes
from backend.inference_log.service import InferenceLog
from backend.inference_log.sources.of_endpoints import Sources
from backend.inference_log.spool import Spool
from backend.metrics.keeping import Keeping
from backend.metrics.scraping import Scraping
from backend.metrics.service import MetricSources, Retentions, Slos
from backend.monitoring.counting import Counting
from backend.monitoring.references import ReferenceProfiles, Shelf
from backend.monitoring.runs import Monitoring
from backend.monitoring.service import Monitors
from backend.notify.courier import Courier
from backend.notify.links import Links
from backend.notify.outbox import Outbox
from backend.notify.preferences import Preferences
from backend.notify.routes import Routes
from backend.policy import service as policy
from backend.policy.ramps import Ramps
from backend.policy.rows import Environment
from backend.policy.service import Policies
from backend.registry import champions
from backend.registry.cards import Cards
from backend.registry.hooks import Hooks
from backend.registry.intake import Intake
from backend.registry.mirror import Mirror
from backend.registry.mlflow import MlflowRegistry
from backend.registry.rows import Model, Version
from backend.registry.rules import Limits
from backend.registry.service import Versions
from backend.rollouts.service import Rollouts, judged
from backend.settings import Settings
from backend.window_reports import automatic
from backend.window_reports.runner import ReportRunner
from backend.window_reports.service import WindowReports
from backend.window_reports.store import ReportStore


@dataclass(frozen=True)
class Backend:
    """Every service, made once a process."""

    settings: Settings
    database: Database
    guard: Guard
    message_guard: Guard
    connections: Connections
    packages: PackageStore
    identities: Identities
    service_owners: ServiceOwners
    tokens: Tokens
    bearers: Bearers
    bindings: Bindings
    sign_in: SignIn | None
    providers: Providers
    sessions: Sessions
    group_mappings: GroupMappings
    directory_people: DirectoryPeople
    directory_groups: DirectoryGroups
    teams: Teams
    data_sets: DataSets
    recorded: Recorded
    feed: Feed
    log_keeping: LogKeeping
    log_tending: LogTending
    log_sources: Sources
    policies: Policies
    ramps: Ramps
    audit: Audit
    versions: Versions
    intake: Intake
    cards: Cards
    mirror: Mirror
    packaging: Packaging
    servers: Servers
    sealing_keys: SealingKeys
    endpoints: Endpoints
    reconciler: Reconciler
    slos: Slos
    metric_sources: MetricSources
    retentions: Retentions
    scraping: Scraping
    metric_keeping: Keeping
    monitors: Monitors
    reference_profiles: ReferenceProfiles
    counting: Counting
    monitoring: Monitoring
    experiments: Experiments
    comparing: Comparing
    aggregating: Aggregating
    rollouts: Rollouts
    changes: Changes
    blueprints: Blueprints
    evidence: EvidenceRunner
    findings: Findings
    report_store: ReportStore
    window_reports: WindowReports
    report_runner: ReportRunner
    inference_log: InferenceLog
    behind: Behind
    routes: Routes
    preferences: Preferences
    links: Links
    outbox: Outbox
    courier: Courier
    registry_hooks: Hooks

    def confirm_request(self, actor: Actor, request_id: str, reason: str = "") -> None:
        """Does what somebody else asked for; see `access.requests`."""
        done: dict[str, Callable[[Actor, str, str], object]] = {
            "role.grant": self.identities.confirm_grant,
            "policy.set": self.policies.confirm_policy,
            "owner.set": self.teams.confirm_owner,
            "binding.make": self.bindings.confirm,
            "identity.hand_over": self.service_owners.confirm,
            "group_mapping.make": self.group_mappings.confirm,
        }
        done[self._kind_of(request_id)](actor, request_id, reason)

    def refuse_request(self, actor: Actor, request_id: str, reason: str) -> None:
        """Refuses it, or takes it back."""
        done: dict[str, Callable[[Actor, str, str], object]] = {
            "role.grant": self.identities.refuse_grant,
            "policy.set": self.policies.refuse_policy,
            "owner.set": self.teams.refuse_owner,
            "binding.make": self.bindings.refuse,
            "identity.hand_over": self.service_owners.refuse,
            "group_mapping.make": self.group_mappings.refuse,
        }
        done[self._kind_of(request_id)](actor, request_id, reason)

    def _kind_of(self, request_id: str) -> str:
        with self.database.read() as session:
            return requests.line(session, request_id, now=self.database.now(session)).kind

    def close(self) -> None:
        """Writes what is buffered, and returns every connection."""
        self.behind.close()
        self.inference_log.close()
        self.guard.close()
        self.message_guard.close()
        self.database.close()


def build(settings: Settings) -> Backend:
    """The backend of one process."""
    database = Database(settings.sqlalchemy_url)
    guard = outgoing.guard(settings)
    sign_in = read_sign_in(settings)
    messages = outgoing.message_guard(settings, database, sign_in)
    packages = PackageStore(settings.package_store, settings.data_dir / "package-cache")
    connections = Connections(
        guard,
        keys.opener(settings),
        References(settings.credentials_dir),
        mark=lambda: probes.mark(keys.pseudonym_key(settings)),
    )
    registry = _registry(settings, guard)
    versions = Versions(database, registry, Limits.of(settings), alias_pattern=settings.production_alias)
    packaging = Packaging(database, packages)
    providers = Providers(guard)
    log = InferenceLog(settings.inference_log)
    behind, shelf, sources = Behind(), Shelf(), Sources(log, settings.log_tables_file, guard)
    reports = ReportStore(settings.window_reports)
    tokens = Tokens(database, settings, behind.do, exists=_exists)
    profiles = read_profiles(settings)
    servers = _servers(settings, database, guard, connections)
    experiments = Experiments(database, log)
    changes = Changes(
        database,
        versions=versions,
        packaging=packaging,
        packages=packages,
        planner=experiments,
        lease_seconds=settings.lease_seconds,
    )
    return Backend(
        settings=settings,
        database=database,
        guard=guard,
        message_guard=messages,
        connections=connections,
        packages=packages,
        identities=Identities(database, settings, policy.protected, _exists),
        service_owners=ServiceOwners(database, policy.protected),
        tokens=tokens,
        bearers=Bearers(database, tokens, providers, profiles, sign_in, behind.do),
        bindings=Bindings(database, profiles, policy.protected, _exists),
        sign_in=sign_in,
        providers=providers,
        sessions=Sessions(database, providers, sign_in, demo=settings.demo_identities),
        group_mappings=GroupMappings(database, sign_in, demo=settings.demo_identities, exists=_exists),
        directory_people=DirectoryPeople(database, sign_in, demo=settings.demo_identities),
        directory_groups=DirectoryGroups(database, sign_in, demo=settings.demo_identities),
        teams=Teams(database, _exists, policy.protected, sign_in),
        data_sets=DataSets(database, _exists),
        recorded=Recorded(database, packages, log),
        feed=Feed(database, Spool(keys.spool_folder(settings)), lambda: keys.pseudonym_key(settings), log.names),
        log_keeping=LogKeeping(database, lambda: keys.pseudonym_key(settings)),
        log_tending=LogTending(database, log, lambda: keys.pseudonym_key(settings)),
        log_sources=sources,
        policies=Policies(database),
        ramps=Ramps(database),
        audit=Audit(database, heads.HeadStore(settings.ledger_heads, keys.folder(settings))),
        versions=versions,
        intake=Intake(database, versions, settings.data_dir / "uploads"),
        cards=Cards(database),
        mirror=Mirror(
            database,
            registry,
            put_back=champions.as_policy_says(settings.production_alias),
            lease_seconds=settings.lease_seconds,
        ),
        packaging=packaging,
        servers=_servers(settings, database, guard, connections),
        sealing_keys=SealingKeys(database, keys.folder(settings), keys.SEALED),
        endpoints=Endpoints(
            database,
            connections,
            packaging,
            lambda actor, model, number, kind: _made_of(database, versions, packaging, actor, (model, number, kind)),
        ),
        reconciler=Reconciler(
            database, packages, connections, timing=Timing(timedelta(seconds=settings.observe_seconds)), settled=settled
        ),
        slos=Slos(database),
        metric_sources=MetricSources(database, guard),
        retentions=Retentions(database),
        scraping=Scraping(
            database, guard, References(settings.credentials_dir), interval=timedelta(seconds=settings.scrape_seconds)
        ),
        metric_keeping=Keeping(database),
        monitors=Monitors(database),
        reference_profiles=ReferenceProfiles(database),
        counting=Counting(database, log, shelf, tables=sources.cells_of),
        monitoring=Monitoring(
            database,
            log,
            shelf,
            lease_seconds=settings.lease_seconds,
            reports=automatic.ask,
            scratch=settings.data_dir / "scratch",
        ),
        experiments=experiments,
        comparing=Comparing(database, log, judged=judged),
        aggregating=Aggregating(database, log),
        rollouts=Rollouts(database, packages, lease_seconds=settings.lease_seconds),
        changes=changes,
        blueprints=Blueprints(database, _hands(settings, sign_in, guard, connections, packaging), servers, changes),
        evidence=EvidenceRunner(database, settings),
        findings=Findings(database),
        report_store=reports,
        window_reports=WindowReports(database, reports),
        report_runner=ReportRunner(database, log, reports, settings.data_dir / "scratch", lease_seconds=settings.lease_seconds),
        inference_log=log,
        behind=behind,
        routes=Routes(database, messages, lambda: keys.sealer(settings)),
        preferences=Preferences(database),
        links=Links(database, Notices()),
        outbox=Outbox(database, Notices(), mails=settings.mail_url is not None),
        courier=Courier(
            database, Notices(), outgoing.sending(settings, messages, sign_in), lease_seconds=settings.lease_seconds
        ),
        registry_hooks=Hooks(database, settings.mlflow_webhook_secret),
    )


def gate_context(settings: Settings) -> GateContext:
    """What a gate may reach, for the process of one check."""
    backend = build(settings)
    return GateContext(
        database=backend.database,
        artifacts=backend.versions,
        packages=backend.packages,
        target=backend.connections.target,
        target_abilities=lambda kind: target_type(kind).abilities,
        router_abilities=lambda kind: router_type(kind).abilities,
        alarm=backend.findings.fire,
    )


def _servers(
    settings: Settings, database: Database, guard: Guard, connections: Connections, *, resolve: bool = True
) -> Servers:
    own = keys.reserved(settings)
    memory, sealer = settings.demo_identities, keys.sealer(settings)
    return Servers(database, guard, sealer, connections, router_type, in_memory=memory, reserved=own, resolve=resolve)


def _hands(
    settings: Settings, sign_in: SignIn | None, guard: Guard, connections: Connections, packaging: Packaging
) -> Callable[[Database], Hands]:
    """The services whose commands join one unit of work; nothing of them calls anybody."""
    return lambda joined: Hands(
        teams=Teams(joined, _exists, policy.protected, sign_in),
        policies=Policies(joined),
        ramps=Ramps(joined),
        servers=_servers(settings, joined, guard, connections, resolve=False),
        endpoints=Endpoints(joined, connections, packaging, lambda *_: None),
        slos=Slos(joined),
        monitors=Monitors(joined),
    )


def _registry(settings: Settings, guard: Guard) -> MlflowRegistry | None:
    if settings.mlflow_url is None:
        return None
    token = settings.mlflow_token.get_secret_value() if settings.mlflow_token is not None else None
    return MlflowRegistry(settings.mlflow_url, guard, token=token)


def _exists(session: Session, kind: str, name: str) -> bool:
    """Whether there is an environment, a model or an endpoint of that name. A model that an endpoint serves is there too where
    the registry does not tell of it.
    """
    columns = {
        "environment": (col(Environment.id),),
        "model": (col(Model.name), col(Endpoint.model)),
        "endpoint": (col(Endpoint.name),),
    }[kind]
    return any(session.exec(select(one).where(one == name).limit(1)).first() is not None for one in columns)


def _registered_digest(database: Database, model: str, number: int) -> str | None:
    with database.read() as session:
        query = select(Version.artifact_digest).join(Model).where(Model.name == model, Version.number == number)
        return session.exec(query).one_or_none()


def _made_of(
    database: Database, versions: Versions, packaging: Packaging, actor: Actor, wanted: tuple[str, int, str]
) -> str | None:
    """Digest of the package that a registered version makes for a kind of server; None where it is not registered."""
    model, number, kind = wanted
    known = _registered_digest(database, model, number)
    if known is None:
        return None
    with database.read() as session:
        if (found := packaging.find(session, known, kind)) is not None:
            return found.id
    with tempfile.TemporaryDirectory(prefix="countersign-version-") as folder:
        return packaging.build(actor, Path(folder), versions.fetch(model, number, Path(folder)), kind).id


def install(settings: Settings) -> Backend:
    """A backend on a data folder that is ready to use; it is made so where it is not. Repeating it changes nothing."""
    keys.make(settings)
    backend = build(settings)
    prepare(backend)
    return backend


def prepare(backend: Backend) -> None:
    """Makes a data folder usable: keys, schema, built-in environments and identities. Repeating it changes nothing."""
    keys.make(backend.settings)
    migrate.upgrade(backend.database)
    backend.identities.seed_demo()
    backend.group_mappings.settle()
    backend.bindings.settle()
    backend.policies.seed()


def read_sign_in(settings: Settings) -> SignIn | None:
    """How people sign in here; None where the settings name no file. Refusal for one that is wrong."""
    return sign_in_file.read(settings.sign_in_file) if settings.sign_in_file is not None else None


def read_profiles(settings: Settings) -> tuple[Profile, ...]:
    """Whose bearer tokens count besides Countersign's own. Refusal for settings that are wrong."""
    return bearer_file.read(settings.bearer_file) if settings.bearer_file is not None else ()


def missing_database(settings: Settings) -> Refusal | None:
    """Why there is nothing to open yet: a look must not create an empty database."""
    if settings.database_url is not None or (settings.data_dir / "countersign.db").exists():
        return None
    return Refusal(
        f"There is no Countersign database in {settings.data_dir}.",
        "Name its folder with `--data DIR`, or make a new one with `countersign migrate`.",
        code="no-database",
    )
