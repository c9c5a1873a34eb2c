"""Stored results as typed values, one class per kind; all of them print as one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from aaos.shell.runs import instant, plain
from aaos.shell.sayings import SAYS

if TYPE_CHECKING:
    from rich.table import Table

    from aaos.domain.decision import Adjustment
    from aaos.domain.regime import WyckoffEvent
    from aaos.domain.results import RiskLabel
    from aaos.domain.signals import Contribution, Divergence, Pattern, TimeframeTrend, Verdict
    from aaos.ports import ResultRecord

Signal = Literal["BUY", "SELL", "HOLD"]
_OF_DIRECTION: Mapping[str, Signal] = {"long": "BUY", "short": "SELL", "neutral": "HOLD"}
MS_PER_S = 1000
_SPOKEN = ("voter", "model", "signal", "confidence", "absent", "original_confidence", "fallback_used")
JSON_FIELDS = (
    "id", "run_id", "kind", "symbol", "slot", "fence", "analyzed_at", "published_at", "content_hash", "body", "inputs",
)  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """A stored result of any kind; `inputs` is its lineage, `body` all that was found out.

    `published_at` is None until it was announced on its stream.
    """

    id: int
    run_id: int
    kind: str
    symbol: str
    slot: datetime
    fence: int
    analyzed_at: datetime
    published_at: datetime | None
    content_hash: str
    inputs: Sequence[Mapping[str, Any]]
    body: Mapping[str, Any]

    own: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, record: ResultRecord) -> Self:
        """Returns the result of a stored row."""
        row = {each.name: getattr(record, each.name) for each in fields(Result)}
        return cls(**row, **{name: record.body[name] for name in cls.own}, **cls._built(record.body))

    @classmethod
    def _built(cls, _body: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that are more than what the body says."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form, the same for every kind."""
        return {name: plain(getattr(self, name)) for name in JSON_FIELDS}

    @property
    def headline(self) -> str:
        """Returns what it says, in a few words."""
        said = SAYS.get(self.kind)
        return said(self.body) if said else ""

    def __repr__(self) -> str:
        said = f", {self.headline}" if self.headline else ""
        return f"{type(self).__name__}({self.id}, {self.symbol}{said}, {instant(self.analyzed_at)})"


@dataclass(frozen=True, slots=True, repr=False)
class AnalysisResult(Result):
    """A technical analysis: score −130…+130 as a sum of contributions, confidence in percent.

    `divergences` and `patterns` are those alive at the newest candle; `alignment` compares the `timeframes`,
    None with fewer than two known.
    """

    timeframe: str
    direction: Literal["long", "short", "neutral"]
    score: float
    confidence_pct: float
    indicators: Mapping[str, float | None]
    as_of: datetime
    market_time: datetime
    contributions: tuple[Contribution, ...] = field(default=())
    divergences: tuple[Divergence, ...] = field(default=())
    patterns: tuple[Pattern, ...] = field(default=())
    alignment: Verdict | None = field(default=None)
    timeframes: tuple[TimeframeTrend, ...] = field(default=())
    newest_candle: datetime | None = field(default=None)
    close: float | None = field(default=None)
    candles_used: int = field(default=0)
    candles_missing: int = field(default=0)

    own: ClassVar[tuple[str, ...]] = ("timeframe", "direction", "score", "confidence_pct", "indicators")

    @classmethod
    def _built(cls, body: Mapping[str, Any]) -> dict[str, Any]:
        from aaos.domain.signals import SignalOutput

        read = SignalOutput.from_dict(body)
        parts = (
            "contributions", "divergences", "patterns", "alignment", "timeframes", "close", "candles_used",
            "candles_missing",
        )  # fmt: skip
        newest = datetime.fromtimestamp(read.newest_candle_ms / MS_PER_S, UTC)
        return {**_times(body), "newest_candle": newest, **{name: getattr(read, name) for name in parts}}

    @property
    def signal(self) -> Signal:
        """The direction as an action."""
        return _OF_DIRECTION[self.direction]

    @property
    def confidence(self) -> float:
        """0…1."""
        return self.confidence_pct / 100

    @property
    def read_from(self) -> str:
        """Returns which candles it was read from, in a few words."""
        if self.newest_candle is None:
            return ""
        missing = f", {self.candles_missing} missing in gaps" if self.candles_missing else ""
        close = "" if self.close is None else f", close {self.close:g}"
        newest = f"newest opened {instant(self.newest_candle)}{close}"
        return f"{self.candles_used} candles of {self.timeframe}{missing}, {newest}"

    def __str__(self) -> str:
        from aaos.shell.tables import as_text

        lines = [f"{self.symbol} {self.headline}", self.read_from, as_text(contributions_table(self))]
        return "\n".join(line for line in lines if line)

    @property
    def headline(self) -> str:
        """See the base class."""
        aligned = "" if self.alignment is None else f", timeframes {self.alignment}"
        return f"{self.direction} {self.score:+.1f} of 130{aligned}"


