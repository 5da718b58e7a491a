"""The process that makes one report: `python -P -m backend.window_reports.child`, one order on stdin, answers on stdout.

It runs Evidently over rows of single people, so it is told nothing besides: no settings, no secret, no address. It loads its
libraries first; then it is confined (`core/confined.py`) and opens the rows. What it prints is thrown away from then on,
because a library's message may hold a value; a defect is told by its kind and its lines of code alone.

Evidently 0.7.23, as its own pages draw: `Snapshot.get_html_str` and `render_widgets` (`evidently/core/metric_types.py`). A
`DataDefinition` is always given: types that Evidently infers from a sample differ between samples.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core import confined
from backend.core.bounded import MAX_LINE
from backend.core.confined import Confinement
from backend.drift.findings import counted
from backend.drift.values import quoted
from backend.window_reports.rules import Part
from backend.window_reports.wire import (
    CURRENT,
    MAX_NOTES,
    MAX_SAYS,
    REFERENCE,
    SHOWN,
    Doing,
    DrawnColumn,
    Failed,
    Made,
    Message,
    Order,
    line_of,
    parse_order,
)

MOST_VALUES = 30
"""Texts of one column by name; all others are one. So rare values, which point to single people, are not shown."""
LONGEST_NAME, LONGEST_VALUE = 80, 60
LEAST_PAIRS = 30
"""Rows with a prediction and an outcome that a comparison of them takes."""
MOST_CLASSES = 50
OTHER = "(other)"
_STDOUT, _STDERR = 1, 2
_TITLES: dict[Part, str] = {
    "drift": "Data drift", "summary": "Data summary", "classification": "Classification", "regression": "Regression",
}  # fmt: skip
_MARKUP = str.maketrans({"<": "‹", ">": "›"})
"""Plotly draws `<b>` and `<a href>` in a label; here nothing is either."""


class Unmakeable(Exception):
    """A part cannot be made of these rows, in words for a person."""


@dataclass
class Rows:
    """Both samples as Evidently takes them.

    Args:
        current, reference: data frames with the same columns.
        numbers, texts: names of their columns.
        prediction, outcome: names of those, where there are any.
        notes: what was left out.
    """

    current: Any
    reference: Any
    numbers: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    prediction: DrawnColumn | None = None
    outcome: DrawnColumn | None = None
    notes: list[str] = field(default_factory=list)


def main() -> None:
    """Makes one report. What went wrong is an answer too."""
    channel = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    order = parse_order(confined.read_order(MAX_LINE))
    confined.leave_the_network()
    confined.end_with_the_parent()
    confined.limit(cpu_seconds=order.cpu_seconds, address_space=order.address_space, file_bytes=order.most_bytes)
    send: Callable[[Message], None] = lambda message: _send(channel, message)  # noqa: E731
    with (Path(order.folder) / SHOWN).open("wb") as shown:
        send(Doing(says="Loading Evidently"))
        _load()
        logged = os.dup(_STDERR)
        _silence()
        sys.dont_write_bytecode = True
        sys.addaudithook(Confinement([order.folder], purpose="reports"))
        send(_answer(order, shown, send, logged))


def _answer(order: Order, shown: Any, send: Callable[[Message], None], logged: int) -> Message:
    try:
        rows = read(order)
        dashboard, made = drawn(order, rows, send)
        if not made:
            return Failed(says=" ".join(rows.notes)[:MAX_SAYS])
        shown.write(_as_json(dashboard))
        shown.flush()
        return Made(parts=made, notes=[one[:MAX_SAYS] for one in rows.notes[:MAX_NOTES]])
    except MemoryError:
        says = f"It needs more than {order.address_space >> 20} MiB. Ask for fewer rows or features."
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return Failed(says=f"What it shows is larger than {order.most_bytes >> 20} MiB. Ask for fewer features.")
        _tell(logged, error)
        says = f"It ended by a defect ({type(error).__name__}). Ask again; the worker's log has the details."
    return Failed(says=says)


def _load() -> None:
    """Everything that Evidently imports, before anything is forbidden."""
    import evidently.presets  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import threadpoolctl

    threadpoolctl.threadpool_info()  # it looks for libraries by `dlopen`, which is refused afterwards


def read(order: Order) -> Rows:
    """The samples, with names and values that cannot be taken for markup, rare texts together, and no infinite number."""
    import pyarrow.feather as feather

    folder = Path(order.folder)
    current, reference = (feather.read_table(folder / name, memory_map=False) for name in (CURRENT, REFERENCE))
    return prepared(current.to_pandas(), reference.to_pandas(), order.columns)


def prepared(current: Any, reference: Any, columns: Sequence[DrawnColumn]) -> Rows:
    """See `read`."""
    import pandas as pd

    rows, taken = Rows(pd.DataFrame(index=current.index), pd.DataFrame(index=reference.index)), set[str]()
    for column in columns:
        name = _name(column.name, taken)
        sides = [one[column.place] for one in (current, reference)]
        sides = (_numbers if column.kind == "number" else _texts)(sides, name, rows.notes)
        told = column.model_copy(update={"name": name})
        if column.role == "outcome":
            rows.outcome = told
        elif empty := [which for which, one in zip(("window", "reference"), sides, strict=True) if not one.notna().any()]:
            rows.notes.append(f"{quoted(name)} has no value in the {' and the '.join(empty)}, and is left out.")
            continue
        else:
            (rows.numbers if column.kind == "number" else rows.texts).append(name)
            rows.prediction = told if column.role == "prediction" else rows.prediction
        rows.current[name], rows.reference[name] = sides
    return rows


def _name(text: str, taken: set[str]) -> str:
    plain = "".join(one if one.isprintable() else "?" for one in text[:LONGEST_NAME]).translate(_MARKUP)
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain} ({number})", number + 1
    taken.add(name)
    return name


def _numbers(sides: Sequence[Any], name: str, notes: list[str]) -> list[Any]:
    import numpy as np

    numbers = [one.astype("float64") for one in sides]
    if infinite := sum(int(np.isinf(one).sum()) for one in numbers):
        notes.append(f"{counted(infinite, 'infinite value', 'infinite values')} of {quoted(name)} count as missing.")
    return [one.replace([np.inf, -np.inf], np.nan) for one in numbers]


def _texts(sides: Sequence[Any], name: str, notes: list[str]) -> list[Any]:
    """The most frequent ones by name, all others together."""
    import pandas as pd

    texts = [one.map(_text, na_action="ignore").astype(object) for one in sides]
    found = pd.concat(texts).value_counts()
    if len(found) <= MOST_VALUES:
        return texts
    kept = set(found.index[: MOST_VALUES - 1])
    notes.append(f"{quoted(name)} has {len(found):,} values; all but the {MOST_VALUES - 1} most frequent ones are {OTHER}.")
    return [one.where(one.isna() | one.isin(kept), OTHER) for one in texts]


def _text(value: Any) -> str:
    return "".join(one if one.isprintable() else "?" for one in str(value)[:LONGEST_VALUE]).translate(_MARKUP)


def drawn(order: Order, rows: Rows, send: Callable[[Message], None]) -> tuple[dict[str, Any], list[Part]]:
    """What is to be drawn, and the parts that could be made; why another could not is noted."""
    from evidently.legacy.renderers.html_widgets import group_widget

    widgets, made = [], list[Part]()
    for part in order.parts:
        send(Doing(says=f"Making the part {part}"))
        try:
            found = _MAKERS[part](rows, order.threshold)
        except Unmakeable as why:
            rows.notes.append(f"{_TITLES[part]} could not be made: {why}")
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            rows.notes.append(f"{_TITLES[part]} could not be made: Evidently fails on these rows ({type(error).__name__}).")
        else:
            widgets.append(group_widget(title=_TITLES[part], widgets=found))
            made.append(part)
    return _dashboard(widgets), made


def _drift(rows: Rows, _threshold: float) -> list[Any]:
    from evidently.presets import DataDriftPreset

    return _shown(DataDriftPreset(), _columns(rows))


def _summary(rows: Rows, _threshold: float) -> list[Any]:
    from evidently.presets import DataSummaryPreset

    return _shown(DataSummaryPreset(), _columns(rows))


def _columns(rows: Rows) -> tuple[Any, Any]:
    from evidently import DataDefinition, Dataset

    if not rows.numbers and not rows.texts:
        raise Unmakeable("no column has values in both.")
    told = DataDefinition(numerical_columns=rows.numbers, categorical_columns=rows.texts)
    names = [*rows.numbers, *rows.texts]
    current, reference = (Dataset.from_pandas(one[names], data_definition=told) for one in (rows.current, rows.reference))
    return current, reference


def _regression(rows: Rows, _threshold: float) -> list[Any]:
    from evidently import DataDefinition, Regression
    from evidently.presets import RegressionPreset

    prediction, outcome = _pair(rows)
    if prediction.kind != "number":
        raise Unmakeable("the predictions are no numbers.")
    told = DataDefinition(
        numerical_columns=[prediction.name, outcome.name],
        regression=[Regression(target=outcome.name, prediction=prediction.name)],
    )
    return _shown(RegressionPreset(), _paired(rows, told, prediction, outcome))


def _classification(rows: Rows, threshold: float) -> list[Any]:
    from evidently import BinaryClassification, DataDefinition, MulticlassClassification
    from evidently.presets import ClassificationPreset

    prediction, outcome = _pair(rows)
    truth = set(_both(rows, outcome.name))
    if len(truth) < 2:
        raise Unmakeable("every outcome that is known is the same.")
    if truth <= {0.0, 1.0} and prediction.kind == "number":
        answers = _both(rows, prediction.name)
        if not answers.between(0, 1).all():
            raise Unmakeable("the predictions are no probabilities, which lie between 0 and 1.")
        are_calls = set(answers) <= {0.0, 1.0}
        binary = BinaryClassification(
            target=outcome.name,
            prediction_labels=prediction.name if are_calls else None,
            prediction_probas=None if are_calls else prediction.name,
            pos_label=1,
        )
        told = DataDefinition(categorical_columns=[outcome.name], classification=[binary])
        preset = ClassificationPreset(probas_threshold=None if are_calls else threshold)
        return _shown(preset, _paired(rows, told, prediction, outcome, whole=are_calls))
    if prediction.kind != "number" or len(truth) > MOST_CLASSES or not all(one.is_integer() for one in truth):
        raise Unmakeable("predictions and outcomes are not the same classes, given as whole numbers.")
    several = MulticlassClassification(target=outcome.name, prediction_labels=prediction.name)
    told = DataDefinition(categorical_columns=[outcome.name, prediction.name], classification=[several])
    return _shown(ClassificationPreset(), _paired(rows, told, prediction, outcome, whole=True))


_MAKERS: dict[Part, Callable[[Rows, float], list[Any]]] = {
    "drift": _drift, "summary": _summary, "classification": _classification, "regression": _regression,
}  # fmt: skip


def _pair(rows: Rows) -> tuple[DrawnColumn, DrawnColumn]:
    if rows.prediction is None or rows.outcome is None:
        raise Unmakeable("there are no predictions in both.")
    known = len(rows.current[[rows.prediction.name, rows.outcome.name]].dropna())
    if known < LEAST_PAIRS:
        raise Unmakeable(
            f"of the rows that were drawn of the window, {known} have a prediction and an outcome; it takes {LEAST_PAIRS}."
        )
    return rows.prediction, rows.outcome


def _both(rows: Rows, name: str) -> Any:
    import pandas as pd

    return pd.concat([rows.current[name], rows.reference[name]]).dropna()


def _paired(rows: Rows, told: Any, prediction: DrawnColumn, outcome: DrawnColumn, *, whole: bool = False) -> tuple[Any, Any]:
    """Rows that have both, the outcome as a whole number where it is a class; no reference where too few are known there."""
    from evidently import Dataset

    sides = []
    for one in (rows.current, rows.reference):
        pair = one[[prediction.name, outcome.name]].dropna()
        if told.classification:
            pair = pair.astype(dict.fromkeys(([prediction.name] if whole else []) + [outcome.name], "int64"))
        sides.append(pair)
    current, reference = sides
    left = len(rows.current) - len(current)
    if left:
        rows.notes.append(f"Of {len(rows.current):,} rows of the window, {left:,} have no prediction or outcome (yet).")
    is_lacking = len(reference) < LEAST_PAIRS or (told.classification and reference[outcome.name].nunique() < 2)
    if is_lacking:
        rows.notes.append("Too few outcomes are known in the reference: predictions are compared in the window alone.")
    return Dataset.from_pandas(current, data_definition=told), (
        None if is_lacking else Dataset.from_pandas(reference, data_definition=told)
    )


def _shown(preset: Any, sides: tuple[Any, Any]) -> list[Any]:
    from evidently import Report

    return list(Report([preset]).run(*sides).to_snapshot_model().widgets)


def _dashboard(widgets: Sequence[Any]) -> dict[str, Any]:
    """As `render_widgets` hands it to the library that draws."""
    from evidently.legacy.model.dashboard import DashboardInfo

    graphs = {}
    for graph in (each for one in widgets for each in one.get_additional_graphs()):
        told = graph.params if type(graph).__name__ == "AdditionalGraphInfo" else graph
        graphs[str(graph.id)] = told.dict() if hasattr(told, "dict") else told
    dashboard = DashboardInfo(name="Report", widgets=list(widgets)).dict()
    for widget in dashboard["widgets"]:
        widget.pop("additionalGraphs", None)
    return {"dashboard": dashboard, "graphs": graphs}


def _as_json(dashboard: dict[str, Any]) -> bytes:
    """JSON as browsers read it: what is no finite number is null."""
    from evidently.legacy.utils import NumpyEncoder

    loose = json.dumps(dashboard, cls=NumpyEncoder)
    return json.dumps(_finite(json.loads(loose)), allow_nan=False, separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return {name: _finite(one) for name, one in value.items()} if isinstance(value, dict) else value


def _send(channel: int, message: Message) -> None:
    left = memoryview(line_of(message))
    while left:
        left = left[os.write(channel, left) :]


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for one in (_STDOUT, _STDERR):
        os.dup2(nowhere, one)


def _tell(logged: int, error: BaseException) -> None:
    """Where it went wrong, without what was said: that may hold a value."""
    lines = [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_tb(error.__traceback__)]
    os.write(logged, "\n".join([*lines, type(error).__name__, ""]).encode(errors="replace")[-6_000:])


if __name__ == "__main__":
    main()
    os._exit(0)  # a thread of some library must not keep it alive
