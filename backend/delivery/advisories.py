"""Published weaknesses of the servers and routers that teams run, by version, as of a date. Pure.

Written by hand from the records named beside each line, and no more than that: a version without a line here is not thereby
good. Nothing is asked of a vulnerability service when a server is tested; `AS_OF` is shown wherever a line is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

AS_OF = date(2026, 11, 30)
"""When the table was last looked through."""

Version = tuple[int, ...]


@dataclass(frozen=True)
class Advisory:
    """One published weakness, or several that one release mended.

    Args:
        product: as an adapter's facts call it, in small letters.
        cves: their ids.
        says: what they let somebody do.
        fixed: the release that mends them, one for each line that got one, oldest first; none where no release does.
        remedy: what to do where no release mends them, or besides.
        source: where this was read.
        since: the first release that has it.
    """

    product: str
    cves: tuple[str, ...]
    says: str
    fixed: tuple[str, ...]
    source: str
    remedy: str = ""
    since: str = "0"


TABLE: tuple[Advisory, ...] = (
    Advisory(
        "triton", ("CVE-2025-23310", "CVE-2025-23311"), "a long chunked HTTP request overflows the stack: crash, maybe code",
        ("2.59.1",), "NVIDIA bulletin of August 2025 (container 25.07)",
    ),
    Advisory(
        "triton", ("CVE-2025-23319", "CVE-2025-23320", "CVE-2025-23334"),
        "an error message names shared memory of the Python backend, through which code runs",
        ("2.59.1",), "NVIDIA bulletin of August 2025 (container 25.07)",
        remedy="Countersign shows no server's error text, which is where the name leaks.",
    ),
    Advisory(
        "triton", ("CVE-2025-33201",), "a very large payload ends the process",
        ("2.62.0",), "NVIDIA bulletin of December 2025 (container 25.10)",
    ),
    Advisory(
        "triton", ("CVE-2026-24206", "CVE-2026-24207", "CVE-2026-24208", "CVE-2026-24209"),
        "authentication is passed by, and paths lead out of their folder", (),
        "NVIDIA bulletin 5828 of 20 May 2026",
        remedy="The bulletin names the release that mends it; run one from after May 2026, and let nobody but the worker and "
        "the router reach its ports.",
    ),
    Advisory(
        "torchserve", ("CVE-2023-43654",), "a model is registered from any address, which runs its code", ("0.8.2",),
        "GHSA-8fxr-qfr9-p34w", remedy="Set allowed_urls too: the default lets any address in.",
    ),
    Advisory(
        "torchserve", ("CVE-2024-35198", "CVE-2024-35199"),
        "the list of allowed addresses is passed by with `..`, and the gRPC ports are open to the network", ("0.11.0",),
        "GHSA-wxcx-gg9c-fwp2, GHSA-hhpg-v63p-wp7w", remedy="TorchServe is no longer maintained: plan to move.",
    ),
    Advisory(
        "tensorflow serving", ("CVE-2025-0649",), "deeply nested JSON ends the process", ("2.19.0",),
        "tensorflow/serving issue 4116, which reports 2.19.0 as affected too",
        remedy="Limit the size and depth of requests before it.",
    ),
    Advisory(
        "ray", ("CVE-2023-6019", "CVE-2023-6020", "CVE-2023-6021"), "the dashboard runs commands and reads files",
        ("2.8.1",), "Anyscale's statement of November 2023",
    ),
    Advisory(
        "ray", ("CVE-2023-48022",), "whoever reaches the dashboard's port runs any code: jobs need no authentication", (),
        "disputed by its makers, who call it intended",
        remedy="Let nobody reach the dashboard and the job port but those who may run code there.",
    ),
    Advisory(
        "ray", ("CVE-2026-27482",), "a page that somebody opens deletes jobs and shuts Ray Serve down", ("2.54.0",),
        "record of 21 February 2026",
    ),
    Advisory(
        "envoy", ("CVE-2026-26309", "CVE-2026-26311", "CVE-2026-26330"),
        "freed memory is used again in the connection manager and in rate limits: crash",
        ("1.34.13", "1.35.8", "1.36.5", "1.37.1"), "Envoy's releases of March 2026",
    ),
    Advisory(
        "envoy", ("CVE-2026-47204", "CVE-2026-47207", "CVE-2026-47221", "CVE-2026-47778", "CVE-2026-48042"),
        "crashes by nested JSON and by redirects, and a certificate's name that is cut at a zero byte",
        ("1.35.13", "1.36.9", "1.37.5", "1.38.3"), "Envoy's releases of 23 June 2026",
    ),
)  # fmt: skip
"""Of MLServer and KServe no record of their own was found; those of what they are built from are their images' matter."""

_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_ALSO = {"triton inference server": "triton", "ray serve": "ray", "tensorflow_model_server": "tensorflow serving"}


def concerning(product: str, version: str) -> tuple[Advisory, ...]:
    """What the table has against a version. Nothing for a product, or a version, that it cannot read."""
    name = product.strip().lower()
    known, found = _ALSO.get(name, name), numbered(version)
    return tuple(one for one in TABLE if one.product == known and found is not None and _is_hit(one, found))


def covers(product: str) -> bool:
    """Whether the table has any line about a product, so that silence means something."""
    name = product.strip().lower()
    return any(one.product == _ALSO.get(name, name) for one in TABLE)


def numbered(version: str) -> Version | None:
    """`v1.38.3-dev` -> (1, 38, 3); None where there is no number."""
    match = _NUMBER.search(version[:80])
    return tuple(int(part[:9]) for part in match.group().split(".")[:4]) if match is not None else None


def says(one: Advisory) -> str:
    """One sentence for a person, with what to do."""
    mended = f" Mended in {' and '.join(one.fixed)}." if one.fixed else ""
    return f"{', '.join(one.cves)}: {one.says}.{mended}{f' {one.remedy}' if one.remedy else ''} ({one.source})"


def _is_hit(one: Advisory, version: Version) -> bool:
    """Whether a version has it: older than the mended release of its own line, or of the oldest line that got one."""
    if version < (numbered(one.since) or ()):
        return False
    mended = [number for text in one.fixed if (number := numbered(text)) is not None]
    if not mended:
        return True
    line = next((number for number in mended if number[:2] == version[:2]), None)
    if line is not None:
        return version < line
    return version < mended[-1]
