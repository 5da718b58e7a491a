"""The statements by which `copies` counts, on the view `copied` of a reading. Pure: no value of anybody stands in them."""

from __future__ import annotations

from collections.abc import Sequence

SHADOWS = "SELECT shadow FROM copied GROUP BY shadow ORDER BY max(event_time) DESC, shadow LIMIT ?"

_BOTH = "(live IS NOT NULL AND shadow IS NOT NULL)"
_FINITE = "abs(live) < 1e48 AND abs(shadow) < 1e48"
"""Cubes of squares of what is larger are no numbers any more. A NaN is larger than all."""
# A 4xx is the shadow's failure where the live arm answered the same request, and else the caller's mistake.
_SIDES = """
SELECT coalesce(unit, request_id) AS who, copy_heard, copy_version AS version, live_read, copy_failure AS failure,
    coalesce(copy_failure LIKE 'http-4%' AND NOT live_heard, false) AS mistaken,
    coalesce(copy_failure LIKE 'http-%' OR copy_failure = 'no-answer', false) AND NOT mistaken AS failed,
    copy_heard AND NOT failed AND NOT mistaken AS answered, coalesce(copy_failure = '', false) AS was_read,
    live_prediction AS live, CASE WHEN was_read THEN copy_prediction END AS shadow,
    live_prediction_json AS live_text, CASE WHEN was_read THEN copy_prediction_json END AS shadow_text,
    live_latency_seconds AS live_seconds, CASE WHEN answered THEN copy_latency_seconds END AS shadow_seconds,
    {outcome} AS outcome
FROM copied WHERE shadow = ?
"""
SPREAD = """
SELECT quantile_cont(live, 0.05) AS low, quantile_cont(live, 0.95) AS high
FROM sides_of_copies WHERE abs(live) < 1e48
"""
# Rounding must not turn what is just within the tolerance into a disagreement. A NaN equals a NaN in DuckDB.
_FURTHER = "abs(live - shadow) > params.tolerance * (1 + 1e-9)"
_ACROSS = "(live >= params.threshold) <> (shadow >= params.threshold)"
_NUMBERS = """
CASE WHEN live = shadow THEN false WHEN {unclear} THEN true ELSE {apart} END
"""
# Documents agree where they have the same words, marks and structure, and numbers that agree at the same places.
_TOKENS = """regexp_extract_all({text}, '"(?:[^"\\\\]|\\\\.)*"|[-+0-9.eE]+|[a-z]+|[\\[\\]{{}}:,]')"""
_SAME_TOKEN = """
    live_tokens[i] = shadow_tokens[i]
    OR coalesce(
        abs(try_cast(live_tokens[i] AS DOUBLE) - try_cast(shadow_tokens[i] AS DOUBLE)) <= params.tolerance * (1 + 1e-9), false
    )
"""
_DOCUMENTS = f"""
CASE WHEN live_text = shadow_text THEN false
    WHEN len(live_tokens) <> len(shadow_tokens) THEN true
    ELSE len(list_filter(range(1, len(live_tokens) + 1), lambda i: NOT ({_SAME_TOKEN}))) > 0 END
"""
# Where both were heard at the router, another form of answer is another answer; a caller may tell one number of several.
_DIFFERS = """
SELECT sides.*, CAST(
    CASE WHEN live IS NOT NULL AND shadow IS NOT NULL THEN {numbers}
        WHEN live_text IS NOT NULL AND shadow_text IS NOT NULL THEN {documents}
        WHEN was_read AND live_read THEN true END AS DOUBLE) AS differs
FROM (
    SELECT *, {live_tokens} AS live_tokens, {shadow_tokens} AS shadow_tokens FROM sides_of_copies
) AS sides, (SELECT CAST(? AS DOUBLE) AS threshold, CAST(? AS DOUBLE) AS tolerance) AS params
"""
COUNTS = """
SELECT count(*) FILTER (NOT mistaken) AS asked, count(*) FILTER (answered) AS answered, count(*) FILTER (failed) AS failed,
    count(*) FILTER (NOT copy_heard) AS missing, count(*) FILTER (mistaken) AS mistaken,
    count(*) FILTER (answered AND NOT was_read) AS unread, count(*) FILTER (was_read AND differs IS NULL) AS untold,
    count(differs) AS compared, list(DISTINCT version) FILTER (version IS NOT NULL) AS versions
FROM pairs_of_copies
"""
FAILURES = """
SELECT failure, count(*) AS count FROM pairs_of_copies WHERE failed GROUP BY failure ORDER BY count DESC, failure LIMIT 20
"""
_KNOWN = f"{_BOTH} AND {_FINITE} AND abs(outcome) < 1e48"
OF_CHANCES = f"""
SELECT count(*) AS pairs, bool_and(outcome IN (0, 1) AND live BETWEEN 0 AND 1 AND shadow BETWEEN 0 AND 1) AS chances
FROM pairs_of_copies WHERE {_KNOWN}
"""  # noqa: S608 - words of ours
OF_CHANCE, OF_VALUE = ("log_loss", "brier"), ("squared_error", "absolute_error")
_LOSSES = {
    "log_loss": "-ln(greatest(CASE WHEN outcome = 1 THEN {side} ELSE 1 - {side} END, 1e-15))",
    "brier": "({side} - outcome) * ({side} - outcome)",
    "squared_error": "({side} - outcome) * ({side} - outcome)",
    "absolute_error": "abs({side} - outcome)",
}


