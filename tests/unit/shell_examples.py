"""One made-up decision with everything it rests on, as stored rows, built by the project's own functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from market_examples import a_regime, a_vote, walk
from support.examples import shipped_settings

from aaos.domain.decision import Arbitration
from aaos.domain.results import content_hash
from aaos.domain.runs import ClaimedRun, Dependency, State
from aaos.domain.signals import SignalParams, generate_signal
from aaos.errors import UnknownRun
from aaos.ports import ResultRecord
from aaos.services.arbitrate_decision import Case
from aaos.services.decide_trade import decide_trade

SLOT = datetime(2026, 1, 1, 12, tzinfo=UTC)
SYMBOL = "BTC/USDT"
TIMES = {"as_of": SLOT.isoformat(), "market_time": SLOT.isoformat()}
CANDLES = walk(300)


class StoredResults:
    """Implements what is needed of `ports.ResultStore`, on a few rows."""

    def __init__(self, *rows: ResultRecord) -> None:
        self.rows = {row.id: row for row in rows}

    def result(self, result_id: int) -> ResultRecord:
        if result_id not in self.rows:
            raise UnknownRun(f"no result {result_id}")
        return self.rows[result_id]

    def result_of_run(self, run_id: int) -> ResultRecord | None:
        return next((row for row in self.rows.values() if row.run_id == run_id), None)

    def latest(self, kind: str, symbol: str, before: datetime | None = None) -> ResultRecord | None:
        raise NotImplementedError

    def results(self, limit: int, kind: str | None = None, symbol: str | None = None) -> Sequence[ResultRecord]:
        raise NotImplementedError


def stored(result_id: int, kind: str, body: Mapping[str, Any], *inputs: dict[str, Any]) -> ResultRecord:
    """A row whose hash is right; its run's id is 100 more."""
    return ResultRecord(
        id=result_id,
        run_id=result_id + 100,
        kind=kind,
        symbol=SYMBOL,
        slot=SLOT,
        fence=result_id,
        analyzed_at=SLOT,
        content_hash=content_hash(body),
        body=body,
        inputs=inputs,
        published_at=None,
    )


def from_candles(content: str) -> dict[str, Any]:
    return {"name": "candles", "content_hash": content, "as_of": SLOT.isoformat(), "result_id": None}


def from_result(name: str, row: ResultRecord) -> dict[str, Any]:
    return {
        "name": name, "content_hash": row.content_hash, "as_of": row.analyzed_at.isoformat(), "result_id": row.id
    }  # fmt: skip


def a_decision_story(phase: str = "distribution", volume: str = "declining") -> tuple[ResultRecord, StoredResults]:
    """A decision whose three votes say BUY, BUY and nothing (absent), in that Wyckoff phase."""
    whole, newest = CANDLES.content_hash(), CANDLES.tail(100)
    technical = stored(
        1, "technical_analysis", generate_signal(CANDLES, SignalParams()).to_dict() | TIMES, from_candles(whole)
    )
    before = stored(2, "regime_detection", a_regime().to_dict() | TIMES, from_candles(whole))
    regime = stored(
        3,
        "regime_detection",
        a_regime("trending_up", phase, volume).to_dict() | TIMES,
        from_candles(whole),
        from_result("regime_before", before),
    )
    context = stored(
        4,
        "trading_context",
        {
            "symbol": SYMBOL,
            "candles": {"timeframe": "1m", "rows": newest.rows()},
            "technical": technical.body,
            "regime": regime.body,
            "config_hash": "c0ffee" * 10,
            **TIMES,
        },
        from_result("technical_analysis", technical),
        from_result("regime_detection", regime),
        from_candles(newest.content_hash()),
    )
    votes = [stored(5 + i, "trading_analysis", _vote_body(name), from_result("context", context))
             for i, name in enumerate(("trend", "reversal"))]  # fmt: skip
    needed = [_dependency(row) for row in (context, *votes)] + [_absent_vote(108)]
    run = ClaimedRun(109, "trading_decision", SYMBOL, SLOT, 1, 9, SLOT, True, True, {}, SLOT, 30.0)
    decided = decide_trade(run, needed, _no_arbiter, shipped_settings())
    decision = stored(9, "trading_decision", decided.body, *(each.to_dict() for each in decided.inputs))
    return decision, StoredResults(technical, before, regime, context, *votes, decision)


def _no_arbiter(case: Case) -> Arbitration:
    raise AssertionError(f"nothing is in dispute: {case}")


def tampered(row: ResultRecord, **changes: Any) -> ResultRecord:
    """The row with another body, its stored hash left as it was."""
    return replace(row, body={**row.body, **changes})


def _vote_body(voter: str) -> dict[str, Any]:
    asked = {"prompt_version": "vote-1", "prompt_hash": "ab" * 32, "content": "{}", "extras": {}, "stance": voter}
    return a_vote("BUY", 0.8, voter).to_dict() | asked | {"tokens_in": 900, "tokens_out": 80, "latency_ms": 12.5}


def _dependency(row: ResultRecord) -> Dependency:
    return Dependency(
        row.run_id, row.kind, row.symbol, True, State.COMPLETED, None, row.id, SLOT, row.content_hash, row.body
    )


def _absent_vote(run_id: int) -> Dependency:
    reason = "the model did not answer within 120 s"
    return Dependency(run_id, "trading_analysis", SYMBOL, False, State.FAILED, reason, None, None, None, None)
