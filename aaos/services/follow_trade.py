"""What became of a decision, or of a portfolio's trade: risk, approval, orders, fills, position, or the veto."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aaos.domain.orders import Order, RiskApproval
from aaos.domain.positions import Fill, Position
from aaos.domain.vetoes import Veto
from aaos.ports import Orders, ResultRecord, ResultStore, RiskDesk, RunRecord, RunStore, TradingBooks, Vetoes

RISK, EXECUTION = "risk_assessment", "execution"
# A run is named by its result, its approval or its veto; one that has none of these yet is among the newest.
RUNS_LOOKED_THROUGH = 500
FILLS_LOOKED_THROUGH = 10_000
POSITIONS_LOOKED_THROUGH = 10_000


@dataclass(frozen=True, slots=True)
class Step:
    """A run on the way and its stored result; None where there is none (yet)."""

    run: RunRecord | None = None
    result: ResultRecord | None = None


@dataclass(frozen=True, slots=True)
class TradeStory:
    """All that a source led to; orders and fills oldest first.

    `position` is the one that its fills made or changed; several sources may have a share in it.
    """

    source: str
    risk: Step
    approval: RiskApproval | None
    execution: Step
    orders: tuple[Order, ...]
    fills: tuple[Fill, ...]
    position: Position | None
    vetoes: tuple[Veto, ...]

    @property
    def began(self) -> bool:
        """Whether anything came of it at all."""
        return bool(self.risk.run or self.approval or self.orders or self.vetoes)


@dataclass(frozen=True, slots=True)
class TradeRecords:
    """Where the story is read from."""

    runs: RunStore
    results: ResultStore
    desk: RiskDesk
    orders: Orders
    books: TradingBooks
    vetoes: Vetoes


def follow_trade(source: str, symbol: str, records: TradeRecords) -> TradeStory:
    """Returns what became of the source (`decision:17`, `trade:4`), as far as it has come.

    Args:
        source: its name.
        symbol: its symbol.
        records: where it is read from.

    Raises:
        DatabaseUnavailable: nothing can be read.
    """
    approval = records.desk.of_source(source)
    vetoes = tuple(records.vetoes.of_source(source))
    orders = tuple(records.orders.of_source(source))
    risk_run = approval.run_id if approval is not None else _refusing_run(vetoes, "risk")
    fills = _fills_of(source, orders, records.books)
    return TradeStory(
        source=source,
        risk=_step(risk_run, RISK, f"risk:{source}", symbol, records),
        approval=approval,
        execution=_step(_refusing_run(vetoes, EXECUTION), EXECUTION, f"execution:{source}", symbol, records),
        orders=orders,
        fills=fills,
        position=_position_of(source, fills, records.books),
        vetoes=vetoes,
    )


def _step(run_id: int | None, kind: str, request_key: str, symbol: str, records: TradeRecords) -> Step:
    if run_id is not None:
        run: RunRecord | None = records.runs.run(run_id)
    else:
        newest = records.runs.runs(RUNS_LOOKED_THROUGH, kind, symbol)
        run = next((each for each in newest if each.request_key == request_key), None)
    if run is None:
        return Step()
    return Step(run, None if run.result_id is None else records.results.result(run.result_id))


def _refusing_run(vetoes: Sequence[Veto], stage: str) -> int | None:
    return next((each.run_id for each in vetoes if each.refusal.stage == stage), None)


def _fills_of(source: str, orders: Sequence[Order], books: TradingBooks) -> tuple[Fill, ...]:
    if not any(order.filled for order in orders):
        return ()
    order = orders[0]
    newest = books.fills(FILLS_LOOKED_THROUGH, order.account, order.symbol)
    return tuple(sorted((each for each in newest if each.source == source), key=lambda each: each.id))


def _position_of(source: str, fills: Sequence[Fill], books: TradingBooks) -> Position | None:
    """Returns the position that the source opened, else the one that was open when it first filled."""
    if not fills:
        return None
    first = fills[0]
    held = [*books.open_positions(first.account), *books.closed_positions(POSITIONS_LOOKED_THROUGH, first.account)]
    here = [each for each in held if each.symbol == first.symbol]
    opened = next((each for each in here if each.source == source), None)
    return opened or next((each for each in here if _was_open(each, first)), None)


def _was_open(position: Position, fill: Fill) -> bool:
    return position.opened_at <= fill.filled_at and (position.closed_at is None or fill.filled_at <= position.closed_at)
