"""What models get wrong in an answer, one by one: what is accepted all the same, and what the refusal says."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aaos.domain.sovereign import Vote, parse_vote
from aaos.errors import SovereignInvalidResponse

GOOD: dict[str, Any] = {"reasoning": "RSI 71", "signal": "SELL", "confidence": 0.8, "risk_score": 0.3}
PLAIN = json.dumps(GOOD)
VOTE = Vote("SELL", 0.8, 0.3, "RSI 71", {})
TEN_MEGABYTES = 10_000_000
pytestmark = [pytest.mark.requirement("FM-001"), pytest.mark.requirement("FM-TAW-005"), pytest.mark.requirement("D4")]


def raw(**fields: str) -> str:
    """Returns the good answer with these fields written exactly so."""
    written = {name: json.dumps(value) for name, value in GOOD.items()} | fields
    return "{" + ", ".join(f'"{name}": {value}' for name, value in written.items()) + "}"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"I weighed the figures.\n\n{PLAIN}\n\nNot financial advice.", id="prose around it"),
        pytest.param(f"```json\n{PLAIN}\n```", id="a code fence"),
        pytest.param(f"```\n{PLAIN}", id="a code fence that never ends"),
        pytest.param(f"**Vote:** `{PLAIN}`", id="markdown"),
        pytest.param(f"\ufeff{PLAIN}", id="a byte order mark"),
        pytest.param(f"\x00{PLAIN}\x00", id="NUL around it"),
        pytest.param(f"<think>BUY? {{oh.</think>{PLAIN}", id="thoughts"),
        pytest.param(f"[{PLAIN}]", id="a list of one"),
        pytest.param(f"{PLAIN}{PLAIN}", id="the same vote twice"),
        pytest.param(f"{PLAIN},", id="a comma behind it"),
        pytest.param(f"}} {PLAIN}", id="a brace that closes nothing before it"),
        pytest.param(f"// my vote\n{PLAIN} # done", id="comments around it"),
        pytest.param(json.dumps(GOOD, indent=2).replace("\n", "\r\n"), id="line ends of Windows"),
        pytest.param(json.dumps(dict(reversed(GOOD.items()))), id="another order"),
        pytest.param(raw(signal='" sell "'), id="a signal in lower case"),
        pytest.param(raw(signal='"\\u0053ELL"'), id="a signal in escapes"),
        pytest.param(raw(confidence="8e-1"), id="a number in scientific form"),
        pytest.param(f"Ich empfehle zu verkaufen: {PLAIN}", id="prose in another language"),
    ],
)
def test_a_vote_in_any_wrapping_that_leaves_no_doubt_is_accepted(content):
    assert parse_vote(content) == VOTE


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param("", "no JSON object", id="empty"),
        pytest.param(" \n\t", "no JSON object", id="blank"),
        pytest.param("null", "no JSON object", id="null"),
        pytest.param("{}", "no JSON object", id="an empty object"),
        pytest.param("I'm sorry, but I cannot give financial advice.", "no JSON object", id="a refusal"),
        pytest.param('{"error": "I cannot give advice"}', "no field 'signal'", id="a refusal in JSON"),
        pytest.param("SELL, confidence 0.8", "no JSON object", id="only prose"),
        pytest.param("signal: SELL\nconfidence: 0.8", "no JSON object", id="YAML"),
        pytest.param("<vote><signal>SELL</signal></vote>", "no JSON object", id="XML"),
        pytest.param('["SELL", 0.8, 0.3, "RSI"]', "no JSON object", id="an array of values"),
        pytest.param(PLAIN[:-1] + ",}", "broken JSON", id="a trailing comma"),
        pytest.param(PLAIN[:40], "broken JSON", id="truncated in a string"),
        pytest.param(PLAIN[:-6], "broken JSON", id="truncated in a number"),
        pytest.param(PLAIN[:-1], "broken JSON", id="truncated before the last brace"),
        pytest.param(PLAIN.replace('"', "'"), "broken JSON", id="single quotes"),
        pytest.param(PLAIN.replace('"signal"', "signal"), "broken JSON", id="a name without quotes"),
        pytest.param(PLAIN.replace('"', "\u201d"), "no JSON object", id="curly quotes"),
        pytest.param(PLAIN.replace(",", ", // why", 1), "broken JSON", id="a comment inside"),
        pytest.param(PLAIN.replace(",", " /* why */,", 1), "broken JSON", id="a block comment inside"),
        pytest.param(PLAIN.replace("RSI", "R\nSI"), "broken JSON", id="a line end in a string"),
        pytest.param(PLAIN.replace("RSI", "R\x00SI"), "broken JSON", id="NUL in a string"),
        pytest.param(PLAIN.replace(":", "\uff1a"), "broken JSON", id="full-width colons"),
        pytest.param(raw(confidence="\uff10.\uff18"), "broken JSON", id="full-width digits"),
        pytest.param(raw(confidence="0,8"), "broken JSON", id="a decimal comma"),
        pytest.param(raw(confidence=".8"), "broken JSON", id="no digit before the point"),
        pytest.param(raw(confidence="+0.8"), "broken JSON", id="a plus sign"),
        pytest.param(raw(confidence="80%"), "broken JSON", id="a percent sign"),
        pytest.param(raw(confidence='"80%"'), "confidence must be a JSON number, not '80%'", id="a percentage as text"),
        pytest.param(raw(confidence="80"), "confidence must be in [0, 1], not 80", id="a percentage"),
        pytest.param(raw(risk_score="3"), "risk_score must be in [0, 1], not 3", id="a score of ten"),
        pytest.param(raw(confidence='"0.8"'), "confidence must be a JSON number, not '0.8'", id="a number as text"),
        pytest.param(raw(confidence='"high"'), "confidence must be a JSON number, not 'high'", id="a word"),
        pytest.param(raw(confidence="null"), "confidence must be a JSON number, not None", id="null as a number"),
        pytest.param(raw(confidence="true"), "confidence must be a JSON number, not True", id="true as a number"),
        pytest.param(raw(confidence="[0.8]"), "confidence must be a JSON number", id="a list as a number"),
        pytest.param(raw(confidence="NaN"), "NaN is not a JSON number", id="NaN"),
        pytest.param(raw(confidence="Infinity"), "Infinity is not a JSON number", id="Infinity"),
        pytest.param(raw(confidence="-Infinity"), "-Infinity is not a JSON number", id="minus Infinity"),
        pytest.param(raw(confidence="1e999"), "beyond a double", id="beyond a double"),
        pytest.param(raw(confidence="nan"), "broken JSON", id="nan in lower case"),
        pytest.param(raw(confidence="-0.1"), "confidence must be in [0, 1]", id="negative"),
        pytest.param(raw(signal='"STRONG_SELL"'), "signal must be BUY, SELL or HOLD", id="a signal of its own"),
        pytest.param(raw(signal='"\u0412UY"'), "signal must be BUY, SELL or HOLD", id="a Cyrillic letter in BUY"),
        pytest.param(raw(signal='"\uff33\uff25\uff2c\uff2c"'), "signal must be", id="a full-width signal"),
        pytest.param(raw(signal='"VERKAUFEN"'), "signal must be", id="a signal in German"),
        pytest.param(raw(signal='"\u5356\u51fa"'), "signal must be", id="a signal in Chinese"),
        pytest.param(raw(signal='["SELL"]'), "signal must be", id="a signal in a list"),
        pytest.param(raw(signal='"BUY|SELL|HOLD"'), "signal must be", id="the choice copied"),
        pytest.param(raw(reasoning='""'), "reasoning is empty", id="no reasoning"),
        pytest.param(raw(reasoning="null"), "reasoning must be a string", id="null as reasoning"),
        pytest.param(PLAIN.replace("signal", "Signal"), "not spelt as asked", id="a name in another case"),
        pytest.param(PLAIN.replace("risk_score", "riskScore"), "missing: risk_score", id="a name in camel case"),
        pytest.param(PLAIN.replace("signal", "s\u0456gnal"), "no field 'signal'", id="a Cyrillic letter in a name"),
        pytest.param(PLAIN.replace("confidence", "\u7f6e\u4fe1\u5ea6"), "missing: confidence", id="a translated name"),
        pytest.param(PLAIN[:-1] + ', "confidence": 0.9}', "stands twice", id="a duplicated key"),
        pytest.param(PLAIN[:-1] + ', "sign\\u0061l": "BUY"}', "stands twice", id="a duplicated key in escapes"),
        pytest.param(json.dumps({"vote": GOOD}), "no field 'signal'", id="nested"),
        pytest.param(json.dumps({"name": "vote", "arguments": GOOD}), "no field 'signal'", id="a tool call"),
        pytest.param(json.dumps({"type": "object", "properties": {"signal": {}}}), "no field", id="the schema"),
        pytest.param(json.dumps(PLAIN), "no JSON object", id="JSON in a string"),
        pytest.param(PLAIN + raw(signal='"BUY"'), "contradict", id="two votes"),
        pytest.param(f"[{PLAIN}, {raw(confidence='0.1')}]", "contradict", id="a list of two votes"),
        pytest.param(PLAIN + PLAIN[:30], "broken JSON", id="a vote and the beginning of another"),
        pytest.param("<think>the trend is " + PLAIN, "never ends", id="thoughts that never end"),
        pytest.param("<think>the trend is up</think>", "behind </think>", id="thoughts and no answer"),
        pytest.param(PLAIN + "</think> So be it.", "behind </think>", id="a vote in thoughts, and prose behind them"),
        pytest.param(PLAIN + "</think>" + raw(signal='"BUY"'), "contradict", id="a vote, and another behind thoughts"),
        pytest.param("\ufeff\ufeff", "no JSON object", id="only byte order marks"),
    ],
)
def test_anything_else_is_refused_by_naming_what_is_wrong(content, why):
    with pytest.raises(SovereignInvalidResponse) as caught:
        parse_vote(content)
    assert why in str(caught.value)
    assert caught.value.raw == content
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_fields_that_nobody_asked_for_are_set_aside_and_decide_nothing():
    vote = parse_vote(raw(leverage="125", approved="true", final_signal='"BUY"'))
    assert (vote.signal, vote.extras) == ("SELL", {"leverage": 125, "approved": True, "final_signal": "BUY"})


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        "}",
        "{}",
        '{"',
        '{"a":',
        '{"a":1}',
        "{ ",
        "{'",
        "[",
        "[{",
        '"',
        "\\",
        "<think>",
        "</think>",
        PLAIN,
        " ",
        "x",
    ],
)
@pytest.mark.timeout(3)
def test_ten_megabytes_of_anything_are_refused_at_once(piece):
    content = piece * (TEN_MEGABYTES // len(piece))
    started = time.process_time()
    with pytest.raises(SovereignInvalidResponse, match="characters, at most 1048576 are read"):
        parse_vote(content)
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize(
    "piece",
    ["{", "}", "{}", "{ ", '{"a":1}', "{'", "[", '"', "<think>", "</think>", "{" + " " * 50, "}{", "\u202e", "\x00"],
)
@pytest.mark.timeout(10)
def test_the_longest_answer_that_is_read_takes_time_in_proportion(piece):
    content = piece * (1_000_000 // len(piece))
    started = time.process_time()
    with pytest.raises(SovereignInvalidResponse):
        parse_vote(content)
    assert time.process_time() - started < 2.0  # 0.4 s at most; were it squared, it would take minutes


@pytest.mark.parametrize("field", ["reasoning", "note"])
@pytest.mark.parametrize("piece", ["x", "\\u0000", "\u202e", "\u0301", "\\ud800", "\U0001f680"])
@pytest.mark.timeout(10)
def test_a_long_text_in_a_vote_is_bounded_in_time_and_in_what_is_kept(field, piece):
    long = '"up ' + piece * (900_000 // len(piece)) + '"'
    started = time.process_time()
    vote = parse_vote(raw(**{field: long}))
    assert time.process_time() - started < 2.0
    assert len(vote.reasoning) <= 2_000
    assert len(json.dumps(vote.extras)) < 9_000


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) and value.isascii() else value


def _seen(value: object) -> object:
    return "".join(each if each.isprintable() else " " for each in value).strip() if isinstance(value, str) else value


class StrictVote(BaseModel):
    """The fields of a vote as a strict pydantic model, to which `parse_vote` is held (docs/decisions)."""

    model_config = ConfigDict(strict=True)
    reasoning: Annotated[str, BeforeValidator(_seen), Field(min_length=1)]
    signal: Annotated[Literal["BUY", "SELL", "HOLD"], BeforeValidator(_upper)]
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    risk_score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


ANY_VALUE = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(-0.5, 1.5)
    | st.sampled_from(["BUY", "sell", " Hold\t", "LONG", "\u017fELL", "0.8", "", " ", "\u200b", "why", "1"])
    | st.lists(st.integers(), max_size=1)
    | st.dictionaries(st.text(max_size=2), st.integers(), max_size=1)
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), ANY_VALUE))
@example({})
def test_a_strict_pydantic_model_of_the_fields_accepts_the_same_answers(fields):
    for given_fields in (GOOD | fields, fields):
        try:
            model: StrictVote | None = StrictVote.model_validate(given_fields)
        except ValidationError:
            model = None
        try:
            vote: Vote | None = parse_vote(json.dumps(given_fields))
        except SovereignInvalidResponse:
            vote = None
        assert (vote is None) == (model is None)
        if vote is not None and model is not None:
            assert (vote.signal, vote.confidence, vote.risk_score) == (model.signal, model.confidence, model.risk_score)
