"""What sending orders of one account needs, and whether this process has compared its books with the venue's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.orders import ENTRY, Order
from aaos.ports import Alerts, Broker, Orders, TradingBooks


class Reconciled:
    """Whether a process may rely on an account's books: closed at first, and again after each doubtful answer.

    A copy that a fork made is closed, too, as long as the original was.
    """

    def __init__(self) -> None:
        self.turn = threading.Lock()
        """Held by the thread that reconciles, so that those beside it wait for its answer instead of asking as well."""
        self.loaded = False
        """Whether a comparison has succeeded in this process before."""
        self._open = False
        self._refused_at: float | None = None
        self._why = ""

    @property
    def open(self) -> bool:
        """Whether the books were compared, and nothing came up since."""
        return self._open

    def passed(self) -> None:
        """Opens: the books are in order."""
        self.loaded, self._open, self._refused_at = True, True, None

    def refused(self, now: float, why: str) -> None:
        """Closes: the books were compared, and are not in order."""
        self._open, self._refused_at, self._why = False, now, why

    def lost(self) -> None:
        """Closes: an answer was doubtful, or the venue away; who comes back compares first."""
        self._open = False

    def refusal(self, now: float, within_s: float) -> str | None:
        """Returns why it was refused a moment ago; None when it is time to compare again."""
        recent = self._refused_at is not None and now - self._refused_at < within_s
        return self._why if recent and not self._open else None


@dataclass(frozen=True, slots=True)
class TradingDesk:
    """One account at its venue, and our books of it; one object per process and account.

    `entry_max_age_s`: how long its entries may rest, where that is less long than other orders (`order_max_age_s`).
    """

    broker: Broker
    orders: Orders
    books: TradingBooks
    alerts: Alerts
    rules: ExecutionRules
    gate: Reconciled = field(default_factory=Reconciled)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    entry_max_age_s: float | None = None

    @property
    def account(self) -> str:
        """Its name."""
        return self.broker.account

    def max_age_s(self, order: Order) -> float:
        """Returns how old the order may become before it is cancelled, in seconds."""
        most_s = self.rules.order_max_age_s
        return most_s if self.entry_max_age_s is None or order.leg != ENTRY else min(most_s, self.entry_max_age_s)
