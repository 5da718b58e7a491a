"""Taking versions in: the two ways to begin, and how far each is. The work goes on when the page is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import streamlit as st

from app import identity, ways, wiring
from app.kit import components, feedback, times
from app.kit.addresses import number_in
from app.kit.live import live
from app.kit.plain import escape
from app.kit.states import badge
from app.model_pages.version_facts import megabytes
from backend.registry import catalog, intakes, queries
from backend.registry.intakes import IntakeView

_LATEST = timedelta(days=7)
_MOST_OFFERED = 50
_NONE = "Choose a model, or write its name"


def most_bytes() -> int:
    """The largest archive that the browser may hand in: this server's bound, or what may be unpacked, if that is less."""
    return min(int(st.get_option("server.maxUploadSize")) << 20, wiring.backend().settings.upload_max_bytes)


def offered(look: wiring.Reading, model: str) -> list[str]:
    """Models to choose from: the one that the address names, then the latest; any other name may be written."""
    latest = [one.name for one in catalog.page(look.session, catalog.Wanted(), limit=_MOST_OFFERED).items]
    return list(dict.fromkeys([*([model] if model else []), *latest]))


def open_numbers(look: wiring.Reading, model: str | None) -> list[int]:
    """Versions of a model that MLflow has and that are not registered, the newest first; none for a name not yet read."""
    if not model or catalog.one(look.session, model) is None:
        return []
    return [number for number, registered in queries.numbers(look.session, model) if not registered]


def from_registry(models: Sequence[str], model: str, number: str) -> None:
    """Registers a version that MLflow has."""
    st.markdown("Every file is read and hashed, searched for pickled code, and written down. Nothing is changed in MLflow.")
    name = _model(models, model, key="registry")
    with wiring.reading() as look:
        waiting = open_numbers(look, name)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        first = number_in(number) or (waiting[0] if waiting else 1)
        wanted = st.number_input("Version", min_value=1, max_value=2**31 - 1, value=first, key=f"number.{name}", width=140)
        clicked = st.button("Register", type="primary", icon=":material/add:", key="register.go", disabled=not name)
    if waiting:
        more = f" and {len(waiting) - 20} older" if len(waiting) > 20 else ""
        st.markdown(f":small[:gray[Not registered yet: {', '.join(f'v{one}' for one in waiting[:20])}{more}.]]")
    elif name:
        st.markdown(":small[:gray[Every version that was read of it is registered; a newer one may not have been read yet.]]")
    if clicked and name:
        _begin(lambda: wiring.backend().intake.register(identity.current(), name, wanted), f"v{wanted} of {escape(name, 60)}")


def from_file(models: Sequence[str], model: str) -> None:
    """Makes an archive a new version in MLflow and registers it.

    A field of chat, because Streamlit's own field for files calls itself presentational and has a label: axe-core minds. It
    is empty again once it was sent, so that nothing is handed in twice by accident.
    """
    limit = megabytes(most_bytes())
    settings = wiring.backend().settings
    st.markdown(
        f"A zip, tar or tar.gz of an MLflow model (with its MLmodel file) or of one ONNX file. It becomes the next version "
        f"in MLflow, with you as its verified author. **At most {limit}**, {megabytes(settings.upload_max_bytes)} unpacked and "
        f"{settings.upload_max_entries:,} files; larger ones go by “countersign model upload”."
    )
    name = _model(models, model, key="upload")
    sent = st.chat_input(
        "Attach the archive, and say what is new in it (MLflow shows that)",
        key="archive",
        max_chars=500,
        accept_file=True,
        file_type=["zip", "tar", "gz", "tgz"],
        max_upload_size=max(1, most_bytes() >> 20),
        disabled=not name,
    )
    if sent is not None and not sent.files:
        st.warning("**Nothing was started: no archive was attached.** Attach it with the clip, then send again.")
    elif sent is not None and name:
        file = sent.files[0]
        _begin(lambda: _upload(name, file, sent.text or ""), escape(file.name, 60))


def without_registry() -> None:
    """Nothing can be taken in where no registry is configured."""
    st.warning(
        "**No MLflow is configured for this process.** Set COUNTERSIGN\\_MLFLOW\\_URL to its address and start the web app "
        "again: until then nothing can be registered or uploaded.",
        icon=":material/link_off:",
    )


def of_model(look: wiring.Reading, model: str) -> None:
    """A card of what was taken in lately of one model; none where there was nothing."""
    if intakes.latest(look.session, now=look.now, model=model, since=look.now - _LATEST, limit=1):
        with components.card("Taken in lately", "last seven days"):
            latest(model)


def _upload(model: str, file: Any, said: str) -> None:
    wiring.backend().intake.upload(identity.current(), model, file, file.name, description=said)


def latest(model: str | None = None) -> None:
    """How far everything is, drawn anew every second while something goes on; nothing at all where there is nothing."""
    with wiring.reading() as look:
        found = intakes.latest(look.session, now=look.now, model=model, since=look.now - _LATEST)
    running = any(one.state == "running" for one in found)
    live(_latest, every=1.0 if running else 5.0)(model)


def _latest(model: str | None) -> None:
    with wiring.reading() as look:
        found = intakes.latest(look.session, now=look.now, model=model, since=look.now - _LATEST)
        may = identity.rights(look).may("version.register")
    for one in found:
        _one(one, look, may=may)
    if not found:
        components.empty(
            "Nothing was taken in lately", "What you start stands here, also after you left the page.", icon="inbox"
        )


def _one(one: IntakeView, look: wiring.Reading, *, may: bool) -> None:
    """One of them: what, whose, how far, and what may be done about it."""
    number = f" v{one.number}" if one.number is not None else ""
    from_file = f" from {escape(one.file, 60)}" if one.file else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
        who = f"{escape(one.started_by_name)}, {times.both(one.started_at, look.now)}"
        st.markdown(f":small[**{escape(one.model, 80)}{number}**{from_file}  \n:gray[{who}]]", width="stretch")
        st.markdown(badge("intake", one.state), width="content")
        if one.state == "done" and st.button("Open", key=f"open.{one.id}", type="tertiary", icon=":material/chevron_right:"):
            ways.go("model", model=one.model, version=one.number)
        if may and one.may_be_tried_again and st.button("Try again", key=f"again.{one.id}", icon=":material/refresh:"):
            _begin(lambda: wiring.backend().intake.again(identity.current(), one.id), f"{escape(one.model, 60)}{number}")
    if one.state == "running":
        st.progress(min(max(one.fraction, 0.0), 1.0), text=f"{one.fraction:.0%}: {escape(one.doing, 120)}")
    elif one.message:
        st.markdown(f":small[**{escape(one.message, 600)}** {escape(one.remedy, 300)}  \n:gray[{escape(one.kept)}]]")


def _model(models: Sequence[str], model: str, *, key: str) -> str | None:
    return st.selectbox(
        "Model",
        list(models),
        index=0 if model else None,
        key=f"model.{key}",
        placeholder=_NONE,
        accept_new_options=True,
        width=520,
    )


def _begin(start: Callable[[], object], what: str) -> None:
    feedback.act(start, f"{what} is being taken in; you may leave this page.")
