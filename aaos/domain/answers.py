"""What of a model's answer is believed.

A model's text is untrusted. `parse_vote` believes exactly one thing: a strict JSON object with a sensible signal,
confidence, risk score and reasoning. How an answer is read stands in `answer_reading`, rules 1 to 5; of votes, several
claims must agree on signal, confidence and risk score, and the last one counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aaos.domain.answer_formats import SIGNALS, VOTE_FIELDS, Signal
from aaos.domain.answer_reading import UnusableError, claims_in, extras_of, number, reasoning_of, shown
from aaos.errors import SovereignInvalidResponse


@dataclass(frozen=True, slots=True)
class Vote:
    """A model's validated opinion; `confidence` and `risk_score` are in [0, 1], `extras` is not trusted."""

    signal: Signal
    confidence: float
    risk_score: float
    reasoning: str
    extras: dict[str, object]


def parse_vote(content: str) -> Vote:
    """Returns the vote in a model's answer, by the rules at the top of this file.

    Raises:
        SovereignInvalidResponse: there is none, or it breaks the contract; the message names what is
            wrong and `raw` keeps the content.
    """
    try:
        votes = [_checked(claim) for claim in claims_in(content, "signal")]
        if len({(vote.signal, vote.confidence, vote.risk_score) for vote in votes}) > 1:
            raise UnusableError(f"it holds {len(votes)} votes that contradict each other")
        return votes[-1]
    except UnusableError as unusable:
        raise SovereignInvalidResponse(f"the model's answer is not a vote: {unusable}", raw=content) from None


def _checked(claim: dict[str, Any]) -> Vote:
    extras = extras_of(claim, VOTE_FIELDS, VOTE_FIELDS)
    return Vote(
        signal=_signal(claim["signal"]),
        confidence=_fraction("confidence", claim["confidence"]),
        risk_score=_fraction("risk_score", claim["risk_score"]),
        reasoning=reasoning_of(claim["reasoning"]),
        extras=extras,
    )


def _signal(value: object) -> Signal:
    # ASCII only: "ſell".upper() is "SELL".
    if isinstance(value, str) and value.isascii():
        for signal in SIGNALS:
            if value.strip().upper() == signal:
                return signal
    raise UnusableError(f"signal must be BUY, SELL or HOLD, not {shown(value)}")


def _fraction(name: str, value: object) -> float:
    fraction = number(name, value)
    if not 0 <= fraction <= 1:
        raise UnusableError(f"{name} must be in [0, 1], not {shown(value)}")
    return fraction
