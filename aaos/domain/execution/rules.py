"""Section `execution` of the configuration: how approved trades reach the venue, and how positions are watched."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, slots=True)
class ExecutionRules:
    """See config/execution.yaml."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    broker: Literal["paper"] = "paper"
    enabled: bool = True
    entry_level: Annotated[int, Ge(1), Le(100)] = 9
    max_slippage: Annotated[Decimal, Gt(0), Le(Decimal("0.1"))] = Decimal("0.005")
    max_book_age_s: Annotated[float, Gt(0), Le(3600)] = 90.0
    request_timeout_s: Annotated[float, Gt(0), Le(60)] = 5.0
    visible_within_s: Annotated[float, Ge(0), Le(60)] = 2.0
    watch_s: Annotated[float, Ge(0.2), Le(60)] = 1.0
    reconcile_s: Annotated[float, Ge(1), Le(3600)] = 30.0
    equity_s: Annotated[float, Ge(1), Le(3600)] = 60.0
    expire_s: Annotated[float, Ge(1), Le(86_400)] = 300.0
    order_max_age_s: Annotated[float, Ge(1), Le(30 * 86_400)] = 86_400.0
    trail_activation_roi_percent: Annotated[Decimal, Gt(0), Le(10_000)] = Decimal(5)
    trail_step_roi_percent: Annotated[Decimal, Gt(0), Le(10_000)] = Decimal("2.5")
    trail_distance_roi_percent: Annotated[Decimal, Gt(0), Le(10_000)] = Decimal("2.5")
