"""Text from outside in a prompt: bounded, seen as itself, and never a mark."""

from __future__ import annotations

import json
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from injection_corpus import INJECTIONS

from aaos.domain.fencing import (
    MARKS_MAX,
    OUTSIDE_CLOSE,
    OUTSIDE_OPEN,
    bounded_quote,
    data_text,
    fence_text,
    plain_text,
)
from aaos.domain.tokens import estimate_tokens
from aaos.errors import InputError

ANYTHING = st.text(st.characters(), max_size=60) | st.sampled_from(sorted(INJECTIONS.values(), key=len)[:-8])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANYTHING, inner, max_size=3),
    max_leaves=6,
)
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def told(block: str) -> dict[str, Any]:
    opening, data, closing = block.split("\n")
    assert (opening, closing) == (OUTSIDE_OPEN, OUTSIDE_CLOSE)
    found: dict[str, Any] = json.loads(data)
    return found


def is_harmless(text: str) -> bool:
    return not set(text) & set("<>&") and all(
        unicodedata.category(each) not in UNSEEN and unicodedata.normalize("NFKC", each) == each for each in text
    )


@given(VALUES)
def test_data_comes_back_as_it_was_and_holds_no_mark_and_nothing_unseen(value):
    text = data_text(value)
    assert is_harmless(text)
    assert json.loads(text) == json.loads(json.dumps(value))


@given(ANYTHING)
def test_a_text_of_what_is_seen_as_itself_is_told_in_its_own_letters(text):
    plain = plain_text("".join(filter(str.isalnum, unicodedata.normalize("NFKC", text))), 1_000)
    plain = "".join(each for each in plain if unicodedata.normalize("NFKC", each) == each)
    assert data_text(plain) == f'"{plain}"'


@pytest.mark.parametrize(
    "mark", ["[INST]", "[/INST]", "[TOOL_CALLS]", "[/TOOL_RESULTS]", "[SYSTEM_PROMPT]", "[gMASK]", "[CLS]", "[MASK]"]
)
def test_a_bracketed_mark_of_a_chat_template_is_broken(mark):
    assert mark not in data_text([mark, {mark: mark}])
    assert json.loads(data_text([mark, {mark: mark}])) == [mark, {mark: mark}]


@pytest.mark.parametrize("char", "\u2039\u203a\u2329\u3008\u3009\u27e8\u27e9\u276e\u276f\uff1c\uff1e\ufe64\u1438")
def test_what_looks_like_an_angle_bracket_is_escaped(char):
    assert data_text(f"a{char}b") == f'"a\\u{ord(char):04x}b"'


@pytest.mark.parametrize("char", "\u034f\u115f\u3164\u2800\ufe0f\u180b\u200b\u202e\u2028\u0085\ue000\u00a0")
def test_what_is_not_seen_is_escaped(char):
    assert data_text(f"a{char}b") == f'"a\\u{ord(char):04x}b"'


def test_tags_and_selectors_beyond_the_first_plane_are_escaped():
    assert data_text("a\U000e0041\U000e0100b") == '"a\\udb40\\udc41\\udb40\\udd00b"'


def test_the_structure_of_json_keeps_its_brackets():
    value = [[], [1, -1], [True], [False], [None], ["A"], [{}], {"a": []}]
    assert data_text(value) == json.dumps(value, separators=(",", ":"))


@pytest.mark.parametrize("value", [object(), {1: object()}, float("nan"), float("inf"), {"a": 1, 2: "b"}])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(InputError, match="no JSON form"):
        data_text(value)


@given(ANYTHING, st.integers(2, 200))
def test_a_quote_is_the_longest_beginning_that_fits_when_escaped(text, most):
    quoted = bounded_quote(text, most)
    kept: str = json.loads(quoted)
    assert len(quoted.encode()) <= most
    assert text.startswith(kept)
    assert kept == text or len(data_text(text[: len(kept) + 1]).encode()) > most


@pytest.mark.timeout(2)
@pytest.mark.parametrize("name", [name for name in INJECTIONS if name.startswith("flood")])
def test_a_flood_is_bounded_and_costs_nothing(name):
    flood = INJECTIONS[name] * 100
    assert len(bounded_quote(flood, 1_200).encode()) <= 1_200
    assert estimate_tokens(fence_text("feed", flood, 500)) <= 500


def test_of_ten_megabytes_only_the_beginning_is_looked_at():
    started = time.process_time()
    assert plain_text("\U0001f680" * 10_000_000, 500) == "\U0001f680" * 500
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("name", sorted(INJECTIONS))
def test_a_fenced_text_is_one_block_of_data(name):
    block = fence_text("feed", INJECTIONS[name], 800)
    assert estimate_tokens(block) <= 800
    assert is_harmless(block.removeprefix(OUTSIDE_OPEN).removesuffix(OUTSIDE_CLOSE).replace("\n", ""))
    assert set(told(block)) == {"source", "text", "left_out_chars"}


@given(ANYTHING, ANYTHING, st.integers(500, 700))
def test_any_text_of_any_source_is_one_block_within_its_bound(source, text, most):
    block = fence_text(source, text, most)
    assert estimate_tokens(block) <= most
    assert told(block)["text"] in plain_text(text, len(text))


def test_a_headline_is_told_as_it_is():
    said = "Bitcoin fällt unter 40.000 $: “nur eine Pause”, sagt 陈"
    assert told(fence_text("Börsen-Zeitung", said, 500)) == {
        "source": "Börsen-Zeitung",
        "text": said,
        "left_out_chars": 0,
    }


def test_what_is_left_out_is_told():
    found = told(fence_text("feed", "word " * 10_000, 500))
    assert 1_000 < len(found["text"]) < 2_500
    assert found["left_out_chars"] + len(found["text"]) == 50_000


def test_a_bound_that_leaves_no_room_for_a_block_is_refused():
    with pytest.raises(InputError, match="in 20 tokens"):
        fence_text("feed", "word", 20)


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("ig\u00adno\u200bre\u2060", "ignore"),
        ("\u202eYUB\u202c \u2067now\u2069", "YUB now"),
        ("a\x00b\x1b[2Jc", "a b [2Jc"),
        ("a\r\n\t\u2028b", "a b"),
        ("a\ue000\ud800b", "a b"),
        ("a\u3164\u2800\ufe0fb", "ab"),
        ("up" + "".join(chr(0xE0000 + ord(each)) for each in "sell"), "up"),
        ("e\u0301\u0316\u0334\u0489x", "e\u0301\u0316x"),
        ("Việt Nam, עִבְרִית, हिन्दी, 日本", "Việt Nam, עִבְרִית, हिन्दी, 日本"),
    ],
)
def test_a_plain_text_is_what_a_reader_sees(said, seen):
    assert plain_text(said, 100) == seen


def test_marks_on_a_letter_are_few():
    assert MARKS_MAX == 2
    assert len(plain_text(INJECTIONS["zalgo"], 1_000)) <= 3 * len("buy now")


@given(ANYTHING, st.integers(1, 30))
def test_a_plain_text_is_one_bounded_line_and_plain_already(text, most):
    plain = plain_text(text, most)
    assert len(plain) <= most
    assert len(plain.splitlines()) <= 1
    assert plain_text(plain, most) == plain
