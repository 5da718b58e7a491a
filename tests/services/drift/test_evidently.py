"""The exact path against Evidently itself, in a process of its own: importing it alone takes ten seconds and more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.drift import formulas
from backend.drift.exact import chi_squared_fit, exact

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import json, sys
import numpy as np, pandas as pd
from evidently.legacy.calculations.stattests import registry, psi, jensenshannon, wasserstein_distance_norm, ks_stattest
from evidently.legacy.calculations.stattests import chisquare_stattest
from evidently.legacy.core import ColumnType
numbers = {"psi": psi._psi, "jensen_shannon": jensenshannon._jensenshannon,
    "wasserstein": wasserstein_distance_norm._wasserstein_distance_norm, "ks_p": ks_stattest._ks_stat_test}
texts = {"psi": psi._psi, "jensen_shannon": jensenshannon._jensenshannon, "chi_p": chisquare_stattest._chi_stat_test}
found = {}
for name, (kind, one, other) in json.load(sys.stdin).items():
    tests, column = (numbers, ColumnType.Numerical) if kind == "number" else (texts, ColumnType.Categorical)
    found[name] = {key: float(test(pd.Series(one), pd.Series(other), column, 0.1)[0]) for key, test in tests.items()}
print(json.dumps(found))
"""


def samples() -> dict[str, tuple[str, list[object], list[object]]]:
    random = np.random.default_rng(7)
    letters = np.array(list("abcdefgh"))
    weights = np.arange(1, 9) / 36
    return {
        "normal": ("number", random.normal(size=3_000).tolist(), random.normal(0.1, 1.1, 2_500).tolist()),
        "far": ("number", random.normal(size=500).tolist(), random.normal(9, 1, 700).tolist()),
        "skewed": ("number", random.lognormal(size=12_000).tolist(), random.lognormal(0.1, 1, 11_000).tolist()),
        "zeros": ("number", (random.random(2_000) * (random.random(2_000) > 0.7)).tolist(), random.random(900).tolist()),
        "few": (
            "number",
            random.integers(0, 9, 1_000).astype(float).tolist(),
            random.integers(2, 12, 800).astype(float).tolist(),
        ),
        "text": ("text", random.choice(letters, 2_000).tolist(), random.choice(letters, 900, p=weights).tolist()),
        "gone": ("text", random.choice(letters, 2_000).tolist(), random.choice(letters[:3], 900).tolist()),
    }


@pytest.mark.slow
def test_the_exact_path_gives_evidentlys_figures() -> None:
    given = samples()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name, peer in json.loads(done.stdout.splitlines()[-1]).items():
        kind, *sides = given[name]
        if kind == "number":
            found = exact(*(np.sort(np.array(one, dtype=float)) for one in sides))
            ours = {one: getattr(found, one) for one in ("psi", "jensen_shannon", "wasserstein")}
            ours["ks_p"] = found.kolmogorov_smirnov_p
        else:
            one, other = (np.array([side.count(letter) for letter in "abcdefgh"]) for side in sides)
            p, q = formulas.shares(one), formulas.shares(other)
            ours = {"psi": float(formulas.psi(p, q)), "jensen_shannon": float(formulas.jensen_shannon(p, q))}
            ours["chi_p"] = chi_squared_fit(one, other)[1]
        assert ours == pytest.approx(peer, rel=1e-9, abs=1e-9), name
