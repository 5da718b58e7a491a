"""What the server answers, as types. Times are aware; shares are buckets out of 10,000, as plans hold them.

`tests/services/test_client_types.py` holds each of them to the server's OpenAPI document, field by field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of a list, and what to ask the next page with; None at the end."""

    items: Sequence[T]
    next: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)


@dataclass(frozen=True)
class Me:
    """Whom a token acts as, and what its roles allow now."""

    id: str
    name: str
    kind: str
    owner_id: str | None
    roles: tuple[str, ...]
    may: tuple[str, ...]


# -- models


@dataclass(frozen=True)
class AliasedVersion:
    """An alias and the version that it points to."""

    alias: str
    version: int


@dataclass(frozen=True)
class ModelLine:
    """A model in a list."""

    id: str
    name: str
    description: str
    owner: str
    latest_version: int
    updated_at: datetime
    removed_at: datetime | None
    aliases: tuple[AliasedVersion, ...]


@dataclass(frozen=True)
class ModelPage(Page[ModelLine]):
    """Models, and when the registry was last read whole."""

    read_at: datetime | None = None


@dataclass(frozen=True)
class Alias:
    """Where an alias points, and, for one that is Countersign's, where it is wanted since when and whether that was written."""

    alias: str
    number: int | None
    is_ours: bool
    wanted: int | None
    wanted_since: datetime | None
    is_written: bool


@dataclass(frozen=True)
class VersionLine:
    """A version in a list."""

    model: str
    number: int
    status: str
    author: str
    is_verified: bool
    created_at: datetime
    removed_at: datetime | None
    registered_at: datetime | None
    artifact_digest: str | None
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """One model: its aliases, and the newest of its versions."""

    name: str
    aliases: tuple[Alias, ...]
    versions: Page[VersionLine]


@dataclass(frozen=True)
class Registration:
    """A version as it was registered: nothing in it changes afterwards."""

    number: int
    artifact_digest: str | None
    registered_at: datetime | None
    registered_by: str | None
    author_identity_id: str | None
    pickled: tuple[str, ...]
    signature: Mapping[str, Any] | None
    dependencies: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """One version whole: as the registry tells it now, and as it was registered, if it was."""

    model: str
    number: int
    status: str
    author: str
    run_id: str | None
    code_version: str
    description: str
    source: str
    created_at: datetime
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    datasets: tuple[Mapping[str, Any], ...]
    aliases: tuple[str, ...]
    registered: Registration | None
    changed_since: tuple[str, ...]


@dataclass(frozen=True)
class Intake:
    """A version being taken in. `state`: running, done, refused, failed or interrupted."""

    id: str
    kind: str
    model: str
    number: int | None
    file: str
    started_by: str
    started_by_name: str
    started_at: datetime
    finished_at: datetime | None
    state: str
    fraction: float
    doing: str
    message: str
    remedy: str
    kept: str
    tried_again: bool


# -- changes


@dataclass(frozen=True)
class ChangeLine:
    """A change in a list."""

    id: str
    number: int
    title: str
    state: str
    state_reason: str
    endpoint: str
    environment: str
    model: str
    version: int
    requester: str
    decide_by: datetime | None
    updated_at: datetime


@dataclass(frozen=True)
class DifferenceLine:
    """One field that a plan changes: a sentence, and the values before and after."""

    field: str
    says: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Move:
    """So many of 10,000 buckets go from one arm to another."""

    source: str
    target: str
    buckets: int


@dataclass(frozen=True)
class Difference:
    """Everything that a plan changes; `anew`: every unit is assigned anew."""

    summary: str
    lines: tuple[DifferenceLine, ...]
    moves: tuple[Move, ...]
    anew: bool


@dataclass(frozen=True)
class Vote:
    """One vote, with the digests that it is bound to; `counts` while those are the present ones."""

    voter: str
    verdict: str
    comment: str
    at: datetime
    counts: bool
    void_reason: str
    plan_digest: str
    base_digest: str


