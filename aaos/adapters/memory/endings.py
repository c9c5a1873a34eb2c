"""What is stored in the transaction that completes a run, in memory."""

from __future__ import annotations

import json

from aaos.adapters.memory import births
from aaos.adapters.memory.audit import append_entries
from aaos.adapters.memory.portfolio import store_trades
from aaos.adapters.memory.risk_desk import store_risk_approval
from aaos.adapters.memory.tables import MemoryDatabase, RunRow
from aaos.adapters.memory.vetoes import store_veto
from aaos.domain.results import canonical_json, content_hash
from aaos.domain.runs import Completed
from aaos.ports import ResultRecord


def store_result(database: MemoryDatabase, row: RunRow, fence: int, outcome: Completed, publish: bool) -> int:
    """Stores the result, and its outbox row where it is to be published; returns its id."""
    result = ResultRecord(
        id=database.next_id(),
        run_id=row.id,
        kind=row.kind,
        symbol=row.symbol,
        slot=row.slot,
        fence=fence,
        analyzed_at=database.clock.now(),
        content_hash=content_hash(outcome.body),
        # Through its bytes, as a real database does it: what comes back is the plain JSON value.
        body=json.loads(canonical_json(outcome.body)),
        inputs=json.loads(canonical_json([each.to_dict() for each in outcome.inputs])),
        published_at=None,
    )
    database.tables.results[result.id] = result
    if publish:
        database.before_announcing(result.id)
        database.tables.outbox[result.id] = None
    return result.id


def follow_up(
    database: MemoryDatabase, run_id: int, outcome: Completed
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Stores what comes with a result; returns (id, kind) of the runs fed, and of those started."""
    fed = births.feed(database, run_id, outcome.feeds)
    starts = births.start(database, outcome.starts)
    if outcome.approval is not None:
        store_risk_approval(database, run_id, outcome.approval)
    database.note(outcome.alerts)
    if outcome.trades is not None:
        store_trades(database, run_id, outcome.trades)
    if outcome.veto is not None:
        store_veto(database, run_id, outcome.veto)
    append_entries(database, outcome.audit)
    return fed, starts
