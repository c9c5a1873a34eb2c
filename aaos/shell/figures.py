"""Money, prices and rows as a person sees them, and as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Any

from aaos.domain.amounts import exact

BARS = "▁▂▃▄▅▆▇█"
AVERAGE_DIGITS = 10


def price(value: Decimal | None) -> str | None:
    """Returns a price or quantity without trailing zeros."""
    return None if value is None else exact(value)


def average(value: Decimal | None) -> str | None:
    """Returns an average price, which may have no last digit (100.666…), to ten digits."""
    return None if value is None else exact(Context(prec=AVERAGE_DIGITS).plus(value))


def quote(value: Decimal | None) -> str | None:
    """Returns an amount of money to the hundredth, thousands apart."""
    return None if value is None else f"{value:,.2f}"


def signed(value: Decimal | None) -> str | None:
    """Returns a profit or loss to the hundredth, with its sign."""
    return None if value is None else f"{value:+,.2f}"


def percent(value: Decimal | None) -> str | None:
    """Returns a signed percentage to the hundredth."""
    return None if value is None else f"{value:+.2f} %"


def sparkline(values: Sequence[Decimal]) -> str:
    """Returns a curve in one line: the lowest value ▁, the highest █; one that never moved lies in the middle."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if low == high:
        return BARS[3] * len(values)
    return "".join(BARS[int((value - low) / (high - low) * (len(BARS) - 1))] for value in values)


def json_form(value: Any) -> Any:
    """Returns a row as JSON knows it: money as text, so that no digit is lost, and instants as ISO 8601."""
    if isinstance(value, Decimal):
        return price(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: json_form(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {name: json_form(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_form(each) for each in value]
    return value
