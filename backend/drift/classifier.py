"""The process that learns to tell two samples of rows apart, and says how well it can: `python -P -m backend.drift.classifier`,
one order on standard input, one line of JSON on standard output. `domain.py` starts it, and nothing else does.

It works on rows of single people, so it is told nothing besides: no settings, no secret, no address. It loads its libraries
first; then it is confined (`core/confined.py`) and opens the rows. A process of its own also because scikit-learn takes seconds
and hundreds of megabytes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from backend.core import confined
from backend.core.bounded import MAX_LINE
from backend.core.confined import Confinement

ROWS = "rows.arrow"
"""The file of its folder: both samples; the last column `current` says of which one a row is."""
FOLDS = 3
RARE = 30
"""Categories beyond the most frequent ones are one."""
_DIGITS = 9
_STDOUT, _STDERR = 1, 2


def main() -> None:
    """Answers for the rows in the folder that the order names."""
    channel = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)  # what a library prints is no answer
    order = json.loads(confined.read_order(MAX_LINE))
    confined.leave_the_network()
    confined.end_with_the_parent()
    confined.limit(cpu_seconds=order["cpu_seconds"], address_space=order["address_space"])
    sys.dont_write_bytecode = True
    sys.addaudithook(Confinement([order["folder"]], purpose="comparisons"))
    with pa.OSFile(str(Path(order["folder"]) / ROWS), "rb") as file:
        table = pa.ipc.open_file(file).read_all()
    target = table["current"].to_numpy().astype(np.int64)
    names = table.column_names[:-1]
    data = np.column_stack([_numbers(table[name]) for name in names])
    texts = [place for place, name in enumerate(names) if not pa.types.is_floating(table[name].type)]
    answer = json.dumps(judged(data, target, texts, order["seed"], order["shuffles"])).encode() + b"\n"
    while answer:
        answer = answer[os.write(channel, answer) :]


def judged(data: Any, target: Any, texts: list[int], seed: int, shuffles: int) -> dict[str, Any]:
    """`chances`: of each row being of the current sample, from models that never saw it. `drops`: how much of the area under
    the curve is lost when one column is shuffled."""
    chances = np.empty(len(target))
    drops = np.zeros(data.shape[1])
    random = np.random.default_rng(seed)
    for fitting, testing in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(data, target):
        model = HistGradientBoostingClassifier(
            max_iter=80, max_leaf_nodes=15, min_samples_leaf=20, categorical_features=texts or None, random_state=seed
        ).fit(data[fitting], target[fitting])
        chances[testing] = model.predict_proba(data[testing])[:, 1]
        drops += _drops(model, data[testing], target[testing], shuffles, random) / FOLDS
    return {"chances": chances.round(_DIGITS).tolist(), "drops": drops.tolist()}


def _drops(model: Any, data: Any, target: Any, shuffles: int, random: Any) -> Any:
    whole, found = roc_auc_score(target, model.predict_proba(data)[:, 1]), np.zeros(data.shape[1])
    for place in range(data.shape[1]):
        for _ in range(shuffles):
            changed = data.copy()
            changed[:, place] = random.permutation(changed[:, place])
            found[place] += (whole - roc_auc_score(target, model.predict_proba(changed)[:, 1])) / shuffles
    return found


def _numbers(column: pa.ChunkedArray) -> Any:
    """Numbers as they are (infinite ones as the largest), texts as codes, the most frequent one first; NaN where there is
    none."""
    if pa.types.is_floating(column.type):
        found = column.to_numpy().astype(np.float64)
        return np.clip(found, -1e300, 1e300)
    counted = pc.value_counts(column.drop_null())
    order = np.argsort(-counted.field("counts").to_numpy(), kind="stable")
    values = counted.field("values").take(pa.array(order[:RARE]))
    places = pc.fill_null(pc.index_in(column, value_set=values).combine_chunks(), RARE)
    codes = places.to_numpy(zero_copy_only=False).astype(np.float64)
    codes[column.is_null().to_numpy()] = np.nan
    return codes


if __name__ == "__main__":
    main()
