"""What a declaration may say, kind by kind. The published JSON Schema and docs/config.md follow these classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.policy.guardrails import GuardrailAsked

API_VERSION = "countersign/v1"
SLUG = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
Name = Annotated[str, Field(min_length=1, max_length=256)]
Duration = Annotated[str, Field(pattern=r"^[0-9]{1,9}[smhd]?$", description="Like 90s, 10m, 1h or 2d.", examples=["1h"])]
Names = Annotated[list[Name], Field(max_length=10_000)]


class Spec(BaseModel):
    """Base of every part: exactly the named fields, each of its own type. A field that is left out is not managed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TeamSpec(Spec):
    """Who belongs to a team, and what it owns. A list is the whole of it: whoever is not in it is taken out."""

    title: Annotated[str, Field(max_length=120)] = ""
    members: Annotated[Names, Field(description="Names of identities.")] = []
    models: Annotated[Names, Field(description="Models that it owns.")] = []
    endpoints: Annotated[Names, Field(description="Endpoints that it owns.")] = []


class EnvironmentSpec(Spec):
    """What an environment asks of a change; fields that are left out stay as they are."""

    policy: Annotated[dict[str, Any], Field(description="As `countersign policy show --json` prints it.")] = {}


class Credential(Spec):
    """Where a credential is read from: once, when it is applied, or by the worker at each use. It stands in no file itself."""

    from_env: Annotated[
        str | None,
        Field(alias="fromEnv", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$", description="A variable where `apply` runs."),
    ] = None
    from_file: Annotated[
        str | None, Field(alias="fromFile", min_length=1, max_length=4096, description="A file where `apply` runs.")
    ] = None
    reference: Annotated[
        str | None,
        Field(
            pattern=r"^(?:file:[A-Za-z0-9][A-Za-z0-9_-]{0,63}|env:[A-Z0-9][A-Z0-9_]{0,63})$",
            description="`file:NAME` or `env:NAME`, which the worker reads at each use (docs/secrets.md).",
            examples=["file:triton-eu"],
        ),
    ] = None
    set: Annotated[Literal[True] | None, Field(description="One is set, and stays as it is: what an export says.")] = None


class PlaceSpec(Spec):
    """What servers and routers have alike."""

    kind: Annotated[Name, Field(description="The adapter, such as `triton` or `envoy`.", examples=["triton"])] = ""
    settings: Annotated[dict[str, Any], Field(description="The adapter's own settings.")] = {}
    credential: Credential = Credential()


class ServerSpec(PlaceSpec):
    """Where models run."""

    upstream: Annotated[str, Field(max_length=1000, description="`host:port` at which routers reach it.")] = ""


class RouterSpec(PlaceSpec):
    """What splits the traffic."""

    public_url: Annotated[str, Field(alias="publicUrl", max_length=2000, description="Where callers reach it.")] = ""


class StepSpec(Spec):
    """One step on the way: the version's share in percent, or copies alone; then what it takes to go on, in this order."""

    share: Annotated[float | None, Field(gt=0, lt=100, description="In percent, with two decimals at most.")] = None
    shadow: Annotated[bool, Field(description="In place of a share: it gets copies and answers nobody.")] = False
    hold: Duration = "0s"
    units: Annotated[int, Field(ge=0, le=1_000_000_000, description="Units that the smallest arm needs.")] = 0
    statistics: Annotated[
        Literal["not_failed", "passed"] | None,
        Field(description="`not_failed`: no guardrail failed and none is missing; `passed`: each is proved to be kept."),
    ] = None
    person: Annotated[bool, Field(description="Whether a person lets it go on.")] = False


class RampSpec(Spec):
    """Steps under a name, which a proposal may use and a policy may ask for."""

    steps: Annotated[list[StepSpec], Field(min_length=1, max_length=49)]


class ArmSpec(Spec):
    """A version and its share of the traffic in percent."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    share: Annotated[float, Field(gt=0, le=100)] = 100.0


class ServingSpec(Spec):
    """What shall answer. Another one than what does becomes a proposed change, and nothing else."""

    arms: Annotated[list[ArmSpec], Field(min_length=1, max_length=16)]


class RolloutSpec(Spec):
    """How a proposed change goes live. Says nothing of what is, and so is never a difference."""

    ramp: Annotated[str | list[StepSpec], Field(description="A ramp's name, or its steps.", max_length=63)] = []
    bake: Duration | None = None
    start: Annotated[Literal["at_once", "by_hand"], Field(description="How it starts once it is approved.")] = "at_once"
    guardrails: Annotated[list[GuardrailAsked], Field(max_length=20, description="What must not get worse on the way.")] = []
    same_age: Annotated[
        bool, Field(alias="sameAge", description="Whether it is compared with a copy of what runs, loaded as newly.")
    ] = False


class EndpointSpec(Spec):
    """One model at one address in one environment. It is adopted as observed; what answers is changed by changes alone."""

    environment: Name = ""
    model: Name = ""
    server: Annotated[Name, Field(description="The server that it stands on, by name.")] = ""
    router: Annotated[Name | None, Field(description="The router before it, by name.")] = None
    served_name: Annotated[Name, Field(alias="servedName", description="Its model's name on the server.")] = ""
    repair: Annotated[Literal["repair", "report"], Field(description="What is done about changes by hand.")] = "repair"
    serving: ServingSpec | None = None
    rollout: RolloutSpec = RolloutSpec()


class ObjectiveSpec(Spec):
    """One promise: the share of requests in percent that shall be answered without an error, or within so long."""

    kind: Literal["availability", "latency"]
    target: Annotated[float, Field(ge=50, le=99.999, description="In percent.", examples=[99.9])]
    within: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{1,6}(?:\.[0-9]{1,3})?(?:ms|s)$", description="For latency, like 250ms or 2s.", examples=["250ms"]
        ),
    ] = None


class SloSpec(Spec):
    """What is promised of the endpoint of the same name. The list is the whole of it."""

    days: Annotated[int, Field(ge=1, le=90, description="The window over which each objective is meant.")] = 30
    objectives: Annotated[list[ObjectiveSpec], Field(min_length=1, max_length=5)]


class MonitorsSpec(Spec):
    """What is watched at the endpoint of the same name. The list is the whole of it: a monitor that is not in it is removed."""

    monitors: Annotated[
        dict[Annotated[str, Field(pattern=SLUG)], dict[str, Any]],
        Field(
            min_length=1, max_length=30, description="Name -> what it is told, as `countersign monitor show --json` prints it."
        ),
    ]
