"""The champion alias of an environment: a right of its own. It follows what was proved, and only for whom may set it."""

from __future__ import annotations

from sqlmodel import Session, select

from backend.access.checks import require
from backend.access.rules import ACTIONS
from backend.changes.desk import Desk
from backend.changes.standing import Standing
from backend.core.context import Actor
from backend.core.errors import Refusal
from backend.core.unit import Unit
from backend.delivery.generations import DesiredEndpoint
from backend.delivery.rows import Endpoint, Generation
from backend.policy.rules import is_protected
from backend.registry.rows import Model

ACTION = "alias.set_champion"


class Champions(Desk):
    """The command by which a person asks for it."""

    def set_champion(self, actor: Actor, model: str, environment: str, number: int) -> None:
        """Wants the environment's champion alias of a model on the version that is proved to answer there.

        The worker writes it and reads it back. Refusal codes: not-allowed, not-proved.
        """
        with self._database.unit(actor) as tx:
            require(tx, actor, ACTION, environment=environment, model=model)
            if number not in proved_champions(tx.session, model, environment):
                raise Refusal(
                    f"Version {number} of {model} is not proved to be champion in {environment}.",
                    "An alias says what runs: promote the version first.",
                    code="not-proved",
                )
            self._versions.want_alias(tx, model, environment, number)
            told = {"model": model, "environment": environment, "version": number}
            tx.record(ACTION, ("model", _id_of(tx.session, model)), after=told)


def _id_of(session: Session, model: str) -> str:
    return session.exec(select(Model.id).where(Model.name == model)).one()


def proved_champions(session: Session, model: str, environment: str) -> set[int]:
    """Versions that are champion at a managed endpoint there, as its newest generation, which was read back, says."""
    query = select(Generation.desired).join(Endpoint).where(Endpoint.model == model, Endpoint.environment == environment)
    query = query.where(Endpoint.mode == "managed", Generation.number == Endpoint.generation)
    query = query.where(Endpoint.proved_generation == Endpoint.generation)
    wanted = (DesiredEndpoint.model_validate(one) for one in session.exec(query))
    return {arm.version for one in wanted for arm in one.arms if arm.name == one.champion}


def may_follow(at: Standing) -> bool:
    """Whether the alias follows a change that was proved: one who approved it may set it there now, or policy asked nobody."""
    return not is_protected(at.policy) or any(one.active and one.roles & ACTIONS[ACTION] for one in at.approvers)


def withhold(tx: Unit, at: Standing, number: int | None) -> None:
    """Says that the alias stays where it is, and who can move it."""
    why = "Nobody who approved it may set the champion alias there: a reviewer or an operator of that place can ask for it."
    told = {"model": at.endpoint.model, "environment": at.endpoint.environment, "version": number, "why": why}
    tx.record("alias.withhold", at.change, after=told)
