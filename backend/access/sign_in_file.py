"""The settings of sign-in: one TOML file in the form of Streamlit's `[auth]` secrets, with what Countersign needs besides.

    [auth]
    redirect_uri = "https://countersign.example.com/oauth2callback"
    cookie_secret_file = "/run/secrets/countersign-cookie"
    first_administrator = "corp:ada@example.com"

    [auth.corp]
    title = "Example Corp"
    client_id = "countersign"
    client_secret_env = "CORP_CLIENT_SECRET"
    server_metadata_url = "https://id.example.com/.well-known/openid-configuration"

    [[auth.corp.roles]]
    value = "ml-reviewers"
    role = "reviewer"
    scope = "environment:production"

A secret stands in the file, or in a file or an environment variable that it names. No message repeats a value of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from backend.access import issuer_settings, rules
from backend.access.issuer_settings import METADATA, USUAL, Algorithms, bad, first_fault, is_name, safe_address
from backend.core.errors import Refusal

CALLBACK = "/oauth2callback"
"""Where Streamlit takes a provider's answer; the redirect URI ends with it."""
SHORTEST_COOKIE_SECRET = 32

_RESERVED = frozenset({"default", "roles", "session"})
_IMPLIED = frozenset({("https", 443), ("http", 80)})


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RoleOfValue(_Part):
    """Whoever has this value among the groups (or roles) that the provider tells, holds this role in this scope."""

    value: Annotated[str, Field(min_length=1, max_length=256)]
    role: str
    scope: str = "*"

    @model_validator(mode="after")
    def _exists(self) -> RoleOfValue:
        try:
            rules.check_grant(self.role, self.scope)
        except Refusal as refusal:
            raise ValueError(str(refusal)) from None
        return self


class Provider(_Part):
    """One OpenID provider.

    Args:
        title: what its button says.
        issuers: who may stand in a token as its issuer; empty: the issuer that its metadata names, if its address fits.
        groups_claim: the claim whose values are mapped to roles; a name with dots also leads into nested claims.
        roles: which value gives which role; more are mapped on the Admin page.
        require_verified_email: whether somebody without an address that the provider verified is turned away.
        scim_claim: the claim that holds what its directory sends as `externalId` by SCIM: `sub` for Okta, `oid` for Entra ID.
        scim_identity: name of the service whose tokens its directory sends; without it nobody provisions.
        algorithms: how its tokens may be signed.
        scope, prompt: what is asked of it.
    """

    name: str
    title: Annotated[str, Field(min_length=1, max_length=60)]
    client_id: Annotated[str, Field(min_length=1, max_length=512)]
    client_secret: SecretStr
    server_metadata_url: str
    issuers: tuple[str, ...] = ()
    groups_claim: Annotated[str, Field(min_length=1, max_length=256)] = "groups"
    roles: tuple[RoleOfValue, ...] = ()
    require_verified_email: bool = False
    scim_claim: Annotated[str, Field(max_length=256)] = ""
    scim_identity: Annotated[str, Field(max_length=256)] = ""
    algorithms: Algorithms = USUAL
    scope: str = "openid email profile"
    prompt: str = "select_account"

    @field_validator("server_metadata_url")
    @classmethod
    def _is_metadata(cls, url: str) -> str:
        if not safe_address(url).path.endswith(METADATA):
            raise ValueError(f"it ends with {METADATA}")
        return url

    @field_validator("scope")
    @classmethod
    def _asks_for_openid(cls, scope: str) -> str:
        if "openid" not in scope.split():
            raise ValueError("it contains openid")
        return scope

    @property
    def expected_issuer(self) -> str:
        """What the address of the metadata says of the issuer, without a slash at its end."""
        return self.server_metadata_url.removesuffix(METADATA).rstrip("/")


