"""Runs: one execution of (kind, symbol, slot), leased, fenced, ending in exactly one final state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le

from aaos.domain.audit import AuditEntry
from aaos.domain.orders import NewRiskApproval
from aaos.domain.portfolio.trades import TradePlan
from aaos.domain.vetoes import NewVeto
from aaos.errors import FailureSource

JsonObject = Mapping[str, Any]
Answer = list[int | str]
"""What a task returns: [run id, final state]. Small, and the same each time a finished run is asked again."""


class State(StrEnum):
    """Where a run stands; the last three are final and never left."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def final(self) -> bool:
        """Whether this state is never left."""
        return self in (State.COMPLETED, State.FAILED, State.SKIPPED)


class Refusal(StrEnum):
    """Why a claim was not granted."""

    UNKNOWN = "no such run"
    FINAL = "already final"
    RUNNING_ELSEWHERE = "running elsewhere under a live lease"
    WAITING = "its dependencies are not final yet"
    NOT_DUE = "not due yet"
    NO_ROOM = "as many runs of its kind, or overall, are running as allowed"
    EXHAUSTED = "no attempt left"
    EXPIRED = "its deadline has passed"


@dataclass(frozen=True, slots=True)
class RunRules:
    """Section `runs` of the configuration: leases, recovery, retries (seconds unless said otherwise)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    lease_s: Annotated[float, Ge(1), Le(300)] = 15.0
    heartbeat_s: Annotated[float, Gt(0), Le(60)] = 5.0
    sweep_s: Annotated[float, Ge(0.2), Le(60)] = 5.0
    hint_after_s: Annotated[float, Ge(0.2), Le(300)] = 5.0
    hint_backoff_max_s: Annotated[float, Ge(1), Le(3600)] = 60.0
    max_attempts: Annotated[int, Ge(1), Le(20)] = 3
    retry_delay_s: Annotated[float, Ge(0), Le(300)] = 2.0
    adhoc_start_within_s: Annotated[float, Ge(1), Le(86_400)] = 3600.0
    vote_start_within_s: Annotated[float, Ge(1), Le(3600)] = 120.0
    max_concurrent_tasks: Annotated[int, Ge(1), Le(100_000)] = 10
    missed_rows_max: Annotated[int, Ge(1), Le(10_000_000)] = 20_000
    publish_batch: Annotated[int, Ge(1), Le(10_000)] = 200
    stream_maxlen: Annotated[int, Ge(100), Le(10_000_000)] = 10_000

    def __post_init__(self) -> None:
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError(
                f"heartbeat_s = {self.heartbeat_s} must be at most half of lease_s = {self.lease_s}, "
                "or one late heartbeat loses the lease"
            )


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A granted claim: the right to work on a run until the lease ends, proved by `fence`."""

    id: int
    kind: str
    symbol: str
    slot: datetime
    attempt: int
    fence: int
    deadline: datetime
    dependent: bool
    scheduled: bool
    params: JsonObject
    created_at: datetime
    time_left_s: float
    """Until the deadline, when the claim was granted; by the database's clock, since the machine's may lie."""


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """A claim that was not granted; `state` is the run's state at that moment (None: no such run)."""

    refusal: Refusal
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a dependent run waits for, as it stands now."""

    run_id: int
    kind: str
    symbol: str
    required: bool
    state: State
    reason: str | None
    result_id: int | None
    analyzed_at: datetime | None
    content_hash: str | None
    body: JsonObject | None
    params: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a result: which, as of when, and the hash of its content (the lineage `explain` walks)."""

    name: str
    content_hash: str
    as_of: str
    result_id: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "name": self.name,
            "content_hash": self.content_hash,
            "as_of": self.as_of,
            "result_id": self.result_id,
        }


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be inserted.

    Attributes:
        request_key: identity of an ad-hoc run; None for a scheduled one, whose identity is its slot.
        start_within_s: a pending run older than this ends as skipped (or, if dependent, as timed out).
        not_after: no deadline of any attempt lies beyond this instant; what waits for the run cannot wait longer.
    """

    kind: str
    symbol: str
    timeout_s: float
    start_within_s: float
    request_key: str | None = None
    dependent: bool = False
    params: JsonObject = field(default_factory=dict)
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewAlert:
    """An alert to be raised."""

    kind: str
    message: str
    details: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completed:
    """The work succeeded; all of this is stored in one transaction, or none of it.

    Attributes:
        feeds: further runs that the dependents then wait for.
        starts: runs that begin because of it, and that nobody waits for.
        approval: what risk lets through; refused with RiskBookMoved when the books are no longer those it rests on.
        veto: what was refused, to be compared with what became of it.
        trades: to be made later, each once; refused with RiskBookMoved when trades it did not know of are under way.
        audit: what the audit log says of it.
        alerts: what an operator should see of it.
    """

    body: JsonObject
    inputs: Sequence[Input] = ()
    feeds: Sequence[NewRun] = ()
    starts: Sequence[NewRun] = ()
    approval: NewRiskApproval | None = None
    veto: NewVeto | None = None
    trades: TradePlan | None = None
    audit: Sequence[AuditEntry] = ()
    alerts: Sequence[NewAlert] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """The work was rightly not done."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The work could not be done."""

    source: FailureSource
    reason: str


Outcome = Completed | Skipped | Failed


def retry_delay_s(rules: RunRules, attempt: int) -> float:
    """Returns the seconds to wait before attempt + 1: doubling from `retry_delay_s`, at most a lease long."""
    return min(rules.retry_delay_s * 2.0 ** max(attempt - 1, 0), rules.lease_s)


def first_unmet(dependencies: Sequence[Dependency]) -> Dependency | None:
    """Returns the first required dependency that did not complete, or None."""
    return next((d for d in dependencies if d.required and d.state is not State.COMPLETED), None)
