"""An endpoint as `countersign endpoint` shows it to people."""

from __future__ import annotations

from collections.abc import Sequence

from backend.cli.change_show import shares_say
from backend.cli.output import facts, percent, printable, table
from backend.client.results import Baseline, Endpoint, EndpointLine, EndpointMoment, Generation, Push


def endpoint_lines(rows: Sequence[EndpointLine]) -> list[str]:
    """A table of endpoints."""
    header = ("endpoint", "environment", "model", "mode", "state", "healthy", "version", "live", "generation")
    cells = [
        (
            one.name, one.environment, one.model, one.mode, one.state, one.healthy, one.champion_version, one.live_version,
            f"{one.proved_generation}/{one.generation}",
        )
        for one in rows
    ]  # fmt: skip
    return table(header, cells)


def detail_lines(found: Endpoint) -> list[str]:
    """One endpoint: wanted against seen."""
    line = found.line
    arms = [
        (
            one.name, one.version, one.role, "yes" if one.champion else "", percent(one.wanted_share),
            "" if one.seen_share is None else percent(one.seen_share), one.seen_state,
        )
        for one in found.arms
    ]  # fmt: skip
    proofs = [(one.kind, one.verdict, one.holds, f"{one.age_seconds:.0f} s", one.reason) for one in line.proofs]
    strangers = [f"Not approved: version {one.served_version} of {printable(one.served_name)}." for one in found.strangers]
    return [
        f"{line.name}: {line.state.replace('_', ' ')}. {printable(line.reason)}".rstrip(),
        *facts(
            (
                ("model", f"{line.model} in {line.environment}"),
                ("served by", f"{line.server} as {line.served_name}" + (f", behind {line.router}" if line.router else "")),
                ("mode", f"{line.mode}, {line.repair}"),
                ("healthy", line.healthy),
                ("generation", f"{line.generation}, proved {line.proved_generation}"),
                ("seen", "never" if line.seen_seconds is None else f"{line.seen_seconds:.0f} s ago"),
                ("drawn against", found.base_digest),
                ("last error", found.last_error),
                ("next attempt", found.retry_at),
            )
        ),
        *(table(("arm", "version", "role", "champion", "wanted", "seen", "state"), arms) if arms else []),
        *(table(("proof", "verdict", "holds", "age", ""), proofs) if proofs else []),
        *strangers,
    ]


def generation_lines(found: Sequence[Generation]) -> list[str]:
    """A table of generations."""
    rows = [
        (
            one.number, one.reason, one.step, _shares(one), one.admitted_at, one.admitted_by_name, one.proved_at,
            one.revoked_at,
        )
        for one in found
    ]  # fmt: skip
    return table(("generation", "reason", "step", "shares", "admitted", "by", "proved", "revoked"), rows)


def push_lines(found: Sequence[Push]) -> list[str]:
    """A table of attempts."""
    rows = [
        (
            one.started_at, one.generation, one.outcome, "" if one.seconds is None else f"{one.seconds:.1f} s",
            ", ".join(f"{step['step']} {step['seconds']} s" for step in one.steps), one.error,
        )
        for one in found
    ]  # fmt: skip
    return table(("began", "generation", "outcome", "took", "steps", "error"), rows)


def moment_lines(found: EndpointMoment) -> list[str]:
    """How an endpoint stood at a moment."""
    desired = found.desired
    wanted = f"generation {desired.number} ({desired.reason}): {_shares(desired)}" if desired else "nothing"
    votes = [f"{one['identity_id']}: {one['verdict']} at {one['at']}" for one in found.votes]
    return facts(
        (
            ("at", found.at),
            ("existed", found.exists),
            ("wanted", wanted),
            ("admitted by", desired.admitted_by_name if desired else None),
            ("under", desired.policy if desired else None),
            ("votes", "; ".join(votes)),
            ("seen", f"{found.state} at {found.seen_at:%Y-%m-%d %H:%M:%S} UTC" if found.seen_at else "never"),
            ("", found.reason),
        )
    )


def proposal_lines(proposal: Baseline) -> list[str]:
    """What runs, what signing it would mean, and to what a signature is bound."""
    rows = [
        (
            f"{one.served_name}:{one.served_version}", one.state, "" if one.share is None else percent(one.share),
            one.package_digest, one.reason,
        )
        for one in proposal.running
    ]  # fmt: skip
    others = [f"{one.served_name}:{version}" for one in proposal.unmanaged for version, _ in one.versions]
    return [
        printable(proposal.says),
        *table(("runs", "state", "traffic", "package", ""), rows),
        *facts(
            (
                ("base", proposal.digest),
                ("of no endpoint", ", ".join(others)),
                ("routes of others", ", ".join(proposal.foreign_routes)),
            )
        ),
        *(f"In the way: {printable(one)}" for one in proposal.obstacles),
    ]


def _shares(one: Generation) -> str:
    return shares_say({share.arm: share.buckets for share in one.shares})
