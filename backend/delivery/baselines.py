"""From what was found running to the baseline that is signed off: pure values. A baseline changes nothing of what runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from backend.core.canonical import digest
from backend.core.errors import Refusal
from backend.delivery import buckets, rules
from backend.delivery.base import route_facts
from backend.delivery.desired import ArmRoute, EndpointRoute
from backend.delivery.generations import DesiredArm, DesiredEndpoint, Place, baseline_from, is_own_name
from backend.delivery.plan import BUCKETS, ServedAs
from backend.delivery.seen import ModelState, SeenModel, SeenServer

_UNSETTLED = ("loading", "unloading", "unknown")


@dataclass(frozen=True)
class Running:
    """One version found under an endpoint's served name.

    Args:
        package_digest: of the storage that it was loaded from; None where the runtime's storage cannot be re-hashed.
        arm: the router's name for it, and `share` its buckets out of 10,000; None where no router sends it anything.
    """

    served_name: str
    served_version: int
    state: ModelState
    reason: str = ""
    package_digest: str | None = None
    arm: str | None = None
    share: int | None = None

    @property
    def place(self) -> Place:
        """Name and version on the server."""
        return self.served_name, self.served_version


@dataclass(frozen=True)
class Unmanaged:
    """A model on a server under a name of no endpoint: (version, state) of each version. Listed, never touched."""

    served_name: str
    versions: tuple[tuple[int, ModelState], ...]


@dataclass(frozen=True)
class Found:
    """What one look at an endpoint's server, and its router if it has one, came to.

    Args:
        upstream: where routers reach that server.
    """

    served_name: str
    upstream: str
    server: SeenServer
    route: EndpointRoute | None = None

    @property
    def running(self) -> tuple[Running, ...]:
        """Every version under the endpoint's names that is not plainly absent, by name and version."""
        arms = {(arm.served_model, arm.served_version): arm for arm in self.route.arms} if self.route else {}
        return tuple(
            _running(model, number, arms.get((model.name, number)))
            for _, model in sorted(self.server.models.items())
            if is_own_name(self.served_name, model.name)
            for number, one in sorted(model.versions.items())
            if one.state != "not_loaded"
        )

    @property
    def ready(self) -> tuple[Place, ...]:
        """Where a version can answer."""
        return tuple(one.place for one in self.running if one.state == "ready")


@dataclass(frozen=True)
class BaselineProposal:
    """What would be signed off, as it runs now.

    Args:
        running: versions under the endpoint's names, with the traffic that its router gives them.
        champion: the router's name for the arm that answers units without an assignment; None without a route in force.
        unmanaged: what else the server has under names of no endpoint; `foreign_routes` the same of the router.
        obstacles: what keeps it from being signed off now, as sentences.
        digest: what a signature is bound to. It moves with what runs, its bytes, its traffic, and its server's settings.
    """

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

    @property
    def says(self) -> str:
        """What a signature would mean, as a sentence."""
        ready = [one for one in self.running if one.state == "ready"]
        if not ready:
            return f"Nothing runs as {self.served_name}: the baseline is empty, and the first change brings the first version."
        named = ", ".join(f"version {one.served_version} of {one.served_name}" for one in ready)
        if self.champion is not None:
            return f"{named} stay as they run, with the traffic that the router gives them."
        routed = f" The router {self.router} is then told to send callers there." if self.router is not None else ""
        if len(ready) == 1:
            return f"{named} becomes the champion with all of the traffic.{routed}"
        return f"{named} stay loaded; the one that you name as champion gets all of the traffic.{routed}"


@dataclass(frozen=True)
class Kept:
    """One running version after its bytes were taken into the package store: which registered version it is said to be."""

    place: Place
    version: int
    package_digest: str
    artifact_digest: str
    interface_digest: str


def base_digest(found: Found, *, endpoint: str, revisions: Sequence[Sequence[object]]) -> str:
    """What a signature is bound to.

    Args:
        endpoint: its id.
        revisions: (id, revision) of the server and of the router that were looked at.
    """
    return digest(
        {
            "endpoint": endpoint,
            "looked_at": [list(one) for one in revisions],
            "running": [[*one.place, one.state, one.package_digest] for one in found.running],
            "configs": {
                name: found.server.models[name].config_digest for name in sorted({one.served_name for one in found.running})
            },
            "route": route_facts(found.route),
        }
    )


def unmanaged(server: SeenServer, served_names: Iterable[str]) -> tuple[Unmanaged, ...]:
    """What is on a server under names of no endpoint."""
    ours = tuple(served_names)
    return tuple(
        Unmanaged(name, tuple((number, one.state) for number, one in sorted(model.versions.items())))
        for name, model in sorted(server.models.items())
        if not any(is_own_name(own, name) for own in ours)
    )


def obstacles(found: Found) -> tuple[str, ...]:
    """What keeps this from being signed off, as sentences."""
    moving = [one for one in found.running if one.state in _UNSETTLED]
    said = [f"version {one.served_version} of {one.served_name} is {one.state}" for one in moving]
    ready = set(found.ready)
    arms = found.route.arms if found.route is not None else ()
    said += [
        f"the router sends {arm.arm} to version {arm.served_version} of {arm.served_model}, which is not ready"
        for arm in arms
        if (arm.served_model, arm.served_version) not in ready
    ]
    if found.route is not None and found.route.upstream != found.upstream:
        said.append(f"the router sends its requests to {found.route.upstream}, not to {found.upstream}")
    if found.route is not None and found.route.champion not in {arm.arm for arm in arms}:
        said.append(f"the router names {found.route.champion} as champion, which is no arm of its own")
    if arms and sum(buckets.share(arm.ranges) for arm in arms) != BUCKETS:
        said.append("the router's shares do not sum to 100 %")
    return tuple(said)


