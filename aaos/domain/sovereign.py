"""Sovereign, the language-model service: how it is asked.

What it is asked stands in `prompts`, what of its answers is believed in `answers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from aaos.domain.answer_formats import SIGNALS, VOTE_SCHEMA, Signal
from aaos.domain.answers import Vote, parse_vote
from aaos.domain.breakers import BreakerRules
from aaos.domain.call_limits import CallLimits
from aaos.domain.llm_budget import BudgetRules
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.tokens import prompt_tokens
from aaos.errors import ContextTooLarge

__all__ = [
    "SIGNALS",
    "VOTE_SCHEMA",
    "ModelAnswer",
    "ModelRequest",
    "Signal",
    "SovereignSettings",
    "Vote",
    "parse_vote",
    "require_fits",
    "storable",
]


@dataclass(frozen=True, slots=True)
class SovereignSettings:
    """Section `sovereign` of the configuration: how the model service is asked."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    request_timeout_s: Annotated[float, Gt(0), Le(600)] = 120.0
    connect_timeout_s: Annotated[float, Gt(0), Le(60)] = 5.0
    pool_size: Annotated[int, Ge(1), Le(256)] = 16
    max_response_bytes: Annotated[int, Ge(1_024), Le(16_777_216)] = 262_144
    context_cap_tokens: Annotated[int, Ge(256), Le(1_000_000)] = 20_000
    temperature: Annotated[float, Ge(0), Le(2)] = 0.0
    max_tokens: Annotated[int, Ge(16), Le(32_768)] = 700
    seed: Annotated[int, Ge(0), Le(2**31 - 1)] | None = 0
    json_schema: bool = True
    fallback_model: Annotated[str, MinLen(1), MaxLen(200)] | None = "sovereign-7b"
    attempts_per_model: Annotated[int, Ge(1), Le(10)] = 2
    retry_delay_s: Annotated[float, Ge(0), Le(60)] = 0.5
    retry_after_max_s: Annotated[float, Ge(0), Le(600)] = 10.0
    primary_time_share: Annotated[float, Ge(0.1), Le(0.9)] = 0.6
    context_budget_tokens: Annotated[int, Ge(256), Le(1_000_000)] = 18_000
    cache_ttl_s: Annotated[float, Ge(0), Le(31_536_000)] = 0.0
    breaker: BreakerRules = field(default_factory=BreakerRules)
    limits: CallLimits = field(default_factory=CallLimits)
    budget: BudgetRules = field(default_factory=BudgetRules)

    def __post_init__(self) -> None:
        if self.connect_timeout_s > self.request_timeout_s:
            raise ValueError(
                f"connect_timeout_s = {self.connect_timeout_s} must not exceed "
                f"request_timeout_s = {self.request_timeout_s}, which spans the whole request"
            )
        if self.context_budget_tokens > self.context_cap_tokens:
            raise ValueError(
                f"context_budget_tokens = {self.context_budget_tokens} must not exceed "
                f"context_cap_tokens = {self.context_cap_tokens}"
            )


def require_fits(request: ModelRequest, cap_tokens: int) -> int:
    """Returns the tokens the prompt takes at most; raises ContextTooLarge beyond `cap_tokens` (FM-002)."""
    tokens = prompt_tokens(request)
    if tokens > cap_tokens:
        raise ContextTooLarge(
            f"the prompt takes up to {tokens} tokens, the cap is {cap_tokens}: send fewer candles, "
            "or raise sovereign.context_cap_tokens if the model's context window allows"
        )
    return tokens


def storable(text: str) -> str:
    """Returns `text` as PostgreSQL can keep it: NUL and lone surrogates become U+FFFD."""
    return text.replace("\x00", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
