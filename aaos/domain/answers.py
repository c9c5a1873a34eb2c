"""What of a model's answer is believed.

A model's text is untrusted. `parse_vote` believes exactly one thing: a strict JSON object with a
sensible signal, confidence, risk score and reasoning. The rules, in order, all failing closed:

1. What stands before the first `</think>` is scratch paper if the answer begins with `<think>`, or if nothing in it
   starts like JSON: a vote, and behind it a tag and another vote, is two votes. Thoughts that never end, or that
   nothing follows, are no answer.
2. Objects are looked for at the top level of the text only, so in prose and code fences, never inside
   another object. Something that starts like JSON (`{"`) and is none makes the whole answer invalid:
   taking another object instead would be guessing which one the model meant.
3. Strict JSON: no duplicate key, NaN, Infinity, number beyond a double or a 64-bit integer, raw control
   character, or nesting deeper than MAX_DEPTH, anywhere in the object.
4. An object with a `signal` is a claim. Every claim must be valid, its fields spelt as asked; several must
   agree on signal, confidence and risk score, and the last one counts. Objects without a signal are
   illustrations.
5. Other fields go to `extras`, cleaned and bounded, and nothing decides by them.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

from aaos.domain.answer_formats import REASONING_MAX_CHARS, SIGNALS, VOTE_FIELDS, Signal
from aaos.errors import SovereignInvalidResponse

ANSWER_MAX_CHARS: Final = 1_048_576
"""A longer answer is not read: the longest that may be asked for, 32,768 tokens, has some 200,000 characters."""
EXTRAS_MAX_CHARS: Final = 8_192
"""Extras bigger than this (as JSON) are replaced by their size."""
MAX_DEPTH: Final = 16
"""Deepest nesting of an answer; the schema asks for 1, and Python's own limit is no contract."""
SHOWN_CHARS: Final = 40
"""What a message quotes of an untrusted value."""
INT64_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Vote:
    """A model's validated opinion; `confidence` and `risk_score` are in [0, 1], `extras` is not trusted."""

    signal: Signal
    confidence: float
    risk_score: float
    reasoning: str
    extras: dict[str, object]


def parse_vote(content: str) -> Vote:
    """Returns the vote in a model's answer, by the rules at the top of this file.

    Raises:
        SovereignInvalidResponse: there is none, or it breaks the contract; the message names what is
            wrong and `raw` keeps the content.
    """
    try:
        return _vote_in(_spoken(content))
    except _UnusableError as unusable:
        raise SovereignInvalidResponse(f"the model's answer is not a vote: {unusable}", raw=content) from None


class _UnusableError(Exception):
    """Why an answer cannot be used; never leaves `parse_vote`."""


def _vote_in(text: str) -> Vote:
    objects = _top_level_objects(text)
    claims = [found for found in objects if any(key.strip().casefold() == "signal" for key in found)]
    if not claims:
        raise _UnusableError("it holds no JSON object" if not objects else "its JSON has no field 'signal'")
    votes = [_checked(claim) for claim in claims]
    if len({(vote.signal, vote.confidence, vote.risk_score) for vote in votes}) > 1:
        raise _UnusableError(f"it holds {len(votes)} votes that contradict each other")
    return votes[-1]


def _spoken(content: str) -> str:
    """Returns what stands after a reasoning model's scratch paper."""
    if len(content) > ANSWER_MAX_CHARS:
        raise _UnusableError(f"it has {len(content)} characters, at most {ANSWER_MAX_CHARS} are read")
    thoughts, end, answer = content.partition("</think>")
    opened = thoughts.lstrip().startswith("<think>")
    if opened and not end:
        raise _UnusableError("its <think> section never ends (raise sovereign.max_tokens?)")
    if end and "}" not in answer:
        raise _UnusableError("it holds no JSON object behind </think>")
    return answer if end and (opened or not _LIKE_JSON.search(thoughts)) else content


_BRACE: Final = re.compile(r"[{}]")
_LIKE_JSON: Final = re.compile(r"\{[ \t\r\n]*[\"']")


def _top_level_objects(text: str) -> list[dict[str, Any]]:
    """Returns the JSON objects that stand in `text` outside any other braces."""
    objects: list[dict[str, Any]] = []
    position, depth = 0, 0
    while brace := _BRACE.search(text, position):
        position = brace.end()
        if brace.group() == "}":
            depth = max(depth - 1, 0)
        elif depth == 0 and _LIKE_JSON.match(text, brace.start()):
            found, position = _decoded(text, brace.start())
            objects.append(found)
        else:
            depth += 1
    return objects


