"""Housekeeping over all accounts: one whose venue is away keeps no other from being looked after."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from aaos.errors import AmbiguousReply, TransientError
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()


def look_after_desks(desks: Iterable[TradingDesk], step: Callable[[TradingDesk], object]) -> Iterable[str]:
    """Takes the step for each desk; returns the accounts whose venue or books were away, left for next time."""
    away = []
    for desk in desks:
        try:
            step(desk)
        except (TransientError, AmbiguousReply) as error:
            log.warning("account_left_alone", account=desk.account, why=str(error))
            away.append(desk.account)
    return away
