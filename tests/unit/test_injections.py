"""Hostile texts, wherever they may stand: the question keeps its structure, and an answer stays a vote or is none."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from injection_corpus import INJECTIONS, VALID_VOTES

from aaos.domain.answer_formats import REASONING_MAX_CHARS, SIGNALS
from aaos.domain.fencing import OUTSIDE_CLOSE, OUTSIDE_OPEN, fence_text
from aaos.domain.model_request import ModelRequest
from aaos.domain.prompts import (
    DATA_CLOSE,
    DATA_OPEN,
    REPAIR_MAX_TOKENS,
    build_vote_request,
    read_figures,
    repair_request,
)
from aaos.domain.sovereign import SovereignSettings, Vote, parse_vote
from aaos.domain.tokens import estimate_tokens
from aaos.errors import SovereignInvalidResponse

MINUTE_MS = 60_000
MARKS = (DATA_OPEN, DATA_CLOSE, OUTSIDE_OPEN, OUTSIDE_CLOSE)
SPECIAL = ("<|", "|>", "<s>", "</s>", "<think>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]", "[gMASK]")
FIELDS = ("symbol", "timeframe", "direction", "why", "name of a figure", "regime", "evidence", "name of evidence")
GOOD = {"reasoning": "thin", "signal": "HOLD", "confidence": 0.4, "risk_score": 0.6}
ALL = pytest.mark.parametrize("name", sorted(INJECTIONS))
pytestmark = pytest.mark.requirement("FM-TAW-005")


def context(planted: str = "", field: str | None = None) -> dict[str, Any]:
    """Returns a decision's context, with the text in that field."""

    def put(name: str, usual: str) -> str:
        return planted if field == name else usual

    rows = [[n * MINUTE_MS, 100.0 + n, 101.0 + n, 99.0 + n, 100.5 + n, 7.25] for n in range(20)]
    return {
        "symbol": put("symbol", "BTC/USDT"),
        "as_of": "2022-01-01T01:40:00Z",
        "market_time": "2022-01-01T01:40:00Z",
        "candles": {"timeframe": put("timeframe", "1m"), "rows": rows},
        "technical": {
            "direction": put("direction", "long"),
            "contributions": [{"name": "rsi", "why": put("why", "61.2 lies between 30 and 70")}],
            "indicators": {put("name of a figure", "rsi"): 61.2},
        },
        "regime": {
            "regime": put("regime", "trending_up"),
            "evidence": {put("name of evidence", "adx"): put("evidence", "31")},
        },
    }


def asked(told: dict[str, Any]) -> ModelRequest:
    return build_vote_request(told, "trend", "sovereign-32b", "trend", SovereignSettings(), "full")


def instructions(request: ModelRequest) -> tuple[str, str, str]:
    """Returns what a request says outside its data: nothing of it may depend on the data."""
    before, _, rest = request.user.partition(DATA_OPEN)
    return request.system, before, rest.rpartition(DATA_CLOSE)[2]


def marks(text: str) -> list[int]:
    return [text.count(mark) for mark in MARKS]


HARMLESS = asked(context())


@ALL
def test_a_text_planted_in_the_figures_stays_in_the_figures(name):
    for field in FIELDS:
        request = asked(context(INJECTIONS[name], field))
        assert instructions(request) == instructions(HARMLESS), field
        assert marks(request.user) == [1, 1, 0, 0], field
        inside = request.user.partition(DATA_OPEN)[2].partition(DATA_CLOSE)[0].strip("\n")
        assert not any(special in inside for special in SPECIAL), field
        assert inside.isprintable(), field


@ALL
def test_the_figures_around_a_planted_text_are_read_as_they_were(name):
    found, usual = (read_figures(asked(context(text, "evidence")).user) for text in (INJECTIONS[name], "31"))
    assert found is not None
    assert usual is not None
    assert found["regime"].pop("evidence") == {"adx": INJECTIONS[name]}
    del usual["regime"]["evidence"]
    assert found == usual


