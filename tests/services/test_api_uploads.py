"""Uploads by the API: taken block by block, bounded, once for each key, and in the ledger by the request that began them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from sqlmodel import select

from backend.api.guard import MOST_BYTES
from backend.core.database import Database
from backend.core.ledger import LedgerRow
from tests.api_world import Api
from tests.services.changes.world import World
from tests.services.registry.worlds import FILES, archive

pytestmark = pytest.mark.parametrize("real_time_database", ["sqlite"], indirect=True)


@pytest.fixture
def asked(real_time_database: Database, tmp_path: Path) -> Iterator[Api]:
    opened = Api(World(real_time_database), tmp_path / "data")
    yield opened
    opened.close()


def upload(asked: Api, content: Any, *, by: str = "ana", **headers: str) -> Response:
    told = {"authorization": f"Bearer {asked.token(by)}", "content-type": "application/octet-stream"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    path = "/models/fresh/uploads?file=model.zip&description=Retrained"
    answer = asked.client.post(f"/v1{path}", content=content, headers=told)
    asked.check("POST", path, answer)
    return answer


def large(tmp_path: Path) -> bytes:
    """Larger than any other body may be: its bytes cannot be packed."""
    noise = random.Random(1).randbytes(MOST_BYTES * 2)
    return archive(tmp_path / "model.zip", {**FILES, "noise.bin": noise}).read_bytes()


def test_an_archive_larger_than_other_bodies_is_taken_and_its_intake_tells_the_rest(asked: Api, tmp_path: Path) -> None:
    content = large(tmp_path)
    answer = upload(
        asked, (content[start : start + 65_536] for start in range(0, len(content), 65_536)), x_request_id="build-77"
    )
    assert (answer.status_code, answer.headers["location"]) == (202, f"/api/v1/intakes/{answer.json()['id']}")
    told = asked.backend.intake.wait(answer.json()["id"])
    assert (told.state, told.kind, told.file) == ("done", "upload", "model.zip"), told
    assert asked("GET", f"/intakes/{told.id}")["number"] == told.number
    with asked.backend.database.read() as session:
        rows = session.exec(select(LedgerRow).where(LedgerRow.request_id == "build-77")).all()
    assert "version.register" in {row.action for row in rows}, "what goes on after the answer belongs to the request too"


def test_one_key_uploads_once_and_another_archive_under_it_is_refused(asked: Api, tmp_path: Path) -> None:
    content = archive(tmp_path / "model.zip").read_bytes()
    first, again = (upload(asked, content, idempotency_key="build-7") for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    other = archive(tmp_path / "other.zip", {**FILES, "note.txt": b"other"}).read_bytes()
    assert upload(asked, other, idempotency_key="build-7").json()["code"] == "key-used"
    told = upload(asked, (b for b in (content,)), idempotency_key="build-7", content_type="application/json")
    assert told.json()["id"] == first.json()["id"], "its bytes are taken as they come, whatever type they are called"
    asked.backend.intake.wait(first.json()["id"])


def test_who_may_not_and_what_is_too_large_is_refused_before_it_is_kept(asked: Api) -> None:
    def never() -> Iterator[bytes]:
        yield b"x"

    assert upload(asked, never(), by="ben").json()["code"] == "not-allowed"
    settings = asked.backend.settings.model_copy(update={"upload_max_bytes": 1_000})
    object.__setattr__(asked.backend, "settings", settings)
    refused = upload(asked, b"x" * 1_001)
    assert (refused.status_code, refused.json()["code"]) == (413, "too-large")
    assert not list((asked.backend.settings.data_dir / "uploads").glob("*"))
