"""A draft on its own page: what it would come to if it were started now."""

from __future__ import annotations

from app.experiment_pages import draft_plan
from app.experiment_pages.seen import Seen
from app.kit import components
from app.kit.plain import escape


def draw(seen: Seen) -> None:
    """The planner's answer, for whoever may ask for it; the others see the design alone."""
    if not seen.mine.may("experiment.create", seen.view.line.environment):
        why = f"{escape(seen.view.line.owner)} designed it. It starts by a change, which takes its approvals."
        components.answer("This is a draft: nothing runs by it.")
        components.facts([("Next", why)])
        return
    draft_plan.draw(draft_plan.of(seen.view.line.endpoint, seen.view.design))
