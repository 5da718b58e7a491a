"""What every package says of itself: `manifest.json`, read by targets, packaging and proofs, written by packagers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from backend.core.canonical import canonical, loads
from backend.core.errors import Refusal
from backend.delivery.closed import Frozen
from backend.delivery.plan import Digest, Probes

MANIFEST = "manifest.json"
CONFIG = "config.json"
PROBES = "probes.json"
MAX_JSON_BYTES = 16 << 20


class Manifest(Frozen):
    """Who built a package from what. `interface_digest` is over inputs, outputs and the whole runtime configuration."""

    schema_number: Literal[1] = Field(default=1, alias="schema")
    packager: Annotated[str, Field(pattern=r"^[a-z0-9-]+@[0-9]+$")]
    target: str
    artifact_digest: Digest
    interface_digest: Digest
    probes: Probes | None = None
    runs_code: bool = False
    """Whether the package carries code of the artifact's author that the server will run."""

    def write(self, package: Path) -> None:
        """Writes it canonically into a package folder."""
        (package / MANIFEST).write_bytes(canonical(self.model_dump(mode="json", by_alias=True)))


def read_manifest(package: Path) -> Manifest:
    """The manifest of a package folder. Refusal `bad-package` when it is missing or not one."""
    try:
        return Manifest.model_validate(read_json(package / MANIFEST))
    except (OSError, ValidationError) as error:
        raise Refusal(
            "This folder is not a package: its manifest is missing or cannot be read.",
            "Package the version again from its registered artifact.",
            code="bad-package",
        ) from error


def read_json(path: Path) -> Any:
    """JSON of bounded size from a package or artifact folder; OSError when there is no such file."""
    with path.open("rb") as stream:
        content = stream.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise Refusal(f"{path.name} is larger than 16 MiB.", "Shorten it; it holds descriptions, not data.", code="too-large")
    return loads(content)
