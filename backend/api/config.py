"""`/config`: what there shall be as files, compared with what is there, and made so."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints

from backend.api.asking import Asks, Digest, Name, Narrow, Plain, Sent, Shown
from backend.api.placed import Credential
from backend.blueprints.kinds import Told
from backend.blueprints.plan import Applied, Plan
from backend.blueprints.text import MOST_BYTES, Source
from backend.blueprints.writing import written
from backend.changes.proposing import MAX_TEXT, MAX_TITLE

router = APIRouter(prefix="/config", tags=["config"])

_EXAMPLE = "apiVersion: countersign/v1\nkind: Team\nmetadata: {name: flights}\nspec: {title: Flight delays}\n"
_ANY = "sha256:" + "0" * 64
FileName = Annotated[str, StringConstraints(min_length=1, max_length=4_096), Plain]
Text = Annotated[str, StringConstraints(max_length=MOST_BYTES)]


class FileSent(Sent):
    """One file."""

    name: Annotated[FileName, Field(description="What answers call it.", examples=["teams.yaml"])]
    text: Annotated[Text, Field(description="YAML or JSON, as docs/config.md says.", examples=[_EXAMPLE])]


class Declaring(Sent):
    """What there shall be."""

    files: Annotated[list[FileSent], Field(min_length=1, max_length=1_000)]
    prune: Annotated[bool, Field(description="Whether what the files declare as absent may be removed.")] = False
    renew_credentials: Annotated[bool, Field(description="Whether credentials that are set are entered anew.")] = False


class Applying(Declaring):
    """What there shall be, by a plan that somebody looked at."""

    plan: Annotated[
        Digest, Field(description="Digest of the plan: what moved since then is refused, not overwritten.", examples=[_ANY])
    ]
    title: Annotated[str, StringConstraints(max_length=MAX_TITLE), Plain, Field(description="Title of proposed changes.")] = ""
    reason: Annotated[str, StringConstraints(max_length=MAX_TEXT), Plain, Field(description="Why, in a sentence.")] = ""
    credentials: Annotated[
        dict[str, Credential],
        Field(
            description="`KIND/NAME` -> credential, read by the sender from where the file says. Nothing is read here, and no "
            "answer tells one.",
            examples=[{}],
            max_length=1_000,
        ),
    ] = Field(default_factory=dict)


class Chosen(Narrow):
    """What is exported."""

    kind: Annotated[list[Name], Field(max_length=20, description="Only these kinds.", examples=[["Team"]])] = Field(
        default_factory=list
    )
    name: Annotated[list[Name], Field(max_length=100, description="Only objects of these names.", examples=[[]])] = Field(
        default_factory=list
    )


class FaultView(Shown):
    """What is refused, where the files ask for it."""

    where: str = Field(description="`FILE:LINE:COLUMN`")
    message: str
    remedy: str = Field(description="What to write or do instead.")
    code: str = Field(description="A stable word for programs.")


class FieldView(Shown):
    """One field: what it is, and what it shall be."""

    field: str = Field(description="Its place below `spec`, with dots.")
    old: Any = Field(description="Null where it is not there.")
    new: Any


class ObjectView(Shown):
    """One declared object."""

    kind: str
    name: str
    action: Literal["create", "change", "remove", "none", "waits"] = Field(
        description="`none`: it is as declared. `waits`: what differs was asked for already, and somebody else has to decide."
    )
    fields: tuple[FieldView, ...] = Field(description="What differs, field by field.")
    where: str = Field(description="`FILE:LINE:COLUMN` of its declaration.")
    how: tuple[Literal["direct", "request", "move", "change"], ...] = Field(
        description="At once; as a request of a second person; as a move that another confirms; as a change that is reviewed."
    )
    notes: tuple[str, ...] = Field(description="What a person should know besides.")
    refused: FaultView | None = Field(description="Why it cannot be; then applying does nothing at all.")
    mark: str = Field(description="Moves with every edit of the object.")


class PlanView(Shown):
    """What applying would do. Nothing was written."""

    digest: str = Field(description="What `apply` is bound to.")
    differs: bool = Field(description="Whether anything is to be done.")
    counts: dict[str, int] = Field(description="Action -> how many objects, without those that are refused.")
    objects: tuple[ObjectView, ...]
    left: dict[str, tuple[str, ...]] = Field(description="Kind -> what is there and in none of the files; it is left alone.")


class DoneView(Shown):
    """What became of one object."""

    kind: str
    name: str
    says: str
    request: str | None = Field(description="The request that a second person has to confirm.")
    change: int | None = Field(description="The change that was proposed.")
    refused: FaultView | None = Field(description="Why a change could not be proposed after all; the rest is done.")


class AppliedView(Shown):
    """What was done."""

    plan: PlanView
    done: tuple[DoneView, ...]


class ExportView(Shown):
    """What is there, as far as the caller sees it."""

    text: str = Field(description="YAML that `apply` takes.")
    objects: tuple[dict[str, Any], ...] = Field(description="The same as values.")


@router.post("/plan")
def plan_config(asks: Asks, sent: Declaring) -> PlanView:
    """What applying these files would do, field by field, and what of it would be refused. Nothing is written.

    Files that cannot be read are a 422 `bad-config`, whose `errors` name each place.
    """
    told = Told(renew=sent.renew_credentials)
    return _plan(asks.backend.blueprints.plan(asks.actor, _sources(sent), prune=sent.prune, told=told))


@router.post("/apply")
def apply_config(asks: Asks, sent: Applying) -> AppliedView:
    """Makes it so: all of it or nothing, but for changes, which are proposed one by one at the end.

    Sending it again does and proposes nothing twice; a plan that does not fit any more is a 409 `stale-plan`. If any object is
    refused, it is a 422 `plan-refused` whose `errors` name each of them.
    """
    secrets = {_split(key): secret.get_secret_value() for key, secret in sent.credentials.items()}
    told = Told(reason=sent.reason or Told.reason, title=sent.title, secrets=secrets, renew=sent.renew_credentials)
    return _applied(asks.backend.blueprints.apply(asks.actor, _sources(sent), plan=sent.plan, prune=sent.prune, told=told))


@router.get("/export")
def export_config(asks: Asks, narrow: Annotated[Chosen, Query()]) -> ExportView:
    """What is there as files that `apply` takes, in one order. Of credentials only that one is set, or its reference."""
    found = asks.backend.blueprints.export(asks.actor, kinds=narrow.kind, names=narrow.name)
    return ExportView(text=written(found), objects=found)


def _sources(sent: Declaring) -> list[Source]:
    return [Source(one.name, one.text) for one in sent.files]


def _split(key: str) -> tuple[str, str]:
    kind, _, name = key.partition("/")
    return kind, name


def _plan(found: Plan) -> PlanView:
    return PlanView.model_validate(found)


def _applied(found: Applied) -> AppliedView:
    return AppliedView.model_validate(found)
