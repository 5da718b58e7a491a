"""An endpoint's figures as PromQL, over what a Prometheus scrapes from its router, its server, or another source. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MARKS = frozenset("\\.+*?()|[]{}^$")


@dataclass(frozen=True)
class Signals:
    """Counters of one endpoint.

    Args:
        requests, errors: vectors whose rates are added up. Requests have to be there; errors may come with the first.
        buckets: of a latency histogram; "" where there is none. One of its `le` units is `unit` seconds.
        bounds: upper bounds in seconds that it is known to have, ascending; empty where nobody knows.
        queue, spent, compute: of counters of time, in their own unit, which is `unit` seconds too; empty where there are none.
        by: the label that tells arms or versions apart.
    """

    requests: tuple[str, ...]
    errors: tuple[str, ...]
    buckets: str = ""
    unit: float = 1.0
    bounds: tuple[float, ...] = ()
    queue: str = ""
    spent: str = ""
    compute: tuple[str, ...] = ()
    by: str = ""

    def total(self, window: str, by: str = "") -> str:
        """Requests a second."""
        return _sum(self.requests, window, by)

    def bad(self, window: str, by: str = "") -> str:
        """Errors a second; 0 where none has come yet, and nothing where there are no requests either."""
        return f"({_sum(self.errors, window, by)} or {self.total(window, by)} * 0)"

    def bad_share(self, window: str, by: str = "") -> str:
        """Which share of the requests had an error."""
        return f"{self.bad(window, by)} / ({self.total(window, by)} > 0)"

    def late_share(self, seconds: float, window: str) -> str:
        """Which share took longer than a bound of the histogram, or had an error. An error counts as if it had been quick."""
        quick = f"sum(rate({_with(self.buckets, le=self.bound(seconds))}[{window}]))"
        everything = f"sum(rate({_with(self.buckets, le='+Inf')}[{window}]))"
        return f"clamp_max(({everything} - {quick} + {self.bad(window)}) / ({everything} > 0), 1)"

    def bound(self, seconds: float) -> str:
        """How the text says a bound: the highest that is no higher than what is asked for; that itself where none is known."""
        known = max((one for one in self.bounds if one <= seconds * (1 + 1e-9)), default=seconds)
        return f"{known / self.unit:.9g}"

    def quantile(self, q: float, window: str) -> str:
        """Seconds, by arm or version where there are some."""
        group = f"le, {self.by}" if self.by else "le"
        return f"histogram_quantile({q:g}, sum by ({group}) (rate({self.buckets}[{window}]))) * {self.unit:g}"


def selector(name: str, exact: Mapping[str, str], matched: Mapping[str, str] | None = None) -> str:
    """`name{a="1",b=~"x.*"}`, with every value escaped."""
    told = [f'{key}="{_escaped(value)}"' for key, value in exact.items()]
    told += [f'{key}=~"{_escaped(value)}"' for key, value in (matched or {}).items()]
    return f"{name}{{{','.join(told)}}}"


def literally(text: str) -> str:
    """A text as a regular expression (RE2) that matches it alone."""
    return "".join(f"\\{each}" if each in _MARKS else each for each in text)


def matchers(where: Mapping[str, str | list[str]], unless: Mapping[str, str | list[str]]) -> str:
    """The words of `sources.text.Wanted` in braces."""
    told = [_matcher(key, value, "=") for key, value in where.items()]
    return f"{{{','.join([*told, *(_matcher(key, value, '!') for key, value in unless.items())])}}}"


def _matcher(key: str, value: str | list[str], sign: str) -> str:
    values = value if isinstance(value, list) else [value]
    if len(values) == 1 and not values[0].endswith("*"):
        return f'{key}{"=" if sign == "=" else "!="}"{_escaped(values[0])}"'
    pattern = "|".join(f"{literally(each[:-1])}.*" if each.endswith("*") else literally(each) for each in values)
    return f'{key}{"=~" if sign == "=" else "!~"}"{_escaped(pattern)}"'


def _sum(vectors: tuple[str, ...], window: str, by: str) -> str:
    group = f" by ({by})" if by else ""
    told = " + ".join(f"sum{group}(rate({one}[{window}]))" for one in vectors)
    return told if len(vectors) == 1 else f"({told})"


def _with(vector: str, **labels: str) -> str:
    """The same with more labels; a vector always has braces."""
    more = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    inside = vector.removesuffix("}").partition("{")
    return f"{inside[0]}{{{inside[2]}{',' if inside[2] else ''}{more}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
