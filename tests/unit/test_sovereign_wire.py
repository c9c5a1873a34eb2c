"""The HTTP dialect: whatever bytes come back, an answer or one of our errors comes out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.adapters.sovereign.client import SovereignClient
from aaos.adapters.sovereign.wire import (
    GRAMMAR_REPEATS_MAX,
    RAW_KEPT_CHARS,
    RETRY_AFTER_MAX_S,
    decode_answer,
    encode_request,
    refusal,
    retry_after_s,
)
from aaos.domain.answer_formats import VOTE_FORMAT
from aaos.domain.model_request import AnswerFormat, ModelRequest
from aaos.domain.sovereign import SovereignSettings
from aaos.domain.tokens import estimate_tokens, prompt_tokens
from aaos.errors import (
    AaosError,
    ConfigError,
    InputError,
    SovereignInvalidResponse,
    SovereignModelMissing,
    SovereignRequestRefused,
    SovereignUnavailable,
)

REQUEST = ModelRequest(model="m", system="be brief", user="well?", temperature=0.0, max_tokens=50, seed=3)
ENVELOPE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "m-q4",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hold"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 2},
}


def body(**changes: Any) -> bytes:
    return json.dumps(ENVELOPE | changes).encode()


def message(content: object, finish_reason: str = "stop") -> list[dict[str, Any]]:
    return [{"message": {"content": content}, "finish_reason": finish_reason}]


def test_the_request_carries_prompt_and_sampling():
    sent = json.loads(encode_request(REQUEST, SovereignSettings()))
    assert sent["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "well?"},
    ]
    assert (sent["model"], sent["temperature"], sent["max_tokens"], sent["seed"]) == ("m", 0.0, 50, 3)


def asked_for(schema: dict[str, Any]) -> ModelRequest:
    return replace(REQUEST, answer_format=AnswerFormat("vote", schema))


def test_an_answer_format_goes_along_as_json_schema():
    schema = {"type": "object", "required": ["signal"], "additionalProperties": False}
    sent = json.loads(encode_request(asked_for(schema), SovereignSettings()))
    assert sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "vote", "strict": True, "schema": schema},
    }


def test_schema_and_seed_can_be_left_out():
    unseeded = replace(asked_for({"type": "object"}), seed=None)
    sent = json.loads(encode_request(unseeded, SovereignSettings(json_schema=False)))
    assert sorted(sent) == ["max_tokens", "messages", "model", "temperature"]
    assert "response_format" not in json.loads(encode_request(REQUEST, SovereignSettings()))


def test_no_grammar_is_asked_to_repeat_more_often_than_llama_cpp_can():
    schema = {"properties": {"a": {"maxLength": 2_000}, "b": {"anyOf": [{"maxLength": 9}, {"maxLength": 65_536}]}}}
    sent = json.loads(encode_request(asked_for(schema), SovereignSettings()))
    fields = sent["response_format"]["json_schema"]["schema"]["properties"]
    assert fields["a"] == {"maxLength": GRAMMAR_REPEATS_MAX}
    assert fields["b"]["anyOf"] == [{"maxLength": 9}, {"maxLength": GRAMMAR_REPEATS_MAX}]
    assert schema["properties"]["a"] == {"maxLength": 2_000}


def test_a_votes_answer_format_is_sent_as_it_is_stored_and_hashed():
    sent = json.loads(encode_request(replace(REQUEST, answer_format=VOTE_FORMAT), SovereignSettings()))
    assert sent["response_format"]["json_schema"]["schema"] == VOTE_FORMAT.schema


@pytest.mark.parametrize(
    "change",
    [{"user": "\ud800"}, {"temperature": math.nan}, {"temperature": 3.0}, {"model": ""}, {"max_tokens": 0}],
)
def test_a_request_without_valid_json_form_is_not_sent(change):
    wanted = {"model": "m", "system": "s", "user": "u"} | change
    with pytest.raises(InputError, match="no request a model can be sent"):
        encode_request(ModelRequest(**wanted), SovereignSettings())


def test_the_answer_is_what_the_envelope_says():
    answer = decode_answer(body(), REQUEST, 12.5)
    assert (answer.model, answer.content, answer.tokens_in, answer.tokens_out) == ("m-q4", "hold", 11, 2)
    assert (answer.latency_ms, answer.finish_reason, answer.request_id) == (12.5, "stop", "chatcmpl-1")


def test_what_the_envelope_leaves_out_is_filled_in():
    lean = json.dumps({"choices": message("hold", "length")}).encode()
    answer = decode_answer(lean, REQUEST, 1.0, header_id="req-7")
    counted = (prompt_tokens(REQUEST), estimate_tokens("hold"))
    assert (answer.model, answer.tokens_in, answer.tokens_out) == ("m", *counted)
    assert (answer.finish_reason, answer.request_id) == ("length", "req-7")


def test_content_can_be_stored_whatever_it_holds():
    assert decode_answer(body(choices=message("a\u0000b")), REQUEST, 1.0).content == "a\ufffdb"


@pytest.mark.requirement("FM-TAW-005")
@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"{}",
        b'{"error": {"message": "no"}}',
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}',
        b'{"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}',
        b'{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": -1}}',
        b'{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 1e99}}',
        b'{"choices": [{"message": {"content": "a"}}], "x":' + b"[" * 100_000,
        body()[:-1],
    ],
)
def test_a_body_that_is_no_chat_completion_is_invalid_and_kept(bad):
    with pytest.raises(SovereignInvalidResponse) as caught:
        decode_answer(bad, REQUEST, 1.0)
    assert len(caught.value.raw) <= RAW_KEPT_CHARS
    assert caught.value.raw.encode("utf-8")[:4] == bad.decode("utf-8", "replace").replace("\0", "\ufffd").encode()[:4]


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda t: body(choices=message(t))[:-5] + t.encode()))
def test_any_bytes_are_an_answer_or_invalid(content):
    try:
        decode_answer(content, REQUEST, 1.0)
    except SovereignInvalidResponse as error:
        error.raw.encode("utf-8")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, SovereignUnavailable),
        (408, SovereignUnavailable),
        (500, SovereignUnavailable),
        (503, SovereignUnavailable),
        (599, SovereignUnavailable),
        (400, SovereignRequestRefused),
        (401, SovereignRequestRefused),
        (404, SovereignModelMissing),
        (422, SovereignRequestRefused),
        (307, SovereignRequestRefused),
        (499, SovereignRequestRefused),
    ],
)
def test_each_status_has_its_error(status, kind):
    error = refusal(status, None, b'{"error": "because"}')
    assert type(error) is kind
    assert f"HTTP {status}" in str(error)
    assert "because" in str(error)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_service_that_says_not_now_may_be_asked_again(status):
    error = refusal(status, 17.0, b"")
    assert isinstance(error, SovereignUnavailable)
    assert (error.status, error.retry_after_s, error.safe_to_retry) == (status, 17.0, True)
    assert "Retry-After: 17 s" in str(error)


def test_without_a_status_nothing_is_known_to_be_safe():
    assert not SovereignUnavailable("the connection broke").safe_to_retry


SUNDAY = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("999999", RETRY_AFTER_MAX_S),
        ("Sun, 06 Nov 1994 08:50:07 GMT", 30.0),
        ("Sunday, 06-Nov-94 08:50:07 GMT", 30.0),
        ("Sun Nov  6 08:50:07 1994", 30.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("Sun, 06 Nov 2094 08:49:00 GMT", RETRY_AFTER_MAX_S),
        (None, None),
        ("", None),
        ("-5", None),
        ("1e9", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("\u0661\u0667", None),
        ("9" * 5_000, None),
        ("Sun, 06 Nov 99999 08:49:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_moment_of_the_services_clock(value, seconds):
    assert retry_after_s(value, SUNDAY) == seconds


def test_a_moment_without_a_date_header_is_taken_by_our_clock():
    assert retry_after_s(SUNDAY) == 0.0
    assert retry_after_s("Sun, 06 Nov 2094 08:49:00 GMT", "yesterday") == RETRY_AFTER_MAX_S


@given(st.none() | st.text(max_size=60), st.none() | st.text(max_size=60))
def test_any_retry_after_is_a_bounded_wait_or_none(value, date):
    seconds = retry_after_s(value, date)
    assert seconds is None or 0.0 <= seconds <= RETRY_AFTER_MAX_S


@given(st.integers(100, 999), st.none() | st.floats(0, 3600), st.binary(max_size=400))
def test_a_refusals_message_is_one_short_printable_line(status, retry_after, content):
    error = refusal(status, retry_after, content)
    assert isinstance(error, AaosError)
    assert str(error).isprintable()
    assert str(error).isascii()
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000/v1",
        "ftp://h/v1",
        "http://",
        "http://h:port/v1",
        "http://h/v1?x=1",
        "http://[::1/v1",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url):
    with pytest.raises(ConfigError, match="URL"):
        SovereignClient(url, SovereignSettings())


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("key", ["sk-secret\nx", "sk-secret é", "sk secret", "sk-secret\x00"])
def test_a_key_no_header_can_carry_is_refused_without_showing_it(key):
    with pytest.raises(ConfigError) as caught:
        SovereignClient("http://127.0.0.1:1/v1", SovereignSettings(), api_key=key)
    assert "secret" not in str(caught.value)


@pytest.mark.requirement("S1")
def test_a_password_in_the_address_is_refused_without_showing_it():
    with pytest.raises(ConfigError) as caught:
        SovereignClient("http://me:sk-secret@127.0.0.1:1/v1", SovereignSettings())
    assert "secret" not in str(caught.value)


@pytest.mark.requirement("S1")
def test_the_key_is_not_in_the_repr():
    client = SovereignClient("http://127.0.0.1:1/v1", SovereignSettings(), api_key="sk-secret")
    assert "secret" not in repr(client) + str(client) + repr(vars(client))
