"""Ticks: the current slot once, however often and by however many beats it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from support.examples import changed_settings, shipped_settings
from support.worlds import MemoryWorld, taken

from aaos.adapters.memory import MemoryRunStore
from aaos.domain.runs import Completed, NewRun, RunRules
from aaos.services.tick_schedule import Ticked, new_run, tick_schedule
from aaos.settings import Settings

SETTINGS = shipped_settings()
SYMBOLS = ["A/USDT", "B/USDT", "C/USDT", "D/USDT", "E/USDT"]
MINUTE = timedelta(minutes=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


def tick(
    world: MemoryWorld,
    name: str = "technical_analysis",
    symbols: Sequence[str] = SYMBOLS,
    settings: Settings = SETTINGS,
    *,
    repair: bool = False,
) -> Ticked:
    return tick_schedule(name, symbols, settings, world.runs(settings.runs), world.clock, repair=repair)


def slots(world: MemoryWorld, kind: str, state: str | None = None) -> list[datetime]:
    return sorted({record.slot for record in world.runs().runs(10_000, kind=kind, state=state)})


@pytest.mark.requirement("F05")
def test_a_tick_makes_one_run_per_symbol_of_the_slot_and_hints_as_many_as_may_run(world: MemoryWorld) -> None:
    world.pass_time(75.5)
    ticked = tick(world)
    assert ticked.slot == START + MINUTE
    assert [kind for _, kind in ticked.hints] == ["technical_analysis"] * 3
    assert slots(world, "technical_analysis") == [START + MINUTE]
    assert {row.symbol for row in world.rows().values()} == set(SYMBOLS)


@pytest.mark.requirement("F05")
def test_places_already_taken_are_not_hinted_again_but_one_hint_always_goes_out(world: MemoryWorld) -> None:
    for run_id, _ in tick(world).hints[:2]:
        taken(world.runs(), run_id)
    world.pass_time(60)
    assert len(tick(world).hints) == 1
    [third] = [row.id for row in world.rows().values() if row.state == "pending" and row.symbol == "C/USDT"][:1]
    taken(world.runs(), third)
    world.pass_time(60)
    assert len(tick(world).hints) == 1


@pytest.mark.requirement("F01")
@pytest.mark.requirement("Q1")
def test_a_tick_delivered_twice_sends_nothing_the_second_time(world: MemoryWorld) -> None:
    tick(world)
    world.pass_time(59)
    again = tick(world)
    assert (again.hints, again.pipelines, again.missed) == ([], (), 0)
    assert len(world.rows()) == 5


def test_the_first_tick_ever_has_missed_nothing(world: MemoryWorld) -> None:
    assert tick(world).missed == 0


@pytest.mark.requirement("Q6")
def test_slots_that_nobody_ticked_are_recorded_as_missed_and_the_newest_runs(world: MemoryWorld) -> None:
    tick(world)
    world.pass_time(300)
    ticked = tick(world)
    assert ticked.missed == 4 * len(SYMBOLS)
    assert ticked.slot == START + 5 * MINUTE
    assert slots(world, "technical_analysis", "skipped") == [START + n * MINUTE for n in (1, 2, 3, 4)]
    assert len(ticked.hints) == 3
    skipped = world.runs().runs(100, state="skipped")
    assert {record.reason for record in skipped} == {"missed: nobody ticked this slot"}


@pytest.mark.requirement("Q6")
def test_after_a_very_long_outage_the_oldest_slots_share_one_row_that_counts_them(world: MemoryWorld) -> None:
    settings = changed_settings(runs=RunRules(missed_rows_max=15))
    tick(world, settings=settings)
    world.pass_time(11 * 60)
    ticked = tick(world, settings=settings)
    assert ticked.missed == 3 * len(SYMBOLS)
    assert slots(world, "technical_analysis", "skipped") == [START + n * MINUTE for n in (1, 8, 9, 10)]
    shared = {record.reason for record in world.runs().runs(100) if record.slot == START + MINUTE}
    assert shared == {"missed: 7 slots from 2026-01-01T00:01:00+00:00 to 2026-01-01T00:07:00+00:00; nobody ticked them"}


class DiesBeforeInserting(MemoryRunStore):
    def insert_slot(
        self, spec: NewRun, symbols: Sequence[str], slot: datetime, hint_first: int
    ) -> Sequence[tuple[int, str]]:
        raise KeyboardInterrupt


@pytest.mark.requirement("Q6")
def test_a_beat_that_dies_in_the_middle_of_a_tick_hides_no_missed_slot(world: MemoryWorld) -> None:
    tick(world)
    world.pass_time(180)
    dying = DiesBeforeInserting(world.database, SETTINGS.runs)
    with pytest.raises(KeyboardInterrupt):
        tick_schedule("technical_analysis", SYMBOLS, SETTINGS, dying, world.clock)
    assert len(tick(world).hints) == 3
    assert slots(world, "technical_analysis") == [START + n * MINUTE for n in range(4)]


def test_a_repairing_tick_leaves_a_slot_that_has_runs_alone_and_makes_one_that_has_none(world: MemoryWorld) -> None:
    tick(world, symbols=SYMBOLS[:2])
    assert tick(world, repair=True).hints == ()
    assert len(world.rows()) == 2
    world.pass_time(60)
    assert len(tick(world, repair=True).hints) == 3
    assert len(world.rows()) == 7


def test_at_speed_60_a_minute_schedule_has_slots_of_a_second(world: MemoryWorld) -> None:
    settings = changed_settings(speed=60.0)
    world.pass_time(2.5)
    assert tick(world, settings=settings).slot == START + timedelta(seconds=2)


# --- pipelines ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("F03")
def test_a_dependent_schedule_makes_decision_context_and_the_inputs_of_their_own_current_slots(
    world: MemoryWorld,
) -> None:
    world.pass_time(3600 + 7 * 60 + 1)
    ticked = tick(world, "trading_decision", SYMBOLS[:2])
    assert ticked.slot == START + timedelta(hours=1)
    assert slots(world, "trading_decision") == slots(world, "trading_context") == [ticked.slot]
    assert slots(world, "technical_analysis") == [START + timedelta(hours=1, minutes=7)]
    assert slots(world, "regime_detection") == [START + timedelta(hours=1, minutes=5)]
    assert [plan.symbol for plan in ticked.pipelines] == SYMBOLS[:2]
    for plan in ticked.pipelines:
        assert plan.body[1] == "trading_context"
        assert [kind for _, kind in plan.header] == ["technical_analysis", "regime_detection"]
    assert ticked.hints == ()


@pytest.mark.requirement("F03")
def test_an_input_that_is_already_complete_for_its_slot_is_not_waited_for(world: MemoryWorld) -> None:
    runs = world.runs()
    for run_id, _ in tick(world, symbols=SYMBOLS[:1]).hints:
        runs.complete(taken(runs, run_id), Completed({}), publish=True)
    [plan] = tick(world, "trading_decision", SYMBOLS[:1]).pipelines
    assert [kind for _, kind in plan.header] == ["regime_detection"]
    assert {each.kind for each in runs.dependencies(plan.body[0])} == {"technical_analysis", "regime_detection"}


@pytest.mark.requirement("Q6")
def test_inputs_made_for_a_decision_hide_no_missed_slot_of_their_own_schedules(world: MemoryWorld) -> None:
    tick(world, symbols=SYMBOLS[:1])
    world.pass_time(3600)
    tick(world, "trading_decision", SYMBOLS[:1])
    tick(world, symbols=SYMBOLS[:1])
    assert slots(world, "technical_analysis") == [START + n * MINUTE for n in range(61)]
    assert len(slots(world, "technical_analysis", "skipped")) == 59


@pytest.mark.requirement("F01")
def test_a_pipeline_ticked_twice_is_sent_once(world: MemoryWorld) -> None:
    assert len(tick(world, "trading_decision").pipelines) == 5
    assert tick(world, "trading_decision").pipelines == []
    assert len(world.rows()) == 20


# --- limits of a run ----------------------------------------------------------------------------------------


@pytest.mark.requirement("F08")
@pytest.mark.parametrize(
    ("kind", "key", "dependent", "timeout_s", "start_within_s"),
    [
        ("technical_analysis", None, False, 30, 120),
        ("technical_analysis", "key", False, 30, 3600),
        ("trading_decision", None, True, 300, 300),
        ("trading_decision", "key", True, 300, 300),
        ("trading_context", None, True, 120, 120),
    ],
)
def test_a_run_has_the_limits_of_its_kind(
    kind: str, key: str | None, dependent: bool, timeout_s: float, start_within_s: float
) -> None:
    spec = new_run(kind, "A/USDT", SETTINGS, key)
    assert (spec.kind, spec.symbol, spec.request_key) == (kind, "A/USDT", key)
    assert (spec.dependent, spec.timeout_s, spec.start_within_s) == (dependent, timeout_s, start_within_s)
