"""How a model's answer is read: strictly, whatever it answers; `answers` says what is believed of a vote.

A model's text is untrusted. The rules, in order, all failing closed:

1. What stands before the first `</think>` is scratch paper if the answer begins with `<think>`, or if nothing in it
   starts like JSON: an object, and behind it a tag and another one, is two. Thoughts that never end, or that nothing
   follows, are no answer.
2. Objects are looked for at the top level of the text only, so in prose and code fences, never inside
   another object. Something that starts like JSON (`{"`) and is none makes the whole answer invalid:
   taking another object instead would be guessing which one the model meant.
3. Strict JSON: no duplicate key, NaN, Infinity, number beyond a double or a 64-bit integer, raw control
   character, or nesting deeper than MAX_DEPTH, anywhere in the object.
4. An object with the field that makes it one of those asked for (a vote's `signal`) is a claim; objects without it are
   illustrations. Every claim must have all its fields, spelt as asked.
5. Other fields are extras, cleaned and bounded, and nothing decides by them.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Final, NoReturn, cast

from aaos.domain.answer_formats import REASONING_MAX_CHARS

ANSWER_MAX_CHARS: Final = 1_048_576
"""A longer answer is not read: the longest that may be asked for, 32,768 tokens, has some 200,000 characters."""
EXTRAS_MAX_CHARS: Final = 8_192
"""Extras bigger than this (as JSON) are replaced by their size."""
MAX_DEPTH: Final = 16
"""Deepest nesting of an answer; the schema asks for 1, and Python's own limit is no contract."""
SHOWN_CHARS: Final = 40
"""What a message quotes of an untrusted value."""
INT64_MAX: Final = 2**63 - 1


class UnusableError(Exception):
    """Why an answer cannot be used; never leaves the function that reads a whole answer."""


def claims_in(content: str, marker: str) -> list[dict[str, Any]]:
    """Returns the objects in an answer that have the field `marker`, in any spelling; at least one.

    Raises:
        UnusableError: there is none, or the answer breaks the rules at the top of this file.
    """
    objects = _top_level_objects(_spoken(content))
    claims = [found for found in objects if any(key.strip().casefold() == marker for key in found)]
    if not claims:
        raise UnusableError("it holds no JSON object" if not objects else f"its JSON has no field '{marker}'")
    return claims


def extras_of(claim: dict[str, Any], asked: Sequence[str], required: Sequence[str]) -> dict[str, object]:
    """Returns the fields of a claim that nobody asked for, cleaned; raises UnusableError where a required one lacks."""
    others = {name: value for name, value in claim.items() if name not in asked}
    misspelt = [name for name in others if name.strip().casefold() in asked]
    if misspelt:
        raise UnusableError(f"the field {shown(misspelt[0])} is not spelt as asked (lower case)")
    missing = [name for name in required if name not in claim]
    if missing:
        raise UnusableError(f"missing: {', '.join(missing)}")
    return _extras(others)


def number(name: str, value: object) -> float:
    """Returns a finite number; raises UnusableError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableError(f"{name} must be a JSON number, not {shown(value)}")
    return float(value) + 0.0  # -0.0 becomes 0.0


def reasoning_of(value: object) -> str:
    """Returns a reasoning on one line, cut to what is stored; raises UnusableError where there is none."""
    if not isinstance(value, str):
        raise UnusableError(f"reasoning must be a string, not {shown(value)}")
    reasoning = _plain(value)
    if not reasoning:
        raise UnusableError("reasoning is empty")
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


def shown(value: object) -> str:
    """Returns a short, printable form of untrusted `value` for a message."""
    shown = ascii(value)
    return shown if len(shown) <= SHOWN_CHARS else f"{shown[: SHOWN_CHARS - 1]}…"


def _spoken(content: str) -> str:
    """Returns what stands after a reasoning model's scratch paper."""
    if len(content) > ANSWER_MAX_CHARS:
        raise UnusableError(f"it has {len(content)} characters, at most {ANSWER_MAX_CHARS} are read")
    thoughts, end, answer = content.partition("</think>")
    opened = thoughts.lstrip().startswith("<think>")
    if opened and not end:
        raise UnusableError("its <think> section never ends (raise sovereign.max_tokens?)")
    if end and "}" not in answer:
        raise UnusableError("it holds no JSON object behind </think>")
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
        raise UnusableError(f"broken JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise UnusableError(f"its JSON is nested deeper than {MAX_DEPTH}") from None
    _require_shallow(found)
    return cast("dict[str, Any]", found), end


def _require_shallow(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise UnusableError(f"its JSON is nested deeper than {MAX_DEPTH}")


def _children(node: object) -> Sequence[object]:
    inside = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return [child for child in inside if isinstance(child, dict | list)]


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise UnusableError(f"the key {shown(name)} stands twice in one object")
        found[name] = value
    return found


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise UnusableError(f"the number {shown(digits)} is beyond a double")
    return number


def _bounded_int(digits: str) -> int:
    # The length first: Python refuses to convert thousands of digits, with an error of its own.
    if len(digits) > len(str(-INT64_MAX)) or abs(int(digits)) > INT64_MAX:
        raise UnusableError(f"the integer {shown(digits)} is beyond 64 bits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise UnusableError(f"{name} is not a JSON number")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_float=_finite_float,
    parse_int=_bounded_int,
    parse_constant=_refuse_constant,
    strict=True,
)
