"""An artifact with an ONNX graph: `model.onnx` at its root, or the file that MLflow's description names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from backend.core.canonical import TreeFile, digest_tree
from backend.core.errors import Refusal
from backend.delivery.packagers.contents import Contents, describe, find_file, read_probes
from backend.delivery.packagers.triton_config import interface_digest
from backend.delivery.packages import PROBES, Manifest
from backend.registry.paths import safe_path

GRAPH = "model.onnx"
DESCRIPTION = "MLmodel"
_MAX_BYTES = 1 << 20


def objection(artifact: Path) -> str:
    """ "" when the artifact has an ONNX graph, else why not, as a sentence."""
    try:
        return "" if find_graph(artifact) else f"It has no {GRAPH}, and no MLmodel that names an ONNX graph."
    except Refusal as refusal:
        return refusal.message


def contents(
    packager: str, target: str, artifact: Path, files: list[TreeFile], config: dict[str, Any], made: Mapping[str, bytes]
) -> Contents:
    """A package of the artifact's graph with its recorded answers.

    Args:
        files: the artifact's tree as it was hashed.
        config: in normal form.
        made: what the packager adds.
    """
    graph = find_graph(artifact)
    beside = (Path(graph).parent / PROBES).as_posix()
    copied = {GRAPH: find_file(files, graph), PROBES: find_file(files, beside)}
    manifest = Manifest(
        packager=packager,
        target=target,
        artifact_digest=digest_tree(files),
        interface_digest=interface_digest(config),
        probes=read_probes(artifact / beside, config) if copied[PROBES] else None,
    )
    there = {path: file for path, file in copied.items() if file is not None}
    return Contents(artifact, there, {**made, **describe(manifest, config)})


def demand(reason: str) -> None:
    """Refusal `not-onnx` when there is a reason against the artifact."""
    if reason:
        raise Refusal(
            f"This artifact is not an ONNX model that can be packaged. {reason}",
            "Log the model with mlflow.onnx.log_model(..., save_as_external_data=False) and register that version.",
            code="not-onnx",
        )


def find_graph(artifact: Path) -> str:
    """The graph's path inside the artifact; "" when it has none. Refusal when the description is hostile or wrong."""
    if (artifact / GRAPH).is_file():
        return GRAPH
    named = _named(artifact / DESCRIPTION)
    if named and not (artifact / named).is_file():
        raise _wrong(f"it names {named}, which is not there")
    return named


def _named(description: Path) -> str:
    """What `flavors.onnx.data` says, as a safe path; "" without the description, or without that flavour."""
    if not description.is_file():
        return ""
    with description.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise _wrong("it is larger than 1 MiB")
    data = _at(_parsed(content), "flavors", "onnx", "data")
    if data is not None and not isinstance(data, str):
        raise _wrong("its ONNX flavour does not name a file")
    return safe_path(data) if data else ""


def _parsed(content: bytes) -> Any:
    """YAML without aliases: they could unfold a small file into gigabytes."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, Loader=yaml.SafeLoader)):
            raise _wrong("it uses YAML aliases")
        return yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _wrong("it is not YAML that can be read") from error


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _wrong(reason: str) -> Refusal:
    return Refusal(
        f"MLflow's description of this artifact cannot be used: {reason}.",
        "Log the model again with mlflow.onnx, or put the graph at the artifact's root as model.onnx.",
        code="bad-artifact",
    )
