"""One vote and what became of it: read, waited for, and ended once, as right, wrong or unscorable.

The horizon is market time: `horizon_candles` timeframes after the newest candle that the vote was cast on. What the
rules said when the vote was first read is kept with it, so that no later change of them can pick its outcome.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from aaos.domain.calibration.rules import CalibrationRules
from aaos.domain.market import TIMEFRAMES_MS, Candles, timeframe_ms
from aaos.errors import AaosError

State = Literal["waiting", "held", "scored", "unscorable"]

# Why a vote has no outcome. Constant sentences, so that they can be counted; the figures stand beside them.
NO_CONTEXT: Final = "the context it was cast on is not stored"
NO_CANDLES: Final = "its context holds no usable candles"
NO_VOTE: Final = "what is stored is not a vote"
MARKET_SWITCHED: Final = "the market was switched: its candles are not the ones that were voted on"
SERIES_GONE: Final = "the market was switched: this symbol and timeframe are not in use any more"
SET_BACK: Final = "the market was switched or set back: it has not reached the candle that was voted on"
NO_CANDLE_THERE: Final = "no candle closed near the horizon's end: a gap, or the end of the replay"

UNKNOWN: Final = "unknown"
# How much of the horizon's end may be missing: a close two candles early still tells the outcome after 24.
MISSING_SHARE: Final = 0.1
TEXT_MAX_CHARS: Final = 200
# The year 9999: with any horizon added it still is an instant, and a 64-bit number.
NEWEST_MAX_MS: Final = 253_402_300_800_000


@dataclass(frozen=True, slots=True)
class SeriesNow:
    """A series in use and the newest of its candles that has closed by now (its open time, ms of market time)."""

    symbol: str
    timeframe: str
    newest_open_ms: int


@dataclass(frozen=True, slots=True)
class UnreadVote:
    """A stored vote nobody has looked at; bodies are None where they are not stored any more.

    `context` is the body of the frozen context it was cast on, or the part of it that is read: `candles`, `regime`.
    """

    result_id: int
    voted_at: datetime
    symbol: str
    body: Mapping[str, Any] | None
    context: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class VoteOutcome:
    """A vote, what it is waiting for or what became of it; all that is needed to compute its score again.

    Attributes:
        result_id: the vote's stored result.
        voted_at: when it was stored, wall clock.
        state: `waiting`, or one of the ends: `held` (HOLD, not scored), `scored`, `unscorable`.
        regime: trend label of the context it was cast on.
        confidence: 0…1, as the model said it, before any distrust.
        candle_ms: open time of the newest candle it was cast on; `close_then` is its close.
        market_candles: how many candles the context held; `market_hash` is the content hash of these.
        due_ms: open time of the horizon's last candle; once that has closed, the outcome is known.
        after_ms: open time of the candle the outcome was read from; `close_after` is its close.
        correct: whether the close moved the vote's way by more than `min_move_fraction`.
        squared_error: (confidence − correct)², the vote's share of the Brier score.
        reason: why it cannot be scored.
        scored_at: when it ended, set by the store.
    """

    result_id: int
    voted_at: datetime
    state: State
    symbol: str
    voter: str | None = None
    model: str | None = None
    fallback_used: bool | None = None
    regime: str | None = None
    signal: str | None = None
    confidence: float | None = None
    timeframe: str | None = None
    candle_ms: int | None = None
    close_then: float | None = None
    market_candles: int | None = None
    market_hash: str | None = None
    horizon_candles: int | None = None
    min_move_fraction: float | None = None
    due_ms: int | None = None
    after_ms: int | None = None
    close_after: float | None = None
    correct: bool | None = None
    squared_error: float | None = None
    reason: str | None = None
    scored_at: datetime | None = None


def read_vote(vote: UnreadVote, rules: CalibrationRules) -> VoteOutcome:
    """Returns what the vote waits for, or its end where there is nothing to wait for. Never raises.

    A HOLD is counted, not scored: it claims no move, and how often "nothing happened" is mostly a matter of the
    threshold; its confidence is of another event than that of BUY and SELL, and in one score they would not mix.
    """
    outcome = VoteOutcome(vote.result_id, vote.voted_at, "unscorable", vote.symbol)
    if vote.body is None:
        return replace(outcome, reason=NO_VOTE)
    outcome = _said(outcome, vote.body, vote.context or {})
    if outcome.signal is None or outcome.confidence is None:
        return replace(outcome, reason=NO_VOTE)
    if outcome.signal == "HOLD":
        return replace(outcome, state="held")
    if vote.context is None:
        return replace(outcome, reason=NO_CONTEXT)
    candles = _candles_in(vote.context, vote.symbol)
    if candles is None:
        return replace(outcome, reason=NO_CANDLES)
    candle_ms = int(candles.open_time_ms[-1])
    return replace(
        outcome,
        state="waiting",
        timeframe=candles.timeframe,
        candle_ms=candle_ms,
        close_then=float(candles.close[-1]),
        market_candles=len(candles),
        market_hash=candles.content_hash(),
        horizon_candles=rules.horizon_candles,
        min_move_fraction=rules.min_move_fraction,
        due_ms=candle_ms + rules.horizon_candles * timeframe_ms(candles.timeframe),
    )


def settled(outcome: VoteOutcome, candles: Candles) -> VoteOutcome:
    """Returns the end of a vote whose horizon is over.

    The close that decides is the newest one at the horizon's end: where the last candles are missing, the newest
    before them, if no more than a tenth of the horizon is. Gaps elsewhere do not matter, since only the two ends count.

    Args:
        outcome: a waiting one, due.
        candles: those in use now that opened at or before `due_ms`, all closed; reaching back `market_candles`
            from the vote's newest.
    """
    if not _same_market(outcome, candles):
        return _unscorable(outcome, MARKET_SWITCHED)
    width_ms = timeframe_ms(candles.timeframe)
    after_ms = int(candles.open_time_ms[-1])
    allowed_ms = width_ms * int(MISSING_SHARE * (outcome.horizon_candles or 0))
    if after_ms <= (outcome.candle_ms or 0) or (outcome.due_ms or 0) - after_ms > allowed_ms:
        return _unscorable(outcome, NO_CANDLE_THERE)
    return _scored(outcome, after_ms, float(candles.close[-1]))


def stranded(outcome: VoteOutcome, in_use: Sequence[SeriesNow]) -> VoteOutcome:
    """Returns the end of a waiting vote whose market is gone: its series, or the candle that it was cast on."""
    known = any((each.symbol, each.timeframe) == (outcome.symbol, outcome.timeframe) for each in in_use)
    return _unscorable(outcome, SET_BACK if known else SERIES_GONE)


def is_right(signal: str, close_then: float, close_after: float, min_move_fraction: float) -> bool:
    """Whether the close moved the signal's way by more than that fraction of it."""
    move = close_after / close_then - 1
    return move > min_move_fraction if signal == "BUY" else -move > min_move_fraction


