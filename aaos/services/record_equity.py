"""A point of an account's equity curve: its cash, and what its open positions would bring at the market's price."""

from __future__ import annotations

from decimal import Decimal

import structlog

from aaos.domain.positions import ZERO, Position, unrealised
from aaos.errors import DatabaseUnavailable, InputError
from aaos.ports import Clock, OrderBooks
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()


def record_equity(desk: TradingDesk, market: OrderBooks, clock: Clock) -> Decimal | None:
    """Adds a point to the account's equity curve; returns the equity in quote currency, None where none was added.

    Drawdowns are measured on this curve, so that a wrong point could hold up trading for good, and a missing one costs
    nothing: there is none before the first deposit is booked, while the books are in doubt, and while a symbol that is
    held has no price. An old book will do: nothing has moved that anybody knows of.
    """
    try:
        if desk.books.newest_fill_at(desk.account) is None or desk.books.books(desk.account).why is not None:
            return None
        positions, cash = desk.books.open_positions(desk.account), desk.books.cash(desk.account)
        profit = sum((_profit(position, market, clock) for position in positions), ZERO)
        desk.books.record_equity(desk.account, cash, profit)
    except (DatabaseUnavailable, InputError) as error:
        log.warning("equity_not_recorded", account=desk.account, why=str(error))
        return None
    return cash + profit


def _profit(position: Position, market: OrderBooks, clock: Clock) -> Decimal:
    book = market.book(position.symbol, clock.now())
    if book.bids and book.asks and book.bids[0].price >= book.asks[0].price:
        raise InputError(f"the order book of {position.symbol} is crossed: its middle is no price")
    return unrealised(position, book.mid)
