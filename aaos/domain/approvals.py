"""A person's word on a decision that waits for one: what it is, and what it lets through. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from aaos.domain.audit import AuditEntry
from aaos.domain.results import content_hash
from aaos.errors import InputError

Verdict = Literal["approved", "refused"]


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word on a decision; `content_hash` is that of the decision as it was read.

    `started` is (id, kind) of the run that was born with it; known only to whoever gave it.
    """

    run_id: int
    content_hash: str
    verdict: Verdict
    by: str
    reason: str
    at: datetime
    started: tuple[int, str] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A decision that waits for a person's word; `confidence` 0…1, distrust applied."""

    run_id: int
    symbol: str
    signal: str
    confidence: float
    why: str
    content_hash: str
    analyzed_at: datetime
    expires_in_s: float


def review_ends_at(body: Mapping[str, Any], analyzed_at: datetime) -> datetime | None:
    """Returns until when a person may approve the decision, and risk see it; None where no review is needed."""
    if "review" not in body:
        return None
    return analyzed_at + timedelta(seconds=body["review"]["expires_after_s"])


def cleared_for_risk(
    run_id: int, body: Mapping[str, Any], analyzed_at: datetime, approval: Approval | None, now: datetime
) -> str | None:
    """Returns why risk must not look at a stored decision; None when it may (R1).

    Without a review it is `tradable` that counts. With one, `tradable` is false for ever: the approval counts, given
    for exactly this content, in time, and used in time.

    Args:
        run_id: the decision's run.
        body: the decision as it is stored.
        analyzed_at: when it was stored, by the database's clock.
        approval: the stored verdict, None where there is none.
        now: by the database's clock.
    """
    ends_at = review_ends_at(body, analyzed_at)
    if body["signal"] == "HOLD":
        return "HOLD trades nothing"
    if ends_at is None:
        return None if body["tradable"] is True else "the decision is not tradable"
    if approval is None:
        return (
            f"no person has approved it; it waits until {ends_at.isoformat()}" if now < ends_at else _expired(ends_at)
        )
    if (approval.run_id, approval.content_hash) != (run_id, content_hash(body)):
        return f"the verdict of {approval.by} is about another decision"
    if approval.verdict != "approved":
        return f"refused by {approval.by}: {approval.reason}"
    return None if approval.at < ends_at and now < ends_at else _expired(ends_at)


def _expired(ends_at: datetime) -> str:
    return f"its time for review ended at {ends_at.isoformat()}"


def verdict_entry(approval: Approval) -> AuditEntry:
    """Returns what the audit log says of a verdict."""
    details = {"reason": approval.reason, "content_hash": approval.content_hash}
    return AuditEntry(f"decision.{approval.verdict}", approval.by, f"run:{approval.run_id}", details)


def same_verdict(given: Approval, wanted: Verdict, wanted_hash: str) -> Approval:
    """Returns the verdict that was given before if it is the one that is wanted now.

    Raises:
        InputError: it is another one; names who gave it.
    """
    if (given.verdict, given.content_hash) == (wanted, wanted_hash):
        return given
    raise InputError(
        f"decision {given.run_id} was {given.verdict} by {given.by} at {given.at:%Y-%m-%d %H:%M:%S}Z ({given.reason}):"
        " a verdict is final; ask for a new decision with `aaos decide`"
    )


def cannot_be_given(run_id: int, reviewed: bool, is_the_one_read: bool, late_s: float) -> InputError:
    """Returns the error that says why there is no verdict on a decision and none can be given."""
    if not reviewed:
        return InputError(f"run {run_id} is no decision that waits for a person; `aaos approvals` lists those that do")
    if not is_the_one_read:
        return InputError(f"decision {run_id} is not the one that was read; look at it with `aaos explain {run_id}`")
    return InputError(
        f"decision {run_id} expired {max(late_s, 0):.0f} s ago and will not be traded; ask for a new one with"
        " `aaos decide`"
    )
