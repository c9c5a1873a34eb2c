"""Return on margin of a position at a mark. Pure, Decimal."""

from __future__ import annotations

from decimal import Decimal

from aaos.domain.positions import Position
from aaos.domain.risk import formulas


def roi_percent(position: Position, mark: Decimal) -> Decimal:
    """Returns an open position's return on margin at a mark, in percent, before fees and funding (SPEC 9)."""
    return formulas.roi_percent(position.average_entry, mark, position.leverage, "buy" if position.is_long else "sell")
