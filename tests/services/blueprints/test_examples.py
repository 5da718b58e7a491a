"""The example files and the published schema are what the code reads."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from backend.blueprints import declared
from backend.blueprints.registry import KINDS
from backend.blueprints.text import Source, documents
from scripts import tables

EXAMPLES = sorted((Path(__file__).parents[3] / "docs" / "config-examples").glob("*.yaml"))
SCHEMA = jsonschema.Draft202012Validator(json.loads(tables.config_schema()))


def test_the_published_schema_is_that_of_the_code() -> None:
    assert tables.PARTS["schema"].is_current(), tables.AGAIN
    SCHEMA.check_schema(SCHEMA.schema)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_is_read_and_fits_the_schema(file: Path) -> None:
    source = Source(file.name, file.read_text())
    assert declared.read([source], {name: kind.spec for name, kind in KINDS.items()})
    for one in documents([source]):
        SCHEMA.validate(one.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "Team", "spec": {"titel": "x"}},
        {"kind": "Team", "spec": {"members": "ana"}},
        {"kind": "Server", "spec": {"kind": "triton", "settings": {"urll": "x"}}},
        {"kind": "Environment", "spec": {"policy": {"approvals": 1}}},
        {"kind": "Ramp", "spec": {"steps": []}},
        {"kind": "Grant", "spec": {}},
        {"kind": "Endpoint", "spec": {"rollout": {"bake": "soon"}}},
    ],
)
def test_what_is_refused_does_not_fit_the_schema_either(wrong: dict[str, object]) -> None:
    whole = {"apiVersion": "countersign/v1", "metadata": {"name": "x"}, **wrong}
    assert not SCHEMA.is_valid(whole)
