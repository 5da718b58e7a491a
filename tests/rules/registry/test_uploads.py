"""Archives from strangers: plain trees come out as they went in, everything else is refused before it can do anything."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.canonical import tree_files
from backend.core.errors import Refusal
from backend.registry import zips
from backend.registry.rules import Limits, quiet
from backend.registry.uploads import unpack

TREE = {"MLmodel": b"flavors: {}\n", "data/model.onnx": bytes(range(256)) * 9_000, "empty.txt": b"", "données.txt": b"x"}
SMALL = Limits(max_bytes=1 << 20, max_entries=50, free_bytes=1 << 16)


def zipped(files: Mapping[str, bytes], path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(files: Mapping[str, bytes], path: Path, mode: str = "w:gz", form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def with_member(path: Path, change: Callable[[tarfile.TarInfo], None], mode: str = "w:gz") -> Path:
    """A tar with one member that is made strange by `change`."""
    with tarfile.open(path, mode) as archive:
        info = tarfile.TarInfo("strange")
        change(info)
        archive.addfile(info, io.BytesIO(b"x" * info.size) if info.isreg() else None)
    return path


def refused(archive: Path, folder: Path, limits: Limits = SMALL) -> str:
    folder.mkdir(exist_ok=True)
    with pytest.raises(Refusal) as refusal:
        unpack(archive, folder, limits, quiet)
    return refusal.value.code


PACKERS: dict[str, Callable[[Mapping[str, bytes], Path], Path]] = {
    "zip": zipped,
    "stored zip": lambda files, path: zipped(files, path, zipfile.ZIP_STORED),
    "tar": lambda files, path: tarred(files, path, "w"),
    "tar.gz": tarred,
    "gnu tar.gz": lambda files, path: tarred(files, path, form=tarfile.GNU_FORMAT),
    "ustar": lambda files, path: tarred(files, path, "w", tarfile.USTAR_FORMAT),
}


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


@pytest.mark.parametrize("packer", PACKERS)
def test_a_tree_comes_out_as_it_went_in(packer: str, tmp_path: Path, inside: Path) -> None:
    root = unpack(PACKERS[packer](TREE, tmp_path / "a"), inside, Limits(), quiet)
    assert {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()} == TREE
    assert {stat.S_IMODE((root / file.path).stat().st_mode) for file in tree_files(root)} == {0o600}


@settings(max_examples=25, deadline=None)
@given(
    files=st.dictionaries(
        st.from_regex(r"[a-z]{1,40}(/[a-z0-9_]{1,60}){0,3}", fullmatch=True), st.binary(max_size=3000), min_size=1, max_size=8
    ),
    packer=st.sampled_from(sorted(PACKERS.keys() - {"ustar"})),
)
def test_any_plain_tree_comes_out_as_it_went_in(
    files: dict[str, bytes], packer: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = set(files)
    if any(one != other and other.startswith(f"{one}/") for one in names for other in names):
        return
    folder = tmp_path_factory.mktemp("any")
    archive = PACKERS[packer](files, folder / "a")
    (folder / "out").mkdir()
    unpack(archive, folder / "out", Limits(), quiet)
    assert {file.path: (folder / "out" / file.path).read_bytes() for file in tree_files(folder / "out")} == files


def test_what_an_ordinary_tar_command_makes_is_taken(tmp_path: Path, inside: Path) -> None:
    for name, content in TREE.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    long = tmp_path / "tree" / "/".join(["folder-with-a-long-name"] * 6) / "file"
    long.parent.mkdir(parents=True)
    long.write_bytes(b"deep")
    subprocess.run(["tar", "-czf", str(tmp_path / "a.tgz"), "-C", str(tmp_path / "tree"), "."], check=True)
    root = unpack(tmp_path / "a.tgz", inside, Limits(), quiet)
    assert tree_files(root) == tree_files(tmp_path / "tree")


@pytest.mark.parametrize("packer", ["zip", "tar.gz"])
def test_one_folder_around_a_model_is_not_part_of_it(packer: str, tmp_path: Path, inside: Path) -> None:
    around = PACKERS[packer]({f"model/{name}": content for name, content in TREE.items()}, tmp_path / "a")
    assert unpack(around, inside, Limits(), quiet) == inside / "model"
    (tmp_path / "other").mkdir()
    plain = PACKERS[packer]({"data/weights.bin": b"x"}, tmp_path / "b")
    assert unpack(plain, tmp_path / "other", Limits(), quiet) == tmp_path / "other"


@pytest.mark.parametrize("packer", ["zip", "tar.gz", "tar"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../outside", "bad-path"),
        ("a/../../outside", "bad-path"),
        ("/tmp/outside", "bad-path"),
        ("..\\outside", "bad-path"),
        ("C:\\outside", "bad-path"),
        ("a/./b", "bad-path"),
        ("a//b", "bad-path"),
        ("nul.txt", "bad-path"),
        ("trailing.", "bad-path"),
        ("/".join("d" * 33), "bad-path"),
        ("x" * 300, "bad-path"),
        ("new\nline", "bad-path"),
    ],
)
def test_a_name_that_is_no_plain_path_is_refused(packer: str, name: str, code: str, tmp_path: Path) -> None:
    archive = PACKERS[packer]({"ok.txt": b"1", name: b"evil"}, tmp_path / "a")
    (tmp_path / "inside").mkdir()
    assert refused(archive, tmp_path / "inside" / "deeper") == code
    assert not list(tmp_path.rglob("outside*"))


def test_a_name_with_a_nul_in_it_is_not_cut_short(tmp_path: Path) -> None:
    archive = zipped({"data.txtXevil": b"1"}, tmp_path / "a")
    content = archive.read_bytes()
    for name in (b"data.txt\0evil", b"\0ata.txt.evil", b"\0" * 13):
        archive.write_bytes(content.replace(b"data.txtXevil", name))
        assert refused(archive, tmp_path / "inside") == "bad-path"


@pytest.mark.parametrize("packer", ["zip", "tar.gz"])
@pytest.mark.parametrize(
    "names",
    [
        ("Model.bin", "model.bin"),
        ("Data/a", "data/b"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("stra\u00dfe", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_two_names_for_one_place_are_refused(packer: str, names: tuple[str, str], tmp_path: Path) -> None:
    archive = PACKERS[packer]({names[0]: b"1", names[1]: b"2"}, tmp_path / "a")
    assert refused(archive, tmp_path / "inside") == "duplicate-path"


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("model", b"harmless")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("model", b"other")
    assert refused(tmp_path / "a", tmp_path / "inside") == "duplicate-path"


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S", b"7"]
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, mode: str, tmp_path: Path) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, "/etc/passwd"

    def call_it_a_folder(info: tarfile.TarInfo) -> None:
        change(info)
        info.name = "strange/"

    for strange in (change, call_it_a_folder):
        assert refused(with_member(tmp_path / "a", strange, mode), tmp_path / "inside") == "not-a-regular-file"
        assert list((tmp_path / "inside").iterdir()) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(kind: int, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert refused(tmp_path / "a", tmp_path / "inside") == "not-a-regular-file"


@pytest.mark.parametrize("packer", ["zip", "tar.gz"])
def test_a_bomb_is_stopped_while_it_unpacks(packer: str, tmp_path: Path) -> None:
    archive = PACKERS[packer]({"zeros": bytes(900_000)}, tmp_path / "a")
    assert refused(archive, tmp_path / "inside") == "archive-bomb"
    assert sum(path.stat().st_size for path in (tmp_path / "inside").rglob("*")) <= 1 << 16


@pytest.mark.parametrize("packer", ["zip", "tar.gz", "tar"])
def test_more_bytes_than_allowed_are_refused(packer: str, tmp_path: Path) -> None:
    archive = PACKERS[packer]({"a": os.urandom(600_000), "b": os.urandom(600_000)}, tmp_path / "a")
    assert refused(archive, tmp_path / "inside") == "too-large"


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    archive = zipped({"a": bytes(500_000)}, tmp_path / "a")
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<L", 500_000), struct.pack("<L", 10)))
    assert refused(archive, tmp_path / "inside") == "bad-archive"


def test_entries_that_share_their_bytes_are_a_bomb(tmp_path: Path) -> None:
    """As in the overlapping zip bomb: many directory entries, one file."""
    archive = zipped({"a": os.urandom(5000), "b": b"1"}, tmp_path / "a", zipfile.ZIP_STORED)
    content = archive.read_bytes()
    start = content.index(b"PK\x01\x02")
    entry = content[start : content.index(b"PK\x01\x02", start + 4)]
    assert len(entry) == 47
    copies = b"".join(entry[:46] + bytes([ord("a") + position]) for position in range(20))
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 20, 20, len(copies), start, 0)
    archive.write_bytes(content[:start] + copies + end)
    assert refused(archive, tmp_path / "inside") == "archive-bomb"


@pytest.mark.parametrize("said", [100_000, 1])
def test_a_hundred_thousand_entries_are_refused_without_opening_one(
    said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever number the archive gives."""
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 4) + bytes(16) + b"name"
    directory = entry * 100_000
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, min(said, 65535), min(said, 65535), len(directory), 0, 0)
    (tmp_path / "a").write_bytes(directory + end)
    monkeypatch.setattr(zips.zipfile, "ZipFile", None)
    limits = Limits(max_entries=10_000)
    assert refused(tmp_path / "a", tmp_path / "inside", limits) == "too-many-files"


