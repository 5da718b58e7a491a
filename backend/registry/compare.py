"""Versions of one model side by side: what each measured, was trained with, takes and needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlmodel import Session

from backend.core.errors import Refusal
from backend.registry import queries
from backend.registry.queries import VersionPage

MAX_VERSIONS = 10
Better = Literal["higher", "lower"]
_HIGHER = frozenset(
    ("accuracy", "acc", "auc", "auroc", "auprc", "ap", "map", "f1", "fbeta", "precision", "recall", "sensitivity",
     "specificity", "r2", "ndcg", "mrr", "gini", "kappa", "mcc", "iou", "dice", "bleu", "rouge", "silhouette", "lift", "ks")
)  # fmt: skip
_LOWER = frozenset(
    ("loss", "logloss", "rmse", "mse", "mae", "mape", "smape", "rmsle", "error", "err", "brier", "perplexity", "wer", "cer",
     "latency", "seconds", "ms", "duration", "entropy", "deviance", "ece", "fpr", "fnr", "bytes", "bias")
)  # fmt: skip
_WORDS = re.compile(r"[A-Za-z]+[0-9]*")


@dataclass(frozen=True)
class Row:
    """One thing and what each version says of it, in the order of the versions; None where one says nothing."""

    name: str
    values: tuple[Any, ...]

    @property
    def best(self) -> frozenset[int]:
        """Positions of the better values, where a metric's name tells which way is better and they differ; else none."""
        wanted = better(self.name)
        measured = [value for value in self.values if isinstance(value, int | float)]
        if wanted is None or len(measured) < 2 or len(set(measured)) == 1:
            return frozenset()
        top = max(measured) if wanted == "higher" else min(measured)
        return frozenset(position for position, value in enumerate(self.values) if value == top)

    @property
    def differs(self) -> bool:
        """Whether the versions do not all say the same."""
        return any(value != self.values[0] for value in self.values)


@dataclass(frozen=True)
class Comparison:
    """Versions side by side. Signature rows are named `inputs.<name>`, data sets by name and context, libraries by name."""

    versions: tuple[VersionPage, ...]
    metrics: tuple[Row, ...]
    params: tuple[Row, ...]
    signature: tuple[Row, ...]
    datasets: tuple[Row, ...]
    dependencies: tuple[Row, ...]


def better(metric: str) -> Better | None:
    """Which way a metric is better, by the words in its name as libraries spell them; None where they do not say, or
    contradict each other. `log_loss` and `test-AUC` are known, `score` is not: nobody is told a guess.
    """
    words = {word.casefold() for word in _WORDS.findall(re.sub(r"([a-z])([A-Z])", r"\1 \2", metric))}
    higher, lower = words & _HIGHER, words & _LOWER
    return None if bool(higher) == bool(lower) else "higher" if higher else "lower"


def compare(session: Session, model: str, numbers: Sequence[int]) -> Comparison:
    """Two to ten versions of one model. NotFound, Refusal."""
    if not 2 <= len(set(numbers)) <= MAX_VERSIONS:
        raise Refusal(f"{len(set(numbers))} versions cannot be compared.", "Name two to ten versions.", code="bad-comparison")
    return side_by_side([queries.version(session, model, number) for number in dict.fromkeys(numbers)])


def side_by_side(pages: Sequence[VersionPage]) -> Comparison:
    """The same for versions that were read already."""

    def rows(of: Callable[[VersionPage], Mapping[str, Any]]) -> tuple[Row, ...]:
        found = [of(page) for page in pages]
        names = sorted({name for one in found for name in one}, key=lambda name: (name.casefold(), name))
        return tuple(Row(name, tuple(one.get(name) for one in found)) for name in names)

    return Comparison(
        versions=tuple(pages),
        metrics=rows(lambda page: page.told.metrics),
        params=rows(lambda page: page.told.params),
        signature=rows(_signature),
        datasets=rows(_datasets),
        dependencies=rows(_dependencies),
    )


def _signature(page: VersionPage) -> Mapping[str, Any]:
    signature = (page.registered.signature if page.registered else None) or {}
    return {f"{side}.{column['name']}": _words(column) for side, columns in signature.items() for column in columns}


def _words(column: Mapping[str, Any]) -> str:
    shape = f" {column['shape']}" if "shape" in column else ""
    return f"{column['type']}{shape}{'' if column['required'] else ', optional'}"


def _datasets(page: VersionPage) -> Mapping[str, Any]:
    return {f"{one.get('name', '')} ({one.get('context') or 'no context'})": one.get("digest") for one in page.told.datasets}


def _dependencies(page: VersionPage) -> Mapping[str, Any]:
    """Library -> its pins."""
    found = page.registered.dependencies if page.registered else []
    return {name: text.removeprefix(name) or "any" for text in found if (name := _library(text))}


def _library(text: str) -> str:
    return next((text[:end] for end, sign in enumerate(text) if sign in "=<>!~"), text)
