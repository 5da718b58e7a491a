"""The kinds of sources that somebody can name for an endpoint, each with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from backend.core.errors import Refusal
from backend.core.outbound import Guard
from backend.metrics.port import Source
from backend.metrics.sources.prometheus import PrometheusSettings, PrometheusSource
from backend.metrics.sources.text import TextSettings, TextSource

SETTINGS: Mapping[str, type[BaseModel]] = {"text": TextSettings, "prometheus": PrometheusSettings}


def checked(kind: str, settings: Mapping[str, Any]) -> BaseModel:
    """The settings of a kind. Refusal `unknown-kind` or `bad-settings`."""
    model = SETTINGS.get(kind)
    if model is None:
        raise Refusal(
            f"There is no kind of source {kind[:80]!r}.", f"Use one of {', '.join(sorted(SETTINGS))}.", code="unknown-kind"
        )
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise Refusal(f"{where}: {first['msg']}.", "Correct that setting.", code="bad-settings", field=where) from error


def build(kind: str, settings: Mapping[str, Any], guard: Guard, *, name: str, token: str | None = None) -> Source:
    """The adapter. Nothing is called yet. Refusal as `checked`."""
    found, system = checked(kind, settings), f"source {name}"
    if isinstance(found, TextSettings):
        return TextSource(found, guard, system=system, token=token)
    assert isinstance(found, PrometheusSettings)  # noqa: S101 - the only other one
    return PrometheusSource(found, guard, system=system, token=token)
