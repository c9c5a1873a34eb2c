"""How many tokens a text takes: never too few, whatever the model's own tokenizer is.

All tokenizers in use fall back to bytes: no text takes more tokens than it has bytes in UTF-8, and one. That bound
holds for hostile text, too, but for words it is four times too much. So a run of ASCII letters that is a known word
counts as what it takes in the worst of eleven tokenizers (`token_words`), with the space before it; everything else,
digits, signs and unknown words, counts a token a byte: Llama 2, Mistral and Qwen split numbers digit by digit.

docs/prompts.md says how close this comes.
"""

from __future__ import annotations

import string
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aaos.domain.token_words import TOKENS_OF_WORD

if TYPE_CHECKING:
    from aaos.domain.model_request import ModelRequest

TokenCounter = Callable[[str], int]
"""Returns how many tokens a text takes at most."""

TEMPLATE_TOKENS: Final = 40
"""What a chat template puts around two messages: role marks (about 5 each), the start of text, the mark of the answer,
and the date lines of Llama 3.1's (about 25)."""
FIRST_BLANK: Final = 1
"""SentencePiece puts a blank before a text."""
READ_MAX_CHARS: Final = 60_000
"""A longer text, three times the context cap, counts by its bytes: nothing is asked with it anyway."""
REMEMBERED: Final = 16
"""Texts whose count is kept: one prompt is counted when it is made, sent and accounted for."""

_SPACE_BEFORE: Final = b"\x01"
# What is left of UTF-8: letters and spaces. Bytes of other scripts stay, too: beside them a tokenizer may split a word
# elsewhere, and with them it is none that was measured.
_LETTERS: Final = frozenset(string.ascii_letters.encode()) | {ord(" ")} | frozenset(range(0x80, 0x100))
_APART: Final = bytes(byte if byte in _LETTERS else ord("\n") for byte in range(0x100))


def estimate_tokens(text: str) -> int:
    """Returns how many tokens `text` takes at most; see the top of this file."""
    if not text:
        return 0
    return FIRST_BLANK + (_counted(text) if len(text) <= READ_MAX_CHARS else _bytes(text))


def prompt_tokens(request: ModelRequest, count: TokenCounter = estimate_tokens) -> int:
    """Returns how many tokens the request takes at most, the chat template's own included, the answer's not."""
    return count(request.system) + count(request.user) + TEMPLATE_TOKENS


@lru_cache(maxsize=REMEMBERED)
def _counted(text: str) -> int:
    # Cut by bytes.split, which is five times as fast as a regular expression.
    apart = text.encode("utf-8", "surrogatepass").translate(_APART).replace(b" ", b"\n" + _SPACE_BEFORE)
    return _bytes(text) - sum(times * _saved(word) for word, times in Counter(apart.split()).items())


def _saved(word: bytes) -> int:
    """Returns how many tokens fewer than bytes a word takes, with the space before it."""
    cost = TOKENS_OF_WORD.get(word.removeprefix(_SPACE_BEFORE).decode("latin-1"))
    return 0 if cost is None else len(word) - cost


def _bytes(text: str) -> int:
    """Returns the bytes of the text, or of its compatibility form, which some tokenizers make, if it has more."""
    if text.isascii():
        return len(text)
    compatible = unicodedata.normalize("NFKC", text)
    return max(len(each.encode("utf-8", "surrogatepass")) for each in (text, compatible))
