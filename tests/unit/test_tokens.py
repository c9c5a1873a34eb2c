"""Tokens are never counted too few: held against the counts of eleven real tokenizers (bench/tokenizers.py)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.model_request import ModelRequest
from aaos.domain.prompts import STANCES, build_vote_request, repair_request
from aaos.domain.sovereign import SovereignSettings
from aaos.domain.token_words import TOKENS_OF_WORD
from aaos.domain.tokens import READ_MAX_CHARS, TEMPLATE_TOKENS, estimate_tokens, prompt_tokens

TEXTS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "token_counts.json").read_text("utf-8"))["texts"]
OUR_PROMPTS = [each for each in TEXTS if each["name"].startswith("prompt")]
TOKENIZERS = {
    *("p50k", "cl100k", "o200k", "qwen", "llama-3", "llama-4"),
    *("claude-2", "deepseek", "mistral-7b", "mistral-v3", "tekken"),
}
TOO_MANY_AT_MOST = 1.3
"""How often too many our own prompts may be counted, against the tokenizer that takes most."""


@pytest.mark.requirement("FM-TAW-009")
@pytest.mark.parametrize("text", TEXTS, ids=lambda each: each["name"])
def test_no_real_tokenizer_takes_more_tokens_than_are_counted(text: dict[str, Any]) -> None:
    assert set(text["tokens"]) == TOKENIZERS
    assert estimate_tokens(text["text"]) >= max(text["tokens"].values())


@pytest.mark.requirement("FM-TAW-009")
@pytest.mark.parametrize("text", OUR_PROMPTS, ids=lambda each: each["name"])
def test_our_own_prompts_are_counted_closely(text: dict[str, Any]) -> None:
    assert estimate_tokens(text["text"]) <= TOO_MANY_AT_MOST * max(text["tokens"].values())


def instructions() -> Iterator[str]:
    context = {
        "symbol": "BTC/USDT",
        "as_of": "",
        "market_time": "",
        "candles": {"timeframe": "1m", "rows": [[0, 1.0, 1.0, 1.0, 1.0, 1.0]]},
        "technical": {},
        "regime": {},
    }
    for stance in STANCES:
        asked = build_vote_request(context, "trend", "m", stance, SovereignSettings())
        yield asked.system
        yield repair_request(asked, "", "broken").user


def test_every_word_of_our_instructions_was_measured() -> None:
    words = {word for text in instructions() for word in re.findall(r"[A-Za-z]{2,}", text)}
    assert sorted(words - set(TOKENS_OF_WORD)) == []


def test_a_known_word_never_costs_more_than_a_token_a_letter() -> None:
    assert all(0 < cost < len(word) for word, cost in TOKENS_OF_WORD.items())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("7", 2),
        ("12345", 6),
        ("[1.5,2]", 8),
        (" 1", 3),
        ("the price", 3),
        ("qxzj", 5),
        ("é", 3),
        ("中", 4),
        ("\ud800", 4),
        ("\ufdfa", 34),
        ("éthe", 6),
        ("theé", 6),
    ],
    ids=repr,
)
def test_words_count_as_measured_and_all_else_a_token_a_byte_and_one_for_the_beginning(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@given(st.text(max_size=200), st.sampled_from(["", " ", "the ", "price", "0.5,", "é"]))
def test_no_text_counts_less_with_more_of_it_or_more_than_its_bytes(text: str, more: str) -> None:
    assert estimate_tokens(text) <= estimate_tokens(text + "," + more)
    if text.isascii():
        assert estimate_tokens(text) <= len(text) + 1


def test_a_text_too_long_to_be_sent_counts_by_its_bytes() -> None:
    assert estimate_tokens("the " * READ_MAX_CHARS) == 4 * READ_MAX_CHARS + 1


def test_a_request_takes_its_parts_and_what_a_chat_template_puts_around_them() -> None:
    assert prompt_tokens(ModelRequest("m", "the", "price")) == 2 + 2 + TEMPLATE_TOKENS
    assert prompt_tokens(ModelRequest("m", "abc", "de"), count=len) == 5 + TEMPLATE_TOKENS
