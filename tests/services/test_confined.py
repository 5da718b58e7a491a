"""A process that works with what is not trusted: what it may not do, whatever library asks, and where the kernel stops it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from backend.core import confined
{before}
sys.addaudithook(confined.Confinement([{folder!r}], purpose="tests"))
try:
    {act}
except BaseException as error:
    print(type(error).__name__, error)
else:
    print("done")
"""


def said(folder: Path, act: str, before: str = "import os, socket, subprocess, ctypes") -> str:
    program = PROGRAM.format(root=str(ROOT), folder=str(folder), act=act, before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() or str(done.returncode)


def test_nothing_is_connected_to_started_written_or_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/rows").write_text("rows")
    (tmp_path / "keys").write_text("a secret")
    (tmp_path / "in/link").symlink_to(tmp_path / "keys")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        acts = {
            f"socket.create_connection(('127.0.0.1', {port}), 2)": "PermissionError connections are not for tests",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))": "PermissionError",
            "subprocess.run(['true'])": "PermissionError subprocess.Popen is not for tests",
            "os.system('true')": "PermissionError",
            "os.fork()": "PermissionError",
            "ctypes.CDLL('libc.so.6')": "PermissionError",
            f"open({str(tmp_path / 'in/new')!r}, 'w')": "PermissionError this file is not for tests",
            f"open({str(tmp_path / 'keys')!r})": "PermissionError this file is not for tests",
            f"open({str(tmp_path / 'in/link')!r})": "PermissionError this file is not for tests",
            f"open({f'/proc/{1}/environ'!r})": "PermissionError",
            f"open({str(tmp_path / 'in/rows')!r})": "done",
            "__import__('wave')": "done",
        }
        for act, says in acts.items():
            assert said(tmp_path / "in", act).startswith(says), act


def test_the_kernel_ends_what_takes_too_much(tmp_path: Path) -> None:
    limits = "confined.limit(cpu_seconds={cpu}, address_space=1 << 30, file_bytes=1000)"
    opened = f"; shown = open({str(tmp_path / 'shown')!r}, 'wb', buffering=0)"
    act = "[shown.write(b'x' * 900) for _ in range(2)] and shown.write(b'x')"
    assert said(tmp_path, act, limits.format(cpu=10) + opened).startswith("OSError [Errno 27]")
    assert said(tmp_path, "bytearray(2 << 30)", limits.format(cpu=10)) == "MemoryError"
    assert said(tmp_path, "[one for one in iter(int, 1)]", "import signal; " + limits.format(cpu=1)) in ("-24", "MemoryError")


def test_where_the_kernel_lets_us_there_is_no_network_at_all(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport socket\nfrom backend.core import confined\n"
            f"left = confined.leave_the_network()\n"
            f"try: socket.create_connection(('127.0.0.1', {port}), 2); print(left, 'connected')\n"
            "except OSError as error: print(left, type(error).__name__)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() in (["True", "OSError"], ["False", "connected"]), "it says which"
