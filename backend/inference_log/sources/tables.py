"""Which tables of the team's own engine hold an endpoint's requests and outcomes: one TOML file of settings.

    [engines.warehouse]
    url = "postgres://reader:...@warehouse.example.com:5432/scoring"

    [endpoints.flight-delay]
    engine = "warehouse"

    [endpoints.flight-delay.requests]
    table = "public.predictions"
    columns = {request_id = "id", event_time = "predicted_at", received_at = "stored_at", version = "model_version"}
    features = {hour = "departure_hour", carrier = "carrier"}

    [endpoints.flight-delay.outcomes]
    table = "public.arrivals"
    columns = {request_id = "prediction_id", known_at = "landed_at"}
    values = {late = "was_late"}

Columns that are not named are not there: without `received_at` rows are taken to be there once.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from backend.core.errors import Refusal

MOST_BYTES = 1 << 20
_URL = re.compile(r"[a-z][a-z0-9+]{1,30}:/.*", re.DOTALL)
REQUEST_COLUMNS = (
    "request_id", "event_time", "received_at", "unit", "assigned_arm", "served_arm", "version", "failure", "status",
    "prediction",
)  # fmt: skip
OUTCOME_COLUMNS = ("request_id", "known_at", "received_at")

_Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Columns = dict[str, _Name]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Engine(_Model):
    """An engine by Ibis's own URL, which may hold a password."""

    url: SecretStr

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr) -> SecretStr:
        if not _URL.fullmatch(url.get_secret_value()):
            raise ValueError("give the URL of an engine, such as postgres://...")
        return url


class RequestTable(_Model):
    """A table whose rows are requests. `columns` and `features`: our name -> the table's column."""

    table: _Name
    columns: _Columns
    features: _Columns = Field(default_factory=dict)

    @field_validator("columns")
    @classmethod
    def _are_ours(cls, columns: dict[str, str]) -> dict[str, str]:
        return _known(columns, REQUEST_COLUMNS, ("request_id", "event_time"))


class OutcomeTable(_Model):
    """A table whose rows are outcomes."""

    table: _Name
    columns: _Columns
    values: _Columns

    @field_validator("columns")
    @classmethod
    def _are_ours(cls, columns: dict[str, str]) -> dict[str, str]:
        return _known(columns, OUTCOME_COLUMNS, ("request_id", "known_at"))


class Mapped(_Model):
    """Where an endpoint's rows are."""

    engine: _Name
    requests: RequestTable
    outcomes: OutcomeTable | None = None


class Tables(_Model):
    """The whole file."""

    engines: dict[str, Engine] = Field(default_factory=dict)
    endpoints: dict[str, Mapped] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _engines_are_there(self) -> Tables:
        if any(one.engine not in self.engines for one in self.endpoints.values()):
            raise ValueError("an endpoint names an engine that is not in the file")
        return self


def read(path: Path) -> Tables:
    """The settings of a file. Refusal `bad-setting` for one that is wrong; it repeats no value."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise _bad("it is larger than 1 MiB")
        told: dict[str, Any] = tomllib.loads(content.decode())
        return Tables.model_validate(told)
    except OSError as error:
        raise _bad(f"it cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _bad(f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}") from None
    except ValueError:
        raise _bad("it is not TOML") from None


def _known(columns: dict[str, str], known: tuple[str, ...], needed: tuple[str, ...]) -> dict[str, str]:
    if not set(columns) <= set(known) or not set(needed) <= set(columns):
        raise ValueError(f"name columns among {', '.join(known)}, and {' and '.join(needed)} at least")
    return columns


def _bad(why: str) -> Refusal:
    return Refusal(f"The file of COUNTERSIGN_LOG_TABLES_FILE is wrong: {why}.", "Correct it.", code="bad-setting")
