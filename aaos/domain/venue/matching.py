"""The matching engine: what a new order and a new book do to an account. Pure; the account is changed in place.

One `Exchange` is one account facing one book at one instant. A book's liquidity is used once: what the account has
taken of it stays taken for as long as that book is the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, localcontext

from aaos.domain.order_book import Instrument, Level, OrderBook, Side
from aaos.domain.orders import Order, opposite
from aaos.domain.venue.checks import CONDITIONAL, Refusal, closable, refusal
from aaos.domain.venue.ledger import bankruptcy_price, book_trade, is_bankrupt, liquidation_mark, pay_funding
from aaos.domain.venue.rules import PaperRules
from aaos.domain.venue.state import EXACT_DIGITS, ZERO, Holding, MarketView, VenueAccount, VenueEntry

NOTHING_LEFT = "REDUCE_ONLY"
NO_LIQUIDITY = "NO_LIQUIDITY"
LIQUIDATION = "LIQUIDATION"
BY_REQUEST = "CANCELED"


@dataclass(slots=True)
class Exchange:
    """An account facing a book.

    Attributes:
        account: the working copy; changed.
        instrument: of the book's symbol.
        book: what can be traded against; with an empty side or crossed, nothing is matched.
        rules: the venue's.
        at: the wall-clock instant that what happens is dated with.
        looked_until: the market instant up to which the market is known once this book was matched.
    """

    account: VenueAccount
    instrument: Instrument
    book: OrderBook
    rules: PaperRules
    at: datetime
    looked_until: datetime
    _used: dict[tuple[Side, Decimal], Decimal] = field(init=False)

    def __post_init__(self) -> None:
        view = self.account.views.get(self.book.symbol)
        self._used = dict(view.used) if view is not None and view.as_of == self.book.as_of else {}

    @property
    def mark(self) -> Decimal | None:
        """The middle of the book; None where nothing can be matched."""
        tradable = self.book.bids and self.book.asks and self.book.bids[0].price < self.book.asks[0].price
        return self.book.mid if tradable else None

    def look(self) -> None:
        """Lets the book happen: funding, then triggers, resting orders, liquidation."""
        mark = self.mark
        before = self.account.views.get(self.book.symbol)
        if mark is not None:
            if before is not None:
                pay_funding(
                    self.account, self.book.symbol, mark, before.looked_until, self.looked_until, self.at, self.rules
                )
            for order in self.account.open_of(self.book.symbol):
                if order.type in CONDITIONAL and not order.triggered and is_triggered(order, mark):
                    self._execute(replace(order, triggered=True))
            self._match_resting()
            self._liquidate(mark)
        self._remember()

    def place(self, order: Order) -> VenueEntry | Refusal:
        """Accepts an order, and trades what of it can be traded at once; or refuses it."""
        refused = refusal(self.account, order, self.instrument, self.mark, self.rules)
        if refused is not None:
            return refused
        number = self.account.number()
        entry = VenueEntry(
            number, f"V{number}", order.client_order_id, order.symbol, order.side, order.type, order.quantity,
            order.leverage, order.price, order.trigger_price, order.reduce_only, "working", ZERO, self.at, self.at,
            self.at,
        )  # fmt: skip
        self.account.put(entry)
        mark = self.mark
        if order.type == "limit":
            self._trade(entry, entry.price)
        elif order.type == "market":
            self._execute(entry)
        elif mark is not None and is_triggered(entry, mark):
            self._execute(replace(entry, triggered=True))
        self._remember()
        return self.account.touched[number]

    def _execute(self, order: VenueEntry) -> None:
        """Trades a market order against the book; what the book does not hold expires."""
        order = self._trade(self.account.put(order), None)
        if order.state == "working":
            self.account.put(replace(order, state="expired", reason=NO_LIQUIDITY, updated_at=self.at))

    def _trade(self, order: VenueEntry, limit: Decimal | None) -> VenueEntry:
        """Walks the other side's levels, as taker, as far as limit, size and what may be reduced allow."""
        if self.mark is None:
            return order
        for price, quantity in self._take(order.side, limit, self._wanted(order)):
            order = book_trade(self.account, order, quantity, price, "taker", self.instrument, self.at)
        self._cancel_what_reduces_nothing()
        return self.account.touched[order.number]

    def _match_resting(self) -> None:
        """Trades resting limit orders that the book has reached, best price first: at their own price, as maker."""
        reached = [each for each in self.account.open_of(self.book.symbol) if self._has_reached(each)]
        for order in sorted(reached, key=lambda each: (-each.sign * (each.price or ZERO), each.number)):
            if order.number not in self.account.orders or order.price is None:
                continue  # an earlier one left nothing to reduce
            quantity = sum((size for _, size in self._take(order.side, order.price, self._wanted(order))), ZERO)
            if quantity:
                book_trade(self.account, order, quantity, order.price, "maker", self.instrument, self.at)
                self._cancel_what_reduces_nothing()

    def _has_reached(self, order: VenueEntry) -> bool:
        if order.price is None:
            return False
        if order.side == "buy":
            return self.book.asks[0].price <= order.price
        return self.book.bids[0].price >= order.price

    def _wanted(self, order: VenueEntry) -> Decimal:
        return min(order.remaining, closable(self.account, order)) if order.reduce_only else order.remaining

    def _take(self, side: Side, limit: Decimal | None, quantity: Decimal) -> list[tuple[Decimal, Decimal]]:
        """Returns (price, quantity) of the levels that a buy or sell gets, and marks them as used."""
        levels: Sequence[Level] = self.book.asks if side == "buy" else self.book.bids
        got: list[tuple[Decimal, Decimal]] = []
        for level in levels:
            if quantity <= 0 or (limit is not None and (level.price > limit if side == "buy" else level.price < limit)):
                break
            place = (opposite(side), level.price)
            part = min(quantity, level.size - self._used.get(place, ZERO))
            if part > 0:
                self._used[place] = self._used.get(place, ZERO) + part
                quantity -= part
                got.append((level.price, part))
        return got

    def _cancel_what_reduces_nothing(self) -> None:
        for order in self.account.open_of(self.book.symbol):
            if order.reduce_only and closable(self.account, order) == 0:
                self.account.put(replace(order, state="canceled", reason=NOTHING_LEFT, updated_at=self.at))

    def _liquidate(self, mark: Decimal) -> None:
        """Closes a position whose equity is down to the maintenance margin, and never for less than its margin pays.

        It is sold to the book as far as that price goes; the rest the venue takes over at that price.
        """
        holding = self.account.holdings.get(self.book.symbol)
        if holding is None or not is_bankrupt(holding, mark, self.instrument):
            return
        for order in self.account.open_of(self.book.symbol):
            self.account.put(replace(order, state="canceled", reason=LIQUIDATION, updated_at=self.at))
        worst = bankruptcy_price(holding, self.instrument)
        order = self._liquidation_order(holding)
        notional, realised_before = ZERO, self.account.realised
        for price, quantity in self._take(order.side, worst, order.quantity):
            order = book_trade(self.account, order, quantity, price, "taker", self.instrument, self.at)
            notional += quantity * price
        if order.remaining:
            notional += order.remaining * worst
            book_trade(self.account, order, order.remaining, worst, "taker", self.instrument, self.at)
        with localcontext(prec=EXACT_DIGITS):
            left = holding.margin + self.account.realised - realised_before
            fee = min(notional * self.rules.liquidation_fee, max(left, ZERO))
        if fee:
            flow_id = f"F{self.account.number()}"
            self.account.flow(flow_id, "liquidation_fee", self.book.symbol, -fee, self.at)

    def _liquidation_order(self, holding: Holding) -> VenueEntry:
        number = self.account.number()
        side: Side = "sell" if holding.quantity > 0 else "buy"
        entry = VenueEntry(
            number, f"V{number}", None, holding.symbol, side, "market", abs(holding.quantity), Decimal(1), None, None,
            True, "working", ZERO, self.at, self.at, self.at, reason=LIQUIDATION,
        )  # fmt: skip
        return self.account.put(entry)

    def _remember(self) -> None:
        symbol = self.book.symbol
        self.account.views[symbol] = MarketView(symbol, self.looked_until, self.book.as_of, self.mark, self._used)


