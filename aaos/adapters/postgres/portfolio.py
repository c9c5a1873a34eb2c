"""Scheduled trades on PostgreSQL: planned with their rebalance, claimed under row locks, each released once (F07)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from aaos.adapters.postgres.database import Database
from aaos.domain.portfolio.trades import (
    SUPERSEDED,
    OpenTrades,
    ScheduledTrade,
    Step,
    TradePlan,
    TradeState,
    UnderWay,
    moved_since,
    said_of,
    trade_source,
)
from aaos.domain.runs import NewRun
from aaos.errors import InputError, InvariantViolation, RiskBookMoved

COLUMNS = """
    t.id, t.rebalance_run, t.account, t.symbol, t.side, t.quantity, t.batch, t.state, t.due_at, t.expires_at,
    t.risk_run, t.outcome, t.why
"""

# One plan of an account at a time. The lock comes before the trades are looked at: what a plan that is being stored
# beside this one adds would not be among the rows to lock.
ONE_PLAN = text("SELECT pg_advisory_xact_lock(hashtext('aaos.trades'), hashtext(:account))")

# Ids of an account's trades rise in the order of their commits, since they are given under the lock above.
LOCK_KNOWN = text("""
    SELECT id, state FROM scheduled_trades
    WHERE account = :account AND (id > :newest_known OR id = ANY(CAST(:replaces AS bigint[])))
    ORDER BY id FOR UPDATE
""")

SUPERSEDE = text("""
    UPDATE scheduled_trades SET state = 'skipped', outcome = :outcome, ended_at = clock_timestamp()
    WHERE account = :account AND state = 'planned'
""")

# One instant for all: parts of a trade that are due together are due together.
PLAN = text("""
    WITH stored AS MATERIALIZED (SELECT clock_timestamp() AS at)
    INSERT INTO scheduled_trades (rebalance_run, account, symbol, side, quantity, batch, due_at, expires_at, why)
    SELECT :run_id, :account, symbol, side, quantity, batch, stored.at + make_interval(secs => due_after_s),
           stored.at + make_interval(secs => due_after_s) + make_interval(secs => expires_after_s), why
    FROM stored, unnest(CAST(:symbols AS text[]), CAST(:sides AS text[]), CAST(:quantities AS numeric[]),
                CAST(:batches AS smallint[]), CAST(:due_after_s AS float8[]), CAST(:expires_after_s AS float8[]),
                CAST(:whys AS text[]))
         WITH ORDINALITY AS planned(symbol, side, quantity, batch, due_after_s, expires_after_s, why, position)
    ORDER BY position
""")

# A sell that ended stays ended, and none is added to a rebalance later: what NOT EXISTS finds once stays true.
CLAIM_DUE = text("""
    SELECT t.id, t.symbol, t.expires_at FROM scheduled_trades t
    WHERE t.state = 'planned' AND t.due_at <= clock_timestamp() AND t.expires_at > clock_timestamp()
      AND (t.side = 'sell' OR NOT EXISTS (
          SELECT 1 FROM scheduled_trades sell
          WHERE sell.rebalance_run = t.rebalance_run AND sell.side = 'sell' AND sell.state IN ('planned', 'released')))
    ORDER BY t.due_at, t.id
    LIMIT :limit FOR UPDATE OF t SKIP LOCKED
""")

RISK_RUNS = text("""
    INSERT INTO runs (kind, symbol, slot, request_key, timeout_s, start_within_s, deadline, not_after, hinted_at,
                      params)
    SELECT :kind, symbol, clock_timestamp(), request_key, :timeout_s, :start_within_s,
           LEAST(clock_timestamp() + make_interval(secs => :start_within_s), not_after), not_after, clock_timestamp(),
           CAST(params AS json)
    FROM unnest(CAST(:symbols AS text[]), CAST(:request_keys AS text[]), CAST(:not_after AS timestamptz[]),
                CAST(:params AS text[])) AS wanted(symbol, request_key, not_after, params)
    RETURNING id, request_key
