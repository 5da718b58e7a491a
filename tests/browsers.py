"""A real server in a process of its own, and Debian's Chromium to look at it, with everything noted that should not happen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
AXE = (ROOT / "tests/pages/vendor/axe.min.js").read_text()
OF_COLOURS = ["color-contrast", "link-in-text-block"]
"""The two scheme-dependent ones of the rules below; all others ask about the same document in either scheme."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
KNOWN = re.compile(r"/_stcore/(health|host-config)$")
"""What Streamlit's page asks for below a deep link before it finds the root, and gets a 404 for (measured; harmless)."""

expect.set_options(timeout=30_000)  # milliseconds, 5 s by default: a busy machine is no failure

UNWATCHED = {"COUNTERSIGN_OBSERVE_SECONDS": "3600"}
"""No worker runs beside these pages: what was seen while the installation was made stays fresh while they are looked at."""

# Writes the names of the loaded modules to a file whenever it is told to, so that a test can see what the web process holds.
_SERVE = """
import signal, sys
from pathlib import Path
notes = Path(sys.argv[1])
signal.signal(signal.SIGUSR1, lambda *_: notes.write_text("\\n".join(sorted(sys.modules))))
from app.__main__ import main
sys.exit(main(["--port", "0"]))
"""


@dataclass
class Server:
    """A running web app."""

    url: str
    process: subprocess.Popen[str]
    modules_file: Path

    def modules(self) -> set[str]:
        """Every module that the web process has imported so far."""
        self.modules_file.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + 30
        while not self.modules_file.exists() or not self.modules_file.stat().st_size:
            assert time.monotonic() < until, "the web process does not answer its signal"
            time.sleep(0.05)
        time.sleep(0.1)
        return set(self.modules_file.read_text().splitlines())


@contextmanager
def serve(data: Path, folder: Path, program: str = _SERVE, **settings: str) -> Iterator[Server]:
    """Starts the web app on a free port of loopback with that data folder; logs and notes go to `folder`.

    Args:
        program: what the process runs.
        settings: environment variables besides those of the data folder.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("COUNTERSIGN_", "STREAMLIT_"))}
    environment |= {"COUNTERSIGN_DATA_DIR": str(data), "COUNTERSIGN_DEMO_IDENTITIES": "true", "PYTHONPATH": str(ROOT)}
    environment |= {**UNWATCHED, **settings}
    log = folder / "web.log"
    with log.open("w") as stream:
        command = [sys.executable, "-u", "-c", program, str(folder / "modules")]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=stream, text=True)
    try:
        yield Server(_url(process, log), process, folder / "modules")
    finally:
        process.terminate()
        process.wait(timeout=30)


def _url(process: subprocess.Popen[str], log: Path) -> str:
    until = time.monotonic() + 120
    while (found := re.search(r"URL: (http://\S+)", log.read_text())) is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)
    return found[1]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; `make system` installs it. Closed with its file: Playwright holds this thread's event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """One browser window, signed in as somebody or nobody, and what went wrong in it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)
    scheme: Any = "light"

    def open(self, path: str, *, title: str = "") -> Visit:
        """Opens an address and waits until the page with that header is drawn whole."""
        self.page.goto(self.url + path)
        return self.drawn(title)

    def go(self, name: str) -> Visit:
        """Follows the menu, without loading the whole application again."""
        self.page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
        return self.drawn(name)

    def fits(self) -> bool:
        """Whether nothing is wider than the window, once everything has taken the window's new size."""
        fits = "() => document.querySelector('[data-testid=stMain]').scrollWidth <= document.documentElement.clientWidth"
        try:
            self.page.wait_for_function(fits, timeout=10_000)
        except TimeoutError:
            return False
        return True

    def act_as(self, name: str, *, title: str = "") -> Visit:
        """Chooses a demo identity."""
        self.page.get_by_role("button", name=f"Act as {name.capitalize()}", exact=True).click()
        return self.drawn(title)

    def press_row(self, number: int = 0, *, x: int = 300) -> None:
        """Clicks a row of the first data table as a finger does: one that is released in the same instant may be lost."""
        spot: Any = {"x": x, "y": 52 + 32 * number}
        self.page.locator(".dvn-scroller").first.click(position=spot, delay=60)

    def open_row(self, address: str, number: int = 0, *, x: int = 300) -> None:
        """Clicks a row until its page is there: a click while the table is drawn anew is lost, and a person clicks again."""
        for _ in range(3):
            self.drawn().press_row(number, x=x)
            try:
                self.page.wait_for_url(re.compile(address), timeout=8_000)
            except TimeoutError:
                continue
            return
        raise AssertionError(f"no row led to {address}")

    def drawn(self, title: str = "") -> Visit:
        """Waits until nothing runs and nothing is still to be drawn."""
        if title:
            self.page.get_by_role("heading", name=title, level=2).first.wait_for()
        self.page.wait_for_function(SETTLED)
        return self

    def say(self) -> str:
        """The text that stands on the page, without the joiners that keep bare addresses from being links."""
        return self.page.locator("[data-testid=stMain]").inner_text().replace("\u2060", "")

    def axe(self) -> list[Any]:
        """What axe-core finds wrong: in light by every rule set that matters, in dark by the rules that look at colours.

        It begins with the scheme that the page is in, since the other one is drawn anew. The policy of the page would not let
        it in by itself. A page that does not follow the browser's scheme fails.
        """
        session = self.page.context.new_cdp_session(self.page)
        session.send("Runtime.evaluate", {"expression": f"{AXE};0"})
        other = "dark" if self.scheme == "light" else "light"
        return [found for scheme in (self.scheme, other) for found in self._axe_in(scheme)]

    def clean(self, what: str) -> None:
        """Nothing that axe-core finds at 1440 pixels, and nothing that does not fit into 1024; whichever it stands at first."""
        size = self.page.viewport_size
        assert size is not None
        for width in sorted(SIZES, key=lambda one: one != size["width"]):
            if width != size["width"]:
                self.page.set_viewport_size({"width": width, "height": SIZES[width]})
            if width == min(SIZES):
                assert self.drawn().fits(), what
            else:
                assert self.axe() == [], what

    def _axe_in(self, scheme: str) -> list[Any]:
        self.page.emulate_media(color_scheme=scheme)
        self.page.wait_for_function(_IN_SCHEME, arg=scheme)
        self.scheme = scheme
        rules = RULES if scheme == "light" else OF_COLOURS
        return [[scheme, *one] for one in self.drawn().page.evaluate(_AXE_RUN, rules)]