def check_choice(found: Found, versions: Mapping[Place, int], champion: Place | None) -> None:
    """Refusal unless the caller's words name everything that runs, once, and the champion where that is not plain."""
    if said := obstacles(found):
        raise _refusal(f"This cannot be signed off yet: {'; '.join(said)}.", "Settle that on the server first.", "not-settled")
    ready = set(found.ready)
    if absent := sorted(set(versions) - ready):
        raise _refusal(f"{_place(absent[0])} does not run.", "Look again, and name only what runs.", "not-running")
    if unnamed := sorted(ready - set(versions)):
        raise _refusal(
            f"{_place(unnamed[0])} runs too, and nobody said which registered version it is.",
            "Unload it from the server, or name every version that runs.",
            "not-named",
        )
    if len(set(versions.values())) != len(versions):
        raise _refusal("Two running versions cannot be one registered version.", "Name each by its own number.", "named-twice")
    if any(isinstance(one, bool) or one < 1 for one in versions.values()):
        raise _refusal("A registered version has a number from 1 on.", "Name each by its number.", "bad-version")
    _check_champion(found, versions, champion)


def baseline(found: Found, kept: Sequence[Kept], champion: Place | None, *, salt: str) -> DesiredEndpoint:
    """The desired state that says exactly what runs. Call `check_choice` first.

    With a route in force its arms, shares, champion and salt are kept, so that no unit moves. Without one the champion gets
    everything, and whatever else runs stays loaded without traffic.
    """
    if not kept:
        return DesiredEndpoint(step=0, champion=None, salt=salt)
    if found.route is not None:
        try:
            return _as_routed(found.route, {one.place: one for one in kept})
        except ValidationError as error:
            raise _refusal(
                "The router's route cannot be taken on as it is.", "Remove that route from the router first.", "route-unusable"
            ) from error
    chosen = champion or kept[0].place
    arms = {one.place: _arm(one, f"v{one.version}") for one in kept}
    others = tuple(arm for place, arm in sorted(arms.items()) if place != chosen)
    return baseline_from(arms[chosen], salt=salt).model_copy(update={"warm": others})


def refuse_other_than_runs(found: Found, desired: DesiredEndpoint, kept: Sequence[Kept]) -> None:
    """Refusal `not-what-runs` unless the reconciler, judging this baseline against this look, would find nothing to push."""
    configs = {one.package_digest: one.interface_digest for one in kept}
    wanted = rules.wanted_from(found.served_name, desired, baked=False, clean=True, configs=configs, route=None)
    if says := rules.not_ready(wanted, found.server):
        raise _refusal(
            f"What was copied is not what runs: {says}.",
            "Look again; where the storage was changed under the server, load the version anew first.",
            "not-what-runs",
        )


def _check_champion(found: Found, versions: Mapping[Place, int], champion: Place | None) -> None:
    if champion is not None and champion not in versions:
        raise _refusal(f"{_place(champion)} is not among what you named.", "Choose the champion from it.", "bad-champion")
    if found.route is None:
        if len(versions) > 1 and champion is None:
            raise _refusal(
                f"{len(versions)} versions run and no router says which of them answers.",
                "Name the champion, or unload all but one.",
                "champion-missing",
            )
        return
    for arm in found.route.arms:
        place = (arm.served_model, arm.served_version)
        if versions[place] != arm.version:
            raise _refusal(
                f"The router stamps the answers of {_place(place)} as version {arm.version}.",
                f"Name it as version {arm.version}, or correct the router first.",
                "version-differs",
            )
        if champion == place and arm.arm != found.route.champion:
            raise _refusal(
                f"The router's champion is {found.route.champion}, not {arm.arm}.",
                "Sign off what runs; a change moves traffic afterwards.",
                "bad-champion",
            )


def _as_routed(route: EndpointRoute, kept: Mapping[Place, Kept]) -> DesiredEndpoint:
    routed = {(arm.served_model, arm.served_version): arm for arm in route.arms}
    arms = [_arm(kept[place], arm.arm, arm.ranges) for place, arm in routed.items()]
    taken = {arm.name for arm in arms}
    warm = [_arm(one, _free(f"v{one.version}", taken)) for place, one in sorted(kept.items()) if place not in routed]
    return DesiredEndpoint(
        step=0,
        champion=route.champion,
        shadow=route.shadow,
        arms=tuple(arms),
        warm=tuple(warm),
        salt=route.salt,
        unit_header=route.unit_header,
    )


def _free(name: str, taken: set[str]) -> str:
    return name if name not in taken else f"{name}-kept"


def _arm(one: Kept, name: str, ranges: tuple[tuple[int, int], ...] = ()) -> DesiredArm:
    return DesiredArm(
        name=name,
        version=one.version,
        artifact_digest=one.artifact_digest,
        package_digest=one.package_digest,
        served_as=ServedAs(model=one.place[0], version=one.place[1]),
        ranges=ranges,
    )


def _running(model: SeenModel, number: int, arm: ArmRoute | None) -> Running:
    one = model.versions[number]
    named = (arm.arm, buckets.share(arm.ranges)) if arm is not None else (None, None)
    return Running(model.name, number, one.state, one.reason, one.package_digest, *named)


def _place(place: Place) -> str:
    return f"Version {place[1]} of {place[0]}"


def _refusal(message: str, remedy: str, code: str) -> Refusal:
    return Refusal(message, remedy, code=code)
