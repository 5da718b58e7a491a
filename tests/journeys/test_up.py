"""`countersign up` and `countersign ui`: one group, one address, a plain word about a taken port, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from sqlmodel import col, select

from backend.core.ledger import LedgerRow
from backend.policy import service as policy
from tests.whole_stack import WholeStack, started

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2-of-mlflow"


def environment(**settings: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COUNTERSIGN_", "STREAMLIT_"))}
    told = {f"COUNTERSIGN_{name.upper()}": value for name, value in settings.items()}
    return kept | told | {"PYTHONPATH": str(ROOT)}


@contextmanager
def running(folder: Path, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """A command of countersign; its words go to `said`, its answer to `answer`."""
    command = [sys.executable, "-m", "backend.cli.main", *arguments]
    with (folder / "said").open("w") as said, (folder / "answer").open("w") as answer:
        process = subprocess.Popen(command, cwd=folder, env=environment(**settings), stdout=answer, stderr=said, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=60)


def wait_for(process: subprocess.Popen[str], folder: Path, pattern: str, file: str = "said") -> re.Match[str]:
    until = time.monotonic() + 120
    while (found := re.search(pattern, (folder / file).read_text())) is None:
        assert process.poll() is None, (folder / "said").read_text()
        assert time.monotonic() < until, (folder / "said").read_text()
        time.sleep(0.1)
    return found


def below(folder: Path) -> list[int]:
    """Processes that work in or on a folder."""
    found = []
    for one in psutil.process_iter(["pid", "cmdline", "environ"]):
        words = [*(one.info["cmdline"] or ()), (one.info["environ"] or {}).get("COUNTERSIGN_DATA_DIR", "")]
        if any(str(folder) in word for word in words):
            found.append(one.info["pid"])
    return found


def test_up_serves_pages_api_and_worker_and_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = {"mlflow_url": "http://127.0.0.1:9", "mlflow_token": SECRET, "demo_identities": "true", "log_level": "DEBUG"}
    with running(tmp_path, "up", "--data", str(data), "--port", "0", "--json", **settings) as process:
        url = wait_for(process, tmp_path, r"Open (http://\S+)")[1]
        told = json.loads(wait_for(process, tmp_path, r"\{.*\}\n", "answer")[0])
        assert told["web"] == url
        assert httpx.get(f"{url}/api/v1/ready", trust_env=False, timeout=60).json()["ready"] is True
        assert httpx.get(f"{url}/api/v1/models", trust_env=False, timeout=60).status_code == 401
        assert "<title>" in httpx.get(url, trust_env=False, timeout=60).text
        assert len(below(data)) >= 3
        with running(data, "up", "--data", str(tmp_path / "other"), "--port", url.rpartition(":")[2]) as second:
            assert second.wait(timeout=60) == 2
            assert re.search(r"Port \d+ of this machine is taken\. .*`--port`", (data / "said").read_text())
        assert not (tmp_path / "other").exists()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert "Stopping" in (tmp_path / "said").read_text()
    assert below(data) == []
    logs = {each.name: each.read_text() for each in (data / "runtimes").glob("*.log")}
    assert logs.keys() >= {"web.log", "worker.log", "supervisor.log"}
    assert not any(SECRET in text for text in [*logs.values(), (tmp_path / "said").read_text()])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_that_is_started_again_goes_on_where_it_was(tmp_path: Path) -> None:
    """Two votes are asked for, and one was given: after the restart it still counts, and the addresses are the same."""
    with started(tmp_path) as stack:
        first, number = dict(stack.told), stack.told["change"]
        with stack.backend.database.read() as session:
            two = policy.in_force(session, "production").policy.model_copy(update={"approvals_needed": 2})
        stack.backend.policies.set_policy(stack.actor("otto"), "production", two)
        stack.until(lambda: stack.change(number).state == "suspended", "it is drawn under another policy now")
        stack.backend.changes.rebase(stack.actor("ana"), number)
        stack.until(lambda: not stack.change(number).state_reason, "its checks have passed")
        row = stack.change(number)
        stack.backend.changes.approve(stack.actor("ben"), number, plan_digest=row.plan_digest, base_digest=row.base_digest)
        before, told, generations = stack.change(number), ledger(stack, number), stack.generations()
        assert (before.state, stack.votes(number)) == ("review", ["approve"])
    with started(tmp_path) as stack:
        assert dict(stack.told) == first, "the addresses and the change that waits"
        assert "raining" not in (tmp_path / "said").read_text()
        assert stack.answers() == {"1": 12}
        after = stack.change(number)
        held = ("state", "plan_digest", "base_digest", "policy")
        assert [getattr(after, one) for one in held] == [getattr(before, one) for one in held]
        assert (stack.votes(number), stack.generations(), stack.endpoint().state) == (["approve"], generations, "in_sync")
        assert [one for one in ledger(stack, number) if one != "change.wait"] == [one for one in told if one != "change.wait"]


def ledger(stack: WholeStack, number: int) -> list[str]:
    """What was ever done to a change."""
    with stack.backend.database.read() as session:
        mine = select(LedgerRow.action).where(LedgerRow.subject_id == stack.change(number).id).order_by(col(LedgerRow.seq))
        return list(session.exec(mine))


def test_ctrl_c_ends_it_also_while_it_still_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(tmp_path, "up", "--data", str(data), "--port", "0", mlflow_url="http://127.0.0.1:9") as process:
        wait_for(process, tmp_path, "Starting the web app")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert "Stopped." in (tmp_path / "said").read_text()
    assert below(data) == []


@pytest.mark.slow
def test_ui_becomes_the_web_app_and_listens_on_loopback_alone(tmp_path: Path) -> None:
    with running(tmp_path, "ui", "--host", "0.0.0.0", "--port", "0", data_dir=str(tmp_path)) as process:
        assert process.wait(timeout=60) == 2
        assert "will not listen on 0.0.0.0" in (tmp_path / "said").read_text()
    with running(tmp_path, "ui", "--data", str(tmp_path / "data"), "--port", "0") as process:
        url = wait_for(process, tmp_path, r"URL: (http://\S+)", "answer")[1]
        assert httpx.get(f"{url}/api/v1/ready", trust_env=False, timeout=60).json() == {"ready": False, "lacks": "no-database"}
        assert not (tmp_path / "data").exists(), "a look makes no database"
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def test_a_port_that_somebody_has_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with running(tmp_path, "up", "--demo", "--data", str(tmp_path / "data"), "--port", port, "--json") as process:
            assert process.wait(timeout=60) == 2
    assert json.loads((tmp_path / "answer").read_text())["error"]["code"] == "port-taken"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    with running(tmp_path, "up", "--port", port) as process:
        assert process.wait(timeout=60) == 2


def test_the_web_apps_log_holds_no_secret_whichever_library_writes_it() -> None:
    program = f"""
import logging, sys
import structlog
import app.asgi
from app import wiring
from app.__main__ import main
def serve(**_):
    wiring.backend()
    structlog.get_logger().error("failed", says="got {SECRET}", exc_info=RuntimeError("{SECRET}"))
    logging.getLogger("a.library").warning("Authorization: Bearer %s", "{SECRET}")
app.asgi.app.run = serve
sys.exit(main([]))
"""
    told = environment(mlflow_url="http://127.0.0.1:9", mlflow_token=SECRET)
    done = subprocess.run([sys.executable, "-c", program], env=told, capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines if line.get("event") == "failed"] == ["failed"]
    assert done.stderr.count("***") >= 2
    assert SECRET not in done.stderr + done.stdout