""")

RELEASE = text("""
    UPDATE scheduled_trades SET state = 'released', risk_run = born.run_id, released_at = clock_timestamp()
    FROM unnest(CAST(:ids AS bigint[]), CAST(:run_ids AS bigint[])) AS born(trade_id, run_id)
    WHERE id = born.trade_id AND state = 'planned'
""")

CLOSE = text("""
    UPDATE scheduled_trades SET state = :state, outcome = :outcome, ended_at = clock_timestamp()
    WHERE id = :id AND state = 'released'
""")

EXPIRE = text("""
    UPDATE scheduled_trades SET state = 'expired', ended_at = clock_timestamp(),
        outcome = 'not released within ' || extract(epoch FROM expires_at - due_at)::float8 || ' s'
                  || CASE WHEN side = 'buy' AND EXISTS (
                         SELECT 1 FROM scheduled_trades sell
                         WHERE sell.rebalance_run = scheduled_trades.rebalance_run AND sell.side = 'sell'
                           AND sell.state IN ('planned', 'released'))
                     THEN ': sells of its rebalance were not over' ELSE '' END
    WHERE id IN (SELECT id FROM scheduled_trades WHERE state = 'planned' AND expires_at <= clock_timestamp()
                 ORDER BY id FOR UPDATE SKIP LOCKED)
    RETURNING id
""")

OPEN = text(f"""
    SELECT {COLUMNS} FROM scheduled_trades t
    WHERE t.account = :account
      AND (t.state IN ('planned', 'released')
           OR t.id = (SELECT max(newest.id) FROM scheduled_trades newest WHERE newest.account = :account))
    ORDER BY t.id
""")

ONE_TRADE = text(f"SELECT {COLUMNS} FROM scheduled_trades t WHERE t.id = :id")

NEWEST = text(f"""
    SELECT {COLUMNS} FROM scheduled_trades t
    WHERE CAST(:rebalance_run AS bigint) IS NULL OR t.rebalance_run = :rebalance_run
    ORDER BY t.rebalance_run DESC, t.id LIMIT :limit
""")

# One statement: a risk run that is over here shows the execution run that was born with its end.
UNDER_WAY = text(f"""
    SELECT {COLUMNS}, risk.id AS risk_id, risk.kind AS risk_kind, risk.state AS risk_state, risk.reason AS risk_reason,
           assessed.body AS risk_body, run.id AS execution_id, run.kind AS execution_kind, run.state AS execution_state,
           run.reason AS execution_reason, executed.body AS execution_body
    FROM scheduled_trades t
    JOIN runs risk ON risk.id = t.risk_run
    LEFT JOIN results assessed ON assessed.run_id = risk.id
    LEFT JOIN runs run ON run.request_key = 'execution:trade:' || t.id
    LEFT JOIN results executed ON executed.run_id = run.id
    WHERE t.state = 'released' ORDER BY t.id
""")


class PostgresScheduledTrades:
    """Implements `ports.ScheduledTrades`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def release_due(self, spec: NewRun, limit: int) -> Sequence[tuple[int, int]]:
        """See the port."""
        with self._database.transaction() as connection:
            due = connection.execute(CLAIM_DUE, {"limit": limit}).all()
            if not due:
                return []
            runs = _risk_runs(connection, spec, due)
            released = [(row.id, runs[row.id]) for row in due]
            parameters = {"ids": [trade for trade, _ in released], "run_ids": [run for _, run in released]}
            if connection.execute(RELEASE, parameters).rowcount != len(released):
                raise InvariantViolation(
                    f"trades {parameters['ids']} changed under their own locks; nothing was released"
                )
        return released

    def close(self, trade_id: int, state: TradeState, outcome: str) -> bool:
        """See the port."""
        return self._database.execute(CLOSE, {"id": trade_id, "state": state, "outcome": outcome}) == 1

    def expire(self) -> Sequence[int]:
        """See the port."""
        return [row.id for row in self._database.rows(EXPIRE)]

    def open_trades(self, account: str) -> OpenTrades:
        """See the port."""
        return OpenTrades.of([_trade(row) for row in self._database.rows(OPEN, {"account": account})])

    def under_way(self) -> Sequence[UnderWay]:
        """See the port."""
        return [
            UnderWay(_trade(row), _step(row, "risk"), None if row.execution_id is None else _step(row, "execution"))
            for row in self._database.rows(UNDER_WAY)
        ]

    def trade(self, trade_id: int) -> ScheduledTrade:
        """See the port."""
        row = self._database.row(ONE_TRADE, {"id": trade_id})
        if row is None:
            raise InputError(f"no scheduled trade {trade_id}; `aaos portfolio trades` lists them")
        return _trade(row)

    def trades(self, limit: int, rebalance_run: int | None = None) -> Sequence[ScheduledTrade]:
        """See the port."""
        return [_trade(row) for row in self._database.rows(NEWEST, {"limit": limit, "rebalance_run": rebalance_run})]


