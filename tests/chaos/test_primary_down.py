"""Models fail for ten minutes of the pipeline's time: decisions go on, marked, or trade nothing; then all recovers."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.checks import check_runs
from support.drill import (
    BREAKER_OPEN_S,
    DECISION_EVERY_S,
    FALLBACK,
    PIPELINE,
    PRIMARY,
    TEN_MINUTES_S,
    Drill,
    trials_at_once,
    wall_time,
)
from support.lab import QUICK, Lab
from support.storm import Storm

from aaos.domain.breakers import BreakerRules, task_breaker_weight

VOTE = "trading_analysis"
PIPELINE_KINDS = ("technical_analysis", "regime_detection", "trading_context", VOTE, "trading_decision")
# Until everything that was under way when a model went down has been answered by somebody.
SETTLED_S = 1.0
RECOVERED_WITHIN_S = 30.0
MULTIPLIER = Decimal("0.8")
# Votes of two decisions at once, each asking twice, before the third failure has opened the breaker.
UNDER_WAY = 12

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]
on_a_pipeline = pytest.mark.parametrize("lab", [PIPELINE], indirect=True)


@pytest.fixture
def drill(lab: Lab, tmp_path: Path) -> Drill:
    started = Drill(lab)
    started.start(tmp_path)
    return started


@pytest.mark.requirement("FM-TAW-010")
@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("FM-003")
@pytest.mark.requirement("FM-005")
@pytest.mark.requirement("D3")
@pytest.mark.requirement("D6")
@on_a_pipeline
def test_ten_minutes_without_the_primary_the_fallback_decides_marked_and_the_primary_comes_back_gradually(
    drill: Drill,
) -> None:
    lab = drill.lab
    assert not any(row.body["fallback_used"] for row in drill.votes(_long_ago(drill)))
    lab.simulator.down(PRIMARY)
    went_down, down_at = drill.now(), wall_time()
    time.sleep(TEN_MINUTES_S)
    came_back, up_at = drill.now(), wall_time()
    lab.simulator.up(PRIMARY)
    during = (went_down + _seconds(SETTLED_S), came_back)
    votes, decisions = drill.votes(*during), drill.decisions(*during)
    asked_in_vain = drill.calls_between(PRIMARY, down_at, up_at)
    _wait_closed(drill, PRIMARY, came_back)
    closed_at = drill.changes(PRIMARY, "breaker.closed", came_back)[0]
    after = _wait_unmarked(drill, closed_at, 3)
    drill.stop()

    slots = int((TEN_MINUTES_S - SETTLED_S) / DECISION_EVERY_S)
    closed_s = (closed_at - came_back).total_seconds()
    print(  # noqa: T201 - the figures are what the drill is for
        f"\n{len(decisions)} decisions in {TEN_MINUTES_S:g} s ({slots} slots), {len(votes)} votes, "
        f"{Counter(vote.body['model'] for vote in votes)}; the primary was asked {len(asked_in_vain)} times meanwhile; "
        f"closed {closed_s:.1f} s after its return; then {len(after)} unmarked decisions"
    )
    assert len(decisions) >= slots - 1, "decisions go on"
    for vote in votes:
        _check_marked(lab, vote)
    marked = [row for row in decisions if row.analyzed_at > during[0] + _seconds(SETTLED_S)]
    assert all(row.body["degraded_inference"] for row in marked)
    assert {row.body["degradation_reason"] for row in marked} == {"fallback_model_used"}
    assert drill.failed(*PIPELINE_KINDS) == [], "no run failed for it"
    assert lab.rows("SELECT id, kind, reason FROM runs WHERE attempt > 1") == [], "none even had to be tried again"
    check_runs(lab.rows)
    # Opened by the first few failures, then one trial for each time that it had been left alone.
    assert len(asked_in_vain) <= _tolerated(down_at, up_at)
    _check_gradual(drill, up_at, closed_at.timestamp())


@pytest.mark.requirement("FM-TAW-010")
@pytest.mark.requirement("D6")
@on_a_pipeline
def test_without_any_model_votes_are_absent_with_reasons_decisions_hold_and_it_recovers_by_itself(drill: Drill) -> None:
    lab = drill.lab
    _check_it_would_trade(drill)
    lab.simulator.down()
    went_down, down_at = drill.now(), wall_time()
    time.sleep(TEN_MINUTES_S)
    came_back, up_at = drill.now(), wall_time()
    decisions = drill.decisions(went_down + _seconds(SETTLED_S), came_back)
    lab.simulator.up()
    after = _wait_unmarked(drill, came_back, 3)
    drill.stop()

    asked = {model: len(drill.calls_between(model, down_at, up_at)) for model in (PRIMARY, FALLBACK)}
    absent = lab.rows(
        "SELECT id, state, failure_source, reason FROM runs WHERE kind = %s AND state <> 'completed'", VOTE
    )
    print(  # noqa: T201
        f"\n{len(decisions)} decisions without a model, {len(absent)} votes absent "
        f"{Counter((row.state, row.failure_source) for row in absent)}; asked in vain {asked}; "
        f"first unmarked decision {(after[0].analyzed_at - came_back).total_seconds():.1f} s after the models' return; "
        f"e.g. {absent[0].reason if absent else None!r}"
    )
    assert decisions, "a decision is made, and says HOLD"
    assert {row.body["signal"] for row in decisions} == {"HOLD"}
    assert not any(row.body["tradable"] for row in decisions)
    assert all("quorum" in row.body["reasoning"] or "vote" in row.body["reasoning"] for row in decisions)
    assert absent, "votes are absent, not HOLD"
    for row in absent:
        assert row.reason, row
        assert row.failure_source in (None, "sovereign_error", "sovereign_timeout", "timeout"), row
        assert row.failure_source is None or task_breaker_weight(row.failure_source) == 0, row
        if row.failure_source in ("sovereign_error", "sovereign_timeout"):
            assert PRIMARY in row.reason, row
            assert FALLBACK in row.reason, row
    assert drill.failed("technical_analysis", "regime_detection", "trading_context", "trading_decision") == []
    check_runs(lab.rows)
    for model, calls in asked.items():
        assert calls <= _tolerated(down_at, up_at), model


GARBAGE = (
    *("nan", "infinity", "out_of_range", "off_enum", "string_numbers", "missing_fields", "duplicate_keys"),
    *("two_votes", "injected", "truncated", "trailing_comma", "babble", "refusal", "empty", "null_content"),
    *("tool_call", "garbage", "invalid_utf8", "not_http", "chunked_cut", "wrong_language"),
)


@pytest.mark.requirement("D4")
@pytest.mark.requirement("FM-001")
@pytest.mark.requirement("FM-TAW-005")
@on_a_pipeline
def test_while_every_answer_is_garbage_or_injected_nothing_is_tradable(drill: Drill) -> None:
    lab = drill.lab
    _check_it_would_trade(drill)
    steps = [{"mode": mode, "calls": 1} for mode in GARBAGE]
    began, began_at = drill.now(), wall_time()
    lab.simulator.script(steps=steps, repeat=True)
    time.sleep(TEN_MINUTES_S)
    ended, ended_at = drill.now(), wall_time()
    lab.simulator.behave(mode="ok")
    during = (began + _seconds(SETTLED_S), ended)
    votes, decisions = drill.votes(*during), drill.decisions(*during)
    after = _wait_unmarked(drill, ended, 3)
    drill.stop()

    calls = [call for model in (PRIMARY, FALLBACK) for call in drill.calls_between(model, began_at, ended_at)]
    said = Counter(call["outcome"] for call in calls)
    print(f"\n{len(decisions)} decisions, {len(votes)} votes from {sum(said.values())} answers: {dict(said)}")  # noqa: T201
    assert decisions
    assert votes == [], "none of these answers is a vote"
    assert {row.body["signal"] for row in decisions} == {"HOLD"}
    assert not any(row.body["tradable"] for row in decisions)
    assert len(said) >= 5, "several kinds of garbage were met"
    assert after
    check_runs(lab.rows)


@pytest.mark.requirement("D4")
@on_a_pipeline
def test_instructions_in_the_reasoning_are_kept_as_text_and_change_nothing(drill: Drill) -> None:
    lab = drill.lab
    healthy = drill.decisions(_long_ago(drill))
    began = drill.now()
    lab.simulator.behave(mode="injected_reasoning")
    drill.wait_decisions(began + _seconds(SETTLED_S), 4, "decisions on injected reasoning")
    drill.stop()
    votes = drill.votes(began + _seconds(SETTLED_S))
    assert votes
    for row in votes:
        assert not set("\x1b\u202e\u202c\n") & set(row.body["reasoning"]), row
        assert row.body["signal"] in ("BUY", "SELL", "HOLD")
    decisions = drill.decisions(began + _seconds(SETTLED_S))
    assert {row.body["signal"] for row in decisions} <= {"HOLD", *(row.body["signal"] for row in healthy)}
    assert all("\x1b" not in str(row.body["reasoning"]) for row in decisions)


NO_BREAKER = {
    "AAOS_SOVEREIGN__BREAKER__FAILURES_TO_OPEN": "100",
    "AAOS_SOVEREIGN__BREAKER__WINDOW_CALLS": "100",
    "AAOS_SOVEREIGN__BREAKER__WINDOW_FAILURE_SHARE": "1",
}
CONCURRENT = 16
FLAPPING = {
    **QUICK,
    "AAOS_KINDS__TRADING_ANALYSIS__MAX_CONCURRENT": f"{CONCURRENT}",
    "AAOS_SOVEREIGN__BREAKER__FAILURES_TO_OPEN": "3",
    "AAOS_SOVEREIGN__BREAKER__WINDOW_CALLS": "10",
    "AAOS_SOVEREIGN__BREAKER__OPEN_S": f"{BREAKER_OPEN_S:g}",
    "AAOS_SOVEREIGN__RETRY_DELAY_S": "0.05",
    "AAOS_SOVEREIGN__LIMITS__REQUESTS_PER_MINUTE": "100000",
    "AAOS_SOVEREIGN__LIMITS__TOKENS_PER_MINUTE": "100000000",
    "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DECISION": "1000000000",
    "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DAY": "1000000000",
}
FLAPPING_VOTES = 600
WINDOW_CALLS = BreakerRules().window_calls
# One that succeeds lets two more through; of two in a row one fails, and it is left alone again.
TRIALS_A_ROUND = 3


@pytest.mark.requirement("FM-005")
@pytest.mark.requirement("FM-TAW-010")
@pytest.mark.parametrize("lab", [FLAPPING, FLAPPING | NO_BREAKER], indirect=True, ids=["breaker", "no breaker"])
def test_a_primary_that_fails_every_second_time_is_not_hammered(lab: Lab, chance: Any, request: Any) -> None:
    storm = Storm(lab, chance)
    storm.start()
    lab.simulator.behave(mode="500", share=0.5, model=PRIMARY)
    drill, began, began_at = Drill(lab), lab.value("SELECT clock_timestamp()"), wall_time()
    votes = storm.launch(FLAPPING_VOTES)
    ended = lab.wait_final(votes, 120)
    took_s = wall_time() - began_at
    calls = lab.simulator.calls(PRIMARY)
    by_model = Counter(row[0] for row in lab.rows("SELECT body->>'model' FROM results WHERE kind = %s", VOTE))
    opened = drill.changes(PRIMARY, "breaker.opened", began)
    print(  # noqa: T201
        f"\n{request.node.callspec.id}: {len(calls)} calls to the primary, {FLAPPING_VOTES} votes in {took_s:.1f} s, "
        f"{60 * len(calls) / took_s:.0f} a minute; answered {dict(by_model)}; opened {len(opened)} times"
    )
    assert ended == {"completed": FLAPPING_VOTES}
    check_runs(lab.rows)
    if request.node.callspec.id == "no breaker":
        assert len(calls) >= FLAPPING_VOTES, "what the breaker spares it"
        return
    opened_at = opened[0].timestamp()
    later = drill.calls_between(PRIMARY, opened_at)
    left_alone_s = began_at + took_s - opened_at
    print(f"after it opened: {len(later)} calls in {left_alone_s:.1f} s, {60 * len(later) / left_alone_s:.0f} a minute")  # noqa: T201
    assert len(calls) - len(later) <= WINDOW_CALLS + CONCURRENT, "a window, and what was under way when it was full"
    assert len(later) <= TRIALS_A_ROUND * (left_alone_s / BREAKER_OPEN_S + 1), "then trials only"
    assert by_model[FALLBACK] > by_model[PRIMARY]


# --- what is checked ------------------------------------------------------------------------------------


def _check_marked(lab: Lab, vote: Any) -> None:
    """D3, FM-TAW-006: exactly × 0.8, what was said kept, flagged, audited."""
    body = vote.body
    assert body["fallback_used"], vote
    assert body["degraded_inference"], vote
    assert body["degradation_reason"] == "fallback_model_used", vote
    assert (body["model"], body["primary_model"]) == (FALLBACK, PRIMARY), vote
    assert Decimal(str(body["confidence"])) == Decimal(str(body["original_confidence"])) * MULTIPLIER, vote
    assert body["fallback_why"], vote
    (entry,) = lab.client.audit.entries(10, "vote.degraded", f"run:{vote.run_id}")
    assert entry.details["original_confidence"] == body["original_confidence"]


def _check_it_would_trade(drill: Drill) -> None:
    """That nothing is tradable says something only where something was."""
    healthy = drill.decisions(_long_ago(drill))
    signals = [(row.body["signal"], row.body["confidence"], row.body["tradable"]) for row in healthy]
    assert any(tradable for _, _, tradable in signals), signals


def _tolerated(begin: float, end: float) -> int:
    """Calls to a model that fails: what was under way when its breaker opened, then one per time it was left alone."""
    return UNDER_WAY + int((end - begin) / BREAKER_OPEN_S) + 1


def _check_gradual(drill: Drill, up_at: float, closed_at: float) -> None:
    """No stampede: until the breaker closed, never more trials at once than one more than had succeeded."""
    calls = drill.calls_between(PRIMARY, up_at, closed_at)
    assert calls, "somebody tried"
    seen = trials_at_once(calls)
    print(f"trials (others under way, successes before): {seen}")  # noqa: T201
    assert all(under_way <= successes for under_way, successes in seen), seen


def _wait_closed(drill: Drill, model: str, after: Any) -> None:
    drill.lab.wait_until(
        lambda: drill.changes(model, "breaker.closed", after), f"{model}'s breaker closes", RECOVERED_WITHIN_S
    )


def _wait_unmarked(drill: Drill, after: Any, count: int) -> list[Any]:
    """Decisions made of the primary's votes alone."""

    def unmarked() -> list[Any]:
        return [row for row in drill.decisions(after) if not row.body["degraded_inference"] and len(_cast(row)) == 3]

    drill.lab.wait_until(lambda: len(unmarked()) >= count, "decisions of the primary's votes", RECOVERED_WITHIN_S)
    return unmarked()


def _cast(decision: Any) -> list[Any]:
    return [vote for vote in decision.body["votes"] if "signal" in vote]


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _long_ago(drill: Drill) -> Any:
    return drill.now() - _seconds(3600)