def _decoded(text: str, start: int) -> tuple[dict[str, Any], int]:
    """Returns the object that begins at `start` and where it ends."""
    try:
        found, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _UnusableError(f"broken JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise _UnusableError(f"its JSON is nested deeper than {MAX_DEPTH}") from None
    _require_shallow(found)
    return cast("dict[str, Any]", found), end


def _require_shallow(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise _UnusableError(f"its JSON is nested deeper than {MAX_DEPTH}")


def _children(node: object) -> Sequence[object]:
    inside = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return [child for child in inside if isinstance(child, dict | list)]


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _UnusableError(f"the key {_shown(name)} stands twice in one object")
        found[name] = value
    return found


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _UnusableError(f"the number {_shown(digits)} is beyond a double")
    return number


def _bounded_int(digits: str) -> int:
    # The length first: Python refuses to convert thousands of digits, with an error of its own.
    if len(digits) > len(str(-INT64_MAX)) or abs(int(digits)) > INT64_MAX:
        raise _UnusableError(f"the integer {_shown(digits)} is beyond 64 bits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise _UnusableError(f"{name} is not a JSON number")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_float=_finite_float,
    parse_int=_bounded_int,
    parse_constant=_refuse_constant,
    strict=True,
)


def _checked(claim: dict[str, Any]) -> Vote:
    others = {name: value for name, value in claim.items() if name not in VOTE_FIELDS}
    misspelt = [name for name in others if name.strip().casefold() in VOTE_FIELDS]
    if misspelt:
        raise _UnusableError(f"the field {_shown(misspelt[0])} is not spelt as asked (lower case)")
    missing = [name for name in VOTE_FIELDS if name not in claim]
    if missing:
        raise _UnusableError(f"missing: {', '.join(missing)}")
    return Vote(
        signal=_signal(claim["signal"]),
        confidence=_fraction("confidence", claim["confidence"]),
        risk_score=_fraction("risk_score", claim["risk_score"]),
        reasoning=_reasoning(claim["reasoning"]),
        extras=_extras(others),
    )


def _signal(value: object) -> Signal:
    # ASCII only: "ſell".upper() is "SELL".
    if isinstance(value, str) and value.isascii():
        for signal in SIGNALS:
            if value.strip().upper() == signal:
                return signal
    raise _UnusableError(f"signal must be BUY, SELL or HOLD, not {_shown(value)}")


def _fraction(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _UnusableError(f"{name} must be a JSON number, not {_shown(value)}")
    if not 0 <= value <= 1:
        raise _UnusableError(f"{name} must be in [0, 1], not {_shown(value)}")
    return float(value) + 0.0  # -0.0 becomes 0.0


def _reasoning(value: object) -> str:
    if not isinstance(value, str):
        raise _UnusableError(f"reasoning must be a string, not {_shown(value)}")
    reasoning = _plain(value)
    if not reasoning:
        raise _UnusableError("reasoning is empty")
    if len(reasoning) > REASONING_MAX_CHARS:
        return reasoning[: REASONING_MAX_CHARS - 1] + "…"
    return reasoning


# Control characters, surrogates, and what reorders text on screen (but for the joiners some scripts need).
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS: Final = frozenset("\u200c\u200d")


def _plain(text: str) -> str:
    """Returns `text` on one line, without what could move a terminal's cursor or break a database column."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    kept = (c if c in _JOINERS or unicodedata.category(c) not in _UNPRINTABLE else " " for c in text)
    return " ".join("".join(kept).split())


def _extras(fields: dict[str, Any]) -> dict[str, object]:
    size = len(json.dumps(fields))
    if size > EXTRAS_MAX_CHARS:
        return {"dropped_chars": size}
    return cast("dict[str, object]", _plain_json(fields))


def _plain_json(value: object) -> object:
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, list):
        return [_plain_json(item) for item in value]
    if isinstance(value, dict):
        return {_plain(name): _plain_json(item) for name, item in value.items()}
    return value


def _shown(value: object) -> str:
    """Returns a short, printable form of untrusted `value` for a message."""
    shown = ascii(value)
    return shown if len(shown) <= SHOWN_CHARS else f"{shown[: SHOWN_CHARS - 1]}…"
