"""The published JSON Schema of declarations, drawn from the classes that read them: editors complete and check files by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from backend.blueprints.registry import KINDS
from backend.blueprints.specs import API_VERSION, SLUG
from backend.delivery.routers.names import ROUTERS
from backend.delivery.targets.names import TARGETS
from backend.monitoring.rules import MonitorSpec
from backend.policy.rules import Policy


def schema() -> dict[str, Any]:
    """One object: which kind it is decides what its spec may say."""
    definitions: dict[str, Any] = {}
    cases = [_case(name, kind.spec, definitions) for name, kind in KINDS.items()]
    definitions["Policy"] = _partial(_parts(Policy, definitions))
    definitions["EnvironmentSpec"]["properties"]["policy"] = {"$ref": "#/$defs/Policy"}
    definitions["MonitorSpec"] = _parts(MonitorSpec, definitions)
    monitors = definitions["MonitorsSpec"]["properties"]["monitors"]
    monitors |= {"propertyNames": {"pattern": SLUG}, "additionalProperties": {"$ref": "#/$defs/MonitorSpec"}}
    monitors.pop("patternProperties", None)
    places: dict[str, Mapping[str, Any]] = {"ServerSpec": TARGETS, "RouterSpec": ROUTERS}
    for spec, adapters in places.items():
        definitions[spec]["allOf"] = [
            _settings(kind, adapter.Settings, definitions) for kind, adapter in sorted(adapters.items())
        ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Countersign declaration",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"enum": list(KINDS)},
            "metadata": _METADATA,
            "spec": {"type": "object"},
        },
        "allOf": cases,
        "$defs": dict(sorted(definitions.items())),
    }


_METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": SLUG},
        "absent": {"type": "boolean", "description": "Whether it shall not be there; `apply --prune` then removes it."},
    },
}


def _case(name: str, spec: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    definitions[spec.__name__] = _parts(spec, definitions)
    return {
        "if": {"properties": {"kind": {"const": name}}},
        "then": {"properties": {"spec": {"$ref": f"#/$defs/{spec.__name__}"}}},
    }


def _settings(kind: str, model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    definitions[model.__name__] = _partial(_parts(model, definitions))
    return {
        "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
        "then": {"properties": {"settings": {"$ref": f"#/$defs/{model.__name__}"}}},
    }


def _parts(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """A class's schema, with what it is made of put among the definitions."""
    found = model.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
    definitions.update(found.pop("$defs", {}))
    return found


def _partial(found: dict[str, Any]) -> dict[str, Any]:
    """What is put over what there is need not be whole."""
    return {key: value for key, value in found.items() if key != "required"}