@dataclass(frozen=True)
class Evidence:
    """One check of a change: what its newest result is worth now, and how far a run has come."""

    id: str
    gate: str
    title: str
    weight: str
    standing: str
    verdict: str
    summary: str
    findings: tuple[Mapping[str, Any], ...]
    age_seconds: float | None
    valid_until: datetime | None
    fraction: float
    doing: str


@dataclass(frozen=True)
class Comment:
    """One remark."""

    author: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Remark:
    """A remark that was added."""

    id: str
    change_id: str
    at: datetime


@dataclass(frozen=True)
class Step:
    """One step of a ramp: shares in buckets by arm, and `done`, `now` or `ahead`."""

    shares: Mapping[str, int]
    hold_seconds: int
    person: bool
    standing: str


@dataclass(frozen=True)
class Rollout:
    """The walk through an approved ramp."""

    id: str
    change_id: str
    state: str
    reason: str
    step: int
    steps: tuple[Step, ...]
    hold_until: datetime | None
    waits_for_person: bool
    can_go_back: bool
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Impact:
    """What else a change touches."""

    on_the_same_server: tuple[str, ...]
    run_the_version: tuple[str, ...]
    open_changes: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Change:
    """Everything about one change. `plan_digest` and `base_digest` are what a vote is bound to.

    `may`: action -> "" where whoever asked may do it now, else why not. `etag` binds a write to this state of it.
    """

    line: ChangeLine
    reason: str
    plan: Mapping[str, Any]
    plan_digest: str
    base: Mapping[str, Any]
    base_digest: str
    policy: str
    start_mode: str
    start_at: datetime | None
    supersede: bool
    changes: Difference
    since_earlier: Difference | None
    drawn_on: str
    votes: tuple[Vote, ...]
    evidence: tuple[Evidence, ...]
    comments: tuple[Comment, ...]
    missing: tuple[str, ...]
    may: Mapping[str, str]
    rollout: Rollout | None
    impact: Impact
    etag: str = field(default="", compare=False, metadata={"told": False})

    @property
    def number(self) -> int:
        """By which people name it."""
        return self.line.number

    @property
    def state(self) -> str:
        """The state that it is in."""
        return self.line.state


