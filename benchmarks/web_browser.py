"""One Chromium that looks at both sides, and what it measures: loads, steps within an application, clicks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from playwright.sync_api import Page, sync_playwright

from app.edge import COOKIE
from benchmarks.registry_rows import model_name
from tests.browsers import FLAGS, Visit, visit

_PEER_LIST, _PEER_ELSEWHERE = "#/models", "#/experiments"
_ONWARD, _BACK = ("Older", "Next"), ("Newer", "Previous")
"""What the lists call their ways to the page after and before."""
_CLICK = """(words) => {
    const button = [...document.querySelectorAll('[data-testid=stMain] button')]
        .find(one => !one.disabled && words.some(word => one.innerText.trim().endsWith(word)));
    if (!button) return null;
    const main = document.querySelector('[data-testid=stMain]');
    const before = main.innerText, began = performance.now();
    return new Promise(done => {
        const look = () => {
            const passed = performance.now() - began;
            if (main.innerText !== before) done(passed / 1000);
            else if (passed > 30000) done(null);
            else requestAnimationFrame(look);
        };
        button.click();
        requestAnimationFrame(look);
    });
}"""
"""Clicks a button and gives the seconds until the first frame in which what stands on the page is another."""


@dataclass(frozen=True)
class Load:
    """Seconds until a page's head and answer can be read, and until all of it is drawn, charts included."""

    readable: float
    whole: float


@dataclass
class Browsing:
    """A window on each side."""

    ours: Visit
    peer: Page | None
    peer_url: str

    def load(self, path: str) -> Load:
        """From asking for an address, in a tab that is at this site already, until its page can be read, and is drawn whole.

        RuntimeError where the page says that it failed.
        """
        self.ours.page.goto(f"{self.ours.url}/api/v1/health")
        return self._load(self.ours, path)

    def load_in_new_tab(self, path: str) -> Load:
        """The same in a tab of its own: the browser starts a process for it first."""
        with _tab(self.ours.page) as page:
            return self._load(replace(self.ours, page=page), path)

    def _load(self, seen: Visit, path: str) -> Load:
        began = time.perf_counter()
        seen.page.goto(seen.url + path, wait_until="commit")
        seen.page.locator("[data-testid=stMain] h2").first.wait_for()
        readable = time.perf_counter() - began
        seen.drawn()
        whole = time.perf_counter() - began
        self._refuse_failure(seen, path)
        return Load(readable, whole)

    def go(self, title: str) -> float:
        """Seconds from a click in the menu until that page is drawn whole."""
        began = time.perf_counter()
        self.ours.go(title)
        return time.perf_counter() - began

    def clicks(self, times: int) -> list[float]:
        """Seconds from each click on the list's ways on and back to the change; none where the page has no second part."""
        found = list[float]()
        for number in range(times):
            seconds = self.ours.page.evaluate(_CLICK, [*_ONWARD, *_BACK] if number % 2 == 0 else [*_BACK, *_ONWARD])
            if seconds is None:
                return found
            found.append(float(seconds))
            self.ours.drawn()
        return found

    def load_peer(self) -> float:
        """The same as `load` for MLflow's list of models, until a model stands in it."""
        page = self._peer()
        page.goto(f"{self.peer_url}/health")
        return self._load_peer(page)

    def load_peer_in_new_tab(self) -> float:
        """The same in a tab of its own."""
        with _tab(self._peer()) as page:
            return self._load_peer(page)

    def _load_peer(self, page: Page) -> float:
        began = time.perf_counter()
        page.goto(f"{self.peer_url}/{_PEER_LIST}", wait_until="commit")
        page.get_by_text(_SOME_MODEL).first.wait_for()
        return time.perf_counter() - began

    def go_peer(self) -> float:
        """The same as `go` for MLflow's list of models, from its list of experiments."""
        page = self._peer()
        page.goto(f"{self.peer_url}/{_PEER_ELSEWHERE}")
        page.get_by_text("Default").first.wait_for()
        began = time.perf_counter()
        page.evaluate(f"location.hash = '{_PEER_LIST}'")
        page.get_by_text(_SOME_MODEL).first.wait_for()
        return time.perf_counter() - began

    def _peer(self) -> Page:
        if self.peer is None:
            raise RuntimeError("the peer was left out")
        return self.peer

    @staticmethod
    def _refuse_failure(seen: Visit, path: str) -> None:
        said = seen.say()
        if "Something went wrong" in said or "has a problem" in said:
            raise RuntimeError(f"{path} failed: {said[:300]}")


_SOME_MODEL = model_name(0)[:-3]


@contextmanager
def _tab(beside: Page) -> Iterator[Page]:
    """Another tab of the same window."""
    page = beside.context.new_page()
    page.set_default_timeout(60_000)
    try:
        yield page
    finally:
        page.close()


@contextmanager
def browsing(url: str, peer_url: str | None, identity: str) -> Iterator[Browsing]:
    """One Chromium, signed in on our side."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        with visit(browser, url) as seen:
            seen.open("/", title="Whom do you act as?").act_as(identity)
            peer = browser.new_context(viewport={"width": 1440, "height": 900}).new_page() if peer_url else None
            yield Browsing(seen, peer, peer_url or "")
        browser.close()


def cookie_of(url: str, identity: str) -> str:
    """The cookie of a browser that chose an identity, as a header."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        with visit(browser, url) as seen:
            seen.open("/", title="Whom do you act as?").act_as(identity, title="Overview")
            kept = next(one for one in seen.page.context.cookies() if one.get("name") == COOKIE)
        browser.close()
    return f"{COOKIE}={kept.get('value', '')}"
