"""The same ports on two grounds: tables in memory, and a real PostgreSQL. Time passes in both when told to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg
from psycopg.rows import class_row

from aaos.adapters.memory import (
    MemoryAlerts,
    MemoryApprovals,
    MemoryAuditLog,
    MemoryDatabase,
    MemoryOrders,
    MemoryOutbox,
    MemoryResultStore,
    MemoryRiskDesk,
    MemoryRunStore,
    MemoryScheduledTrades,
    MemorySovereignLedger,
    MemoryTradingBooks,
    MemoryTradingSwitch,
)
from aaos.adapters.postgres.approvals import PostgresApprovals
from aaos.adapters.postgres.audit import PostgresAuditLog
from aaos.adapters.postgres.database import Database
from aaos.adapters.postgres.ledger import PostgresAlerts, PostgresSovereignLedger
from aaos.adapters.postgres.orders import PostgresOrders
from aaos.adapters.postgres.portfolio import PostgresScheduledTrades
from aaos.adapters.postgres.results import PostgresOutbox, PostgresResultStore
from aaos.adapters.postgres.risk_desk import PostgresRiskDesk
from aaos.adapters.postgres.runs import PostgresRunStore
from aaos.adapters.postgres.trading_books import PostgresTradingBooks
from aaos.adapters.postgres.trading_switch import PostgresTradingSwitch
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.llm_budget import NOTHING, BudgetRules, Charge, ModelCard, day_scope, decision_scope
from aaos.domain.runs import ClaimedRun, ClaimRefused, NewRun, RunRules
from aaos.errors import InvariantViolation
from aaos.ports import (
    Alerts,
    Approvals,
    AuditLog,
    Clock,
    Orders,
    Outbox,
    ResultStore,
    RiskDesk,
    RunStore,
    ScheduledTrades,
    SovereignLedger,
    TradingBooks,
    TradingSwitch,
)

KIND = "technical_analysis"
SLOT = datetime(2026, 1, 1, 12, tzinfo=UTC)
# More than any test lets run at once, unless it is about room.
PLENTY = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """A run as it is stored; `*_left_s` are seconds from the database's own now, None where there is no instant."""

    id: int
    kind: str
    symbol: str
    state: str
    attempt: int
    hints: int
    parked: bool
    hinted: bool
    fence: int | None
    owner: str | None
    reason: str | None
    failure_source: str | None
    due_in_s: float
    lease_left_s: float | None
    deadline_left_s: float

    @property
    def substance(self) -> tuple[Any, ...]:
        """All that does not change by time passing."""
        return (self.state, self.attempt, self.hints, self.parked, self.fence, self.owner, self.reason)


class World(Protocol):
    """One ground to run the contract on."""

    clock: Clock
    results: ResultStore
    outbox: Outbox
    ledger: SovereignLedger
    alerts: Alerts
    audit: AuditLog
    approvals: Approvals
    trades: ScheduledTrades
    desk: RiskDesk
    orders: Orders
    books: TradingBooks
    switch: TradingSwitch

    def now(self) -> datetime:
        """Returns the instant that the store believes it is."""
        ...

    def runs(self, rules: RunRules | None = None) -> RunStore:
        """Returns the run store under these rules (default: the defaults, with plenty of room)."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Lets time pass."""
        ...

    def rows(self) -> Mapping[int, Row]:
        """Returns every run by id."""
        ...

    def announced(self) -> Mapping[int, bool]:
        """Returns {result id: published} of the outbox."""
        ...

    def alert_messages(self) -> Sequence[str]:
        """Returns the messages of the stored alerts, oldest first."""
        ...

    def broken_outbox(self) -> Any:
        """A context in which no outbox row can be written."""
        ...

    def ledger_under(self, budget: BudgetRules, models: Mapping[str, ModelCard] | None = None) -> SovereignLedger:
        """Returns the ledger under these caps, with these prices."""
        ...

    def spending(self) -> Mapping[str, Charge]:
        """Returns {scope: what is spent or reserved}."""
        ...

    def booked(self) -> Mapping[str, Charge]:
        """Returns the same, added up from the calls themselves."""
        ...

    def reset(self) -> None:
        """Empties every table."""
        ...


