"""A stored decision made again from what it rested on: the same bytes, or what differs (D2, SPEC 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aaos.domain.decision import Arbitration, DecisionRules, decide, dispute
from aaos.domain.results import content_hash
from aaos.domain.runs import Dependency, JsonObject, State
from aaos.errors import InputError
from aaos.ports import ResultStore, RunStore
from aaos.services.approve_decision import DECISION
from aaos.services.decide_trade import CONTEXT, VOTE, decide_again, decision_body, decision_inputs

LEFT_OUT = "left out: a fallback model gave it"


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision as it was stored, and as it comes out now.

    Attributes:
        stored_hash: as it was recorded when it was stored.
        hash: of what comes out now, sha256 (hex) of its canonical JSON.
        differing: the top-level fields that differ, in alphabetical order; none: it is the same to the byte.
        without_fallback: whether answers of fallback models were left out: then it is another decision, on purpose.
    """

    run_id: int
    symbol: str
    stored: JsonObject
    body: JsonObject
    stored_hash: str
    hash: str
    differing: tuple[str, ...]
    without_fallback: bool = False

    @property
    def same(self) -> bool:
        """Whether it came out byte for byte as it was stored."""
        return self.hash == self.stored_hash


def replay_decision(run_id: int, runs: RunStore, results: ResultStore, without_fallback: bool = False) -> Replayed:
    """Returns the decision recomputed from its stored context, votes, arbitration and rules.

    Args:
        run_id: the decision's run.
        runs: for what it depended on.
        results: for the decision.
        without_fallback: as it would have been, had no fallback model answered: such votes count as absent, and such
            a ruling as none.

    Raises:
        UnknownRun: no such run.
        InputError: it is no stored decision, or was stored before decisions kept their rules.
    """
    record = results.result_of_run(run_id)
    if record is None or record.kind != DECISION:
        what = f"{runs.run(run_id).kind} without a result" if record is None else record.kind
        raise InputError(f"run {run_id} is a {what}, no decision; `aaos results --kind {DECISION}` lists decisions")
    if "rules" not in record.body:
        raise InputError(f"decision {run_id} was stored without its rules, by an older version: it can only be read")
    dependencies = runs.dependencies(run_id)
    again = _without_fallback if without_fallback else decide_again
    body = again(run_id, record.body, dependencies)
    fields = sorted({*body, *record.body})
    return Replayed(
        run_id=run_id,
        symbol=record.symbol,
        stored=record.body,
        body=body,
        stored_hash=record.content_hash,
        hash=content_hash(body),
        differing=tuple(name for name in fields if body.get(name) != record.body.get(name)),
        without_fallback=without_fallback,
    )


def _without_fallback(run_id: int, stored: JsonObject, dependencies: Sequence[Dependency]) -> JsonObject:
    """Returns the body as it would be, had only the models that were to be asked answered."""
    kept = [_absent(each) if _by_fallback(each) else each for each in dependencies]
    context = next(each.body for each in kept if each.kind == CONTEXT) or {}
    votes, rules = [each for each in kept if each.kind == VOTE], DecisionRules(**stored["rules"])
    ruled = Arbitration.from_dict(stored["arbitration"]) if "arbitration" in stored else None
    inputs = decision_inputs(context, votes)
    if dispute(inputs, rules) is not None and ruled is not None and not ruled.fallback_used:
        inputs = replace(inputs, arbitration=ruled)
    return decision_body(run_id, context, votes, decide(inputs, rules), rules)


def _by_fallback(dependency: Dependency) -> bool:
    return dependency.kind == VOTE and dependency.body is not None and bool(dependency.body["fallback_used"])


def _absent(vote: Dependency) -> Dependency:
    return replace(vote, state=State.FAILED, reason=LEFT_OUT, body=None, result_id=None)
