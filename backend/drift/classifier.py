"""Run as a script, by `domain.py` alone: learns to tell two samples of rows apart, and says how well it can.

Standard input: one Arrow stream; its last column `current` says of which sample a row is. Standard output: one line of JSON. It
runs in a process of its own, because scikit-learn takes seconds and hundreds of megabytes, and within the memory that it is
given.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

FOLDS = 3
RARE = 30
"""Categories beyond the most frequent ones are one."""


def main() -> None:
    """Answers for the table on standard input."""
    memory, seed, shuffles = (int(one) for one in sys.argv[1:4])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    table = pa.ipc.open_stream(sys.stdin.buffer).read_all()
    target = table["current"].to_numpy().astype(np.int64)
    names = table.column_names[:-1]
    data = np.column_stack([_numbers(table[name]) for name in names])
    texts = [place for place, name in enumerate(names) if not pa.types.is_floating(table[name].type)]
    print(json.dumps(judged(data, target, texts, seed, shuffles)))


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
    return {"chances": chances.tolist(), "drops": drops.tolist()}


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