@pytest.mark.parametrize("packer", ["zip", "tar.gz", "tar"])
def test_more_entries_than_allowed_are_refused(packer: str, tmp_path: Path) -> None:
    archive = PACKERS[packer]({f"f{number}": b"" for number in range(51)}, tmp_path / "a")
    assert refused(archive, tmp_path / "inside") == "too-many-files"


def test_entries_are_counted_again_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the library ever find another directory than the one that was counted."""
    archive = zipped({f"f{number}": b"" for number in range(51)}, tmp_path / "a")
    monkeypatch.setattr(zips, "_count_directory", lambda *_: None)
    assert refused(archive, tmp_path / "inside") == "too-many-files"


def test_headers_without_files_end_too(tmp_path: Path) -> None:
    def global_header() -> bytes:
        info = tarfile.TarInfo("g")
        return info.create_pax_global_header({"comment": "x"})

    (tmp_path / "a").write_bytes(global_header() * 1000)
    assert refused(tmp_path / "a", tmp_path / "inside") == "too-many-files"


def test_a_long_header_is_refused(tmp_path: Path, inside: Path) -> None:
    """It would be held in memory, and an ordinary reader takes its word for any size."""
    info = tarfile.TarInfo("a")
    for size, is_taken in ((4000, True), (20_000, False)):
        info.pax_headers = {"comment": "x" * size}
        (tmp_path / "a").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
        if is_taken:
            unpack(tmp_path / "a", inside, SMALL, quiet)
        else:
            assert refused(tmp_path / "a", tmp_path / "other") == "bad-archive"


def test_a_size_that_only_the_extended_header_gives_is_believed(tmp_path: Path, inside: Path) -> None:
    info = tarfile.TarInfo("a")
    info.size, info.pax_headers = 0, {"size": "5"}
    (tmp_path / "a").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + b"12345".ljust(512, b"\0") + bytes(1024))
    unpack(tmp_path / "a", inside, SMALL, quiet)
    assert (inside / "a").read_bytes() == b"12345"


@pytest.mark.parametrize("packer", PACKERS)
def test_an_archive_that_is_cut_off_is_refused(packer: str, tmp_path: Path) -> None:
    archive = PACKERS[packer]({"a": os.urandom(20_000), "b": os.urandom(20_000)}, tmp_path / "a")
    content = archive.read_bytes()
    for size in (0, 20, 600, len(content) // 2, 30_000):
        archive.write_bytes(content[:size])
        assert refused(archive, tmp_path / f"inside-{size}") == "bad-archive"


@settings(max_examples=150, deadline=None)
@given(packer=st.sampled_from(sorted(PACKERS)), position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_never_does_harm(
    packer: str, position: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is refused, or what comes out are plain files: no other error, nothing outside the folder."""
    folder = tmp_path_factory.mktemp("flip")
    archive = PACKERS[packer]({"MLmodel": b"a" * 700, "data/x": os.urandom(600)}, folder / "a")
    content = bytearray(archive.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    archive.write_bytes(content)
    (folder / "out").mkdir()
    with contextlib.suppress(Refusal):
        tree_files(unpack(archive, folder / "out", SMALL, quiet))
    assert {path.name for path in folder.iterdir()} == {"a", "out"}


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x80\x04N.", b"Rar!\x1a\x07\x00", b"7z\xbc\xaf\x27\x1c", gzip.compress(b"no tar", mtime=0)]
)
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert refused(tmp_path / "a", tmp_path / "inside") == "bad-archive"


def test_an_archive_without_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.mkdir("folder")
    assert refused(tmp_path / "a", tmp_path / "inside") == "bad-archive"


def test_encrypted_and_rare_compressions_are_refused(tmp_path: Path) -> None:
    zipped({"a": b"1" * 100}, tmp_path / "rare", zipfile.ZIP_LZMA)
    assert refused(tmp_path / "rare", tmp_path / "inside") == "bad-archive"
    plain = zipped({"a": b"1" * 100}, tmp_path / "locked").read_bytes()
    flags = plain.index(b"PK\x01\x02") + 8
    (tmp_path / "locked").write_bytes(plain[:6] + b"\x01" + plain[7:flags] + b"\x01" + plain[flags + 1 :])
    with pytest.raises(Refusal, match="encrypted"):
        unpack(tmp_path / "locked", tmp_path / "inside", SMALL, quiet)
