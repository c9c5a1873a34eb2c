"""The invariants of SPEC 19, read from Postgres and the streams: what must hold whatever happened before."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis

from aaos.adapters.sovereign.wire import encode_request
from aaos.domain.model_request import AnswerFormat, ModelRequest
from aaos.domain.results import content_hash
from aaos.domain.sovereign import SovereignSettings
from aaos.local.sovereign_request import read_request

Rows = Callable[..., list[Any]]
STREAMS = "aaos:results:"

# Every change of a run, as the database saw it: the rows themselves only show how a run stands now.
INSTALL_HISTORY = """
CREATE TABLE run_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id bigint NOT NULL, kind text NOT NULL,
    state_before text NOT NULL, state text NOT NULL,
    fence_before bigint, fence bigint,
    lease_before timestamptz, lease timestamptz,
    deadline_before timestamptz, owner text
);
CREATE FUNCTION record_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_history (run_id, kind, state_before, state, fence_before, fence, lease_before, lease,
                             deadline_before, owner)
    VALUES (NEW.id, NEW.kind, OLD.state, NEW.state, OLD.fence, NEW.fence, OLD.lease_expires_at, NEW.lease_expires_at,
            OLD.deadline, NEW.owner);
    RETURN NULL;
END
$$;
CREATE TRIGGER runs_recorded AFTER UPDATE ON runs FOR EACH ROW
WHEN ((OLD.state, OLD.fence, OLD.lease_expires_at) IS DISTINCT FROM (NEW.state, NEW.fence, NEW.lease_expires_at))
EXECUTE FUNCTION record_run();
"""

DOUBLED_SLOTS = """
    SELECT kind, symbol, slot, count(*) FROM results WHERE scheduled GROUP BY kind, symbol, slot HAVING count(*) > 1
"""
DOUBLED_RUNS = "SELECT run_id, count(*) FROM results GROUP BY run_id HAVING count(*) > 1"
OPEN = "SELECT id, kind, symbol, state, attempt, reason FROM runs WHERE finished_at IS NULL ORDER BY id LIMIT 20"
RESULT_AND_STATE_DISAGREE = """
    SELECT runs.id, runs.kind, runs.state, r.id AS result_id FROM runs LEFT JOIN results r ON r.run_id = runs.id
    WHERE (runs.state = 'completed') <> (r.id IS NOT NULL) LIMIT 20
"""
RESULT_UNDER_OLD_FENCE = """
    SELECT runs.id, runs.kind, runs.fence, r.fence AS result_fence FROM results r JOIN runs ON runs.id = r.run_id
    WHERE r.fence <> runs.fence LIMIT 20
"""
FENCES_FALL = "SELECT * FROM run_history WHERE fence < fence_before LIMIT 20"
# A claim while somebody else's lease was still alive.
OVERLAPPING_LEASES = """
    SELECT * FROM run_history
    WHERE fence IS DISTINCT FROM fence_before AND state_before = 'running' AND lease_before >= at LIMIT 20
"""
FINAL_LEFT = "SELECT * FROM run_history WHERE state_before IN ('completed', 'failed', 'skipped') LIMIT 20"
UNEXPLAINED = """
    SELECT id, kind, symbol, state FROM runs
    WHERE (state = 'skipped' AND reason IS NULL) OR (state = 'failed' AND failure_source IS NULL) LIMIT 20
"""
UNPUBLISHED = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
STORED = "SELECT id, run_id, kind, symbol, fence, analyzed_at, content_hash, body FROM results"
# A run whose worker fell silent: when it was last heard of, when it was taken up again, when it was done.
RECOVERIES = """
    SELECT lost.run_id, lost.fence_before AS fence, lost.at AS returned_at,
           (SELECT max(at) FROM run_history heard
            WHERE heard.run_id = lost.run_id AND heard.fence = lost.fence_before AND state = 'running') AS heard_at,
           (SELECT min(at) FROM run_history again
            WHERE again.run_id = lost.run_id AND again.fence > lost.fence_before) AS taken_at
    FROM run_history lost
    WHERE lost.state_before = 'running' AND lost.lease_before < lost.at
      AND (lost.state = 'pending' OR lost.fence > lost.fence_before)
    ORDER BY lost.id
"""
LEDGER = """
    SELECT run_id, count(*) FILTER (WHERE outcome = 'accepted') AS accepted,
           count(*) FILTER (WHERE answer_hash IS NOT NULL AND cached_from IS NULL) AS paid,
           count(*) FILTER (WHERE cached_from IS NULL) AS asked
    FROM sovereign_calls GROUP BY run_id
