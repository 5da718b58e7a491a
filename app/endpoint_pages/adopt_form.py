"""The first step of an adoption: an endpoint in observe mode, on a server, under a name that the server knows."""

from __future__ import annotations

import streamlit as st

from app import identity, ways, wiring
from app.kit import dialogs, feedback
from app.kit.plain import escape
from backend.delivery.queries import routers
from backend.policy.queries import names as environments
from backend.registry.queries import models

NO_ROUTER = ""


def ask(server: str, served_name: str = "") -> None:
    """The dialog that begins to observe something on a server."""

    @dialogs.framed("Adopt an endpoint", width="large")
    def opened() -> None:
        with feedback.shown():
            _form(server, served_name)

    opened()


def _form(server: str, served_name: str) -> None:
    with wiring.reading() as look:
        known = [one.name for one in models(look.session, order="name", limit=200).items]
        environment_names = environments(look.session)
        router_names = [one.name for one in routers(look.session)]
    st.markdown(
        "From now on it is **looked at, and nothing is ever written to it**. Once you have seen what runs, somebody signs it "
        "off as the baseline; only then is it managed."
    )
    key = f"adopt.{server}.{served_name}"
    begun = _slug(served_name)
    with st.grid(columns=2, min_column_width=260, gap="small") as grid:
        with grid.cell():
            name = st.text_input(
                "Endpoint's name", value=begun, key=f"{key}.name", required=True, max_chars=63,
                help="Small letters, digits and hyphens; also its path under the router's address.",
            )  # fmt: skip
            environment = st.selectbox("Environment", environment_names, key=f"{key}.environment")
            model = st.selectbox(
                "Registered model", known, key=f"{key}.model", accept_new_options=True, required=True,
                index=known.index(served_name) if served_name in known else None,
                placeholder="Choose or type a name",
            )  # fmt: skip
        with grid.cell():
            served = st.text_input(
                "Served name", value=served_name, key=f"{key}.served", placeholder="the endpoint's own name",
                help=f"Under which {server} knows the model.",
            )  # fmt: skip
            router = st.selectbox(
                "Router before it", [NO_ROUTER, *router_names], key=f"{key}.router",
                format_func=lambda one: one or "No router: one version answers everybody",
            )  # fmt: skip
    if model and model not in known:
        st.markdown(":small[:gray[No model of that name is registered yet; a change needs one.]]")
    if dialogs.decide("Begin to observe it", f"{key}.confirm", icon="visibility"):
        wanted = {"environment": environment or "", "model": (model or "").strip(), "server": server}
        _create((name or "").strip(), wanted, router or None, (served or "").strip() or None)


def _create(name: str, wanted: dict[str, str], router: str | None, served_name: str | None) -> None:
    if not name or not wanted["model"]:
        st.error("Not done: give the endpoint a name and say which model it serves.", icon=":material/error:")
        return
    wiring.backend().endpoints.create(
        identity.current(), name=name, router=router, served_name=served_name,
        environment=wanted["environment"], model=wanted["model"], server=wanted["server"],
    )  # fmt: skip
    feedback.done(f"{escape(name)} is observed from now on; nothing is written to it.", icon="visibility")
    ways.go("endpoint", endpoint=name)


def _slug(text: str) -> str:
    """A served name as an endpoint's name may be: small letters, digits and hyphens."""
    kept = "".join(one if one.isascii() and one.isalnum() else "-" for one in text.lower())
    return "-".join(part for part in kept.split("-") if part)[:63]
