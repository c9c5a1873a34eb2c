"""A stored decision made again: the same to the byte, whatever is different told, and what it would have been."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from test_decide_trade import NOW, RUN, a_ballot, a_context, decided

from aaos.domain.results import canonical_json, content_hash
from aaos.domain.runs import Dependency, State
from aaos.errors import InputError
from aaos.ports import ResultRecord, ResultStore, RunStore
from aaos.services.replay_decision import LEFT_OUT, Replayed, replay_decision
from aaos.shell.replay import ReplayedDecision

BY_FALLBACK = {"fallback_used": True, "model": "small", "confidence": 0.64, "original_confidence": 0.8}
DISTRUST = {"trust_factor": 0.8, "trust_source": "prior"}


class _Shelf:
    """One stored decision, and what it depended on."""

    def __init__(self, body: dict[str, Any] | None, *dependencies: Dependency, kind: str = "trading_decision") -> None:
        self.body, self._dependencies, self._kind = body, dependencies, kind

    def dependencies(self, run_id: int) -> Sequence[Dependency]:
        return self._dependencies

    def result_of_run(self, run_id: int) -> ResultRecord | None:
        if self.body is None:
            return None
        stored = json.loads(canonical_json(self.body))
        recorded = content_hash(stored)
        return ResultRecord(5, run_id, self._kind, "BTC/USDT", NOW, 1, NOW, recorded, stored, [], None)

    def run(self, run_id: int) -> Any:
        return RUN


def replayed(shelf: _Shelf, **how: bool) -> Replayed:
    return replay_decision(RUN.id, cast("RunStore", shelf), cast("ResultStore", shelf), **how)


@pytest.mark.requirement("D2")
def test_it_comes_out_the_same_to_the_byte() -> None:
    dependencies = [a_context(), a_ballot("trend"), a_ballot("risk", "SELL", 0.7), a_ballot("reversal")]
    again = replayed(_Shelf(decided(*dependencies), *dependencies))
    assert (again.same, again.differing, again.hash) == (True, (), again.stored_hash)
    assert ReplayedDecision(again).lines() == [
        f"decision 99 BTC/USDT comes out the same to the byte (sha256 {again.hash})"
    ]


@pytest.mark.requirement("D2")
def test_an_input_that_was_changed_since_is_told_by_the_fields_it_changes() -> None:
    dependencies = [a_context(), a_ballot("trend"), a_ballot("risk"), a_ballot("reversal")]
    shelf = _Shelf(
        decided(*dependencies), a_context(), a_ballot("trend"), a_ballot("risk", "SELL"), a_ballot("reversal")
    )
    again = replayed(shelf)
    assert not again.same
    assert {"agreement", "votes"} <= set(again.differing)
    assert "does NOT come out the same" in repr(ReplayedDecision(again))
    assert "agreement" in repr(ReplayedDecision(again))


@pytest.mark.requirement("D2")
def test_a_changed_figure_of_the_decision_itself_is_told() -> None:
    dependencies = [a_context(), a_ballot("trend"), a_ballot("risk"), a_ballot("reversal")]
    again = replayed(_Shelf(decided(*dependencies) | {"confidence": 0.99}, *dependencies))
    assert again.differing == ("confidence",)


def test_without_the_fallbacks_answers_it_is_the_decision_that_would_have_been() -> None:
    doubted = a_ballot("risk", **BY_FALLBACK, **DISTRUST)
    dependencies = [a_context(), a_ballot("trend"), a_ballot("reversal"), doubted]
    again = replayed(_Shelf(decided(*dependencies), *dependencies), without_fallback=True)
    assert again.stored["degraded_inference"] is True
    assert again.body["degraded_inference"] is False
    assert again.body["confidence"] > again.stored["confidence"]
    assert {"run": doubted.run_id, "absent": LEFT_OUT} in again.body["votes"]
    first, as_it_was, without = ReplayedDecision(again).lines()
    assert first == "decision 99 BTC/USDT, had no fallback model answered:"
    assert as_it_was.split()[:3] == ["as", "it", "was"]
    assert without.split()[:2] == ["without", "BUY"]


def test_had_only_fallbacks_answered_there_would_have_been_no_quorum() -> None:
    doubted = [a_ballot(voter, **BY_FALLBACK, **DISTRUST) for voter in ("trend", "risk", "reversal")]
    dependencies = [a_context(), *doubted]
    again = replayed(_Shelf(decided(*dependencies), *dependencies), without_fallback=True)
    assert (again.stored["signal"], again.body["signal"], again.body["tradable"]) == ("BUY", "HOLD", False)


@pytest.mark.parametrize(
    ("shelf", "told"),
    [
        (_Shelf(None), "is a trading_decision without a result, no decision"),
        (_Shelf({}, kind="technical_analysis"), "is a technical_analysis, no decision"),
        (_Shelf({"signal": "BUY"}), "stored without its rules, by an older version"),
    ],
)
def test_what_is_no_decision_that_can_be_made_again_is_refused_with_the_reason(shelf: _Shelf, told: str) -> None:
    with pytest.raises(InputError, match=told):
        replayed(shelf)


def test_a_failed_vote_stays_absent_in_a_replay() -> None:
    failed = replace(a_ballot("risk"), state=State.FAILED, reason="no answer", body=None, result_id=None)
    dependencies = [a_context(), a_ballot("trend"), a_ballot("reversal"), failed]
    assert replayed(_Shelf(decided(*dependencies), *dependencies)).same
