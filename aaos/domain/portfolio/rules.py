"""Section `portfolio` of the configuration: what shall be held, and how trades towards it are spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le

from aaos.errors import ConfigError

Weight = Annotated[Decimal, Ge(0), Le(1)]


@dataclass(frozen=True, slots=True)
class PortfolioRules:
    """See config/portfolio.yaml; weights are shares of the account's equity, what is left over stays cash."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    targets: Mapping[str, Weight] = field(default_factory=dict)
    drift_threshold: Annotated[Decimal, Gt(0), Le(1)] = Decimal("0.05")
    batches: Annotated[int, Ge(1), Le(100)] = 3
    batch_every_s: Annotated[float, Ge(0), Le(86_400)] = 60.0
    trade_expires_s: Annotated[float, Ge(1), Le(86_400)] = 900.0
    release_s: Annotated[float, Ge(0.2), Le(60)] = 2.0
    stop_percent: Annotated[Decimal, Gt(0), Le(99)] = Decimal(30)

    def __post_init__(self) -> None:
        total = sum(self.targets.values(), Decimal(0))
        if total > 1:
            raise ConfigError(f"portfolio.targets add up to {total}: at most 1, the rest stays cash")