def sides(outcome: str) -> str:
    """One row a request that the shadow of the parameter was sent. `outcome`: the column, quoted."""
    return _SIDES.format(outcome=outcome)


def pairs(*, threshold: bool) -> str:
    """The same with whether the two differ, NULL where they are not compared. Parameters: threshold, tolerance."""
    unclear, apart = ("isnan(live) OR isnan(shadow)", _ACROSS) if threshold else (f"NOT ({_FINITE})", _FURTHER)
    return _DIFFERS.format(
        numbers=_NUMBERS.format(unclear=unclear, apart=apart),
        documents=_DOCUMENTS,
        live_tokens=_TOKENS.format(text="live_text"),
        shadow_tokens=_TOKENS.format(text="shadow_text"),
    )


def differences(quantiles: Sequence[float]) -> str:
    """Of predictions that are finite numbers, shadow less live."""
    return f"""
    SELECT count(*) AS pairs, avg(d) AS mean, avg(abs(d)) AS mean_absolute, max(abs(d)) AS largest,
        quantile_cont(d, {[*quantiles]}) AS quantiles
    FROM (SELECT shadow - live AS d FROM pairs_of_copies WHERE {_BOTH} AND {_FINITE})
    """  # noqa: S608 - words of ours


def latencies(quantiles: Sequence[float]) -> str:
    """Of pairs in which both were heard to answer."""
    return f"""
    SELECT count(*) AS pairs, quantile_cont(live_seconds, {[*quantiles]}) AS live,
        quantile_cont(shadow_seconds, {[*quantiles]}) AS shadow, avg(shadow_seconds - live_seconds) AS mean_difference
    FROM pairs_of_copies WHERE live_seconds IS NOT NULL AND shadow_seconds IS NOT NULL
    """  # noqa: S608 - words of ours


def loss(name: str, side: str) -> str:
    """The error of one side (`live`, `shadow`) as an expression; NULL where it cannot be told."""
    return f"(CASE WHEN {_KNOWN} THEN {_LOSSES[name].format(side=side)} END)"


def losses(live: str, shadow: str) -> str:
    """Means of two errors over the pairs that have both."""
    return f"SELECT count({live}) AS pairs, avg({live}) AS live, avg({shadow}) AS shadow FROM pairs_of_copies"  # noqa: S608 - ours
