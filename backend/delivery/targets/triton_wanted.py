"""One served name as it shall be on a Triton, checked before anything is touched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.core.canonical import digest_tree, tree_files
from backend.core.errors import Refusal
from backend.delivery.desired import DesiredModel, Packaged
from backend.delivery.packagers.triton_config import interface_digest
from backend.delivery.packages import CONFIG, read_json, read_manifest
from backend.delivery.targets.triton_look import Running

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MAX_VERSION = 2**53


@dataclass(frozen=True)
class Wanted:
    """What one name shall serve, with the configuration that its versions share."""

    name: str
    versions: Mapping[int, Packaged]
    config: Mapping[str, Any]
    config_digest: str

    def is_so(self, running: Running) -> bool:
        """Whether exactly these versions answer, with this configuration."""
        return running.present == running.ready == set(self.versions) and running.config_digest == self.config_digest

    def fresh(self, before: Running) -> set[int]:
        """The versions that a load starts anew: all of them when the configuration changes."""
        return set(self.versions) - (before.ready if before.config_digest == self.config_digest else set())


def check(model: DesiredModel) -> Wanted:
    """Reads and hashes the packages. Refusal when one is not what it was, or when two cannot share a name."""
    if not model.versions:
        raise Refusal(f"No version of {model.name} is wanted.", "Release the name instead.", code="nothing-wanted")
    name = served_name(model.name)
    configs = {}
    for version, package in sorted(model.versions.items()):
        config = _read(name, version, package)
        configs[interface_digest(config)] = config
    if len(configs) > 1:
        raise Refusal(
            f"The versions of {name} ask for different configurations, and a served name has only one.",
            "Give the version with the new interface a served name of its own.",
            code="interfaces-differ",
        )
    ((digest, config),) = configs.items()
    return Wanted(name, model.versions, config, digest)


def served_name(name: str) -> str:
    """The name, which becomes a folder and a part of a URL. Refusal for one that cannot."""
    if _NAME.fullmatch(name) is None:
        raise Refusal(
            f"{name!r:.80} cannot be a served name.", "Use letters, digits, `_`, `.` and `-`.", code="bad-served-name"
        )
    return name


def _read(model: str, version: int, package: Packaged) -> Mapping[str, Any]:
    """A package's configuration, from bytes that hash to its digest."""
    if not 0 < version < _MAX_VERSION:
        raise Refusal(f"{version} is not a version that Triton can serve.", "Use 1 or more.", code="bad-version")
    if not package.path.is_dir() or digest_tree(tree_files(package.path)) != package.digest:
        raise Refusal(
            f"The stored package of {model} version {version} is missing or damaged.",
            "Package the version again; the server was not touched.",
            code="package-damaged",
        )
    manifest = read_manifest(package.path)
    config = read_json(package.path / CONFIG) if (package.path / CONFIG).is_file() else {}
    if interface_digest(config) != manifest.interface_digest:
        raise Refusal(
            f"The package of {model} version {version} is not one for Triton.",
            "Package the version again for this server.",
            code="bad-package",
        )
    found: Mapping[str, Any] = config
    return found
