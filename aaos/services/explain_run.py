"""What a stored result rests on: its lineage walked back to the candles, every hash on the way checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aaos.domain.market import Candles
from aaos.domain.results import content_hash
from aaos.errors import UnknownRun
from aaos.ports import ResultRecord, ResultStore

CANDLES = "candles"
# The same question's answer one slot earlier: named, checked, and not followed back to the beginning of time.
EARLIER = frozenset({"regime_before"})

Check = Literal["verified", "differs", "missing", "by hash only"]


@dataclass(frozen=True, slots=True)
class Link:
    """One input as the result recorded it, and what is stored now.

    Attributes:
        name: what the input was to the result: a kind, a voter, `candles`.
        content_hash: sha256 (hex) of the content the result was made from.
        as_of: the instant the input stands for, ISO 8601.
        stored: the input itself; None for candles, and for what is gone.
        check: `verified`: the content stored now has the recorded hash; `differs`: it has another; `missing`: it is
            gone; `by hash only`: it is not kept as a result, only its hash was.
        inputs: what it rests on itself; empty where it was shown before in the same explanation.
    """

    name: str
    content_hash: str
    as_of: str
    result_id: int | None
    stored: ResultRecord | None
    check: Check
    inputs: tuple[Link, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        recorded = {"name": self.name, "content_hash": self.content_hash, "as_of": self.as_of, "check": self.check}
        return recorded | {"result_id": self.result_id} | _described(self.stored, self.inputs)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A result with everything it rests on; `intact` says whether its own content still has its hash."""

    result: ResultRecord
    intact: bool
    inputs: tuple[Link, ...]

    def links(self) -> Iterator[Link]:
        """Yields every input, those of inputs included, nearest first."""
        waiting = list(self.inputs)
        while waiting:
            link = waiting.pop(0)
            yield link
            waiting.extend(link.inputs)

    def find(self, name: str) -> Link | None:
        """Returns the nearest input of that name."""
        return next((link for link in self.links() if link.name == name), None)

    def problems(self) -> Sequence[str]:
        """Returns what does not fit together, one sentence each; empty when every hash holds."""
        own = [] if self.intact else [f"result {self.result.id} does not have its own content hash any more"]
        return own + [_problem(link) for link in self.links() if link.check in ("differs", "missing")]

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        checked = {"intact": self.intact, "problems": list(self.problems())}
        return checked | {"content_hash": self.result.content_hash} | _described(self.result, self.inputs)


def explain(result: ResultRecord, results: ResultStore) -> Explanation:
    """Returns what the result rests on, down to the candles; hashes are computed anew, not believed."""
    seen = {result.id}
    return Explanation(result, _hash_of(result) == result.content_hash, _links(result, results, seen))


def _links(owner: ResultRecord, results: ResultStore, seen: set[int]) -> tuple[Link, ...]:
    return tuple(_link(owner, recorded, results, seen) for recorded in owner.inputs)


def _link(owner: ResultRecord, recorded: Mapping[str, Any], results: ResultStore, seen: set[int]) -> Link:
    name, expected, result_id = recorded["name"], recorded["content_hash"], recorded.get("result_id")
    if result_id is None:
        return Link(name, expected, recorded["as_of"], None, None, _check_unstored(owner, name, expected))
    stored = _find(result_id, results)
    if stored is None:
        return Link(name, expected, recorded["as_of"], result_id, None, "missing")
    check: Check = "verified" if _hash_of(stored) == expected == stored.content_hash else "differs"
    inputs: tuple[Link, ...] = ()
    if result_id not in seen and name not in EARLIER:
        seen.add(result_id)
        inputs = _links(stored, results, seen)
    return Link(name, expected, recorded["as_of"], result_id, stored, check, inputs)


def _find(result_id: int, results: ResultStore) -> ResultRecord | None:
    try:
        return results.result(result_id)
    except UnknownRun:
        return None


def _hash_of(result: ResultRecord) -> str:
    return content_hash(result.body)


def _check_unstored(owner: ResultRecord, name: str, expected: str) -> Check:
    """Candles that the owner quotes can be hashed again; all others are known by their hash alone."""
    quoted = owner.body.get(CANDLES) if name == CANDLES else None
    if not isinstance(quoted, Mapping) or "rows" not in quoted:
        return "by hash only"
    candles = Candles.from_rows(owner.symbol, quoted["timeframe"], quoted["rows"])
    return "verified" if candles.content_hash() == expected else "differs"


def _problem(link: Link) -> str:
    what = f"{link.name} (result {link.result_id})" if link.result_id is not None else link.name
    if link.check == "missing":
        return f"{what} is not stored any more"
    return f"{what} is not what it was: recorded was content {link.content_hash[:12]}…"


def _described(stored: ResultRecord | None, inputs: tuple[Link, ...]) -> dict[str, Any]:
    if stored is None:
        return {"inputs": [link.to_dict() for link in inputs]}
    return {
        "id": stored.id,
        "run_id": stored.run_id,
        "kind": stored.kind,
        "symbol": stored.symbol,
        "slot": stored.slot.isoformat(),
        "analyzed_at": stored.analyzed_at.isoformat(),
        "body": stored.body,
        "inputs": [link.to_dict() for link in inputs],
    }
