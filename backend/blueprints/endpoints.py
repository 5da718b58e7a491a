"""Endpoints: adopted as observed, repaired or reported, and what they serve, which only a reviewed change changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import sqlalchemy as sa
from pydantic import BaseModel
from sqlmodel import Session, col, select

from backend.blueprints.declared import Declared
from backend.blueprints.faults import Fault
from backend.blueprints.kinds import Around, Draft, Kind, Proposal, Right, State, Step, direct, refused
from backend.blueprints.plan import changes_between
from backend.blueprints.specs import EndpointSpec
from backend.blueprints.steps import buckets, percent, steps_in
from backend.changes.rows import Change
from backend.changes.shares import apportion
from backend.core import durations
from backend.core.errors import NotFound, Refusal
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.plan import BUCKETS
from backend.delivery.rows import Endpoint, Generation, RouterRow, Server
from backend.policy.rules import RampStep, between

_FIXED = ("environment", "model", "server", "router", "servedName")
OPEN = ("draft", "checking", "review", "approved", "applying", "blocked", "suspended")
"""States of changes that somebody may still bring to their end."""


class EndpointKind(Kind):
    """See `delivery.endpoints` and `changes`. Only one that is observed can be removed."""

    name: ClassVar[str] = "Endpoint"
    noun: ClassVar[str] = "endpoint"
    spec: ClassVar[type[BaseModel]] = EndpointSpec

    def states(self, session: Session) -> Mapping[str, State]:
        """By name."""
        places = dict(session.exec(select(Server.id, Server.name)).all())
        routers = dict(session.exec(select(RouterRow.id, RouterRow.name)).all())
        newest = (col(Generation.endpoint_id) == Endpoint.id) & (col(Generation.number) == Endpoint.generation)
        query = select(Endpoint, Generation).outerjoin(Generation, newest).order_by(Endpoint.name)
        asked, over = _asked_for(session), _over(session)
        return {
            row.name: _state(
                row,
                generation,
                places[row.server_id],
                routers.get(row.router_id or ""),
                {"asked": asked.get(row.id, ()), "over": over.get(row.id, 0)},
            )
            for row, generation in session.exec(query)
        }

    def lock(self, session: Session, names: Collection[str]) -> None:
        """By name."""
        session.exec(select(Endpoint).where(col(Endpoint.name).in_(names)).order_by(Endpoint.id).with_for_update()).all()

    def compare(self, declared: Declared, state: State | None, around: Around) -> Draft:
        """What it stands on cannot change; how it is repaired is set; what it serves becomes a change."""
        given = {key: value for key, value in (declared.spec or {}).items() if key != "rollout"}
        if state is None:
            return _adopted(declared, given, around)
        fixed = changes_between(state.spec, {key: value for key, value in given.items() if key in _FIXED})
        if fixed:
            says = f"The {fixed[0].field} of an endpoint cannot change; {declared.name} has {fixed[0].old!r}."
            fault = Fault(declared.at(fixed[0].field), says, "Adopt another endpoint beside it.", "fixed")
            return refused(declared, state, fault, fixed)
        fields = changes_between(state.spec, {"repair": given["repair"]} if "repair" in given else {})
        steps = (_repairing(declared, state.spec, around, given["repair"]),) if fields else ()
        draft = Draft(declared, exists=True, fields=fields, steps=steps, mark=state.mark)
        return _serving(draft, given, state, around) if given.get("serving") is not None else draft

    def removal(self, declared: Declared, state: State, around: Around) -> Step:
        """First of all that goes."""
        return Step(
            80,
            _right("endpoint.remove", declared.name, state.spec),
            direct(lambda hands: hands.endpoints.remove(around.actor, declared.name, around.told.reason)),
        )


def _state(row: Endpoint, newest: Generation | None, server: str, router: str | None, changes: Mapping[str, Any]) -> State:
    spec: dict[str, Any] = {"environment": row.environment, "model": row.model, "server": server}
    spec |= {"router": router} if router is not None else {}
    spec |= {"servedName": row.served_name, "repair": row.repair}
    desired = DesiredEndpoint.model_validate(newest.desired) if newest is not None else None
    shares: dict[int, int] = {}
    for arm in desired.arms if desired is not None else ():
        if arm.buckets:
            shares[arm.version] = shares.get(arm.version, 0) + arm.buckets
    if row.mode == "managed" and shares:
        spec["serving"] = {"arms": _arms(shares)}
    return State(row.name, spec, str(row.generation), {"mode": row.mode, "shares": shares, **changes})


def _arms(shares: Mapping[int, int]) -> list[dict[str, Any]]:
    return [{"version": version, "share": percent(share)} for version, share in sorted(shares.items())]


def _asked_for(session: Session) -> dict[str, list[tuple[int, str, int, int, dict[int, int]]]]:
    """Endpoint's id -> (number, state, version, share, how the rest is split) of the changes that are open there."""
    found: dict[str, list[tuple[int, str, int, int, dict[int, int]]]] = {}
    query = select(Change.endpoint_id, Change.number, Change.state, Change.wanted).where(col(Change.state).in_(OPEN))
    for endpoint_id, number, state, wanted in session.exec(query.order_by(col(Change.number))):
        rest = {int(one["version"]): int(one["share"]) for one in wanted.get("rest", ())}
        found.setdefault(endpoint_id, []).append((number, state, int(wanted["version"]), int(wanted["share"]), rest))
    return found


