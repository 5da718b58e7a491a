"""Draws a pydantic settings model as a form: one field each, in the model's own words, with what is wrong beside the field.

Adapters own their `Settings`, so that adding a target or a router adds its form. Understood are text, numbers, booleans,
`Literal` and `Enum` choices, `SecretStr`, `Path`, lists and sets of text, times, and any of them or None; whatever else a
model holds is written as JSON. Limits (`ge`, `le`, `max_length`) go to the fields; what only the model itself can judge is
judged when the form is sent, and nothing that was typed is lost.

    draft = forms.draw(TritonSettings, key="server")
    if st.button("Register") and (settings := draft.read()) is not None:
        ...
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import streamlit as st
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.kit import times
from app.kit.plain import escape
from backend.core.errors import Refusal

M = TypeVar("M", bound=BaseModel)
WHOLE_FORM = ""
"""Where errors stand that belong to no single field."""


@dataclass
class Draft(Generic[M]):
    """What has been typed so far, and where the errors of each field stand."""

    model: type[M]
    key: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Any] = field(default_factory=dict)

    def read(self) -> M | None:
        """The settings, or None after the errors have been put beside their fields. From then on they follow the typing."""
        st.session_state[f"{self.key}.sent"] = True
        return self.check()

    def check(self) -> M | None:
        """Judges what has been typed and draws what is wrong with it."""
        found, errors = validated(self.model, self.values)
        for name, place in self.places.items():
            if name in errors:
                place.markdown(f":small[:red[:material/error: {escape(errors[name])}]]")
            else:
                place.empty()
        return found


def draw(model: type[M], *, key: str, start: Mapping[str, Any] | None = None) -> Draft[M]:
    """Draws a field for each of the model's, begun with `start` or the model's own defaults."""
    draft = Draft(model, key)
    for name, info in model.model_fields.items():
        begun = (start or {}).get(name, _default(info))
        with st.container(gap="xxsmall"):
            draft.values[name] = _field(f"{key}.{name}", name, info, begun)
            draft.places[name] = st.empty()
    draft.places[WHOLE_FORM] = st.empty()
    if st.session_state.get(f"{key}.sent"):
        draft.check()
    return draft


def validated(model: type[M], typed: Mapping[str, Any]) -> tuple[M | None, dict[str, str]]:
    """(the settings or None, field -> what is wrong with it); "" stands for the form as a whole. Pure."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, info in model.model_fields.items():
        value = typed.get(name)
        if value in (None, "") and info.is_required():
            errors[name] = "Fill this in."
        if value in (None, ""):
            continue  # left empty: the model's own default
        try:
            values[info.alias or name] = _given(value, kind_of(info.annotation))
        except (ValueError, Refusal) as error:
            errors[name] = str(error)
    if errors:
        return None, errors
    try:
        return model.model_validate(values), {}
    except ValidationError as error:
        return None, _by_field(model, error)


def kind_of(annotation: Any) -> Any:
    """The type that decides how a field is drawn: `X | None` is X, `Annotated[X, ...]` is X."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        kinds = [one for one in get_args(annotation) if one is not type(None)]
        return kind_of(kinds[0]) if len(kinds) == 1 else dict
    return kind_of(annotation.__origin__) if hasattr(annotation, "__metadata__") else annotation


def _field(key: str, name: str, info: FieldInfo, begun: Any) -> Any:
    """One widget; returns what was typed, as the widget gives it."""
    kind, label = kind_of(info.annotation), _label(name, info)
    common: dict[str, Any] = {"key": key, "help": info.description or None}
    choices = _choices(kind)
    if choices is not None:
        start = begun.value if isinstance(begun, Enum) else begun
        index = choices.index(start) if start in choices else None
        return st.selectbox(label, choices, index=index, required=info.is_required(), **common)
    if kind is bool:
        return st.toggle(label, value=bool(begun), **common)
    if kind in (int, float):
        return _number(label, kind, info, begun, common)
    return _text(label, kind, info, begun, common)


def _number(label: str, kind: type[int | float], info: FieldInfo, begun: Any, common: dict[str, Any]) -> Any:
    low, high = _limit(info, "ge"), _limit(info, "le")
    return st.number_input(
        label,
        value=kind(begun) if begun is not None else None,
        min_value=kind(low) if low is not None else None,
        max_value=kind(high) if high is not None else None,
        step=kind(1),
        required=info.is_required(),
        **common,
    )


def _text(label: str, kind: Any, info: FieldInfo, begun: Any, common: dict[str, Any]) -> Any:
    longest, required = _limit(info, "max_length"), info.is_required()
    if kind is SecretStr:
        return st.text_input(
            label, type="password", live=True, max_chars=longest, required=required, autocomplete="off", **common
        )
    if _lines(kind):
        text = "\n".join(str(one) for one in begun or ())
        return st.text_area(f"{label} :gray[(one a line)]", value=text, height=88, required=required, **common)
    if kind is datetime:
        shown = times.written(begun) if isinstance(begun, datetime) else ""
        return st.text_input(f"{label} :gray[(UTC)]", value=shown, required=required, **common)
    if kind not in (str, Path):
        shown = "" if begun is None else json.dumps(begun, default=str)
        return st.text_area(f"{label} :gray[(JSON)]", value=shown, height=88, required=required, **common)
    shown = "" if begun is None else str(begun)
    if longest is not None and longest > 300:
        return st.text_area(label, value=shown, height=88, max_chars=longest, required=required, **common)
    return st.text_input(label, value=shown, max_chars=longest, required=required, **common)


def _given(value: Any, kind: Any) -> Any:
    """What was typed, as the model takes it. ValueError or Refusal says what is wrong with the typing itself."""
    if not isinstance(value, str):
        return value
    if _lines(kind):
        return [line.strip() for line in value.splitlines() if line.strip()]
    if kind is datetime:
        return times.entered(value)
    if kind in (str, Path, SecretStr) or _choices(kind) is not None:
        return value if kind is SecretStr else value.strip()
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not JSON: {error.msg} at character {error.pos + 1}.") from error


def _by_field(model: type[BaseModel], error: ValidationError) -> dict[str, str]:
    """pydantic's findings by field, in its words but without its prefix; the first one of a field."""
    named = {info.alias or name: name for name, info in model.model_fields.items()}
    found: dict[str, str] = {}
    for one in error.errors(include_url=False, include_input=False):
        where = str(one["loc"][0]) if one["loc"] else WHOLE_FORM
        said = one["msg"].removeprefix("Value error, ").rstrip(".")
        found.setdefault(named.get(where, WHOLE_FORM), f"{said[:1].upper()}{said[1:]}.")
    return found


def _label(name: str, info: FieldInfo) -> str:
    return escape(info.title or name.replace("_", " ").capitalize())


def _default(info: FieldInfo) -> Any:
    value = info.get_default(call_default_factory=True, validated_data={})
    return None if value is PydanticUndefined else value


def _choices(kind: Any) -> list[Any] | None:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [one.value for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else None


def _lines(kind: Any) -> bool:
    """Whether a field is a list of texts."""
    return get_origin(kind) in (list, tuple, set, frozenset) and set(get_args(kind)) <= {str, Ellipsis}


def _limit(info: FieldInfo, name: str) -> Any:
    return next((value for one in info.metadata if (value := getattr(one, name, None)) is not None), None)
