"""States by name, for whoever narrows a list by them; importing this costs nothing."""

CHANGE_STATES = (
    "draft", "checking", "review", "approved", "applying", "done", "blocked", "rejected", "withdrawn", "expired", "suspended",
    "revoked", "failed", "rolled_back", "superseded",
)  # fmt: skip
"""Every state of a change."""
ENDPOINT_STATES = ("observed", "in_sync", "pushing", "partial", "out_of_sync", "unreachable", "stale", "fight", "paused")
"""Every state of an endpoint."""
ROLES = ("viewer", "contributor", "reviewer", "operator", "auditor", "admin")
TOKEN_ROLES = (*ROLES, "feeder")
"""What a token may be narrowed to: a feeder sends to inference logs, and nobody is given that role."""
"""Every role."""
SERVER_KINDS = ("memory", "triton")
"""Every kind of server."""
ROUTER_KINDS = ("envoy", "envoy_ads", "memory")
"""Every kind of router."""
FINDING_STATES = ("open", "acknowledged", "snoozed", "resolved")
"""Every state of a finding."""
FINDING_OUTCOMES = ("fixed", "expected", "false_alarm")
"""What a person says of one that is over."""
SEVERITIES = ("info", "warning", "critical")
"""Of a finding, from the least to the worst."""
