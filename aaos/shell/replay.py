"""A decision made again, for reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aaos.domain.runs import JsonObject
    from aaos.services.replay_decision import Replayed


@dataclass(frozen=True, slots=True)
class ReplayedDecision:
    """What came out, beside what was stored; prints as a few lines."""

    replayed: Replayed

    @property
    def same(self) -> bool:
        """Whether it came out byte for byte as it was stored."""
        return self.replayed.same

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        found = self.replayed
        return {
            "run_id": found.run_id,
            "symbol": found.symbol,
            "same": found.same,
            "without_fallback": found.without_fallback,
            "stored_hash": found.stored_hash,
            "hash": found.hash,
            "differing": list(found.differing),
            "decision": dict(found.body),
        }

    def lines(self) -> list[str]:
        """Returns what a person reads."""
        found = self.replayed
        name = f"decision {found.run_id} {found.symbol}"
        if found.without_fallback:
            head = f"{name}, had no fallback model answered:"
            return [head, *_figures("as it was", found.stored), *_figures("without", found.body)]
        if found.same:
            return [f"{name} comes out the same to the byte (sha256 {found.hash})"]
        told = f"{name} does NOT come out the same: stored {found.stored_hash}, now {found.hash}"
        return [told, f"  differing: {', '.join(found.differing) or 'only the stored hash: the row was changed'}"]

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


def _figures(label: str, body: JsonObject) -> list[str]:
    confidence = f"{body['confidence']:.4f}"
    tradable = "tradable" if body["tradable"] else "not tradable"
    return [f"  {label:<10} {body['signal']:<5} {confidence}  {tradable}  {body['reasoning']}"]
