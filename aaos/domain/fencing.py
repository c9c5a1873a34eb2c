"""Text from outside in a prompt: always data, and bounded.

A prompt is marks, instructions and data. Data is JSON in which `<`, `>`, `&`, what looks like them, the brackets of
`[INST]`-like marks and everything unseen are escaped: whatever a text says, it can neither end the block it stands in,
nor write a mark or a special token of a chat template, nor say what a person reading the prompt would not see. That
it may still say something persuasive cannot be prevented here; that a persuaded model can do no more than vote is what
`parse_vote` and the gates behind it are for (docs/prompts.md).

Standard library only: small processes read prompts, too.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from typing import Final

from aaos.domain.tokens import TokenCounter, estimate_tokens
from aaos.errors import InputError

OUTSIDE_OPEN: Final = "<outside_text>"
OUTSIDE_CLOSE: Final = "</outside_text>"
SOURCE_MAX_CHARS: Final = 80
"""A source is a name: of a feed, a paper, an account."""
MARKS_MAX: Final = 2
"""Combining marks kept in a row: Vietnamese needs two, text that climbs over its neighbours has dozens."""
READ_CHARS_PER_KEPT: Final = 4
"""So much of a text is looked at for each character to be kept, since some are dropped: a flood costs nothing."""
CHARS_PER_TOKEN_MAX: Final = 8
"""More of a text than this many characters a token is not tried: English has 4 or 5."""

# No structure of JSON begins so: "[" stands before a quote, digit, minus, bracket, brace, or t, f, n of a constant.
_BRACKET_MARK: Final = re.compile(r"\[(?=[/A-Zgs])")
_FOREIGN: Final = re.compile(r"[^\x00-\x7e]")
_LIKE_ANGLES: Final = frozenset(
    "\u2039\u203a\u2329\u232a\u276c\u276d\u276e\u276f\u27e8\u27e9\u3008\u3009\u1438\u02c2\u02c3\u1433"
)
# Each becomes a space: controls, surrogates, private use, unassigned, ends of lines and paragraphs, blanks.
_BLANK: Final = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
# Each goes: zero-width, bidi and tag characters are of category Cf; these look like nothing, whatever they are.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_CLIMBING: Final = re.compile(r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3,}")


def data_text(value: object) -> str:
    """Returns `value` as JSON in which no mark and no special token can stand; equal values, equal text.

    Raises:
        InputError: it has no JSON form.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the decision context has no JSON form: {error}") from error
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    text = _FOREIGN.sub(lambda found: _shown(found.group()), text)
    return _BRACKET_MARK.sub(r"\\u005b", text)


def bounded_quote(text: str, max_bytes: int) -> str:
    """Returns the longest beginning of `text` whose JSON string takes at most `max_bytes` (2 or more), quotes included.

    The bound is on what is sent: escaped, one character may take twelve bytes.
    """
    ends = range(min(len(text), max_bytes) + 1)
    fitting = bisect_right(ends, max_bytes, key=lambda end: len(data_text(text[:end]).encode()))
    return data_text(text[: fitting - 1])


def plain_text(text: str, max_chars: int) -> str:
    """Returns at most `max_chars` of `text`, on one line, of what a reader sees: nothing unseen, nothing bidi."""
    text = text[: READ_CHARS_PER_KEPT * max_chars]
    if not (text.isascii() and text.isprintable()):
        text = _CLIMBING.sub(lambda marks: marks.group()[:MARKS_MAX], _UNSEEN.sub("", text))
        text = "".join(map(_seen, text))
    return " ".join(text.split())[:max_chars].rstrip()


def fence_text(source: str, text: str, max_tokens: int, count: TokenCounter = estimate_tokens) -> str:
    """Returns outside text (news, a post) as a block of data for the user part of a prompt.

    Args:
        source: where it is from; outside text, too.
        text: whatever it says. How many of its characters are not told, unseen ones too, stands in `left_out_chars`.
        max_tokens: what the whole block takes at most; an empty one takes up to 500.
        count: bounds the tokens of a text.

    Raises:
        InputError: not even an empty block takes so few tokens.
    """
    name, plain = plain_text(source, SOURCE_MAX_CHARS), plain_text(text, CHARS_PER_TOKEN_MAX * max_tokens)

    def block(end: int) -> str:
        kept = plain[:end].rstrip()
        told = {"source": name, "text": kept, "left_out_chars": len(text) - len(kept)}
        return f"{OUTSIDE_OPEN}\n{data_text(told)}\n{OUTSIDE_CLOSE}"

    # Where a cut word takes more than the whole one, it is not quite the longest; but what is returned was counted.
    end = bisect_right(range(len(plain) + 1), max_tokens, key=lambda end: count(block(end))) - 1
    if end < 0:
        raise InputError(f"outside text cannot be told in {max_tokens} tokens: its source alone takes more")
    return block(end)


@lru_cache(maxsize=4096)
def _shown(char: str) -> str:
    """Returns the character, escaped as in JSON unless it is seen as itself."""
    seen = unicodedata.category(char) not in _BLANK | {"Cf"} and not _UNSEEN.match(char)
    plain = unicodedata.normalize("NFKC", char) == char and char not in _LIKE_ANGLES
    return char if seen and plain else json.dumps(char)[1:-1]


def _seen(char: str) -> str:
    category = unicodedata.category(char)
    return "" if category == "Cf" else " " if category in _BLANK else char
