"""The broker of one account at the paper venue: what a real adapter would return and raise, without a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Final

from aaos.adapters.brokers.paper.desk import VenueDesk, instrument_of
from aaos.adapters.brokers.paper.store import Request, VenueStore
from aaos.domain.order_book import Instrument
from aaos.domain.orders import CashFlow, Order, VenueFill, VenueOrder, VenuePosition
from aaos.domain.venue.checks import Refusal
from aaos.domain.venue.misbehaviours import Misbehaviour
from aaos.domain.venue.rules import PaperRules
from aaos.domain.venue.state import VenueEntry
from aaos.errors import AmbiguousReply, DatabaseUnavailable, InputError, OrderRejected, VenueUnavailable
from aaos.ports.pipeline import Clock
from aaos.ports.trading import OrderBooks

VENUE: Final = "paper"
NOT_DONE: Final = ("disconnect", "error_before", "rejected")
"""Misbehaviours that keep a request from being carried out."""
LOST: Final = {
    "timeout_after": "no answer in time",
    "error_before": "503 Service Unavailable",
    "error_after": "502 Bad Gateway",
    "not_found": "the connection was lost before the answer",
}
"""Misbehaviours after which nobody knows whether it was, and what a client would see of them."""
TOLD_WRONG: Final = ("duplicate_fills", "reordered_fills")
"""Misbehaviours of an answer that does come."""

Answer = VenueEntry | Refusal | None


class PaperBroker:
    """Implements `ports.Broker`.

    Every request first brings the account up to the market's present (`advance` does only that), under the account's
    lock, so that each book is matched once, whichever process asks.

    Args:
        account: its name.
        store: the venue's ledger.
        books: the market's true books; a misbehaving feed is for those who trade, not for the venue.
        clock: the venue's clock, the database's.
        rules: see config/paper.yaml.
        timeout_s: a slow answer that takes longer is lost.
        sleep: waits, in seconds.
    """

    venue = VENUE

    def __init__(
        self,
        account: str,
        store: VenueStore,
        books: OrderBooks,
        clock: Clock,
        rules: PaperRules,
        *,
        timeout_s: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.account = account
        self._store = store
        self._books = books
        self._clock = clock
        self._rules = rules
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._instruments: dict[str, Instrument] = {}

    def instrument(self, symbol: str) -> Instrument:
        """See the port."""
        if symbol not in self._instruments:  # an instrument never changes once it is listed
            now = self._now()
            try:
                book = self._books.book(symbol, now)
                self._instruments[symbol] = instrument_of(symbol, book, self._store, self._rules)
            except DatabaseUnavailable as error:
                raise VenueUnavailable(f"the paper venue's ledger: {error}") from error
        return self._instruments[symbol]

    def place(self, order: Order) -> VenueOrder:
        """See the port."""
        if order.account != self.account:
            raise OrderRejected(f"this is the account {self.account}, not {order.account}", "REJECTED")
        answer = self._send("place", order, lambda desk: desk.place(order))
        if isinstance(answer, VenueEntry):
            return answer.told()
        refused = answer or Refusal("REJECTED", "the venue was asked to refuse it")
        raise OrderRejected(f"{order.symbol} {order.side} {order.type}: {refused.why}", refused.code)

    def cancel(self, order: Order) -> VenueOrder | None:
        """See the port."""
        answer = self._send("cancel", order, lambda desk: desk.cancel(order))
        return answer.told() if isinstance(answer, VenueEntry) else None

    def order(self, client_order_id: str, symbol: str) -> VenueOrder | None:
        """See the port."""
        with self._read("order") as desk:
            found = desk.named(client_order_id, symbol)
            venue_order_id = None if found is None else found.venue_order_id
            outcome = "unknown" if found is None else "found"
            desk.ledger.record(
                Request(desk.now, self.account, "order", outcome, client_order_id, venue_order_id, symbol)
            )
        return None if found is None else found.told()

    def open_orders(self) -> Sequence[VenueOrder]:
        """See the port."""
        with self._read("open_orders") as desk:
            orders = sorted(desk.account.orders.values(), key=lambda each: each.number)
            return [each.told() for each in orders if each.visible_at <= desk.now]

    def fills(self, since: datetime | None) -> Sequence[VenueFill]:
        """See the port."""
        with self._read("fills") as desk:
            desk.tell()
            found = [each.fill for each in desk.ledger.trades(since, desk.now)]
            struck = desk.struck
        if struck is not None and struck.mode == "duplicate_fills":
            return [fill for fill in found for _ in range(2)]
        return found[::-1] if struck is not None and struck.mode == "reordered_fills" else found

    def cash_flows(self, since: datetime | None) -> Sequence[CashFlow]:
        """See the port."""
        with self._read("cash_flows") as desk:
            return desk.ledger.flows(since)

    def positions(self) -> Sequence[VenuePosition]:
        """See the port."""
        with self._read("positions") as desk:
            return [each.told() for _, each in sorted(desk.account.holdings.items())]

    def cash(self) -> Decimal:
        """See the port."""
        with self._read("cash") as desk:
            return desk.account.cash

    def advance(self) -> int:
        """Brings the account up to the market's present and trims the transcript; returns how many trades were made."""
        with self._open(self._now(), VenueUnavailable) as desk:
            made = len(desk.account.trades)
        self._store.forget_requests(self._rules.keep_requests)
        return made

    def deposit(self, amount: Decimal, flow_id: str) -> Decimal:
        """Pays in (below 0: out), once per `flow_id`; returns the cash afterwards.

        Raises:
            InputError: more would be paid out than is free.
        """
        with self._open(self._now(), AmbiguousReply) as desk:
            free = desk.free_margin()
            if amount + free < 0:
                raise InputError(f"{-amount} cannot be paid out: {free:.2f} of the account {self.account} are free")
            if all(each.flow_id != flow_id for each in desk.ledger.flows(None)):
                desk.account.flow(flow_id, "deposit" if amount > 0 else "withdrawal", None, amount, desk.now)
            return desk.account.cash

    def _send(self, method: str, order: Order, act: Callable[[VenueDesk], Answer]) -> Answer:
        """Carries a request out, misbehaving if that was asked for; what is raised is raised once it is stored."""
        with self._open(self._now(), AmbiguousReply) as desk:
            struck = desk.struck_by(method)
            mode = None if struck is None else struck.mode
            answer = None if mode in NOT_DONE else act(desk)
            if struck is not None and mode == "not_found" and isinstance(answer, VenueEntry):
                desk.hide(answer, struck.seconds)
            if mode != "disconnect":
                desk.ledger.record(self._line(desk.now, method, order, answer, mode))
        self._reply(method, order, struck)
        return answer

    def _line(self, now: datetime, method: str, order: Order, answer: Answer, mode: str | None) -> Request:
        outcome, venue_order_id = "unknown" if method == "cancel" else "refused:REJECTED", None
        if mode == "error_before":
            outcome = "failed"
        elif isinstance(answer, Refusal):
            outcome = f"refused:{answer.code}"
        elif answer is not None:
            outcome = "accepted" if method == "place" else answer.state
            venue_order_id = answer.venue_order_id
        return Request(
            now, self.account, method, outcome, order.client_order_id, venue_order_id, order.symbol,
            order.reduce_only, mode,
        )  # fmt: skip

    def _reply(self, method: str, order: Order, struck: Misbehaviour | None) -> None:
        """Raises what a client would see instead of the answer; returns when it sees the answer."""
        if struck is None:
            return
        about = f"{method} {order.client_order_id}"
        if struck.mode == "disconnect":
            raise VenueUnavailable(f"{about}: no connection to the venue; nothing was sent")
        if struck.mode in LOST:
            raise AmbiguousReply(f"{about}: {LOST[struck.mode]}")
        if struck.mode == "slow":
            self._sleep(min(struck.seconds, self._timeout_s))
            if struck.seconds >= self._timeout_s:
                raise AmbiguousReply(f"{about}: no answer within {self._timeout_s:g} s")

    @contextmanager
    def _read(self, method: str) -> Iterator[VenueDesk]:
        with self._open(self._now(), VenueUnavailable) as desk:
            struck = desk.struck_by(method)
            yield desk
        if struck is not None and struck.mode not in TOLD_WRONG:
            self._fail_to_read(method, struck)

    def _fail_to_read(self, method: str, struck: Misbehaviour) -> None:
        if struck.mode == "slow":
            self._sleep(min(struck.seconds, self._timeout_s))
            if struck.seconds < self._timeout_s:
                return
        raise VenueUnavailable(f"{method}: the venue did not answer ({struck.mode})")

    @contextmanager
    def _open(self, now: datetime, when_away: type[AmbiguousReply | VenueUnavailable]) -> Iterator[VenueDesk]:
        """Opens the account, brought up to now; saved at the end. A database that goes away is `when_away`."""
        try:
            with self._store.ledger(self.account, self._rules.deposit_of(self.account), now) as ledger:
                desk = VenueDesk(ledger, self._books, self._rules, now)
                desk.catch_up()
                yield desk
                desk.close()
        except DatabaseUnavailable as error:
            raise when_away(f"the paper venue's ledger: {error}") from error

    def _now(self) -> datetime:
        try:
            return self._clock.now()
        except DatabaseUnavailable as error:
            raise VenueUnavailable(f"the paper venue's ledger: {error}") from error