"""
# What counts against the budgets, added up from the calls, beside what the budgets say.
BOOKS_DISAGREE = """
    WITH booked AS (
        SELECT 'day:' || to_char(day, 'YYYY-MM-DD') AS scope, sum(tokens_booked) AS tokens, sum(cost) AS cost
        FROM sovereign_calls GROUP BY day
        UNION ALL
        SELECT 'decision:' || decision, sum(tokens_booked), sum(cost) FROM sovereign_calls
        WHERE decision IS NOT NULL GROUP BY decision
    )
    SELECT scope, booked.tokens, booked.cost, spent.tokens AS spent_tokens, spent.cost AS spent_cost
    FROM booked FULL JOIN llm_spending spent USING (scope)
    WHERE (coalesce(booked.tokens, 0), coalesce(booked.cost, 0)) <> (coalesce(spent.tokens, 0), coalesce(spent.cost, 0))
"""
TEXTS_MISSING = """
    SELECT c.id FROM sovereign_calls c
    WHERE EXISTS (
        SELECT FROM unnest(ARRAY[c.system_hash, c.user_hash, c.format_hash, c.answer_hash, c.raw_hash]) AS named (hash)
        WHERE named.hash IS NOT NULL AND NOT EXISTS (SELECT FROM model_texts t WHERE t.hash = named.hash))
    LIMIT 20
"""
PROMPTS = """
    SELECT c.model, CAST(c.parameters AS jsonb) AS parameters, s.text AS system_text, u.text AS user_text,
           f.text AS format_text, count(*) AS times
    FROM sovereign_calls c JOIN model_texts s ON s.hash = c.system_hash JOIN model_texts u ON u.hash = c.user_hash
    LEFT JOIN model_texts f ON f.hash = c.format_hash
    WHERE c.cached_from IS NULL GROUP BY 1, 2, 3, 4, 5