def contributions_table(analysis: AnalysisResult) -> Table:
    """Returns what each contribution gave and why, and their sum."""
    from aaos.shell.tables import table

    rows = [
        (each.name, None if each.value is None else f"{each.value:12.6g}", f"{each.points:+6.1f}", each.why)
        for each in analysis.contributions
    ]
    total = f"of ±130: {analysis.direction}, confidence {analysis.confidence_pct:.0f} %"
    return table(("contribution", "value", "points", "why"), [*rows, ("score", None, f"{analysis.score:+6.1f}", total)])


@dataclass(frozen=True, slots=True, repr=False)
class RegimeResult(Result):
    """A market regime with Wyckoff phase and volume trend, each with its confidence 0…1 and its figures.

    `confidence` is the regime's; `events` are what the phase was read from, the newest known by that candle.
    """

    timeframe: str
    regime: str
    confidence: float
    wyckoff_phase: str
    volume_trend: str
    evidence: Mapping[str, Any]
    as_of: datetime
    market_time: datetime
    phase_confidence: float = field(default=0.0)
    volume_confidence: float = field(default=0.0)
    events: tuple[WyckoffEvent, ...] = field(default=())

    own: ClassVar[tuple[str, ...]] = (
        "timeframe", "regime", "confidence", "wyckoff_phase", "volume_trend", "evidence",
    )  # fmt: skip

    @classmethod
    def _built(cls, body: Mapping[str, Any]) -> dict[str, Any]:
        from aaos.domain.regime import RegimeOutput

        read = RegimeOutput.from_dict(body)
        parts = ("phase_confidence", "volume_confidence", "events")
        return {**_times(body), **{name: getattr(read, name) for name in parts}}

    @property
    def headline(self) -> str:
        """See the base class."""
        phase = f"phase {self.wyckoff_phase} {self.phase_confidence:.2f}"
        return f"{self.regime} {self.confidence:.2f}, {phase}, volume {self.volume_trend}"


@dataclass(frozen=True, slots=True, repr=False)
class VoteResult(Result):
    """What one model said about a context; confidence and risk 0…1.

    `confidence` is what counts, `original_confidence` what the model said, `trust_factor` what lies between them;
    with `fallback_used` another model than the voter's own (`primary_model`) answered, and `failed_attempts` tells
    why: one error envelope for each call that gave no usable answer.
    """

    voter: str
    stance: str
    model: str
    signal: Signal
    confidence: float
    risk_score: float
    reasoning: str
    fallback_used: bool
    prompt_hash: str
    tokens_in: int
    tokens_out: int
    latency_ms: float
    original_confidence: float = field(default=0.0)
    trust_factor: float = field(default=1.0)
    degraded_inference: bool = field(default=False)
    primary_model: str | None = field(default=None)
    fallback_why: str | None = field(default=None)
    failed_attempts: tuple[Mapping[str, Any], ...] = field(default=())

    own: ClassVar[tuple[str, ...]] = (
        "voter", "stance", "model", "signal", "confidence", "risk_score", "reasoning", "fallback_used", "prompt_hash",
        "tokens_in", "tokens_out", "latency_ms",
    )  # fmt: skip

    @classmethod
    def _built(cls, body: Mapping[str, Any]) -> dict[str, Any]:
        # Votes stored before distrust was have none of these.
        names = ("trust_factor", "degraded_inference", "primary_model", "fallback_why")
        told = {name: body[name] for name in names if name in body}
        failed = tuple(body.get("failed_attempts", ()))
        return told | {
            "original_confidence": body.get("original_confidence", body["confidence"]),
            "failed_attempts": failed,
        }

    @property
    def headline(self) -> str:
        """See the base class."""
        fallback = ", fallback" if self.fallback_used else ""
        confidence = confidences(self.original_confidence, self.confidence)
        return f"{self.voter} ({self.model}{fallback}) {self.signal} {confidence}"


@dataclass(frozen=True, slots=True)
class VoteSummary:
    """A vote as a decision counted it; `absent` says why there is none.

    `confidence` is what counted, `original_confidence` what the model said.
    """

    run_id: int
    voter: str | None = None
    model: str | None = None
    signal: Signal | None = None
    confidence: float | None = None
    absent: str | None = None
    original_confidence: float | None = None
    fallback_used: bool = False

    def __str__(self) -> str:
        who = self.voter or f"run {self.run_id}"
        if self.absent is not None or self.confidence is None:
            return f"{who}: absent ({self.absent})"
        said = self.confidence if self.original_confidence is None else self.original_confidence
        fallback = ", fallback" if self.fallback_used else ""
        return f"{who}: {self.signal} {confidences(said, self.confidence)}, {self.model}{fallback}"


