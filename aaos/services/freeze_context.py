"""The first stage of a decision: what it will be based on, checked for freshness, frozen and stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from aaos.domain.market import Candles, iso_utc, timeframe_ms
from aaos.domain.prompts import CANDLES
from aaos.domain.runs import ClaimedRun, Completed, Dependency, Input, NewRun
from aaos.errors import InvariantViolation, StaleInput
from aaos.ports import Clock, MarketData, ResultStore
from aaos.settings import Settings

VOTE = "trading_analysis"
DECISION = "trading_decision"
# Votes end this long before the decision must be made: time for a sweep to see it (5 s), for the reconciler to fire
# the decision (two more), and for deciding. So one hung voter is absent, and the quorum decides.
VOTES_END_BEFORE_S = 30.0


def freeze_context(
    run: ClaimedRun,
    dependencies: Sequence[Dependency],
    market: MarketData,
    results: ResultStore,
    clock: Clock,
    settings: Settings,
) -> Completed:
    """Returns the context of one decision, and one vote to be cast per configured voter.

    Raises:
        StaleInput: an input is older than its `max_age`, not newer than this symbol's previous decision, or about
            candles of another market than the one in use.
    """
    inputs = {each.kind: each for each in dependencies}
    previous = results.latest(DECISION, run.symbol, before=run.slot) if run.scheduled else None
    decided_at = None if previous is None else previous.analyzed_at
    for each in dependencies:
        check_freshness(each, clock.now(), settings.max_age_s(each.kind), decided_at)
    technical, regime = _body(inputs["technical_analysis"]), _body(inputs["regime_detection"])
    newest = max(datetime.fromisoformat(each["as_of"]) for each in (technical, regime))
    read = market.candles(run.symbol, newest, settings.market.history_candles)
    for each in dependencies:
        check_market(each, read)
    candles = read.until(technical["newest_candle_ms"] + timeframe_ms(read.timeframe)).tail(CANDLES["full"])
    body = {
        "symbol": run.symbol,
        "as_of": technical["as_of"],
        "market_time": technical["market_time"],
        "candles": {"timeframe": candles.timeframe, "rows": candles.rows()},
        "technical": technical,
        "regime": regime,
        "config_hash": settings.hash,
    }
    lineage = [_lineage(each) for each in dependencies]
    lineage.append(Input("candles", candles.content_hash(), technical["market_time"]))
    return Completed(body, lineage, feeds=[_vote(run, name, settings) for name in settings.voters])


def check_freshness(
    dependency: Dependency, now: datetime, max_age_s: float, previous_decision: datetime | None
) -> None:
    """Raises StaleInput unless the dependency's answer is young enough and newer than the previous decision."""
    if dependency.analyzed_at is None:
        raise InvariantViolation(f"run {dependency.run_id} ({dependency.kind}) is completed without a result")
    age_s = (now - dependency.analyzed_at).total_seconds()
    if age_s > max_age_s:
        raise StaleInput(
            f"{dependency.kind} (run {dependency.run_id}) is {age_s:.1f} s old, {max_age_s:g} s are allowed"
        )
    if previous_decision is not None and dependency.analyzed_at <= previous_decision:
        raise StaleInput(
            f"{dependency.kind} (run {dependency.run_id}) of {dependency.analyzed_at.isoformat()} is not newer than "
            f"the previous decision of {previous_decision.isoformat()}"
        )


def check_market(dependency: Dependency, candles: Candles) -> None:
    """Raises StaleInput when the dependency's answer is about candles that are not among these.

    A slot's answer stays the slot's answer when the market is switched within it, to another file or to the
    simulated one: a decision would mix two markets.
    """
    body = _body(dependency)
    newest_ms, close = body.get("newest_candle_ms"), body.get("close")
    if newest_ms is None or close is None or candles.holds(newest_ms, close):
        return
    raise StaleInput(
        f"{dependency.kind} (run {dependency.run_id}) is about another market: its candle of {iso_utc(newest_ms)} is"
        " not among the candles now in use (the market was switched); the next slot decides on this one"
    )


def _body(dependency: Dependency) -> Mapping[str, Any]:
    if dependency.body is None:
        raise InvariantViolation(f"run {dependency.run_id} ({dependency.kind}) is completed without a result")
    return dependency.body


def _lineage(dependency: Dependency) -> Input:
    analyzed_at = "" if dependency.analyzed_at is None else dependency.analyzed_at.isoformat()
    return Input(dependency.kind, dependency.content_hash or "", analyzed_at, dependency.result_id)


def _vote(run: ClaimedRun, voter: str, settings: Settings) -> NewRun:
    return NewRun(
        kind=VOTE,
        symbol=run.symbol,
        timeout_s=settings.kind(VOTE).timeout_seconds,
        start_within_s=settings.runs.vote_start_within_s,
        not_after=run.created_at + timedelta(seconds=settings.kind(DECISION).timeout_seconds - VOTES_END_BEFORE_S),
        request_key=f"vote:{run.id}:{voter}",
        params={"context_run": run.id, "voter": voter},
    )
