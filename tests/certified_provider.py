"""The certified OpenID provider (`oidc-provider` from npm) in a process of its own, with people who have groups."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.access.issuer_settings import METADATA

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests" / "oidc" / "provider.mjs"


@dataclass(frozen=True)
class CertifiedProvider:
    """A running one."""

    issuer: str
    client: str
    log: Path

    @property
    def metadata_url(self) -> str:
        return self.issuer + METADATA

    @property
    def secret(self) -> str:
        return f"{self.client}-secret-of-the-tests-0123456789"


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def node_modules() -> Path:
    """Where the provider is installed."""
    for folder in (os.environ.get("COUNTERSIGN_RUNTIMES_DIR"), ROOT / ".runtimes"):
        if folder and (found := Path(folder) / "provider").joinpath("node_modules", "oidc-provider").exists():
            return found
    raise AssertionError("The OpenID provider of the tests is not installed: run `make setup` (it needs Node, `make system`).")


@contextmanager
def certified_provider(folder: Path, origin: str, client: str = "countersign") -> Iterator[CertifiedProvider]:
    """Runs one that knows the application at `origin`; its log goes to `folder`."""
    port, log = free_port(), folder / f"provider-{client}.log"
    with log.open("w") as stream:
        command = ["node", str(SCRIPT), str(node_modules()), str(port), origin, client]
        process = subprocess.Popen(command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while "answers" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield CertifiedProvider(f"http://127.0.0.1:{port}", client, log)
    finally:
        process.terminate()
        process.wait(timeout=30)
