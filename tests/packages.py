"""Packages for a real Triton, built by the real packager from the tiny models of `tests.models`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from backend.core.canonical import canonical, digest_tree, tree_files
from backend.delivery.desired import Packaged
from backend.delivery.packagers.onnx_triton import OnnxTritonPackager
from tests.models import add_model

Row = Mapping[str, Any]


def write_artifact(folder: Path, model: onnx.ModelProto, probes: Sequence[tuple[Row, Row]] = ()) -> Path:
    """An artifact as MLflow keeps it: the graph, and the recorded answers where there are some."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    if probes:
        asked, given = [dict(one) for one, _ in probes], [dict(one) for _, one in probes]
        (folder / "probes.json").write_bytes(canonical({"schema": 1, "inputs": asked, "outputs": given, "tolerance": 1e-6}))
    return folder


def build_package(folder: Path, model: onnx.ModelProto, probes: Sequence[tuple[Row, Row]] = ()) -> Packaged:
    """The package that the real packager builds from it; built once for a model, since reading a graph starts a process."""
    folder.mkdir(parents=True)
    recorded = json.dumps([[dict(one), dict(other)] for one, other in probes])
    for name, content in _built(model.SerializeToString(deterministic=True), recorded).items():
        (folder / name).write_bytes(content)
    return packaged(folder)


@cache
def _built(model: bytes, probes: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "package"
        package.mkdir()
        artifact = write_artifact(Path(folder) / "artifact", onnx.ModelProto.FromString(model), json.loads(probes))
        OnnxTritonPackager().build(artifact, package)
        return {path.name: path.read_bytes() for path in package.iterdir()}


def triton_package(folder: Path, offset: float = 1.0, interface: str = "add", broken: bool = False) -> Packaged:
    """`y = x + offset` for Triton; another interface takes wider rows; a broken one was spoilt after it was packaged."""
    made = build_package(folder, add_model(offset, width=2 if interface == "add" else 3))
    if broken:
        (made.path / "model.onnx").write_bytes(b"this is not a graph")
    return packaged(made.path)


def packaged(folder: Path) -> Packaged:
    """A package folder under the digest that it has now."""
    return Packaged(digest_tree(tree_files(folder)), folder)
