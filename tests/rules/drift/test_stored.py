"""What is stored comes back as it was; what somebody else wrote there never gets further than a refusal."""

from __future__ import annotations

import json
import struct
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import Refusal
from backend.drift.packed import MAGIC
from backend.drift.profile import Profile
from backend.drift.stored import counts_bytes, counts_from, profile_bytes, profile_from
from tests.drift_data import counts_of, letters, normal, profile_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def profile() -> Profile:
    rows = 2_400
    return profile_of(
        {
            "x": normal(rows),
            "few": (np.arange(rows) % 7).astype(float),
            "t": letters(rows),
            "flag": np.arange(rows) % 3 == 0,
            "empty": pa.nulls(rows, pa.float64()),
            "when": pa.array([NOON + timedelta(minutes=3 * number) for number in range(rows)]),
            "p": normal(rows, 3),
        },
        prediction="p",
        time="when",
    )


def test_a_profile_comes_back_as_the_same_bytes(profile: Profile) -> None:
    content = profile_bytes(profile)
    back = profile_from(content)
    assert profile_bytes(back) == content
    assert back.layout.digest == profile.layout.digest
    assert [one.column for one in back.layout.features] == [one.column for one in profile.layout.features]
    assert [one.hours for one in back.variations] == [1]
    np.testing.assert_allclose(back.variations[0].kept, profile.variations[0].kept, rtol=1e-6)
    assert len(content) < 60_000


def test_counts_come_back_in_their_cells_and_in_no_others(profile: Profile) -> None:
    counts = counts_of(profile, {"x": [1.0, np.inf], "t": ["new", None], "few": ["a", "b"], "y": [1, 2]})
    back = counts_from(counts_bytes(counts), profile.layout)
    assert counts_bytes(back) == counts_bytes(counts)
    assert (back.unlisted, back.mistyped, back.extra) == (counts.unlisted, counts.mistyped, counts.extra)
    np.testing.assert_array_equal(back.cells, counts.cells)
    with pytest.raises(Refusal, match="another reference"):
        counts_from(counts_bytes(counts), profile_of({"x": [1.0]}).layout)


@given(st.data())
def test_damaged_bytes_are_refused_or_harmless(profile: Profile, data: Any) -> None:
    content = bytearray(profile_bytes(profile))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    try:
        found = profile_from(bytes(content))
    except Refusal:
        return
    assert found.layout.size > 0  # zlib's checksum lets a bit of its own head pass


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    body = zlib.decompress(content[len(MAGIC) :])
    (length,) = struct.unpack_from("<I", body)
    return json.loads(body[4 : 4 + length]), body[4 + length :]


def packed(document: object, arrays: bytes) -> bytes:
    head = json.dumps(document).encode()
    return MAGIC + zlib.compress(struct.pack("<I", len(head)) + head + arrays)


def changed(profile: Profile, change: Any) -> bytes:
    """A stored profile whose document somebody changed."""
    document, arrays = parts(profile_bytes(profile))
    change(document)
    return packed(document, arrays)


CHANGES = [
    lambda d: d.update(kind="counts"),
    lambda d: d.update(features=[]),
    lambda d: d.update(features={}),
    lambda d: d.update(features=d["features"] * 500),
    lambda d: d["features"].append(d["features"][0]),
    lambda d: d["features"].pop(),
    lambda d: d["features"][0].update(role="admin"),
    lambda d: d["features"][0].update(kind=["number"]),
    lambda d: d["features"][0].update(name="x" * 5_000),
    lambda d: d["features"][0].update(size=10**9),
    lambda d: d["features"][0].update(size=True),
    lambda d: d["features"][0].update(edges=d["features"][0]["coarse"]),
    lambda d: d["features"][0].update(coarse=d["features"][0]["edges"]),
    lambda d: d["features"][0].update(edges=-1),
    lambda d: d["features"][0].update(edges="0"),
    lambda d: d["features"][0].update(steps="yes"),
    lambda d: d["features"][2].update(values=["a", "a"]),
    lambda d: d["features"][2].update(values=["a"] * 10_000),
    lambda d: d["features"][2].update(values=[1]),
    lambda d: d["features"][2].update(values=["\ud800"]),
    lambda d: d["counts"].update(rows=-1),
    lambda d: d["counts"].update(rows=1.5),
    lambda d: d["counts"].update(cells=d["counts"]["sums"]),
    lambda d: d["counts"].update(layout="sha256:" + "0" * 64),
    lambda d: d["counts"].update(unlisted=[["feature", "t", [["a", -1]]]]),
    lambda d: d["counts"].update(extra=[["feature", "t"]]),
    lambda d: d["counts"].update(mistyped=7),
    lambda d: d["variations"][0].update(hours=2),
    lambda d: d["variations"][0].update(blocks=10**6),
    lambda d: d["variations"].extend([{}] * 10),
    lambda d: d.update(counts=None),
    lambda d: d.update(arrays=None),
    lambda d: d["arrays"].pop(),
    lambda d: d["arrays"][0].__setitem__(0, "|O"),
    lambda d: d["arrays"][0].__setitem__(1, 10**12),
    lambda d: d["arrays"][0].__setitem__(1, -5),
]


@pytest.mark.parametrize("change", CHANGES, ids=map(str, range(len(CHANGES))))
def test_whatever_somebody_else_wrote_is_refused(profile: Profile, change: Any) -> None:
    with pytest.raises(Refusal):
        profile_from(changed(profile, change))


def test_edges_and_groups_that_are_none_are_refused(profile: Profile) -> None:
    document, arrays = parts(profile_bytes(profile))
    (kind, length), group = document["arrays"][0], document["features"][0]["coarse"]
    assert kind == "<f8"
    for edges in (np.zeros(length), np.full(length, np.nan), np.arange(length)[::-1] * 1.0):
        with pytest.raises(Refusal, match=r"edges do not rise|range is outside"):
            profile_from(packed(document, edges.astype("<f8").tobytes() + arrays[length * 8 :]))
    before = sum(np.dtype(kind).itemsize * size for kind, size in document["arrays"][:group])
    broken = arrays[:before] + b"\xff" + arrays[before + 1 :]
    with pytest.raises(Refusal, match="groups"):
        profile_from(packed(document, broken))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04K\x01.",
        MAGIC,
        MAGIC + b"no zlib",
        MAGIC + zlib.compress(b""),
        MAGIC + zlib.compress(struct.pack("<I", 2**31) + b"{}"),
        MAGIC + zlib.compress(struct.pack("<I", 2) + b"[]"),
        MAGIC + zlib.compress(struct.pack("<I", 5) + b"{NaN}"),
        MAGIC + zlib.compress(struct.pack("<I", 14) + b'{"a":1,"a":2}\n'),
        MAGIC + zlib.compress(struct.pack("<I", 2) + b"{}") + b"more",
        b"CSDRIFT2\n" + zlib.compress(struct.pack("<I", 2) + b"{}"),
    ],
)
def test_what_is_none_of_ours_is_refused(content: bytes) -> None:
    with pytest.raises(Refusal, match="no stored profile"):
        profile_from(content)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.drift.packed.MOST_BYTES", 1_000_000)
    with pytest.raises(Refusal, match="too large"):
        profile_from(MAGIC + zlib.compress(b"\0" * 10_000_000))
