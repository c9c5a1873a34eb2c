"""The portfolio as a person sees it: targets, holdings, drift, planned trades and what became of them."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aaos.domain.schedules import ALL_SYMBOLS
from aaos.shell.api import request, warned
from aaos.shell.connection import configuration, connect, helpful_errors
from aaos.shell.figures import json_form, price, quote
from aaos.shell.filters import check_limit
from aaos.shell.handle import Handle
from aaos.shell.lists import shortened
from aaos.shell.results import RebalanceResult
from aaos.shell.runs import instant
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.table import Table

    from aaos.domain.portfolio.rebalance import Line
    from aaos.domain.portfolio.rules import PortfolioRules
    from aaos.domain.portfolio.trades import ScheduledTrade
    from aaos.services.rebalance_portfolio import PortfolioView

REBALANCE = "portfolio_rebalance"
DETAIL_SHOWN_CHARS = 160
CASH = "(cash)"
LINE_HEADERS = ("symbol", "held", "price", "value", "share", "target", "drift", "to trade", "note")
TRADE_HEADERS = (
    "trade", "rebalance", "symbol", "side", "quantity", "batch", "state", "due", "expires", "risk run",
    "outcome or why",
)  # fmt: skip
NO_TRADES = "no scheduled trades; `aaos portfolio rebalance` plans some where a holding is too far from its target"
NO_TARGETS = "no targets: set them in config/portfolio.yaml; what is held without a target is sold off"


class TradeList(list["ScheduledTrade"]):
    """Scheduled trades, the newest rebalance first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        return table(TRADE_HEADERS, ([
            each.id, each.rebalance_run, each.symbol, each.side, price(each.quantity), each.batch, each.state,
            instant(each.due_at), instant(each.expires_at), each.risk_run,
            shortened(each.outcome or each.why, DETAIL_SHOWN_CHARS),
        ] for each in self))  # fmt: skip

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form; quantities as text, to the digit."""
        return [{**json_form(each), "source": each.source} for each in self]

    def __repr__(self) -> str:
        return as_text(self) if self else NO_TRADES

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


class Targets:
    """What shall be held, as configured; prints as a table."""

    def __init__(self, rules: PortfolioRules) -> None:
        self.rules = rules

    @property
    def cash(self) -> Decimal:
        """The share that stays cash."""
        return 1 - sum(self.rules.targets.values(), Decimal(0))

    def __rich__(self) -> Table:
        """The table, for rich."""
        rows = [[symbol, _share(weight)] for symbol, weight in sorted(self.rules.targets.items())]
        return table(("symbol", "target"), [*rows, [CASH, _share(self.cash)]])

    def notes(self) -> list[str]:
        """Returns how trades towards the targets are made."""
        rules = self.rules
        parts = f"in up to {rules.batches} parts, one every {rules.batch_every_s:g} s"
        off = f"a holding that is more than {_share(rules.drift_threshold)} of the equity off"
        return [f"{off} is traded back to its target, {parts}; config/portfolio.yaml has the figures"]

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; shares as text."""
        return {**json_form(asdict(self.rules)), "cash": f"{self.cash:f}"}

    def __repr__(self) -> str:
        return "\n".join([as_text(self) if self.rules.targets else NO_TARGETS, *self.notes()])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


class Portfolio:
    """Holdings against targets at the prices of now, and trades that are not over; prints as tables.

    `view` has every figure; `trades` are planned or under way.
    """

    def __init__(self, view: PortfolioView, rules: PortfolioRules) -> None:
        self.view = view
        self.rules = rules
        self.trades = TradeList([*view.open_trades.released, *view.open_trades.planned])

    def __rich__(self) -> Table:
        """The table of holdings, for rich."""
        found = self.view.rebalance
        share = found.free / found.equity if found.equity > 0 else Decimal(0)
        target = 1 - sum(self.rules.targets.values(), Decimal(0))
        cash = [CASH, None, None, quote(found.free), _share(share), _share(target), _drift(share - target), None, ""]
        return table(LINE_HEADERS, [*(_cells(line) for line in found.lines), cash])

    def notes(self) -> list[str]:
        """Returns what the tables leave out."""
        view, found = self.view, self.view.rebalance
        notes = [f"account {view.account}: equity {quote(found.equity)} as of {instant(view.at)}"]
        if view.in_doubt is not None:
            notes.append(f"our books of it are in doubt, so nothing is rebalanced: {view.in_doubt}")
        if found.trades and not self.trades:
            notes.append("`to trade` is what a rebalance would plan now; `aaos portfolio rebalance` does it")
        if not found.lines:
            notes.append(NO_TARGETS)
        return notes

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; money and shares as text, to the digit."""
        view = self.view
        return {
            "account": view.account,
            "at": view.at.isoformat(),
            "drift_threshold": f"{self.rules.drift_threshold:f}",
            "in_doubt": view.in_doubt,
            **view.rebalance.to_dict(),
            "open_trades": self.trades.to_dicts(),
        }

    def __repr__(self) -> str:
        unfinished = ["", repr(self.trades)] if self.trades else []
        return "\n".join([as_text(self), *self.notes(), *unfinished])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


@helpful_errors()
def portfolio() -> Portfolio:
    """Returns the portfolio's holdings against its targets at the prices of now, and its unfinished trades.

    Raises:
        VenueUnavailable, DatabaseUnavailable: a peer is away.
    """
    from aaos.services.rebalance_portfolio import look_at_portfolio

    container = connect()
    return Portfolio(look_at_portfolio(container.portfolio_desk, container.settings), container.settings.portfolio)


def portfolio_targets() -> Targets:
    """Returns what shall be held, as configured; asks no server."""
    return Targets(configuration().portfolio)


@helpful_errors()
def portfolio_trades(limit: int = 20, rebalance: int | None = None) -> TradeList:
    """Returns scheduled trades with what became of them, the newest rebalance first.

    Args:
        limit: at most so many.
        rebalance: only those planned by this run.

    Raises:
        UnknownRun: there is no such run.
    """
    check_limit(limit)
    container = connect()
    found = TradeList(container.scheduled_trades.trades(limit, rebalance))
    if not found and rebalance is not None:
        container.runs.run(rebalance)
    return found


def rebalance(key: str | None = None) -> Handle[RebalanceResult]:
    """Requests a rebalance now, without waiting for any decision; returns a handle to wait on.

    Args:
        key: the same key gives the same run and the same stored answer, so a retry is safe.

    Raises:
        DatabaseUnavailable: nothing was stored.
    """
    return warned(request(REBALANCE, ALL_SYMBOLS, key, RebalanceResult))


def _cells(line: Line) -> list[object]:
    asset = line.asset
    note: str = line.note or ""
    if note not in ("", "IN_BAND"):
        note = f"{note}: {shortened(line.detail, DETAIL_SHOWN_CHARS)}"
    return [
        asset.symbol, price(asset.quantity), price(asset.price), quote(asset.value), _share(line.weight),
        _share(line.target), _drift(line.drift), f"{line.trade:+f}" if line.trade else None, note,
    ]  # fmt: skip


def _share(share: Decimal) -> str:
    return f"{100 * share:.2f} %"


def _drift(drift: Decimal) -> str:
    return f"{100 * drift:+.2f} %"
