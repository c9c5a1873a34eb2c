"""A venue that does as it is told, an approved trade, and everything that placing it needs, on either ground."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from support.worlds import MemoryWorld, World, analysis, granted

from aaos.adapters.memory import MemoryOrders
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.order_book import Instrument, Level, OrderBook, Side
from aaos.domain.orders import (
    CashFlow,
    NewRiskApproval,
    Order,
    RiskApproval,
    VenueFill,
    VenueOrder,
    VenuePosition,
    VenueState,
)
from aaos.domain.runs import ClaimedRun, Completed
from aaos.errors import AmbiguousReply, EntriesHeld, OrderRejected, UnknownSymbol, VenueUnavailable
from aaos.services.place_order import Execution, place_order
from aaos.services.trading_desk import TradingDesk

D = Decimal
ACCOUNT, SYMBOL, SOURCE = "paper", "BTC/USDT", "decision:17"
DEPOSIT = D(10_000)
FEE = D("0.0002")
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
GRID = Instrument(
    SYMBOL, D("0.01"), D("0.001"), D("0.001"), D(5), D(100), D("0.0002"), D("0.0006"), D("0.005")
)  # fmt: skip


def a_book(age_s: float = 0.0, levels: int = 12, symbol: str = SYMBOL) -> OrderBook:
    """The middle is 100, a level each 0.01: the ninth bid is 99.91, the ninth ask 100.09 (0.09 % away)."""
    steps = [D("0.01") * n for n in range(1, levels + 1)]
    bids = tuple(Level(D(100) - step, D(5)) for step in steps)
    asks = tuple(Level(D(100) + step, D(5)) for step in steps)
    return OrderBook(symbol, bids, asks, START, age_s)


class ScriptedVenue:
    """Implements `ports.Broker`: accepts what it is sent, however often, and misbehaves when its script says so.

    Attributes:
        account: the account's name.
        accepted: every order it took, in turn; a second one under the same name is taken as well, so that it shows.
        faults: {method: what its next calls do}: an error is raised *before* anything is done; ("after", error) after
            it was done; None is no fault.
        hidden: {client id: so many more lookups do not find it}.
        fills_at_once: share of an entry that fills when it is accepted.
    """

    venue = "scripted"

    def __init__(self, account: str = ACCOUNT) -> None:
        self.account = account
        self.accepted: list[Order] = []
        self.asked: list[str] = []
        self.faults: dict[str, list[Any]] = defaultdict(list)
        self.hidden: dict[str, int] = {}
        self.fills_at_once = D(0)
        self.twice = False
        self.held_back: list[VenueFill] = []
        self.trades: list[VenueFill] = []
        self.flows: list[CashFlow] = [CashFlow(account, "deposit", "deposit", None, DEPOSIT, START)]
        self.undated: set[str] = set()
        self.book: dict[str, VenueOrder] = {}
        self.rests: dict[str, Decimal] = {}
        self.now = START
        self._numbers = count(1)

    # --- the port ---------------------------------------------------------------------------------------

    def instrument(self, symbol: str) -> Instrument:
        if symbol != SYMBOL:
            raise UnknownSymbol(f"no {symbol} here")
        return GRID

    def place(self, order: Order) -> VenueOrder:
        with self._call("place"):
            self.accepted.append(order)
            self._take(order)
            if self.fills_at_once:
                self.fill(order.client_order_id, order.quantity * self.fills_at_once)
        return self.book[order.client_order_id]

    def cancel(self, order: Order) -> VenueOrder | None:
        with self._call("cancel"):
            if order.client_order_id not in self.book:
                return None
            if self.book[order.client_order_id].state == "working":
                self._become(order.client_order_id, "canceled")
        return self.book[order.client_order_id]

    def order(self, client_order_id: str, symbol: str) -> VenueOrder | None:
        with self._call("order"):
            if self.hidden.get(client_order_id, 0) > 0:
                self.hidden[client_order_id] -= 1
                return None
            return self.book.get(client_order_id)

    def open_orders(self) -> Sequence[VenueOrder]:
        with self._call("open_orders"):
            listed = [each for each in self.book.values() if each.state == "working"]
            return [each for each in listed if not self.hidden.get(each.client_order_id or "")]

    def fills(self, since: datetime | None) -> Sequence[VenueFill]:
        with self._call("fills"):
            told = [each for each in self.trades if since is None or each.filled_at >= since]
            return [*told, *reversed(told)] if self.twice else told

    def cash_flows(self, since: datetime | None) -> Sequence[CashFlow]:
        with self._call("cash_flows"):
            return [each for each in self.flows if since is None or each.at >= since]

    def positions(self) -> Sequence[VenuePosition]:
        with self._call("positions"):
            held: dict[str, Decimal] = defaultdict(Decimal)
            cost: dict[str, Decimal] = defaultdict(Decimal)
            for each in self._all_trades():
                signed = each.quantity if each.side == "buy" else -each.quantity
                held[each.symbol] += signed
                cost[each.symbol] += signed * each.price
            return [
                VenuePosition(symbol, quantity, cost[symbol] / quantity)
                for symbol, quantity in held.items()
                if quantity
            ]

    def cash(self) -> Decimal:
        """Deposits, fees and the profit of what was closed; entries here are closed at one price, if at all."""
        with self._call("cash"):
            flows = sum((each.amount for each in self.flows), D(0))
            return flows - sum((each.fee for each in self._all_trades()), D(0))

    # --- what tests do ----------------------------------------------------------------------------------

    def fill(
        self, client_order_id: str, quantity: Decimal, *, told: bool = True, at: datetime | None = None
    ) -> VenueFill:
        """Fills some of an order; told=False: the trade is reported later only (`tell`)."""
        seen = self.book[client_order_id]
        price = seen.price or D(100)
        fee = quantity * price * FEE
        number = next(self._numbers)
        trade = VenueFill(
            self.account, f"t{number}", seen.venue_order_id, client_order_id, seen.symbol, seen.side, quantity, price,
            fee, "maker", at or self.now,
        )  # fmt: skip
        (self.trades if told else self.held_back).append(trade)
        filled = seen.filled + quantity
        self.book[client_order_id] = replace(seen, filled=filled)
        if filled == seen.quantity:
            self._become(client_order_id, "filled")
        return trade

    def tell(self) -> None:
        """Reports the trades that were held back."""
        self.trades += self.held_back
        self.held_back = []

    def foreign(self, name: str | None = "somebody-else", side: Side = "buy") -> VenueOrder:
        """Opens an order that nobody here sent."""
        seen = VenueOrder("x1", name, SYMBOL, side, "limit", "working", D(1), D(0), D(90), None, False, self.now)
        self.book[name or "x1"] = seen
        return seen

    def names(self) -> list[str]:
        """The client ids of all accepted orders, in turn."""
        return [order.client_order_id for order in self.accepted]

    # --- inside -----------------------------------------------------------------------------------------

    @contextmanager
    def _call(self, method: str) -> Iterator[None]:
        self.asked.append(method)
        fault = self.faults[method].pop(0) if self.faults[method] else None
        if isinstance(fault, BaseException):
            raise fault
        yield
        if fault is not None:
            raise fault[1]

    def _take(self, order: Order) -> None:
        created = None if order.client_order_id in self.undated else self.now
        self.book[order.client_order_id] = VenueOrder(
            f"v{next(self._numbers)}", order.client_order_id, order.symbol, order.side, order.type, "working",
            order.quantity, D(0), order.price, order.trigger_price, order.reduce_only, created,
        )  # fmt: skip

    def _become(self, name: str, state: VenueState) -> None:
        self.book[name] = replace(self.book[name], state=state)

    def _all_trades(self) -> list[VenueFill]:
        return [*self.trades, *self.held_back]


# Faults, as a script names them.
LOST_BEFORE = AmbiguousReply("the connection broke while sending")
LOST_AFTER = ("after", AmbiguousReply("HTTP 504 after it was accepted"))
AWAY = VenueUnavailable("cannot connect")
REFUSED = OrderRejected("insufficient margin", "MARGIN")


@dataclass
class StillBooks:
    """Implements `ports.OrderBooks`: one book for ever."""

    standing: OrderBook = field(default_factory=a_book)

    def book(self, symbol: str, at: datetime) -> OrderBook:
        return self.standing

    def books_between(self, symbol: str, after: datetime | None, until: datetime) -> Sequence[OrderBook]:
        return [self.standing]

    def market_time(self, symbol: str, at: datetime) -> datetime:
        return at


class Floor:
    """Our books, the scripted venue, a still market, and time that passes when somebody sleeps.

    In memory, under any rules; or in the world that is given, under the rules as they are shipped.
    """

    def __init__(self, rules: ExecutionRules | None = None, world: World | None = None) -> None:
        self.rules = rules or ExecutionRules()
        self.venue = ScriptedVenue()
        self.world: Any = world or MemoryWorld()
        self.orders = self.world.orders if rules is None else MemoryOrders(self.world.database, rules)
        self.books = self.world.books
        self.switch = self.world.switch
        self.risk = self.world.desk
        self.market = StillBooks()
        self.runs = self.world.runs()
        self.protected: list[str] = []
        self.slept: list[float] = []
        self.desk = self.process()

    def process(self, **parts: Any) -> TradingDesk:
        """Returns the desk of a process that has just started; `parts` stand in for what it would use."""
        found = {"broker": self.venue, "orders": self.orders, "books": self.books, "alerts": self.world.alerts} | parts
        return TradingDesk(rules=self.rules, sleep=self.sleep, clock=self._seconds, **found)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        self.venue.now += timedelta(seconds=seconds)

    def _seconds(self) -> float:
        return self.world.now().timestamp()

    def approve(self, source: str = SOURCE, side: Side = "buy", **changes: Any) -> RiskApproval:
        """Stores what risk would have let through: 2 at 100, five-fold, valid for a minute."""
        given = NewRiskApproval(
            source=source, source_hash="ab" * 32, account=ACCOUNT, symbol=SYMBOL, side=side, quantity=D(2),
            leverage=D(5), entry_price=D(100), limit_price=None, stop_price=D(98) if side == "buy" else D(102),
            take_profit_price=D(104) if side == "buy" else D(96), reduce_only=False, expires_after_s=60.0,
            book_version=self.risk.snapshot(ACCOUNT).version,
        )  # fmt: skip
        spec = analysis("risk_assessment", request_key=f"risk:{source}")
        run_id, _ = self.runs.insert_request(spec)
        assessing = granted(self.runs.claim(run_id, "host:1:r", 1000))
        self.runs.complete(assessing, Completed({"source": source}, approval=replace(given, **changes)), False)
        approval = self.risk.of_source(source)
        assert approval is not None
        return approval

    def claim(self, source: str = SOURCE, owner: str = "host:1:a") -> ClaimedRun:
        """Claims the execution run of that source, which is inserted if it is not there."""
        spec = analysis("execution", request_key=f"execution:{source}", params={"source": source}, start_within_s=600.0)
        run_id, _ = self.runs.insert_request(spec)
        return granted(self.runs.claim(run_id, owner, 1000))

    def again(self, run: ClaimedRun) -> ClaimedRun:
        """Claims a run whose worker died: its lease has run out, and the sweeper has put it back."""
        self.pass_time(16)
        self.runs.recover()
        return granted(self.runs.claim(run.id, "host:2:b", 1000))

    def put_back(self, run: ClaimedRun, held: EntriesHeld) -> ClaimedRun:
        """Puts a run back as `execute_run` does, and claims it again when it is due."""
        wait_s = held.retry_after_s or 0.0
        assert self.runs.release(run, wait_s, str(held), spent=held.costs_attempt)
        self.pass_time(wait_s)
        return granted(self.runs.claim(run.id, "host:2:b", 1000))

    def place(
        self,
        run: ClaimedRun | None = None,
        desk: TradingDesk | None = None,
        protect: Callable[[str], object] | None = None,
    ) -> Completed:
        """Runs the service as a worker does."""
        execution = Execution(self.risk, self.market, self.world.clock, protect or self.protected.append)
        return place_order(run or self.claim(), {ACCOUNT: desk or self.desk}, execution)

    def entry(self, source: str = SOURCE) -> Order:
        """Returns the source's entry as our books have it."""
        order = self.orders.of_leg(source, "entry")
        assert order is not None
        return order

    def alert_kinds(self) -> list[str]:
        return [alert.kind for alert in self.world.alerts.raised]
