"""What of an arbiter's answer is believed: a verdict, and changes within the bounds of its question.

Read as strictly as a vote (`answer_reading`). Several claims must agree; figures belong to `modify`, which needs at
least one, and to nothing else: what says proceed and changes something is not clear, and what is not clear does not go
ahead. Only `hold` is taken with whatever stands beside it: it trades nothing, and must not be asked away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aaos.domain.answer_formats import ARBITER_VERDICTS, CHANGES, RULING_FIELDS, RULING_REQUIRED, ArbiterVerdict
from aaos.domain.answer_reading import UnusableError, claims_in, extras_of, number, reasoning_of, shown
from aaos.domain.decision.arbiter import Bounds
from aaos.errors import SovereignInvalidResponse


@dataclass(frozen=True, slots=True)
class Ruling:
    """An arbiter's validated word; the three figures are None where it changes nothing, `extras` is not trusted."""

    verdict: ArbiterVerdict
    leverage: float | None
    size_fraction: float | None
    entry_price: float | None
    reasoning: str
    extras: dict[str, object]

    @property
    def changes(self) -> tuple[float | None, float | None, float | None]:
        """Returns the figures, in the order of `CHANGES`."""
        return self.leverage, self.size_fraction, self.entry_price


def ruling_reader(bounds: Bounds) -> Callable[[str], Ruling]:
    """Returns what reads answers to a question with these bounds; see `parse_ruling`."""
    return lambda content: parse_ruling(content, bounds)


def parse_ruling(content: str, bounds: Bounds) -> Ruling:
    """Returns the ruling in an arbiter's answer.

    Raises:
        SovereignInvalidResponse: there is none, it breaks the contract or goes beyond the bounds; the message names
            what is wrong and `raw` keeps the content.
    """
    try:
        rulings = [_checked(claim, bounds) for claim in claims_in(content, "verdict")]
        if len({(each.verdict, each.changes) for each in rulings}) > 1:
            raise UnusableError(f"it holds {len(rulings)} rulings that contradict each other")
        return rulings[-1]
    except UnusableError as unusable:
        raise SovereignInvalidResponse(f"the model's answer is not a ruling: {unusable}", raw=content) from None


def _checked(claim: dict[str, Any], bounds: Bounds) -> Ruling:
    extras = extras_of(claim, RULING_FIELDS, RULING_REQUIRED)
    verdict, reasoning = _verdict(claim["verdict"]), reasoning_of(claim["reasoning"])
    if verdict == "hold":
        return Ruling(verdict, None, None, None, reasoning, extras)
    leverage, size_fraction, entry_price = (_figure(name, claim.get(name)) for name in CHANGES)
    fault = bounds.fault(leverage, size_fraction, entry_price)
    if fault is not None:
        raise UnusableError(fault)
    ruling = Ruling(verdict, leverage, size_fraction, entry_price, reasoning, extras)
    changed = [name for name, value in zip(CHANGES, ruling.changes, strict=True) if value is not None]
    if verdict == "proceed" and changed:
        raise UnusableError(f"it says proceed and changes {', '.join(changed)}: that is modify")
    if verdict == "modify" and not changed:
        raise UnusableError(f"it says modify and changes none of {', '.join(CHANGES)}")
    return ruling


def _verdict(value: object) -> ArbiterVerdict:
    if isinstance(value, str) and value.isascii():
        for verdict in ARBITER_VERDICTS:
            if value.strip().lower() == verdict:
                return verdict
    raise UnusableError(f"verdict must be {', '.join(ARBITER_VERDICTS)}, not {shown(value)}")


def _figure(name: str, value: object) -> float | None:
    return None if value is None else number(name, value)
