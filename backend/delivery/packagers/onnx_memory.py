"""From an MLflow ONNX artifact to what the in-memory target loads: it evaluates the graph itself."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from backend.core.canonical import tree_files
from backend.delivery.packagers.onnx_artifact import contents, demand, find_graph, objection
from backend.delivery.packagers.onnx_signature import read_signature
from backend.delivery.packagers.triton_config import normal_form


class OnnxMemoryPackager:
    """`model.onnx`, `config.json`, `manifest.json`, and `probes.json` where the artifact has one; nothing that runs."""

    kind: ClassVar[str] = "onnx-memory@1"
    target: ClassVar[str] = "memory"

    def accepts(self, artifact: Path) -> str:
        """Needs an ONNX graph."""
        return objection(artifact)

    def build(self, artifact: Path, package: Path) -> None:
        """Reads the graph without running it. The configuration says what goes in and out."""
        demand(self.accepts(artifact))
        files = tree_files(artifact)
        config = normal_form(read_signature(artifact / find_graph(artifact)).config())
        contents(self.kind, self.target, artifact, files, config, {}).write(package)
