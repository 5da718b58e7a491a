"""My access: what may I do until when, where am I signed in, and which programs act as me?"""

from __future__ import annotations

from app import identity, wiring
from app.access_pages import person
from app.kit import components

with wiring.reading() as look:
    page = person.find(look, identity.rights(look), None)

if page is not None:
    with components.header("My access", *person.tags(page), meta=person.meta(page)):
        pass
    person.draw(page)
