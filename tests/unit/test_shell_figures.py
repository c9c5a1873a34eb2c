"""Money and prices as a person sees them, and what may be asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.positions import Position
from aaos.errors import InputError
from aaos.shell.figures import average, json_form, percent, price, quote, signed, sparkline
from aaos.shell.filters import check_limit, source_of


def test_prices_lose_their_trailing_zeros_and_nothing_else() -> None:
    said = [price(Decimal(text)) for text in ("100", "0.5000", "1E+3", "0.00000001", "-4.0000", "0", "0.000")]
    assert said == ["100", "0.5", "1000", "0.00000001", "-4", "0", "0"]
    assert (price(None), quote(None), signed(None), percent(None)) == (None, None, None, None)


def test_money_has_two_digits_and_profit_its_sign() -> None:
    assert (quote(Decimal("1234567.891")), signed(Decimal("12.3")), signed(Decimal("-0.5"))) == (
        "1,234,567.89", "+12.30", "-0.50"
    )  # fmt: skip
    assert percent(Decimal("6.123")) == "+6.12 %"


def test_a_curve_that_never_moved_is_flat_and_one_of_nothing_is_empty() -> None:
    assert sparkline([Decimal(5)] * 3) == "▄▄▄"
    assert sparkline([]) == ""
    assert sparkline([Decimal(1), Decimal(3), Decimal(2)]) == "▁█▄"


@given(st.lists(st.decimals(-(10**9), 10**9, places=8), min_size=1, max_size=60))
def test_a_curve_is_as_long_as_its_points_and_rises_with_them(values: list[Decimal]) -> None:
    bars = sparkline(values)
    assert len(bars) == len(values)
    pairs = sorted(zip(values, bars, strict=True))
    assert [bar for _, bar in pairs] == sorted(bar for _, bar in pairs)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=16))
def test_json_keeps_every_digit_of_money(value: Decimal) -> None:
    assert Decimal(json_form(value)) == value


def test_a_row_becomes_json_with_its_instants_and_its_sums() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    one = Decimal("1.50")
    row = Position(1, "paper", "BTC/USDT", None, one, one, one, one, one, one, one, None, None, at, None)
    form = json_form([row])[0]
    assert (form["quantity"], form["opened_at"], form["closed_at"]) == ("1.5", at.isoformat(), None)


@pytest.mark.parametrize(
    ("said", "source"),
    [(17, "decision:17"), ("17", "decision:17"), (" decision:0017 ", "decision:17"), ("trade:4", "trade:4")],
)
def test_a_source_may_be_said_in_short(said: str | int, source: str) -> None:
    assert source_of(said) == source


@pytest.mark.parametrize("said", ["", "x", "trade:", "order:3", "decision:1x", "٣", "-4", "1" * 19, "decision:1\n2"])
def test_what_is_no_source_is_told_how_they_look(said: str) -> None:
    with pytest.raises(InputError, match="say decision:17"):
        source_of(said)


@pytest.mark.parametrize("limit", [0, -1, 100_001])
def test_a_limit_that_is_none_is_refused(limit: int) -> None:
    with pytest.raises(InputError, match="ask for 1 to 100000"):
        check_limit(limit)


@pytest.mark.parametrize(
    ("exactly", "shown"),
    [("3659.6066666666666667", "3659.606667"), ("60180.4", "60180.4"), ("0.00001234567891234", "0.00001234567891")],
)
def test_an_average_without_an_end_is_shown_to_ten_digits(exactly: str, shown: str) -> None:
    assert average(Decimal(exactly)) == shown
