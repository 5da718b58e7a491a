"""What a package will hold, before it is written: files that are copied and files that are made. Its digest needs no copy."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.canonical import TreeFile, canonical, digest_bytes, digest_file, digest_tree
from backend.core.errors import Refusal
from backend.delivery.packages import CONFIG, MANIFEST, PROBES, Manifest
from backend.delivery.plan import Probes
from backend.delivery.probes import MAX_PROBES_BYTES, parse_probes

CODE_GUARD = "__pycache__"
"""An empty file of this name keeps Python from writing compiled code there, which it would run though nobody approved it."""


@dataclass(frozen=True)
class Contents:
    """A package to be.

    Args:
        root: where the copied files lie.
        copied: path in the package -> the file under `root`, as it was when it was hashed.
        made: path in the package -> its bytes.
    """

    root: Path
    copied: Mapping[str, TreeFile]
    made: Mapping[str, bytes]

    def digest(self) -> str:
        """The digest of the package that `write` would write."""
        copied = [TreeFile(path, file.size, file.digest) for path, file in self.copied.items()]
        return digest_tree([*copied, *(TreeFile(path, len(data), digest_bytes(data)) for path, data in self.made.items())])

    def write(self, package: Path) -> None:
        """Writes it into an empty folder. Refusal when a file is no longer the one that was hashed."""
        for path, file in self.copied.items():
            target = package / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / file.path, target)
            if digest_file(target) != file.digest:
                raise Refusal(
                    "The artifact changed while it was packaged.", "Package the version again.", code="artifact-changed"
                )
        for path, data in self.made.items():
            (package / path).write_bytes(data)


def describe(manifest: Manifest, config: Mapping[str, Any]) -> dict[str, bytes]:
    """`config.json` and `manifest.json`, in canonical JSON."""
    return {CONFIG: canonical(config), MANIFEST: canonical(manifest.model_dump(mode="json", by_alias=True))}


def find_file(files: Sequence[TreeFile], path: str) -> TreeFile | None:
    """The file of that path in a tree's list."""
    return next((file for file in files if file.path == path), None)


def read_probes(path: Path, config: Mapping[str, Any]) -> Probes:
    """The recorded answers in a file, checked against the inputs and outputs of a configuration."""
    if path.stat().st_size > MAX_PROBES_BYTES:
        raise _bad_probes(f"{PROBES} is larger than 16 MiB")
    content = path.read_bytes()
    inputs, outputs, _ = parse_probes(content)
    needed = {one["name"] for one in config["input"] if not one.get("optional")}
    known = {one["name"] for one in config["input"]}
    given = {one["name"] for one in config["output"]}
    if not all(needed <= set(row) <= known for row in inputs):
        raise _bad_probes("a recorded request does not name the model's inputs")
    if not all(set(row) <= given for row in outputs):
        raise _bad_probes("a recorded answer names an output that the model does not have")
    return Probes(digest=digest_bytes(content), count=len(inputs))


def _bad_probes(reason: str) -> Refusal:
    return Refusal(
        f"The recorded answers of this artifact cannot be used: {reason}.",
        f"Register the version again with a sound {PROBES}, or without one.",
        code="bad-probes",
    )