@dataclass(frozen=True, slots=True, repr=False)
class DecisionResult(Result):
    """A decision: what is done, how surely (0…1, adjusted), why, and whether it may be traded.

    `review` says where a person's approval stands, None where none is needed.
    """

    timeframe: str
    signal: Signal
    confidence: float
    original_confidence: float
    risk_score: float
    reasoning: str
    wyckoff_phase: str
    hidden_hand_warning: str | None
    phase_signal_conflict: bool
    degraded_inference: bool
    degradation_reason: str | None
    agreement: float | None
    tradable: bool
    as_of: datetime
    market_time: datetime
    adjustments: tuple[Adjustment, ...] = field(default=())
    votes: tuple[VoteSummary, ...] = field(default=())
    review: str | None = field(default=None)

    own: ClassVar[tuple[str, ...]] = (
        "timeframe", "signal", "confidence", "original_confidence", "risk_score", "reasoning", "wyckoff_phase",
        "hidden_hand_warning", "phase_signal_conflict", "degraded_inference", "degradation_reason", "agreement",
        "tradable",
    )  # fmt: skip

    @classmethod
    def _built(cls, body: Mapping[str, Any]) -> dict[str, Any]:
        from aaos.domain.decision import Adjustment

        steps = tuple(Adjustment(**each) for each in body["adjustments"])
        review = "needs a person's approval" if "review" in body else None
        votes = tuple(_vote(each) for each in body["votes"])
        return {**_times(body), "adjustments": steps, "votes": votes, "review": review}

    @property
    def risk(self) -> RiskLabel:
        """HIGH, MEDIUM or LOW."""
        from aaos.domain.results import risk_label

        return risk_label(self.risk_score)

    @property
    def headline(self) -> str:
        """See the base class."""
        cast = sum(vote.absent is None for vote in self.votes)
        parts = [f"{self.signal} {self.confidence:.2f}", f"risk {self.risk}", f"{cast} of {len(self.votes)} votes"]
        parts += [f"warning: {self.hidden_hand_warning}"] if self.hidden_hand_warning else []
        parts += ["degraded"] if self.degraded_inference else []
        parts += [self.review] if self.review else []
        return ", ".join([*parts, "tradable" if self.tradable else "not tradable"])


@dataclass(frozen=True, slots=True, repr=False)
class RebalanceResult(Result):
    """A rebalance of the portfolio: each holding against its target, and the trades between the two.

    Money, shares and quantities are text, to the digit: `Decimal(result.equity)`.
    """

    account: str
    equity: str
    free: str
    lines: Sequence[Mapping[str, Any]]
    trades: Sequence[Mapping[str, Any]]

    own: ClassVar[tuple[str, ...]] = ("account", "equity", "free", "lines", "trades")

    @property
    def headline(self) -> str:
        """See the base class."""
        sells = sum(each["side"] == "sell" for each in self.trades)
        alone = sum(each["note"] not in (None, "IN_BAND") for each in self.lines)
        parts = [f"{sells} sells and {len(self.trades) - sells} buys planned" if self.trades else "no trades"]
        looked_at = f"{len(self.lines)} symbol{'' if len(self.lines) == 1 else 's'}"
        return ", ".join([*parts, looked_at, *([f"{alone} with a note"] if alone else [])])


TYPES: Mapping[str, type[Result]] = {
    "technical_analysis": AnalysisResult,
    "regime_detection": RegimeResult,
    "trading_analysis": VoteResult,
    "trading_decision": DecisionResult,
    "portfolio_rebalance": RebalanceResult,
}


def typed(record: ResultRecord) -> Result:
    """Returns the stored row as the class of its kind; kinds without one as plain `Result`."""
    return TYPES.get(record.kind, Result).of(record)


def _vote(spoken: Mapping[str, Any]) -> VoteSummary:
    said = {name: spoken[name] for name in _SPOKEN if name in spoken}
    return VoteSummary(run_id=spoken["run"], **said)


def confidences(said: float, counts: float) -> str:
    """Returns what a model said and what of it counts: `0.85 → 0.68`, one figure where it is the same."""
    return f"{counts:.2f}" if said == counts else f"{said:.2f} → {counts:.2f}"


def _times(body: Mapping[str, Any]) -> dict[str, datetime]:
    return {name: datetime.fromisoformat(body[name]) for name in ("as_of", "market_time")}
