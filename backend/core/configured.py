"""The settings of this process, read from its environment. Of the whole house it needs nothing else."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from backend.core.errors import Refusal
from backend.settings import SecretFileError, Settings


def read_settings(data: Path | None = None) -> Settings:
    """Settings from the environment, with another data folder where one is named. Refusal for one that is wrong."""
    try:
        return Settings() if data is None else Settings(data_dir=data)
    except SecretFileError as error:
        raise Refusal(f"{error.setting} is wrong: {error}.", "Correct it, or unset it.", code="bad-setting") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = "_".join(str(part) for part in first["loc"]).upper()
        raise Refusal(
            f"COUNTERSIGN_{field} is wrong: {first['msg']}.", "Correct it, or unset it for its default.", code="bad-setting"
        ) from error