def _over(session: Session) -> dict[str, int]:
    """Endpoint's id -> number of the newest change there that is over, however it ended."""
    query = select(Change.endpoint_id, sa.func.max(Change.number)).where(col(Change.state).not_in(OPEN))
    return {endpoint_id: int(number) for endpoint_id, number in session.exec(query.group_by(col(Change.endpoint_id)))}


def _adopted(declared: Declared, given: Mapping[str, Any], around: Around) -> Draft:
    """A new one. What runs there has to be signed off by a person before anything can be proposed for it."""
    if missing := [name for name in ("environment", "model", "server") if not given.get(name)]:
        return refused(declared, None, Fault(declared.where, f"A new endpoint needs `{missing[0]}`.", "Write it."))
    placed = {key: given.get(key) for key in _FIXED}
    create = Step(
        60,
        Right("endpoint.create", environment=given["environment"], model=given["model"]),
        direct(lambda hands: hands.endpoints.create(
                around.actor, name=declared.name, environment=str(placed["environment"]), model=str(placed["model"]),
                server=str(placed["server"]), router=placed["router"], served_name=placed["servedName"],
            )
        ),
    )  # fmt: skip
    steps: tuple[Step, ...] = (create,)
    by_policy = around.states["Environment"].get(given["environment"])
    if "repair" in given and by_policy is not None and by_policy.spec["policy"]["repair"] != given["repair"]:
        steps += (_repairing(declared, given, around, given["repair"]),)
    fields = changes_between({}, {key: value for key, value in given.items() if key != "serving" and value is not None})
    notes = ("It is observed at first: somebody has to sign off what runs there before it serves anything else.",)
    return Draft(declared, exists=False, fields=fields, steps=steps, notes=notes)


def _repairing(declared: Declared, spec: Mapping[str, Any], around: Around, repair: Any) -> Step:
    right = _right("endpoint.set_repair", declared.name, spec)
    reason = around.told.reason
    return Step(61, right, direct(lambda hands: hands.endpoints.set_repair(around.actor, declared.name, repair, reason=reason)))


