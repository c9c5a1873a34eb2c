"""The frozen context of a decision: fresh inputs of one symbol, and a vote for every voter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from market_examples import a_regime, a_signal
from support.examples import StillMarket, shipped_settings
from support.worlds import MemoryWorld, taken

from aaos.domain.results import content_hash
from aaos.domain.runs import ClaimedRun, Completed, Dependency, State
from aaos.errors import InvariantViolation, StaleInput
from aaos.services.freeze_context import check_freshness, freeze_context
from aaos.services.request_run import request_run
from aaos.services.tick_schedule import tick_schedule

SETTINGS = shipped_settings()
MARKET = StillMarket()
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Pipeline:
    """One symbol's way to a decision, in memory."""

    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.runs = self.world.runs()

    def tick(self) -> ClaimedRun:
        """Ticks a decision, completes its inputs and claims its context."""
        [plan] = tick_schedule("trading_decision", ["BTC/USDT"], SETTINGS, self.runs, self.world.clock).pipelines
        for run_id, kind in plan.header:
            self.complete(run_id, kind)
        return taken(self.runs, plan.body[0])

    def complete(self, run_id: int, kind: str) -> None:
        made = a_signal() if kind == "technical_analysis" else a_regime()
        instant = self.world.clock.now().isoformat()
        body = made.to_dict() | {"as_of": instant, "market_time": instant}
        self.runs.complete(taken(self.runs, run_id), Completed(body), publish=True)

    def decide(self, context: ClaimedRun) -> None:
        """Completes the context without votes, and then its decision."""
        self.runs.complete(context, Completed({}), publish=False)
        [(decision, _, _)] = self.runs.dependents(context.id)
        self.runs.complete(taken(self.runs, decision), Completed({}), publish=True)

    def freeze(self, context: ClaimedRun) -> Completed:
        needed = self.runs.dependencies(context.id)
        return freeze_context(context, needed, MARKET, self.world.results, self.world.clock, SETTINGS)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


@pytest.mark.requirement("F03")
@pytest.mark.requirement("D1")
def test_the_context_holds_the_inputs_the_newest_candles_and_their_lineage(pipeline: Pipeline) -> None:
    context = pipeline.tick()
    frozen = pipeline.freeze(context)
    needed = {each.kind: each for each in pipeline.runs.dependencies(context.id)}
    assert frozen.body["symbol"] == "BTC/USDT"
    assert frozen.body["technical"] == needed["technical_analysis"].body
    assert frozen.body["regime"] == needed["regime_detection"].body
    assert frozen.body["as_of"] == frozen.body["technical"]["as_of"]
    assert len(frozen.body["candles"]["rows"]) == 300, "all that this market has"
    assert frozen.body["config_hash"] == SETTINGS.hash
    lineage = {each.name: each for each in frozen.inputs}
    assert set(lineage) == {"technical_analysis", "regime_detection", "candles"}
    for kind, dependency in needed.items():
        assert lineage[kind].result_id == dependency.result_id
        assert lineage[kind].content_hash == dependency.content_hash == content_hash(dependency.body)
    assert lineage["candles"].content_hash == MARKET.candles("BTC/USDT", NOW, 500).content_hash()


def test_every_voter_gets_a_run_of_its_own_under_a_key_that_a_repetition_would_find_again(pipeline: Pipeline) -> None:
    context = pipeline.tick()
    first, again = pipeline.freeze(context), pipeline.freeze(context)
    assert first.feeds == again.feeds
    assert [(each.kind, each.symbol, each.request_key) for each in first.feeds] == [
        ("trading_analysis", "BTC/USDT", f"vote:{context.id}:{voter}") for voter in SETTINGS.voters
    ]
    assert [each.params for each in first.feeds] == [
        {"context_run": context.id, "voter": voter} for voter in SETTINGS.voters
    ]
    assert not any(each.dependent for each in first.feeds)


@pytest.mark.requirement("F03")
@pytest.mark.requirement("D1")
def test_an_input_that_has_grown_too_old_while_waiting_is_refused(pipeline: Pipeline) -> None:
    context = pipeline.tick()
    pipeline.world.pass_time(119)
    pipeline.freeze(context)
    pipeline.world.pass_time(2)
    with pytest.raises(StaleInput, match=r"technical_analysis \(run \d+\) is 121.0 s old, 120 s are allowed"):
        pipeline.freeze(context)


