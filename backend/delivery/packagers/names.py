"""The registry of packagers, in the order in which they are asked: one line each."""

from __future__ import annotations

from pathlib import Path

from backend.core.errors import Refusal
from backend.delivery.packagers.onnx_memory import OnnxMemoryPackager
from backend.delivery.packagers.onnx_triton import OnnxTritonPackager
from backend.delivery.packagers.port import Packager
from backend.delivery.packagers.triton_entry import TritonRepositoryPackager

PACKAGERS: tuple[type[Packager], ...] = (OnnxTritonPackager, TritonRepositoryPackager, OnnxMemoryPackager)


def packagers_for(target: str) -> list[Packager]:
    """Every packager for one kind of server. Refusal `unknown-target` when there is none."""
    found = [packager() for packager in PACKAGERS if packager.target == target]
    if not found:
        known = sorted({packager.target for packager in PACKAGERS})
        raise Refusal(
            f"Nothing is packaged for servers of the kind {target!r}.",
            f"Choose a server of one of these kinds: {', '.join(known)}.",
            code="unknown-target",
        )
    return found


def choose(artifact: Path, target: str) -> Packager:
    """The first packager that accepts an artifact. Refusal `not-packageable` with what each of them lacks."""
    reasons = []
    for packager in packagers_for(target):
        reason = packager.accepts(artifact)
        if not reason:
            return packager
        reasons.append(f"{packager.kind.partition('@')[0]}: {reason}")
    raise Refusal(
        f"This artifact cannot be packaged for {target}. {' '.join(reasons)}",
        "Register a version whose artifact is one of these.",
        code="not-packageable",
    )
