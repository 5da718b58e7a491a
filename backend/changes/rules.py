"""Rules of changes: the state machine and pure decisions on values."""

from __future__ import annotations

from backend.core.machine import Machine

_REVIEWED = ("checking", "review", "approved", "blocked", "suspended")

CHANGE = Machine(
    noun="change",
    initial="draft",
    states=(
        "draft",
        "checking",
        "review",
        "approved",
        "applying",
        "done",
        "blocked",
        "rejected",
        "withdrawn",
        "expired",
        "suspended",
        "revoked",
        "failed",
        "rolled_back",
        "superseded",
    ),
    table={
        ("draft", "submit"): "checking",
        ("checking", "checked"): "review",
        ("checking", "check_failed"): "blocked",
        ("blocked", "recheck"): "checking",
        ("review", "recheck"): "checking",
        ("review", "check_failed"): "blocked",
        ("review", "approve"): "approved",
        ("review", "reject"): "rejected",
        ("approved", "reject"): "rejected",
        ("approved", "revoke"): "revoked",
        ("approved", "start"): "applying",
        ("approved", "check_failed"): "blocked",
        ("suspended", "rebase"): "review",
        ("applying", "prove"): "done",
        ("applying", "fail"): "failed",
        ("applying", "revoke"): "revoked",
        ("applying", "roll_back"): "rolled_back",
        ("applying", "supersede"): "superseded",
        ("done", "roll_back"): "rolled_back",
        ("done", "revoke"): "revoked",
        ("failed", "roll_back"): "rolled_back",
        ("revoked", "roll_back"): "rolled_back",
        **{(state, "edit"): "draft" for state in ("draft", *_REVIEWED)},
        **{(state, "withdraw"): "withdrawn" for state in ("draft", *_REVIEWED)},
        **{(state, "expire"): "expired" for state in ("draft", *_REVIEWED)},
        **{(state, "supersede"): "superseded" for state in ("draft", *_REVIEWED)},
        **{(state, "suspend"): "suspended" for state in ("checking", "review", "approved", "blocked")},
    },
    remedies={
        "rejected": "Propose a new change that answers the reason of the rejection.",
        "expired": "Propose it again; approvals are only good for a limited time.",
        "withdrawn": "Propose it again if it is still wanted.",
        "superseded": "Look at the change that took its place.",
        "suspended": "Rebase it on what is live now; reviewers then see the fresh difference.",
        "blocked": "Read the failed check; edit the change or repair the cause and check again.",
    },
)
