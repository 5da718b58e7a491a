"""The package store: content-addressed, write-once, whole or not there, on a folder and on an object store."""

from __future__ import annotations

import shutil
import stat
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from backend.core.canonical import digest_tree, tree_files
from backend.core.errors import CountersignError, ExternalFailure, Refusal
from backend.delivery import store as store_module
from backend.delivery.desired import Packaged
from backend.delivery.store import PackageStore
from backend.delivery.targets.triton_folder import ModelFolder

UNKNOWN = "sha256:" + "0" * 64


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder, and fsspec's object store in memory: no renames, no folders, as with S3."""
    if request.param == "file":
        yield (tmp_path / "store").as_uri()
        return
    name = f"/store-{uuid.uuid4().hex}"
    yield f"memory:/{name}"
    files = fsspec.filesystem("memory")
    if files.exists(name):
        files.rm(name, recursive=True)


@pytest.fixture
def store(url: str, tmp_path: Path) -> PackageStore:
    return PackageStore(url, tmp_path / "cache")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"weights" * 1000)
    (folder / "sub" / "config.json").write_text("{}")
    return folder


@pytest.fixture
def damage(url: str) -> Callable[[str, bytes | None], None]:
    """Changes one stored file behind the store's back, or removes it."""

    def change(ending: str, content: bytes | None) -> None:
        files, root = fsspec.core.url_to_fs(url)
        path = next(one for one in files.find(root) if one.endswith(ending))
        files.rm(path)
        if content is not None:
            files.pipe_file(path, content)

    return change


def test_what_is_stored_comes_back_under_its_digest(store: PackageStore, package: Path) -> None:
    digest = store.put(package)
    assert digest == digest_tree(tree_files(package))
    assert store.verify(digest)
    assert store.holds(digest)
    assert store.files(digest) == tree_files(package)
    assert store.read(digest, "sub/config.json", 100) == b"{}"
    assert digest_tree(tree_files(store.local(digest))) == digest


def test_the_local_copy_is_read_only(store: PackageStore, package: Path) -> None:
    for path in store.local(store.put(package)).rglob("*"):
        assert path.is_dir() or not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


def test_storing_again_keeps_what_is_there(store: PackageStore, package: Path, url: str) -> None:
    first = store.put(package)
    files, root = fsspec.core.url_to_fs(url)
    before = {path: files.modified(path) for path in files.find(root)}
    assert store.put(package) == first
    assert {path: files.modified(path) for path in files.find(root)} == before


@pytest.mark.parametrize("ending", ["model.onnx", "config.json"])
@pytest.mark.parametrize("content", [b"forged", None])
def test_a_changed_or_missing_file_is_found(
    store: PackageStore, package: Path, damage: Callable[..., None], ending: str, content: bytes | None
) -> None:
    digest = store.put(package)
    damage(ending, content)
    assert not store.verify(digest)
    with pytest.raises(Refusal) as refused:
        store.put(package)
    assert refused.value.code == "package-damaged"
    with pytest.raises(CountersignError):
        store.read(digest, "sub/config.json" if ending == "config.json" else "model.onnx", 10**6)


def test_a_file_too_many_is_found(store: PackageStore, package: Path, url: str) -> None:
    digest = store.put(package)
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{root}/sha256/{digest[7:9]}/{digest[7:]}/extra.py", b"import os")
    assert not store.verify(digest)


@pytest.mark.parametrize("content", [b"[]", b"{", b'[["model.onnx", 1, "sha256:x"]]', b'[["../x", 1, "y", 2]]', b"7"])
def test_a_forged_list_is_found(store: PackageStore, package: Path, damage: Callable[..., None], content: bytes) -> None:
    digest = store.put(package)
    damage(f"{digest[7:]}.json", content)
    assert not store.verify(digest)
    with pytest.raises(Refusal):
        store.local(digest)


def test_a_damaged_package_is_never_copied_into_the_cache(
    store: PackageStore, package: Path, damage: Callable[..., None], tmp_path: Path
) -> None:
    digest = store.put(package)
    damage("model.onnx", b"forged!" * 1000)
    if (tmp_path / "store").exists():
        assert not store.verify(digest)
        return
    with pytest.raises(Refusal):
        store.local(digest)
    assert list((tmp_path / "cache").glob("*")) == []


def _forge(copy: Path) -> None:
    (copy / "model.onnx").chmod(0o644)
    (copy / "model.onnx").write_bytes(b"forged!" * 1000)


def _link_away(copy: Path) -> None:
    shutil.move(copy, copy.with_name("elsewhere"))
    copy.symlink_to(copy.with_name("elsewhere"))


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[PackageStore]:
    """A store that is not on this machine."""
    name = f"/store-{uuid.uuid4().hex}"
    yield PackageStore(f"memory:/{name}", tmp_path / "cache")
    fsspec.filesystem("memory").rm(name, recursive=True)