@dataclass(frozen=True)
class Moment:
    """Something that happened to a change, as the ledger has it."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Preview:
    """A plan as it would be drawn now."""

    plan: Mapping[str, Any]
    base: Mapping[str, Any]
    changes: Difference
    drawn_on: str
    policy: str
    is_packaged: bool
    lacks: tuple[str, ...]
    waits: str


# -- endpoints


@dataclass(frozen=True)
class LiveShare:
    """One version as it was last seen on an endpoint."""

    arm: str
    version: int
    buckets: int
    champion: bool


@dataclass(frozen=True)
class Proof:
    """The newest result of one kind of proof, with its age."""

    kind: str
    verdict: str
    reason: str
    generation: int
    age_seconds: float
    holds: bool
    details: Mapping[str, Any]


@dataclass(frozen=True)
class EndpointLine:
    """An endpoint in a list."""

    id: str
    name: str
    environment: str
    model: str
    server: str
    router: str | None
    served_name: str
    mode: str
    repair: str
    state: str
    reason: str
    since: datetime
    paused: bool
    stale: bool
    healthy: bool
    seen_seconds: float | None
    generation: int
    routed_generation: int
    proved_generation: int
    created_by: str
    champion_version: int | None
    live_version: int | None
    live: tuple[LiveShare, ...]
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Arm:
    """One arm as wanted and as seen; what was seen is None where nobody saw it lately."""

    name: str
    version: int
    role: str
    served_name: str
    served_version: int
    package_digest: str
    artifact_digest: str
    champion: bool
    wanted_share: int
    seen_share: int | None
    seen_champion: bool | None
    seen_state: str | None


@dataclass(frozen=True)
class Stranger:
    """A version under an endpoint's served name that no approval names."""

    endpoint: str
    served_name: str
    served_version: int
    seen_at: datetime | None


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: wanted against seen, each proof with its age, the last error and the next attempt."""

    line: EndpointLine
    revision: int
    created_at: datetime
    created_by: str
    created_by_name: str
    arms: tuple[Arm, ...]
    shadow: str | None
    salt: str
    unit_header: str
    strangers: tuple[Stranger, ...]
    seen: Mapping[str, Any] | None
    seen_at: datetime | None
    base: Mapping[str, Any] | None
    base_digest: str | None
    bake_until: datetime | None
    proved_at: datetime | None
    last_error: str | None
    failures: int
    retry_at: datetime | None
    next_look_at: datetime | None
    working: bool
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Share:
    """One arm of a generation."""

    arm: str
    version: int
    buckets: int
    served_name: str
    served_version: int
    role: str
    package_digest: str
    artifact_digest: str


@dataclass(frozen=True)
class Generation:
    """One admitted step, with where it came from."""

    number: int
    reason: str
    step: int
    digest: str
    champion: str | None
    shares: tuple[Share, ...]
    authorization_id: str | None
    change_id: str | None
    policy: str | None
    admitted_at: datetime
    admitted_by: str
    admitted_by_name: str
    proved_at: datetime | None
    bake_until: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class Push:
    """One attempt to make a generation true."""

    id: str
    endpoint: str
    generation: int
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    outcome: str
    steps: tuple[Mapping[str, Any], ...]
    error: str | None


@dataclass(frozen=True)
class EndpointMoment:
    """How an endpoint stood at a moment."""

    at: datetime
    exists: bool
    desired: Generation | None
    votes: tuple[Mapping[str, Any], ...]
    state: str | None
    reason: str
    seen: Mapping[str, Any] | None
    seen_at: datetime | None


@dataclass(frozen=True)
class Running:
    """One version found under an endpoint's served name."""

    served_name: str
    served_version: int
    state: str
    reason: str
    package_digest: str | None
    arm: str | None
    share: int | None


@dataclass(frozen=True)
class Unmanaged:
    """A model on a server under a name of no endpoint: (version, state) of each version."""

    served_name: str
    versions: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Baseline:
    """What would be signed off, as it runs now; a signature is bound to `digest`."""

    endpoint: str
    environment: str
    model: str
    server: str
    router: str | None
    served_name: str
    seen_at: datetime
    running: tuple[Running, ...]
    champion: str | None
    unmanaged: tuple[Unmanaged, ...]
    foreign_routes: tuple[str, ...]
    obstacles: tuple[str, ...]
    digest: str
    says: str


# -- servers and routers


@dataclass(frozen=True)
class WaitingMove:
    """A move that somebody else has to confirm."""

    settings: Mapping[str, Any]
    place: str
    by: str
    by_id: str
    at: datetime
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class Server:
    """A server in a list; `has_credential` is all that is told of one."""

    id: str
    name: str
    kind: str
    settings: Mapping[str, Any]
    upstream: str
    has_credential: bool
    revision: int
    endpoints: int
    managed: int
    seen_at: datetime | None
    next_look_at: datetime | None
    last_error: str | None
    created_at: datetime
    move: WaitingMove | None
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Router:
    """A router in a list."""

    id: str
    name: str
    kind: str
    settings: Mapping[str, Any]
    public_url: str
    has_credential: bool
    revision: int
    endpoints: int
    created_at: datetime
    move: WaitingMove | None
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Advisory:
    """A published weakness of what a server said that it is; `fixed`: the releases that mend it."""

    product: str
    cves: tuple[str, ...]
    says: str
    fixed: tuple[str, ...]
    remedy: str
    source: str
    since: str


@dataclass(frozen=True)
class Inspected:
    """What a server or a router said of itself, and what its kind is able to do."""

    product: str
    version: str
    live: bool
    warnings: tuple[str, ...]
    abilities: Mapping[str, Any]
    extensions: tuple[str, ...] = ()
    advisories: tuple[Advisory, ...] = ()


