"""What people say of their models in a filled data folder (`tests.installations`): cards, uploads, and what went wrong.

A registry in memory stands in for MLflow, reachable for as long as the story is told; names and texts are hostile on purpose.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from backend import bootstrap
from backend.bootstrap import Backend
from backend.core.context import SYSTEM
from backend.registry import aliases, catalog
from backend.registry.memory import Fault, MemoryRegistry
from backend.registry.port import RunFacts
from backend.settings import Settings
from tests.installations import CHURN, FLIGHTS
from tests.models import add_model

BAGS = "baggage-weight"
CARD = """\
## What it is for

Operations plan gates with it: will this flight land **more than 15 minutes** late? Not for telling passengers.

## Data

| Set | From | To | Rows |
|---|---|---|---|
| training | January 2013 | March 2013 | 80,789 |
| test | April 2013 | April 2013 | 28,330 |

## How good it is

AUC 0.74 on April, Brier 0.16; the rule that it replaces had 0.61. See [the notebook](https://example.org/notebook).

## Where it fails

- Snow days: too few in the training set.
- Flights of HA, which all come from one airport.
"""
HOSTILE_CARD = """\
# Churn

<script>window.ran = 1</script> ![pixel](https://evil.example/p.png) [run me](javascript:window.ran=2)

:green-badge[:material/check_circle: Approved] by nobody at all.
"""
PAPERS = """\
flavors:
  onnx:
    data: model.onnx
signature:
  inputs: '[{"type": "double", "name": "bags", "required": true}]'
  outputs: '[{"type": "double", "name": "kg", "required": true}]'
"""


def files(offset: float) -> dict[str, bytes]:
    """The files of one version."""
    return {"MLmodel": PAPERS.encode(), "model.onnx": add_model(offset).SerializeToString(deterministic=True)}


def archive(content: Mapping[str, bytes]) -> io.BytesIO:
    """A zip of them."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writing:
        for name, data in content.items():
            writing.writestr(name, data)
    packed.seek(0)
    return packed


def registry() -> MemoryRegistry:
    """One model with three versions; the second holds pickled code."""
    made = MemoryRegistry()
    made.add_model(BAGS, description="Weight of a flight's bags, **in kg**.", tags={"owner": "ground", "team": "bags"})
    for number in range(1, 4):
        content = files(number) | ({"encoder.pkl": b"\x80\x04K\x01."} if number == 2 else {})
        run = RunFacts(metrics={"mae": 3.0 - number / 4, "r2": 0.5 + number / 10}, params={"depth": str(number)}, author="ana")
        made.add_version(BAGS, content, author="ana", run=run)
    return made


def opened(data: Path, memory: MemoryRegistry) -> Backend:
    """The services on a data folder, with this registry."""
    with mock.patch.object(bootstrap, "_registry", return_value=memory):
        return bootstrap.build(Settings(data_dir=data, demo_identities=True))


def told(data: Path) -> None:
    """Adds to a filled folder: a model with a pickled version, an upload, two that failed, cards in revisions."""
    memory = registry()
    backend = opened(data, memory)
    ana, olga = (backend.identities.act_as(name) for name in ("ana", "olga"))
    backend.mirror.mirror_recent()
    intake = backend.intake
    intake.wait(intake.register(ana, BAGS, 2))
    intake.wait(intake.upload(ana, BAGS, archive(files(9)), "bags *9* <b>.zip", description="Retrained"))
    intake.wait(intake.upload(ana, BAGS, archive({"../x": b"x"}), "slip.zip"))
    memory.script(Fault("log_version", "unreachable"))
    intake.wait(intake.upload(olga, BAGS, archive(files(10)), "bags-10.zip"))
    backend.mirror.mirror_recent()
    _aliases(backend, memory)
    cards = backend.cards
    cards.write(ana, FLIGHTS, "A first try.", revision=0)
    cards.write(olga, FLIGHTS, CARD, revision=1, summary="Numbers of April, and where it *fails*")
    cards.write(ana, CHURN, HOSTILE_CARD, revision=0, summary="<b>First</b> text")
    backend.close()


def _aliases(backend: Backend, memory: MemoryRegistry) -> None:
    """Two aliases of ours where they were proved; then somebody moves one of them, and makes one that is not ours."""
    with backend.database.unit(SYSTEM) as tx:
        aliases.want(tx, BAGS, "staging-champion", 2)
        aliases.want(tx, BAGS, "production-champion", 2)
    with backend.database.read() as session:
        model = catalog.one(session, BAGS)
    assert model is not None
    backend.mirror.sync_alias(model.id)
    memory.move_alias(BAGS, "production-champion", 1)
    memory.move_alias(BAGS, "candidate", 3)
    backend.mirror.mirror_recent()
