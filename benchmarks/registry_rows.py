"""The registry that both sides get: the same models, versions, tags and aliases, made from their numbers alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

ALIAS = "production-champion"
_START = datetime(2025, 1, 1, tzinfo=UTC)
_STEP = timedelta(minutes=7)


@dataclass(frozen=True)
class VersionRow:
    """One version; `position` counts all versions of the registry in the order of their creation."""

    model: str
    number: int
    position: int

    @property
    def created_at(self) -> datetime:
        """No two versions are of the same moment."""
        return _START + self.position * _STEP

    @property
    def run_id(self) -> str:
        """32 hex digits, as MLflow's are."""
        return f"{self.position:032x}"

    @property
    def source(self) -> str:
        """Where its files lie."""
        return f"mlflow-artifacts:/1/models/m-{self.run_id}/artifacts"

    author: str = "ana@example.com"
    description: str = "Gradient boosting on the features of the last four weeks, calibrated on the fifth."
    tags: dict[str, str] = field(default_factory=lambda: {"framework": "onnx", "validated": "true"})


@dataclass(frozen=True)
class ModelRow:
    """One model with its versions and one alias, which points to the last of them."""

    name: str
    versions: tuple[VersionRow, ...]
    tags: dict[str, str]
    description: str = "Probability that a flight arrives more than fifteen minutes late, for the desk that rebooks."


def rows(models: int, versions: int) -> Iterator[ModelRow]:
    """The registry: version 1 of every model came first, then version 2 of every model, and so on."""
    for number in range(models):
        name = model_name(number)
        found = tuple(VersionRow(name, each + 1, each * models + number) for each in range(versions))
        yield ModelRow(name, found, {"team": f"team-{number % 50}", "tier": "gold"})


def model_name(number: int) -> str:
    """The name of the model of that number."""
    return f"flight-delay-{number:05d}"


def asked_for(call: int, models: int) -> str:
    """Which model the call of that number asks for: another one each time, all over the registry."""
    return model_name(call * 7919 % models)
