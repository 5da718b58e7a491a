"""Ask an advisory service about every pinned package of every lock, with pip-audit. Run by `make audit`.

Exit status: 0 every package was looked up and none has a known vulnerability; 1 at least one has; 2 at least one
package could not be looked up, so nothing is known about it. (pip-audit itself calls that last case a success.)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("dev", "build", "triton", "triton-server", "envoy", "proxy", "gbstats", "tools")  # app.lock pins a subset of dev.lock
CLEAN, VULNERABLE, UNKNOWN = 0, 1, 2


@dataclass(frozen=True)
class Findings:
    """What the service said: how many packages it knew, which have which advisories, and which it could not look up."""

    known: int
    vulnerable: tuple[str, ...]
    unknown: tuple[str, ...]


def read(answer: str) -> Findings:
    """Read pip-audit's JSON report (its `json` format: `dependencies` with `vulns` or `skip_reason`)."""
    dependencies: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    looked_up = [found for found in dependencies if "skip_reason" not in found]
    return Findings(
        known=len(looked_up),
        vulnerable=tuple(_advisories(found) for found in looked_up if found["vulns"]),
        unknown=tuple(found["name"] for found in dependencies if "skip_reason" in found),
    )


def verdict(findings: Findings) -> int:
    """A vulnerability outweighs a package that nobody could tell about; neither is ever a success."""
    if findings.vulnerable:
        return VULNERABLE
    return UNKNOWN if findings.unknown or not findings.known else CLEAN


def ask(lock: str, service: str) -> Findings | None:
    """Audit one lock; `None` when the service could not be reached at all."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command += [f"--vulnerability-service={service}", "--format=json", f"--requirement=requirements/{lock}.lock"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    try:
        return read(done.stdout)
    except (ValueError, KeyError):
        print(done.stderr.strip()[-500:], file=sys.stderr)
        return None


def report(lock: str, findings: Findings | None) -> int:
    """Print what is known about one lock, and answer with its verdict."""
    if findings is None or not findings.known:
        print(f"{lock}.lock: NOT AUDITED. The advisory service cannot be asked from here; run this where it can be.")
        return UNKNOWN
    print(f"{lock}.lock: {findings.known} packages looked up, {len(findings.vulnerable)} vulnerable")
    for line in findings.vulnerable:
        print(f"  {line}")
    if findings.unknown:
        print(f"  could not be looked up: {', '.join(findings.unknown)}")
    return verdict(findings)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="whose advisories to ask")
    service = parser.parse_args(arguments).service
    verdicts = {lock: report(lock, ask(lock, service)) for lock in LOCKS}
    if unsure := [f"{lock}.lock" for lock, verdict in verdicts.items() if verdict == UNKNOWN]:
        print(f"THIS IS NO CLEAN BILL: nothing, or not everything, is known of {', '.join(unsure)}.", file=sys.stderr)
    return VULNERABLE if VULNERABLE in verdicts.values() else max(verdicts.values())


def _advisories(found: dict[str, Any]) -> str:
    names = (f"{vuln['id']} (fixed in {' or '.join(vuln['fix_versions']) or 'no release'})" for vuln in found["vulns"])
    return f"{found['name']} {found['version']}: {', '.join(names)}"


if __name__ == "__main__":
    sys.exit(main())
