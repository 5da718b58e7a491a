"""Settings as somebody entered them, understood by the adapter that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from backend.core.canonical import canonical
from backend.core.errors import Refusal

MAX_SETTINGS_BYTES = 64 << 10


def entered(model: type[BaseModel], kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as the adapter's own model has them. Refusal `too-large`, or `bad-setting` with the first wrong field."""
    if len(canonical(dict(settings))) > MAX_SETTINGS_BYTES:
        raise Refusal("These settings are larger than 64 KiB.", "Give only the adapter's own settings.", code="too-large")
    try:
        return model.model_validate(dict(settings)).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:80] or "settings"
        raise Refusal(
            f"The settings for {kind} are wrong: {where}: {first['msg'].removeprefix('Value error, ')}.",
            "Correct that field and try again.",
            code="bad-setting",
            field=where,
        ) from None  # what pydantic says repeats what was entered, which may be a secret in the wrong field
