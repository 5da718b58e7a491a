"""The codes of problems that the API can answer, read from the code that refuses, so that none is forgotten.

A code is a literal where something is refused: `Refusal(..., code="bad-name")` and its kin, `Fault(...)`, `errors.answer(...)`.
Where a function makes the refusal for others, the codes that they hand to it count. What is neither is an error here, so that
the list is whole or is not made; the few that are told otherwise stand in `ELSEWHERE`. For the documents and the tests: nothing
that answers asks here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backend.api.errors import STATUS

BACKEND = Path(__file__).resolve().parent.parent / "backend"
NOT_OF_THE_API = frozenset({"cli", "client", "demo", "embedded", "ingest", "worker", "xds"})
"""Rooms that refuse at a shell or at the start of a process, and answer no request."""
AT_THE_START = frozenset(
    {
        "bootstrap.py", "core/configured.py", "migrate.py", "schema.py", "settings.py", "access/bearer_file.py",
        "access/issuer_settings.py", "access/sign_in_file.py",
    }
)  # fmt: skip
"""The same of single files."""
HANDED_ON = frozenset({"api/errors.py", "api/hooks.py", "api/sign_in.py", "api/guard.py"})
"""Files that answer with the code of a refusal that somebody else made."""
ELSEWHERE = {
    "api/errors.py": (
        ("external-failure", 502, "… answered …"),
        ("no-such-path", 404, "There is no such path."),
        ("no-such-method", 405, "This path does not take that method."),
    ),
    "bootstrap.py": (("no-database", 503, "There is no Countersign database in …."),),
    "migrate.py": (("schema", 503, "The database is at schema …, this program needs …."),),
}
"""Told by other means than a literal at the refusal; a test looks for each in its file."""
SAYS = {
    "not-skipped": "The policy lets no step be skipped; or a guardrail failed, or no step ahead asks for a person.",
    "conflict-of-interest": "You requested this change.",
    "findings": "FINDING is open on ENDPOINT.",
    "plan-refused": "FILE:LINE:COLUMN: what is refused there, and how much more.",
}
"""What is said with these is put together where it is refused."""
_MAKERS = frozenset({"Refusal", "NotAdmitted", "ConditionFailed", "Faulty", "Fault", "answer", "_unauthorized"})


@dataclass(frozen=True)
class Found:
    """One place that refuses. `status` is None where the code alone says it."""

    code: str
    status: int | None
    says: str


@dataclass(frozen=True)
class Code:
    """One code: with which status it is answered, one thing that it says, and how many others it can say."""

    code: str
    statuses: tuple[int, ...]
    says: str
    others: int


@cache
def codes() -> tuple[Code, ...]:
    """Every code, by name. ValueError for a place whose code cannot be told."""
    by_code: dict[str, list[Found]] = {}
    for path in sorted(BACKEND.rglob("*.py")):
        name = path.relative_to(BACKEND).as_posix()
        if name.partition("/")[0] in NOT_OF_THE_API or name in AT_THE_START:
            continue
        for one in _File(name, ast.parse(path.read_text(encoding="utf-8"))).found():
            by_code.setdefault(one.code, []).append(one)
    for each in ELSEWHERE.values():
        for code, status, says in each:
            by_code.setdefault(code, []).append(Found(code, status, says))
    return tuple(_code(name, by_code[name]) for name in sorted(by_code))


def names() -> frozenset[str]:
    """The codes alone."""
    return frozenset(one.code for one in codes())


def _code(name: str, found: list[Found]) -> Code:
    statuses = {one.status or STATUS.get(name, 422) for one in found}
    says = list(dict.fromkeys(one.says for one in found if one.says.strip("…. ")))
    return Code(name, tuple(sorted(statuses)), says[0] if says else SAYS.get(name, ""), max(0, len(says) - 1))


class _File:
    """The places of one file that refuse."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self._name = name
        self._within: dict[ast.AST, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self._calls: dict[str, list[ast.Call]] = {}
        self._made = list[ast.Call]()
        self._look(tree, None)

    def _look(self, node: ast.AST, function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> None:
        if isinstance(node, ast.Call):
            self._calls.setdefault(_called(node), []).append(node)
            if function is not None:
                self._within[node] = function
            self._made.append(node)
        inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        for child in ast.iter_child_nodes(node):
            self._look(child, inner)

    def found(self) -> Iterator[Found]:
        """All of them."""
        for call in self._made:
            told = _code_of(call)
            if told is None:
                continue
            status = _status_of(call)
            for code, says in self._resolved(call, told, _message_of(call)):
                yield Found(code, 403 if code == "insufficient-scope" else status, says)

    def _resolved(self, call: ast.Call, code: ast.expr, says: ast.expr | None) -> Iterator[tuple[str, str]]:
        function = self._within.get(call)
        for known in _literals(code):
            yield known, self._said(says, function)
        if any(True for _ in _literals(code)) or self._name in HANDED_ON or isinstance(code, ast.Attribute):
            return  # the code of a refusal that is handed on is told where that is made
        if isinstance(code, ast.Name) and function is not None and (assigned := _assigned(function, code)) is not None:
            yield from self._resolved(call, assigned, says)
            return
        parameters = _parameters(function)
        if not (isinstance(code, ast.Name) and code.id in parameters and function is not None):
            raise ValueError(f"backend/{self._name}:{call.lineno}: this code is no literal, and nothing hands it over")
        if function.name == "__init__":
            return  # of a kind of refusal: its makers are looked at where they are
        for caller in self._calls.get(function.name, ()):
            handed = _handed(caller, parameters, code.id) or _default(function, code.id)
            if handed is None:
                raise ValueError(f"backend/{self._name}:{caller.lineno}: this hands over no code")
            message = says
            if isinstance(says, ast.Name) and says.id in parameters:
                message = _handed(caller, parameters, says.id)
            yield from self._resolved(caller, handed, message)

    def _said(self, says: ast.expr | None, function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> str:
        if isinstance(says, ast.Name) and function is not None and says.id in _parameters(function):
            handed = (_handed(one, _parameters(function), says.id) for one in self._calls.get(function.name, ()))
            says = next((one for one in handed if one is not None), None)
        elif isinstance(says, ast.Name) and function is not None:
            says = _assigned(function, says)
        return _text(says)


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _code_of(call: ast.Call) -> ast.expr | None:
    """What says the code of a call that refuses; None for every other call."""
    name = _called(call)
    for keyword in call.keywords:
        if keyword.arg == "code" and (name in _MAKERS or name in ("__init__", "SignedOut")):
            return keyword.value if name != "SignedOut" else None
    if name == "answer" and isinstance(call.func, ast.Attribute | ast.Name) and len(call.args) >= 4:
        return call.args[1]
    if name in ("_unauthorized", "Fault") and len(call.args) > (0 if name == "_unauthorized" else 3):
        return call.args[0 if name == "_unauthorized" else 3]
    if name == "Faulty" and len(call.args) > 1:
        return call.args[1]
    if name == "Refusal":
        return ast.Constant("refused")
    return ast.Constant("bad-config") if name in ("Fault", "Faulty") else None


def _message_of(call: ast.Call) -> ast.expr | None:
    index = {"answer": 2, "_unauthorized": 1, "Fault": 1}.get(_called(call), 0)
    return call.args[index] if len(call.args) > index else None


def _status_of(call: ast.Call) -> int | None:
    name = _called(call)
    if name in ("NotAdmitted", "_unauthorized"):
        return 401
    first = call.args[0] if name == "answer" and call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, int) else None


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> list[str]:
    if function is None:
        return []
    told = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    told = told[1:] if told[:1] == ["self"] else told
    return [*told, *(one.arg for one in function.args.kwonlyargs)]


def _handed(call: ast.Call, parameters: list[str], name: str) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    index = parameters.index(name)
    return call.args[index] if index < len(call.args) else None


def _assigned(function: ast.FunctionDef | ast.AsyncFunctionDef, name: ast.Name) -> ast.expr | None:
    """What a name of a function was last given above its use."""
    found = [
        one
        for one in ast.walk(function)
        if isinstance(one, ast.Assign)
        and one.lineno < name.lineno
        and any(isinstance(target, ast.Name) and target.id == name.id for target in one.targets)
    ]
    return max(found, key=lambda one: one.lineno).value if found else None


def _default(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> ast.expr | None:
    told = [*function.args.posonlyargs, *function.args.args]
    named = dict(zip([one.arg for one in told][::-1], function.args.defaults[::-1], strict=False))
    named |= {one.arg: value for one, value in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if value}
    return named.get(name)


def _literals(code: ast.expr) -> Iterator[str]:
    if isinstance(code, ast.Constant) and isinstance(code.value, str):
        yield code.value
    elif isinstance(code, ast.IfExp):
        yield from _literals(code.body)
        yield from _literals(code.orelse)


def _text(says: ast.expr | None) -> str:
    """A message as people read it, with … for what is filled in."""
    if isinstance(says, ast.Constant) and isinstance(says.value, str):
        return says.value
    if isinstance(says, ast.JoinedStr):
        return "".join(
            one.value if isinstance(one, ast.Constant) and isinstance(one.value, str) else "…" for one in says.values
        )
    if isinstance(says, ast.IfExp):
        return _text(says.body)
    if isinstance(says, ast.Call) and isinstance(says.func, ast.Attribute):
        return _text(says.func.value)  # `"...".rstrip()`
    return ""