class SignIn(_Part):
    """How people sign in here.

    Args:
        redirect_uri: where a provider sends people back to; it also says under which host, path and scheme this is seen.
        idle_minutes: a session ends so long after the last click.
        absolute_hours: a session ends so long after the sign-in, whatever is clicked.
        claims_days: roles that a provider's groups gave lapse so long after the last sign-in.
        first_administrator: `provider:subject` or `provider:verified e-mail`; an admin as long as nobody else is one.
    """

    redirect_uri: str
    cookie_secret: SecretStr
    providers: tuple[Provider, ...]
    idle_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = 60
    absolute_hours: Annotated[int, Field(ge=1, le=29 * 24)] = 12
    claims_days: Annotated[int, Field(ge=1, le=366)] = 30
    first_administrator: str = ""

    @field_validator("redirect_uri")
    @classmethod
    def _is_callback(cls, url: str) -> str:
        parts = safe_address(url)
        if not parts.path.endswith(CALLBACK) or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", parts.path):
            raise ValueError(f"it ends with {CALLBACK}")
        if (parts.scheme, parts.port) in _IMPLIED or parts.netloc != parts.netloc.lower():
            # Streamlit reads its cookie only under this very text as a browser's Origin (auth_util.py of 1.67).
            raise ValueError("write host and port as browsers do: in small letters, without :443 of https or :80 of http")
        return url

    @field_validator("cookie_secret")
    @classmethod
    def _is_long(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value()) < SHORTEST_COOKIE_SECRET:
            raise ValueError(f"it has at least {SHORTEST_COOKIE_SECRET} characters, e.g. from `openssl rand -hex 32`")
        return secret

    @model_validator(mode="after")
    def _knows_its_administrator(self) -> SignIn:
        if not self.providers:
            raise ValueError("at least one table [auth.NAME] names a provider")
        name, _, who = self.first_administrator.partition(":")
        if self.first_administrator and (self.provider(name) is None or not who):
            raise ValueError("first_administrator is PROVIDER:SUBJECT or PROVIDER:E-MAIL of a provider in this file")
        return self

    def provider(self, name: object) -> Provider | None:
        """The provider of that name."""
        return next((one for one in self.providers if one.name == name), None)

    @property
    def idle(self) -> timedelta:
        """Time without a click after which a session ends."""
        return timedelta(minutes=self.idle_minutes)

    @property
    def absolute(self) -> timedelta:
        """Time after which a session ends in any case."""
        return timedelta(hours=self.absolute_hours)

    @property
    def origin(self) -> str:
        """Scheme, host and port as people's browsers see them."""
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.redirect_uri))

    @property
    def host(self) -> str:
        """The host name as people's browsers see it."""
        return urlsplit(self.redirect_uri).hostname or ""

    @property
    def base_path(self) -> str:
        """The path below which this is seen: "" or `/countersign`."""
        return urlsplit(self.redirect_uri).path.removesuffix(CALLBACK)

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach this by TLS."""
        return self.redirect_uri.startswith("https://")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be seen anywhere."""
        return (self.cookie_secret.get_secret_value(), *(one.client_secret.get_secret_value() for one in self.providers))


def read(path: Path, environment: Mapping[str, str] = os.environ) -> SignIn:
    """The settings in a file. Refusal (`bad-setting`) that names what is wrong, and repeats no value."""
    table = issuer_settings.table(path).get("auth")
    if not isinstance(table, dict):
        raise bad(f"{path} has no table [auth].", "Write it as docs/sign-in.md shows.")
    try:
        return SignIn.model_validate(_plain(table, path.parent, environment))
    except ValidationError as error:
        where, says = first_fault(error)
        raise bad(f"{path}: {where or '[auth]'} is wrong: {says}.", "Correct it as docs/sign-in.md says.") from None


def variables(path: Path) -> tuple[str, ...]:
    """Names of the environment variables that hold its secrets, for whoever starts a process that reads it."""
    try:
        table = issuer_settings.table(path).get("auth")
    except Refusal:
        return ()
    tables = [table, *(table.values() if isinstance(table, dict) else ())]
    found = [one.get(name) for one in tables if isinstance(one, dict) for name in ("cookie_secret_env", "client_secret_env")]
    return tuple(one for one in found if isinstance(one, str))


def _plain(table: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The table with its providers as a list, and every secret in its place."""
    settings = {key: value for key, value in table.items() if not isinstance(value, dict)}
    providers = {key: value for key, value in table.items() if isinstance(value, dict)}
    for name in providers:
        if not is_name(name) or name in _RESERVED:
            raise bad(f"{name[:40]!r} cannot be the name of a provider.", "Use small letters, digits and dashes.")
    return {
        **_with_secret(settings, "cookie_secret", folder, environment),
        "providers": [
            {"name": name, "title": name, **_with_secret(one, "client_secret", folder, environment)}
            for name, one in providers.items()
        ],
    }


def _with_secret(table: Mapping[str, Any], name: str, folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """A table whose `<name>_file` or `<name>_env` is replaced by what it leads to."""
    found = dict(table)
    file, variable = found.pop(f"{name}_file", None), found.pop(f"{name}_env", None)
    if sum(one is not None for one in (file, variable, found.get(name))) > 1:
        raise bad(f"{name} is given twice.", f"Give one of {name}, {name}_file and {name}_env.")
    if file is not None:
        try:
            found[name] = (folder / str(file)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise bad(f"The file of {name} cannot be read.", "Name a file that this process may read.") from error
    elif variable is not None:
        if str(variable) not in environment:
            raise bad(f"The environment variable of {name} is not set.", "Set it for this process.")
        found[name] = environment[str(variable)]
    return found
