"""The README's pictures, from the demo as it runs: the overview, the change that waits, and the endpoint it is about.

countersign up --demo                              # in another terminal; wait until everything runs
python scripts/pictures.py [http://127.0.0.1:8501] [--change 3] [--out docs/pictures]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import sync_playwright

from backend.demo.flights_setup import PRODUCTION
from tests.browsers import FLAGS, visit

WIDTH, HEIGHT = 1440, 900
WHO = "ben"
_QUIET_MS = 1_500
"""Until live parts have drawn what they hold."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes `OUT/NAME.png`; returns 1 if a page was not clean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8501", help="where the demo is (default: %(default)s)")
    parser.add_argument(
        "--change", type=int, default=3, help="the change that waits, as `up --demo` says (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    wrong = _take(chosen.url.rstrip("/"), addresses(chosen.change), chosen.out)
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


def addresses(change: int) -> dict[str, str]:
    """Picture -> its page."""
    return {"overview": "/", "change": f"/change?change={change}", "endpoint": f"/endpoint?endpoint={PRODUCTION}"}


def _take(url: str, wanted: dict[str, str], out: Path) -> list[str]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        with visit(browser, url, width=WIDTH, height=HEIGHT) as seen:
            seen.open("/", title="Whom do you act as?").act_as(WHO, title="Overview")
            for name, path in wanted.items():
                seen.open(path)
                seen.page.locator("[data-testid=stMain] h2").first.wait_for()
                seen.drawn().page.wait_for_timeout(_QUIET_MS)
                seen.page.screenshot(path=out / f"{name}.png")
                print(out / f"{name}.png")
            found = list(seen.wrong)
        browser.close()
    return found


if __name__ == "__main__":
    sys.exit(main())