# -- people, roles, what takes two


@dataclass(frozen=True)
class Identity:
    """A person or a service, with the roles that count everywhere; of a service also who owns it, and whether he is active."""

    id: str
    name: str
    display_name: str
    kind: str
    owner: str | None
    active: bool
    is_demo: bool
    created_at: datetime
    roles: tuple[str, ...]
    answered_for: bool = True


@dataclass(frozen=True)
class Binding:
    """What acts as a service: tokens of an issuer that say all of `claims`. `state`: active, expired, ended or off."""

    id: str
    profile: str
    issuer: str
    claims: Mapping[str, str]
    identity: str
    role: str | None
    scope: str
    state: str
    made_by: str
    made_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_by: Mapping[str, str]


@dataclass(frozen=True)
class Issuer:
    """An issuer whose tokens are taken. `kind`: access, github or gitlab."""

    name: str
    title: str
    kind: str
    issuer: str
    audience: str


@dataclass(frozen=True)
class Bound:
    """What came of binding: the binding, or the request that a second admin has to confirm."""

    binding: str | None
    request: str | None


@dataclass(frozen=True)
class Grant:
    """One role given in one scope."""

    identity: str
    name: str
    role: str
    scope: str
    expires_at: datetime | None
    is_in_force: bool


@dataclass(frozen=True)
class Settled:
    """What came of it: done, or the request that a second person has to confirm first."""

    done: bool
    request: str | None


@dataclass(frozen=True)
class Request:
    """What one admin asked for and a second one has to confirm."""

    id: str
    kind: str
    says: str
    what: Mapping[str, Any]
    state: str
    asked_by: str
    asked_by_name: str
    asked_at: datetime
    expires_at: datetime
    settled_by_name: str | None
    settled_at: datetime | None
    reason: str


@dataclass(frozen=True)
class Team:
    """A team, who belongs to it, and what it owns."""

    id: str
    name: str
    title: str
    members: tuple[str, ...]
    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    created_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True)
class Token:
    """A token in a list, without anything that could be used."""

    id: str
    identity: str
    name: str
    state: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    role: str | None
    scope: str


@dataclass(frozen=True)
class NewToken(Token):
    """A token that was just made. `token` is its text, told this once."""

    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DataSetGrant:
    """Who may read a data set until when."""

    id: str
    identity: str | None
    team: str | None
    data_set: str
    given_by: str
    given_at: datetime
    until: datetime
    is_in_force: bool


# -- policies, freezes, the ledger


@dataclass(frozen=True)
class EnvironmentLine:
    """An environment in promotion order."""

    name: str
    policy: str
    frozen: str


@dataclass(frozen=True)
class Policy:
    """What an environment asks for now."""

    environment: str
    policy: str
    rules: Mapping[str, Any]
    digest: str
    created_by: str
    created_at: datetime
    problems: tuple[str, ...]
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class SavedPolicy:
    """The policy in force, and the request that a second person has to confirm before another one is."""

    policy: str
    problems: tuple[str, ...]
    request: str | None


@dataclass(frozen=True)
class Freeze:
    """A stop of all starts in an environment, or everywhere."""

    id: str
    scope: str
    reason: str
    set_by: str
    set_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None


@dataclass(frozen=True)
class Event:
    """One row of the ledger."""

    seq: int
    at: datetime
    actor_id: str
    action: str
    subject_kind: str
    subject_id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    hash: str


@dataclass(frozen=True)
class BrokenRow:
    """The first row that does not hold, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Verification:
    """What walking the ledger's chain found."""

    intact: bool
    rows: int
    heads: int
    last_hash: str
    first_bad: BrokenRow | None
    signed_to: int
    warning: str


# -- configuration as code, ramps by name


@dataclass(frozen=True)
class RampStep:
    """One step of a ramp; its share in buckets out of 10,000."""

    share: int
    hold_seconds: int
    person: bool


