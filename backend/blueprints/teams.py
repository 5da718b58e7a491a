"""Teams: who belongs to one and what it owns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel
from sqlmodel import Session, col, select

from backend.access import teams, visible
from backend.access.rows import Ownership, Request, Team
from backend.blueprints.declared import Declared
from backend.blueprints.kinds import Around, Draft, Hands, Kind, Outcome, Right, Run, State, Step, direct
from backend.blueprints.plan import changes_between
from backend.blueprints.specs import TeamSpec
from backend.core.errors import Refusal

_OWNED = {"models": "model", "endpoints": "endpoint"}


class TeamKind(Kind):
    """See `access.teams`. To remove one is to retire it."""

    name: ClassVar[str] = "Team"
    noun: ClassVar[str] = "team"
    spec: ClassVar[type[BaseModel]] = TeamSpec

    def states(self, session: Session) -> Mapping[str, State]:
        """By name. What a team owns is told only to who sees all of it: a part would read like the whole."""
        shown = () if visible.is_narrow(session) else tuple(_OWNED)
        return {one.name: _state(one, shown) for one in teams.lines(session)}

    def lock(self, session: Session, names: Collection[str]) -> None:
        """The teams, and what anybody owns: an owner that is set meanwhile would be overwritten."""
        session.exec(select(Team).where(col(Team.name).in_(names)).order_by(Team.id).with_for_update()).all()
        session.exec(select(Ownership).order_by(Ownership.id).with_for_update()).all()

    def compare(self, declared: Declared, state: State | None, around: Around) -> Draft:
        """Title, members and what it owns; each list is the whole of it."""
        wanted = {name: _list(name, value) for name, value in (declared.spec or {}).items()}
        if "title" in wanted:
            wanted["title"] = " ".join(str(wanted["title"]).split())
        before = state.spec if state is not None else {}
        if state is None:
            wanted = {"title": "", **wanted}
        if missing := [name for name in _OWNED if name in wanted and state is not None and name not in before]:
            raise Refusal(f"You do not see all that {declared.name} owns.", f"Leave `{missing[0]}` out.", code="not-seen-whole")
        fields = changes_between(before, wanted)
        steps = tuple(_steps(declared.name, before, wanted, around, state))
        notes = tuple(_notes(declared.name, before, wanted, around))
        return Draft(declared, state is not None, fields, steps, notes, mark=state.mark if state is not None else "")

    def removal(self, declared: Declared, state: State, around: Around) -> Step:
        """After what it owned was given away."""
        right = Right("team.retire", team=str(state.facts["id"]))
        return Step(90, right, direct(lambda hands: hands.teams.retire(around.actor, declared.name)))


def _state(line: teams.TeamLine, shown: tuple[str, ...]) -> State:
    spec: dict[str, Any] = {"title": line.title, "members": sorted(line.members)}
    return State(
        line.name, spec | {name: sorted(getattr(line, name)) for name in shown}, line.id, {"id": line.id}, frozenset(_OWNED)
    )


def _list(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if len(set(value)) != len(value):
        twice = next(one for one in value if value.count(one) > 1)
        raise Refusal(f"{twice[:80]} stands twice in `{name}`.", "Leave one of the two.", code="bad-config")
    return sorted(value)


def _steps(
    name: str, before: Mapping[str, Any], wanted: Mapping[str, Any], around: Around, state: State | None
) -> Iterator[Step]:
    team = str(state.facts["id"]) if state is not None else None
    actor = around.actor
    if state is None:
        yield Step(50, Right("team.create"), direct(lambda hands: hands.teams.create(actor, name, wanted["title"])))
    elif wanted.get("title", before["title"]) != before["title"]:
        right = Right("team.rename", team=team)
        yield Step(50, right, direct(lambda hands: hands.teams.rename(actor, name, name, wanted["title"])))
    yield from (_member(name, one, around, team, add=True) for one in _more(wanted, before, "members"))
    yield from (_member(name, one, around, team, add=False) for one in _fewer(wanted, before, "members"))
    for field, kind in _OWNED.items():
        for one in _more(wanted, before, field):
            yield Step(70, Right("owner.set"), _giving(around, kind, one, name))
        for one in _fewer(wanted, before, field):
            if (field, one) not in around.claims:  # else it is given once, by the team that takes it
                yield Step(70, Right("owner.set"), _giving(around, kind, one, None))


def _member(name: str, identity: str, around: Around, team: str | None, *, add: bool) -> Step:
    actor = around.actor
    if add:
        right = Right("team.add_member", team=team)
        return Step(51, right, direct(lambda hands: hands.teams.add_member(actor, name, identity)))
    right = Right("team.remove_member", team=team)
    return Step(51, right, direct(lambda hands: hands.teams.remove_member(actor, name, identity)))


def _giving(around: Around, kind: str, name: str, team: str | None) -> Run:
    def run(hands: Hands) -> Outcome:
        asked: Request | None = hands.teams.set_owner(around.actor, kind, name, team)
        return Outcome("request", asked.id) if asked is not None else Outcome()

    return run


def _more(wanted: Mapping[str, Any], before: Mapping[str, Any], field: str) -> list[str]:
    known = set(before.get(field, ()))
    return [one for one in wanted.get(field, ()) if one not in known]


def _fewer(wanted: Mapping[str, Any], before: Mapping[str, Any], field: str) -> list[str]:
    kept = set(wanted.get(field, ()))
    return [one for one in before.get(field, ()) if one not in kept] if field in wanted else []


def _notes(name: str, before: Mapping[str, Any], wanted: Mapping[str, Any], around: Around) -> Iterator[str]:
    for field, noun in _OWNED.items():
        for what in _more(wanted, before, field):
            if any(other != name for other in around.claims.get((field, what), ())):
                raise Refusal(f"Two teams claim the {noun} {what[:80]}.", "Leave it in one of the two.", code="bad-config")
            yield from (
                f"The {noun} {what} is {owner}'s now." for owner in around.owners.get((field, what), ()) if owner != name
            )
