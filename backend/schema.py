"""Imports every table once, so that SQLModel.metadata is complete for migrations and tests. Nothing else lives here."""

from backend.access import binding_rows as bound
from backend.access import rows as access
from backend.access import scim_rows as provisioned
from backend.access import session_rows as sign_in
from backend.changes import rows as changes
from backend.core import ledger, request_keys, sealing, work
from backend.delivery import rows as delivery
from backend.evidence import rows as evidence
from backend.experiments.comparing import rows as comparing
from backend.experiments.designs import rows as designs
from backend.findings import rows as findings
from backend.inference_log import rows as inference_log
from backend.metrics import rows as metrics
from backend.monitoring import rows as monitoring
from backend.notify import rows as notify
from backend.policy import rows as policy
from backend.registry import hooks
from backend.registry import rows as registry
from backend.rollouts import rows as rollouts
from backend.window_reports import rows as window_reports

__all__ = [
    "access",
    "bound",
    "changes",
    "comparing",
    "delivery",
    "designs",
    "evidence",
    "findings",
    "hooks",
    "inference_log",
    "ledger",
    "metrics",
    "monitoring",
    "notify",
    "policy",
    "provisioned",
    "registry",
    "request_keys",
    "rollouts",
    "sealing",
    "sign_in",
    "window_reports",
    "work",
]
