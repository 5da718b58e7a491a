"""The demo's delay models: how they are trained, exported to ONNX, checked, and given recorded answers.

All answer the same question from the same 13 inputs: how probable is it that this flight arrives late? They are trained on
January to the middle of March and judged on the rest of March, which they have not seen. An export has named, typed inputs
(ten FP32 and three texts, each `[batch, 1]`) and one output, `probability` (FP32 `[batch, 1]`).
See docs/model-artifacts.md for the files that are written.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.core.canonical import digest_bytes
from backend.demo.flights import FEATURES, NUMERIC_FEATURES, TEXT_FEATURES

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import pandas as pd
    from numpy.typing import NDArray

OUTPUT = "probability"
HELD_OUT_FROM = "2013-03-17T04:00:00Z"  # midnight in New York
AGREEMENT = 1e-5  # largest difference allowed between scikit-learn and the export
PROBES = 16
PROBE_TOLERANCE = 1e-5
SEED = 20130101

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one version of the model is made. `estimator` builds the untrained scikit-learn pipeline.

    `inverted`: it is trained with late and on time the wrong way round, on purpose.
    """

    key: str
    title: str
    description: str
    params: Mapping[str, str | int | float]
    estimator: Callable[[Mapping[str, Any]], Any]
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """A trained and verified export: `folder` holds `model.onnx`, `probes.json` and `training.json`.

    Args:
        metrics: by name; `heldout_*` on the end of March, `july_*` on July.
        agreement: largest absolute difference from scikit-learn's own answers.
        seconds: how long training took (of the original training, when it was cached).
        cached: nothing was trained now; the files were found.
    """

    recipe: Recipe
    folder: Path
    onnx_digest: str
    size: int
    metrics: Mapping[str, float]
    agreement: float
    seconds: float
    cached: bool


@dataclass(frozen=True, slots=True)
class Samples:
    """What a recipe is trained on, judged on, and noted on."""

    train: pd.DataFrame
    heldout: pd.DataFrame
    july: pd.DataFrame

    @classmethod
    def split(cls, quarter: pd.DataFrame, july: pd.DataFrame) -> Samples:
        import pandas as pd

        seen = quarter["event_time"] < pd.Timestamp(HELD_OUT_FROM)
        return cls(quarter[seen], quarter[~seen], july)


def _logistic(params: Mapping[str, Any]) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), list(NUMERIC_FEATURES)),
        (OneHotEncoder(handle_unknown="ignore"), list(TEXT_FEATURES)),
    )
    return make_pipeline(columns, LogisticRegression(**params))


def _boosted(params: Mapping[str, Any]) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    columns = make_column_transformer(
        (make_pipeline(SimpleImputer()), list(NUMERIC_FEATURES)),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), list(TEXT_FEATURES)),
    )
    return make_pipeline(columns, GradientBoostingClassifier(**params))


RECIPES = (
    Recipe(
        key="logistic",
        title="Logistic regression",
        description="Logistic regression on schedule, route and weather. Simple and fast; blind to summer thunderstorms.",
        params={"max_iter": 300, "random_state": SEED},
        estimator=_logistic,
    ),
    Recipe(
        key="boosted",
        title="Gradient boosting",
        description="120 boosted trees on schedule, route and weather. Better calibrated in summer than the logistic version.",
        params={"n_estimators": 120, "max_depth": 4, "subsample": 0.5, "max_features": 0.2, "random_state": SEED},
        estimator=_boosted,
    ),
    Recipe(
        key="inverted",
        title="Logistic regression, labels inverted",
        description="Wrong on purpose: trained with late and on time the wrong way round. It is there to be stopped.",
        params={"max_iter": 300, "random_state": SEED, "labels": "inverted"},
        estimator=lambda params: _logistic({name: one for name, one in params.items() if name != "labels"}),
        inverted=True,
    ),
)


def make(recipe: Recipe, samples: Samples, cache: Path, progress: Progress) -> Exported:
    """The export of a recipe, from the `cache` folder when it is complete there, else trained, verified and kept there."""
    folder = cache / recipe.key
    if not folder.exists():
        _train(recipe, samples, folder, progress)
        return _read(recipe, folder, cached=False)
    progress(f"{recipe.title}: found in the cache")
    return _read(recipe, folder, cached=True)


def _train(recipe: Recipe, samples: Samples, folder: Path, progress: Progress) -> None:
    progress(f"{recipe.title}: training on {len(samples.train):,} flights")
    started = time.perf_counter()
    labels = 1 - samples.train["late"] if recipe.inverted else samples.train["late"]
    fitted = recipe.estimator(recipe.params).fit(samples.train[list(FEATURES)], labels)
    seconds = time.perf_counter() - started
    exported = export(fitted, recipe.key).SerializeToString(deterministic=True)
    agreement = verify(fitted, exported, samples.heldout)
    metrics = {**_judge(exported, samples.heldout, "heldout"), **_judge(exported, samples.july, "july")}
    progress(f"{recipe.title}: {seconds:.1f} s, AUC {metrics['heldout_auc']:.3f}, agrees within {agreement:.1e}")
    facts = {"agreement": agreement, "metrics": metrics, "seconds": seconds}
    _keep(folder, exported, probes(exported, samples.heldout), facts)