class MemoryWorld:
    """Everything in memory."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.database = MemoryDatabase()
        self.clock = self.database.clock
        self.results = MemoryResultStore(self.database)
        self.outbox = MemoryOutbox(self.database)
        self.ledger = MemorySovereignLedger(self.database)
        self.alerts = MemoryAlerts(self.clock, self.database)
        self.audit = MemoryAuditLog(self.database)
        self.approvals = MemoryApprovals(self.database)
        self.trades = MemoryScheduledTrades(self.database)
        self.desk = MemoryRiskDesk(self.database)
        self.orders = MemoryOrders(self.database, ExecutionRules())
        self.books = MemoryTradingBooks(self.database)
        self.switch = MemoryTradingSwitch(self.database)

    def now(self) -> datetime:
        return self.clock.now()

    def runs(self, rules: RunRules | None = None) -> MemoryRunStore:
        return MemoryRunStore(self.database, rules or roomy())

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def rows(self) -> dict[int, Row]:
        now = self.clock.now()
        return {
            row.id: Row(
                id=row.id,
                kind=row.kind,
                symbol=row.symbol,
                state=row.state.value,
                attempt=row.attempt,
                hints=row.hints,
                parked=row.parked,
                hinted=row.hinted_at is not None,
                fence=row.fence,
                owner=row.owner,
                reason=row.reason,
                failure_source=row.failure_source,
                due_in_s=(row.due_at - now).total_seconds(),
                lease_left_s=None if row.lease_expires_at is None else (row.lease_expires_at - now).total_seconds(),
                deadline_left_s=(row.deadline - now).total_seconds(),
            )
            for row in self.database.tables.runs.values()
        }

    def announced(self) -> dict[int, bool]:
        return {result_id: sent is not None for result_id, sent in self.database.tables.outbox.items()}

    def alert_messages(self) -> list[str]:
        return [alert.message for alert in self.alerts.raised]

    def ledger_under(self, budget: BudgetRules, models: Mapping[str, ModelCard] | None = None) -> MemorySovereignLedger:
        return MemorySovereignLedger(self.database, models, budget)

    def spending(self) -> dict[str, Charge]:
        return dict(self.database.tables.spending)

    def booked(self) -> dict[str, Charge]:
        found: dict[str, Charge] = {}
        for call in self.database.tables.calls.values():
            for name in (decision_scope(call.plan.decision), day_scope(call.began_at.date())):
                found[name] = found.get(name, NOTHING) + call.booked
        return found

    @contextmanager
    def broken_outbox(self) -> Iterator[None]:
        def refuse(result_id: int) -> None:
            raise InvariantViolation(f"no outbox row for result {result_id}: it was broken on purpose")

        whole, self.database.before_announcing = self.database.before_announcing, refuse
        try:
            yield
        finally:
            self.database.before_announcing = whole


ROWS = """
    SELECT id, kind, symbol, state, attempt, hints, parked, hinted_at IS NOT NULL AS hinted, fence, owner, reason,
           failure_source,
           CAST(extract(epoch FROM due_at - clock_timestamp()) AS float8) AS due_in_s,
           CAST(extract(epoch FROM lease_expires_at - clock_timestamp()) AS float8) AS lease_left_s,
           CAST(extract(epoch FROM deadline - clock_timestamp()) AS float8) AS deadline_left_s
    FROM runs
"""
# Time passes when everything stored is that much longer ago. Slots are names, not instants.
PASS_TIME = """
    SET session_replication_role = replica;
    UPDATE risk_approvals SET created_at = created_at - {0}, expires_at = expires_at - {0}, used_at = used_at - {0};
    UPDATE orders SET created_at = created_at - {0}, changed_at = changed_at - {0}, released_at = released_at - {0};
    UPDATE equity_points SET at = at - {0};
    SET session_replication_role = origin;
    UPDATE runs SET due_at = due_at - {0}, deadline = deadline - {0}, hinted_at = hinted_at - {0},
        lease_expires_at = lease_expires_at - {0}, created_at = created_at - {0}, started_at = started_at - {0},
        finished_at = finished_at - {0}, not_after = not_after - {0};
    UPDATE results SET analyzed_at = analyzed_at - {0};
    UPDATE alerts SET created_at = created_at - {0};
    UPDATE sovereign_calls SET began_at = began_at - {0}, ended_at = ended_at - {0};
    UPDATE scheduled_trades SET due_at = due_at - {0}, expires_at = expires_at - {0}
    WHERE state IN ('planned', 'released');
"""
SPENDING = "SELECT scope, tokens, cost FROM llm_spending"
BOOKED = """
    SELECT 'day:' || day, sum(tokens_booked), sum(cost) FROM sovereign_calls GROUP BY day
    UNION ALL
    SELECT 'decision:' || decision, sum(tokens_booked), sum(cost) FROM sovereign_calls GROUP BY decision
