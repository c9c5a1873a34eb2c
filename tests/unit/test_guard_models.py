"""Breakers that serve with and without Redis, and that tell each change once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from breaker_examples import CLOSED, HALF_OPEN, LEASE_S, MODEL, OPEN, RULES
from support.captured import captured_logs

from aaos.adapters.memory import MemoryAlerts, MovableClock
from aaos.adapters.memory.breakers import LocalModelBreakers
from aaos.domain.breakers import Admission, BreakerChange, BreakerView
from aaos.errors import AaosError, BrokerUnavailable, DatabaseUnavailable, InvariantViolation
from aaos.ports import AuditRecord
from aaos.services.guard_models import PAUSE_S, GuardedBreakers

OTHER = "sovereign-7b"


class Shared:
    """Breakers of all workers, behind a Redis that can go away."""

    def __init__(self, breakers: LocalModelBreakers) -> None:
        self._breakers = breakers
        self.away = False
        self.asked = 0
        self.frozen: threading.Event | None = None
        self.reached = threading.Event()

    def admit(self, model: str) -> Admission:
        return self._there().admit(model)

    def report(self, admission: Admission, ok: bool) -> BreakerChange | None:
        return self._there().report(admission, ok)

    def withdraw(self, admission: Admission) -> None:
        self._there().withdraw(admission)

    def view(self, model: str) -> BreakerView:
        return self._there().view(model)

    def _there(self) -> LocalModelBreakers:
        self.asked += 1
        if self.frozen is not None:
            self.reached.set()
            assert self.frozen.wait(10)
        if self.away:
            raise BrokerUnavailable("Redis is not available (refused)")
        return self._breakers


@dataclass
class Audit:
    entered: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)
    broken_by: AaosError | None = None

    def append(self, action: str, actor: str, subject: str, details: Mapping[str, Any]) -> None:
        if self.broken_by is not None:
            raise self.broken_by
        self.entered.append((action, actor, subject, dict(details)))

    def entries(self, limit: int, action: str | None = None, subject: str | None = None) -> Sequence[AuditRecord]:
        raise NotImplementedError


class Worker:
    """One process: its guarded breakers over the shared ones."""

    def __init__(self, room: Room, name: str) -> None:
        self.local = LocalModelBreakers(RULES, LEASE_S, room.seconds)
        self.breakers = GuardedBreakers(room.shared, self.local, room.alerts, room.audit, name, room.seconds)

    def calls(self, *verdicts: bool, model: str = MODEL) -> list[Admission]:
        admissions = []
        for ok in verdicts:
            admissions.append(self.breakers.admit(model))
            if admissions[-1].allowed:
                self.breakers.report(admissions[-1], ok)
        return admissions


class Room:
    def __init__(self) -> None:
        self.clock = MovableClock()
        self.shared = Shared(LocalModelBreakers(RULES, LEASE_S, self.seconds))
        self.alerts = MemoryAlerts(self.clock)
        self.audit = Audit()

    def seconds(self) -> float:
        return self.clock.now().timestamp()

    def actions(self) -> list[str]:
        return [action for action, *_ in self.audit.entered]


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def worker(room: Room) -> Worker:
    return Worker(room, "worker:a")


# --- told once --------------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-005")
def test_opening_is_logged_audited_and_an_alert(room: Room, worker: Worker) -> None:
    with captured_logs() as logs:
        worker.calls(False, False, False)
    details = {"before": "closed", "after": "open", "why": "3 failures in a row", "local": False}
    assert logs == [{"event": "breaker_opened", "log_level": "warning", "model": MODEL, **details}]
    assert room.audit.entered == [("breaker.opened", "worker:a", f"model:{MODEL}", details)]
    [alert] = room.alerts.raised
    assert (alert.kind, alert.message) == (
        "breaker_opened",
        "sovereign-32b is left alone for a while: 3 failures in a row",
    )


def test_a_model_that_comes_back_leaves_three_entries_and_one_alert(room: Room, worker: Worker) -> None:
    worker.calls(False, False, False)
    room.clock.advance(60)
    worker.calls(*[True] * 5)
    assert room.actions() == ["breaker.opened", "breaker.half_opened", "breaker.closed"]
    assert len(room.alerts.raised) == 1


def test_a_trial_that_fails_is_recorded_but_no_new_alert(room: Room, worker: Worker) -> None:
    worker.calls(False, False, False)
    for _ in range(10):
        room.clock.advance(61)
        worker.calls(False)
    assert room.actions() == ["breaker.opened", *["breaker.half_opened", "breaker.opened"] * 10]
    assert len(room.alerts.raised) == 1


def test_of_many_workers_only_the_one_whose_call_changed_it_tells(room: Room) -> None:
    workers = [Worker(room, f"worker:{number}") for number in range(10)]
    admissions = [(each, each.breakers.admit(MODEL)) for each in workers]
    for each, admission in admissions:
        each.breakers.report(admission, ok=False)
    room.clock.advance(60)
    for each in workers:
        each.breakers.admit(MODEL)
    assert [(action, actor) for action, actor, *_ in room.audit.entered] == [
        ("breaker.opened", "worker:2"),
        ("breaker.half_opened", "worker:0"),
    ]


@pytest.mark.parametrize("error", [DatabaseUnavailable("PostgreSQL is away"), InvariantViolation("a broken chain")])
def test_a_change_that_cannot_be_recorded_is_a_change_all_the_same(
    room: Room, worker: Worker, error: AaosError
) -> None:
    room.audit.broken_by = error
    with captured_logs() as logs:
        worker.calls(False, False, False)
    assert worker.breakers.view(MODEL).state is OPEN
    assert [line["event"] for line in logs] == ["breaker_opened", "breaker_change_not_recorded"]
    assert len(room.alerts.raised) == 1, "the alert does not depend on the audit log"


# --- without Redis ----------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-TAW-010")
def test_without_redis_this_process_has_its_own_breaker_and_says_so_once(room: Room, worker: Worker) -> None:
    room.shared.away = True
    with captured_logs() as logs:
        admissions = worker.calls(False, False, False, False)
    assert [(each.allowed, each.local) for each in admissions] == [*[(True, True)] * 3, (False, True)]
    assert worker.breakers.view(MODEL) == BreakerView(MODEL, OPEN, 3, 60.0, local=True)
    assert [line["event"] for line in logs] == ["model_breakers_are_local", "breaker_opened"]
    assert room.audit.entered[0][3]["local"] is True


def test_a_redis_that_is_away_is_asked_once_in_a_while_not_for_each_call(room: Room, worker: Worker) -> None:
    room.shared.away = True
    worker.calls(*[True] * 50)
    assert room.shared.asked == 1
    room.clock.advance(PAUSE_S)
    worker.calls(*[True] * 50)
    assert room.shared.asked == 2


def test_when_redis_is_back_the_shared_breaker_decides_again(room: Room, worker: Worker) -> None:
    room.shared.away = True
    worker.calls(False, False, False)
    room.shared.away = False
    assert not worker.breakers.admit(MODEL).allowed, "not asked before its time"
    room.clock.advance(PAUSE_S)
    with captured_logs() as logs:
        admission = worker.breakers.admit(MODEL)
    assert (admission.allowed, admission.local) == (True, False)
    assert [line["event"] for line in logs] == ["model_breakers_are_shared_again"]
    assert not worker.breakers.view(MODEL).local


def test_what_the_shared_breakers_said_last_is_kept_in_mind(room: Room, worker: Worker) -> None:
    worker.calls(False, False, False, False)
    worker.calls(False, False, True, model=OTHER)
    room.clock.advance(20)
    room.shared.away = True
    assert worker.breakers.admit(MODEL).retry_after_s == pytest.approx(40.0)
    assert worker.breakers.admit(OTHER).allowed
    room.clock.advance(40)
    trial = worker.breakers.admit(MODEL)
    assert (trial.allowed, trial.state, trial.local) == (True, HALF_OPEN, True)


def test_each_absence_of_redis_begins_with_a_clean_slate(room: Room, worker: Worker) -> None:
    room.shared.away = True
    late = worker.calls(False, False)[-1]
    room.shared.away = False
    room.clock.advance(PAUSE_S)
    worker.calls(True)
    room.shared.away = True
    assert worker.breakers.admit(MODEL).allowed
    assert worker.breakers.report(late, ok=False) is None, "a verdict from the absence before"
    worker.calls(False, False)
    assert worker.breakers.view(MODEL).state is CLOSED


def test_a_verdict_that_redis_cannot_be_told_is_lost_and_nothing_else(room: Room, worker: Worker) -> None:
    worker.calls(False, False, False)
    room.clock.advance(60)
    trial = worker.breakers.admit(MODEL)
    room.shared.away = True
    assert worker.breakers.report(trial, ok=True) is None
    worker.breakers.withdraw(trial)
    room.shared.away = False
    room.clock.advance(LEASE_S)
    assert worker.breakers.admit(MODEL).allowed, "its lease has ended: another may try"


def test_a_verdict_reaches_the_breaker_that_admitted_the_call(room: Room, worker: Worker) -> None:
    room.shared.away = True
    own = [worker.breakers.admit(MODEL) for _ in range(3)]
    room.shared.away = False
    room.clock.advance(PAUSE_S)
    for admission in own:
        worker.breakers.report(admission, ok=False)
    assert worker.local.view(MODEL).state is OPEN
    assert worker.breakers.view(MODEL) == BreakerView(MODEL, CLOSED, 0, 0.0)


def test_while_one_call_waits_for_redis_to_answer_again_no_other_does(room: Room, worker: Worker) -> None:
    room.shared.away = True
    worker.calls(True)
    room.clock.advance(PAUSE_S)
    room.shared.frozen = threading.Event()
    waiting = threading.Thread(target=worker.breakers.admit, args=(MODEL,))
    waiting.start()
    try:
        assert room.shared.reached.wait(10)
        assert worker.breakers.admit(MODEL).local
    finally:
        room.shared.frozen.set()
        waiting.join(10)
    assert room.shared.asked == 2


def test_a_local_admission_is_given_back_to_the_local_breaker(room: Room, worker: Worker) -> None:
    room.shared.away = True
    worker.calls(False, False, False)
    room.clock.advance(60)
    worker.breakers.withdraw(worker.breakers.admit(MODEL))
    assert worker.breakers.admit(MODEL).allowed


def test_a_shared_admission_is_given_back_to_the_shared_breaker(room: Room, worker: Worker) -> None:
    worker.calls(False, False, False)
    room.clock.advance(60)
    worker.breakers.withdraw(worker.breakers.admit(MODEL))
    assert worker.breakers.admit(MODEL).allowed


def test_what_cannot_be_given_back_to_redis_is_given_back_by_its_lease(room: Room, worker: Worker) -> None:
    worker.calls(False, False, False)
    room.clock.advance(60)
    trial = worker.breakers.admit(MODEL)
    room.shared.away = True
    with captured_logs() as logs:
        worker.breakers.withdraw(trial)
    assert [line["event"] for line in logs] == ["model_breakers_are_local"]
    room.shared.away = False
    room.clock.advance(LEASE_S)
    assert worker.breakers.admit(MODEL).allowed
