"""Whether a package is what its manifest says: asked of what comes from a server, where anybody may have written it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.core.canonical import digest_file, tree_files
from backend.core.errors import Refusal
from backend.delivery.packagers.contents import read_probes
from backend.delivery.packagers.onnx_triton import RUNNERS
from backend.delivery.packagers.triton_config import interface_digest, normal_form
from backend.delivery.packagers.triton_entry import runs_code
from backend.delivery.packages import CONFIG, PROBES, Manifest, read_json, read_manifest

_RUNNER = "model.py"
_TRITON = "triton"


def check_package(package: Path) -> Manifest:
    """The manifest of a package folder, when its files show what it claims. Refusal `bad-package`, or what is wrong inside."""
    manifest = read_manifest(package)
    described = (package / CONFIG).is_file()
    if manifest.target == _TRITON and not described:
        raise _false("it has no configuration")
    config = normal_form(read_json(package / CONFIG)) if described else None
    if config is not None and interface_digest(config) != manifest.interface_digest:
        raise _false("its interface digest is not that of its configuration")
    if (package / PROBES).is_file() != (manifest.probes is not None):
        raise _false("its recorded answers are not as it says")
    if manifest.probes is not None and config is not None and read_probes(package / PROBES, config) != manifest.probes:
        raise _false("its recorded answers are not as it says")
    if config is not None and not manifest.runs_code and _has_code_of_the_author(manifest, package, config):
        raise _false("it carries code of its author's and says that it has none")
    return manifest


def _has_code_of_the_author(manifest: Manifest, package: Path, config: dict[str, Any]) -> bool:
    """Our own runner is not the author's, when it is byte for byte the one of that packager."""
    paths = [file.path for file in tree_files(package)]
    runner = RUNNERS.get(manifest.packager)
    if runner is not None and config["backend"] == "python" and "runtime" not in config:
        others = [path for path in paths if path != _RUNNER]
        return digest_file(package / _RUNNER) != runner or runs_code({"backend": ""}, others)
    return runs_code(config, paths)


def _false(reason: str) -> Refusal:
    return Refusal(
        f"This package does not hold together: {reason}.",
        "Package the version again from its registered artifact.",
        code="bad-package",
    )
