"""How long there is somebody who may give roles, and what to do before nobody is."""

from __future__ import annotations

import streamlit as st

from app import wiring
from app.kit.plain import escape
from app.wiring import Reading
from backend.access import last_admin
from backend.access.last_admin import Outlook


def outlook(look: Reading) -> Outlook:
    """By the grants of now."""
    return last_admin.outlook(look.session, now=look.now, demo=wiring.backend().settings.demo_identities)


def warn(found: Outlook) -> None:
    """Says what is wrong, if anything is, to everybody who looks at Admin."""
    if found.problem is not None:
        says, remedy = found.problem
        st.warning(f"**{escape(says, 200)}** {escape(remedy, 400)}", icon=":material/person_alert:")
