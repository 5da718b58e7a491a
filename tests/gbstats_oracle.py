"""Runs in gbstats' own environment (`benchmarks.environments.python_of`): cases as JSON on standard input, its figures on
standard output.

A case has the units of two arms: `value`, and `denominator` or `covariate` where it has them.
"""

import json
import sys

from gbstats.frequentist.tests import FrequentistConfig, SequentialConfig, SequentialTwoSidedTTest, TwoSidedTTest
from gbstats.models.statistics import (
    ProportionStatistic,
    RatioStatistic,
    RegressionAdjustedStatistic,
    SampleMeanStatistic,
    compute_theta,
)
from gbstats.utils import check_srm


def mean(values):
    return SampleMeanStatistic(n=len(values), sum=sum(values), sum_squares=sum(one * one for one in values))


def products(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def statistic(kind, arm):
    values = arm["value"]
    if kind == "proportion":
        return ProportionStatistic(n=len(values), sum=sum(values))
    if kind == "ratio":
        below = arm["denominator"]
        return RatioStatistic(
            n=len(values), m_statistic=mean(values), d_statistic=mean(below), m_d_sum_of_products=products(values, below)
        )
    if kind == "adjusted":
        before = arm["covariate"]
        return RegressionAdjustedStatistic(
            n=len(values),
            post_statistic=mean(values),
            pre_statistic=mean(before),
            post_pre_sum_of_products=products(values, before),
            theta=0,
        )
    return mean(values)


def figures(case):
    a, b = (statistic(case["kind"], case[arm]) for arm in ("control", "treatment"))
    theta = 0.0
    if case["kind"] == "adjusted":
        theta = compute_theta(a, b)
        a.theta = b.theta = theta
    told = {"difference_type": "absolute", "alpha": case["alpha"]}
    usual = TwoSidedTTest(a, b, FrequentistConfig(**told))
    sequential = SequentialTwoSidedTTest(a, b, SequentialConfig(**told, sequential_tuning_parameter=case["tuning"]))
    relative = TwoSidedTTest(a, b, FrequentistConfig(difference_type="relative", alpha=case["alpha"]))
    return {
        "difference": usual.point_estimate,
        "variance": usual.variance,
        "freedom": usual.dof,
        "interval": list(usual.confidence_interval),
        "p": usual.p_value,
        "rho": float(sequential.rho),
        "sequence": list(sequential.confidence_interval),
        "sequence_p": sequential.p_value,
        "relative": list(relative.confidence_interval),
        "theta": theta,
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(
        {
            "cases": [figures(one) for one in asked["cases"]],
            "srm": [check_srm(one["counts"], one["weights"]) for one in asked["srm"]],
        },
        sys.stdout,
    )
