"""Documents as declarations: the envelope and the fields of each kind, strictly, with what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from backend.blueprints.faults import Fault, Faulty
from backend.blueprints.specs import API_VERSION, SLUG
from backend.blueprints.text import Document, Path, Source, documents

_SLUG = re.compile(SLUG)
_ENVELOPE = ("apiVersion", "kind", "metadata", "spec")


@dataclass(frozen=True)
class Declared:
    """One object as a file declares it.

    Args:
        spec: the fields that the file names, in the words of the file; None for one that shall not be there.
        typed: the same as a value of the kind's class.
    """

    kind: str
    name: str
    document: Document
    spec: dict[str, Any] | None
    typed: BaseModel | None = field(compare=False)

    @property
    def where(self) -> str:
        """Where the file speaks of it."""
        return self.document.where(("metadata", "name"))

    def at(self, *path: str | int) -> str:
        """Where a field of it stands."""
        return self.document.where(("spec", *path))

    @property
    def is_absent(self) -> bool:
        """Whether it shall not be there."""
        return self.spec is None


def read(sources: Sequence[Source], kinds: Mapping[str, type[BaseModel]]) -> tuple[Declared, ...]:
    """Every declaration of some files. Raises Faulty with everything that is wrong with them."""
    faults: list[Fault] = []
    found: dict[tuple[str, str], Declared] = {}
    for document in documents(sources):
        one = _declared(document, kinds, faults)
        if one is None:
            continue
        if (other := found.get((one.kind, one.name))) is not None:
            says = f"{one.kind} {one.name} is declared at {other.where} already."
            faults.append(Fault(one.where, says, "Leave one of the two."))
        found[(one.kind, one.name)] = one
    if faults:
        codes = {one.code for one in faults}
        raise Faulty(faults, codes.pop() if len(codes) == 1 else "bad-config")
    if not found:
        name = sources[0].name if sources else "-"
        raise Faulty([Fault(f"{name}:1:1", "Nothing is declared here.", "Name files that hold declarations.")])
    return tuple(found.values())


def _declared(document: Document, kinds: Mapping[str, type[BaseModel]], faults: list[Fault]) -> Declared | None:
    before = len(faults)
    value = document.value
    if not isinstance(value, dict):
        faults.append(Fault(document.where(), "This is no declaration.", f"Begin with `apiVersion: {API_VERSION}`."))
        return None
    _refuse_unknown(document, (), value, _ENVELOPE, faults)
    if value.get("apiVersion") != API_VERSION:
        faults.append(
            Fault(document.where(("apiVersion",)), "This format is not known.", f"Write `apiVersion: {API_VERSION}`.")
        )
    kind, metadata = value.get("kind"), value.get("metadata")
    if not isinstance(kind, str) or kind not in kinds:
        faults.append(Fault(document.where(("kind",)), *_unknown_kind(kind, kinds)))
    name = _name(document, metadata, faults)
    if len(faults) > before or not isinstance(metadata, dict) or not isinstance(kind, str):
        return None
    if metadata.get("absent") is True:
        if "spec" in value:
            faults.append(Fault(document.where(("spec",)), "What shall not be there has no spec.", "Leave one of the two out."))
        return Declared(kind, name, document, None, None)
    typed = _typed(document, kinds[kind], value.get("spec", {}), faults)
    if typed is None:
        return None
    return Declared(kind, name, document, typed.model_dump(exclude_unset=True, by_alias=True), typed)


def _name(document: Document, metadata: Any, faults: list[Fault]) -> str:
    if not isinstance(metadata, dict):
        faults.append(Fault(document.where(("metadata",)), "The object has no name.", "Write `metadata: {name: ...}`."))
        return ""
    _refuse_unknown(document, ("metadata",), metadata, ("name", "absent"), faults)
    if not isinstance(metadata.get("absent", False), bool):
        faults.append(Fault(document.where(("metadata", "absent")), "`absent` is true or false.", "Write `absent: true`."))
    name = metadata.get("name")
    if isinstance(name, str) and _SLUG.fullmatch(name):
        return name
    where = document.where(("metadata", "name"))
    if not isinstance(name, str) and name is not None:
        faults.append(Fault(where, f"The name is {_sort(name)} and no text.", f'Write "{str(name)[:63]}" in quotes.'))
    else:
        says = "Use up to 63 small letters, digits and hyphens, with a letter or digit at both ends."
        faults.append(Fault(where, f"{str(name)[:80]!r} cannot be a name." if name else "The object has no name.", says))
    return ""


def _typed(document: Document, model: type[BaseModel], spec: Any, faults: list[Fault]) -> BaseModel | None:
    if not isinstance(spec, dict):
        faults.append(Fault(document.where(("spec",)), f"The spec is {_sort(spec)}.", "Write its fields below `spec:`."))
        return None
    try:
        return model.model_validate(spec)
    except ValidationError as error:
        found = [_fault(document, ("spec",), one, model) for one in error.errors(include_url=False)]
        faults += sorted(found, key=lambda one: [int(part) for part in one.where.rsplit(":", 2)[1:]])
        return None


def faults_of(declared: Declared, path: Path, error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """What a model says of a part of a declaration."""
    return [_fault(declared.document, ("spec", *path), one, model) for one in error.errors(include_url=False)]


def _fault(document: Document, root: Path, error: Any, model: type[BaseModel]) -> Fault:
    path: Path = (*root, *(part for part in error["loc"] if not _is_branch(part)))
    where, name = document.where(path), ".".join(str(part) for part in path)
    kind, message = str(error["type"]), str(error["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        known = _fields(model, error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        remedy = f"Did you mean `{near[0]}`?" if near else f"Its fields are: {', '.join(known)}." if known else "Leave it out."
        return Fault(where, f"There is no field `{name}`.", remedy)
    if kind == "missing":
        return Fault(where, f"The field `{name}` is missing.", "Write it.")
    given = error.get("input")
    if kind == "string_type" and isinstance(given, int | float | bool):
        return Fault(where, f"`{name}` is {_sort(given)} and no text.", f'Write "{str(given).lower()[:40]}" in quotes.')
    return Fault(where, f"`{name}`: {message}.", f"It is {_sort(given)} here; correct it.")


def _is_branch(part: str | int) -> bool:
    """pydantic names the branch of a union along with the fields."""
    return isinstance(part, str) and (part.startswith(("list[", "constrained-", "literal[", "function-")) or part in ("str",))


def _fields(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The fields of the part of a model to which a path leads, as files name them."""
    found: Any = model
    for part in path:
        if isinstance(part, int) or _is_branch(part):
            continue
        inner = next((one for name, one in found.model_fields.items() if (one.alias or name) == part), None)
        found = _model_in(inner.annotation) if inner is not None else None
        if found is None:
            return []
    return [one.alias or name for name, one in found.model_fields.items()]


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((one for inner in getattr(annotation, "__args__", ()) if (one := _model_in(inner)) is not None), None)


def _refuse_unknown(
    document: Document, path: Path, value: Mapping[str, Any], known: Sequence[str], faults: list[Fault]
) -> None:
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"Did you mean `{near[0]}`?" if near else f"Its fields are: {', '.join(known)}."
            faults.append(Fault(document.where((*path, name)), f"There is no field `{name[:80]}` here.", remedy))


def _unknown_kind(kind: Any, kinds: Mapping[str, Any]) -> tuple[str, str]:
    known = f"The kinds are {', '.join(kinds)}."
    if not isinstance(kind, str):
        return "The object has no kind.", known
    near = difflib.get_close_matches(kind, list(kinds), 1, 0.7)
    return f"There is no kind {kind[:80]!r}.", f"Did you mean {near[0]}?" if near else known


def _sort(value: Any) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        dict: "a group of fields",
        list: "a list",
    }
    return "nothing" if value is None else names.get(type(value), "something else")
