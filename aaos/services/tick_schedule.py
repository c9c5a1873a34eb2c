"""A tick: the current slot's runs, born in the database before any message is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from aaos.domain.market_clock import slot_of, slots_between
from aaos.domain.runs import NewRun
from aaos.domain.schedules import ALL_SYMBOLS, JOINT, Schedule
from aaos.ports import Clock, PipelinePlan, RunStore
from aaos.settings import Settings

log = structlog.get_logger()

# The stage a schedule's dependent run is prepared by, where it has one.
STAGES = {"trading_decision": "trading_context"}


@dataclass(frozen=True, slots=True)
class Ticked:
    """What a tick has to send: hints for runs, chords for pipelines."""

    slot: datetime
    hints: Sequence[tuple[int, str]] = ()
    pipelines: Sequence[PipelinePlan] = ()
    missed: int = 0


def tick_schedule(
    name: str, symbols: Sequence[str], settings: Settings, runs: RunStore, clock: Clock, *, repair: bool = False
) -> Ticked:
    """Inserts the runs of the current slot for all symbols, once however often it is called.

    With `repair` a slot that has runs is left alone without trying: the sweep asks every few seconds.

    Slots that passed since the last one known, while nobody ticked, are recorded as skipped (missed) first, so
    that a crash in between cannot hide them.
    """
    return _tick(name, symbols, settings, runs, _to_ms(clock.now()), repair=repair)


def _tick(
    name: str, symbols: Sequence[str], settings: Settings, runs: RunStore, now_ms: int, *, repair: bool = False
) -> Ticked:
    schedule = settings.schedules[name]
    slot_ms = slot_of(now_ms, settings.slot_width_ms(name))
    slot = _to_datetime(slot_ms)
    if repair:
        newest = runs.newest_slot(name)
        if newest is not None and newest >= slot:
            return Ticked(slot)
    if name in JOINT:
        return _tick_joint(name, symbols, slot, settings, runs, now_ms)
    missed = _record_missed(name, symbols, now_ms, settings, runs)
    if schedule.depends_on:
        for needed in schedule.depends_on:
            # Their current runs are inserted below; behind those, older slots would not be seen as missed.
            _record_missed(needed, symbols, now_ms, settings, runs)
        plans = _insert_pipeline(name, schedule, symbols, slot, settings, runs, now_ms)
        return Ticked(slot, pipelines=plans, missed=missed)
    return Ticked(slot, hints=_insert_slot(name, symbols, slot, settings, runs), missed=missed)


def _tick_joint(
    name: str, symbols: Sequence[str], slot: datetime, settings: Settings, runs: RunStore, now_ms: int
) -> Ticked:
    """Inserts the one run for all symbols behind the runs it waits for, which are ticked first.

    A crash in between leaves runs that have their own tick anyway; the next tick, or the sweep, finds the slot without
    this run. It needs no chord: whoever ends the last of the runs it waits for points a worker at it.
    """
    if not symbols:
        return Ticked(slot)
    missed = _record_missed(name, [ALL_SYMBOLS], now_ms, settings, runs)
    needed = settings.schedules[name].depends_on
    if not needed:
        hints = _insert_slot(name, [ALL_SYMBOLS], slot, settings, runs)
        return Ticked(slot, hints=hints, missed=missed)
    ticked = {each: _tick(each, symbols, settings, runs, now_ms) for each in needed}
    awaited = [(each, its.slot) for each, its in ticked.items()]
    born = runs.insert_joint(new_run(name, ALL_SYMBOLS, settings), slot, awaited)
    ready = [(born[0], name)] if born is not None and born[1] else []
    return Ticked(
        slot,
        hints=[*(hint for its in ticked.values() for hint in its.hints), *ready],
        pipelines=[plan for its in ticked.values() for plan in its.pipelines],
        missed=missed + sum(its.missed for its in ticked.values()),
    )


def _insert_slot(
    name: str, symbols: Sequence[str], slot: datetime, settings: Settings, runs: RunStore
) -> Sequence[tuple[int, str]]:
    _, running = runs.active(name)
    room = max(1, settings.kinds[name].max_concurrent - running)
    hinted = runs.insert_slot(new_run(name, "", settings), symbols, slot, room)
    return [(run_id, name) for run_id, _ in hinted]


def new_run(kind: str, symbol: str, settings: Settings, request_key: str | None = None) -> NewRun:
    """Returns the row-to-be of a run, with the limits of its kind; one for all symbols waits for nobody on request."""
    scheduled = kind in settings.schedules and not (kind in JOINT and request_key is not None)
    dependent = kind in STAGES.values() or (scheduled and bool(settings.schedules[kind].depends_on))
    timeout_s = settings.kind(kind).timeout_seconds
    if dependent:
        start_within_s = timeout_s
    elif request_key is None:
        start_within_s = settings.start_within_s(kind)
    else:
        start_within_s = settings.runs.adhoc_start_within_s
    return NewRun(kind, symbol, timeout_s, start_within_s, request_key, dependent)


def _insert_pipeline(
    name: str,
    schedule: Schedule,
    symbols: Sequence[str],
    slot: datetime,
    settings: Settings,
    runs: RunStore,
    now_ms: int,
) -> Sequence[PipelinePlan]:
    inputs = [
        (new_run(needed, "", settings), _to_datetime(slot_of(now_ms, settings.slot_width_ms(needed))))
        for needed in schedule.depends_on
    ]
    stage = new_run(STAGES[name], "", settings) if name in STAGES else None
    return runs.insert_pipeline(new_run(name, "", settings), symbols, slot, stage, inputs)


def _record_missed(name: str, symbols: Sequence[str], now_ms: int, settings: Settings, runs: RunStore) -> int:
    width_ms = settings.slot_width_ms(name)
    newest = runs.newest_slot(name)
    if newest is None or not symbols:
        return 0
    missed = slots_between(_to_ms(newest), slot_of(now_ms, width_ms), width_ms)
    if not missed:
        return 0
    singly = max(1, settings.runs.missed_rows_max // len(symbols))
    older, newer = missed[:-singly], missed[-singly:]
    if older:
        first, last = _to_datetime(older[0]), _to_datetime(older[-1])
        reason = f"missed: {len(older)} slots from {first.isoformat()} to {last.isoformat()}; nobody ticked them"
        runs.record_missed(name, symbols, [first], reason)
    written = runs.record_missed(name, symbols, [_to_datetime(ms) for ms in newer], "missed: nobody ticked this slot")
    log.warning("slots_missed", schedule=name, slots=len(missed), rows=written)
    return written


def _to_ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _to_datetime(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
