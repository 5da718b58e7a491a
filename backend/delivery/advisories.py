"""Published weaknesses of the servers and routers that teams run, by version, as of a date. Pure.

It is not complete and cannot be: a version without a line here is not thereby good. It was written by hand from the sources
named beside each line, and holds no release that no source names. Nothing is asked of a vulnerability service when a server is
tested; `AS_OF` is shown wherever a line is. What Countersign itself is built from is asked about by `make audit`.

CVE records are those of github.com/CVEProject/cvelistV5. NVIDIA's name containers, a server tells its own number: 26.03 calls
itself 2.67.0, each month before it one less down to 2.60.0 in 25.08.
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
        "triton", ("CVE-2025-23310", "CVE-2025-23311"), "a crafted HTTP request overflows the stack: crash, maybe code",
        ("2.60.0",), "CVE records of August 2025, NVIDIA bulletin 5687: before container 25.07",
        remedy="Container 25.07 has it mended already.",
    ),
    Advisory(
        "triton", ("CVE-2025-23319", "CVE-2025-23320", "CVE-2025-23334"),
        "errors of the Python backend tell of its memory, which is written and read beyond its bounds: maybe code",
        ("2.60.0",), "CVE records of August 2025, NVIDIA bulletin 5687: before container 25.07",
        remedy="Container 25.07 has it mended already. Countersign shows no server's error text.",
    ),
    Advisory(
        "triton", ("CVE-2025-33201",), "a very large payload ends the service",
        ("2.62.0",), "CVE record of December 2025, NVIDIA bulletin 5734: before container 25.10",
    ),
    Advisory(
        "triton", ("CVE-2026-24206", "CVE-2026-24207", "CVE-2026-24208", "CVE-2026-24209"),
        "authentication is passed by, and paths lead out of their folder",
        ("2.67.0",), "CVE records of May 2026, NVIDIA bulletin 5828: before container 26.03",
        remedy="Let nobody but the worker and the router reach its ports.",
    ),
    Advisory(
        "torchserve", ("CVE-2023-43654",), "a model is registered from any address, which runs its code", ("0.8.2",),
        "CVE record, GHSA-8fxr-qfr9-p34w", since="0.1.0",
        remedy="Set allowed_urls too: the release only warns of the default, which lets any address in.",
    ),
    Advisory(
        "torchserve", ("CVE-2024-35198", "CVE-2024-35199"),
        "the list of allowed addresses is passed by with `..`, and the gRPC ports are open to the network", ("0.11.0",),
        "CVE records, GHSA-wxcx-gg9c-fwp2, GHSA-hhpg-v63p-wp7w", since="0.3.0",
    ),
    Advisory(
        "tensorflow serving", ("CVE-2025-0649",), "deeply nested JSON ends the process", (),
        "CVE record: up to 2.18.0; tensorflow/serving issue 4116, open: 2.19.0 too",
        remedy="No release is known to mend all of it: run the newest, and limit the size and depth of requests before it.",
    ),
    Advisory(
        "ray", ("CVE-2023-6019", "CVE-2023-6020", "CVE-2023-6021"), "the dashboard runs commands and reads files",
        ("2.8.1",), "CVE records of November 2023",
    ),
    Advisory(
        "ray", ("CVE-2023-48022",), "whoever reaches the dashboard's port runs any code: jobs need no authentication", (),
        "CVE record; disputed by its makers, who call it intended",
        remedy="Let nobody reach the dashboard and the job port but those who may run code there.",
    ),
    Advisory(
        "ray", ("CVE-2026-27482",), "a page that somebody opens deletes jobs and shuts Ray Serve down", ("2.54.0",),
        "GHSA-q5fh-2hc8-f6rq of February 2026",
    ),
    Advisory(
        "envoy", ("CVE-2026-26309", "CVE-2026-26311", "CVE-2026-26330"),
        "one byte too many is written where JSON is escaped, and freed memory is used after resets and in rate limits: crash",
        ("1.34.13", "1.35.9", "1.36.5", "1.37.1"), "CVE records of 10 March 2026",
    ),
    Advisory(
        "envoy", ("CVE-2026-47204", "CVE-2026-47207", "CVE-2026-47221", "CVE-2026-47778", "CVE-2026-48042"),
        "crashes by nested JSON and by redirects, and a certificate's name that is cut at a zero byte",
        ("1.35.13", "1.36.9", "1.37.5", "1.38.3"), "Envoy's release notes of 23 June 2026",
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
