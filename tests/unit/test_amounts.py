"""Decimals as text: equal figures read the same, and no digit is lost."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.amounts import exact


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.500", "1.5"),
        ("100", "100"),
        ("1E+2", "100"),
        ("0.00", "0"),
        ("-2.50", "-2.5"),
        ("1E-16", "0.0000000000000001"),
    ],
)
def test_a_figure_is_its_digits_without_exponent_or_trailing_zeros(value: str, text: str) -> None:
    assert exact(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30), st.integers(0, 9))
def test_no_digit_is_lost_and_zeros_behind_it_change_nothing(value: Decimal, zeros: int) -> None:
    assert Decimal(exact(value)) == value
    padded = Decimal(f"{value:f}{'' if '.' in f'{value:f}' else '.'}{'0' * zeros}")
    assert exact(padded) == exact(value)
