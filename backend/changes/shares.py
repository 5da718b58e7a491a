"""Sharing out buckets in proportion, so that what keeps running keeps its proportions and nobody moves back and forth."""

from __future__ import annotations

import heapq
from collections.abc import Mapping


def apportion(weights: Mapping[str, int], total: int) -> dict[str, int]:
    """`total` buckets in proportion to positive weights, by Webster's method with ties in order of name.

    A smaller total never gives anybody more (the method is house-monotone), so that a ramp takes from the others in one
    direction only; a total that equals the weights' sum gives back the weights. Source: Balinski and Young, "Fair
    Representation" (2nd ed. 2001), chapter on monotonicity.
    """
    whole = sum(weights.values())
    if total == whole:
        return {name: weights[name] for name in sorted(weights)}
    # Rounding at a divisor that is a little too large is how Webster's method begins; the rest goes one by one.
    fewer = max(total - len(weights), 0)
    given = {name: (2 * weights[name] * fewer + whole) // (2 * whole) if fewer else 0 for name in sorted(weights)}
    queue = [(-weights[name] / (2 * had + 1), name) for name, had in given.items()]
    heapq.heapify(queue)
    for _ in range(total - sum(given.values())):
        _, name = queue[0]
        given[name] += 1
        heapq.heapreplace(queue, (-weights[name] / (2 * given[name] + 1), name))
    return given
