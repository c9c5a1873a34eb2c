"""Every error aaos raises, in one tree; what a caller does about it follows from the branch.

AaosError
├── TransientError              try again later, with backoff
│   ├── NetworkError            a peer could not be reached or hung up
│   ├── DatabaseUnavailable     PostgreSQL is away; the work is kept
│   ├── BrokerUnavailable       Redis/RabbitMQ is away; the run row waits in PostgreSQL
│   ├── RateLimited             asked too often; `retry_after_s` says when; costs no attempt
│   ├── SovereignTimeout        the model did not answer within its total deadline
│   ├── SovereignUnavailable    the model service answered 429/5xx or not at all
│   ├── SovereignCancelled      our side gave up waiting; says nothing about the model
│   ├── ModelsUnavailable       no model may be asked now (breakers open); costs no attempt
│   ├── VenueUnavailable        the venue could not be reached; certainly nothing was sent
│   ├── EntriesHeld             no entry may be sent now (an order is unknown, books differ); costs no attempt
│   └── RiskBookMoved           orders, fills or approvals changed while risk was assessed; costs no attempt
├── InputError                  this run (or this request) cannot succeed; abandon it
│   ├── UnknownSymbol / UnknownKind / UnknownRun
│   ├── InvalidMarketData       a candle file or feed is malformed; names the place
│   ├── InsufficientData        too few candles for the figures asked for
│   ├── StaleInput              an input is older than its freshness contract allows
│   │   └── MarketGap           too many of the newest candles are missing (InsufficientData as well)
│   ├── SovereignRequestRefused the service says that our request is wrong (4xx)
│   │   └── SovereignModelMissing   it does not serve that model (404)
│   ├── ContextTooLarge         the prompt exceeds the context cap in every tier
│   ├── BudgetReached           the token or money cap of a decision or a day is reached
│   ├── OrderRejected           the venue refuses the order; certainly nothing was accepted
│   └── OrderDenied             our own books refuse the order: no approval, trading stopped; nothing was sent
├── ModelOutputError            the model answered, but not what was asked: fall back once
│   └── SovereignInvalidResponse
├── RunTimeout                  the run's own deadline passed
├── RunFailed                   what `handle.wait()` raises for a run that ended as failed or skipped
├── WaitTimeout                 `handle.wait(n)` gave up; the run itself goes on
├── AmbiguousReply              the venue may or may not have done it: never to be sent again, only asked about
├── FenceLost                   somebody else owns the run now; whatever we computed is void
├── InvariantViolation          must never happen: halt
├── StartupError                a server or process could not be started; names the remedy
└── ConfigError                 refuse to start; names the key, the value and the allowed range

`failure_source` is what a failed run's row will say (see SPEC 3); foreign errors are mapped at the
border of the adapter that meets them and never travel further.
"""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, Literal

FailureSource = Literal[
    "sovereign_timeout",
    "sovereign_error",
    "sovereign_invalid",
    "network",
    "agent_crash",
    "timeout",
    "dependency",
    "validation",
    "rate_limited",
    "database",
    "internal",
]


class AaosError(Exception):
    """Root of the tree; `failure_source` names the cause in a run's row."""

    failure_source: ClassVar[FailureSource] = "internal"


class TransientError(AaosError):
    """Worth trying again later.

    `costs_attempt` says whether a run that ends this way has used up one of its attempts; `retry_after_s` when
    trying again makes sense, None where nobody said.
    """

    failure_source: ClassVar[FailureSource] = "network"
    costs_attempt: ClassVar[bool] = True
    retry_after_s: float | None = None


class NetworkError(TransientError):
    """A peer could not be reached or hung up."""


class DatabaseUnavailable(TransientError):
    """PostgreSQL cannot be reached or refuses connections."""

    failure_source: ClassVar[FailureSource] = "database"


class BrokerUnavailable(TransientError):
    """The message broker cannot be reached."""


