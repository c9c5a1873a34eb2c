"""The desks as a process builds them: one per account, each with what its orders are allowed."""

from __future__ import annotations

import pytest
from support.examples import changed_settings

from aaos.bootstrap import Container
from aaos.domain.orders import ACCOUNTS, PORTFOLIO_ACCOUNT, TRADING_ACCOUNT


@pytest.mark.requirement("HARD-1.3")
def test_an_order_of_the_portfolio_rests_no_longer_than_its_trade_so_that_its_symbol_is_rebalanced_again() -> None:
    settings = changed_settings()
    desks = Container(settings).desks
    assert tuple(desks) == ACCOUNTS
    assert desks[PORTFOLIO_ACCOUNT].entry_max_age_s == settings.portfolio.trade_expires_s
    assert desks[TRADING_ACCOUNT].entry_max_age_s is None
