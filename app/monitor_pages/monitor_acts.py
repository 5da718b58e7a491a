"""What a person does about one monitor: having it look now, pausing it with a reason, and having it look again."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from app import identity, wiring
from app.identity import Rights
from app.kit import dialogs, feedback
from app.kit.dialogs import Ask
from app.kit.plain import escape
from app.monitor_pages.monitor_filters import Place
from backend.monitoring.views import MonitorLine

_ASKED = "monitor.asked"


@dataclass(frozen=True)
class Held:
    """The monitor that a person saw when they clicked."""

    endpoint: str
    name: str
    revision: int


def offered(mine: Rights, line: MonitorLine) -> list[str]:
    """What this person may do about it now: `look`, `pause`, `resume`."""
    acts = {"resume": "monitor.set"} if line.paused else {"look": "monitor.run", "pause": "monitor.set"}
    return [name for name, action in acts.items() if mine.may(action)]


def draw(place: Place, line: MonitorLine) -> None:
    """The buttons."""
    acts, held = offered(place.rights, line), Held(line.endpoint, line.name, line.revision)
    if "pause" in acts:
        st.button("Pause", icon=":material/pause:", key="monitor.pause", on_click=_ask, args=(held,))
    if "resume" in acts and st.button("Resume", icon=":material/resume:", key="monitor.resume"):
        feedback.act(
            lambda: wiring.backend().monitors.resume(identity.current(), held.endpoint, held.name, revision=held.revision),
            f"**{escape(held.name)}** looks again, from its latest window on.",
        )
    if "look" in acts and st.button("Look now", icon=":material/play_arrow:", key="look-now"):
        feedback.act(
            lambda: wiring.backend().monitors.run(identity.current(), held.endpoint, held.name),
            f"**{escape(held.name)}** looks as soon as a worker comes to it.",
        )


def _ask(held: Held) -> None:
    st.session_state[_ASKED] = held


def opened(place: Place) -> None:
    """Opens the dialog of what was clicked in the run before; called once, after the part is drawn."""
    held = st.session_state.pop(_ASKED, None)
    if isinstance(held, Held) and held.endpoint == place.name:
        says = [
            f"**{escape(held.name)}** looks at **{escape(held.endpoint)}** no more until somebody resumes it, and windows "
            "that end meanwhile are not made up for. What it found stays as it is, and that it is paused is shown.",
        ]
        asked = Ask(
            says, "Pause it", f"**{escape(held.name)}** is paused.", "Why need nobody look, and until when?", icon="pause"
        )
        dialogs.ask(
            f"Pause the monitor {held.name}",
            lambda: asked,
            lambda reason: wiring.backend().monitors.pause(
                identity.current(), held.endpoint, held.name, reason, revision=held.revision
            ),
        )