def store_trades(connection: Connection, run_id: int, plan: TradePlan) -> None:
    """Stores a rebalance's plan inside the transaction that completes it.

    Raises:
        RiskBookMoved: a trade that the plan did not know of is planned, or one that it replaces was released.
    """
    connection.execute(ONE_PLAN, {"account": plan.account})
    known = {"account": plan.account, "newest_known": plan.newest_known, "replaces": list(plan.replaces)}
    locked = connection.execute(LOCK_KNOWN, known).all()
    moved = [row.id for row in locked if row.id > plan.newest_known or row.state in ("released", "done")]
    if moved:
        raise RiskBookMoved(moved_since(plan.account, moved))
    connection.execute(SUPERSEDE, {"account": plan.account, "outcome": f"{SUPERSEDED} by rebalance {run_id}"})
    if plan.trades:
        connection.execute(PLAN, {"run_id": run_id, "account": plan.account, **_columns(plan)})


def _columns(plan: TradePlan) -> dict[str, Any]:
    return {
        "symbols": [each.symbol for each in plan.trades],
        "sides": [each.side for each in plan.trades],
        "quantities": [each.quantity for each in plan.trades],
        "batches": [each.batch for each in plan.trades],
        "due_after_s": [float(each.due_after_s) for each in plan.trades],
        "expires_after_s": [float(each.expires_after_s) for each in plan.trades],
        "whys": [each.why for each in plan.trades],
    }


def _risk_runs(connection: Connection, spec: NewRun, due: Sequence[Any]) -> dict[int, int]:
    """Gives each trade its risk run; one that has a run already was released before, and the database says so."""
    keys = {f"risk:{trade_source(row.id)}": row.id for row in due}
    born = connection.execute(
        RISK_RUNS,
        {
            "kind": spec.kind,
            "timeout_s": spec.timeout_s,
            "start_within_s": spec.start_within_s,
            "symbols": [row.symbol for row in due],
            "request_keys": list(keys),
            "not_after": [row.expires_at for row in due],
            "params": [json.dumps({**spec.params, "source": trade_source(row.id)}) for row in due],
        },
    )
    return {keys[row.request_key]: row.id for row in born}


def _step(row: Any, name: str) -> Step:
    of = row._asdict()
    state, body = of[f"{name}_state"], of[f"{name}_body"]
    return Step(
        run_id=of[f"{name}_id"],
        kind=of[f"{name}_kind"],
        final=state in ("completed", "failed", "skipped"),
        completed=state == "completed",
        reason=of[f"{name}_reason"],
        says=said_of(body),
    )


def _trade(row: Any) -> ScheduledTrade:
    return ScheduledTrade(
        id=row.id,
        rebalance_run=row.rebalance_run,
        account=row.account,
        symbol=row.symbol,
        side=row.side,
        quantity=row.quantity,
        batch=row.batch,
        state=row.state,
        due_at=row.due_at,
        expires_at=row.expires_at,
        risk_run=row.risk_run,
        outcome=row.outcome,
        why=row.why,
    )
