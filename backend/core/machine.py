"""State machines as tables. The same table feeds the commands, the database CHECK, the docs' diagram and the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.core.errors import Refusal


@dataclass(frozen=True)
class Machine:
    """A finite state machine: `table[(state, event)]` is the next state; what is not in the table is refused.

    Args:
        noun: what is in a state, in the user's words ("change").
        initial: the state in which it begins.
        states: every state, in reading order.
        table: the transitions.
        remedies: what to do next when an event is refused in a state (falls back to listing the allowed events).
        cannot: event -> what it is that cannot be, where the noun does not do it itself ("be acknowledged").
    """

    noun: str
    initial: str
    states: tuple[str, ...]
    table: Mapping[tuple[str, str], str]
    remedies: Mapping[str, str]
    cannot: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {self.initial, *(state for state, _ in self.table), *self.table.values()}
        if unknown := named - set(self.states):
            raise ValueError(f"{self.noun}: states not declared: {sorted(unknown)}")

    @property
    def events(self) -> tuple[str, ...]:
        """Every event, sorted."""
        return tuple(sorted({event for _, event in self.table}))

    @property
    def final(self) -> frozenset[str]:
        """States that nothing leaves."""
        return frozenset(self.states) - {state for state, _ in self.table}

    def allows(self, state: str, event: str) -> bool:
        """Whether the table has this transition."""
        return (state, event) in self.table

    def allowed(self, state: str) -> tuple[str, ...]:
        """The events that the table allows in a state, sorted."""
        return tuple(sorted(event for known, event in self.table if known == state))

    def next(self, state: str, event: str) -> str:
        """The state after `event`. Refusal when the table has no such transition."""
        try:
            return self.table[(state, event)]
        except KeyError:
            raise self._refusal(state, event) from None

    def _refusal(self, state: str, event: str) -> Refusal:
        allowed = ", ".join(self.allowed(state)) or "nothing; this state is final"
        remedy = self.remedies.get(state, f"Possible now: {allowed}.")
        return Refusal(
            f"A {self.noun} that is {state.replace('_', ' ')} cannot {self.cannot.get(event, event.replace('_', ' '))}.",
            remedy,
            code="wrong-state",
            state=state,
            event=event,
        )

    def check_sql(self, column: str = "state") -> str:
        """The body of the table's CHECK constraint."""
        return f"{column} IN ({', '.join(repr(state) for state in self.states)})"

    def mermaid(self) -> str:
        """A state diagram for the docs (Mermaid stateDiagram-v2)."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial}"]
        lines += [f"    {state} --> {after}: {event}" for (state, event), after in sorted(self.table.items())]
        return "\n".join(lines)
