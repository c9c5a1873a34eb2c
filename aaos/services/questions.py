"""A question to Sovereign, its answer, and what stands between the two."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.sovereign import SovereignSettings
from aaos.ports import CallLimiter, ModelBreakers, Sovereign, SovereignLedger

T = TypeVar("T")

Role = Literal["primary", "fallback"]


@dataclass(frozen=True, slots=True)
class SovereignAccess:
    """All that stands between a question and the model service."""

    sovereign: Sovereign
    ledger: SovereignLedger
    breakers: ModelBreakers
    limiter: CallLimiter
    settings: SovereignSettings
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """What is asked.

    Attributes:
        request: to the voter's own model.
        decision: id of the run whose context it is about.
        tier: of the context in the prompt.
        template: version of the prompt's template.
        prompt_tokens: what the prompt takes at most.
        time_s: what all of the asking may take.
        usual_time_s: what it may take when nothing was late: with much less time than that a model is not asked.
        read: returns what an answer means, or raises SovereignInvalidResponse naming the fault.
        repair: returns the request that asks once more, from the request, what was said and the fault.
        on_failure: is told of every call that gave no usable answer; where there is an answer in the end, `Answered`
            names them, too.
    """

    request: ModelRequest
    decision: int
    tier: str
    template: str
    prompt_tokens: int
    time_s: float
    usual_time_s: float
    read: Callable[[str], T]
    repair: Callable[[ModelRequest, str, str], ModelRequest]
    on_failure: Callable[[ErrorEnvelope], object] = lambda _: None


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """A usable answer, and what it took to get it.

    Attributes:
        value: what the answer means.
        answer: as received.
        request: as asked, of the model that answered; a repair, where the first answer was unusable.
        role: whether the voter's own model answered, or the fallback.
        fallback_why: why the voter's own model did not; None if it did.
        failed: the calls that gave no usable answer, in order.
        reused: whether the answer was given to another run, not long ago (`cache_ttl_s`).
    """

    value: T
    answer: ModelAnswer
    request: ModelRequest
    role: Role
    fallback_why: str | None
    failed: tuple[ErrorEnvelope, ...]
    reused: bool = False

    def why_fallback(self, primary: str, fallback: str | None) -> str | None:
        """Returns why the fallback answered, None if it did not (FM-003); some services put it in without a word."""
        if self.role == "fallback":
            return self.fallback_why
        if self.answer.model == fallback != primary:
            return f"the service put {self.answer.model} in without a word"
        return None
