"""The world behind the in-memory target: what is loaded, scripted faults, changes by hand, and the journal."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from backend.core.canonical import tree_files
from backend.delivery.desired import Packaged
from backend.delivery.packages import PROBES, read_json

State = dict[str, Any]
FaultKind = Literal["", "error", "reset", "timeout", "apply_then_timeout", "refuse", "lie", "partial"]

_servers: dict[str, State] = {}
_locks: dict[str, threading.RLock] = {}
_opening = threading.Lock()


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the next calls of one verb.

    Args:
        verb: push, observe, answer, inspect, metrics or copy_out.
        kind: error (500, nothing applied), reset, timeout (nothing applied), apply_then_timeout, refuse (as a broken model
            is), lie (push: says yes and does nothing; observe: sees nothing; answer: gives `outputs`), partial (push: stops
            after `after` models). "" only waits.
        seconds: how long the call takes before anything happens, on top.
        times: for how many calls.
    """

    verb: str
    kind: FaultKind = ""
    seconds: float = 0.0
    times: int = 1
    after: int = 1
    outputs: Mapping[str, Any] = field(default_factory=dict)

    def does(self, kind: FaultKind) -> bool:
        """Whether this is that kind of fault."""
        return self.kind == kind


class MemoryServer:
    """One server in memory.

    Args:
        name: servers of one process are told apart by it.
        path: a JSON file instead, which processes share under a lock; its folder must exist.
    """

    def __init__(self, name: str = "memory", path: str | None = None) -> None:
        self._key = path or name
        self._path = Path(path) if path else None
        with _opening:
            self._lock = _locks.setdefault(self._key, threading.RLock())

    @contextmanager
    def state(self) -> Iterator[State]:
        """The whole state, alone; what the caller changes is kept when the block ends without an exception."""
        with self._lock:
            if self._path is None:
                yield _servers.setdefault(self._key, _fresh())
                return
            with _file_lock(self._path):
                state = _fresh() | (json.loads(self._path.read_text()) if self._path.exists() else {})
                yield state
                _replace(self._path, json.dumps(state))

    def script(self, *faults: Fault) -> None:
        """Appends faults; calls of a verb meet its faults in this order."""
        with self.state() as state:
            state["faults"].extend(asdict(fault) for fault in faults)

    def next_fault(self, verb: str) -> Fault:
        """Takes the next fault of a verb off the script; a harmless one when there is none."""
        with self.state() as state:
            found = next((fault for fault in state["faults"] if fault["verb"] == verb), None)
            if found is None:
                return Fault(verb)
            fault = Fault(**found)
            found["times"] -= 1
            state["faults"] = [left for left in state["faults"] if left["times"] > 0]
            return fault

    @property
    def is_up(self) -> bool:
        """Whether the server can be reached."""
        with self.state() as state:
            return bool(state["up"])

    @property
    def journal(self) -> list[State]:
        """Every load and unload that took effect, in order: {"verb", "model", "versions": {"1": digest}, "by"}."""
        with self.state() as state:
            return list(state["journal"])

    def stop(self) -> None:
        """Nobody can reach the server; it forgets what was loaded, as a runtime in explicit mode does."""
        with self.state() as state:
            state.update(up=False, models={}, touched=[])

    def start(self) -> None:
        """The server is back, empty."""
        with self.state() as state:
            state["up"] = True

    @staticmethod
    def fresh_names(state: State) -> list[str]:
        """Models in the server's repository of which nothing was loaded since it started, as Triton's index lists them."""
        return sorted(set(state["repository"]) - set(state["touched"]))

    def load(self, model: str, versions: Mapping[int, Packaged], config_digest: str | None, *, by: str = "countersign") -> None:
        """Makes exactly these versions of a model loaded. Tests call it with `by` to change the server by hand."""
        with self.state() as state:
            state["repository"] = sorted({*state["repository"], model})
            state["touched"] = sorted({*state["touched"], model})
            before = state["models"].get(model, {"versions": {}, "config_digest": None})
            after = {
                "versions": {str(number): _loaded(before, number, package) for number, package in sorted(versions.items())},
                "config_digest": config_digest,
            }
            if after != before:
                state["models"][model] = after
                state["journal"].append(_entry("load", model, versions, by))

    def unload(self, model: str, *, by: str = "countersign") -> None:
        """Unloads a model with all its versions; of an unknown one it does nothing, as Triton does.

        Countersign takes what it releases out of the repository too; a hand only unloads.
        """
        with self.state() as state:
            if by == "countersign":
                state["repository"] = [one for one in state["repository"] if one != model]
            if state["models"].pop(model, None) is not None:
                state["journal"].append(_entry("unload", model, {}, by))

    def change_byte(self, model: str, version: int) -> None:
        """Somebody changes one byte of what a version is loaded from."""
        with self.state() as state:
            entry = state["models"][model]["versions"][str(version)]["files"][0]
            entry[2] = "sha256:" + "0" * 64

    def loaded_from(self, model: str, version: int) -> Path | None:
        """The folder that a loaded version came from."""
        with self.state() as state:
            loaded = state["models"].get(model, {"versions": {}})["versions"].get(str(version))
            return Path(loaded["path"]) if loaded else None

    def count(self, model: str, version: int) -> None:
        """Counts one answered request."""
        with self.state() as state:
            loaded = state["models"].get(model, {"versions": {}})["versions"].get(str(version))
            if loaded:
                loaded["requests"] += 1

    @staticmethod
    def can_load(package: Path) -> bool:
        """Whether the package's ONNX graph, if it has one, is one."""
        import onnx
        from google.protobuf.message import DecodeError

        if not (package / "model.onnx").exists():
            return True
        try:
            onnx.checker.check_model(onnx.load(str(package / "model.onnx"), load_external_data=False))
        except (DecodeError, onnx.checker.ValidationError, ValueError):
            return False
        return True

    @staticmethod
    def evaluate(package: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs for one row: by the ONNX graph, else by the package's recorded answers, else none."""
        if (package / "model.onnx").exists():
            return _evaluate_onnx(package / "model.onnx", inputs)
        recorded = read_json(package / PROBES) if (package / PROBES).exists() else {"inputs": [], "outputs": []}
        pairs = zip(recorded["inputs"], recorded["outputs"], strict=True)
        return next((dict(given) for asked, given in pairs if asked == dict(inputs)), {})


def _evaluate_onnx(path: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(str(path), load_external_data=False)
    types = {each.name: each.type.tensor_type.elem_type for each in model.graph.input}
    feeds = {
        name: np.array([value], dtype=onnx.helper.tensor_dtype_to_np_dtype(types[name])).reshape(1, -1)
        for name, value in inputs.items()
    }
    outputs = ReferenceEvaluator(model).run(None, feeds)
    return {each.name: np.asarray(value).tolist() for each, value in zip(model.graph.output, outputs, strict=True)}


def _fresh() -> State:
    return {"up": True, "models": {}, "faults": [], "journal": [], "repository": [], "touched": []}


def _loaded(before: State, number: int, package: Packaged) -> State:
    kept = before["versions"].get(str(number))
    files = [list(file) for file in tree_files(package.path)]
    if kept is not None and kept["files"] == files:
        return dict(kept)
    return {"path": str(package.path), "digest": package.digest, "files": files, "requests": 0}


def _entry(verb: str, model: str, versions: Mapping[int, Packaged], by: str) -> State:
    digests = {str(number): package.digest for number, package in sorted(versions.items())}
    return {"verb": verb, "model": model, "versions": digests, "by": by}


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
