"""Registering and editing servers and routers: a form drawn from the adapter's own settings, a credential that only goes in.

The credential is sealed to the worker's key as it is saved; no page can read it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import streamlit as st
from pydantic import BaseModel

from app import identity, ways, wiring
from app.endpoint_pages import moves
from app.kit import dialogs, feedback, forms
from app.kit.plain import escape
from backend.delivery.queries import RouterLine, ServerLine
from backend.delivery.routers.names import ROUTERS, router_type
from backend.delivery.targets.names import TARGETS, target_type

Kind = Literal["server", "router"]
_WHERE = {
    "server": ("Inference address", "host:port at which routers and callers reach its inference interface"),
    "router": ("Public address", "where callers reach the endpoints behind it, e.g. http://models.example:8080"),
}
_PRODUCTS = {
    "triton": "Triton Inference Server",
    "envoy": "Envoy",
    "envoy_ads": "Envoys by ADS",
    "memory": "In memory (demos and tests)",
}


def product(kind: str) -> str:
    """How people call an adapter's kind."""
    return _PRODUCTS.get(kind, kind)


def ask_register(what: Kind) -> None:
    """The dialog that adds a server or a router."""

    @dialogs.framed(f"Register a {what}", width="large")
    def opened() -> None:
        with feedback.shown():
            _register(what)

    opened()


def _register(what: Kind) -> None:
    kinds = [*(one for one in (TARGETS if what == "server" else ROUTERS) if one != "memory"), "memory"]
    st.markdown(":small[:gray[Nothing is called yet: afterwards you test the connection, and see what it is and can do.]]")
    kind = st.selectbox("Kind", kinds, key=f"new.{what}.kind", format_func=product)
    name = st.text_input("Name", key=f"new.{what}.name", placeholder="serving-eu-1", required=True, max_chars=63)
    label, hint = _WHERE[what]
    where = st.text_input(label, key=f"new.{what}.where", help=hint, placeholder=_example(what, kind), required=True)
    model = _settings_type(what, kind)
    draft = forms.draw(model, key=f"new.{what}.{kind}")
    credential = _credential(f"new.{what}.credential")
    reference = _reference(f"new.{what}.reference")
    if not dialogs.decide(f"Register the {what}", f"new.{what}.confirm", icon="add"):
        return
    settings = draft.read()
    if settings is None:
        st.error("Not saved: correct the marked fields.", icon=":material/error:")
        return
    _add(
        what,
        (name or "").strip(),
        kind,
        settings,
        (where or "").strip(),
        {"credential": credential or None, "credential_from": reference},
    )
    feedback.done(f"{escape(name or '')} is registered. Now test the connection.")
    if what == "server":
        ways.go("server", server=(name or "").strip())
    ways.go("admin", part="Servers")


def _add(what: Kind, name: str, kind: str, settings: BaseModel, where: str, secret: Mapping[str, str | None]) -> None:
    servers, values = wiring.backend().servers, settings.model_dump(mode="json")
    common: dict[str, Any] = {"name": name, "kind": kind, "settings": values, **secret}
    if what == "server":
        servers.register(identity.current(), **common, upstream=where)
    else:
        servers.register_router(identity.current(), **common, public_url=where)


def ask_edit(line: ServerLine | RouterLine) -> None:
    """The dialog that changes one; its endpoints are looked at again at once."""
    what: Kind = "server" if isinstance(line, ServerLine) else "router"

    @dialogs.framed(f"Edit the {what}", width="large")
    def opened() -> None:
        with feedback.shown():
            _edit(what, line)

    opened()


def _edit(what: Kind, line: ServerLine | RouterLine) -> None:
    key = f"edit.{line.id}.{line.revision}"
    st.markdown(
        f":small[:gray[{escape(line.name)}, {escape(product(line.kind))}. Once saved, every endpoint on it is looked at anew. "
        "Where managed endpoints that need approvals stand on it, another place waits until a second person confirms it.]]"
    )
    label, hint = _WHERE[what]
    begun = line.upstream if isinstance(line, ServerLine) else line.public_url
    where = st.text_input(label, value=begun, key=f"{key}.where", help=hint, required=True)
    draft = forms.draw(_settings_type(what, line.kind), key=key, start=line.settings)
    credential = _credential(f"{key}.credential", entered=line.has_credential)
    reference = _reference(f"{key}.reference")
    forget = line.has_credential and st.toggle("Forget the credential", key=f"{key}.forget")
    if not dialogs.decide("Save", f"{key}.confirm", icon="save"):
        return
    settings = draft.read()
    if settings is None:
        st.error("Not saved: correct the marked fields.", icon=":material/error:")
        return
    given: dict[str, Any] = {
        "revision": line.revision, "settings": settings.model_dump(mode="json"), "credential": credential or None,
        "credential_from": reference, "forget_credential": forget,
    }  # fmt: skip
    with feedback.shown() as outcome:
        waits = _save(what, line.name, (where or "").strip(), given)
    if outcome.ok:
        feedback.done(moves.after_edit(line.name, waits=waits))
        st.rerun()


def _save(what: Kind, name: str, where: str, given: Mapping[str, Any]) -> bool:
    """Saves it; returns whether it is a move that waits for a second person."""
    servers = wiring.backend().servers
    if what == "server":
        return servers.edit(identity.current(), name, upstream=where, **given).move is not None
    return servers.edit_router(identity.current(), name, public_url=where, **given).move is not None


def ask_remove(line: ServerLine | RouterLine) -> None:
    """The dialog that forgets one on which no endpoint stands."""
    what: Kind = "server" if isinstance(line, ServerLine) else "router"
    remove: Callable[..., None] = (
        wiring.backend().servers.remove if what == "server" else wiring.backend().servers.remove_router
    )

    @dialogs.framed(f"Forget the {what}")
    def opened() -> None:
        st.markdown(
            f"**{escape(line.name)}** is forgotten with its settings and its credential. Nothing is called: **what runs there "
            "goes on running**. The ledger keeps that it was here."
        )
        if dialogs.decide("Forget it", f"forget.{line.id}.confirm", icon="delete"):
            with feedback.shown() as outcome:
                remove(identity.current(), line.name)
            if outcome.ok:
                feedback.done(f"{escape(line.name)} is forgotten.")
                ways.go("admin", part="Servers")

    opened()


def _credential(key: str, *, entered: bool = False) -> str | None:
    """Live: by the Tab key Streamlit goes from a password to its own eye, and would hand nothing over (measured, 1.67). What
    was handed over is said, because a field of dots does not tell."""
    said = "entered; leave empty to keep it" if entered else "optional"
    given = st.text_input(
        f"Credential ({said})",
        key=key,
        type="password",
        live=True,
        autocomplete="off",
        help="Sealed to the worker's key as it is saved: no page and no person can read it back.",
    )
    if given:
        st.markdown(f":small[:gray[A credential of {len(given)} characters will be sealed.]]")
    return given


def _reference(key: str) -> str | None:
    given = st.text_input(
        "Or where the worker finds it (optional)",
        key=key,
        placeholder="file:NAME or env:NAME",
        help="A credential that your administrator keeps where the worker runs, by its name. The name is no secret.",
    )
    return (given or "").strip() or None


def _settings_type(what: Kind, kind: str) -> type[BaseModel]:
    return target_type(kind).Settings if what == "server" else router_type(kind).Settings


def _example(what: Kind, kind: str) -> str:
    if kind == "memory":
        return "memory:memory"
    return "triton-prod:8001" if what == "server" else "http://127.0.0.1:10000"
