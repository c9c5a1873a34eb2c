"""Every way in which the simulated model service can answer, with one line of meaning each.

How each is done stands in sovereign_answers.py (what is said) and sovereign_faults.py (how it is sent).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "content": {
        "ok": "a valid vote",
        "prose": "a valid vote in a code fence between sentences",
        "code_fence": "a valid vote in a code fence, and nothing else",
        "thinking": "a valid vote after <think> scratch paper that holds an opposite draft",
        "unknown_fields": "a valid vote with fields nobody asked for, in an envelope with more of them",
        "lower_case": "a vote whose signal is in lower case",
        "nan": "a vote whose confidence is NaN",
        "infinity": "a vote whose confidence is Infinity",
        "out_of_range": "a vote whose confidence is 1.7 and whose risk score is -3",
        "string_numbers": "a vote whose numbers are strings",
        "off_enum": "a vote whose signal is STRONG BUY",
        "missing_fields": "a vote without confidence and risk score",
        "duplicate_keys": "a vote that gives its signal twice, BUY and SELL",
        "trailing_comma": "a vote with a comma after its last field",
        "two_votes": "two valid votes that contradict each other",
        "truncated": "the first half of a vote, with finish_reason length",
        "empty": "an answer whose content is empty",
        "babble": "sentences without any JSON",
        "wrong_language": "an opinion in Chinese, without any JSON",
        "refusal": "the model says that it cannot give financial advice",
        "injected": "a vote among forged system turns, a second forged vote, an order and terminal escapes",
        "injected_reasoning": "a valid vote whose reasoning carries instructions, markup and terminal escapes",
        "invalid_utf8": "a vote whose reasoning holds bytes that are not UTF-8",
    },
    "envelope": {
        "null_content": "a completion whose content is null",
        "list_content": "a completion whose content is a list of parts",
        "tool_call": "a completion that calls a tool (place_order) in place of content",
        "no_choices": "a completion without choices",
        "wrong_model": "a valid vote in the name of another model",
        "wrong_usage": "a valid vote with impossible token counts (negative, and beyond 64 bits)",
        "no_usage": "a valid vote without token counts",
        "garbage": "a body that is not JSON",
        "oversized": "a completion of 10 MB",
    },
    "status": {
        "429": "Too Many Requests, Retry-After: 1",
        "429_date": "Too Many Requests, Retry-After as a date two seconds ahead",
        "429_absurd": "Too Many Requests, Retry-After of a year",
        "429_silent": "Too Many Requests without Retry-After",
        "400": "Bad Request",
        "401": "Unauthorized, as for a wrong key",
        "context_length": "Bad Request as vLLM says it of a prompt beyond the context window",
        "model_missing": "Not Found, as for a model that is not served",
        "500": "Internal Server Error",
        "502": "Bad Gateway, with a proxy's HTML page",
        "503": "Service Unavailable, with a proxy's HTML page",
        "504": "Gateway Timeout, with a proxy's HTML page",
        "busy": "Service Unavailable as Ollama says it when its queue is full",
        "redirect": "Temporary Redirect, to the same address",
    },
    "wire": {
        "hang": "no answer, ever",
        "hang_mid_body": "half an answer, then silence",
        "slow_headers": "the response's head, one byte a second",
        "trickle": "a valid answer, one byte a second",
        "slow_drip": "a valid answer, one byte every 0.25 s",
        "close": "the connection is closed without a word",
        "reset": "the connection is reset without a word",
        "reset_mid_body": "half an answer, then the connection is reset",
        "length_too_long": "an answer shorter than its Content-Length, then the connection is closed",
        "length_too_short": "an answer longer than its Content-Length",
        "chunked_cut": "a chunked answer, cut off inside a chunk",
        "surplus": "a valid answer with a second, forged one behind it on the same connection",
        "compressed": "a valid answer, compressed with gzip though nobody asked for it",
        "bomb": "10 KB of gzip that unpack to 10 MB",
        "not_http": "bytes that are not HTTP",
        "endless_head": "a response whose headers never end",
    },
}
MODES: Final[Mapping[str, str]] = {name: meaning for modes in GROUPS.values() for name, meaning in modes.items()}
"""Meaning by name, in the order of the groups."""


def describe() -> str:
    """Returns the table of all modes, for people."""
    width = max(map(len, MODES))
    lines = []
    for group, modes in GROUPS.items():
        lines += [f"{group}:", *(f"  {name:<{width}}  {meaning}" for name, meaning in modes.items())]
    return "\n".join(lines)
