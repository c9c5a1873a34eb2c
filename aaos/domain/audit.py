"""The audit log's entries and the chain of hashes that holds them together (A1). Pure.

An entry's hash covers its own canonical JSON, its number, its instant and the hash before it: whatever is changed,
taken out or put in afterwards no longer fits what follows (Haber and Stornetta 1991).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

NOTHING_BEFORE: Final = "0" * 64
"""Stands for the hash before the first entry."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What was changed, by whom or what, and why; `details` are JSON-able and hold no secret.

    Attributes:
        action: noun.verb: `vote.degraded`, `decision.approved`, `breaker.opened`.
        actor: a person, or the run that caused it (`run:17`).
        subject: what it happened to (`run:17`, `model:sovereign-32b`).
    """

    action: str
    actor: str
    subject: str
    details: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ChainedRow:
    """A row of the log as it is stored; `entry` is canonical JSON, to the byte."""

    id: int
    at: datetime
    entry: bytes
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """What a look at the whole chain found.

    Attributes:
        entries: rows that fit, from the first on.
        broken_id: the first row that does not fit, None when all do.
        why: what is wrong there.
    """

    entries: int
    broken_id: int | None = None
    why: str = ""

    @property
    def intact(self) -> bool:
        """Whether every row fits."""
        return self.broken_id is None


def chain_hash(previous_hash: str, number: int, at: datetime, entry: bytes) -> str:
    """Sha256 (hex) of a row: the hash before it, its number, its instant (UTC, µs) and its entry, one per line."""
    instant = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    head = f"{previous_hash}\n{number}\n{instant}\n"
    return hashlib.sha256(head.encode("ascii") + entry).hexdigest()


class ChainWalk:
    """Follows the chain row by row, oldest first; `check` is the verdict so far."""

    def __init__(self) -> None:
        self.check = ChainCheck(0)
        self._hash = NOTHING_BEFORE

    def step(self, row: ChainedRow) -> bool:
        """Looks at the next row; returns False once something does not fit."""
        expected = self.check.entries + 1
        why = ""
        if row.id != expected:
            why = (
                f"entry {expected} is missing"
                if row.id > expected
                else f"entry {row.id} stands where {expected} should"
            )
        elif row.previous_hash != self._hash:
            why = f"entry {row.id} does not follow on the one before it"
        elif row.hash != chain_hash(row.previous_hash, row.id, row.at, row.entry):
            why = f"entry {row.id} is not what was written"
        if why:
            self.check = ChainCheck(self.check.entries, expected, why)
            return False
        self.check, self._hash = ChainCheck(expected), row.hash
        return True

    def end(self, last_id: int, last_hash: str) -> ChainCheck:
        """Returns the verdict, the recorded end of the log compared with what was found there."""
        found = self.check
        if found.intact and (found.entries, self._hash) != (last_id, last_hash):
            missing = found.entries + 1
            why = f"the log ends after entry {found.entries}, entry {last_id} was written last"
            self.check = ChainCheck(found.entries, missing, why)
        return self.check
