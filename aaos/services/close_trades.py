"""Writes down what became of released trades of the portfolio, from their runs and orders."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from aaos.domain.portfolio.trades import outcome_of
from aaos.ports import Orders, ScheduledTrades

log = structlog.get_logger()


def close_trades(trades: ScheduledTrades, orders: Orders) -> Sequence[int]:
    """Returns the ids of the trades that were ended: their order was filled or is over, or there will be none."""
    closed = []
    for under_way in trades.under_way():
        # Orders after runs: what a run that is over has sent is written down by now.
        ended = outcome_of(under_way, orders.of_source(under_way.trade.source))
        if ended is not None and trades.close(under_way.trade.id, *ended):
            state, outcome = ended
            log.info("trade_closed", trade=under_way.trade.id, state=state, why=outcome)
            closed.append(under_way.trade.id)
    return closed
