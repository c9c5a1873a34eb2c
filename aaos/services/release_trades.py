"""Hands due trades of the portfolio to risk: each once, whoever asks (F07)."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from aaos.ports import ScheduledTrades
from aaos.services.tick_schedule import new_run
from aaos.settings import Settings

log = structlog.get_logger()

RISK = "risk_assessment"
# Per call; the next one is `portfolio.release_s` away, and risk looks at a few at a time.
RELEASED_AT_ONCE = 20


def release_trades(trades: ScheduledTrades, settings: Settings) -> Sequence[int]:
    """Returns the ids of the risk runs that were born for trades now due; trades whose time is over end before that.

    A run that nobody is told of is found by the sweep, like any other.
    """
    for trade_id in trades.expire():
        log.warning("trade_expired", trade=trade_id)
    # The key only says that the run is no slot's; each trade's own is filled in where it is claimed.
    released = trades.release_due(new_run(RISK, "", settings, request_key="risk:trade"), RELEASED_AT_ONCE)
    for trade_id, run_id in released:
        log.info("trade_released", trade=trade_id, run=run_id)
    return [run_id for _, run_id in released]
