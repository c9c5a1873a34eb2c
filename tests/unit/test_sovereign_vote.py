"""What of a model's text is believed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aaos.domain.answer_formats import REASONING_MAX_CHARS, SIGNALS
from aaos.domain.answer_reading import EXTRAS_MAX_CHARS, MAX_DEPTH
from aaos.domain.answers import Vote, parse_vote
from aaos.errors import SovereignInvalidResponse

GOOD: dict[str, Any] = {
    "reasoning": "RSI 71, volume falls",
    "signal": "SELL",
    "confidence": 0.8,
    "risk_score": 0.3,
}


def answer(**changes: Any) -> str:
    return json.dumps(GOOD | changes)


def refused(content: str) -> str:
    with pytest.raises(SovereignInvalidResponse) as caught:
        parse_vote(content)
    assert caught.value.raw == content
    return str(caught.value)


def test_a_plain_object_is_a_vote():
    assert parse_vote(answer()) == Vote("SELL", 0.8, 0.3, "RSI 71, volume falls", {})


@pytest.mark.requirement("FM-001")
@pytest.mark.parametrize("word", ["buy", "Buy", "BUY", " hold ", "sElL"])
def test_the_signal_may_be_in_any_case(word):
    assert parse_vote(answer(signal=word)).signal == word.strip().upper()


@pytest.mark.requirement("FM-001")
@pytest.mark.parametrize(
    "word", ["", "STRONG BUY", "LONG", "ſell", "BUY\u200b", "ＢＵＹ", None, 1, True, ["BUY"], {"a": 1}]
)
def test_any_other_signal_is_refused(word):
    assert "signal must be BUY, SELL or HOLD" in refused(answer(signal=word))


@pytest.mark.requirement("FM-001")
@pytest.mark.parametrize("field", ["confidence", "risk_score"])
@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.5, 1e-9])
def test_confidence_and_risk_lie_from_0_to_1(field, value):
    assert getattr(parse_vote(answer(**{field: value})), field) == value


@pytest.mark.requirement("FM-001")
@pytest.mark.requirement("D4")
@pytest.mark.parametrize("field", ["confidence", "risk_score"])
@pytest.mark.parametrize("value", [-0.01, 1.01, 85, -1, 2**62, True, False, "0.8", "high", None, [0.8], {}])
def test_confidence_and_risk_must_be_real_numbers_in_range(field, value):
    assert field in refused(answer(**{field: value}))


def test_minus_zero_is_zero():
    assert math.copysign(1, parse_vote(answer(confidence=-0.0)).confidence) == 1


@pytest.mark.requirement("FM-001")
@pytest.mark.requirement("D4")
@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, str(2**63), "1" + "0" * 400 + ".0"],
)
@pytest.mark.parametrize("field", ["confidence", "note"])
def test_numbers_json_or_a_double_cannot_hold_void_the_answer_wherever_they_stand(field, number):
    refused(answer(**{field: "@"}).replace('"@"', number))


@pytest.mark.requirement("FM-001")
@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u0000", "\u200b", None, 5, ["because"]])
def test_reasoning_must_say_something(text):
    assert "reasoning" in refused(answer(reasoning=text))


def test_long_reasoning_is_cut():
    reasoning = parse_vote(answer(reasoning="x" * 50_000)).reasoning
    assert len(reasoning) == REASONING_MAX_CHARS
    assert reasoning.endswith("…")


def test_reasoning_loses_what_moves_a_cursor_reorders_text_or_breaks_a_column():
    said = "up\u0000 \u001b[2Jand\r\naway \u202eevil\u2066 \ud800 é 👍 می\u200cخواهم"
    assert parse_vote(answer(reasoning=said)).reasoning == "up [2Jand away evil é 👍 می\u200cخواهم"


@pytest.mark.requirement("FM-TAW-005")
@pytest.mark.parametrize("field", sorted(GOOD))
def test_a_missing_field_is_named(field):
    content = json.dumps({name: value for name, value in GOOD.items() if name != field})
    assert field in refused(content)


@pytest.mark.requirement("FM-TAW-005")
def test_unknown_fields_are_kept_aside():
    vote = parse_vote(answer(leverage=125, nested={"a": ["b\u0000c", None, True]}))
    assert vote.extras == {"leverage": 125, "nested": {"a": ["b c", None, True]}}


def test_extras_that_fill_a_table_are_replaced_by_their_size():
    extras = parse_vote(answer(filler="x" * EXTRAS_MAX_CHARS)).extras
    assert extras["dropped_chars"] > EXTRAS_MAX_CHARS
    assert list(extras) == ["dropped_chars"]


@pytest.mark.parametrize(
    "content",
    [
        f"Here is my vote:\n```json\n{answer()}\n```\nGood luck!",
        f"```\n{answer()}```",
        f"The set {{a, b}} of reasons convinces me. {answer()}",
        f'The figures were {{"rsi": 71}}, hence {answer()}',
        f"<think>BUY? {answer(signal='BUY')} No, {{ broken.</think>\n{answer()}",
        f"thoughts without their opening tag: {{ x }}, 3 < 4.</think>{answer()}",
        f"<think>Do I end with </think>? No.\n{answer()}",
        f"{answer()}\nOnce more: {answer(reasoning='RSI 71, volume falls')}",
        f"[{answer()}]",
        json.dumps(GOOD, indent=4),
        f"\ufeff{answer()}",
    ],
)
def test_the_vote_is_found_in_what_surrounds_it(content):
    assert parse_vote(content) == parse_vote(answer())


def test_a_vote_that_quotes_the_end_of_thoughts_is_whole():
    assert parse_vote(answer(reasoning="the news say </think> {x}")).reasoning == "the news say </think> {x}"


def test_of_votes_that_agree_the_last_one_counts():
    assert parse_vote(answer(reasoning="first") + answer(reasoning="second")).reasoning == "second"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "no JSON object"),
        ("I would buy, confidence 0.9", "no JSON object"),
        ("[]", "no JSON object"),
        ('"SELL"', "no JSON object"),
        ('{"rsi": 71}', "no field 'signal'"),
        (answer() + answer(signal="BUY"), "contradict"),
        (answer() + answer(confidence=0.81), "contradict"),
        (answer() + answer(signal="MAYBE"), "signal"),
        (answer(signal="MAYBE") + answer(), "signal"),
        (answer() + '{"signal": "BUY"}', "missing"),
        (json.dumps({"vote": GOOD}), "no field 'signal'"),
        (json.dumps({"vote": GOOD, "signal": "BUY"}), "missing"),
        (answer(Signal="BUY"), "not spelt as asked"),
        (json.dumps({"Signal": "SELL"}), "not spelt as asked"),
        ('{"alternatives": [' + answer(), "broken JSON"),
        ('{"signal": "BU' + answer(), "broken JSON"),
        (answer()[:-1] + ', "x": }', "broken JSON"),
        (answer()[:-1], "broken JSON"),
        (str(GOOD), "broken JSON"),
        ("{draft: " + answer() + "}", "no JSON object"),
        ("{ " + answer(), "no JSON object"),
        (json.dumps(answer()), "no JSON object"),
        ("<think>hm, " + answer(), "never ends"),
        (answer() + "</think>", "behind </think>"),
        (answer() + "</think>" + answer(signal="BUY"), "contradict"),
        ("<think>x</think>" + answer() + "</think>" + answer(signal="BUY"), "contradict"),
        (answer() + "<think>x</think>" + answer(signal="BUY"), "contradict"),
        (answer()[:-1] + ', "confidence": 0.1}', "twice"),
        (answer()[:-1] + ', "x": {"a": 1, "a": 2}}', "twice"),
        (answer().replace("RSI", "R\nSI"), "broken JSON"),
        (answer().replace("RSI", "R\x00SI"), "broken JSON"),
    ],
)
def test_what_could_be_read_in_two_ways_or_in_none_is_refused(content, why):
    assert why in refused(content)


@pytest.mark.parametrize("deep", [MAX_DEPTH, 900, 100_000])
def test_nesting_beyond_the_limit_is_refused_at_any_depth(deep):
    nested = "[" * deep + "]" * deep
    assert "nested deeper" in refused(answer()[:-1] + f', "x": {nested}}}')


def test_nesting_up_to_the_limit_is_kept_in_extras():
    nested = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse_vote(answer()[:-1] + f', "x": {nested}}}').signal == "SELL"


@pytest.mark.parametrize("piece", ["{", "}", '{"a":', "{ ", "<think>", '{"a":1}', "[", '"', "\\"])
@pytest.mark.timeout(5)
def test_a_quarter_megabyte_of_braces_is_read_in_linear_time(piece):
    refused(piece * (262_144 // len(piece)))


@pytest.mark.timeout(5)
def test_a_quarter_megabyte_of_keys_is_read_in_linear_time():
    many = ",".join(f'"{n}":{n}' for n in range(20_000))
    assert "twice" in refused(f'{{{many},"19999":0}}')


def is_sound(vote: Vote) -> bool:
    return (
        vote.signal in SIGNALS
        and all(type(n) is float and 0 <= n <= 1 for n in (vote.confidence, vote.risk_score))
        and 0 < len(vote.reasoning) <= REASONING_MAX_CHARS
        and vote.reasoning.isprintable() | ("\u200c" in vote.reasoning) | ("\u200d" in vote.reasoning)
        and "\\u0000" not in json.dumps(vote.extras, allow_nan=False)
    )


def parses_or_is_refused(content: str) -> None:
    try:
        vote = parse_vote(content)
    except SovereignInvalidResponse:
        return
    assert is_sound(vote)


anything = st.text(st.characters(), max_size=200)
pieces = st.sampled_from(
    [
        *'{}[]",:\\',
        '"signal"',
        '"confidence"',
        '"risk_score"',
        '"reasoning"',
        '"BUY"',
        "0.5",
        "NaN",
        "1e999",
        "```json\n",
        "</think>",
        answer(),
    ]
)
short = st.text(st.characters(), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | short,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.requirement("FM-001")
@given(anything)
@example("\ud800{")
def test_any_text_is_a_sound_vote_or_refused(content):
    parses_or_is_refused(content)


@pytest.mark.requirement("FM-001")
@given(st.lists(pieces | anything, max_size=30).map("".join))
def test_any_text_that_looks_like_an_answer_is_a_sound_vote_or_refused(content):
    parses_or_is_refused(content)


@pytest.mark.requirement("FM-001")
@given(
    st.dictionaries(st.sampled_from(sorted(GOOD)), json_values),
    st.dictionaries(short, json_values, max_size=3),
)
def test_any_object_is_a_sound_vote_or_refused(fields, others):
    parses_or_is_refused(json.dumps(GOOD | others | fields))
    parses_or_is_refused(json.dumps(fields))
