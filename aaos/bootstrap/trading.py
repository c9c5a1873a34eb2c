"""The adapters of trading: the venue, its books, and our own books of approvals, orders, fills and positions."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from aaos.bootstrap.sovereign import SovereignAdapters
from aaos.domain.orders import ACCOUNTS, PORTFOLIO_ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aaos.adapters.brokers.paper import PaperBroker
    from aaos.adapters.brokers.paper.postgres_store import PostgresVenueStore
    from aaos.adapters.postgres.orders import PostgresOrders
    from aaos.adapters.postgres.portfolio import PostgresScheduledTrades
    from aaos.adapters.postgres.risk_desk import PostgresRiskDesk
    from aaos.adapters.postgres.trading_books import PostgresTradingBooks
    from aaos.adapters.postgres.trading_switch import PostgresTradingSwitch
    from aaos.adapters.postgres.vetoes import PostgresVetoes
    from aaos.ports import OrderBooks
    from aaos.services.assess_risk import RiskPorts
    from aaos.services.place_order import Execution
    from aaos.services.rebalance_portfolio import PortfolioDesk
    from aaos.services.trading_desk import TradingDesk


class TradingAdapters(SovereignAdapters):
    """The adapters of one process, with those of trading."""

    @cached_property
    def risk_desk(self) -> PostgresRiskDesk:
        """Approvals, and accounts as risk sees them."""
        from aaos.adapters.postgres.risk_desk import PostgresRiskDesk

        return PostgresRiskDesk(self.database)

    @cached_property
    def orders(self) -> PostgresOrders:
        """Our book of orders."""
        from aaos.adapters.postgres.orders import PostgresOrders

        return PostgresOrders(self.database, self.settings.execution)

    @cached_property
    def trading_books(self) -> PostgresTradingBooks:
        """Fills, cash and positions."""
        from aaos.adapters.postgres.trading_books import PostgresTradingBooks

        return PostgresTradingBooks(self.database)

    @cached_property
    def trading_switch(self) -> PostgresTradingSwitch:
        """Whether entries may be sent."""
        from aaos.adapters.postgres.trading_switch import PostgresTradingSwitch

        return PostgresTradingSwitch(self.database)

    @cached_property
    def scheduled_trades(self) -> PostgresScheduledTrades:
        """Trades that a rebalance planned."""
        from aaos.adapters.postgres.portfolio import PostgresScheduledTrades

        return PostgresScheduledTrades(self.database)

    @cached_property
    def vetoes(self) -> PostgresVetoes:
        """What was refused, and what became of it."""
        from aaos.adapters.postgres.vetoes import PostgresVetoes

        return PostgresVetoes(self.database)

    @cached_property
    def venue_store(self) -> PostgresVenueStore:
        """The paper venue's own ledger."""
        from aaos.adapters.brokers.paper.postgres_store import PostgresVenueStore

        return PostgresVenueStore(self.database)

    @cached_property
    def order_books(self) -> OrderBooks:
        """Order books as the venue shows them, misbehaviours included."""
        from aaos.adapters.brokers.paper import MisbehavingBooks

        return MisbehavingBooks(self.market_order_books, self.venue_store)

    @cached_property
    def market_order_books(self) -> OrderBooks:
        """Order books of the market in use: what the venue itself matches against."""
        from aaos.adapters.market.order_books import CandleOrderBooks

        return CandleOrderBooks(self.market_book, self.candle_source, self.settings.paper)

    @cached_property
    def brokers(self) -> Mapping[str, PaperBroker]:
        """One per account. There is no other venue: nothing can reach a live one by accident."""
        from aaos.adapters.brokers.paper import PaperBroker

        rules, timeout_s = self.settings.paper, self.settings.execution.request_timeout_s
        return {
            account: PaperBroker(
                account, self.venue_store, self.market_order_books, self.database, rules, timeout_s=timeout_s
            )
            for account in ACCOUNTS
        }

    def broker(self, account: str) -> PaperBroker:
        """Returns the account at its venue."""
        return self.brokers[account]

    @cached_property
    def desks(self) -> Mapping[str, TradingDesk]:
        """What sending orders of each account needs; one object per process and account."""
        from aaos.services.trading_desk import TradingDesk

        rules = self.settings.execution
        # While a portfolio trade rests its symbol is not rebalanced: its order ends as the trade would.
        entry_max_age_s = {PORTFOLIO_ACCOUNT: self.settings.portfolio.trade_expires_s}
        return {
            account: TradingDesk(
                self.brokers[account],
                self.orders,
                self.trading_books,
                self.alerts,
                rules,
                entry_max_age_s=entry_max_age_s.get(account),
            )
            for account in ACCOUNTS
        }

    @cached_property
    def risk_ports(self) -> RiskPorts:
        """What risk reads."""
        from aaos.services.assess_risk import RiskPorts

        return RiskPorts(
            results=self.results,
            approvals=self.approvals,
            trades=self.scheduled_trades,
            desk=self.risk_desk,
            books=self.order_books,
            market=self.market,
            brokers=self.brokers,
            clock=self.database,
        )

    @cached_property
    def execution(self) -> Execution:
        """What placing orders needs beside the desks."""
        from aaos.services.guard_positions import guard_positions
        from aaos.services.place_order import Execution

        def protect(account: str) -> object:
            roi = self.settings.risk.stop_roi_percent
            return guard_positions(self.desks[account], self.order_books, self.database, roi)

        return Execution(self.risk_desk, self.order_books, self.database, protect)

    @cached_property
    def portfolio_desk(self) -> PortfolioDesk:
        """What a rebalance reads."""
        from aaos.services.rebalance_portfolio import PortfolioDesk

        broker = self.brokers[PORTFOLIO_ACCOUNT]
        return PortfolioDesk(self.order_books, broker, self.trading_books, self.scheduled_trades, self.database)
