"""How long the simulated model service takes: distributions with a seed, so that a test sees the same delays again."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final

LATENCY_MAX_MS: Final = 600_000.0
TOKENS_PER_S_MAX: Final = 1e6
Z_99: Final = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""
OWN: Final = "own"
"""Stands for the latency of the model's character."""
FORMS: Final = (
    'a number of milliseconds, or "fixed:MS", "uniform:LEAST:MOST", "lognormal:P50:P99", '
    f'"tokens:FIRST_MS:TOKENS_PER_S" or "{OWN}"'
)
_FIGURES: Final = {"fixed": 1, "uniform": 2, "lognormal": 2, "tokens": 2, OWN: 0}


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of delays.

    Attributes:
        kind: fixed, uniform, lognormal, tokens or own.
        figures: milliseconds, but for tokens' second figure, which is tokens per second.
    """

    kind: str = "fixed"
    figures: tuple[float, ...] = (0.0,)

    def __str__(self) -> str:
        return ":".join([self.kind, *(f"{figure:g}" for figure in self.figures)])

    def sample_ms(self, seed: str, tokens_out: int) -> float:
        """Returns one delay: the same for the same seed, at most LATENCY_MAX_MS.

        The lognormal is given by its median and its 99th percentile: mu = ln p50, sigma = ln(p99 / p50) / z(0.99).
        """
        if self.kind == "uniform":
            least, most = self.figures
            return least + (most - least) * _uniforms(seed)[0]
        if self.kind == "lognormal":
            p50, p99 = self.figures
            return min(LATENCY_MAX_MS, p50 * math.exp(math.log(p99 / p50) / Z_99 * _normal(seed)))
        if self.kind == "tokens":
            first_ms, tokens_per_s = self.figures
            return min(LATENCY_MAX_MS, first_ms + 1000 * tokens_out / tokens_per_s)
        return self.figures[0] if self.figures else 0.0


NONE: Final = Latency()


def read_latency(value: object) -> Latency:
    """Returns the latency that a request or a flag asks for; raises ValueError naming what may stand there."""
    if isinstance(value, str):
        kind, *words = value.split(":")
        latency = Latency(kind, tuple(_figure(word) for word in words))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        latency = Latency("fixed", (float(value),))
    else:
        raise ValueError(f"latency must be {FORMS}, not {value!r:.80}")
    if _FIGURES.get(latency.kind) != len(latency.figures) or not _makes_sense(latency):
        raise ValueError(
            f"latency must be {FORMS}, 0 to {LATENCY_MAX_MS:g} ms, the larger figure last, not {value!r:.80}"
        )
    return latency


def _figure(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _makes_sense(latency: Latency) -> bool:
    if not all(0 <= figure <= LATENCY_MAX_MS for figure in latency.figures[:1]):
        return False
    if latency.kind in ("fixed", OWN):
        return True
    first, second = latency.figures
    if latency.kind == "tokens":
        return 0 < second <= TOKENS_PER_S_MAX
    return (latency.kind == "uniform" or first > 0) and first <= second <= LATENCY_MAX_MS


def _uniforms(seed: str) -> tuple[float, float]:
    """Returns two numbers in (0, 1) that follow from the seed."""
    digest = hashlib.sha256(seed.encode("utf-8", "replace")).digest()
    first, second = (int.from_bytes(part, "big") for part in (digest[:8], digest[8:16]))
    return (first + 0.5) / 2**64, (second + 0.5) / 2**64


def _normal(seed: str) -> float:
    """Returns a standard normal deviate (Box and Muller, 1958)."""
    first, second = _uniforms(seed)
    return math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)
