"""What all values of a plan are made of: immutable, closed, and named by slugs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class Frozen(BaseModel):
    """Immutable, strict, and closed: an unknown key is an error, because nobody would have approved its meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid")
