"""Every error aaos raises, in one tree; what a caller does about it follows from the branch.

AaosError
├── TransientError              try again later, with backoff
│   ├── NetworkError            a peer could not be reached or hung up
│   ├── DatabaseUnavailable     PostgreSQL is away; the work is kept
│   ├── BrokerUnavailable       Redis/RabbitMQ is away; the run row waits in PostgreSQL
│   ├── RateLimited             asked too often; `retry_after_s` says when
│   ├── SovereignTimeout        the model did not answer within its total deadline
│   └── SovereignUnavailable    the model service answered 429/5xx or not at all
├── InputError                  this run (or this request) cannot succeed; abandon it
│   ├── UnknownSymbol / UnknownKind / UnknownRun
│   ├── InvalidMarketData       a candle file or feed is malformed; names the place
│   ├── InsufficientData        too few candles for the figures asked for
│   ├── StaleInput              an input is older than its freshness contract allows
│   │   └── MarketGap           too many of the newest candles are missing (InsufficientData as well)
│   ├── SovereignRequestRefused the service says that our request is wrong (4xx)
│   └── ContextTooLarge         the prompt exceeds the context cap in every tier
├── ModelOutputError            the model answered, but not what was asked: fall back once
│   └── SovereignInvalidResponse
├── RunTimeout                  the run's own deadline passed
├── RunFailed                   what `handle.wait()` raises for a run that ended as failed or skipped
├── WaitTimeout                 `handle.wait(n)` gave up; the run itself goes on
├── FenceLost                   somebody else owns the run now; whatever we computed is void
├── InvariantViolation          must never happen: halt
├── StartupError                a server or process could not be started; names the remedy
└── ConfigError                 refuse to start; names the key, the value and the allowed range

`failure_source` is what a failed run's row will say (see SPEC 3); foreign errors are mapped at the
border of the adapter that meets them and never travel further.
"""

from __future__ import annotations

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
    """Worth trying again later."""

    failure_source: ClassVar[FailureSource] = "network"


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

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SovereignTimeout(TransientError):
    """The model did not answer within the request's total deadline."""

    failure_source: ClassVar[FailureSource] = "sovereign_timeout"


class SovereignUnavailable(TransientError):
    """The model service failed (429, 5xx, connection refused)."""

    failure_source: ClassVar[FailureSource] = "sovereign_error"


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


class ContextTooLarge(InputError):
    """The prompt does not fit the model's context in any tier."""


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