@dataclass(frozen=True)
class NamedRamp:
    """Steps under a name, and the environments whose policies ask for it."""

    name: str
    steps: tuple[RampStep, ...]
    revision: int
    asked_for_by: tuple[str, ...]
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class ConfigFault:
    """What is refused, and where (`FILE:LINE:COLUMN`) the files ask for it."""

    where: str
    message: str
    remedy: str
    code: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} {self.remedy}".strip()


@dataclass(frozen=True)
class ConfigField:
    """One field: what it is, and what it shall be."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True)
class ConfigObject:
    """One declared object. `action`: create, change, remove, none or waits; `how`: direct, request, move, change."""

    kind: str
    name: str
    action: str
    fields: tuple[ConfigField, ...]
    where: str
    how: tuple[str, ...]
    notes: tuple[str, ...]
    refused: ConfigFault | None
    mark: str


@dataclass(frozen=True)
class ConfigPlan:
    """What applying would do. `left`: kind -> what is there and in none of the files; it is left alone."""

    digest: str
    differs: bool
    counts: Mapping[str, int]
    objects: tuple[ConfigObject, ...]
    left: Mapping[str, tuple[str, ...]]

    @property
    def faults(self) -> tuple[ConfigFault, ...]:
        """What is refused."""
        return tuple(one.refused for one in self.objects if one.refused is not None)


@dataclass(frozen=True)
class ConfigDone:
    """What became of one object: done, a request that a second person confirms, a change, or refused after all."""

    kind: str
    name: str
    says: str
    request: str | None
    change: int | None
    refused: ConfigFault | None


@dataclass(frozen=True)
class ConfigApplied:
    """The plan, and what was done."""

    plan: ConfigPlan
    done: tuple[ConfigDone, ...]

    @property
    def refused(self) -> tuple[ConfigFault, ...]:
        """Changes that could not be proposed after the rest had been done."""
        return tuple(one.refused for one in self.done if one.refused is not None)


@dataclass(frozen=True)
class ConfigExport:
    """What is there: as YAML that `apply` takes, and as values."""

    text: str
    objects: tuple[Mapping[str, Any], ...]


# -- messages


@dataclass(frozen=True)
class MessageEvent:
    """One thing that one may hear of. `audience`: who hears of it without having asked."""

    name: str
    says: str
    urgent: bool
    audience: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """Where messages go, without anything secret of it.

    `health` is `new`, `ok`, `failing` or `paused`; `waiting` and `dead` count messages that wait and that were given up.
    """

    id: str
    name: str
    kind: str
    shown: str
    owner: str
    state: str
    state_reason: str
    health: str
    says: str
    ok_at: datetime | None
    failing_since: datetime | None
    waiting: int
    dead: int
    two_secrets_until: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class NewRoute(Route):
    """A route that was just made or given another secret. `secret` is what a webhook is signed with, told this once."""

    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Subscription:
    """What a route, or one's own `mail`, hears of."""

    id: str
    route: str
    events: tuple[str, ...]
    object_kind: str
    object_name: str
    created_at: datetime


@dataclass(frozen=True)
class Preferences:
    """How one is told."""

    zone: str
    quiet_from: str | None
    quiet_to: str | None
    urgent_through: bool
    mail: bool
    muted: tuple[str, ...]
    etag: str = field(default="", compare=False, metadata={"told": False})


@dataclass(frozen=True)
class Message:
    """One message. `state` is `waiting`, `sent`, `dead` (given up) or `dropped` (not to be told any more)."""

    id: str
    route: str
    whom: str
    event: str
    says: str
    subject_kind: str
    subject_id: str
    seq: int
    count: int
    state: str
    result: str
    attempts: int
    due_at: datetime
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True)
class MessageTry:
    """One try to send a message."""

    at: datetime
    seconds: float
    ok: bool
    status: int | None
    says: str


@dataclass(frozen=True)
class WholeMessage:
    """A message with every try."""

    line: Message
    tries: tuple[MessageTry, ...]