"""
BREAK_OUTBOX = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'broken on purpose' USING ERRCODE = 'integrity_constraint_violation'; END $$;
    CREATE TRIGGER broken BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refuse();
"""
MEND_OUTBOX = "DROP TRIGGER broken ON outbox; DROP FUNCTION refuse();"
# Rows that the migrations wrote themselves; all others are a test's.
SEEDED = ["alembic_version", "audit_head", "trading_namespace", "trading_switch"]
# Deletes, since a test leaves few rows: TRUNCATE makes new files for every table and index, eight times slower.
DELETES = """
    SELECT string_agg(format('DELETE FROM %%I;', tablename), ' ') FROM pg_tables
    WHERE schemaname = 'public' AND tablename <> ALL(%s)
"""
# Verdicts and the audit log can be emptied by nobody but a session whose triggers are off.
EMPTY = """
    SET session_replication_role = replica;
    {}
    UPDATE trading_switch SET epoch = 1, stopped = false;
    UPDATE audit_head SET id = 0, hash = repeat('0', 64);
    SET session_replication_role = origin;
"""


class PostgresWorld:
    """Everything on one real database; what the tests do behind the stores' backs has a session of its own."""

    def __init__(self, url: str, pool_size: int = 4) -> None:
        self.database = Database(url, pool_size)
        self.session = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        self.clock: Clock = self.database
        self.results = PostgresResultStore(self.database)
        self.outbox = PostgresOutbox(self.database)
        self.ledger = PostgresSovereignLedger(self.database)
        self.alerts = PostgresAlerts(self.database)
        self.audit = PostgresAuditLog(self.database)
        self.approvals = PostgresApprovals(self.database)
        self.trades = PostgresScheduledTrades(self.database)
        self.desk = PostgresRiskDesk(self.database)
        self.orders = PostgresOrders(self.database, ExecutionRules())
        self.books = PostgresTradingBooks(self.database)
        self.switch = PostgresTradingSwitch(self.database)

    def close(self) -> None:
        self.session.close()
        self.database.close()

    def reset(self) -> None:
        [(deletes,)] = self.session.execute(DELETES, [SEEDED]).fetchall()
        self.session.execute(EMPTY.format(deletes))

    def now(self) -> datetime:
        return self.database.now()

    def runs(self, rules: RunRules | None = None) -> PostgresRunStore:
        return PostgresRunStore(self.database, rules or roomy())

    def pass_time(self, seconds: float) -> None:
        self.session.execute(PASS_TIME.format(f"make_interval(secs => {float(seconds)!r})"))

    def rows(self) -> dict[int, Row]:
        with self.session.cursor(row_factory=class_row(Row)) as cursor:
            return {row.id: row for row in cursor.execute(ROWS)}

    def announced(self) -> dict[int, bool]:
        return dict(self.session.execute("SELECT result_id, published_at IS NOT NULL FROM outbox").fetchall())

    def alert_messages(self) -> list[str]:
        return [row[0] for row in self.session.execute("SELECT message FROM alerts ORDER BY id")]

    def ledger_under(
        self, budget: BudgetRules, models: Mapping[str, ModelCard] | None = None
    ) -> PostgresSovereignLedger:
        return PostgresSovereignLedger(self.database, models, budget)

    def spending(self) -> dict[str, Charge]:
        return {name: Charge(tokens, cost) for name, tokens, cost in self.session.execute(SPENDING)}

    def booked(self) -> dict[str, Charge]:
        return {name: Charge(int(tokens), cost) for name, tokens, cost in self.session.execute(BOOKED)}

    @contextmanager
    def broken_outbox(self) -> Iterator[None]:
        self.session.execute(BREAK_OUTBOX)
        try:
            yield
        finally:
            self.session.execute(MEND_OUTBOX)


def roomy(**changes: Any) -> RunRules:
    """Returns the default rules with plenty of room, changed as said."""
    return RunRules(**({"max_concurrent_tasks": PLENTY} | changes))


def analysis(kind: str = KIND, symbol: str = "BTC/USDT", **changes: Any) -> NewRun:
    """Returns a run-to-be with a limit of 30 s that may wait 120 s."""
    return NewRun(kind, symbol, **({"timeout_s": 30.0, "start_within_s": 120.0} | changes))


def granted(claim: ClaimedRun | ClaimRefused) -> ClaimedRun:
    """Returns the claim; fails when it was refused."""
    assert isinstance(claim, ClaimedRun), f"not granted: {claim}"
    return claim


def born(runs: RunStore, symbol: str = "BTC/USDT", slot: datetime = SLOT, **changes: Any) -> int:
    """Inserts one scheduled run and returns its id."""
    spec = analysis(symbol=symbol, **changes)
    [(run_id, _)] = runs.insert_slot(spec, [symbol], slot, 1)
    return run_id


def taken(runs: RunStore, run_id: int, owner: str = "worker-1") -> ClaimedRun:
    """Claims the run with plenty of room and returns the claim."""
    return granted(runs.claim(run_id, owner, PLENTY))
