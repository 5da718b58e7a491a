"""What an administrator says of one Triton. The forms of the pages are drawn from this."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from backend.core.errors import Refusal
from backend.core.outbound import parse_url


def _url(text: str) -> str:
    try:
        parse_url(text)
    except Refusal as refusal:
        raise ValueError(f"{refusal.message} {refusal.remedy}".rstrip(".")) from refusal
    return text.rstrip("/")


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("give the folder's absolute path")
    return path


Url = Annotated[str, AfterValidator(_url)]


class TritonSettings(BaseModel):
    """How Countersign reaches a Triton and the folder that it loads from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Url = Field(title="Address", description="Where Triton answers HTTP, e.g. http://triton-prod:8000.")
    model_repository: Annotated[Path, AfterValidator(_absolute)] = Field(
        title="Model repository",
        description="The folder that Triton loads from (--model-repository), as the worker sees it. Both must share it.",
    )
    repository_on_server: str | None = Field(
        None,
        title="Model repository on the server",
        description="The same folder as the server names it, where it mounts it elsewhere or does not see the package store "
        "under the worker's path. Version folders are then copies; without it they are links into the package store.",
    )
    credential_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = Field(
        "admin-key",
        title="Header of the admin key",
        description="The header that --http-restricted-api asks for; the server's credential is sent in it.",
    )
    timeout_seconds: float = Field(10.0, ge=0.1, le=120, title="Time-out", description="Seconds for one answer.")
    load_timeout_seconds: float = Field(
        120.0, ge=1, le=3600, title="Time-out of a load", description="Seconds that loading a model may take."
    )
    metrics_url: Url | None = Field(
        None, title="Address of the metrics", description="Prometheus text, e.g. http://triton-prod:8002/metrics."
    )
