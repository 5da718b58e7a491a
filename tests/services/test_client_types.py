"""The client's types are those of the OpenAPI document, and the words that it knows are the server's."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from backend.access.rules import ROLES, TOKEN_ROLES
from backend.api import app as api
from backend.changes.rules import CHANGE
from backend.client import results, states
from backend.delivery.routers.names import ROUTERS
from backend.delivery.rows import ENDPOINT_STATES
from backend.delivery.targets.names import TARGETS
from backend.findings.rules import FINDING, OUTCOMES, SEVERITIES

SCHEMAS: dict[str, Any] = api.build(lambda: pytest.fail("the backend was touched")).openapi()["components"]["schemas"]
NAMES = {
    "Me": "Me", "AliasedVersion": "AliasedVersion", "ModelLine": "ModelLine", "Alias": "AliasLine",
    "VersionLine": "VersionLine", "Model": "ModelView", "Registration": "Registration", "Version": "VersionView",
    "Intake": "IntakeShown",
    "ChangeLine": "ChangeLine", "DifferenceLine": "Line", "Move": "Move", "Difference": "DifferenceView", "Vote": "VoteView",
    "Evidence": "EvidenceView", "Comment": "CommentView", "Remark": "RemarkView", "Step": "StepView", "Rollout": "RolloutView",
    "Impact": "Impact", "Change": "ChangeView", "Moment": "MomentView", "Preview": "PreviewView", "Proof": "ProofView",
    "EndpointLine": "EndpointLine", "Arm": "ArmView", "Stranger": "Stranger", "Endpoint": "EndpointDetail", "Share": "Share",
    "Generation": "GenerationView", "Push": "PushView", "EndpointMoment": "Moment", "Running": "RunningVersion",
    "Unmanaged": "UnmanagedModel", "Baseline": "BaselineView", "WaitingMove": "MoveLine", "Server": "ServerLine",
    "Router": "RouterLine", "Inspected": "InspectedServer",
    "Advisory": "Advisory", "Identity": "IdentityView", "Grant": "GrantView",
    "Settled": "Settled", "Request": "RequestView", "Team": "TeamView", "NewToken": "TokenMade", "Token": "TokenView",
    "Binding": "BindingView", "Issuer": "IssuerView", "Bound": "Bound",
    "SessionLine": "SessionView", "SessionsEnded": "SessionsEnded", "Provider": "ProviderView", "Examined": "ExaminedView",
    "GroupMapping": "MappingView", "Touched": "TouchedView",
    "SignInSettings": "SignInView", "KnownGroup": "GroupView", "AdminsLeft": "AdminsView", "Known": "KnownView",
    "Login": "LoginView", "ToldGroups": "GroupsView", "AskedChange": "AskedView", "ServedArm": "ServedArm",
    "Standing": "FleetView", "RunningRollout": "RunningRollout", "StateMove": "MoveView", "WayOut": "WayOutView",
    "Ports": "PortsView", "Outgoing": "OutgoingView", "JudgedAddress": "JudgedView", "SealingKey": "SealingKeyView",
    "LedgerKey": "LedgerKeyView",
    "DataSetGrant": "DataSetGrantView", "EnvironmentLine": "EnvironmentLine", "Policy": "PolicyShown",
    "SavedPolicy": "PolicyView", "Freeze": "FreezeView", "Event": "Event", "BrokenRow": "BrokenRow",
    "Verification": "VerificationView", "MessageEvent": "EventView", "Route": "RouteView", "NewRoute": "MadeRoute",
    "Subscription": "SubscriptionView", "Preferences": "PreferenceView", "Message": "MessageView", "MessageTry": "TryView",
    "WholeMessage": "WholeMessage",
    "FindingLine": "FindingLine", "FindingMoment": "FindingMoment", "Finding": "FindingView", "FindingCount": "FindingCount",
    "FindingMessage": "ToldView",
    "RampStep": "RampStepView", "NamedRamp": "RampView", "ConfigFault": "FaultView",
    "ConfigField": "FieldView", "ConfigObject": "ObjectView", "ConfigPlan": "PlanView", "ConfigDone": "DoneView",
    "ConfigApplied": "AppliedView", "ConfigExport": "ExportView",
    "Metrics": "MetricsView", "MetricGroup": "MetricGroup", "MetricMoment": "MetricMoment", "Quantile": "MetricQuantile",
    "Covered": "MetricCovered", "MetricSource": "MetricSourceView", "MetricRetention": "MetricRetention",
    "Slo": "SloView", "Objective": "SloObjective", "SloStanding": "SloStandingView", "Promise": "SloPromise",
    "ErrorBudget": "SloBudget", "BurnAlert": "SloAlert", "Burn": "SloBurn", "SloRules": "SloRules",
    "Monitor": "MonitorWhole", "MonitorLine": "MonitorFares", "MonitorFound": "MonitorFound", "MonitorRun": "MonitorRunView",
    "MonitorAsked": "MonitorAsked", "Profile": "ProfileLine",
    "BatchTaken": "BatchTaken", "RejectedRow": "RejectedRow", "LogRules": "LogRulesView", "Redaction": "RedactionView",
    "Experiment": "ExperimentWhole", "Decided": "ExperimentDecided", "Comparison": "ComparisonWhole",
    "ComparisonLook": "LookTaken", "RawAggregates": "RawAggregates",
    "ExperimentLine": "ExperimentFares", "ExperimentShare": "ExperimentShare",
    "Shadows": "ShadowsView", "ShadowCopies": "Copies", "Disagreement": "Disagreement", "PairMean": "Estimated",
    "PairDifferences": "Differences", "PairLatencies": "Latencies", "PairLoss": "Loss",
    "ExperimentPlan": "ExperimentPlan", "PlannedFigure": "PlannedFigure", "PlannedPoint": "PlannedPoint",
    "Erasure": "ErasureView", "WindowReport": "WindowReportView", "ReportSide": "ReportSide",
}  # fmt: skip
ELSEWHERE = {"Page", "ModelPage", "LiveShare"}
"""Pages are read by `pages`; a live share is sent as the list of its values."""


def test_every_type_is_compared() -> None:
    types = {name for name, one in vars(results).items() if dataclasses.is_dataclass(one)}
    assert types - ELSEWHERE == NAMES.keys()


@pytest.mark.parametrize(("mine", "theirs"), sorted(NAMES.items()))
def test_each_type_has_the_fields_of_its_schema(mine: str, theirs: str) -> None:
    told = [one for one in dataclasses.fields(getattr(results, mine)) if one.metadata.get("told", True)]
    schema = SCHEMAS[theirs]
    assert {one.name for one in told} == schema["properties"].keys()
    for one in told:
        nullable = any(each.get("type") == "null" for each in schema["properties"][one.name].get("anyOf", ()))
        anything = "type" not in schema["properties"][one.name] and "anyOf" not in schema["properties"][one.name]
        assert ("None" in str(one.type)) == nullable or str(one.type) == "Any" or anything, (mine, one.name)


def test_the_words_are_the_server_s() -> None:
    assert set(states.CHANGE_STATES) == set(CHANGE.states)
    assert set(states.ENDPOINT_STATES) == set(ENDPOINT_STATES)
    assert set(states.ROLES) == set(ROLES)
    assert set(states.TOKEN_ROLES) == set(TOKEN_ROLES)
    assert (FINDING.states, OUTCOMES, SEVERITIES) == (states.FINDING_STATES, states.FINDING_OUTCOMES, states.SEVERITIES)
    assert (set(states.SERVER_KINDS), set(states.ROUTER_KINDS)) == (set(TARGETS), set(ROUTERS))
