"""From an MLflow ONNX artifact to one version folder of a Triton model, run by onnxruntime in Triton's python backend."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from backend.core.canonical import tree_files
from backend.delivery.packagers.contents import CODE_GUARD
from backend.delivery.packagers.onnx_artifact import contents, demand, find_graph, objection
from backend.delivery.packagers.onnx_signature import read_signature
from backend.delivery.packagers.triton_config import normal_form

RUNNER = Path(__file__).with_name("onnx_runner.py")
"""Read as data, never imported here: it runs inside Triton."""
RUNNERS = {"onnx-triton@1": "sha256:daf8cccbbc71c439e325cb9b227e710ad1fd5b6dbd8abe5f3ace4509e4e6ddb0"}
"""Which runner each version of the packager puts into packages. A new runner needs a new version, and the old line stays."""
_CONFIG_TEXT = "config.pbtxt"


class OnnxTritonPackager:
    """`model.py` (our runner), `model.onnx`, `config.json`, `manifest.json`, and `probes.json` where the artifact has one."""

    kind: ClassVar[str] = "onnx-triton@1"
    target: ClassVar[str] = "triton"

    def accepts(self, artifact: Path) -> str:
        """Needs an ONNX graph, and no Triton configuration of the author's own."""
        if (artifact / _CONFIG_TEXT).exists():
            return f"It has a {_CONFIG_TEXT} of its own."
        return objection(artifact)

    def build(self, artifact: Path, package: Path) -> None:
        """Reads the graph without running it. The configuration is the graph's own, on one CPU instance."""
        demand(self.accepts(artifact))
        files = tree_files(artifact)
        config = normal_form({**read_signature(artifact / find_graph(artifact)).config(), "backend": "python"})
        made = {"model.py": RUNNER.read_bytes(), CODE_GUARD: b""}
        contents(self.kind, self.target, artifact, files, config, made).write(package)
