"""The process group: it never outlives its owner, ends the disobedient, restarts the fallen, and bounds its logs."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from backend.core.errors import ExternalFailure, Refusal
from backend.embedded import supervisor as owner_side
from backend.embedded.launch import wait_ready
from backend.embedded.processes import Identity, descendants, identify, is_alive
from backend.embedded.specs import Restart, Spec
from backend.embedded.state import read_state, stop_group
from backend.embedded.supervisor import Child, Supervisor

GONE_SECONDS = 8.0

# A child that ignores SIGTERM and has a child of its own that left its session and ignores SIGTERM too.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("up", flush=True)
time.sleep(600)
"""

# An owner that starts two stubborn children and then waits to be killed.
OWNER = """
import sys, time
from pathlib import Path
from backend.embedded.supervisor import Supervisor
from tests.services.embedded.test_supervisor import python_spec, STUBBORN
group = Supervisor(Path(sys.argv[1]))
group.open()
for name in ("one", "two"):
    group.start(python_spec(name, STUBBORN, Path(sys.argv[1]), stop_grace_seconds=0.3))
if "keep" in sys.argv:
    group.keep()
if "fork" in sys.argv:
    import os
    if os.fork() == 0:
        time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""


def python_spec(name: str, code: str, cwd: Path, **more: object) -> Spec:
    """A child that runs `code` in a bare Python."""
    return Spec(name, (sys.executable, "-I", "-c", code), {"PATH": "/usr/bin:/bin"}, cwd, **more)  # type: ignore[arg-type]


def eventually(holds: Callable[[], object], seconds: float = GONE_SECONDS) -> bool:
    """Whether `holds` becomes true in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def tree(pid: int) -> set[Identity]:
    """Everything below `pid`."""
    found = (identify(process.pid) for process in descendants(pid))
    return {identity for identity in found if identity}


def tree_of(folder: Path) -> set[Identity]:
    """Every process of the group in `folder`."""
    state = read_state(folder)
    assert state is not None
    return {state.keeper} | tree(state.keeper.pid)


def replaced(child: Child, pid: int) -> bool:
    return child.pid != pid


def all_gone(processes: set[Identity]) -> bool:
    return not any(is_alive(process) for process in processes)


class Owner:
    """An owner in a process of its own, with two stubborn children of three processes each, in `folder`."""

    def __init__(self, folder: Path, *how: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(folder), *how],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        state = read_state(folder)
        assert state is not None
        self.keeper = state.keeper
        assert eventually(lambda: len(self.group()) == 8)  # keeper, supervisor, two children, four grandchildren
        self.members = self.group()

    def group(self) -> set[Identity]:
        return {self.keeper} | tree(self.keeper.pid)

    @property
    def supervisor(self) -> int:
        return descendants(self.keeper.pid)[0].pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def survivors(self) -> list[Identity]:
        return [identity for identity in self.members if is_alive(identity)]


@pytest.fixture
def owner(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Owner]:
    started = Owner(tmp_path, *getattr(request, "param", ()))
    yield started
    started.kill()
    stop_group(tmp_path)
    for survivor in started.survivors():
        os.kill(survivor.pid, signal.SIGKILL)


def test_owner_killed_leaves_nothing(owner: Owner) -> None:
    owner.kill()
    assert eventually(lambda: not owner.survivors()), owner.survivors()


def test_supervisor_killed_leaves_nothing(owner: Owner) -> None:
    os.kill(owner.supervisor, signal.SIGKILL)
    assert eventually(lambda: not owner.survivors()), owner.survivors()


def test_keeper_killed_leaves_nothing(owner: Owner) -> None:
    os.kill(owner.keeper.pid, signal.SIGKILL)
    assert eventually(lambda: not owner.survivors()), owner.survivors()


def test_owner_and_supervisor_killed_together_leave_nothing(owner: Owner) -> None:
    os.kill(owner.supervisor, signal.SIGKILL)
    owner.kill()
    assert eventually(lambda: not owner.survivors()), owner.survivors()


