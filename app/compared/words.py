"""Figures of arms in words: amounts in their metric's unit, what a comparison says in one sentence, and what carries it."""

from __future__ import annotations

from app.kit.palette import Palette
from app.kit.pictures import arm as dot
from app.kit.plain import escape
from app.kit.states import badge, tag
from backend.delivery.comparison import Metric
from backend.experiments.comparing.figures import Effect, Guarded, PrimaryFigures
from backend.experiments.comparing.views import ComparisonView

MINUS = "\u2212"
_SHARES = ("errors", "slow", "predictions")
_SECONDS_OF_ONE = 1.0


def amount(metric: Metric, value: float | None) -> str:
    """A figure in its metric's unit: `0.482`, `0.041 %`, `41.5 ms`; an en dash where there is none."""
    if value is None:
        return "–"
    if metric.kind in _SHARES:
        return f"{_plain(100 * value)} %"
    return seconds(value) if metric.kind == "latency" else _plain(value)


def change(metric: Metric, value: float | None, *, relative: bool = False) -> str:
    """A difference with its sign: `+3.1 ms`, `−0.003 pp`, `−0.061`; `relative`: a share of the control's figure."""
    if value is None:
        return "no end"
    sign = "+" if value > 0 else MINUS if value < 0 else ""
    if relative:
        return f"{sign}{_plain(abs(100 * value))} %"
    if metric.kind in _SHARES:
        return f"{sign}{_plain(abs(100 * value))} pp"
    return f"{sign}{seconds(abs(value)) if metric.kind == 'latency' else _plain(abs(value))}"


def interval(metric: Metric, low: float | None, high: float | None, *, relative: bool = False) -> str:
    """`−0.074 to −0.048`; an end that is not there has none yet."""
    if low is None and high is None:
        return "not settled yet"
    return f"{change(metric, low, relative=relative)} to {change(metric, high, relative=relative)}"


def seconds(value: float) -> str:
    """`41.5 ms`, `1.24 s`."""
    return f"{_plain(value)} s" if value >= _SECONDS_OF_ONE else f"{_plain(1000 * value)} ms"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def colour(found: ComparisonView, palette: Palette, arm: str) -> str:
    """An arm's colour, the same wherever it is drawn."""
    return palette.champion if arm == found.control else palette.arm("challenger", place(found, arm))


def place(found: ComparisonView, arm: str) -> int:
    """Which treatment it is, from 0."""
    return found.treatments.index(arm) if arm in found.treatments else 0


def named(found: ComparisonView, palette: Palette, arm: str) -> str:
    """An arm with its dot, and which version it is."""
    version = found.versions.get(arm)
    said = "" if version is None or arm == f"v{version}" else f" version {version}"
    return f"{dot(arm, colour(found, palette, arm))}{escape(said)}"


def first_metric(found: ComparisonView) -> str:
    """The metric that it is for; of a rollout the first one that is guarded."""
    if found.asked.primary is not None:
        return found.asked.primary.metric
    return found.asked.guardrails[0].metric if found.asked.guardrails else found.asked.metrics[0].name


def effects(found: ComparisonView, metric: str, segment: str = "") -> list[Effect]:
    """The effects on one metric, by treatment."""
    told = found.figures.effects if found.figures is not None else ()
    return [one for one in told if one.metric == metric and one.segment == segment]


def guardrails(found: ComparisonView, *, segments: bool = False) -> list[Guarded]:
    """Verdicts of everyone, or of what is guarded besides."""
    told = found.figures.guardrails if found.figures is not None else ()
    return [one for one in told if bool(one.segment) == segments]


def sure(found: ComparisonView) -> str:
    """`95 %`: how sure an interval is."""
    return f"{100 * (1 - found.asked.alpha):g} %"


def headline(found: ComparisonView) -> str:
    """The answer in one sentence, escaped: the effect, whether it is safe, and whether arms got their units."""
    if found.figures is None:
        return f"Nothing can be said yet. {escape(found.standing.reason, 300)}"
    if found.unsound:
        return f"Nothing may be read from this. {escape(found.unsound[0], 300)}"
    best = _best(found)
    said = _primary(found, best) if best is not None else _rollout(found)
    follows = {"ship": "safe to ship", "roll_back": "roll it back", "keep_running": "keep it running"}
    return f"{said}; {follows.get(found.decision, 'nothing is decided')}; sample ratio as planned."


