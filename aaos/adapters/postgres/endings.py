"""What is stored in the transaction that completes a run, beside its result."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from aaos.adapters.postgres import runs_sql as sql
from aaos.adapters.postgres.account_books import raise_alerts
from aaos.adapters.postgres.audit import append_entries
from aaos.adapters.postgres.births import ensure_runs, start_runs
from aaos.adapters.postgres.portfolio import store_trades
from aaos.adapters.postgres.risk_desk import store_risk_approval
from aaos.adapters.postgres.vetoes import store_veto
from aaos.domain.runs import Completed, NewRun


def has_more(outcome: Completed) -> bool:
    """Whether more than the result is to be stored with it."""
    one_by_one = (outcome.approval, outcome.veto, outcome.trades)
    listed = (outcome.feeds, outcome.starts, outcome.alerts, outcome.audit)
    return any(each is not None for each in one_by_one) or any(listed)


def follow_up(
    connection: Connection, run_id: int, outcome: Completed
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Stores what comes with a result; the audit log last, since it is locked until the commit.

    Returns (id, kind) of the runs fed, and of those started.
    """
    feeds = _feed(connection, run_id, outcome.feeds)
    starts = start_runs(connection, outcome.starts)
    if outcome.approval is not None:
        store_risk_approval(connection, run_id, outcome.approval)
    raise_alerts(connection, outcome.alerts)
    if outcome.trades is not None:
        store_trades(connection, run_id, outcome.trades)
    if outcome.veto is not None:
        store_veto(connection, run_id, outcome.veto)
    append_entries(connection, outcome.audit)
    return feeds, starts


def _feed(connection: Connection, run_id: int, feeds: Sequence[NewRun]) -> list[tuple[int, str]]:
    if not feeds:
        return []
    fed = []
    for spec in feeds:
        _, fed_id, _ = ensure_runs(connection, spec, [spec.symbol], None)[0]
        fed.append((fed_id, spec.kind))
    connection.execute(sql.FEED_DEPENDENTS, {"run_id": run_id, "fed_ids": [fed_id for fed_id, _ in fed]})
    return fed