def cancel(account: VenueAccount, number: int, at: datetime) -> VenueEntry:
    """Cancels an open order; returns how it then stands."""
    order = account.orders[number]
    return account.put(replace(order, state="canceled", reason=BY_REQUEST, updated_at=at))


def is_triggered(order: VenueEntry, mark: Decimal) -> bool:
    """Returns whether a stop or take-profit fires at that mark: a sell stop from above, its take-profit from below."""
    if order.trigger_price is None:
        return False
    waits_for_fall = (order.side == "sell") == (order.type == "stop_market")
    return mark <= order.trigger_price if waits_for_fall else mark >= order.trigger_price


def crossings(account: VenueAccount, instrument: Instrument, before: Decimal, after: Decimal) -> list[Decimal]:
    """Returns where between two marks something fires (triggers, liquidation), as shares of the way, in order.

    Shares lie strictly between 0 and 1: what fires at the ends is found there anyway.
    """
    symbol = instrument.symbol
    marks = [each.trigger_price for each in account.open_of(symbol) if each.trigger_price and not each.triggered]
    holding = account.holdings.get(symbol)
    if holding is not None:
        marks.append(liquidation_mark(holding, instrument))
    if before == after:
        return []
    return sorted({share for mark in marks if 0 < (share := (mark - before) / (after - before)) < 1})
