"""What leaves the pipeline: the analysis result, its sidebar form and the canonical bytes we hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal, Self

from aaos.domain.decision import Decision
from aaos.domain.regime import WyckoffPhase
from aaos.domain.sovereign import Signal
from aaos.errors import InputError

SCHEMA_VERSION = 1

RiskLabel = Literal["HIGH", "MEDIUM", "LOW"]
# Bounds of the sidebar's risk labels (SPEC 12): above the first HIGH, above the second MEDIUM.
RISK_HIGH_ABOVE = 0.7
RISK_MEDIUM_ABOVE = 0.4
# JSON numbers are doubles to most readers (RFC 8785): beyond ±2^53 an integer is not exact any more.
_LARGEST_EXACT_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class TradingAnalysisResult:
    """The result every reader sees (SPEC 12); `confidence` is already adjusted, `analyzed_at` is aware.

    Raises:
        InputError: when `analyzed_at` has no time zone.
    """

    task_id: str
    symbol: str
    timeframe: str
    signal: Signal
    confidence: float
    risk_score: float
    reasoning: str
    wyckoff_phase: WyckoffPhase | None
    degraded_inference: bool
    hidden_hand_warning: str | None
    analyzed_at: datetime
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.analyzed_at.tzinfo is None:
            raise InputError(f"analyzed_at {self.analyzed_at} has no time zone: pass an aware UTC datetime")

    @classmethod
    def from_decision(cls, decision: Decision, task_id: str, timeframe: str, analyzed_at: datetime) -> Self:
        """The result that shows a decision."""
        phase = decision.wyckoff_phase
        return cls(
            task_id=task_id,
            symbol=decision.symbol,
            timeframe=timeframe,
            signal=decision.signal,
            confidence=decision.confidence,
            risk_score=decision.risk_score,
            reasoning=decision.reasoning,
            wyckoff_phase=None if phase == "unknown" else phase,
            degraded_inference=decision.degraded_inference,
            hidden_hand_warning=decision.hidden_hand_warning,
            analyzed_at=analyzed_at,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; `analyzed_at` as ISO 8601 in UTC."""
        return {**asdict(self), "analyzed_at": self.analyzed_at.astimezone(UTC).isoformat()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; other keys are passed over."""
        own = {field.name: stored[field.name] for field in fields(cls)}
        return cls(**{**own, "analyzed_at": datetime.fromisoformat(stored["analyzed_at"])})

    def to_sidebar(self) -> dict[str, Any]:
        """The sidebar's form: confidence in %, one decimal, and risk as a label."""
        return {
            "symbol": self.symbol,
            "signal": self.signal,
            "confidence_pct": round(self.confidence * 100, 1),
            "risk": risk_label(self.risk_score),
            "warning": self.hidden_hand_warning,
            "degraded": self.degraded_inference,
        }


def risk_label(risk_score: float) -> RiskLabel:
    """HIGH above 0.7, MEDIUM above 0.4, else LOW."""
    if risk_score > RISK_HIGH_ABOVE:
        return "HIGH"
    return "MEDIUM" if risk_score > RISK_MEDIUM_ABOVE else "LOW"


def canonical_json(obj: object) -> bytes:
    """The one spelling of a JSON-able value: sorted keys, compact, ASCII.

    A number is spelled by its value alone (1.0 as 1, −0.0 as 0, beyond ±2^53 as a double), so that a value
    that went through a JSON column or another language comes back to the same bytes.

    Raises:
        InputError: NaN, infinity, keys that are no text, or anything JSON has no word for; names the place.
    """
    return json.dumps(_plain(obj, "$"), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def content_hash(obj: object) -> str:
    """Sha256 (hex) of the canonical bytes."""
    return hashlib.sha256(canonical_json(obj)).hexdigest()


def _plain(value: object, where: str) -> object:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _plain_number(value, where)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"cannot be stored as JSON: the key {key!r} at {where} is not text")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise InputError(f"cannot be stored as JSON: {type(value).__name__} at {where}; convert it first")


def _plain_number(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise InputError(f"cannot be stored as JSON: an integer beyond a double at {where}") from None
    if not math.isfinite(number):
        raise InputError(f"cannot be stored as JSON: {number} at {where}; use null for what is unknown")
    return int(number) if number.is_integer() and abs(number) < _LARGEST_EXACT_INTEGER else number
