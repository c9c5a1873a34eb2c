"""Scheduled trades in memory: the same contract as on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from aaos.adapters.memory import births
from aaos.adapters.memory.tables import MemoryDatabase, RunRow, Tables
from aaos.domain.portfolio.trades import (
    SUPERSEDED,
    UNFINISHED,
    OpenTrades,
    ScheduledTrade,
    Step,
    TradePlan,
    TradeState,
    UnderWay,
    moved_since,
    said_of,
)
from aaos.domain.runs import NewRun, State
from aaos.errors import InputError, RiskBookMoved


class MemoryScheduledTrades:
    """Implements `ports.ScheduledTrades`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def release_due(self, spec: NewRun, limit: int) -> Sequence[tuple[int, int]]:
        """See the port."""
        with self._database.transaction() as tables:
            now = self._database.clock.now()
            due = [
                trade
                for trade in tables.trades.values()
                if trade.state == "planned" and trade.due_at <= now < trade.expires_at and not _must_wait(trade, tables)
            ]
            due.sort(key=lambda trade: (trade.due_at, trade.id))
            return [(trade.id, self._release(trade, spec)) for trade in due[:limit]]

    def _release(self, trade: ScheduledTrade, spec: NewRun) -> int:
        wanted = replace(
            spec,
            symbol=trade.symbol,
            request_key=f"risk:{trade.source}",
            params={**spec.params, "source": trade.source},
            not_after=trade.expires_at,
        )
        [born] = births.insert_runs(self._database, wanted, [trade.symbol], None, births.ALL)
        self._database.tables.trades[trade.id] = replace(trade, state="released", risk_run=born.id)
        return born.id

    def close(self, trade_id: int, state: TradeState, outcome: str) -> bool:
        """See the port."""
        with self._database.transaction() as tables:
            trade = tables.trades.get(trade_id)
            if trade is None or trade.state != "released":
                return False
            tables.trades[trade_id] = replace(trade, state=state, outcome=outcome)
            return True

    def expire(self) -> Sequence[int]:
        """See the port."""
        with self._database.transaction() as tables:
            now = self._database.clock.now()
            late = [each for each in tables.trades.values() if each.state == "planned" and each.expires_at <= now]
            ended = {trade.id: replace(trade, state="expired", outcome=_lateness(trade, tables)) for trade in late}
            tables.trades.update(ended)
            return sorted(ended)

    def open_trades(self, account: str) -> OpenTrades:
        """See the port."""
        with self._database.transaction() as tables:
            return OpenTrades.of([each for each in tables.trades.values() if each.account == account])

    def under_way(self) -> Sequence[UnderWay]:
        """See the port."""
        with self._database.transaction() as tables:
            released = [each for each in tables.trades.values() if each.state == "released"]
            return [_under_way(trade, tables) for trade in released]

    def trade(self, trade_id: int) -> ScheduledTrade:
        """See the port."""
        with self._database.transaction() as tables:
            if trade_id not in tables.trades:
                raise InputError(f"no scheduled trade {trade_id}; `aaos portfolio trades` lists them")
            return tables.trades[trade_id]

    def trades(self, limit: int, rebalance_run: int | None = None) -> Sequence[ScheduledTrade]:
        """See the port."""
        with self._database.transaction() as tables:
            found = [each for each in tables.trades.values() if rebalance_run in (None, each.rebalance_run)]
            return sorted(found, key=lambda trade: (-trade.rebalance_run, trade.id))[:limit]


def store_trades(database: MemoryDatabase, run_id: int, plan: TradePlan) -> None:
    """Stores a rebalance's plan; to be called inside the transaction that completes it. Raises RiskBookMoved."""
    trades = database.tables.trades
    ours = [each for each in trades.values() if each.account == plan.account]
    newer = {each.id for each in ours if each.id > plan.newest_known}
    released = {each.id for each in ours if each.id in plan.replaces and each.state in ("released", "done")}
    moved = sorted(newer | released)
    if moved:
        raise RiskBookMoved(moved_since(plan.account, moved))
    for each in ours:
        if each.state == "planned":
            trades[each.id] = replace(each, state="skipped", outcome=f"{SUPERSEDED} by rebalance {run_id}")
    now = database.clock.now()
    for new in plan.trades:
        due_at = now + timedelta(seconds=new.due_after_s)
        trade = ScheduledTrade(
            id=database.next_id(),
            rebalance_run=run_id,
            account=plan.account,
            symbol=new.symbol,
            side=new.side,
            quantity=new.quantity,
            batch=new.batch,
            state="planned",
            due_at=due_at,
            expires_at=due_at + timedelta(seconds=new.expires_after_s),
            risk_run=None,
            outcome=None,
            why=new.why,
        )
        trades[trade.id] = trade


def _must_wait(trade: ScheduledTrade, tables: Tables) -> bool:
    return trade.side == "buy" and any(
        other.rebalance_run == trade.rebalance_run and other.side == "sell" and other.state in UNFINISHED
        for other in tables.trades.values()
    )


def _lateness(trade: ScheduledTrade, tables: Tables) -> str:
    why = ": sells of its rebalance were not over" if _must_wait(trade, tables) else ""
    return f"not released within {(trade.expires_at - trade.due_at).total_seconds():g} s{why}"


def _under_way(trade: ScheduledTrade, tables: Tables) -> UnderWay:
    key = f"execution:{trade.source}"
    execution = next((row for row in tables.runs.values() if row.request_key == key), None)
    risk = tables.runs[trade.risk_run or 0]
    return UnderWay(trade, _step(risk, tables), None if execution is None else _step(execution, tables))


def _step(row: RunRow, tables: Tables) -> Step:
    body = next((each.body for each in tables.results.values() if each.run_id == row.id), None)
    return Step(row.id, row.kind, row.state.final, row.state is State.COMPLETED, row.reason, said_of(body))
