"""The Celery app and the one base task: claim → heartbeat → service → complete."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog
from celery import Celery, Task, signals
from celery.exceptions import SoftTimeLimitExceeded

from aaos.adapters.celery.backend import use_chord_backend
from aaos.adapters.celery.transport import use_kept_clients
from aaos.bootstrap import Container, container, preload
from aaos.domain.runs import Answer, ClaimedRun, Dependency, Outcome, Refusal
from aaos.errors import BrokerUnavailable, ConfigError, DatabaseUnavailable, RunTimeout
from aaos.logs import configure_logging
from aaos.settings import settings
from workers.events import PacedEvents
from workers.processes import (
    die_with_parent,
    end_threads_by,
    is_prefork,
    is_threads,
    require_shared_memory,
    stop_for_good,
    stop_threads_from_signals,
)
from workers.rates import SteadyRates

# A header task whose run is being worked on elsewhere looks again after this long, then ever more rarely: a
# backlog of waiting headers must not keep the broker busy. A body that is late for it is fired by the sweep.
LOOK_AGAIN_S = 0.5
LOOK_AGAIN_FACTOR = 1.5
LOOK_AGAIN_MAX_S = 10.0
# Between the soft limit, which lets the run be marked as timed out, and the hard one, which kills the child.
HARD_LIMIT_MARGIN_S = 5
HOSTNAME = socket.gethostname()
MODULES = [
    *("technical", "regime", "decision", "sovereign", "risk", "execution", "portfolio"),
    *("results", "maintenance"),
]

log = structlog.get_logger()

use_kept_clients()
app = Celery("aaos", config_source="celeryconfig", include=[f"workers.{module}" for module in MODULES])
use_chord_backend(app, settings().redis_address)
app.steps["consumer"].add(PacedEvents)
app.steps["consumer"].add(SteadyRates)


class RunTask(Task):
    """A task that executes one run; its argument is the run's id, its body the service for the claimed run.

    It returns [run id, final state], the same at each delivery, since a chord counts header results by value.
    Delivered while the run is not its to take, it steps aside; as the header of a chord it looks again until
    the run is final, because a header that returns counts as done.
    """

    abstract = True
    # Called with a run's id, while the body's signature is the service's: Celery must not compare the two.
    typing = False
    # A header task looks again for as long as its run is not final; the run's own deadline bounds that.
    max_retries = None
    default_retry_delay = LOOK_AGAIN_S

    def __call__(self, run_id: int) -> Answer | None:
        """Executes one delivery; then, for a moment, runs of its kind that were waiting for room."""
        from workers.pipelines import continue_after

        awaited = bool(self.request.chord)
        execution = container().carry_on(run_id, self.owner(), self.name, awaited, self.work, continue_after)
        if execution is None or (execution.answer is None and execution.refusal is not Refusal.UNKNOWN):
            self.look_again()
            return None
        return execution.answer

    def work(self, run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        """Calls the task's body; Celery's soft time limit becomes the run's timeout."""
        try:
            outcome: Outcome = self.run(run, dependencies)
        except SoftTimeLimitExceeded:
            raise RunTimeout(f"not done after {self.soft_time_limit:g} s") from None
        return outcome

    def look_again(self) -> None:
        """Steps aside: for good, or in a chord until a little later."""
        if self.request.chord:
            raise self.retry(countdown=pause_before_looking_again_s(self.request.retries))

    def owner(self) -> str:
        """Returns host:pid:task id."""
        return f"{HOSTNAME}:{os.getpid()}:{self.request.id}"


class HouseTask(Task):
    """What beat asks for again and again: with a server away it is left for the next time, in one line."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Does it, or says why not."""
        try:
            return super().__call__(*args, **kwargs)
        except (DatabaseUnavailable, BrokerUnavailable) as error:
            log.warning("left_for_next_time", task=self.name, why=str(error))


def house_task(name: str) -> Callable[[Callable[..., Any]], HouseTask]:
    """Declares a housekeeping task of that name."""
    return app.task(base=HouseTask, name=name)  # type: ignore[no-any-return]


def pause_before_looking_again_s(retries: int) -> float:
    """Returns the seconds a waiting header pauses: 0.5, growing by half each time, at most 10."""
    grown = LOOK_AGAIN_S
    for _ in range(retries):
        grown = min(grown * LOOK_AGAIN_FACTOR, LOOK_AGAIN_MAX_S)
        if grown == LOOK_AGAIN_MAX_S:
            break
    return grown


def run_task(kind: str) -> Callable[[Callable[..., Outcome]], RunTask]:
    """Declares the task of a kind, with the kind's name, queue, time limits and rate limit.

    Threads pools ignore time limits: work there keeps its own deadlines. The rate limit is per worker process.
    """
    limits = settings().kinds[kind]
    return app.task(  # type: ignore[no-any-return]
        base=RunTask,
        name=kind,
        soft_time_limit=limits.timeout_seconds,
        time_limit=limits.timeout_seconds + HARD_LIMIT_MARGIN_S,
        rate_limit=limits.rate_limit,
    )


@signals.setup_logging.connect
def _use_our_logging(**_: Any) -> None:
    configure_logging(settings().log_level)


@signals.worker_init.connect
def _check_machine(sender: Any, **_: Any) -> None:
    if is_prefork(sender.pool_cls):
        require_shared_memory()
    if is_threads(sender.pool_cls):
        stop_threads_from_signals()
        end_threads_by(_end_calls)
    _check_tasks()
    _check_login(sender.app.amqp.queues.consume_from)


def _check_login(queues: Iterable[str]) -> None:
    """Ends a worker whose database login may not do the work of its queues; with the database away nobody can say."""
    try:
        container().check_login(queues)
    except DatabaseUnavailable as error:
        log.warning("login_not_checked", why=str(error))
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from None


def _end_calls() -> None:
    container().sovereign.close()


@signals.beat_init.connect
def _check_beat(sender: Any, **_: Any) -> None:
    _check_tasks()
    stop_for_good(sender._is_shutdown)


def _check_tasks() -> None:
    """Ends the process when the configuration names a kind that no task is there for: its runs would never start."""
    unknown = sorted(set(settings().kinds) - set(app.tasks))
    if unknown:
        known = ", ".join(sorted(name for name, task in app.tasks.items() if isinstance(task, RunTask)))
        raise SystemExit(f"error: kinds.yaml names {', '.join(unknown)}, but no task has that name; known: {known}")


@signals.worker_before_create_process.connect
def _share_memory(**_: Any) -> None:
    preload()


@signals.worker_process_init.connect
def _pool_child_started(**_: Any) -> None:
    die_with_parent()


@signals.worker_ready.connect
def _report_orphans(**_: Any) -> None:
    c: Container = container()
    try:
        c.recover_at_start()
    except (DatabaseUnavailable, BrokerUnavailable) as error:
        log.warning("orphans_not_listed", why=str(error))


import workers.beat  # noqa: E402  (registers beat's entries on the app made above)

__all__ = ["RunTask", "app", "run_task", "workers"]
