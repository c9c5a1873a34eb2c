"""How the simulated models rule on a conflict: by the same evidence as they vote, against what is in dispute.

No trading advice either: it lets through what its own evidence supports, halves what the evidence leaves open, and
holds what it speaks against. Same prompt, same seed, same ruling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aaos.domain.arbiter_prompt import read_dispute
from aaos.local.sovereign_models import DEFAULT, Character, reading, vote

HALF: Final = 0.5
LEAST_LEVERAGE: Final = 1.0


def answer(system: str, user: str, seed: int, character: Character = DEFAULT) -> dict[str, Any]:
    """Returns the fields that the prompt asks for: a ruling on a dispute, else a vote."""
    dispute = read_dispute(user)
    return vote(system, user, seed, character) if dispute is None else _ruling(dispute, system, user, seed, character)


def _ruling(dispute: Mapping[str, Any], system: str, user: str, seed: int, character: Character) -> dict[str, Any]:
    read = reading(system, user, seed, character)
    if read is None or dispute.get("action") not in ("BUY", "SELL"):
        return _ruled("hold", "I find nothing in the prompt that I could rule on.")
    towards = read.conviction if dispute["action"] == "BUY" else -read.conviction
    reasoning = f"On {dispute['action']}: {read.why}. Conviction {towards:+.2f} towards it."
    if towards >= character.act_from:
        return _ruled("proceed", reasoning)
    if towards <= -character.act_from or character.act_from > 1:
        return _ruled("hold", reasoning)
    bounds = dispute.get("bounds")
    most = bounds.get("max_leverage") if isinstance(bounds, Mapping) else None
    leverage = max(LEAST_LEVERAGE, HALF * most) if isinstance(most, int | float) else LEAST_LEVERAGE
    return _ruled("modify", reasoning, leverage=leverage, size_fraction=HALF)


def _ruled(verdict: str, reasoning: str, **changes: float) -> dict[str, Any]:
    plain = {"reasoning": reasoning, "verdict": verdict, "leverage": None, "size_fraction": None, "entry_price": None}
    return plain | changes