class RateLimited(TransientError):
    """Asked too often."""

    failure_source: ClassVar[FailureSource] = "rate_limited"
    costs_attempt: ClassVar[bool] = False

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SovereignTimeout(TransientError):
    """The model did not answer within the request's total deadline; `sent` is False when nothing reached it."""

    failure_source: ClassVar[FailureSource] = "sovereign_timeout"

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class SovereignUnavailable(TransientError):
    """The model service failed (429, 5xx, connection refused); `status` is the HTTP status, None without one.

    `safe_to_retry` is whether the same question may be asked again without paying for two answers: no connection was
    made, or the service said that it does not answer. A connection that was lost on the way may have cost an answer.
    """

    failure_source: ClassVar[FailureSource] = "sovereign_error"

    def __init__(
        self,
        message: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        safe_to_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.safe_to_retry = status is not None if safe_to_retry is None else safe_to_retry


class SovereignCancelled(TransientError):
    """Our side ended the call (a stop, a time limit): the model is not to be blamed for it.

    `sent` is False when nothing had reached the model.
    """

    failure_source: ClassVar[FailureSource] = "sovereign_error"

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class ModelsUnavailable(TransientError):
    """No model may be asked now: the breakers of all that could answer are open."""

    failure_source: ClassVar[FailureSource] = "sovereign_error"
    costs_attempt: ClassVar[bool] = False

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class VenueUnavailable(TransientError):
    """The venue could not be reached; nothing was sent, so the same may be tried again."""


class EntriesHeld(TransientError):
    """No entry may be sent now: an order's fate is unknown, or our books are not reconciled with the venue's."""

    costs_attempt: ClassVar[bool] = False

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RiskBookMoved(TransientError):
    """Orders, fills or approvals changed between reading them and storing an approval that rests on them."""

    failure_source: ClassVar[FailureSource] = "database"
    costs_attempt: ClassVar[bool] = False
    retry_after_s = 0.0


class InputError(AaosError):
    """This run cannot succeed with what it was given."""

    failure_source: ClassVar[FailureSource] = "validation"


class UnknownSymbol(InputError):
    """No such symbol in the configured market."""


class UnknownKind(InputError):
    """No such task kind."""


class UnknownRun(InputError):
    """No run with that id or key."""


class InvalidMarketData(InputError):
    """Malformed candles; the message names file and line, or the candle."""


class InsufficientData(InputError):
    """Too few candles."""


class StaleInput(InputError):
    """An input is older than allowed."""


class MarketGap(InsufficientData, StaleInput):
    """Too many of the newest candles are missing; the message says until when."""


class SovereignRequestRefused(InputError):
    """The model service refuses the request itself (4xx other than 429)."""

    failure_source: ClassVar[FailureSource] = "sovereign_error"


class SovereignModelMissing(SovereignRequestRefused):
    """The model service does not serve the model it was asked for (404)."""


class ContextTooLarge(InputError):
    """The prompt does not fit the model's context in any tier."""


class BudgetReached(InputError):
    """A cap on tokens or money, of one decision or of one day, leaves no room for this call.

    `cap` is its name in `sovereign.budget`, `scope` what it is over (`day:2026-11-21`, `decision:17`), `spent` and
    `wanted` are in tokens or money, as the cap is.
    """

    failure_source: ClassVar[FailureSource] = "rate_limited"

    def __init__(
        self, message: str, cap: str = "", scope: str = "", spent: float | Decimal = 0, wanted: float | Decimal = 0
    ) -> None:
        super().__init__(message)
        self.cap = cap
        self.scope = scope
        self.spent = spent
        self.wanted = wanted


class OrderRejected(InputError):
    """The venue refuses the order, and says so; `code` is its word for why."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class OrderDenied(InputError):
    """Our own books refuse the order before anything is sent; `code` is one of `domain.orders.Denial`."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class AmbiguousReply(AaosError):
    """A timeout, a 5xx or a lost connection: the venue may have accepted what was sent."""

    failure_source: ClassVar[FailureSource] = "network"


class ModelOutputError(AaosError):
    """The model's answer is not usable."""

    failure_source: ClassVar[FailureSource] = "sovereign_invalid"


class SovereignInvalidResponse(ModelOutputError):
    """The answer does not parse, or breaks the contract; `raw` keeps what was said."""

    def __init__(self, message: str, raw: str = "") -> None:
        super().__init__(message)
        self.raw = raw


class RunTimeout(AaosError):
    """The run's deadline passed."""

    failure_source: ClassVar[FailureSource] = "timeout"


class RunFailed(AaosError):
    """The run waited for ended as failed or skipped; the message says why.

    `failure_source` is that of the run: None for a skipped one, which failed at nothing.
    """

    # The run's own source instead of the class's: this error reports what happened elsewhere.
    failure_source: FailureSource | None  # type: ignore[assignment, misc]

    def __init__(
        self,
        message: str,
        run_id: int | None = None,
        state: str = "failed",
        failure_source: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.state = state
        self.failure_source = failure_source  # type: ignore[assignment]
        self.reason = reason


class WaitTimeout(AaosError):
    """Waiting ended before the run did; the run goes on."""


class FenceLost(AaosError):
    """Another worker holds the run; this one's writes are refused."""

    failure_source: ClassVar[FailureSource] = "agent_crash"


class InvariantViolation(AaosError):
    """A rule that must always hold does not."""


class StartupError(AaosError):
    """Something could not be started; the message names the remedy."""


class ConfigError(AaosError):
    """The configuration is unusable; the message names key, value and allowed range."""