def _scored(outcome: VoteOutcome, after_ms: int, close_after: float) -> VoteOutcome:
    right = is_right(str(outcome.signal), outcome.close_then or 0.0, close_after, outcome.min_move_fraction or 0.0)
    return replace(
        outcome,
        state="scored",
        after_ms=after_ms,
        close_after=close_after,
        correct=right,
        squared_error=((outcome.confidence or 0.0) - right) ** 2,
    )


def _unscorable(outcome: VoteOutcome, reason: str) -> VoteOutcome:
    return replace(outcome, state="unscorable", reason=reason)


def _same_market(outcome: VoteOutcome, candles: Candles) -> bool:
    """Whether the candles that were voted on are among these, to the last bit."""
    seen = candles.until((outcome.candle_ms or 0) + timeframe_ms(candles.timeframe)).tail(outcome.market_candles or 0)
    return seen.content_hash() == outcome.market_hash


def _said(outcome: VoteOutcome, body: Mapping[str, Any], context: Mapping[str, Any]) -> VoteOutcome:
    """Who said what. Votes stored before distrust was have `confidence` only: as the model said it, then."""
    original = body.get("original_confidence")
    return replace(
        outcome,
        voter=_text(body.get("voter")),
        model=_text(body.get("model")),
        fallback_used=body.get("fallback_used") is True,
        regime=_text(body.get("regime") or _trend(context)),
        signal=body["signal"] if body.get("signal") in ("BUY", "SELL", "HOLD") else None,
        confidence=_fraction(body.get("confidence") if original is None else original),
    )


def _trend(context: Mapping[str, Any]) -> Any:
    regime = context.get("regime")
    return regime.get("regime") if isinstance(regime, Mapping) else None


def _text(value: Any) -> str:
    """A name as it can be stored and shown: a model's own is whatever a server says it is."""
    kept = "".join(c for c in value[:TEXT_MAX_CHARS] if c.isprintable()) if isinstance(value, str) else ""
    return kept or UNKNOWN


def _fraction(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= 1 else None


def _candles_in(context: Mapping[str, Any], symbol: str) -> Candles | None:
    stored = context.get("candles")
    if not isinstance(stored, Mapping):
        return None
    timeframe, rows = stored.get("timeframe"), stored.get("rows")
    if not isinstance(timeframe, str) or timeframe not in TIMEFRAMES_MS or not rows:
        return None
    try:
        candles = Candles.from_rows(symbol, timeframe, rows)
    except (AaosError, TypeError, ValueError, OverflowError, LookupError):
        return None
    close, newest_ms = float(candles.close[-1]), int(candles.open_time_ms[-1])
    return candles if 0 < close < math.inf and 0 <= newest_ms <= NEWEST_MAX_MS else None
