"""What the servers that aaos is made for say on the wire: shapes of vLLM, Ollama, llama.cpp and LM Studio."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aaos.adapters.sovereign.wire import decode_answer, refusal
from aaos.domain.model_request import ModelRequest
from aaos.errors import (
    SovereignInvalidResponse,
    SovereignModelMissing,
    SovereignRequestRefused,
    SovereignUnavailable,
)

REQUEST = ModelRequest(model="sovereign-32b", system="be brief", user="well?", max_tokens=50)
VOTE = '{"reasoning": "calm", "signal": "HOLD", "confidence": 0.5, "risk_score": 0.2}'


def vllm(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    spoken = {"role": "assistant", "refusal": None, "annotations": None, "audio": None, "function_call": None}
    spoken |= {"tool_calls": [], "reasoning": None, **message}
    choice = {"index": 0, "message": spoken, "logprobs": None, "finish_reason": finish, "stop_reason": None}
    usage = {"prompt_tokens": 11, "total_tokens": 32, "completion_tokens": 21, "prompt_tokens_details": None}
    body = {"id": "chatcmpl-5d0", "object": "chat.completion", "created": 1763731000, "model": "sovereign-32b"}
    return body | {"choices": [choice], "service_tier": None, "usage": usage, "kv_transfer_params": None}


def ollama(message: dict[str, Any], finish: str | None = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = {"id": "chatcmpl-611", "object": "chat.completion", "created": 1763731000, "model": "sovereign-32b"}
    usage = {"prompt_tokens": 11, "completion_tokens": 21, "total_tokens": 32}
    return body | {"system_fingerprint": "fp_ollama", "choices": [choice], "usage": usage}


def llama_cpp(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    choice = {"finish_reason": finish, "index": 0, "message": {"role": "assistant", **message}}
    usage = {"completion_tokens": 21, "prompt_tokens": 11, "total_tokens": 32}
    usage |= {"prompt_tokens_details": {"cached_tokens": 4}}  # type: ignore[dict-item]
    timings = {"cache_n": 4, "prompt_n": 7, "prompt_ms": 30.9, "predicted_n": 21, "predicted_ms": 661.1}
    body = {"choices": [choice], "created": 1763731000, "model": "sovereign-32b", "system_fingerprint": "b9948-cd"}
    return body | {"object": "chat.completion", "usage": usage, "id": "chatcmpl-zUr", "timings": timings}


def lm_studio(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    spoken = {"role": "assistant", "tool_calls": [], **message}
    choice = {"index": 0, "logprobs": None, "finish_reason": finish, "message": spoken}
    usage = {"prompt_tokens": 11, "completion_tokens": 21, "total_tokens": 32}
    body = {"id": "chatcmpl-t8t", "object": "chat.completion", "created": 1763731000, "model": "sovereign-32b"}
    return body | {"choices": [choice], "usage": usage, "stats": {}, "system_fingerprint": "sovereign-32b"}


SERVERS = {"vllm": vllm, "ollama": ollama, "llama.cpp": llama_cpp, "lm studio": lm_studio}
server = pytest.mark.parametrize("server", SERVERS.values(), ids=list(SERVERS))


def decoded(body: dict[str, Any], request: ModelRequest = REQUEST) -> Any:
    return decode_answer(json.dumps(body).encode(), request, 1.0)


@server
def test_an_answer_is_understood(server):
    answer = decoded(server({"content": VOTE}))
    assert (answer.content, answer.tokens_in, answer.tokens_out, answer.finish_reason) == (VOTE, 11, 21, "stop")
    assert answer.request_id.startswith("chatcmpl-")


@server
def test_an_answer_that_was_cut_off_is_passed_on_and_says_so(server):
    answer = decoded(server({"content": VOTE[:20]}, "length"))
    assert (answer.content, answer.finish_reason) == (VOTE[:20], "length")


@server
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thoughts_beside_the_answer_are_ignored(server, field):
    answer = decoded(server({"content": VOTE, field: '{"signal": "SELL"}'}))
    assert answer.content == VOTE


@server
@pytest.mark.requirement("FM-001")
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("content", [None, "", "\n\n"])
def test_thoughts_alone_are_no_answer_even_when_they_look_like_one(server, field, content):
    with pytest.raises(SovereignInvalidResponse, match="only thoughts"):
        decoded(server({"content": content, field: VOTE}))


@server
@pytest.mark.parametrize("content", [None, ""])
def test_tokens_spent_on_thinking_name_the_setting_to_raise(server, content):
    with pytest.raises(SovereignInvalidResponse, match=r"raise sovereign\.max_tokens"):
        decoded(server({"content": content, "reasoning": "Let me see"}, "length"))


def test_refusals_and_tool_calls_are_named():
    with pytest.raises(SovereignInvalidResponse, match="refuses"):
        decoded(vllm({"content": None, "refusal": "I cannot"}))
    with pytest.raises(SovereignInvalidResponse, match="calls a tool"):
        decoded(vllm({"content": None, "tool_calls": [{"function": {"name": "buy"}}]}, "tool_calls"))


def test_content_in_parts_is_the_text_of_its_text_parts():
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    parts += [{"type": "text", "text": VOTE[:9]}, {"type": "text", "text": VOTE[9:]}]
    assert decoded(vllm({"content": parts})).content == VOTE


@pytest.mark.parametrize("part", [{"type": "image_url"}, {"type": "text"}, {"text": "x"}, "x", 5, None])
def test_content_in_parts_of_other_kinds_is_refused(part):
    with pytest.raises(SovereignInvalidResponse):
        decoded(vllm({"content": [{"type": "text", "text": VOTE}, part]}))


def refused(status: int, said: object) -> Any:
    return refusal(status, None, json.dumps(said).encode())


MISSING: dict[str, tuple[int, object]] = {
    "vllm": (
        404,
        {"error": {"message": "The model `sovereign-32b` does not exist.", "type": "NotFoundError", "code": 404}},
    ),
    "vllm before 0.10": (
        404,
        {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404},
    ),
    "ollama": (404, {"error": {"message": "model 'sovereign-32b' not found", "type": "not_found_error"}}),
    "ollama before 0.12": (
        404,
        {"error": {"message": 'model "sovereign-32b" not found, try pulling it first', "type": "api_error"}},
    ),
    "llama.cpp router": (400, {"error": {"code": 400, "message": "model not found", "type": "invalid_request_error"}}),
    "llama.cpp router, named": (
        400,
        {"error": {"code": 400, "message": "model 'sovereign-32b' not found", "type": "invalid_request_error"}},
    ),
    "lm studio": (
        400,
        {"error": {"message": 'Invalid model identifier "x". Please specify …', "code": "model_not_found"}},
    ),
    "lm studio, nothing loaded": (400, {"error": "No models loaded. Please load a model in the developer page."}),
    "lm studio, cannot load": (400, {"error": 'Failed to load model "sovereign-32b". Error: out of memory.'}),
}


@pytest.mark.parametrize("case", sorted(MISSING))
def test_a_model_that_is_not_served_is_recognised_in_every_dialect(case):
    error = refused(*MISSING[case])
    assert type(error) is SovereignModelMissing
    assert "check the model's name" in str(error)


CONTEXT: dict[str, object] = {
    "vllm": {
        "error": {
            "message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
            "type": "BadRequestError",
            "param": "input_tokens",
            "code": 400,
        }
    },
    "vllm 0.16": {
        "error": {
            "message": "You passed 1015 input tokens and requested 10 output tokens. However, the model's context "
            "length is only 1024 tokens",
            "type": "BadRequestError",
            "code": 400,
        }
    },
    "llama.cpp": {
        "error": {
            "code": 400,
            "message": "request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 9412,
            "n_ctx": 8192,
        }
    },
}


@pytest.mark.parametrize("case", sorted(CONTEXT))
def test_a_context_window_that_is_too_short_is_named_as_the_remedy(case):
    error = refused(400, CONTEXT[case])
    assert type(error) is SovereignRequestRefused
    assert "give the service a longer context" in str(error)


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"code": 400, "message": "Failed to initialize samplers: failed to parse grammar"}},
        {"error": {"message": "'response_format.type' must be 'json_schema'", "code": 400}},
    ],
)
def test_a_schema_the_server_cannot_use_names_the_switch(said):
    error = refused(400, said)
    assert type(error) is SovereignRequestRefused
    assert "sovereign.json_schema to false" in str(error)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        (503, {"error": {"message": "server busy, please try again. maximum pending requests exceeded"}}),
        (500, {"error": {"message": "model requires more system memory (20 GiB) than is available", "code": None}}),
    ],
)
def test_a_server_that_is_loading_or_busy_may_be_asked_again(status, said):
    error = refused(status, said)
    assert isinstance(error, SovereignUnavailable)
    assert error.safe_to_retry


def candles(rows: int) -> ModelRequest:
    table = "\n".join(f"-{n} 42{n:03}.25 42{n:03}.75 41{n:03}.5 42{n:03} 1234.{n:03}" for n in range(rows))
    return ModelRequest(model="sovereign-32b", system="You are a careful analyst.", user=table)


@pytest.mark.requirement("FM-002")
@pytest.mark.parametrize("read", [2_050, 4_096])
def test_an_answer_to_a_prompt_that_was_cut_off_silently_is_refused(read):
    """Ollama with 4,096 tokens of context: in its newer versions half of that is what it keeps of a longer prompt."""
    body = ollama({"content": VOTE})
    body["usage"]["prompt_tokens"] = read
    with pytest.raises(SovereignInvalidResponse, match=f"a part of the prompt only: the service read {read} tokens"):
        decoded(body, candles(500))


@pytest.mark.parametrize("read", [0, None, 9_000, 17_000])
def test_a_prompt_read_whole_or_not_counted_is_taken_as_read(read):
    body = ollama({"content": VOTE})
    body["usage"]["prompt_tokens"] = read
    assert decoded(body, candles(500)).tokens_in == (
        read or decoded(ollama({"content": VOTE}) | {"usage": None}, candles(500)).tokens_in
    )
