"""Every page, its address, and who is shown it in the menu: a flat list, because a grouped one fails the screen reader's rules.

To add a page: one file in `pages/`, one line in `PAGES`, one case in `tests/pages/test_pages.py`, one line in
`scripts/shots.py`. Detail pages are hidden: they are reached from their list or by a deep link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from app import identity, reach, wiring
from app.kit.palette import mode

PAGES_FOLDER = wiring.ROOT / "pages"
STATIC = wiring.ROOT / "app" / "static"


@dataclass(frozen=True)
class Entry:
    """One page.

    Args:
        file: its name in `pages/`, without the ending; also its address, except of the default page, which is at `/`.
        icon: a Material icon's name; drawn from the font that Streamlit bundles.
        action: whoever may not do this is not shown the page in the menu (its address still answers, and says why not).
        hidden: a detail page.
    """

    file: str
    title: str
    icon: str
    action: str = ""
    hidden: bool = False


PAGES: tuple[Entry, ...] = (
    Entry("overview", "Overview", "space_dashboard"),
    Entry("models", "Models", "deployed_code"),
    Entry("model", "Model", "deployed_code", hidden=True),
    Entry("card", "Model card", "description", hidden=True),
    Entry("register", "Register", "add_box", hidden=True),
    Entry("approvals", "Approvals", "rule"),
    Entry("change", "Change", "rule", hidden=True),
    Entry("propose", "Propose a change", "rule", hidden=True),
    Entry("endpoints", "Endpoints", "lan"),
    Entry("endpoint", "Endpoint", "lan", hidden=True),
    Entry("server", "Server", "dns", hidden=True),
    Entry("experiments", "Experiments", "experiment"),
    Entry("experiment", "Experiment", "experiment", hidden=True),
    Entry("design", "Design an experiment", "experiment", hidden=True),
    Entry("monitoring", "Monitoring", "monitoring"),
    Entry("findings", "Findings", "notification_important"),
    Entry("finding", "Finding", "notification_important", hidden=True),
    Entry("audit", "Audit", "receipt_long", action="audit.read"),
    Entry("ledger_row", "Ledger row", "receipt_long", hidden=True),
    Entry("notifications", "Notifications", "notifications"),
    Entry("open", "Link from a message", "link", hidden=True),
    Entry("admin", "Admin", "admin_panel_settings"),
    Entry("person", "Person", "person", hidden=True),
    Entry("account", "My access", "badge", hidden=True),
)
"""In the order of the menu. The first is the default page."""


def logo() -> None:
    """The word mark in the colours of the theme; the bare mark where the sidebar is folded."""
    st.logo(str(STATIC / f"logo-{mode()}.svg"), size="large", icon_image=str(STATIC / "icon.svg"))


def pages() -> st.Page:
    """The menu, and the page that the address names."""
    with wiring.reading() as look:
        mine = reach.anywhere(identity.rights(look))
    shown = [one for one in PAGES if not one.hidden and (not one.action or mine.may(one.action))]
    return st.navigation([_page(one, visible=one in shown) for one in PAGES])


def instead(draw: Callable[[], None], title: str) -> st.Page:
    """One page at every address, so that a deep link is kept while something stands before all pages."""
    at = [
        st.Page(draw, title=title, url_path=one.file if number else None, default=not number)
        for number, one in enumerate(PAGES)
    ]
    return st.navigation(at, position="hidden")


def _page(entry: Entry, *, visible: bool) -> st.Page:
    first = entry is PAGES[0]
    return st.Page(
        PAGES_FOLDER / f"{entry.file}.py",
        title=entry.title,
        icon=f":material/{entry.icon}:",
        url_path=None if first else entry.file,
        default=first,
        visibility="visible" if visible else "hidden",
    )