def test_keeper_and_supervisor_killed_together_take_the_direct_children_along(owner: Owner) -> None:
    direct = {identify(process.pid) for process in descendants(owner.supervisor) if process.parent == owner.supervisor}
    assert len(direct) == 2
    os.kill(owner.keeper.pid, signal.SIGSTOP)  # else it would do the work
    os.kill(owner.supervisor, signal.SIGKILL)
    os.kill(owner.keeper.pid, signal.SIGKILL)
    assert eventually(lambda: not [one for one in direct if one and is_alive(one)])


@pytest.mark.parametrize("owner", [("fork",)], indirect=True)
def test_owner_killed_while_a_fork_of_it_holds_the_channel_open(owner: Owner) -> None:
    copies = tree(owner.process.pid) - owner.members
    owner.kill()
    assert eventually(lambda: not owner.survivors()), owner.survivors()
    for copy in copies:
        os.kill(copy.pid, signal.SIGKILL)


@pytest.mark.parametrize("owner", [("keep",)], indirect=True)
def test_kept_group_outlives_its_owner_and_is_stopped_exactly(owner: Owner) -> None:
    owner.kill()
    time.sleep(0.5)
    assert set(owner.survivors()) == owner.members
    state = read_state(owner.folder)
    assert state is not None
    assert state.kept
    assert state.alive
    command = [sys.executable, "-m", "backend.embedded.stop", str(owner.folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert owner.survivors() == []
    assert subprocess.run(command, env=environment, check=False).returncode == 1


def test_a_kept_group_can_still_be_stopped_by_its_owner_and_in_order(tmp_path: Path) -> None:
    group = Supervisor(tmp_path)
    group.open()
    group.start(python_spec("child", "import time; time.sleep(600)", tmp_path))
    assert str(tmp_path) in group.keep()
    members = tree_of(tmp_path)
    group.stop()
    assert all_gone(members)
    assert "ended with -15: stopped" in (tmp_path / "supervisor.log").read_text()


def test_leaving_the_block_leaves_a_kept_group_to_others(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as group:
        group.start(python_spec("child", "import time; time.sleep(600)", tmp_path))
        group.keep()
    members = tree_of(tmp_path)
    assert len(members) == 3
    assert stop_group(tmp_path)
    assert all_gone(members)


def test_a_folder_that_vanishes_costs_the_logs_but_not_the_servers(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    code = "import time\nfor n in range(600): print('x' * 999, flush=True); time.sleep(0.01)"
    with Supervisor(folder, log_bytes=5_000) as group:
        child = group.start(python_spec("chatty", code, tmp_path))
        shutil.rmtree(folder)
        time.sleep(0.5)
        assert child.alive()
        pid = child.pid
    assert identify(pid or 0) is None


def test_a_late_answer_is_not_taken_for_the_next(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as group:
        child = group.start(python_spec("child", "import time; time.sleep(600)", tmp_path))
        pid = child.pid or 0
        supervisor = descendants(group_keeper(tmp_path))[0].pid
        assert group._channel is not None
        group._channel.settimeout(0.1)
        os.kill(supervisor, signal.SIGSTOP)
        with pytest.raises(ExternalFailure, match="does not answer"):
            group.status()
        os.kill(supervisor, signal.SIGCONT)
        group._channel.settimeout(10)
        assert select.select([group._channel], [], [], 5)[0]  # the late answer is there and says `running`
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: read_state(tmp_path).children[0].state == "failed")  # type: ignore[union-attr]
        assert not child.alive()


def group_keeper(folder: Path) -> int:
    state = read_state(folder)
    assert state is not None
    return state.keeper.pid


def test_stopping_never_hits_a_stranger_with_a_reused_process_id(tmp_path: Path) -> None:
    with Supervisor(tmp_path):
        pass
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        state = (tmp_path / "group.json").read_text()
        old = read_state(tmp_path)
        assert old is not None
        (tmp_path / "group.json").write_text(state.replace(f'"pid": {old.keeper.pid}', f'"pid": {stranger.pid}'))
        assert stop_group(tmp_path) is False
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_leaving_the_block_ends_the_disobedient_after_their_grace(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as group:
        child = group.start(python_spec("stubborn", STUBBORN, tmp_path, stop_grace_seconds=0.5))
        assert child.alive()
        assert eventually(lambda: len(tree(child.pid or 0)) == 2)
        members = tree_of(tmp_path)
        before = time.monotonic()
    assert 0.5 <= time.monotonic() - before < 4
    assert [identity for identity in members if is_alive(identity)] == []
    assert not child.alive()
    assert not group.running
    state = read_state(tmp_path)
    assert state is not None
    assert [(one.name, one.state, one.exit) for one in state.children] == [("stubborn", "stopped", -signal.SIGKILL)]


def test_an_obedient_child_is_given_its_signal_and_its_time(tmp_path: Path) -> None:
    code = """
import os, signal, sys, time
def leave(*_):
    time.sleep(0.3)
    os.write(1, b"left in order\\n")  # print may be in the middle of its own
    sys.exit(7)
signal.signal(signal.SIGINT, leave)
print("up", flush=True)
time.sleep(600)
"""
    with Supervisor(tmp_path) as group:
        child = group.start(python_spec("obedient", code, tmp_path, stop_signal=signal.SIGINT))
        assert eventually(lambda: "up" in child.log.read_text())
        child.stop()
        assert (child.state.state, child.state.exit) == ("stopped", 7)
        assert not child.alive()
        assert "left in order" in child.log.read_text()
        assert group.start(python_spec("obedient", code, tmp_path)).alive()


def test_a_hung_supervisor_is_ended_by_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_side, "_STOP_MARGIN_SECONDS", 0.5)
    group = Supervisor(tmp_path)
    group.open()
    group.start(python_spec("stubborn", STUBBORN, tmp_path, stop_grace_seconds=0.1))
    state = read_state(tmp_path)
    assert state is not None
    members = tree_of(tmp_path)
    os.kill(descendants(state.keeper.pid)[0].pid, signal.SIGSTOP)
    group.stop()
    assert [identity for identity in members if is_alive(identity)] == []


def test_a_fallen_child_is_restarted_without_its_orphans_until_it_fell_too_often(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as group:
        restart = Restart(limit=2, first_seconds=0.1, cap_seconds=0.1)
        child = group.start(python_spec("falling", STUBBORN, tmp_path, restart=restart))
        for fall in range(3):
            assert eventually(lambda: child.alive() and len(tree(child.pid or 0)) == 2)
            assert child.state.restarts == fall
            pid = child.pid or 0
            same_session = {one for one in tree(pid) if os.getsid(one.pid) == pid}
            os.kill(pid, signal.SIGKILL)
            assert eventually(partial(replaced, child, pid))
            assert eventually(partial(all_gone, same_session))
        assert eventually(lambda: child.state.state == "failed")
        assert (child.state.exit, child.state.restarts, child.pid) == (-signal.SIGKILL, 2, None)
        seen = read_state(tmp_path)
        assert seen is not None
        assert seen.children[0].state == "failed"


@pytest.mark.parametrize(("ends", "pause"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, None)])
def test_restart_pauses_double_up_to_their_cap(ends: int, pause: float | None) -> None:
    assert Restart(limit=4, first_seconds=1.0, cap_seconds=5.0).pause(ends) == pause


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as group:
        thread = threading.Thread(target=lambda: group.start(python_spec("child", "import time; time.sleep(600)", tmp_path)))
        thread.start()
        thread.join()
        time.sleep(0.3)
        assert group.status()["child"].state == "running"


def test_a_child_gets_only_the_environment_of_its_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_SECRET_FOR_THIS_TEST", "x")
    with Supervisor(tmp_path) as group:
        child = group.start(python_spec("env", "import os; print(sorted(os.environ), flush=True)", tmp_path))
        assert eventually(lambda: "]" in child.log.read_text())
        assert "COUNTERSIGN" not in child.log.read_text()
        assert "PYTHONPATH" not in child.log.read_text()


def test_logs_are_bounded(tmp_path: Path) -> None:
    code = "for number in range(20000): print(f'line {number:06d}')\nimport time; print('end', flush=True); time.sleep(600)"
    with Supervisor(tmp_path, log_bytes=20_000) as group:
        child = group.start(python_spec("chatty", code, tmp_path))
        assert eventually(lambda: "end" in child.log.read_text())
        files = sorted(tmp_path.glob("chatty.log*"))
    assert [file.name for file in files] == ["chatty.log", "chatty.log.1", "chatty.log.2"]
    assert sum(file.stat().st_size for file in files) < 3 * (20_000 + 66_000)
    assert files[2].read_bytes().endswith(b"\n")


def test_files_that_a_child_writes_itself_are_turned(tmp_path: Path) -> None:
    own = tmp_path / "own.log"
    code = f"""
import signal, time
file = open({str(own)!r}, "a")
def reopen(*_):
    global file
    file = open({str(own)!r}, "a")
signal.signal(signal.SIGUSR1, reopen)
while True:
    file.write("x" * 999 + "\\n"); file.flush(); time.sleep(0.005)
"""
    with Supervisor(tmp_path, log_bytes=20_000) as group:
        group.start(python_spec("writer", code, tmp_path, reopened_logs=(own,)))
        turned = own.with_name("own.log.1")
        assert eventually(turned.exists)
        assert eventually(lambda: own.exists() and own.stat().st_size > 0)
        before = turned.stat().st_size
        time.sleep(0.1)
        assert turned.stat().st_size == before


def test_shared_memory_of_a_killed_child_is_removed(tmp_path: Path) -> None:
    prefix = f"countersign-test-{os.getpid()}"
    left, foreign = Path("/dev/shm", f"{prefix}-region"), Path("/dev/shm", f"other-{prefix}")
    code = f"open({str(left)!r}, 'w').close(); import time; time.sleep(600)"
    foreign.touch()
    try:
        with Supervisor(tmp_path) as group:
            child = group.start(python_spec("shm", code, tmp_path, shm_prefix=prefix))
            assert eventually(left.exists)
            os.kill(child.pid or 0, signal.SIGKILL)
            assert eventually(lambda: not left.exists())
        assert foreign.exists()
    finally:
        foreign.unlink()


def test_never_ready_names_the_log(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as group:
        child = group.start(python_spec("slow", "import time; time.sleep(600)", tmp_path))
        with pytest.raises(ExternalFailure, match=r"slow was not ready within 0\.3 s; the end of .*slow\.log says why"):
            wait_ready(child, lambda client: False, 0.3)


def test_ended_before_ready_names_the_log_and_the_exit_code(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as group:
        child = group.start(python_spec("broken", "import sys; sys.exit('no such model')", tmp_path))
        with pytest.raises(ExternalFailure, match=r"broken ended with 1 before it was ready; the end of .*broken\.log"):
            wait_ready(child, lambda client: False, 5)
        assert "no such model" in child.log.read_text()


def test_a_program_that_does_not_exist_is_said_so(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as group, pytest.raises(ExternalFailure, match="No such file"):
        group.start(Spec("ghost", ("/nonexistent/program",), {}, tmp_path))


def test_one_name_runs_once_and_a_stopped_group_starts_nothing(tmp_path: Path) -> None:
    spec = python_spec("only", "import time; time.sleep(600)", tmp_path)
    with Supervisor(tmp_path) as group:
        group.start(spec)
        with pytest.raises(Refusal) as twice:
            group.start(spec)
        assert twice.value.code == "child-running"
    with pytest.raises(Refusal) as stopped:
        group.start(spec)
    assert stopped.value.code == "group-stopped"


def test_one_folder_holds_one_group(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as first:
        child = first.start(python_spec("only", "import time; time.sleep(600)", tmp_path))
        with pytest.raises(Refusal) as second, Supervisor(tmp_path):
            pass
        assert second.value.code == "group-running"
        assert "backend.embedded.stop" in second.value.remedy
        assert child.alive()
    with Supervisor(tmp_path) as again:
        assert again.running


@pytest.mark.parametrize("name", ["", "../evil", "A", "-x"])
def test_a_name_that_is_no_file_name_is_a_defect(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lower-case word"):
        Spec(name, ("/bin/true",), {}, tmp_path)


def test_the_environment_is_never_shown(tmp_path: Path) -> None:
    assert "hidden" not in repr(Spec("child", ("/bin/true",), {"KEY": "hidden"}, tmp_path))
