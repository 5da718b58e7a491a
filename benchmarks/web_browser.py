"""One Chromium that looks at both sides, and what it measures: loads, steps within an application, clicks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Page, sync_playwright

from app.edge import COOKIE
from benchmarks.registry_rows import model_name
from tests.browsers import FLAGS, Visit, visit

_PEER_LIST, _PEER_ELSEWHERE = "#/models", "#/experiments"
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


@dataclass
class Browsing:
    """A window on each side."""

    ours: Visit
    peer: Page | None
    peer_url: str

    def load(self, path: str) -> float:
        """Seconds from asking for an address until its page is drawn whole. RuntimeError where it says that it failed."""
        page = self.ours.page
        page.goto("about:blank")
        began = time.perf_counter()
        page.goto(self.ours.url + path)
        page.locator("[data-testid=stMain] h2").first.wait_for()
        self.ours.drawn()
        seconds = time.perf_counter() - began
        self._refuse_failure(path)
        return seconds

    def go(self, title: str) -> float:
        """Seconds from a click in the menu until that page is drawn whole."""
        began = time.perf_counter()
        self.ours.go(title)
        return time.perf_counter() - began

    def clicks(self, times: int) -> list[float]:
        """Seconds from each click on the list's `Older` and `Newer` to the change; none where the page has no second part."""
        found = list[float]()
        for number in range(times):
            seconds = self.ours.page.evaluate(_CLICK, ["Older", "Newer"] if number % 2 == 0 else ["Newer", "Older"])
            if seconds is None:
                return found
            found.append(float(seconds))
            self.ours.drawn()
        return found

    def load_peer(self) -> float:
        """The same as `load` for MLflow's list of models, until a model stands in it."""
        page = self._peer()
        page.goto("about:blank")
        began = time.perf_counter()
        page.goto(f"{self.peer_url}/{_PEER_LIST}")
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

    def _refuse_failure(self, path: str) -> None:
        said = self.ours.say()
        if "Something went wrong" in said or "has a problem" in said:
            raise RuntimeError(f"{path} failed: {said[:300]}")


_SOME_MODEL = model_name(0)[:-3]


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
