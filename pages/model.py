"""Model: what is this version, how does it compare, and where is it?"""

from __future__ import annotations

import streamlit as st

from app import identity, reach, ways, wiring
from app.kit import components, export, listing
from app.kit.plain import escape
from app.model_pages import cards, comparing, intakes, mirror, origins, steps, version_facts, versions
from backend.registry.cards import card

name = st.query_params.get("model", "")
with wiring.reading() as look:
    identity.require(look, "model.read")
    found = versions.whole(look, name, st.query_params.get("version", ""))
    text = card(look.session, name)
    mine = reach.at(look, identity.rights(look), model=name)

chosen = found.chosen
with components.header(escape(name, 80), *versions.badges(found), meta=versions.meta(found, look), back=("Models", "models")):
    steps.more(found, mine)
    steps.propose(found, mine)
mirror.line()

main, side = components.main_and_side()
with main:
    with components.card("Versions", f"{len(found.numbers)}, newest first; click one to see it") as head:
        place = listing.place("older", name)
        with wiring.reading() as again:
            page = versions.listed(again, name, place.key)
        with head:
            export.download("CSV", "versions.csv", versions.exporter(identity.current(), name), key="export-versions")
        picked = versions.choose(page, found, place, look.now)
    if picked is not None:
        ways.go("model", model=name, version=picked)
    with components.card("Side by side", "what differs") as head:
        numbers = [number for number, _ in found.numbers]
        with head:
            wanted = comparing.ask(numbers, chosen.told.number if chosen else None, versions.live(found))
        with wiring.reading() as again:
            compared = comparing.read(again, name, wanted)
        comparing.show(compared)
    with components.card("Model card", cards.note(text, look)) as head:
        if head.button("Edit" if mine.may("card.write") else "History", icon=":material/edit_note:", key="edit-card"):
            ways.go("card", model=name)
        cards.draw(text)
with side:
    if chosen is not None:
        with components.card(f"Version {chosen.told.number}", " ".join(version_facts.state_of(chosen))):
            steps.register(found, mine)
            components.facts(version_facts.facts(found, look))
            components.digests(version_facts.whole_values(found), "Whole values")
    with components.card("Where it runs", steps.counted(found)):
        steps.placements(found)
    with components.card("Aliases", "in MLflow"):
        steps.aliases(found, look.now)
    with components.card("What MLflow says") as head:
        steps.open_mlflow(found, head)
        cards.described(found.line.description, *version_facts.description(found))
    intakes.of_model(look, name)
if chosen is not None:
    with components.card("Lineage", f"of version {chosen.told.number}, from what was recorded"):
        graph = origins.of(found)
        origins.draw(graph)
        origins.listed(graph, name, chosen.told.number)
