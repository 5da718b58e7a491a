"""A log line is one JSON object, says where it belongs, and holds no secret and no upstream answer."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from backend.core import context
from backend.core.errors import Refusal
from backend.settings import Settings
from backend.worker import logs

SECRET = "s3cr3t-t0ken"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Where the configured log goes; what tests share is put back afterwards."""
    root = logging.getLogger()
    before, level, handlers = structlog.get_config(), root.level, root.handlers[:]
    stream = io.StringIO()
    logs.configure("INFO", worker="w1", secrets=[SECRET], stream=stream)
    yield stream
    structlog.configure(**before)
    root.setLevel(level)
    root.handlers[:] = handlers


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_names_worker_request_and_change(written: io.StringIO) -> None:
    request, change = context.request_id.set("req_1"), context.change_id.set("chg_1")
    structlog.get_logger().info("work.begun", seconds=0.25, note="two\nlines")
    context.request_id.reset(request)
    context.change_id.reset(change)
    structlog.get_logger().debug("below the level")
    (line,) = lines(written)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "work.begun",
        "level": "info",
        "worker": "w1",
        "request_id": "req_1",
        "change_id": "chg_1",
        "seconds": 0.25,
        "note": "two\nlines",
    }


@pytest.mark.parametrize(
    "said",
    [
        {"problem": f"answered with {SECRET}"},
        {"url": f"postgresql+psycopg://user:{SECRET}@db/countersign"},
        {"url": "https://user:hunter22@mlflow.example.com/api"},
        {"header": "Authorization: Bearer abc.def.ghi"},
        {"nested": [{"body": "password=hunter22 rest"}]},
        {"password": "hunter22"},
        {"settings": {"api_key": "hunter22"}},
        {SECRET: 1},
    ],
)
def test_secrets_are_blotted_out(written: io.StringIO, said: dict[str, Any]) -> None:
    structlog.get_logger().warning("work.failed", **said)
    text = written.getvalue()
    assert not any(one in text for one in (SECRET, "hunter22", "abc.def.ghi"))
    assert "***" in text


def test_a_lease_s_token_is_no_secret(written: io.StringIO) -> None:
    structlog.get_logger().info("work.handled", token=7)
    assert lines(written)[0]["token"] == 7


def test_a_traceback_shows_frames_causes_and_only_the_beginning_of_messages(written: io.StringIO) -> None:
    def fail() -> None:
        hidden = "-".join(("a", "value"))
        try:
            raise ValueError(f"first line\n{hidden}")
        except ValueError as error:
            raise RuntimeError("x" * 1000) from error

    try:
        fail()
    except RuntimeError as error:
        structlog.get_logger().error("work.defect", exc_info=error)
    (line,) = lines(written)
    cause, _, effect = line["trace"].partition("which led to")
    assert "in fail" in cause
    assert "ValueError: first line" in cause
    assert effect.rstrip().endswith("x" * 200)
    assert "a-value" not in line["trace"]


def test_libraries_warnings_are_lines_like_ours_and_their_chatter_is_left_out(written: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET https://example.com")
    try:
        raise OSError(f"no route for {SECRET}")
    except OSError:
        logging.getLogger("apscheduler").exception("Error running %s", "job")
    (line,) = lines(written)
    assert (line["event"], line["logger"], line["level"], line["worker"]) == ("Error running job", "apscheduler", "error", "w1")
    assert "OSError: no route for ***" in line["trace"]


def test_a_log_that_cannot_be_written_stops_nobody(written: io.StringIO) -> None:
    written.close()
    structlog.get_logger().error("work.failed")
    logging.getLogger("apscheduler").error("also")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(Refusal, match="LOUD"):
        logs.configure("LOUD", worker="w")


def test_the_settings_secrets_are_known() -> None:
    settings = Settings(database_url="postgresql+psycopg://a:pw123456@db/x", mlflow_token=SECRET)
    known = logs.secrets_of(settings)
    assert SECRET in known
    assert "pw123456" in known


def test_lines_of_many_threads_are_whole(written: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream gives up the processor in the middle of each write, as a full pipe does."""

    def slow(text: str) -> int:
        for one in (text[:20], text[20:]):
            time.sleep(0.0005)
            io.StringIO.write(written, one)
        return len(text)

    monkeypatch.setattr(written, "write", slow)

    def talk(number: int) -> None:
        for _ in range(20):
            structlog.get_logger().info("ours", number=number)
            logging.getLogger("a.library").warning("theirs")

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    assert Counter(line["event"] for line in lines(written)) == {"ours": 80, "theirs": 80}
