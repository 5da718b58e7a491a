"""What one stream of one Envoy comes to: what it asked for, what it took or refused, and what it is to be sent next. No I/O.

State of the world, one answer a kind. Clusters go first, and with them the ones that the routes in force still use; the routes
follow once Envoy took the clusters (it answers only when they are warm); clusters that no route names any more go when no
request can be on its way to them. A newer snapshot never waits for an answer to an older one.
Sources: Envoy's xDS protocol ("ACK/NACK and resource type instance version", "Eventual consistency considerations");
`ClusterManagerImpl::updateClusterCounts`, which holds the answer back while clusters warm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from backend.embedded.envoy import ROUTE_CONFIG
from backend.xds import compiled
from backend.xds.protos.discovery_pb2 import DiscoveryRequest
from backend.xds.rules import Version, one_line, parse_version
from backend.xds.snapshots import Snapshot

MOST_NAMES = 100
MOST_PENDING = 64
_ALL = "*"


class Malformed(ValueError):
    """What no Envoy says."""


@dataclass(frozen=True)
class Answer:
    """One message to send."""

    kind: str
    version: Version
    nonce: str
    content: bytes


@dataclass
class _Kind:
    """One kind of resource on one stream.

    Args:
        names: what it asks for; None before it asked.
        fresh: it asked for something that it has not been sent since.
        pending: nonce -> what was sent and not answered yet.
        last: the nonce that was sent last.
        has: what it took last, here or on the stream before; None for what does not lie here.
        refused: what it refused and why; None once it took a later one.
    """

    names: frozenset[str] | None = None
    fresh: bool = False
    pending: dict[str, Version] = field(default_factory=dict)
    last: str = ""
    has: Version | None = None
    refused: tuple[Version, str] | None = None

    def wants(self, name: str) -> bool:
        return self.names is not None and (not self.names or _ALL in self.names or name in self.names)

    def is_told(self, version: Version) -> bool:
        """Whether there is nothing to send: it has this, is being asked to take it, or refused it."""
        if self.fresh:
            return False
        known = (self.has, self.refused[0] if self.refused else None, self.pending.get(self.last))
        return version in known


class Exchange:
    """One stream.

    Args:
        known: hears a version that an Envoy says it has; whether it is one that lies here.
        get: the snapshot of a number, if it lies here.
    """

    def __init__(self, known: Callable[[Version], bool], get: Callable[[int], Snapshot | None]) -> None:
        self._known, self._get = known, get
        self._kinds = {compiled.CLUSTERS: _Kind(), compiled.ROUTES: _Kind()}
        self._sent = 0
        self.settled_at = 0.0
        """When it took its routes."""

    @property
    def routes(self) -> int:
        """The number of the snapshot whose routes are in force; 0 for none, or one that does not lie here."""
        has = self._kinds[compiled.ROUTES].has
        return has.number if has is not None else 0

    @property
    def refused(self) -> tuple[int, str] | None:
        """The snapshot that it refused last, and why."""
        found = [kind.refused for kind in self._kinds.values() if kind.refused is not None]
        version, why = max(found, key=lambda one: one[0].number, default=(None, ""))
        return (version.number, why) if version is not None else None

    @property
    def used(self) -> set[int]:
        """Snapshots that it may still have something of."""
        versions = [one for kind in self._kinds.values() for one in (kind.has, *kind.pending.values()) if one is not None]
        return {number for one in versions for number in (one.number, one.beside) if number}

    def take(self, request: DiscoveryRequest, now: float) -> None:
        """Hears one request. Kinds that are not ours are left unanswered. Raises Malformed."""
        kind = self._kinds.get(request.type_url)
        if len(request.resource_names) > MOST_NAMES:
            raise Malformed("more names are asked for than there are")
        if kind is None:
            return
        if not request.response_nonce and kind.names is None:
            self._begin(kind, request)
        self._answered(kind, request, now)
        if not request.response_nonce or request.response_nonce == kind.last:
            names = frozenset(request.resource_names)
            kind.fresh = kind.fresh or kind.names is None or bool(names - kind.names)
            kind.names = names

    def next(self, newest: Snapshot | None, now: float) -> Answer | None:
        """What is to be sent now, if anything is."""
        if newest is None:
            return None
        return self._clusters(newest, now) or self._routes(newest)

    def wake_in(self, newest: Snapshot | None, now: float) -> float | None:
        """Seconds until something may be to be sent without anything having happened."""
        has = self._kinds[compiled.CLUSTERS].has
        if newest is None or has is None or not has.beside or self.routes != newest.number:
            return None
        return max(self.settled_at + newest.drain_seconds - now, 0.0)

    # -- hearing

    def _begin(self, kind: _Kind, request: DiscoveryRequest) -> None:
        """What it brings along from the stream before, possibly to another process."""
        claimed = parse_version(request.version_info)
        if claimed is not None and self._known(claimed):
            kind.has = claimed

    def _answered(self, kind: _Kind, request: DiscoveryRequest, now: float) -> None:
        sent = kind.pending.get(request.response_nonce)
        if sent is None:
            return
        for nonce in list(kind.pending):  # what was sent before it is answered too, or never will be
            del kind.pending[nonce]
            if nonce == request.response_nonce:
                break
        if request.HasField("error_detail"):
            kind.refused = (sent, one_line(request.error_detail.message) or "it did not say why")
            return
        kind.refused = None
        kind.has = sent
        if kind is self._kinds[compiled.ROUTES]:
            self.settled_at = now

    # -- sending

    def _clusters(self, newest: Snapshot, now: float) -> Answer | None:
        kind = self._kinds[compiled.CLUSTERS]
        if kind.names is None:
            return None
        beside = self._beside(newest, now)
        version = newest.version(beside.number if beside is not None else 0)
        if kind.is_told(version):
            return None
        if beside is None and _is_all(kind):
            return self._sending(kind, compiled.CLUSTERS, version, newest.clusters_answer)
        clusters = {**(beside.clusters if beside is not None else {}), **newest.clusters}
        chosen = [one for name, one in clusters.items() if kind.wants(name)]
        return self._sending(kind, compiled.CLUSTERS, version, compiled.response(str(version), compiled.CLUSTERS, chosen))

    def _beside(self, newest: Snapshot, now: float) -> Snapshot | None:
        """The older snapshot whose clusters the routes in force, or requests on their way, still need."""
        clusters, routes = self._kinds[compiled.CLUSTERS].has, self._kinds[compiled.ROUTES].has
        if routes is not None and routes.number != newest.number:
            return self._get(routes.number)
        if clusters is None:
            return None
        if routes is None:  # it has not asked for routes yet, and may have some of the stream before
            return self._get(clusters.number if clusters.number != newest.number else clusters.beside)
        if clusters.number == newest.number and clusters.beside and now < self.settled_at + newest.drain_seconds:
            return self._get(clusters.beside)
        return None

    def _routes(self, newest: Snapshot) -> Answer | None:
        kind, clusters = self._kinds[compiled.ROUTES], self._kinds[compiled.CLUSTERS]
        if not kind.wants(ROUTE_CONFIG) or kind.is_told(newest.version()):
            return None
        warm = clusters.has is not None and clusters.has.number == newest.number
        if clusters.names is not None and not warm:
            return None
        return self._sending(kind, compiled.ROUTES, newest.version(), newest.routes_answer)

    def _sending(self, kind: _Kind, name: str, version: Version, content: bytes) -> Answer:
        self._sent += 1
        nonce = str(self._sent)
        kind.pending[nonce], kind.last, kind.fresh = version, nonce, False
        if len(kind.pending) > MOST_PENDING:
            del kind.pending[next(iter(kind.pending))]
        return Answer(name, version, nonce, compiled.with_nonce(content, nonce))


def _is_all(kind: _Kind) -> bool:
    return not kind.names or _ALL in kind.names
