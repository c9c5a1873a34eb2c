"""What a person's verdict lets through to risk, and how a review is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell_examples import StoredResults, a_decision_story, stored, tampered

from aaos.domain.approvals import Approval, Waiting, cleared_for_risk
from aaos.domain.results import content_hash
from aaos.ports import ResultRecord
from aaos.services.approve_decision import cleared_for_risk as record_cleared_for_risk
from aaos.services.explain_run import explain
from aaos.shell.explanation import Explained
from aaos.shell.results import DecisionResult, VoteResult, typed
from aaos.shell.reviews import WaitingList, left, standing

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=900)
REVIEW = {"required": True, "expires_after_s": 900, "why": "fallback_model_used for trend (small)"}
HELD: dict[str, Any] = {"signal": "BUY", "confidence": 0.72, "tradable": False, "review": REVIEW}
TRADABLE: dict[str, Any] = {"signal": "BUY", "confidence": 0.9, "tradable": True}


def verdict(body: dict[str, Any] = HELD, said: str = "approved", at: datetime = NOW, run_id: int = 7) -> Approval:
    return Approval(run_id, content_hash(body), said, "ada", "seen", at)  # type: ignore[arg-type]


def refusal(body: dict[str, Any] = HELD, given: Approval | None = None, now: datetime = NOW) -> str | None:
    return cleared_for_risk(7, body, NOW, given, now)


@pytest.mark.requirement("R1")
def test_a_tradable_decision_needs_nobody_and_an_untradable_one_has_no_way_through() -> None:
    assert refusal(TRADABLE) is None
    assert refusal(TRADABLE | {"tradable": False}) == "the decision is not tradable"
    assert refusal(TRADABLE | {"signal": "HOLD"}) == "HOLD trades nothing"


@pytest.mark.requirement("R1")
@pytest.mark.parametrize(
    ("given", "now", "why"),
    [
        (None, NOW, "no person has approved it; it waits until 2026-01-01T12:15:00+00:00"),
        (None, LATER, "its time for review ended at 2026-01-01T12:15:00+00:00"),
        (verdict(said="refused"), NOW, "refused by ada: seen"),
        (verdict(HELD | {"confidence": 0.73}), NOW, "the verdict of ada is about another decision"),
        (verdict(run_id=8), NOW, "the verdict of ada is about another decision"),
        (verdict(at=LATER), NOW, "its time for review ended at 2026-01-01T12:15:00+00:00"),
        (verdict(), LATER, "its time for review ended at 2026-01-01T12:15:00+00:00"),
        (verdict(), LATER - timedelta(seconds=1), None),
    ],
)
def test_a_held_decision_goes_through_with_a_timely_approval_of_exactly_its_content(
    given: Approval | None, now: datetime, why: str | None
) -> None:
    assert refusal(HELD, given, now) == why


@pytest.mark.requirement("R1")
@given(
    st.booleans(),
    st.sampled_from(["BUY", "SELL", "HOLD"]),
    st.none() | st.sampled_from(["approved", "refused"]),
    st.integers(-100, 2000),
    st.integers(-100, 2000),
)
def test_nothing_held_goes_through_without_an_approval_whatever_tradable_says(
    tradable: bool, signal: str, said: str | None, given_s: int, used_s: int
) -> None:
    body = HELD | {"tradable": tradable, "signal": signal}
    given = None if said is None else verdict(body, said, NOW + timedelta(seconds=given_s))
    through = refusal(body, given, NOW + timedelta(seconds=used_s)) is None
    assert through == (signal != "HOLD" and said == "approved" and given_s < 900 and used_s < 900)


@pytest.mark.requirement("R1")
def test_only_a_decision_can_be_cleared_for_risk() -> None:
    decision, results = a_decision_story()
    assert "is a technical_analysis, no decision" in str(record_cleared_for_risk(results.rows[1], None, NOW))
    assert record_cleared_for_risk(decision, None, NOW) == (
        None if decision.body["tradable"] else "the decision is not tradable"
    )


# --- how it is shown --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "now", "shown"),
    [
        (None, NOW, "waits for approval until 2026-01-01 12:15:00Z"),
        (None, LATER, "not approved, expired 2026-01-01 12:15:00Z"),
        (verdict(), NOW, "approved by ada at 2026-01-01 12:00:00Z: seen"),
        (verdict(), LATER, "approved by ada at 2026-01-01 12:00:00Z: seen; expired 2026-01-01 12:15:00Z"),
        (verdict(said="refused"), LATER, "refused by ada at 2026-01-01 12:00:00Z: seen"),
    ],
)
def test_where_a_review_stands_is_said_in_words(given: Approval | None, now: datetime, shown: str) -> None:
    assert standing(HELD, NOW, given, now) == shown
    assert standing(TRADABLE, NOW, None, now) is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (-3, "0 s"), (59.9, "59 s"), (845, "14 min 5 s"), (3600, "1 h 0 min"), (7322, "2 h 2 min")],
)
def test_time_left_reads_as_people_say_it(seconds: float, shown: str) -> None:
    assert left(seconds) == shown


def test_what_waits_prints_as_a_table_and_nothing_says_so() -> None:
    waiting = WaitingList([Waiting(7, "BTC/USDT", "BUY", 0.72, "fallback_model_used for trend", "ab", NOW, 845)])
    header, row = repr(waiting).splitlines()
    assert header.split() == ["run", "symbol", "signal", "confidence", "expires", "in", "why"]
    assert row.split()[:7] == ["7", "BTC/USDT", "BUY", "0.72", "14", "min", "5"]
    assert waiting.to_dicts()[0]["analyzed_at"] == NOW.isoformat()
    assert repr(WaitingList()) == "no decision waits for a person"


def test_what_a_reason_holds_cannot_act_on_the_terminal_that_lists_what_waits() -> None:
    why = "fallback_model_used for trend (\x1b[2J\u202e\n" + "x" * 100_000
    shown = repr(WaitingList([Waiting(7, "BTC/USDT", "BUY", 0.72, why, "ab", NOW, 845)]))
    assert not {"\x1b", "\u202e"} & set(shown)
    assert len(shown) < 5_000


TRUST = {
    "confidence": 0.64,
    "original_confidence": 0.8,
    "trust_factor": 0.8,
    "trust_source": "prior",
    "fallback_used": True,
    "degraded_inference": True,
    "degradation_reason": "fallback_model_used",
    "model": "sovereign-7b",
    "primary_model": "sovereign-32b",
    "fallback_why": "2 calls failed, the last: no answer within 60 s",
    "context_tier": "full",
    "failed_attempts": [
        {"code": "SovereignTimeout", "message": "no answer\x1b[2J within 60 s", "model": "sovereign-32b",
         "retryable": True, "failure_source": "sovereign_timeout", "attempt": 1, "elapsed_ms": 60000.4},
        {"code": "SovereignInvalidResponse", "message": "not JSON", "model": "sovereign-32b", "retryable": False,
         "failure_source": "sovereign_invalid", "attempt": 2, "elapsed_ms": 812.0},
    ],
}  # fmt: skip


def a_degraded_vote() -> ResultRecord:
    _, results = a_decision_story()
    return stored(5, "trading_analysis", {**results.rows[5].body, **TRUST})


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("FM-003")
@pytest.mark.requirement("FM-006")
def test_a_degraded_vote_is_explained_with_both_figures_and_every_failed_call() -> None:
    vote = a_degraded_vote()
    text = "\n".join(Explained(explain(vote, StoredResults(vote))).lines())
    for shown in (
        "trend (sovereign-7b, fallback) BUY 0.80 → 0.64",
        "by the fallback model sovereign-7b in place of sovereign-32b: 2 calls failed, the last: no answer within 60 s",
        "confidence 0.8 × 0.8 = 0.64 (the configured factor, fallback_model_used)",
        "failed: sovereign-32b (attempt 1, 60000 ms): SovereignTimeout: no answer?[2J within 60 s",
        "failed: sovereign-32b (attempt 2, 812 ms): SovereignInvalidResponse: not JSON",
        "full context",
    ):
        assert shown in text, shown


def test_a_degraded_vote_is_typed_and_one_stored_before_distrust_was_reads_as_it_did() -> None:
    vote, (_, results) = typed(a_degraded_vote()), a_decision_story()
    assert isinstance(vote, VoteResult)
    assert (vote.confidence, vote.original_confidence, vote.trust_factor) == (0.64, 0.8, 0.8)
    assert [each["code"] for each in vote.failed_attempts] == ["SovereignTimeout", "SovereignInvalidResponse"]
    old = typed(results.rows[5])
    assert isinstance(old, VoteResult)
    assert (old.original_confidence, old.trust_factor, old.headline) == (0.8, 1.0, "trend (big) BUY 0.80")


def test_a_decision_says_that_it_needs_a_person_and_shows_each_votes_two_figures() -> None:
    decision, results = a_decision_story()
    votes = [{"run": 1, "voter": "trend", "model": "sovereign-7b", "signal": "BUY", "confidence": 0.64,
              "original_confidence": 0.8, "fallback_used": True},
             {"run": 2, "voter": "risk", "absent": "no answer"}, {"run": 3, "absent": "gone"},
             {"run": 4, "voter": "old", "model": "big", "signal": "BUY", "confidence": 0.7}]  # fmt: skip
    held = typed(tampered(decision, review=REVIEW, votes=votes))
    assert isinstance(held, DecisionResult)
    assert "needs a person's approval" in held.headline
    assert [str(vote) for vote in held.votes] == [
        "trend: BUY 0.80 → 0.64, sovereign-7b, fallback",
        "risk: absent (no answer)",
        "run 3: absent (gone)",
        "old: BUY 0.70, big",
    ]
    shown = "\n".join(Explained(explain(decision, results), "waits for approval until 12:15").lines())
    assert "review: waits for approval until 12:15" in shown
