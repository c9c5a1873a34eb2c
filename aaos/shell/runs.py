"""A run as a person sees it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from aaos.domain.runs import State

if TYPE_CHECKING:
    from aaos.ports import RunRecord

MISSED = "missed: "


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """One run's row; instants are aware, UTC. `result_id` is set once it completed."""

    id: int
    kind: str
    symbol: str
    slot: datetime
    state: State
    attempt: int
    reason: str | None
    failure_source: str | None
    owner: str | None
    request_key: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result_id: int | None
    due_at: datetime | None = None

    @classmethod
    def of(cls, record: RunRecord) -> Self:
        """Returns the run of a stored row."""
        return cls(**{field.name: getattr(record, field.name) for field in fields(cls)})

    @property
    def took_s(self) -> float | None:
        """Seconds from its start (of the last attempt) to its end; None while there is no end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def missed(self) -> bool:
        """Whether it stands for a slot that nobody ticked, or that no worker took in time."""
        return self.state is State.SKIPPED and (self.reason or "").startswith(MISSED)

    @property
    def why(self) -> str:
        """Returns failure source and reason in one text, for one that was put back when it is due; empty for none."""
        due = f"due at {instant(self.due_at)}" if self.state is State.PENDING and self.reason and self.due_at else None
        return ": ".join(part for part in (due, self.failure_source, self.reason) if part)

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; instants in ISO 8601."""
        return {name: plain(value) for name, value in asdict(self).items()}

    def __repr__(self) -> str:
        why = f", {self.why}" if self.state.final and self.why else ""
        return f"Run({self.id}, {self.kind} {self.symbol}, slot {instant(self.slot)}, {self.state}{why})"


def instant(at: datetime | None) -> str:
    """Returns an instant for people, in UTC to the second; `-` for none."""
    return "-" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def plain(value: Any) -> Any:
    """Returns a value JSON knows: instants as ISO 8601."""
    return value.isoformat() if isinstance(value, datetime) else value
