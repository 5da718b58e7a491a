"""Pickled code is found without being loaded: every sample here would create a file if anybody loaded it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.registry import pickles
from backend.registry.opcodes import HEAD_BYTES, MAX_OPS, Budget, is_pickle
from backend.registry.pickles import find_pickles
from backend.registry.rules import Limits, quiet

LIMITS = Limits(max_bytes=64 << 20)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def found(folder: Path, named: tuple[str, ...] = ()) -> tuple[str, ...]:
    return find_pickles(folder, named, LIMITS, quiet)


def in_zip(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("archive/version", b"3")
        archive.writestr(name, content)
    return stream.getvalue()


def in_tar(name: str, content: bytes, mode: str = "w:gz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def saved(write: Callable[[Any], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def objects(trap: Trap) -> np.ndarray:
    return np.array([trap, 1], dtype=object)


def joblib_file(trap: Trap, **options: Any) -> bytes:
    return saved(lambda stream: joblib.dump({"weights": np.arange(5000.0), "trap": trap}, stream, **options))


SAMPLES: dict[str, Callable[[Trap], bytes]] = {
    **{f"protocol {number}": (lambda trap, number=number: pickle.dumps(trap, number)) for number in range(6)},
    "behind harmless data": lambda trap: pickle.dumps([1, 2, {"a": "b" * 1000}, trap]),
    "the second in one file": lambda trap: b"I1\n." + pickle.dumps(trap, 0),
    "without its header": lambda trap: pickle.dumps(trap, 4)[2:],
    "cut off after the call": lambda trap: pickle.dumps(trap, 2)[:-1] + b"\xff\xff",
    "cloudpickle": lambda trap: cloudpickle.dumps(lambda: trap),
    "joblib": joblib_file,
    "joblib behind zlib": lambda trap: joblib_file(trap, compress=3),
    "joblib behind gzip": lambda trap: joblib_file(trap, compress=("gzip", 3)),
    "joblib behind bz2": lambda trap: joblib_file(trap, compress=("bz2", 3)),
    "joblib behind xz": lambda trap: joblib_file(trap, compress=("xz", 3)),
    "joblib behind lzma": lambda trap: joblib_file(trap, compress=("lzma", 3)),
    "gzip": lambda trap: gzip.compress(pickle.dumps(trap)),
    "zlib, level 0": lambda trap: zlib.compress(pickle.dumps(trap), 0),
    "bz2": lambda trap: bz2.compress(pickle.dumps(trap)),
    "xz": lambda trap: lzma.compress(pickle.dumps(trap)),
    "numpy objects": lambda trap: saved(lambda stream: np.save(stream, objects(trap), allow_pickle=True)),
    "npz with objects": lambda trap: saved(lambda stream: np.savez_compressed(stream, a=np.arange(3), b=objects(trap))),
    "torch's zip": lambda trap: in_zip("archive/data.pkl", pickle.dumps(trap, 2), zipfile.ZIP_STORED),
    "torch's zip under another name inside": lambda trap: in_zip("archive/weights", pickle.dumps(trap, 2)),
    "torch before zips": lambda trap: pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps(trap, 2),
    "a zip behind other bytes": lambda trap: b"#!/bin/sh\n" + in_zip("data", pickle.dumps(trap)),
    "a zip in a zip": lambda trap: in_zip("inner", in_zip("data", pickle.dumps(trap))),
    "a zip in a zip in a zip in a zip in a zip": lambda trap: in_zip(
        "1", in_zip("2", in_zip("3", in_zip("4", in_zip("5", pickle.dumps(trap)))))
    ),
    "a tar.gz in a zip": lambda trap: in_zip("inner", in_tar("data", pickle.dumps(trap))),
    "tar": lambda trap: in_tar("deep/data", pickle.dumps(trap), "w"),
    "tar.gz": lambda trap: in_tar("deep/data", pickle.dumps(trap)),
    "after more data than is looked at": lambda trap: pickle.dumps([b"x" * (HEAD_BYTES + 10), trap]),
    "after more opcodes than are walked": lambda trap: b"(" * (MAX_OPS + 10) + pickle.dumps(trap, 0),
    "Keras' lambda in HDF5": lambda trap: b"\x89HDF\r\n\x1a\n" + b"x" * ((1 << 20) - 20) + b'{"class_name": "Lambda"}',
    "Keras 3's lambda": lambda trap: in_zip("config.json", b'{"layers": [{"class_name":"__lambda__", "config": {}}]}'),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_code_is_found_by_its_content_and_does_not_run(sample: str, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    artifact = tmp_path / "artifact"
    (artifact / "data").mkdir(parents=True)
    (artifact / "data" / "weights.bin").write_bytes(SAMPLES[sample](Trap(trap)))
    assert found(artifact) == ("data/weights.bin",)
    assert not trap.exists()


@pytest.mark.parametrize("number", range(6))
def test_the_traps_are_real(number: int, tmp_path: Path) -> None:
    """Loading one does create the file: the tests above prove something."""
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"), number))
    assert (tmp_path / "sprung").exists()


HARMLESS: dict[str, bytes] = {
    "empty": b"",
    "a short text that is a pickle by chance": b"N.",
    "an old pickle of plain data": pickle.dumps({"a": [1, 2]}, 0),
    "requirements": b"cloudpickle==3.1\nnumpy\npandas\n",
    "YAML": b"channels:\n- conda-forge\ndependencies:\n- python=3.11\n",
    "a list that would call with nothing on the stack": b"conda\npip\nReadme\n",
    "a list that would make a tuple of nothing": b"conda\npip\nt.\n",
    "YAML that would import what has no such name": b"channels:\n- conda-forge\n.\n",
    "one long line of script": b"import{a as b}from'./x.js';" + b"var x=1;" * 600_000,
    "JSON": b'{"class_name": "Dense"}',
    "ONNX": b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:" + bytes(range(256)) * 20,
    "numbers": np.arange(1000.0).tobytes(),
    "numpy": saved(lambda stream: np.save(stream, np.zeros((3, 4)))),
    "numpy records": saved(lambda stream: np.save(stream, np.zeros(3, dtype=[("open", "<f8"), ("close", "<i4")]))),
    "npz": saved(lambda stream: np.savez(stream, a=np.arange(10))),
    "a zip of texts": in_zip("notes.txt", b"nothing"),
    "a tar.gz of texts": in_tar("notes.txt", b"nothing"),
    "gzipped text": gzip.compress(b"Be a good model. " * 1000),
    "safetensors": struct.pack("<Q", 20) + b'{"__metadata__":{}} ',
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(300),
    "HDF5": b"\x89HDF\r\n\x1a\n" + b'{"class_name": "Dense"}' * 1000,
}


@pytest.mark.parametrize("sample", HARMLESS)
def test_what_runs_nothing_is_not_reported(sample: str, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(HARMLESS[sample])
    assert found(tmp_path) == ()


def test_a_plain_pickle_with_a_header_is_reported_even_if_it_holds_only_data(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(pickle.dumps({"a": [1, 2]}, 2))
    assert found(tmp_path) == ("table",)


@pytest.mark.parametrize("name", ["model.pkl", "M.PICKLE", "a/b.joblib", "x.dill", "x.pt", "x.pth", "x.mar"])
def test_a_name_that_only_pickles_carry_is_believed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"\x04\x22\x4d\x18 lz4, which nobody here can read")
    assert found(tmp_path) == (name,)


def test_a_file_that_mlmodel_calls_pickled_is_reported_whatever_it_holds(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"unknown")
    (tmp_path / "other").write_bytes(b"unknown")
    assert found(tmp_path, ("model", "absent")) == ("model",)


def test_an_archive_that_cannot_be_looked_into_counts_as_found(tmp_path: Path) -> None:
    whole = in_zip("data", b"x" * 3000)
    (tmp_path / "broken").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bomb").write_bytes(in_zip("zeros", bytes(LIMITS.max_bytes + 10)))
    (tmp_path / "only-ends-so").write_bytes(b"text PK\x05\x06 and 18 more bytes....")
    assert found(tmp_path) == ("bomb", "broken")


def test_archives_in_archives_are_followed_three_deep_and_count_as_found_below(tmp_path: Path) -> None:
    nested = b"harmless"
    for depth in range(6):
        nested = in_zip("inner", nested)
        (tmp_path / f"{depth}").write_bytes(nested)
    assert found(tmp_path) == ("4", "5")


def test_many_archives_together_may_not_unpack_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is within the bounds; what is left when the common budget is spent counts as found."""
    monkeypatch.setattr(pickles, "_POOL", 1)
    limits = Limits(max_bytes=1 << 20)
    for number in range(4):
        (tmp_path / f"{number}").write_bytes(in_zip("zeros", bytes(400_000)))
    assert find_pickles(tmp_path, (), limits, quiet) == ("2", "3")


def test_the_budget_of_opcodes_is_shared() -> None:
    budget = Budget(ops=150)
    text = pickle.dumps(list(range(60)), 0)
    assert not is_pickle(text, len(text), budget)
    assert is_pickle(text, len(text), budget)


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=400),
    start=st.sampled_from([b"", b"\x80\x04", b"(", b"cos\nsystem\n", b"PK\x03\x04", b"\x1f\x8b", b"\x93NUMPY"]),
)
def test_no_content_makes_the_search_fail(content: bytes, start: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "file").write_bytes(start + content)
    assert found(folder) in ((), ("file",))
