"""Breakers that serve whatever happens: shared while Redis is there, this process's own while it is away.

Every change of state is told once, by the process whose call brought it about: a log line, an entry in the audit log,
and an alert when a model that was trusted is left alone. That a trial failed is no news to an operator, and no alert.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

import structlog

from aaos.domain.breakers import Admission, BreakerChange, BreakerState, BreakerView
from aaos.errors import BrokerUnavailable
from aaos.ports import Alerts, AuditLog, ModelBreakers

log = structlog.get_logger()

PAUSE_S: Final = 5.0
"""After a failure Redis is left alone so long: a frozen one costs one call in so many seconds its time limit."""
ACTIONS: Final[Mapping[BreakerState, str]] = {
    BreakerState.OPEN: "breaker.opened",
    BreakerState.HALF_OPEN: "breaker.half_opened",
    BreakerState.CLOSED: "breaker.closed",
}
ALERT: Final = "breaker_opened"


class OwnBreakers(ModelBreakers, Protocol):
    """Breakers of this process that can begin again with what the shared ones said last."""

    def start_over(self, open_for_s: Mapping[str, float]) -> None:
        """Forgets everything but that these models are to be left alone for so many seconds."""
        ...


class GuardedBreakers:
    """Implements `ports.ModelBreakers`.

    Args:
        shared: of all workers; may raise BrokerUnavailable.
        local: of this process.
        alerts: what an operator should see.
        audit: where changes are recorded.
        actor: who this process is, in the audit log.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        shared: ModelBreakers,
        local: OwnBreakers,
        alerts: Alerts,
        audit: AuditLog,
        actor: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._local = local
        self._alerts = alerts
        self._audit = audit
        self._actor = actor
        self._clock = clock
        self._lock = threading.Lock()
        self._away = False
        self._try_at = 0.0
        # Until when the shared breakers said that a model is to be left alone.
        self._left_alone: dict[str, float] = {}

    def admit(self, model: str) -> Admission:
        """See the port."""
        if self._may_ask():
            try:
                admission = self._shared.admit(model)
            except BrokerUnavailable as error:
                self._went_away(error)
            else:
                self._came_back()
                self._remember(admission)
                self._tell(admission.change, local=False)
                return admission
        admission = replace(self._local.admit(model), local=True)
        self._tell(admission.change, local=True)
        return admission

    def report(self, admission: Admission, ok: bool) -> BreakerChange | None:
        """See the port; a verdict that the shared breakers cannot be told is lost, and a trial's lease ends it."""
        if admission.local:
            change = self._local.report(admission, ok)
            self._tell(change, local=True)
            return change
        if not self._may_ask():
            return None
        try:
            change = self._shared.report(admission, ok)
        except BrokerUnavailable as error:
            self._went_away(error)
            return None
        self._came_back()
        self._tell(change, local=False)
        return change

    def withdraw(self, admission: Admission) -> None:
        """See the port."""
        if admission.local:
            self._local.withdraw(admission)
        elif self._may_ask():
            try:
                self._shared.withdraw(admission)
            except BrokerUnavailable as error:
                self._went_away(error)
            else:
                self._came_back()

    def view(self, model: str) -> BreakerView:
        """See the port."""
        if self._may_ask():
            try:
                seen = self._shared.view(model)
            except BrokerUnavailable as error:
                self._went_away(error)
            else:
                self._came_back()
                return seen
        return replace(self._local.view(model), local=True)

    def _may_ask(self) -> bool:
        """Whether the shared breakers are to be asked: always while they answer, else one caller per pause."""
        if not self._away:
            return True
        with self._lock:
            now = self._clock()
            if now < self._try_at:
                return False
            self._try_at = now + PAUSE_S
            return True

    def _went_away(self, error: BrokerUnavailable) -> None:
        with self._lock:
            now = self._clock()
            self._try_at = now + PAUSE_S
            if self._away:
                return
            self._away = True
            alone = {model: until - now for model, until in self._left_alone.items() if until > now}
            self._local.start_over(alone)
        log.warning("model_breakers_are_local", why=str(error), left_alone=sorted(alone))

    def _came_back(self) -> None:
        if not self._away:
            return
        with self._lock:
            was_away, self._away = self._away, False
        if was_away:
            log.info("model_breakers_are_shared_again")

    def _remember(self, admission: Admission) -> None:
        with self._lock:
            if admission.allowed:
                self._left_alone.pop(admission.model, None)
            else:
                self._left_alone[admission.model] = self._clock() + admission.retry_after_s

    def _tell(self, change: BreakerChange | None, local: bool) -> None:
        if change is None:
            return
        action = ACTIONS[change.after]
        details = {"before": change.before.value, "after": change.after.value, "why": change.why, "local": local}
        say = log.warning if change.after is BreakerState.OPEN else log.info
        say(action.replace(".", "_"), model=change.model, **details)
        self._record(lambda: self._audit.append(action, self._actor, f"model:{change.model}", details), change)
        if change.after is BreakerState.OPEN and change.before is BreakerState.CLOSED:
            message = f"{change.model} is left alone for a while: {change.why}"
            self._record(lambda: self._alerts.raise_alert(ALERT, message, {"model": change.model, **details}), change)

    def _record(self, write: Callable[[], None], change: BreakerChange) -> None:
        try:
            write()
        except Exception as error:  # noqa: BLE001 - the port never raises
            # The breaker has changed all the same, and whoever asks must not fail for want of a record of it.
            log.warning("breaker_change_not_recorded", model=change.model, after=change.after.value, why=str(error))
