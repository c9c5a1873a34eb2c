"""What models may cost: prices, caps per decision and per day, in tokens and in money.

A call reserves what it can take at most before it is made (`reservation`), and is booked with what it took once it is
answered. Money is Decimal throughout, exact: prices are per million tokens, so no cost has more than six digits more
than its price.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Literal

from annotated_types import Ge, Le

from aaos.domain.model_request import ModelAnswer
from aaos.errors import (
    AaosError,
    BudgetReached,
    ConfigError,
    SovereignCancelled,
    SovereignTimeout,
    SovereignUnavailable,
)

KEY_VARIABLE: Final = re.compile(r"(?!AAOS_)[A-Z][A-Z0-9_]*_API_KEY")
BUDGET_REACHED: Final = "LLM budget reached"
"""Begins the reason of a vote that a budget prevented: the decision then is HOLD."""

ALERT_KIND: Final = "llm_budget_reached"

CapName = Literal["tokens_per_decision", "tokens_per_day", "cost_per_decision", "cost_per_day"]
FREE: Final = Decimal(0)
MILLIONTH: Final = Decimal("0.000001")
CURRENCY: Final = re.compile(r"[A-Z]{3}")
"""As in ISO 4217."""
COUNT_MAX: Final = 10**12
"""A service that reports more tokens than this is not believed: no prompt of ours is a millionth of that."""
FREE_OF_CHARGE: Final = frozenset(
    {
        "SovereignUnavailable",  # no connection, 429 or 5xx: no service bills these
        "SovereignRequestRefused",
        "SovereignModelMissing",
        "NetworkError",
        "RateLimited",
        "ContextTooLarge",  # never sent
        "InputError",
    }
)
"""Errors after which a call's reservation is free again. After any other (no answer in time, cancelled by us, an answer
that was no chat completion) the service may have worked, and charged, for us: the reservation stays booked."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known about a model (`config/models.yaml`): prices per million tokens, in the budget's currency.

    A model whose prices nobody named costs nothing; with a cap in money it is refused (`check_prices`).
    Its own limits hold beside those of all models together (`sovereign.limits`); None for none.

    Attributes:
        url: where it is served, up to and including /v1; None: where all others are (AAOS_SOVEREIGN_URL).
        api_key_variable: name of the environment variable that holds the key for `url`; no other key is sent there.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    input_per_million: Annotated[Decimal, Ge(0), Le(10_000)] | None = None
    output_per_million: Annotated[Decimal, Ge(0), Le(10_000)] | None = None
    requests_per_minute: Annotated[int, Ge(1), Le(1_000_000)] | None = None
    tokens_per_minute: Annotated[int, Ge(1_000), Le(1_000_000_000)] | None = None
    concurrent: Annotated[int, Ge(1), Le(10_000)] | None = None
    url: str | None = None
    api_key_variable: str | None = None

    def __post_init__(self) -> None:
        if self.api_key_variable is not None:
            self._check_key_variable(self.api_key_variable)
        for price in (self.input_per_million, self.output_per_million):
            if price is not None and not price.is_finite():
                raise ValueError(f"a price must be a number, not {price}")

    def _check_key_variable(self, name: str) -> None:
        # Logs hide the values of variables that are called so.
        if not KEY_VARIABLE.fullmatch(name):
            raise ValueError("must be the name of an environment variable that ends in _API_KEY (not the key itself)")
        if self.url is None:
            raise ValueError("is for a url of the model's own; the key of all others is AAOS_SOVEREIGN_API_KEY")

    @property
    def priced(self) -> bool:
        """Whether both prices are named."""
        return self.input_per_million is not None and self.output_per_million is not None

    @property
    def prices(self) -> tuple[Decimal, Decimal]:
        """Per million tokens of prompt and of answer; 0 where nobody named one."""
        return self.input_per_million or FREE, self.output_per_million or FREE


UNPRICED: Final = ModelCard()
"""Of a model that is not in models.yaml."""


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """Subsection `budget` of `sovereign`: caps on tokens and money; null for none."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    tokens_per_decision: Annotated[int, Ge(1), Le(10**12)] | None = 500_000
    tokens_per_day: Annotated[int, Ge(1), Le(10**12)] | None = 20_000_000
    cost_per_decision: Annotated[Decimal, Ge(0), Le(10**9)] | None = None
    cost_per_day: Annotated[Decimal, Ge(0), Le(10**9)] | None = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        if not CURRENCY.fullmatch(self.currency):
            raise ValueError(f"currency = {self.currency!r} must be three capital letters, like USD or EUR")

    @property
    def caps_money(self) -> bool:
        """Whether any cap is in money."""
        return self.cost_per_decision is not None or self.cost_per_day is not None


@dataclass(frozen=True, slots=True)
class Charge:
    """Tokens (prompt and answer together) and what they cost."""

    tokens: int = 0
    cost: Decimal = Decimal(0)

    def __add__(self, other: Charge) -> Charge:
        return Charge(self.tokens + other.tokens, self.cost + other.cost)

    def __sub__(self, other: Charge) -> Charge:
        return Charge(self.tokens - other.tokens, self.cost - other.cost)


NOTHING: Final = Charge()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a cap is over: one decision or one day (UTC, database time).

    Attributes:
        name: `decision:17` or `day:2026-11-21`.
        tokens_cap: most tokens, None for no cap; `cost_cap` likewise, in money.
        caps: what the two caps are called in `sovereign.budget`.
    """

    name: str
    tokens_cap: int | None
    cost_cap: Decimal | None
    caps: tuple[CapName, CapName]

    def reached(self, spent: Charge, wanted: Charge) -> CapName | None:
        """Returns the cap that leaves no room for the call beside what is spent, None where there is room."""
        if self.tokens_cap is not None and spent.tokens + wanted.tokens > self.tokens_cap:
            return self.caps[0]
        if self.cost_cap is not None and spent.cost + wanted.cost > self.cost_cap:
            return self.caps[1]
        return None