def _serving(draft: Draft, given: Mapping[str, Any], state: State, around: Around) -> Draft:
    declared = draft.declared
    wanted = _wanted(declared, given)
    now: Mapping[int, int] = state.facts["shares"]
    if wanted == now:
        return draft
    fields = changes_between({"serving": {"arms": _arms(now)}}, {"serving": {"arms": _arms(wanted)}})
    every = draft.fields + fields
    if state.facts["mode"] != "managed":
        note = "It is only observed: somebody has to sign off what runs there before it serves anything else."
        return replace(draft, fields=every, waits=(note,))
    version, share, rest = _one_move(declared, now, wanted)
    for number, at, *asks in state.facts["asked"]:
        if asks == [version, share, rest]:
            return replace(draft, fields=every, waits=(f"Change {number} asks for this already ({at}).",))
    asked = {"version": version, "share": share, **_rollout(declared, around, now.get(version, 0), share)}
    asked |= {"rest": [{"version": one, "share": part} for one, part in sorted(rest.items())]} if rest else {}
    others = tuple(f"Change {number} is open there too ({at})." for number, at, *_ in state.facts["asked"])
    return replace(
        draft, fields=every, notes=draft.notes + others, proposal=Proposal(declared.name, asked, state.facts["over"])
    )


def _wanted(declared: Declared, given: Mapping[str, Any]) -> dict[int, int]:
    arms = given["serving"]["arms"]
    found = {int(one["version"]): buckets(one.get("share", 100.0)) for one in arms}
    if len(found) != len(arms) or sum(found.values()) != BUCKETS:
        raise Refusal(
            f"The shares of {declared.name} come to {sum(found.values()) / 100:g} % over {len(found)} version(s).",
            "Name each version once, with shares that come to 100.",
            code="bad-share",
        )
    return found


def _one_move(declared: Declared, now: Mapping[int, int], wanted: Mapping[int, int]) -> tuple[int, int, dict[int, int]]:
    """The version and share of the one change that leads there, and how the rest is split; empty where what runs besides keeps
    its proportions.
    """
    for version in sorted({*now, *wanted}, key=lambda one: (one not in wanted, -one)):
        share = wanted.get(version, 0)
        others = {other: part for other, part in now.items() if other != version}
        rest = apportion({str(one): part for one, part in others.items()}, BUCKETS - share) if others else {}
        reached = {int(one): part for one, part in rest.items() if part} | ({version: share} if share else {})
        if reached == dict(wanted):
            return version, share, {}
    new = [one for one in wanted if one not in now]
    if len(new) <= 1 and len(now) > 1:
        moved = new[0] if new else max(one for one in now if wanted.get(one, 0) != now[one])
        return moved, wanted.get(moved, 0), {one: wanted.get(one, 0) for one in now if one != moved}
    raise Refusal(
        f"No single change leads {declared.name} from what it serves to these shares: it brings one version at most.",
        "Declare one new version; bring the others by changes of their own.",
        code="more-than-one-change",
    )


def _rollout(declared: Declared, around: Around, now: int, share: int) -> dict[str, Any]:
    """How the change goes live, with a named ramp's steps as they will be."""
    given = (declared.spec or {}).get("rollout", {})
    ramp: str | list[dict[str, Any]] = given.get("ramp", [])
    steps: tuple[RampStep, ...] = ()
    if isinstance(ramp, str):
        named = around.ramp(ramp)
        if named is None:
            raise NotFound("ramp", ramp, "Declare it in these files, or give the steps themselves.")
        steps = between(named, now, share)
    elif ramp:
        steps = steps_in(ramp)
    asked: dict[str, Any] = {"ramp": [one.model_dump() for one in steps], "start_mode": given.get("start", "at_once")}
    asked |= {"guardrails": given["guardrails"]} if given.get("guardrails") else {}
    asked |= {"same_age": True} if given.get("sameAge") and (steps or not ramp) else {}
    return asked | ({"bake_seconds": durations.seconds(given["bake"])} if given.get("bake") else {})


def _right(action: str, name: str, spec: Mapping[str, Any]) -> Right:
    return Right(action, environment=spec.get("environment"), model=spec.get("model"), endpoint=name)
