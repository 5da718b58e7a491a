"""What a team did before it had Countersign: a model put into Triton's folder and loaded by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx

from backend.core.errors import ExternalFailure
from backend.delivery.packages import CONFIG
from backend.embedded.triton import TritonServer


def serve_by_hand(triton: TritonServer, name: str, version: int, package: Path) -> None:
    """Copies a version's files into Triton's model folder and loads it under a name, with its whole configuration.

    Done once more where the first time was broken off, or Triton was started anew since.
    """
    target = triton.models / name / str(version)
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(package, target)
    config = {**json.loads((package / CONFIG).read_text()), "name": name}
    config["version_policy"] = {"specific": {"versions": [version]}}
    body = {"parameters": {"config": json.dumps(config)}}
    with httpx.Client(timeout=60.0, trust_env=False) as client:
        answer = client.post(f"{triton.url}/v2/repository/models/{name}/load", json=body, headers=triton.admin_headers)
    if answer.status_code != httpx.codes.OK:
        raise ExternalFailure("Triton", f"answered {answer.status_code} to the first load of {name}", retryable=False)
