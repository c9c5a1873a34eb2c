"""Decimals as text: all their digits, and nothing a reader or a hash would have to look past. Pure."""

from __future__ import annotations

from decimal import Decimal


def exact(value: Decimal) -> str:
    """Returns a figure as text with all its digits, without exponent or trailing zeros.

    So a figure reads, and hashes, the same from whichever store it comes.
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
