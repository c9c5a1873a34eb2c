"""A breaker to look at while calls, verdicts and time go by."""

from __future__ import annotations

from aaos.domain import breakers
from aaos.domain.breakers import Admission, Breaker, BreakerChange, BreakerRules, BreakerState, BreakerView

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
RULES = BreakerRules()
LEASE_S = 125.0
MODEL = "sovereign-32b"


class Watched:
    """A breaker, a clock that stands still until it is moved, and a new trial id for each call."""

    def __init__(self, rules: BreakerRules = RULES) -> None:
        self.rules = rules
        self.now_ms = 1_000_000
        self.asked = 0
        self.breaker = Breaker()

    def admit(self) -> Admission:
        self.asked += 1
        self.breaker, admission = breakers.admit(
            self.breaker, MODEL, f"trial-{self.asked}", self.now_ms, self.rules, round(LEASE_S * 1000)
        )
        return admission

    def report(self, admission: Admission, ok: bool) -> BreakerChange | None:
        self.breaker, change = breakers.judge(self.breaker, admission, ok, self.now_ms, self.rules)
        return change

    def withdraw(self, admission: Admission) -> None:
        self.breaker = breakers.withdraw(self.breaker, admission)

    def view(self) -> BreakerView:
        return breakers.view(self.breaker, MODEL, self.now_ms, self.rules)

    def calls(self, *verdicts: bool) -> list[BreakerChange]:
        """One call after the other; returns the changes that their verdicts brought about."""
        changes = [self.report(self.admit(), ok) for ok in verdicts]
        return [change for change in changes if change is not None]

    def wait(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def opened(self) -> Watched:
        self.calls(*[False] * self.rules.failures_to_open)
        assert self.breaker.state is OPEN
        return self

    def half_open(self) -> Watched:
        self.opened().wait(self.rules.open_s)
        return self
