"""Fills as hypothesis draws them, and positions made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from aaos.domain.order_book import Instrument, Side
from aaos.domain.orders import CashFlow
from aaos.domain.positions import Fill, Position, Terms

D = Decimal
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SYMBOL = "BTC/USDT"
TERMS = {"decision:1": Terms(D(5), D(90), D(120)), "decision:2": Terms(D(10), D(95), None)}
GRID = Instrument(SYMBOL, D("0.01"), D("0.001"), D("0.001"), D(5), D(100), D("0.0002"), D("0.0006"), D("0.005"))

PRICES = st.decimals(min_value=D("0.01"), max_value=D(100_000), places=4)
QUANTITIES = st.decimals(min_value=D("0.001"), max_value=D(1000), places=5)
FEES = st.decimals(min_value=D(-1), max_value=D(10), places=8)


def a_fill(number: int = 1, side: Side = "buy", quantity: str = "1", price: str = "100", **changes: Any) -> Fill:
    given: dict[str, Any] = {
        "id": number,
        "account": "paper",
        "trade_id": f"t{number:05}",
        "order_id": 1,
        "source": "decision:1",
        "leg": "entry" if side == "buy" else "exit:1",
        "symbol": SYMBOL,
        "side": side,
        "quantity": D(quantity),
        "price": D(price),
        "fee": D(0),
        "filled_at": START + timedelta(seconds=number),
    }
    return Fill(**given | changes)


def a_position(quantity: str = "2", entry: str = "100", **changes: Any) -> Position:
    given: dict[str, Any] = {
        "id": 1,
        "account": "paper",
        "symbol": SYMBOL,
        "source": "decision:1",
        "quantity": D(quantity),
        "average_entry": D(entry),
        "peak_quantity": abs(D(quantity)),
        "leverage": D(5),
        "realised": D(0),
        "fees": D(0),
        "funding": D(0),
        "stop_price": D(98) if D(quantity) > 0 else D(102),
        "take_profit_price": None,
        "opened_at": START,
        "closed_at": None,
    }
    return Position(**given | changes)


@st.composite
def some_fills(draw: st.DrawFn, symbols: Sequence[str] = (SYMBOL, "ETH/USDT")) -> list[Fill]:
    """Fills of one account: any sides, sources and legs, some of nobody's order."""
    legs = st.sampled_from([("decision:1", "entry"), ("decision:2", "entry"), ("decision:1", "stop:1"), (None, None)])
    fills = []
    for number in range(1, draw(st.integers(0, 12)) + 1):
        source, leg = draw(legs)
        side: Side = draw(st.sampled_from(["buy", "sell"]))
        fills.append(
            a_fill(
                number, side, source=source, leg=leg, symbol=draw(st.sampled_from(symbols)),
                quantity=str(draw(QUANTITIES)), price=str(draw(PRICES)), fee=draw(FEES),
            )
        )  # fmt: skip
    return fills


@st.composite
def some_flows(draw: st.DrawFn, symbols: Sequence[str] = (SYMBOL, "ETH/USDT")) -> list[CashFlow]:
    """A deposit, and funding at any instants."""
    flows = [CashFlow("paper", "d", "deposit", None, D(10_000), START)]
    for number in range(draw(st.integers(0, 4))):
        at = START + timedelta(seconds=draw(st.integers(0, 20)))
        symbol = draw(st.sampled_from(symbols))
        flows.append(CashFlow("paper", f"f{number}", "funding", symbol, draw(FEES), at))
    return flows