@pytest.mark.requirement("F03")
@pytest.mark.requirement("D1")
def test_an_input_that_the_previous_decision_has_used_already_is_refused(pipeline: Pipeline) -> None:
    first = pipeline.tick()
    pipeline.decide(first)
    pipeline.world.pass_time(3600)
    second = pipeline.tick()
    pipeline.freeze(second)
    [before] = pipeline.world.results.results(10, kind="trading_decision")
    used = [each for each in pipeline.runs.dependencies(first.id) if each.kind == "technical_analysis"]
    with pytest.raises(StaleInput, match="not newer than the previous decision"):
        check_freshness(used[0], pipeline.world.clock.now(), 1e9, before.analyzed_at)


def test_a_requested_decision_is_not_measured_against_the_schedule(pipeline: Pipeline) -> None:
    from aaos.adapters.memory import MemoryHints

    requested = request_run("trading_decision", "BTC/USDT", "k", SETTINGS, MARKET, pipeline.runs, MemoryHints())
    [stage] = pipeline.runs.dependencies(requested.run_id)
    for each in pipeline.runs.dependencies(stage.run_id):
        pipeline.complete(each.run_id, each.kind)
    scheduled = pipeline.tick()
    pipeline.decide(scheduled)
    assert pipeline.freeze(taken(pipeline.runs, stage.run_id)).body["symbol"] == "BTC/USDT"


def an_input(analyzed_at: datetime | None) -> Dependency:
    return Dependency(7, "technical_analysis", "BTC/USDT", True, State.COMPLETED, None, 1, analyzed_at, "h", {})


@pytest.mark.requirement("D1")
@pytest.mark.requirement("F03")
@pytest.mark.parametrize(
    ("age_s", "decided_ago_s", "fresh"),
    [(0, None, True), (120, None, True), (120.001, None, False), (10, 11, True), (10, 10, False), (10, 5, False)],
)
def test_fresh_is_young_enough_and_newer_than_the_previous_decision(
    age_s: float, decided_ago_s: float | None, fresh: bool
) -> None:
    dependency = an_input(NOW - timedelta(seconds=age_s))
    decided = None if decided_ago_s is None else NOW - timedelta(seconds=decided_ago_s)
    if fresh:
        check_freshness(dependency, NOW, 120, decided)
    else:
        with pytest.raises(StaleInput):
            check_freshness(dependency, NOW, 120, decided)


def test_a_completed_input_without_a_result_breaks_an_invariant() -> None:
    with pytest.raises(InvariantViolation, match="completed without a result"):
        check_freshness(an_input(None), NOW, 120, None)


@pytest.mark.requirement("F08")
def test_votes_end_before_the_decision_that_waits_for_them(pipeline: Pipeline) -> None:
    context = pipeline.tick()
    decision_ends = context.created_at + timedelta(seconds=SETTINGS.kinds["trading_decision"].timeout_seconds)
    for vote in pipeline.freeze(context).feeds:
        assert vote.not_after is not None
        assert vote.not_after < decision_ends - timedelta(seconds=4 * SETTINGS.runs.sweep_s)


@pytest.mark.requirement("D1")
def test_an_answer_about_another_market_is_refused_although_its_slot_is_the_right_one(pipeline: Pipeline) -> None:
    context = pipeline.tick()
    candles = MARKET.candles("BTC/USDT", NOW, 500)
    newest = {"newest_candle_ms": int(candles.open_time_ms[-1]), "close": float(candles.close[-1])}
    needed = [_told_at(each, newest) for each in pipeline.runs.dependencies(context.id)]
    freeze_context(context, needed, MARKET, pipeline.world.results, pipeline.world.clock, SETTINGS)
    for strange in (newest | {"close": newest["close"] + 1}, newest | {"newest_candle_ms": 60_000}):
        mixed = [needed[0], _told_at(needed[1], strange)]
        with pytest.raises(StaleInput, match=rf"{needed[1].kind} \(run \d+\) is about another market"):
            freeze_context(context, mixed, MARKET, pipeline.world.results, pipeline.world.clock, SETTINGS)


def _told_at(dependency: Dependency, newest: dict[str, float]) -> Dependency:
    return replace(dependency, body={**(dependency.body or {}), **newest})
