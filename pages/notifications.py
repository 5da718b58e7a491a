"""Notifications: what do I hear of, by which way, when, and what became of it?"""

from __future__ import annotations

from app import identity, wiring
from app.kit import components
from app.record_pages import message_log, notifications

with wiring.reading() as look:
    identity.require(look, "team.read")
    found = notifications.mine(look)

with components.header("Notifications", meta=notifications.summary(found)):
    pass
main, side = components.main_and_side()
with main:
    notifications.routes_card(found.routes, found.owners)
    message_log.card(found.routes)
with side:
    notifications.preference_card(found.preference, found.email)
    notifications.subscriptions_card(found.subscriptions, found.routes)