@ALL
def test_a_text_in_the_name_of_a_voter_does_not_become_an_instruction_of_its_own(name):
    request = build_vote_request(context(), INJECTIONS[name][:200], "m", "trend", SovereignSettings())
    assert marks(request.user) == [1, 1, 0, 0]
    assert not any(special in request.system + request.user for special in SPECIAL)


@ALL
def test_an_answer_and_its_fault_are_quoted_as_data_and_leave_the_question_alone(name):
    text = INJECTIONS[name]
    again, usual = (repair_request(HARMLESS, said, fault) for said, fault in ((text, text), ("hm", "hm")))
    assert again.system == HARMLESS.system
    assert again.user.startswith(HARMLESS.user)
    assert marks(again.user) == marks(usual.user) == [1, 1, 1, 1]
    assert not any(special in again.user for special in SPECIAL)
    assert again.user.count("\n") == usual.user.count("\n")
    added = estimate_tokens(again.user) - estimate_tokens(HARMLESS.user)
    assert added <= REPAIR_MAX_TOKENS


@ALL
def test_news_is_fenced_behind_the_figures_without_touching_them(name):
    block = fence_text(INJECTIONS[name], INJECTIONS[name], 1_500)
    assert marks(block) == [0, 0, 1, 1]
    assert not any(special in block for special in SPECIAL)
    assert len(block.splitlines()) == 3
    assert estimate_tokens(block) <= 1_500


def is_sound(vote: Vote) -> bool:
    return (
        vote.signal in SIGNALS
        and all(
            type(each) is float and math.isfinite(each) and 0 <= each <= 1
            for each in (vote.confidence, vote.risk_score)
        )
        and 0 < len(vote.reasoning) <= REASONING_MAX_CHARS
        and set(Vote.__slots__) == {"signal", "confidence", "risk_score", "reasoning", "extras"}
    )


def is_sound_or_refused(content: str) -> bool:
    try:
        return is_sound(parse_vote(content))
    except SovereignInvalidResponse as refused:
        return refused.raw == content


@ALL
def test_an_answer_that_echoes_the_text_is_refused_unless_it_is_a_vote_word_for_word(name):
    if name in VALID_VOTES:
        assert is_sound(parse_vote(INJECTIONS[name]))
        return
    with pytest.raises(SovereignInvalidResponse, match="not a vote"):
        parse_vote(INJECTIONS[name])


@ALL
def test_a_vote_that_holds_the_text_where_a_choice_or_a_number_belongs_is_refused(name):
    for field in ("signal", "confidence", "risk_score"):
        with pytest.raises(SovereignInvalidResponse, match=field):
            parse_vote(json.dumps(GOOD | {field: INJECTIONS[name][:50_000]}))


@ALL
def test_a_vote_that_holds_the_text_where_text_belongs_is_the_same_vote(name):
    text = INJECTIONS[name][:50_000]
    if not text.strip("\n\u200b"):
        with pytest.raises(SovereignInvalidResponse, match="reasoning is empty"):
            parse_vote(json.dumps(GOOD | {"reasoning": text}))
        return
    for field in ("reasoning", "leverage", "Vote"):
        vote = parse_vote(json.dumps(GOOD | {field: text}))
        assert is_sound(vote), field
        assert (vote.signal, vote.confidence, vote.risk_score) == ("HOLD", 0.4, 0.6), field


@ALL
def test_a_text_quoted_beside_the_vote_changes_nothing_of_it_but_may_void_it(name):
    for form in ("{text}\n{vote}", "{vote}\n{text}", "> {text}\n\n```json\n{vote}\n```"):
        try:
            vote = parse_vote(form.format(text=INJECTIONS[name], vote=json.dumps(GOOD)))
        except SovereignInvalidResponse:
            continue
        assert (vote.signal, vote.confidence, vote.risk_score) == ("HOLD", 0.4, 0.6), form


@given(st.lists(st.sampled_from([text for text in INJECTIONS.values() if len(text) < 2_000]), max_size=6))
def test_texts_one_after_another_make_no_mark_either(texts):
    text = "".join(texts)
    request = asked(context(text, "evidence"))
    assert instructions(request) == instructions(HARMLESS)
    assert marks(repair_request(request, text, text).user) == [1, 1, 1, 1]
    assert is_sound_or_refused(text)