def scopes(decision: int, day: date, rules: BudgetRules) -> tuple[Scope, Scope]:
    """Returns what a call is booked on, always in the order in which it is locked."""
    return (
        Scope(
            decision_scope(decision),
            rules.tokens_per_decision,
            rules.cost_per_decision,
            ("tokens_per_decision", "cost_per_decision"),
        ),
        Scope(day_scope(day), rules.tokens_per_day, rules.cost_per_day, ("tokens_per_day", "cost_per_day")),
    )


def decision_scope(decision: int) -> str:
    """Returns the name of a decision's scope."""
    return f"decision:{decision}"


def day_scope(day: date) -> str:
    """Returns the name of a day's scope."""
    return f"day:{day.isoformat()}"


def cost_of(card: ModelCard, tokens_in: int, tokens_out: int) -> Decimal:
    """Returns what so many tokens cost, exactly."""
    per_input, per_output = card.prices
    return (per_input * tokens_in + per_output * tokens_out) * MILLIONTH


def reservation(card: ModelCard, prompt_tokens: int, max_tokens: int) -> Charge:
    """Returns what a call takes at most: its whole prompt, and an answer as long as it may be."""
    return Charge(prompt_tokens + max_tokens, cost_of(card, prompt_tokens, max_tokens))


def charge_of(card: ModelCard, answer: ModelAnswer) -> Charge:
    """Returns what an answer took, by the service's own count."""
    tokens_in, tokens_out = counted(answer.tokens_in), counted(answer.tokens_out)
    return Charge(tokens_in + tokens_out, cost_of(card, tokens_in, tokens_out))


def counted(tokens: int) -> int:
    """Returns a service's token count within bounds: never negative, never more than can be stored."""
    return min(max(tokens, 0), COUNT_MAX)


def is_free_of_charge(error: AaosError) -> bool:
    """Returns whether a call that ended with this error was certainly not charged.

    A connection that was lost on the way (`safe_to_retry` is False) may have cost an answer that did not arrive; one
    that was never made, or had to wait for a place of ours, cost nothing.
    """
    if isinstance(error, SovereignTimeout | SovereignCancelled):
        return not error.sent
    lost = isinstance(error, SovereignUnavailable) and not error.safe_to_retry
    return is_free_code(type(error).__name__) and not lost


def is_free_code(error_code: str) -> bool:
    """Returns the same where only the error's name is known (the envelope's code)."""
    return error_code in FREE_OF_CHARGE


def refusal(cap: CapName, scope: Scope, spent: Charge, wanted: Charge, model: str, currency: str) -> BudgetReached:
    """Returns the error of a call that a cap leaves no room for: names the cap, the figures and the remedy."""
    in_tokens = cap.startswith("tokens")
    limit = scope.tokens_cap if in_tokens else scope.cost_cap
    have, want = (spent.tokens, wanted.tokens) if in_tokens else (spent.cost, wanted.cost)
    unit = "tokens" if in_tokens else currency
    daily = scope.name.startswith("day:")
    remedy = f"raise sovereign.budget.{cap}" + (", or wait until 00:00 UTC" if daily else "")
    # A decision is known here by the run of its frozen context, which is not the number that people ask for it by.
    context = f"for the decision on context {scope.name.removeprefix('decision:')}"
    over = f"on {scope.name.removeprefix('day:')} (UTC)" if daily else context
    return BudgetReached(
        f"{BUDGET_REACHED}: {cap} = {_figure(limit)} {unit}; {_figure(have)} are spent or reserved {over}, and this "
        f"call to {model} may take {_figure(want)} more; {remedy}",
        cap=cap,
        scope=scope.name,
        spent=have,
        wanted=want,
    )


def check_prices(rules: BudgetRules, cards: Mapping[str, ModelCard], models: Iterable[str]) -> None:
    """Makes sure that a cap in money can be kept.

    Args:
        rules: the caps.
        cards: what is known about models.
        models: every model that may be asked.

    Raises:
        ConfigError: a cap is in money and a model has no price.
    """
    unpriced = sorted({model for model in models if not cards.get(model, UNPRICED).priced})
    if rules.caps_money and unpriced:
        cap = "cost_per_day" if rules.cost_per_day is not None else "cost_per_decision"
        raise ConfigError(
            f"sovereign.budget.{cap} caps money, but models.yaml has no price for {', '.join(unpriced)}; "
            f"add it there (0 where it costs nothing), or set the cap to null"
        )


def _figure(value: float | Decimal | None) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)
