"""An artifact with an ONNX graph: `model.onnx` at its root, or the file that MLflow's description names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.core.canonical import TreeFile, digest_tree
from backend.core.errors import Refusal
from backend.delivery.packagers.contents import Contents, describe, find_file, read_probes
from backend.delivery.packagers.triton_config import interface_digest
from backend.delivery.packages import PROBES, Manifest
from backend.registry.paths import safe_path

GRAPH = "model.onnx"
DESCRIPTION = "MLmodel"
_MAX_BYTES = 1 << 20
_KEY = re.compile(r"((?:  )*)([A-Za-z0-9_]+):(?: (.*))?")


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
    named = list(_values(content.decode(errors="replace"), ("flavors", "onnx", "data")))
    if len(named) > 1:
        raise _wrong("its ONNX flavour names two files")
    return safe_path(named[0].strip("'\"")) if named else ""


def _values(text: str, wanted: tuple[str, ...]) -> Iterator[str]:
    """The values under a path of keys, in YAML as MLflow writes it: one key a line, two blanks a level.

    A YAML parser would be no better a reader of that, and worse to attack: nested brackets of 20 kB take it 3 s, of 1 MB hours.
    """
    path: list[str] = []
    for line in text.splitlines():
        if (match := _KEY.fullmatch(line)) and len(match[1]) <= 2 * len(path):
            path[len(match[1]) // 2 :] = [match[2]]
            if tuple(path) == wanted and match[3]:
                yield match[3].strip()


def _wrong(reason: str) -> Refusal:
    return Refusal(
        f"MLflow's description of this artifact cannot be used: {reason}.",
        "Log the model again with mlflow.onnx, or put the graph at the artifact's root as model.onnx.",
        code="bad-artifact",
    )
