"""What a training run answers, and how another process asks for one. Imports neither MLflow nor scikit-learn."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from backend.core.errors import ExternalFailure

PROGRESS = "training: "
_SYSTEM = "The demo's training"


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """One registered version.

    Args:
        version: MLflow's version number, as text.
        source: MLflow's URI of the artifacts.
        size: bytes of `model.onnx`.
        agreement: largest absolute difference between scikit-learn and the export on held-out flights.
        seconds: time that training took; of the earlier training when `cached`.
    """

    version: str
    recipe: str
    run_id: str
    model_id: str
    source: str
    onnx_digest: str
    size: int
    agreement: float
    metrics: Mapping[str, float]
    seconds: float
    cached: bool


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What was trained, logged and registered. `seconds` covers all of it."""

    model: str
    experiment_id: str
    dataset_digest: str
    dataset_rows: int
    code_version: str
    versions: tuple[TrainedVersion, ...]
    seconds: float

    def to_json(self) -> str:
        """One line of JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> TrainingReport:
        fields: dict[str, Any] = json.loads(line)
        versions = tuple(TrainedVersion(**version) for version in fields.pop("versions"))
        return cls(versions=versions, **fields)


def run_training(
    *,
    tracking_uri: str,
    model: str,
    cache: Path,
    rows: int | None = None,
    author: str | None = None,
    timeout_seconds: float = 600.0,
    on_progress: Callable[[str], None] = lambda line: None,
) -> TrainingReport:
    """Train, log and register all versions in a process of their own; blocks until it ends and leaves no process.

    Raises ExternalFailure when it fails or takes longer than `timeout_seconds`; the reason is its last line of output.
    """
    command = [sys.executable, "-m", "backend.demo.training", "--json", "--tracking-uri", tracking_uri]
    command += ["--model-name", model, "--cache", str(cache)]
    command += ["--rows", str(rows)] if rows is not None else []
    command += ["--author", author] if author is not None else []
    # The command is this interpreter and our own module; nothing of it passes a shell.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        return _finish(process, timeout_seconds, on_progress)


def _finish(process: subprocess.Popen[str], timeout: float, on_progress: Callable[[str], None]) -> TrainingReport:
    reasons: deque[str] = deque(maxlen=1)
    killer = threading.Timer(timeout, process.kill)
    reader = threading.Thread(target=_relay, args=(process.stderr, on_progress, reasons), daemon=True)
    try:
        killer.start()
        reader.start()
        answer = process.stdout.read() if process.stdout else ""
        status = process.wait()
        reader.join()
    finally:
        killer.cancel()
        process.kill()
    if status != 0:
        reason = reasons[0] if reasons else "no reason given"
        raise ExternalFailure(_SYSTEM, f"ended with status {status}: {reason}", retryable=False)
    return TrainingReport.from_json(answer)


def _relay(stream: IO[str] | None, on_progress: Callable[[str], None], reasons: deque[str]) -> None:
    for line in stream or ():
        if line.startswith(PROGRESS):
            on_progress(line.removeprefix(PROGRESS).rstrip())
        elif line.strip():
            reasons.append(line.strip())