def _keep(folder: Path, exported: bytes, answers: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write beside the final name and rename, so that a folder that is there is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        made.mkdir()
        (made / "model.onnx").write_bytes(exported)
        _write_json(made / "probes.json", answers)
        _write_json(made / "training.json", facts)
        # Another training may have been faster; the same inputs made the same files there.
        if not folder.exists():
            made.rename(folder)


def _read(recipe: Recipe, folder: Path, *, cached: bool) -> Exported:
    exported = (folder / "model.onnx").read_bytes()
    facts = json.loads((folder / "training.json").read_text())
    return Exported(
        recipe=recipe,
        folder=folder,
        onnx_digest=digest_bytes(exported),
        size=len(exported),
        metrics=facts["metrics"],
        agreement=facts["agreement"],
        seconds=facts["seconds"],
        cached=cached,
    )


def export(fitted: Any, name: str) -> onnx.ModelProto:
    """A fitted pipeline as ONNX with typed inputs by name and `probability` of late as its only output."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    inputs = [(feature, FloatTensorType([None, 1])) for feature in NUMERIC_FEATURES]
    inputs += [(feature, StringTensorType([None, 1])) for feature in TEXT_FEATURES]
    # zipmap off: probabilities as one tensor [batch, 2] instead of a list of dictionaries.
    model = to_onnx(fitted, initial_types=inputs, name=name, options={id(fitted): {"zipmap": False}})
    return _answer_only_late(model)


def _answer_only_late(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take column 1 (late) of `probabilities`, and drop the predicted label and all that only it needs."""
    import onnx
    from onnx.utils import Extractor

    graph = model.graph
    graph.initializer.append(onnx.helper.make_tensor("late_column", onnx.TensorProto.INT64, [1], [1]))
    graph.node.append(onnx.helper.make_node("Gather", ["probabilities", "late_column"], [OUTPUT], axis=1))
    graph.output.append(onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [None, 1]))
    late = Extractor(model).extract_model(list(FEATURES), [OUTPUT])
    late.graph.name = graph.name
    # The converter keeps operator sets in a Python set: without an order, equal models would differ in their bytes.
    operator_sets = sorted(late.opset_import, key=lambda each: each.domain)
    del late.opset_import[:]
    late.opset_import.extend(operator_sets)
    onnx.checker.check_model(late)
    return late


def verify(fitted: Any, exported: bytes, rows: pd.DataFrame) -> float:
    """The largest absolute difference between scikit-learn and its export; a difference above `AGREEMENT` raises."""
    expected = fitted.predict_proba(rows[list(FEATURES)])[:, 1]
    difference = float(abs(answer(exported, rows) - expected).max())
    if not difference <= AGREEMENT:
        raise ArithmeticError(f"the ONNX export differs from scikit-learn by {difference:.2e}, more than {AGREEMENT:.0e}")
    return difference


def answer(exported: bytes, rows: pd.DataFrame) -> NDArray[np.float32]:
    """Probability of late, one a row, from onnxruntime on one thread."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    feed = {name: rows[[name]].to_numpy("float32") for name in NUMERIC_FEATURES}
    feed |= {name: rows[[name]].to_numpy(object) for name in TEXT_FEATURES}
    (probability,) = session.run([OUTPUT], feed)
    return np.asarray(probability, np.float32).reshape(-1)


def _judge(exported: bytes, rows: pd.DataFrame, prefix: str) -> dict[str, float]:
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    late, probability = rows["late"], answer(exported, rows).astype(float)
    return {
        f"{prefix}_auc": float(roc_auc_score(late, probability)),
        f"{prefix}_log_loss": float(log_loss(late, probability)),
        f"{prefix}_brier": float(brier_score_loss(late, probability)),
        f"{prefix}_mean_probability": float(probability.mean()),
        f"{prefix}_late_share": float(late.mean()),
        f"{prefix}_flights": float(len(rows)),
    }


def probes(exported: bytes, rows: pd.DataFrame) -> dict[str, Any]:
    """Recorded answers: real requests, evenly spread over `rows`, with what this very export answers to them."""
    import numpy as np

    complete = rows[rows[list(FEATURES)].notna().all(axis="columns")]
    chosen = complete.iloc[np.linspace(0, len(complete) - 1, PROBES).astype(int)]
    # Through float: JSON then holds exactly the FP32 value, and not the nearest shorter decimal.
    inputs = [
        {name: value if isinstance(value, str) else float(value) for name, value in zip(FEATURES, row, strict=True)}
        for row in chosen[list(FEATURES)].itertuples(index=False)
    ]
    outputs = [{OUTPUT: float(value)} for value in answer(exported, chosen)]
    return {"schema": 1, "inputs": inputs, "outputs": outputs, "tolerance": PROBE_TOLERANCE}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, sort_keys=True, indent=1) + "\n")
