"""Which published weaknesses a server's version has."""

from __future__ import annotations

import re

import pytest

from backend.delivery import advisories
from backend.delivery.advisories import TABLE, concerning, numbered, says


def cves(product: str, version: str) -> set[str]:
    return {name for one in concerning(product, version) for name in one.cves}


@pytest.mark.parametrize(
    ("product", "version", "has", "has_not"),
    [
        ("Triton", "2.51.0", {"CVE-2025-23319", "CVE-2025-33201"}, set()),
        ("triton", "2.60.0", {"CVE-2025-33201"}, {"CVE-2025-23319"}),
        ("triton", "2.62.0", {"CVE-2026-24207"}, {"CVE-2025-33201"}),
        ("triton", "2.67.0", set(), {"CVE-2026-24207"}),
        ("TorchServe", "0.8.1", {"CVE-2023-43654", "CVE-2024-35198"}, set()),
        ("torchserve", "0.12.0", set(), {"CVE-2023-43654", "CVE-2024-35198"}),
        ("TensorFlow Serving", "2.18.1", {"CVE-2025-0649"}, set()),
        ("Ray Serve", "2.53.0", {"CVE-2026-27482", "CVE-2023-48022"}, {"CVE-2023-6019"}),
        ("ray", "2.54.0", {"CVE-2023-48022"}, {"CVE-2026-27482"}),
        ("Envoy", "1.36.4", {"CVE-2026-26309", "CVE-2026-48042"}, set()),
        ("Envoy", "1.35.8", {"CVE-2026-26309"}, set()),
        ("Envoy", "1.36.5", {"CVE-2026-48042"}, {"CVE-2026-26309"}),
        ("Envoy", "1.35.12", {"CVE-2026-48042"}, {"CVE-2026-26309"}),
        ("Envoy", "1.38.3", set(), {"CVE-2026-26309", "CVE-2026-48042"}),
        ("Envoy", "1.40.0-dev", set(), {"CVE-2026-48042"}),
        ("Envoy", "1.33.0", {"CVE-2026-26309", "CVE-2026-48042"}, set()),
    ],
)
def test_a_version_has_what_no_release_of_its_line_mended(product: str, version: str, has: set[str], has_not: set[str]) -> None:
    found = cves(product, version)
    assert found >= has
    assert not found & has_not


@pytest.mark.parametrize(("product", "version"), [("Envoy", "unknown"), ("MLServer", "1.0"), ("", ""), ("Envoy", "9" * 500)])
def test_what_cannot_be_read_is_accused_of_nothing(product: str, version: str) -> None:
    assert concerning(product, version) == ()


def test_every_line_names_real_ids_releases_and_its_source() -> None:
    for one in TABLE:
        assert one.cves
        assert all(re.fullmatch(r"CVE-20\d\d-\d{4,6}", name) for name in one.cves)
        assert [numbered(text) for text in one.fixed] == sorted(filter(None, map(numbered, one.fixed)))
        assert one.fixed or one.remedy, f"{one.cves}: what shall one do?"
        assert one.source in says(one)
    assert not advisories.covers("MLServer")