SIZES = {1440: 900, 1024: 768}
"""Widths and heights of windows that pages are made for, in pixels."""
SETTLED = """() => document.querySelector('[data-testid=stApp]')
    && !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton]')
    && document.querySelector('[data-testid=stApp]').dataset.testScriptState !== 'running'
    && document.fonts.status === 'loaded'"""
_IN_SCHEME = """(scheme) => {
    const [red, green, blue] = getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor.match(/\\d+/g);
    return (0.3 * red + 0.6 * green + 0.1 * blue < 128) === (scheme === 'dark');
}"""
_AXE_RUN = """async (rules) => (await axe.run(document, {runOnly: rules})).violations.map(one => [one.id, one.help,
    one.nodes.slice(0, 3).map(node => node.html.slice(0, 200))])"""


@contextmanager
def visit(
    browser: Browser, url: str, *, scheme: Any = "light", width: int = 1440, height: int = 900, policy: bool = True
) -> Iterator[Visit]:
    """A fresh window with an empty cookie jar that looks at one server.

    Args:
        policy: whether the browser obeys the page's content security policy; axe-core's run needs none of it broken.
    """
    size: Any = {"width": width, "height": height}
    context = browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=not policy, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    seen = Visit(page, url, scheme=scheme)
    _watch(seen)
    try:
        yield seen
    finally:
        context.close()


def _watch(seen: Visit) -> None:
    home = urlsplit(seen.url).netloc

    def console(message: Any) -> None:
        if message.type in ("error", "warning") and not KNOWN.search(message.location.get("url", "")):
            seen.wrong.append(f"console {message.type}: {message.text[:300]}")

    def request(asked: Any) -> None:
        parts = urlsplit(asked.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != home:
            seen.wrong.append(f"request to {asked.url[:200]}")

    seen.page.on("console", console)
    seen.page.on("pageerror", lambda error: seen.wrong.append(f"page error: {error}"))
    seen.page.on("request", request)
    seen.page.on("websocket", lambda socket: request(socket) if urlsplit(socket.url).netloc != home else None)
    seen.page.on("dialog", lambda dialog: seen.wrong.append(f"a script said: {dialog.message}"))
