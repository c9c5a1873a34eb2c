"""Where a decision's review stands, in words; and the decisions that wait for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from aaos.shell.lists import shortened
from aaos.shell.results import DecisionResult, Result
from aaos.shell.runs import instant, plain
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.table import Table

    from aaos.bootstrap import Container
    from aaos.ports import Approval, Waiting

R = TypeVar("R", bound=Result)
WHY_SHOWN_CHARS = 300


class WaitingList(list["Waiting"]):
    """Decisions that wait for a person's approval, the most urgent first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        headers = ("run", "symbol", "signal", "confidence", "expires in", "why")
        return table(headers, ([
            each.run_id, each.symbol, each.signal, f"{each.confidence:.2f}", left(each.expires_in_s),
            shortened(each.why, WHY_SHOWN_CHARS),
        ] for each in self))  # fmt: skip

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        return [{name: plain(value) for name, value in asdict(each).items()} for each in self]

    def __repr__(self) -> str:
        return as_text(self) if self else "no decision waits for a person"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What is known of reviews at one instant of the database."""

    now: datetime
    verdicts: Mapping[int, Approval]

    def standing(self, decision: DecisionResult) -> str | None:
        """Returns where the decision's review stands; None where it needs none."""
        return standing(decision.body, decision.analyzed_at, self.verdicts.get(decision.run_id), self.now)


def standing(body: Mapping[str, Any], analyzed_at: datetime, verdict: Approval | None, now: datetime) -> str | None:
    """Returns where a decision's review stands, in a few words; None where it needs none."""
    from aaos.domain.approvals import review_ends_at

    ends_at = review_ends_at(body, analyzed_at)
    if ends_at is None:
        return None
    if verdict is None:
        until = instant(ends_at)
        return f"waits for approval until {until}" if now < ends_at else f"not approved, expired {until}"
    said = f"{verdict.verdict} by {verdict.by} at {instant(verdict.at)}: {verdict.reason}"
    return said if now < ends_at or verdict.verdict == "refused" else f"{said}; expired {instant(ends_at)}"


def with_standing(results: Sequence[R], container: Container) -> list[R]:
    """Returns the results, decisions that need a person's approval with how that stands now."""
    held = [each for each in results if isinstance(each, DecisionResult) and "review" in each.body]
    if not held:
        return list(results)
    reviewed = Reviewed(container.database.now(), container.approvals.verdicts([each.run_id for each in held]))
    return [_standing_now(each, reviewed) for each in results]


def _standing_now(result: R, reviewed: Reviewed) -> R:
    return replace(result, review=reviewed.standing(result)) if isinstance(result, DecisionResult) else result


def left(seconds: float) -> str:
    """Returns a time for people: `14 min 5 s`."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes or hours) + [f"{rest} s"] * (not hours)
    return " ".join(parts)
