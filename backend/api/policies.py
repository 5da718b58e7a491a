"""`/environments` and `/policies`: what each environment asks for, now and in earlier versions, and setting it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlmodel import select

from backend.api.asking import Asks, Page, Paged, Reading, Shown
from backend.api.tags import Held, Tagged
from backend.core.context import Actor
from backend.core.errors import NotFound
from backend.policy import queries, service
from backend.policy.rows import Environment, PolicyVersion

router = APIRouter(tags=["policies"])
EnvironmentName = Annotated[str, Path(max_length=63, description="The environment's name.", examples=["staging"])]
POLICY: dict[str, Any] = {"schema": 1, "approvals_needed": 1, "approver_roles": ["reviewer"]}


class EnvironmentLine(Shown):
    """One environment in promotion order."""

    name: str
    policy: str = Field(description="`ENVIRONMENT@VERSION` that is in force.")
    frozen: str = Field(description='Why nothing starts there now; "" where something may.')
    problems: tuple[str, ...] = Field(description="What of the policy nobody could satisfy, and who could do everything alone.")


class PolicyShown(Shown):
    """What an environment asks for now."""

    environment: str
    policy: str = Field(description="`ENVIRONMENT@VERSION` that is in force.")
    rules: dict[str, Any] = Field(description="What it asks for; in this form it can be sent again.")
    digest: str
    created_by: str = Field(description="The id of an identity.")
    created_at: datetime
    problems: tuple[str, ...] = Field(description="What nobody could satisfy, and who could do everything alone.")


class PolicyVersionView(Shown):
    """One version of an environment's policy; nothing in it changes afterwards."""

    id: str
    environment: str
    version: int
    rules: dict[str, Any]
    digest: str
    created_by: str
    created_at: datetime


class PolicyView(Shown):
    """The policy in force, and what is wrong with the one that was sent."""

    policy: str = Field(description="`ENVIRONMENT@VERSION` that is in force.")
    problems: tuple[str, ...]
    request: str | None = Field(description="The request that a second person has to confirm before it is in force.")


@router.get("/environments")
def list_environments(asks: Asks, narrow: Annotated[Paged, Query()]) -> Page[EnvironmentLine]:
    """Environments in promotion order."""
    with asks.reading("policy.read") as look:
        found = list(enumerate(queries.environments(look.session, look.now)))
    items, following = narrow.cut(found, lambda one: (one[0],))
    return Page(items=tuple(_line(one) for _, one in items), next=following)


def _line(one: queries.EnvironmentView) -> EnvironmentLine:
    problems = tuple(each.says for each in one.problems)
    return EnvironmentLine(name=one.name, policy=one.policy_id, frozen=one.frozen, problems=problems)


@router.get("/policies/{environment}")
def show_policy(asks: Asks, environment: EnvironmentName, tagged: Tagged) -> PolicyShown:
    """The policy in force in an environment."""
    with asks.reading("policy.read") as look:
        return tagged(_shown(environment)(look, asks.actor))


@router.get("/policies/{environment}/versions")
def list_policy_versions(
    asks: Asks, environment: EnvironmentName, narrow: Annotated[Paged, Query()]
) -> Page[PolicyVersionView]:
    """Every version of an environment's policy, newest first."""
    with asks.reading("policy.read") as look:
        service.in_force(look.session, environment)
        found = queries.versions(look.session, environment)
    items, following = narrow.cut(found, lambda one: (one.version,), newest_first=True)
    return Page(items=tuple(map(PolicyVersionView.model_validate, items)), next=following)


@router.put("/policies/{environment}")
def set_policy(
    asks: Asks,
    held: Held,
    environment: EnvironmentName,
    sent: Annotated[dict[str, Any], Field(description="`rules` of the policy.", examples=[POLICY])],
) -> PolicyView:
    """Puts a policy in force; needs `If-Match`. One that asks for less, where changes need approvals, waits for a second."""
    with _seen(held, environment):
        saved = asks.backend.policies.set_policy(asks.actor, environment, sent)
    problems = tuple(one.says for one in saved.problems)
    return PolicyView(policy=saved.id, problems=problems, request=saved.request_id)


def _shown(environment: str) -> Callable[[Reading, Actor], PolicyShown]:
    def shown(look: Reading, _actor: Actor) -> PolicyShown:
        current = service.in_force(look.session, environment)
        row = look.session.get(PolicyVersion, current.id)
        line = next((one for one in queries.environments(look.session, look.now) if one.name == environment), None)
        if row is None or line is None:
            raise NotFound("environment", environment)
        return PolicyShown(
            environment=environment,
            policy=current.id,
            rules=current.policy.to_json(),
            digest=row.digest,
            created_by=row.created_by,
            created_at=row.created_at,
            problems=tuple(one.says for one in line.problems),
        )

    return shown


def _seen(held: Held, environment: str) -> AbstractContextManager[None]:
    row = select(Environment.id).where(Environment.id == environment)
    return held.held("policy.read", _shown(environment), row, needed=True)
