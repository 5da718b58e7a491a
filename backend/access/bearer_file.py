"""The settings of bearer tokens that other systems sign: one TOML file, a table a profile.

    [github]
    kind = "github"
    audience = "https://countersign.example.com"

    [gitlab]
    kind = "gitlab"
    issuer = "https://gitlab.example.com"
    audience = "https://countersign.example.com"

    [corp]
    kind = "access"
    issuer = "https://id.example.com/realms/corp"
    audience = "countersign-api"
    scopes = { "countersign.read" = "viewer", "countersign.write" = "contributor" }

A profile holds no secret: whoever signs is known by what it publishes.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from backend.access import issuer_settings
from backend.access.issuer_settings import METADATA, USUAL, Algorithms, bad, first_fault, is_name, safe_address
from backend.access.rules import Role

Kind = Literal["access", "github", "gitlab"]
GITHUB = "https://token.actions.githubusercontent.com"
TYPES: dict[Kind, tuple[str, ...]] = {"access": ("at+jwt",), "github": ("jwt",), "gitlab": ("jwt",)}
"""What a token says of its own type, where the profile says nothing: RFC 9068 for access tokens, what CI systems issue."""
MOST_PROFILES = 20

_Scope = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,200}$")]
"""A scope as RFC 6749 (3.3) writes one."""
_Text = Annotated[str, Field(min_length=1, max_length=512)]


class Profile(BaseModel):
    """What makes a token of one issuer good.

    Args:
        kind: `access` for OAuth access tokens of a provider; `github` and `gitlab` for ID tokens of CI jobs.
        issuer: exactly what stands in `iss`.
        audience: exactly what stands in `aud`: this installation, and never a client that people sign in by.
        metadata_url: where the issuer publishes, if not under its own name.
        algorithms: how it may sign.
        types: what may stand in `typ`, in small letters and without `application/`; "" where it is left out.
        required: claims that must have exactly these values, e.g. a tenant.
        clients: for people's access tokens, the clients that may have been given them; empty for every one.
        client_claim: which claim names the client.
        sign_in: the provider in the settings of sign-in whose people these tokens speak of; "" for the very issuer.
        subject_claim: which claim says who they are. `sub` is not the one of a sign-in where a provider makes it up for each
            client (Entra ID: `oid`) or tells a login in it (Okta: `uid`).
        scopes: for people's access tokens, a scope -> the role that it is good for at most. A token is good for all that its
            scopes name, and for nothing without one of them. Empty: every role of the person.
        scope_claim: which claim lists them: a text with spaces between, or a list.
        max_age_minutes: how long after its issue a token is good at most, whatever it says itself.
        skew_seconds: how far two clocks may be apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    title: Annotated[str, Field(min_length=1, max_length=60)]
    kind: Kind
    issuer: Annotated[str, Field(max_length=512)] = ""
    audience: _Text
    metadata_url: str = ""
    algorithms: Algorithms = USUAL
    types: tuple[Annotated[str, Field(max_length=32)], ...] = ()
    required: dict[str, str] = Field(default_factory=dict)
    clients: tuple[_Text, ...] = ()
    client_claim: Literal["client_id", "azp", "cid", "appid"] = "client_id"
    sign_in: Annotated[str, Field(max_length=256)] = ""
    subject_claim: Literal["sub", "oid", "uid"] = "sub"
    scopes: Annotated[dict[_Scope, Role], Field(max_length=50)] = Field(default_factory=dict)
    scope_claim: Literal["scope", "scp", "permissions", "roles"] = "scope"
    max_age_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 120
    skew_seconds: Annotated[int, Field(ge=0, le=300)] = 60

    @field_validator("types")
    @classmethod
    def _are_types(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if set(names) - {"at+jwt", "jwt", ""}:
            raise ValueError("choose among at+jwt, jwt and the empty text")
        return names

    @model_validator(mode="before")
    @classmethod
    def _has_an_issuer(cls, told: Any) -> Any:
        if isinstance(told, dict) and told.get("kind") == "github" and not told.get("issuer"):
            return {**told, "issuer": GITHUB}
        return told

    @model_validator(mode="after")
    def _is_published_safely(self) -> Profile:
        for url in (self.issuer, self.server_metadata_url):
            try:
                safe_address(url)
            except ValueError as error:
                raise ValueError(f"issuer or metadata_url: {error}") from None
        return self

    @model_validator(mode="after")
    def _has_scopes_of_people(self) -> Profile:
        if self.scopes and self.is_build:
            raise ValueError("scopes: a job has none; what it may do is said by its binding")
        return self

    @model_validator(mode="after")
    def _speaks_of_people(self) -> Profile:
        if self.is_build and (self.sign_in or self.subject_claim != "sub"):
            raise ValueError("sign_in, subject_claim: a job speaks of no person")
        if self.subject_claim != "sub" and not self.sign_in:
            raise ValueError("subject_claim: say by sign_in at which provider that person signs in")
        return self

    @property
    def server_metadata_url(self) -> str:
        """Where the issuer publishes."""
        return self.metadata_url or self.issuer.rstrip("/") + METADATA

    @property
    def accepted_types(self) -> tuple[str, ...]:
        """What may stand in `typ`."""
        return self.types or TYPES[self.kind]

    @property
    def is_build(self) -> bool:
        """Whether its tokens are those of a CI system's jobs."""
        return self.kind != "access"

    @property
    def max_age(self) -> timedelta:
        """How long a token is good at most."""
        return timedelta(minutes=self.max_age_minutes)

    @property
    def skew(self) -> timedelta:
        """How far two clocks may be apart."""
        return timedelta(seconds=self.skew_seconds)

    @cached_property
    def publisher(self) -> Publishes:
        """What `access.providers` asks for keys by."""
        return Publishes(f"bearer:{self.name}", self.title, self.server_metadata_url, self.issuer.rstrip("/"), self.algorithms)


class Publishes:
    """A profile as a publisher of keys; kept apart from a provider of sign-in of the same name."""

    def __init__(self, name: str, title: str, url: str, expected_issuer: str, algorithms: tuple[str, ...]) -> None:
        self.name, self.title, self.server_metadata_url = name, title, url
        self.expected_issuer, self.algorithms = expected_issuer, algorithms
        self.issuers: tuple[str, ...] = ()


def read(path: Path) -> tuple[Profile, ...]:
    """The profiles in a file. Refusal (`bad-setting`) that names what is wrong."""
    return profiles(issuer_settings.table(path), str(path))


def profiles(table: dict[str, Any], where: str = "the settings of bearer tokens") -> tuple[Profile, ...]:
    """The profiles in a table of them."""
    if not table or len(table) > MOST_PROFILES:
        raise bad(f"{where}: it names no profile, or too many.", "Write it as docs/machines.md shows.")
    found = tuple(_profile(name, one, where) for name, one in table.items())
    if len({one.issuer for one in found}) < len(found):
        raise bad(f"{where}: an issuer is in two profiles.", "Keep one profile an issuer.")
    return found


def _profile(name: str, told: Any, where: str) -> Profile:
    if not is_name(name) or not isinstance(told, dict):
        raise bad(f"{where}: {name[:40]!r} is no profile.", "Name it with small letters, digits and dashes, as a table.")
    try:
        return Profile.model_validate({"title": name, **told, "name": name}, strict=False)
    except ValidationError as error:
        field, says = first_fault(error, name)
        raise bad(f"{where}: {field} is wrong: {says}.", "Correct it as docs/machines.md says.") from None
