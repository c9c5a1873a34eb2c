"""From the venue's trades to our books: each fill and cash flow once, however often, late or mixed up it comes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog

from aaos.domain.positions import Fill
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()

# Trades are asked for from this long before the newest booked one: a venue may report one late, with its true, older
# time. What comes twice is booked once.
OVERLAP_S = 300.0


def book_fills(desk: TradingDesk, *, all_of_them: bool = False) -> Sequence[Fill]:
    """Fetches trades and cash flows since the newest booked one, less an overlap, and books what is new; returns it.

    Args:
        desk: the account.
        all_of_them: since the account's beginning, for what was told later than any overlap would see.

    Raises:
        VenueUnavailable: nothing was fetched.
        AmbiguousReply: the same, since reading changes nothing at the venue.
    """
    newest = None if all_of_them else desk.books.newest_fill_at(desk.account)
    since = None if newest is None else newest - timedelta(seconds=OVERLAP_S)
    fills, flows = desk.broker.fills(since), desk.broker.cash_flows(since)
    if not fills and not flows:
        return ()
    booked = desk.books.book(desk.account, fills, flows)
    for fill in booked:
        log.info(
            "fill_booked",
            account=fill.account,
            trade=fill.trade_id,
            order=fill.order_id,
            leg=fill.leg,
            symbol=fill.symbol,
            side=fill.side,
            quantity=str(fill.quantity),
            price=str(fill.price),
        )
    return booked
