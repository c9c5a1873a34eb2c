"""A voter is asked with as much context as fits, and the vote says how much that was."""

from __future__ import annotations

from typing import Any

import pytest
from support.captured import captured_logs

from aaos.domain.prompts import PROMPT_VERSION, REPAIR_MAX_TOKENS, TIERS, build_vote_request, read_figures
from aaos.domain.prompts import repair_request as repaired
from aaos.domain.sovereign import SovereignSettings, require_fits
from aaos.domain.tokens import prompt_tokens
from aaos.errors import ContextTooLarge
from aaos.services.prepare_vote import PreparedVote, prepare_vote
from aaos.settings import Voter

MINUTE_MS = 60_000
VOTER = Voter(model="sovereign-32b", stance="reversal")
ROWS = [[n * MINUTE_MS, 100.0 + n % 31, 110.0 + n % 37, 90.0 - n % 29, 105.0 - n % 23, 7.25 + n] for n in range(500)]


def context(**changes: Any) -> dict[str, Any]:
    contributions = [{"name": "rsi", "value": 61.2, "points": 4.5, "why": "61.20 lies between 30 and 70"}] * 12
    return {
        "symbol": "BTC/USDT",
        "as_of": "2022-01-01T01:40:00Z",
        "market_time": "2022-01-01T01:40:00Z",
        "candles": {"timeframe": "1m", "rows": ROWS},
        "technical": {"direction": "long", "score": 42.0, "contributions": contributions},
        "regime": {"regime": "trending_up", "confidence": 0.7, "evidence": {"adx": 31.0}},
    } | changes


def prepared(budget: int = 18_000, cap: int = 20_000, **changes: Any) -> PreparedVote:
    settings = SovereignSettings(context_budget_tokens=budget, context_cap_tokens=cap)
    return prepare_vote(context(**changes), "contrary", VOTER, settings)


def size(tier: Any) -> int:
    asked = build_vote_request(context(), "contrary", VOTER.model, VOTER.stance, SovereignSettings(), tier)
    return prompt_tokens(asked)


@pytest.mark.requirement("FM-TAW-009")
def test_five_hundred_candles_fit_the_budget_as_shipped() -> None:
    made = prepared()
    assert (made.tier, made.tokens_saved, made.prompt_version) == ("full", 0, PROMPT_VERSION)
    said = read_figures(made.request.user)
    assert said is not None
    assert len(said["candles"]["rows"]) == 500
    assert made.prompt_tokens == prompt_tokens(made.request) <= 18_000


@pytest.mark.requirement("FM-TAW-009")
@pytest.mark.parametrize("tier", TIERS)
def test_the_fullest_tier_that_fits_is_taken_and_one_token_less_takes_the_next(tier: Any) -> None:
    assert prepared(size(tier)).tier == tier
    below = TIERS[TIERS.index(tier) + 1 :]
    if below:
        assert prepared(size(tier) - 1).tier == below[0]


@pytest.mark.requirement("FM-TAW-009")
@pytest.mark.parametrize("tier", TIERS[1:])
def test_a_lower_tier_says_how_many_tokens_it_saves_and_is_logged(tier: Any) -> None:
    with captured_logs() as logged:
        made = prepared(size(tier))
    assert made.prompt_tokens == size(tier)
    assert made.tokens_saved == size("full") - size(tier) > 0
    [event] = [each for each in logged if each["event"] == "context_reduced"]
    assert (event["tier"], event["tokens_saved"]) == (tier, made.tokens_saved)


def test_the_whole_context_is_not_worth_a_line_in_the_log() -> None:
    with captured_logs() as logged:
        prepared()
    assert logged == []


@pytest.mark.requirement("FM-002")
def test_what_fits_in_no_tier_is_refused_with_its_figures_and_the_remedy() -> None:
    least = size("indicators")
    with pytest.raises(ContextTooLarge) as caught:
        prepared(least - 1)
    said = str(caught.value)
    for figure in (least, size("full"), least - 1):
        assert str(figure) in said
    assert "raise sovereign.context_budget_tokens" in said


@pytest.mark.requirement("FM-002")
def test_evidence_that_floods_the_prompt_drops_out_and_figures_stay() -> None:
    flood = {"regime": "ranging", "evidence": {"note": "buy " * 100_000}}
    made = prepared(regime=flood)
    assert made.tier == "indicators"
    assert made.tokens_saved > 80_000
    said = read_figures(made.request.user)
    assert said is not None
    assert said["regime"] == {"regime": "ranging"}


@pytest.mark.requirement("FM-002")
def test_a_repair_of_the_fullest_prompt_still_fits_below_the_cap() -> None:
    cap = size("full") + REPAIR_MAX_TOKENS
    made = prepared(budget=cap, cap=cap)
    assert made.tier == "full"
    assert require_fits(repaired(made.request, "<" * 10_000, "&" * 10_000), cap) <= cap
    assert prepared(budget=cap - 1, cap=cap - 1).tier == "candles"


def test_another_counter_may_count() -> None:
    made = prepare_vote(context(), "contrary", VOTER, SovereignSettings(), count=lambda text: len(text) // 2)
    assert made.prompt_tokens < size("full")


def test_the_request_asks_the_voters_own_model_in_its_stance() -> None:
    made = prepared()
    assert made.request == build_vote_request(context(), "contrary", VOTER.model, "reversal", SovereignSettings())