"""


def check_runs(rows: Rows) -> None:
    """Q1–Q4 and the states: one result each, all final, highest fence, no overlapping leases, no way back."""
    for name, statement in (
        ("Q1: two results of one slot", DOUBLED_SLOTS),
        ("Q1: two results of one run", DOUBLED_RUNS),
        ("Q2: runs that never ended", OPEN),
        ("a result without a completed run, or the other way round", RESULT_AND_STATE_DISAGREE),
        ("Q3: a result under a fence that is not the run's highest", RESULT_UNDER_OLD_FENCE),
        ("Q3: a fence that fell", FENCES_FALL),
        ("Q4: leases that overlap", OVERLAPPING_LEASES),
        ("a final state that was left", FINAL_LEFT),
        ("Q6: an end without a reason", UNEXPLAINED),
    ):
        _none(name, rows(statement))


def check_publishing(rows: Rows, client: redis.Redis, *, streams_kept: bool = True) -> dict[str, int]:
    """P1 and P2: nothing on a stream that was not stored before; everything on it, once after de-duplication.

    Args:
        rows: runs a statement.
        client: the Redis of the streams.
        streams_kept: False after a FLUSHALL, which took the entries that were there.

    Returns:
        How many entries, how many different results among them, how many results to be announced.
    """
    assert rows(UNPUBLISHED)[0][0] == 0, "P2: the outbox still holds results"
    stored = {row.id: row for row in rows(STORED)}
    announced = {row[0] for row in rows("SELECT result_id FROM outbox")}
    entries = stream_entries(client)
    for stream_id, entry in entries:
        result = stored.get(int(entry["result_id"]))
        assert result is not None, f"P1: {stream_id} shows result {entry['result_id']}, which is not stored"
        assert entry["content_hash"] == result.content_hash, f"P1: {stream_id} shows other bytes than are stored"
        assert int(entry["fence"]) == result.fence
        shown_at = datetime.fromtimestamp(int(stream_id.split("-")[0]) / 1000, UTC)
        # Stream ids have whole milliseconds.
        assert (result.analyzed_at - shown_at).total_seconds() < 0.001, f"P1: {stream_id} came before its row"
    shown = {int(entry["result_id"]) for _, entry in entries}
    assert shown <= announced
    if streams_kept:
        _none("P2: stored, but never on a stream", sorted(announced - shown)[:20])
    for row in stored.values():
        assert content_hash(row.body) == row.content_hash, f"result {row.id}: its bytes do not match its hash"
    return {"entries": len(entries), "distinct": len(shown), "results": len(announced)}


def check_slots(rows: Rows, kind: str, width_ms: int, symbols: Sequence[str]) -> dict[str, int]:
    """Q6 and Q1: between the first and the last slot none is missing, none doubled; returns how they ended."""
    found = rows("SELECT symbol, slot, state FROM runs WHERE kind = %s AND request_key IS NULL", kind)
    counted = Counter((row.symbol, round(row.slot.timestamp() * 1000)) for row in found)
    _none("Q1: a doubled slot", [slot for slot, times in counted.items() if times > 1])
    instants = [slot for _, slot in counted]
    expected = {(symbol, at) for symbol in symbols for at in range(min(instants), max(instants) + 1, width_ms)}
    _none(f"Q6: slots of {kind} nobody accounted for", sorted(expected - set(counted))[:20])
    _none(f"slots of {kind} off the grid", sorted(set(counted) - expected)[:20])
    return dict(Counter(row.state for row in found))


def check_ledger(rows: Rows, transcript: dict[str, Any]) -> dict[str, int]:
    """FM-TAW-007: one accepted answer per stored vote, no call that the ledger does not know of, and books that add up.

    Repairs, answers that were unusable and calls that failed are told as well; none of them is accepted.
    """
    ledger = rows(LEDGER)
    accepted = {row.run_id: row.accepted for row in ledger}
    _none("more than one accepted answer", [run for run, times in accepted.items() if times > 1])
    votes = {row[0] for row in rows("SELECT run_id FROM results WHERE kind = 'trading_analysis'")}
    _none("a vote without an accepted answer", sorted(run for run in votes if accepted.get(run) != 1)[:20])
    _none("the budgets do not say what the calls do", rows(BOOKS_DISAGREE))
    _none("calls whose texts are not stored", rows(TEXTS_MISSING))
    asked, paid = sum(row.asked for row in ledger), sum(row.paid for row in ledger)
    # Written before it is made: whatever reached the service is in the ledger. What was charged beyond the
    # answers that are stored went to workers that died before they could store them.
    assert transcript["total"] <= asked, f"{transcript['total']} calls made, {asked} in the ledger"
    assert paid <= transcript["charged"]
    told: Counter[str] = Counter()
    for row in rows(PROMPTS):
        told[_as_received(row)] += row.times
    seen = Counter(call["request_hash"] for call in transcript["calls"] if call["request_hash"])
    _none("prompts the ledger does not know", [each for each, times in seen.items() if times > told[each]][:20])
    return {
        "asked": asked, "accepted": sum(accepted.values()), "called": transcript["total"],
        "charged": transcript["charged"],
    }  # fmt: skip


def _as_received(row: Any) -> str:
    """Returns the hash of a stored prompt as the simulator computes it: from what stands on the wire."""
    form = None if row.format_text is None else AnswerFormat(**json.loads(row.format_text))
    asked = ModelRequest(row.model, row.system_text, row.user_text, answer_format=form, **row.parameters)
    return read_request(encode_request(asked, SovereignSettings(json_schema=True))).prompt_hash


@dataclass(frozen=True, slots=True)
class RecoveryTimes:
    """Seconds from a dead worker's last heartbeat to the next claim of its run, and when the sweep found it."""

    seconds: tuple[float, ...]
    found_after_s: tuple[float, ...]

    def __str__(self) -> str:
        if not self.seconds:
            return "no run had to be recovered"
        waited_s = [taken - found for taken, found in zip(self.seconds, self.found_after_s, strict=True)]
        parts = {
            "recovered": self.seconds,
            "found by the sweep": self.found_after_s,
            "then waited for a worker": waited_s,
        }
        return f"{len(self.seconds)} runs " + "; ".join(f"{name} {_spread(values)}" for name, values in parts.items())


def _spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return f"p50 {statistics.median(ordered):.1f} s, p99 {p99:.1f} s, max {ordered[-1]:.1f} s"


def recovery_times(rows: Rows) -> RecoveryTimes:
    """Returns how long each run whose worker fell silent had to wait for the next one."""
    found = [row for row in rows(RECOVERIES) if row.taken_at is not None]
    return RecoveryTimes(
        tuple((row.taken_at - row.heard_at).total_seconds() for row in found),
        tuple((row.returned_at - row.heard_at).total_seconds() for row in found),
    )


def stream_entries(client: redis.Redis) -> list[tuple[str, dict[str, str]]]:
    """Returns (entry id, fields) of all result streams."""
    entries = []
    for key in client.scan_iter(f"{STREAMS}*"):
        for stream_id, fields in client.xrange(key):
            entries.append((stream_id.decode(), {name.decode(): value.decode() for name, value in fields.items()}))
    return entries


def _none(what: str, found: Sequence[Any]) -> None:
    assert not found, f"{what}: " + "\n".join(map(str, found))
