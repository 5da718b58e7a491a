"""Ports that nobody else gets, the second try when somebody did, and runtimes that are missing."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from backend.core.errors import ExternalFailure, Refusal
from backend.embedded import platform, ports, runtimes
from backend.embedded.kept_ports import PORTS_FILE, KeptPorts
from backend.embedded.launch import EndedEarlyError, Probe, launch
from backend.embedded.platform import Shortfall
from backend.embedded.ports import LOOPBACK, Ports, candidate_range, taken
from backend.embedded.specs import Spec
from backend.embedded.supervisor import Supervisor

SERVE = """
import http.server, sys
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.BaseHTTPRequestHandler).serve_forever()
"""


def bound(port: int) -> socket.socket:
    listener = socket.create_server((LOOPBACK, port))
    listener.settimeout(1)
    return listener


def test_ports_are_bound_then_free_but_still_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Ports(2)
    assert taken(first.numbers)
    first.release()
    assert not taken(first.numbers)
    low = min(first.numbers)
    monkeypatch.setattr(ports, "candidate_range", lambda: range(low, low + 1))
    with pytest.raises(ExternalFailure, match="no 1 free ports"):
        Ports(1)
    first.close()
    again = Ports(1)
    assert again.numbers == (low,)
    again.close()


def test_ports_lie_outside_the_kernels_own_range() -> None:
    low, high = (int(word) for word in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert all(port < low or port > high for port in candidate_range())


@pytest.mark.parametrize(
    ("ephemeral", "expected"),
    [
        ("32768\t60999\n", range(10_240, 32_768)),
        ("10000 20000", range(20_001, 65_535)),
        ("1024 65535", range(10_240, 65_535)),
    ],
)
def test_candidates_keep_clear_of_any_ephemeral_range(
    ephemeral: str, expected: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "range"
    source.write_text(ephemeral)
    monkeypatch.setattr(ports, "_EPHEMERAL", source)
    assert candidate_range() == expected


def server(tmp_path: Path, number: int) -> tuple[Spec, Probe]:
    def ready(client: httpx.Client) -> bool:
        return client.get(f"http://{LOOPBACK}:{number}/").headers["server"].startswith("BaseHTTP")

    return Spec("web", (sys.executable, "-I", "-c", SERVE, str(number)), {}, tmp_path), ready


def test_a_port_snatched_before_the_start_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snatched: list[socket.socket] = []
    release = Ports.release

    def release_to_a_thief(self: Ports) -> None:
        release(self)
        if not snatched:
            snatched.append(bound(self.numbers[0]))

    monkeypatch.setattr(Ports, "release", release_to_a_thief)
    with Supervisor(tmp_path) as group:
        child, (number,) = launch(group, "web", 1, lambda numbers: server(tmp_path, numbers[0]), 10)
        assert child.alive()
        assert number != snatched[0].getsockname()[1]
    snatched[0].close()


def started(folder: Path, count: int = 1) -> tuple[tuple[int, ...], list[str]]:
    """The ports at which a child answers in a group of its own in this folder, and what is said of them."""
    with Supervisor(folder) as group:
        _, numbers = launch(group, "web", count, lambda numbers: server(folder, numbers[0]), 10)
        told = group.moves()
        assert group.moves() == [], "told once"
    return numbers, told


@pytest.mark.parametrize("place", [0, 1])
def test_a_group_that_is_started_again_has_its_ports_again(tmp_path: Path, place: int) -> None:
    first, _ = started(tmp_path, 2)
    assert started(tmp_path, 2) == (first, [])
    with bound(first[place]):
        second, told = started(tmp_path, 2)
    assert (second[1 - place], second[place] != first[place]) == (first[1 - place], True)
    assert told == [f"Somebody else has port {first[place]}, where web was: it is at {second[place]} from now on."]
    assert started(tmp_path, 2) == (second, [])


def test_a_port_whose_connections_are_only_closing_is_had_again(tmp_path: Path) -> None:
    """Where it is not, somebody else of this machine took it in between, which is seen, and not each time."""
    for _ in range(5):
        before, after = _closing_then_asked_for_again()
        if after == before:
            return
        assert taken(before), "nobody has it, and yet it was not had again"
    pytest.fail("somebody else took it five times")


def _closing_then_asked_for_again() -> tuple[tuple[int, ...], tuple[int, ...]]:
    held = Ports(1)
    held.close()
    with bound(held.numbers[0]) as listener, socket.create_connection((LOOPBACK, held.numbers[0])) as caller:
        served, _ = listener.accept()
        served.close()  # first, so that its end of the connection lingers at this port
        assert caller.recv(1) == b""
    again = Ports(1, held.numbers)
    again.close()
    return held.numbers, again.numbers


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"web": 1}', '{"web": ["1"]}', '{"web": [80]}', '{"web": [true]}', '{"web": [70000]}']
)
def test_a_file_of_ports_that_is_none_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / PORTS_FILE).write_text(text)
    kept = KeptPorts(tmp_path)
    assert kept.of("web") == ()
    kept.keep("web", (20_000,))
    assert KeptPorts(tmp_path).of("web") == (20_000,)


def test_a_child_that_fails_for_another_reason_is_not_tried_again(tmp_path: Path) -> None:
    starts: list[int] = []

    def broken(numbers: tuple[int, ...]) -> tuple[Spec, Probe]:
        starts.extend(numbers)
        return Spec("web", (sys.executable, "-I", "-c", "import sys; sys.exit(3)"), {}, tmp_path), lambda client: False

    with Supervisor(tmp_path) as group, pytest.raises(EndedEarlyError, match="ended with 3"):
        launch(group, "web", 1, broken, 10)
    assert len(starts) == 1


def test_a_claim_holds_against_other_processes() -> None:
    free = []
    for _ in range(3):  # somebody else may claim one of them as soon as it is free
        held = Ports(1)
        held.release()
        code = f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind('\\0countersign-port-{held.numbers[0]}')"
        assert (
            b"Address already in use" in subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr
        )
        held.close()
        free.append(subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0)
    assert any(free)


@pytest.mark.parametrize("find", [runtimes.triton, runtimes.envoy])
def test_a_missing_runtime_is_refused_and_says_what_to_do(find: object, tmp_path: Path) -> None:
    assert callable(find)
    with pytest.raises(Refusal) as refused:
        find(tmp_path)
    assert refused.value.code == "runtime-missing"
    assert "make setup" in refused.value.remedy


def test_a_machine_that_cannot_run_triton_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = [Shortfall("glibc is 2.31.", "The binary needs 2.35 or newer (Debian 12).")]
    monkeypatch.setattr(runtimes, "triton_shortfalls", lambda machine: lacking)
    with pytest.raises(Refusal, match=r"cannot run on this machine: glibc is 2\.31\. .* add a server") as refused:
        runtimes.triton(tmp_path)
    assert refused.value.code == "runtime-platform"


def test_the_runtimes_lie_beside_the_project_unless_configured(tmp_path: Path) -> None:
    assert runtimes.folder().name == ".runtimes"
    assert (runtimes.folder().parent / "backend").is_dir()
    assert runtimes.folder(tmp_path) == tmp_path
    assert platform.inspect().system == "linux"
