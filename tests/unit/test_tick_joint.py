"""Ticks of a schedule with one run for all symbols: the whole slot is born, each run once, in any order of ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.examples import StillMarket, changed_settings, shipped_settings
from support.worlds import PLENTY, MemoryWorld, taken

from aaos.adapters.memory import MemoryHints
from aaos.domain.runs import ClaimedRun, Completed, Skipped, State
from aaos.domain.schedules import ALL_SYMBOLS, Schedule, check_depth
from aaos.errors import ConfigError, InputError
from aaos.services.request_run import request_run
from aaos.services.tick_schedule import Ticked, tick_schedule
from aaos.settings import Settings

SETTINGS = shipped_settings()
SYMBOLS = ["A/USDT", "B/USDT"]
REBALANCE, DECISION = "portfolio_rebalance", "trading_decision"
START = datetime(2026, 1, 1, tzinfo=UTC)
# Of one slot: technical, regime, context and decision of each symbol, and the rebalance.
WHOLE_SLOT = 4 * len(SYMBOLS) + 1


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


def tick(world: MemoryWorld, name: str = REBALANCE, settings: Settings = SETTINGS, *, repair: bool = False) -> Ticked:
    return tick_schedule(name, SYMBOLS, settings, world.runs(settings.runs), world.clock, repair=repair)


def rebalances(world: MemoryWorld) -> list[int]:
    return [row.id for row in world.rows().values() if row.kind == REBALANCE]


@pytest.mark.requirement("F03")
def test_a_tick_brings_about_the_slot_down_to_its_analyses_and_sends_their_chords(world: MemoryWorld) -> None:
    ticked = tick(world)
    assert len(world.rows()) == WHOLE_SLOT
    assert [plan.symbol for plan in ticked.pipelines] == SYMBOLS
    assert {plan.body[1] for plan in ticked.pipelines} == {"trading_context"}
    assert ticked.hints == []
    [run_id] = rebalances(world)
    assert world.runs().run(run_id).symbol == ALL_SYMBOLS
    assert {(each.kind, each.symbol) for each in world.runs().dependencies(run_id)} == {
        (DECISION, symbol) for symbol in SYMBOLS
    }


@pytest.mark.requirement("Q1")
@pytest.mark.parametrize("order", [(DECISION, REBALANCE), (REBALANCE, DECISION), (REBALANCE, REBALANCE)])
def test_whichever_tick_comes_first_every_run_is_born_once_and_every_chord_sent_once(
    world: MemoryWorld, order: tuple[str, str]
) -> None:
    ticked = [tick(world, name) for name in order]
    assert len(world.rows()) == WHOLE_SLOT
    assert sum(len(each.pipelines) for each in ticked) == len(SYMBOLS)
    assert len(rebalances(world)) == 1


def test_decisions_of_the_slot_that_are_over_are_reused_and_it_is_hinted_at_once(world: MemoryWorld) -> None:
    tick(world, DECISION)
    finish_all(world)
    ticked = tick(world)
    [run_id] = rebalances(world)
    assert ticked.hints == [(run_id, REBALANCE)]
    assert len(world.rows()) == WHOLE_SLOT


def test_a_decision_that_ends_as_skipped_does_not_block_it(world: MemoryWorld) -> None:
    tick(world)
    finish_all(world, DECISION)
    [run_id] = rebalances(world)
    claim = world.runs().claim(run_id, "worker", PLENTY)
    assert isinstance(claim, ClaimedRun)
    assert {each.state for each in world.runs().dependencies(run_id)} == {State.SKIPPED}


@pytest.mark.requirement("Q6")
def test_slots_that_nobody_ticked_are_missed_once_for_all_symbols(world: MemoryWorld) -> None:
    tick(world)
    world.pass_time(3 * 3600)
    ticked = tick(world)
    missed = [row for row in world.runs().runs(100, kind=REBALANCE) if row.state is State.SKIPPED]
    assert {(row.symbol, row.slot) for row in missed} == {(ALL_SYMBOLS, START + timedelta(hours=n)) for n in (1, 2)}
    assert ticked.slot == START + timedelta(hours=3)
    assert ticked.missed >= 2 + 2 * len(SYMBOLS)


def test_a_repair_finds_a_slot_without_it_and_leaves_one_with_it_alone(world: MemoryWorld) -> None:
    tick(world, DECISION)
    assert rebalances(world) == []
    tick(world, repair=True)
    assert len(rebalances(world)) == 1
    assert tick(world, repair=True) == Ticked(START)


def test_without_a_market_there_is_nothing_to_do(world: MemoryWorld) -> None:
    ticked = tick_schedule(REBALANCE, [], SETTINGS, world.runs(), world.clock)
    assert (ticked.hints, ticked.pipelines, world.rows()) == ((), (), {})


def test_one_that_depends_on_nothing_is_hinted_like_any_other(world: MemoryWorld) -> None:
    alone = {**SETTINGS.schedules, REBALANCE: Schedule(3600)}
    ticked = tick(world, settings=changed_settings(schedules=alone))
    assert ticked.hints == [(run_id, REBALANCE) for run_id in rebalances(world)]
    assert len(ticked.hints) == len(world.rows()) == 1


# --- on request -------------------------------------------------------------------------------------------------------


def test_on_request_it_waits_for_nobody(world: MemoryWorld) -> None:
    hints = MemoryHints()
    asked = request_run(REBALANCE, ALL_SYMBOLS, "now", SETTINGS, StillMarket(), world.runs(), hints)
    assert hints.sent == [(REBALANCE, asked.run_id)]
    assert hints.launched == []
    claim = taken(world.runs(), asked.run_id)
    assert (claim.symbol, claim.dependent, claim.scheduled) == (ALL_SYMBOLS, False, False)
    again = request_run(REBALANCE, ALL_SYMBOLS, "now", SETTINGS, StillMarket(), world.runs(), hints)
    assert (again.run_id, again.created) == (asked.run_id, False)


def test_a_request_for_one_symbol_is_refused_with_what_to_ask_for(world: MemoryWorld) -> None:
    with pytest.raises(InputError, match=r"one run for all symbols: request it for '\*', not for 'BTC/USDT'"):
        request_run(REBALANCE, "BTC/USDT", None, SETTINGS, StillMarket(), world.runs(), MemoryHints())


@pytest.mark.parametrize("key", ["risk:trade:1", "execution:trade:1", "risk:decision:7"])
def test_a_key_that_looks_like_a_step_of_a_trade_is_refused(world: MemoryWorld, key: str) -> None:
    with pytest.raises(InputError, match="not beginning with"):
        request_run("technical_analysis", "BTC/USDT", key, SETTINGS, StillMarket(), world.runs(), MemoryHints())


# --- what is refused when the configuration loads ---------------------------------------------------------------------


def needs(**depends_on: tuple[str, ...]) -> dict[str, Schedule]:
    return {name: Schedule(60, each) for name, each in depends_on.items()}


def test_only_a_run_for_all_symbols_may_wait_for_what_waits_itself() -> None:
    check_depth(needs(a=(), b=("a",), portfolio_rebalance=("b", "a")))
    with pytest.raises(ConfigError, match=r"schedules\.c\.depends_on: b waits for others itself.*portfolio_rebalance"):
        check_depth(needs(a=(), b=("a",), c=("b",)))


def test_nothing_can_wait_for_a_run_for_all_symbols() -> None:
    with pytest.raises(ConfigError, match=r"schedules\.a\.depends_on: portfolio_rebalance is one run for all symbols"):
        check_depth(needs(portfolio_rebalance=(), a=("portfolio_rebalance",)))


def finish_all(world: MemoryWorld, kind: str | None = None) -> None:
    """Ends all that is pending, what waits last; decisions as skipped where only they are asked for."""
    runs = world.runs()
    for kind_in_turn in ("technical_analysis", "regime_detection", "trading_context", DECISION):
        for row in [row for row in world.rows().values() if row.kind == kind_in_turn]:
            claim = taken(runs, row.id)
            if kind_in_turn == kind:
                runs.end(claim, Skipped("stale input: example"))
            else:
                runs.complete(claim, Completed({}), publish=False)
