"""What shadow arms answered, as `countersign endpoint shadow` shows it to people."""

from __future__ import annotations

from collections.abc import Mapping

from backend.cli.output import facts, percent, printable, table
from backend.client.results import PairMean, ShadowCopies, Shadows


def shadow_lines(found: Shadows) -> list[str]:
    """Each shadow arm of the window in some lines."""
    if not found.shadows:
        return ["No answer of a shadow arm was heard in that time."]
    return [line for one in found.shadows for line in _lines(one)]


def _lines(one: ShadowCopies) -> list[str]:
    versions = ", ".join(map(str, one.versions)) or "none told"
    kinds = ", ".join(f"{printable(kind)} {count:,}" for kind, count in one.failures.items())
    seconds = one.latency
    return [
        f"{one.arm} (version {versions}), {one.start:%Y-%m-%d %H:%M} to {one.end:%Y-%m-%d %H:%M} UTC",
        *facts(
            (
                ("copies", f"{one.asked:,}: {one.answered:,} answered, {one.failed:,} failed, {one.missing:,} not heard"),
                ("failures", f"{_share(one.failure_share)} ({kinds})" if one.failed else None),
                ("compared", f"{one.compared:,}; live prediction not told of {one.untold:,}, unreadable {one.unread:,}"),
                ("disagree", _disagree(one)),
                ("difference", _difference(one)),
            )
        ),
        *(_latencies(seconds.live, seconds.shadow) if seconds is not None else []),
        *(_losses(one) if one.losses else []),
    ]


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _disagree(one: ShadowCopies) -> str | None:
    if one.disagreement is None:
        return None
    by = f"beyond {one.disagreement.tolerance:g}"
    if one.disagreement.threshold is not None:
        by = f"across {one.disagreement.threshold:g}"
    return f"{_mean(one.disagreement.share, '.2%')} {by}"


def _difference(one: ShadowCopies) -> str | None:
    found = one.differences
    return None if found is None else f"{found.mean:+.4g} on average, {found.mean_absolute:.4g} either way"


def _mean(one: PairMean, form: str) -> str:
    if one.low is None or one.high is None:
        return f"{one.mean:{form}} ({one.unsettled})"
    return f"{one.mean:{form}} ({one.low:{form}} to {one.high:{form}})"


def _latencies(live: Mapping[str, float], shadow: Mapping[str, float]) -> list[str]:
    rows = [
        (percent(round(10_000 * float(share))), f"{1000 * live[share]:.1f}", f"{1000 * shadow[share]:.1f}") for share in live
    ]
    return table(("faster than this, ms", "live", "shadow"), rows)


def _losses(one: ShadowCopies) -> list[str]:
    header = (f"error by {printable(one.outcome or '')}", "pairs", "live", "shadow", "difference")
    rows = [
        (each.name.replace("_", " "), each.pairs, f"{each.live:.4g}", f"{each.shadow:.4g}", _mean(each.difference, "+.4g"))
        for each in one.losses
    ]
    return table(header, rows)
