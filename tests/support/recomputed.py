"""Positions, cash and equity once more, from fills and cash flows alone: the books must agree, digit by digit."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from itertools import chain

from aaos.domain.orders import CashFlow
from aaos.domain.positions import (
    EXACT_DIGITS,
    UNKNOWN_TERMS,
    ZERO,
    Fill,
    Position,
    Terms,
    apply_fill,
    apply_funding,
    unrealised,
)

STILL_OPEN = datetime.max.replace(tzinfo=UTC)
COMPARED = (
    "source",
    "quantity",
    "average_entry",
    "peak_quantity",
    "realised",
    "fees",
    "funding",
    "opened_at",
    "closed_at",
)


@dataclass(frozen=True, slots=True)
class ProfitAndLoss:
    """What positions made; `net` is all of it.

    Attributes:
        realised: of what was closed, before fees and funding.
        unrealised: of what is open, at the marks given.
        fees: paid, positive.
        funding: received, negative when paid.
    """

    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    funding: Decimal

    @property
    def net(self) -> Decimal:
        """Realised + unrealised − fees + funding."""
        with localcontext(prec=EXACT_DIGITS):
            return self.realised + self.unrealised - self.fees + self.funding


def positions_of(
    fills: Sequence[Fill], flows: Sequence[CashFlow] = (), terms: Mapping[str, Terms] | None = None
) -> tuple[Position, ...]:
    """Returns all positions there ever were, oldest first, from the fills alone, in the order they were booked (`id`).

    Stop prices are those of the approvals, not as trailed; `id` is None.

    Args:
        fills: of any accounts and symbols, all of them, each once.
        flows: each funding payment goes to the position open at its instant, else to the last one before it; what
            finds none belongs to no position.
        terms: by source.
    """
    known = terms or {}
    trips: dict[tuple[str, str], list[Position]] = {}
    for fill in sorted(fills, key=lambda each: each.id):
        agreed = known.get(fill.source or "", UNKNOWN_TERMS)
        trip = trips.setdefault((fill.account, fill.symbol), [])
        newest = trip.pop() if trip and trip[-1].quantity else None
        trip.extend(apply_fill(newest, fill, agreed.leverage, agreed.stop_price, agreed.take_profit_price))
    for flow in flows:
        if flow.kind == "funding":
            _fund(trips.get((flow.account, flow.symbol or ""), []), flow)
    return tuple(sorted(chain.from_iterable(trips.values()), key=lambda each: (each.opened_at, each.symbol)))


def _fund(trip: list[Position], flow: CashFlow) -> None:
    index = bisect_right(trip, flow.at, key=lambda each: each.opened_at) - 1
    if index >= 0:
        trip[index] = apply_funding(trip[index], flow.amount)


def cash_of(fills: Sequence[Fill], flows: Sequence[CashFlow]) -> Decimal:
    """Returns the cash, in quote currency, that these leave: deposits + realised − fees + funding."""
    with localcontext(prec=EXACT_DIGITS):
        realised = sum((each.realised - each.fees for each in positions_of(fills)), ZERO)
        return realised + sum((flow.amount for flow in flows), ZERO)


def differences(stored: Sequence[Position], recomputed: Sequence[Position]) -> tuple[str, ...]:
    """Returns what stored positions and those recomputed from the fills disagree on, a sentence each; () when nothing.

    Stops are left out: they are trailed, and no fill says so.
    """
    kept, made = (
        {(each.account, each.symbol, at): each for each, at in _numbered(some)} for some in (stored, recomputed)
    )
    found = []
    for key in sorted(kept.keys() | made.keys()):
        account, symbol, number = key
        name = f"position {number} of {symbol} in {account}"
        if key not in kept or key not in made:
            found.append(f"{name} is {'not stored' if key in made else 'not in the fills'}")
            continue
        for figure in COMPARED:
            one, other = getattr(kept[key], figure), getattr(made[key], figure)
            if one != other:
                found.append(f"{name}: {figure} is stored as {one}, the fills say {other}")
    return tuple(found)


def _numbered(positions: Sequence[Position]) -> Iterator[tuple[Position, int]]:
    """Yields each position with its number among those of its account and symbol."""
    seen: Counter[tuple[str, str]] = Counter()
    for each in sorted(positions, key=lambda one: (one.opened_at, one.closed_at or STILL_OPEN)):
        seen[each.account, each.symbol] += 1
        yield each, seen[each.account, each.symbol]


def profit_and_loss(positions: Sequence[Position], marks: Mapping[str, Decimal]) -> ProfitAndLoss:
    """Returns what the positions made, closed and open ones.

    Args:
        positions: any.
        marks: by symbol; every open position needs one (KeyError).
    """
    with localcontext(prec=EXACT_DIGITS):
        return ProfitAndLoss(
            realised=sum((each.realised for each in positions), ZERO),
            unrealised=sum((unrealised(each, marks[each.symbol]) for each in positions if each.quantity), ZERO),
            fees=sum((each.fees for each in positions), ZERO),
            funding=sum((each.funding for each in positions), ZERO),
        )


def equity_of(fills: Sequence[Fill], flows: Sequence[CashFlow], marks: Mapping[str, Decimal]) -> Decimal:
    """Returns an account's equity without any average or position: flows − paid + sold − fees + what is held × mark.

    It equals cash + unrealised profit of the positions, exactly: the check on all of their arithmetic.

    Args:
        fills: the account's, each once, in any order.
        flows: the account's.
        marks: by symbol; whatever is held needs one (KeyError).
    """
    with localcontext(prec=EXACT_DIGITS):
        held: defaultdict[str, Decimal] = defaultdict(Decimal)
        equity = sum((flow.amount for flow in flows), ZERO)
        for fill in fills:
            signed = fill.quantity if fill.side == "buy" else -fill.quantity
            held[fill.symbol] += signed
            equity -= signed * fill.price + fill.fee
        return equity + sum((quantity * marks[symbol] for symbol, quantity in held.items() if quantity), ZERO)


def equity_curve(fills: Sequence[Fill], flows: Sequence[CashFlow]) -> tuple[tuple[datetime, Decimal], ...]:
    """Returns (instant, equity) after each fill and flow of an account; what is held counts at its last trade's price.

    How equity moved with the market in between is in no fill: that is what `TradingBooks.equity` records.
    """
    marks: dict[str, Decimal] = {}
    held: defaultdict[str, Decimal] = defaultdict(Decimal)
    cash = ZERO
    events: list[tuple[datetime, Fill | CashFlow]] = [(each.filled_at, each) for each in fills]
    events += [(each.at, each) for each in flows]
    points = []
    with localcontext(prec=EXACT_DIGITS):
        for at, event in sorted(events, key=lambda each: each[0]):
            if isinstance(event, CashFlow):
                cash += event.amount
            else:
                signed = event.quantity if event.side == "buy" else -event.quantity
                held[event.symbol] += signed
                marks[event.symbol] = event.price
                cash -= signed * event.price + event.fee
            points.append((at, cash + sum((held[each] * mark for each, mark in marks.items()), ZERO)))
    return tuple(points)
