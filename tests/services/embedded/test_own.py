"""Our own processes as children of a group: what they are given, how long they may take to end, and which port is taken."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from backend.core.errors import Refusal
from backend.embedded.kept_ports import KeptPorts
from backend.embedded.own import WEB, web_port, web_spec, worker_spec
from backend.worker.timing import Timing

SETTINGS = {"COUNTERSIGN_DATA_DIR": "/data", "COUNTERSIGN_MLFLOW_URL": "http://127.0.0.1:5000"}


def test_children_get_the_settings_and_nothing_else_of_the_owners_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COUNTERSIGN_TOKEN", "COUNTERSIGN_MLFLOW_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONSTARTUP"):
        monkeypatch.setenv(name, "of-somebody-else")
    for spec in (worker_spec(tmp_path, SETTINGS), web_spec(tmp_path, 8501, SETTINGS)):
        assert "of-somebody-else" not in spec.env.values()
        assert SETTINGS.items() <= spec.env.items()


def test_the_worker_may_end_what_it_is_doing_and_the_web_app_listens_on_loopback(tmp_path: Path) -> None:
    assert worker_spec(tmp_path, {}).stop_grace_seconds > Timing().stop
    web = web_spec(tmp_path, 8601, {})
    assert web.argv[-4:] == ("--host", "127.0.0.1", "--port", "8601")
    assert web.address == "http://127.0.0.1:8601"


def test_a_port_is_free_taken_or_found(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Refusal) as caught:
            web_port(taken.getsockname()[1], tmp_path)
        assert caught.value.code == "port-taken"
    found = web_port(0, tmp_path)
    assert web_port(found, tmp_path) == found


def test_a_port_that_was_found_is_found_again_unless_somebody_has_it(tmp_path: Path) -> None:
    found = web_port(0, tmp_path)
    KeptPorts(tmp_path).keep(WEB, (found,))
    assert web_port(0, tmp_path) == found
    with socket.create_server(("127.0.0.1", found)):
        assert web_port(0, tmp_path) != found
