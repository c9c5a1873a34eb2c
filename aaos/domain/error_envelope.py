"""The one form in which a failed question to a model is told (FM-006)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from aaos.errors import AaosError, FailureSource, TransientError

MESSAGE_MAX_CHARS = 500


@dataclass(frozen=True, slots=True)
class ErrorEnvelope:
    """Why one call gave no usable answer.

    Attributes:
        code: name of the error's class (`SovereignTimeout`).
        message: one line, without secrets.
        model: the model that was asked.
        retryable: whether the same call may succeed later.
        failure_source: what a run's row would say.
        attempt: which call of this asking it was, from 1.
        elapsed_ms: from the call to the error.
    """

    code: str
    message: str
    model: str
    retryable: bool
    failure_source: FailureSource
    attempt: int
    elapsed_ms: float

    @classmethod
    def of(cls, error: AaosError, model: str, attempt: int, elapsed_ms: float) -> Self:
        """Returns the envelope of an error."""
        return cls(
            code=type(error).__name__,
            message=str(error)[:MESSAGE_MAX_CHARS],
            model=model,
            retryable=isinstance(error, TransientError),
            failure_source=error.failure_source,
            attempt=attempt,
            elapsed_ms=round(elapsed_ms, 1),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)