def _best(found: ComparisonView) -> PrimaryFigures | None:
    told = found.figures.primaries if found.figures is not None else ()
    known = [one for one in told if one.gain is not None]
    order = ("ship", "keep_running", "roll_back")
    return min(known, key=lambda one: (order.index(one.decision), -(one.gain or 0.0)), default=None)


def _primary(found: ComparisonView, one: PrimaryFigures) -> str:
    metric = found.asked.metric(one.metric)
    name, arm = escape(one.metric), escape(one.treatment)
    if one.low is None or one.high is None:
        return f"{arm} and {name}: {_reason(one)}"
    lower = (one.gain or 0.0) > 0 if metric.better == "lower" else (one.gain or 0.0) < 0
    ends = sorted((one.low, one.high), key=abs)
    if one.low > 0 or one.high < 0:
        by = amount(metric, abs(one.gain or 0.0)).replace(" %", " pp")
        told = f"{amount(metric, abs(ends[0]))} to {amount(metric, abs(ends[1]))}".replace(" %", " pp")
        return f"{arm} {'lowers' if lower else 'raises'} {name} by {by} ({sure(found)} always-valid interval {told})"
    turned = difference(metric, one.gain, one.low, one.high)
    said = f"{change(metric, turned[0])} ({sure(found)} always-valid interval {interval(metric, turned[1], turned[2])})"
    return f"Whether {arm} changes {name} is still open: {said}"


def _reason(one: PrimaryFigures) -> str:
    return escape(one.unsettled.rstrip(".") or one.words.rstrip(".") or "the interval does not count yet", 300)


def difference(
    metric: Metric, gain: float | None, low: float | None, high: float | None
) -> tuple[float | None, float | None, float | None]:
    """A gain (above 0 is better) as a difference in the metric's own direction: value, lower end, upper end."""
    if metric.better == "higher":
        return gain, low, high
    return _turned(gain), _turned(high), _turned(low)


def _turned(value: float | None) -> float | None:
    return None if value is None else -value


def _rollout(found: ComparisonView) -> str:
    stops = [one for one in guardrails(found) + guardrails(found, segments=True) if one.stops]
    failed = [one for one in stops if one.verdict == "fail"]
    if failed:
        return f"{escape(failed[0].treatment)} does worse on {escape(failed[0].metric)} than is tolerated"
    passed = sum(1 for one in stops if one.verdict == "pass")
    arms = " and ".join(escape(one) for one in found.treatments)
    if passed == len(stops):
        return f"{arms} keeps every guardrail" if len(found.treatments) == 1 else f"{arms} keep every guardrail"
    return f"{len(stops) - passed} of {len(stops)} guardrails of {arms} are still open"


def badges(found: ComparisonView) -> list[str]:
    """What carries the sentence: decision, sample ratio, guardrails, how many are complete, and whether looks come."""
    told = [badge("comparison", found.decision)] if found.decision else []
    told += _sound(found)
    stops = [one for one in guardrails(found) + guardrails(found, segments=True) if one.stops]
    if stops:
        passed = sum(1 for one in stops if one.verdict == "pass")
        failed = sum(1 for one in stops if one.verdict == "fail")
        state = "fail" if failed else "pass" if passed == len(stops) else "inconclusive"
        told.append(badge("verdict", state, f"{passed} of {len(stops)} guardrails within limit"))
    if found.figures is not None:
        complete = sum(one.complete for one in found.figures.arms)
        told.append(tag(f"{complete:,} complete units", "groups"))
    return told + _looking(found)


def _sound(found: ComparisonView) -> list[str]:
    units = next((one for one in found.figures.mismatches if one.of == "units"), None) if found.figures is not None else None
    if found.unsound:
        return [tag("Unsound", "error", "red")]
    if units is None:
        return []
    said = "Sample ratio as planned" if units.p is None else f"Sample ratio p = {units.p:.2g}"
    return [tag(said, "check_circle", "green")]


def _looking(found: ComparisonView) -> list[str]:
    if found.state == "ended":
        return [tag("Ended", "flag")]
    if found.problem:
        return [tag("Last look failed", "sync_problem", "orange")]
    return [badge("verdict", "stale", "Looks are stale")] if found.stale else []