@pytest.mark.parametrize(
    "tamper",
    [
        _forge,
        _link_away,
        lambda copy: (copy / "model.onnx").unlink(),
        lambda copy: (copy / "more.py").write_text("import os"),
        lambda copy: (copy / "link").symlink_to("/etc/passwd"),
        lambda copy: (shutil.rmtree(copy), copy.write_text("a file")),
    ],
)
def test_a_cached_copy_that_was_changed_is_replaced_before_it_is_handed_out(
    remote: PackageStore, package: Path, tamper: Callable[[Path], object], tmp_path: Path
) -> None:
    digest = remote.put(package)
    old = remote.local(digest)
    assert remote.local(digest) == old, "a whole copy is kept"
    tamper(old)
    fresh = remote.local(digest)
    assert digest_tree(tree_files(fresh)) == digest
    assert fresh != old, "links into the old copy are known to be old"
    assert not old.exists()
    assert remote.local(digest) == fresh
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {fresh.name, "elsewhere"}


def test_a_changed_copy_of_a_package_that_is_damaged_too_is_refused(
    remote: PackageStore, package: Path, tmp_path: Path
) -> None:
    digest = remote.put(package)
    _forge(remote.local(digest))
    files, root = remote._open()
    files.pipe_file(f"{root}/sha256/{digest[7:9]}/{digest[7:]}/model.onnx", b"forged!" * 1000)
    with pytest.raises(Refusal) as refused:
        remote.local(digest)
    assert refused.value.code == "package-damaged"
    assert list((tmp_path / "cache").iterdir()) == []


def test_links_into_a_cached_copy_that_was_changed_are_placed_anew(remote: PackageStore, package: Path, tmp_path: Path) -> None:
    digest = remote.put(package)
    (tmp_path / "repository").mkdir()
    folder = ModelFolder(tmp_path / "repository", copies=False, system="srv")
    assert folder.place("delay", 1, Packaged(digest, remote.local(digest)))
    assert not folder.place("delay", 1, Packaged(digest, remote.local(digest)))
    _forge(remote.local(digest))
    assert folder.place("delay", 1, Packaged(digest, remote.local(digest)))
    assert folder.digest("delay", 1) == digest


def test_a_crash_before_the_list_leaves_nothing_that_is_believed(
    store: PackageStore, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PackageStore, "_write_list", crash)
    with pytest.raises(KeyboardInterrupt):
        store.put(package)
    digest = digest_tree(tree_files(package))
    assert not store.holds(digest)
    assert not store.verify(digest)
    monkeypatch.undo()
    assert store.put(package) == digest
    assert store.verify(digest)


def test_many_at_once_store_one_package(url: str, package: Path, tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda n=number: found.append(PackageStore(url, tmp_path / f"c{n}").put(package)))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [digest_tree(tree_files(package))] * 8
    assert PackageStore(url, tmp_path / "cache").verify(found[0])


@pytest.mark.parametrize("digest", ["", "latest", "sha256:../../etc", "sha256:" + "A" * 64, "../x"])
def test_what_is_no_digest_is_refused(store: PackageStore, digest: str) -> None:
    with pytest.raises(Refusal) as refused:
        store.local(digest)
    assert refused.value.code == "bad-digest"


def test_an_unknown_package_is_refused_with_what_to_do(store: PackageStore) -> None:
    with pytest.raises(Refusal) as refused:
        store.local(UNKNOWN)
    assert refused.value.code == "package-missing"
    assert "Propose" in refused.value.remedy
    assert not store.verify(UNKNOWN)


def test_links_emptiness_and_excess_are_refused(
    store: PackageStore, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refusal):
        store.put(tmp_path / "empty")
    monkeypatch.setattr(store_module, "MAX_FILES", 1)
    with pytest.raises(Refusal):
        store.put(package)
    monkeypatch.undo()
    (package / "link").symlink_to("/etc/passwd")
    with pytest.raises(Refusal, match="link"):
        store.put(package)


def test_reading_is_bounded_and_stays_inside(store: PackageStore, package: Path) -> None:
    digest = store.put(package)
    for path, limit in (("model.onnx", 10), ("../x", 10**6), ("absent", 10**6)):
        with pytest.raises(Refusal):
            store.read(digest, path, limit)


def test_a_store_that_cannot_be_written_is_an_external_failure(package: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ExternalFailure):
        PackageStore((tmp_path / "file" / "store").as_uri(), tmp_path / "cache").put(package)


def test_a_store_that_was_taken_away_says_so(package: Path, tmp_path: Path) -> None:
    store = PackageStore((tmp_path / "store").as_uri(), tmp_path / "cache")
    digest = store.put(package)
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(Refusal):
        store.local(digest)
