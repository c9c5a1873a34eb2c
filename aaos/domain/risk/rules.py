"""Section `risk` of the configuration: limits and sizes. Percentages are of equity unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le, Lt

Percent = Annotated[Decimal, Gt(0), Le(100)]


@dataclass(frozen=True, slots=True)
class RiskRules:
    """See config/risk.yaml; every figure is a Decimal, since money is."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    base_risk: Annotated[Decimal, Gt(0), Le(1)] = Decimal("0.1")
    target_leverage: Annotated[Decimal, Ge(1), Le(125)] = Decimal(5)
    max_leverage: Annotated[Decimal, Ge(1), Le(125)] = Decimal(10)
    target_atr_percent: Percent = Decimal("0.5")
    max_position_percent: Annotated[Decimal, Gt(0), Le(10_000)] = Decimal(20)
    max_exposure_percent: Annotated[Decimal, Gt(0), Le(10_000)] = Decimal(60)
    max_positions: Annotated[int, Ge(1), Le(1000)] = 5
    max_daily_drawdown_percent: Percent = Decimal(5)
    max_weekly_drawdown_percent: Percent = Decimal(10)
    max_drawdown_percent: Percent = Decimal(20)
    max_consecutive_losses: Annotated[int, Ge(1), Le(1000)] = 5
    correlation_limit: Annotated[Decimal, Gt(0), Le(1)] = Decimal("0.7")
    correlation_candles: Annotated[int, Ge(20), Le(10_000)] = 240
    max_correlated_percent: Annotated[Decimal, Gt(0), Le(10_000)] = Decimal(40)
    break_even_buffer_percent: Annotated[Decimal, Ge(0), Le(100)] = Decimal("0.05")
    stop_roi_percent: Percent = Decimal(10)
    take_profit_roi_percent: Annotated[Decimal, Gt(0), Le(1000)] = Decimal(20)
    min_liquidation_buffer_percent: Annotated[Decimal, Ge(0), Lt(100)] = Decimal(5)
    approval_expires_s: Annotated[float, Ge(1), Le(3600)] = 60.0
