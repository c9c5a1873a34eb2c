"""What beat ticks, and when: at the very start of each slot, and once as soon as it starts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery.schedules import schedstate, schedule

from aaos.domain.market_clock import slot_of
from aaos.settings import Settings, settings
from workers.app import app

# Long ago: the first look finds every entry due. Whether there is anything to do, the slot's rows decide.
NEVER = datetime(2000, 1, 1, tzinfo=UTC)


class SlotSchedule(schedule):
    """Due at every multiple of its width since 1970 (UTC), not so-and-so long after beat happened to start."""

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Returns whether a new slot began since `last_run_at`, and the seconds until the next one."""
        now_ms, width_ms = _ms(self.now()), round(self.seconds * 1000)
        slot_ms = slot_of(now_ms, width_ms)
        due = slot_ms > slot_of(_ms(self.maybe_make_aware(last_run_at)), width_ms)
        return schedstate(due, (slot_ms + width_ms - now_ms) / 1000)


def beat_schedule(configuration: Settings) -> dict[str, dict[str, Any]]:
    """Returns beat's entries: a tick per enabled schedule, and housekeeping."""
    entries = {
        f"tick {name}": _entry("tick", configuration.slot_width_ms(name) / 1000, "maintenance", name)
        for name in configuration.enabled_schedules
    }
    sweep_s = configuration.runs.sweep_s
    entries["recover runs"] = _entry("recover_runs", sweep_s, "maintenance")
    entries["publish results"] = _entry("publish_results", sweep_s, "result_publishing")
    entries["score votes"] = _entry("score_votes", configuration.calibration.score_every_s, "maintenance")
    return entries | trading_schedule(configuration)


def trading_schedule(configuration: Settings) -> dict[str, dict[str, Any]]:
    """Returns beat's entries for orders and positions; the watch goes on when no new orders are sent."""
    execution, portfolio = configuration.execution, configuration.portfolio
    return {
        "watch positions": _entry("watch_positions", execution.watch_s, "execution"),
        "reconcile orders": _entry("reconcile_orders", execution.reconcile_s, "execution"),
        "expire orders": _entry("expire_orders", execution.expire_s, "execution"),
        "record equity": _entry("record_equity", execution.equity_s, "execution"),
        "release trades": _entry("release_trades", portfolio.release_s, "maintenance"),
        "score vetoes": _entry("score_vetoes", configuration.vetoes.score_every_s, "maintenance"),
    }


def _entry(task: str, every_s: float, queue: str, *args: str) -> dict[str, Any]:
    return {
        "task": task,
        "args": args,
        "schedule": SlotSchedule(every_s),
        "last_run_at": NEVER,
        # No `expires`: a worker would hold beat's clock against its own, and drop every sweep of a machine that is
        # a few seconds off. Whatever comes late or in heaps finds its work done and costs a statement or two.
        "options": {"queue": queue},
    }


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


app.conf.beat_schedule = beat_schedule(settings())
