"""Counts texts with eleven real tokenizers: what `aaos.domain.tokens` is made from and held against.

They come inside packages, so nothing is downloaded beside them. In an environment of its own:

    pip install tiktoken==0.14.0 tokenizers==0.23.3 sentencepiece==0.2.3
    pip install --no-deps litellm==1.109.1 mistral-common==1.13.1 dashscope==2.0.2 llama-models==0.3.0

    python -m bench.token_texts              # in aaos's environment: texts, our own prompts among them
    python -m bench.tokenizers count         # in that environment: their counts, into tests/unit/token_counts.json
    python -m bench.tokenizers words         # what words cost, into aaos/domain/token_words.py
"""

from __future__ import annotations

import base64
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from aaos.domain.token_words import TOKENS_OF_WORD

ROOT = Path(__file__).parents[1]
COUNTS = ROOT / "tests" / "unit" / "token_counts.json"
WORDS = ROOT / "aaos" / "domain" / "token_words.py"

# How each tokenizer cuts a text before it merges; from the models' own published code.
_GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
_CL100K = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"""
    r"""\s*[\r\n]+|\s+(?!\S)|\s+"""
)
_QWEN = _CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
_O200K = (
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"""
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"""
    r"""\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
# Before and after a word, and how many tokens all but the word (and a space before it) may take.
_AROUND = ["1 {}", "1 {} 1", "1 {},", "1 {}\n", *(f"1{sign}{{}}" for sign in "\"_\n(./-,:'["), '1"{}"1', "1{}"]

Count = Callable[[str], int]
CL100K = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
COMMON_WORDS = 3_000
LEAST_SAVING = 2
"""A common word that saves less than this many tokens is not worth a place."""


def tokenizers() -> dict[str, Count]:
    """Returns the tokenizers by name."""
    litellm = _package("litellm") / "litellm_core_utils" / "tokenizers"
    mistral, llama = _package("mistral_common") / "data", _package("llama_models")
    return {
        "p50k": _bpe(litellm / "ec7223a39ce59f226a68acc30dc1af2788490e15", _GPT2),
        "cl100k": _bpe(litellm / CL100K, _CL100K),
        "o200k": _bpe(litellm / "fb374d419588a4632f3f557e76b4b70aebbca790", _O200K),
        "qwen": _bpe(_package("dashscope") / "resources" / "qwen.tiktoken", _QWEN),
        "llama-3": _bpe(llama / "llama3" / "tokenizer.model", _CL100K),
        "llama-4": _bpe(llama / "llama4" / "tokenizer.model", _O200K),
        "claude-2": _hugging_face(litellm / "anthropic_tokenizer.json"),
        "deepseek": _hugging_face(litellm / "deepseek_tokenizer.json"),
        "mistral-7b": _sentencepiece(mistral / "tokenizer.model.v1"),
        "mistral-v3": _sentencepiece(mistral / "mistral_instruct_tokenizer_240323.model.v3"),
        "tekken": _tekken(mistral / "tekken_240911.json"),
    }


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or found.origin is None:
        sys.exit(f"{name} is not installed here: see the top of {__file__}")
    return Path(found.origin).parent


def _bpe(ranks: Path, pattern: str) -> Count:
    return _tiktoken(_ranks(ranks), pattern)


def _ranks(path: Path) -> dict[bytes, int]:
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _tekken(path: Path) -> Count:
    said = json.loads(path.read_text(encoding="utf-8"))
    size = said["config"]["default_vocab_size"] - said["config"]["default_num_special_tokens"]
    ranks = {base64.b64decode(each["token_bytes"]): each["rank"] for each in said["vocab"][:size]}
    return _tiktoken(ranks, said["config"]["pattern"])


def _tiktoken(ranks: dict[bytes, int], pattern: str) -> Count:
    import tiktoken

    encoding = tiktoken.Encoding("measured", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode(text, disallowed_special=()))


def _hugging_face(path: Path) -> Count:
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(path))
    return lambda text: len(made.encode(text, add_special_tokens=False).ids)


def _sentencepiece(path: Path) -> Count:
    from sentencepiece import SentencePieceProcessor

    made = SentencePieceProcessor(model_file=str(path))
    return lambda text: len(made.encode(text))


def count() -> None:
    """Writes each text's tokens beside it."""
    kept: dict[str, Any] = json.loads(COUNTS.read_text(encoding="utf-8"))
    measured = tokenizers()
    for each in kept["texts"]:
        # A lone surrogate is no text that can be sent: servers get U+FFFD.
        sent = each["text"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        each["tokens"] = {name: tokens(sent) for name, tokens in measured.items()}
    COUNTS.write_text(json.dumps(kept, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


def words() -> None:
    """Writes the words that cost less than a token a letter: those known so far, our prompts', the commonest."""
    measured = tokenizers()
    costs: dict[int, list[str]] = {}
    for word in sorted(set(_our_words()) | set(_common_words(measured))):
        cost = _cost_of(word, measured)
        if cost < len(word):
            costs.setdefault(cost, []).append(word)
    rows = [f'    {cost}: """\n{textwrap.fill(" ".join(costs[cost]), 116)}\n""",\n' for cost in sorted(costs)]
    before, _, rest = WORDS.read_text(encoding="utf-8").partition("_WORDS: Final")
    after = rest[rest.index("TOKENS_OF_WORD") :]
    WORDS.write_text(f"{before}_WORDS: Final[Mapping[int, str]] = {{\n{''.join(rows)}}}\n{after}", encoding="utf-8")


def _our_words() -> Iterator[str]:
    yield from TOKENS_OF_WORD
    for each in json.loads(COUNTS.read_text(encoding="utf-8"))["texts"]:
        if each["name"].startswith("prompt"):
            yield from re.findall(r"[A-Za-z]+", each["text"])


def _common_words(measured: dict[str, Count]) -> Iterator[str]:
    """Yields words of the order in which cl100k learned them, which is that of their frequency."""
    ranks = _ranks(_package("litellm") / "litellm_core_utils" / "tokenizers" / CL100K)
    found = (re.fullmatch(rb" ([A-Za-z][a-z]{2,13})", token) for token in sorted(ranks, key=ranks.__getitem__))
    spelt = (match[1].decode() for match in found if match)
    yield from islice((word for word in spelt if len(word) - _cost_of(word, measured) >= LEAST_SAVING), COMMON_WORDS)


def _cost_of(word: str, measured: dict[str, Count]) -> int:
    return max(_cost(tokens, name, word) for name, tokens in measured.items())


def _cost(tokens: Count, name: str, word: str) -> int:
    # SentencePiece puts a blank before the text: a token that is none of the word's.
    first = name.startswith("mistral")
    allowed = {around: len(around.replace("{}", "")) - (" {}" in around) + first for around in _AROUND}
    return max(tokens(around.format(word)) - others for around, others in allowed.items())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["count"]:
            count()
        case ["words"]:
            words()
        case _:
            sys.exit(__doc__)
