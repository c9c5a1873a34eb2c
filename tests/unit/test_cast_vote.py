"""One vote: asked once, paid once, and nothing unusable believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from market_examples import a_regime, a_signal
from support.examples import StillMarket, shipped_settings
from support.worlds import SLOT, MemoryWorld, analysis, taken

from aaos.adapters.memory import ScriptedSovereign
from aaos.domain.runs import ClaimedRun, Completed
from aaos.domain.sovereign import ModelRequest
from aaos.errors import FenceLost, InvariantViolation, SovereignInvalidResponse, SovereignTimeout
from aaos.services.cast_vote import cast_vote

SETTINGS = shipped_settings()
SAID: dict[str, Any] = {"signal": "BUY", "confidence": 0.8, "risk_score": 0.25, "reasoning": "rising", "mood": "fine"}


class Ballot:
    """A frozen context and one vote to be cast on it."""

    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.runs = self.world.runs()
        instant = {"as_of": SLOT.isoformat(), "market_time": SLOT.isoformat()}
        candles = StillMarket().candles("BTC/USDT", SLOT, 100)
        body = {
            "symbol": "BTC/USDT",
            **instant,
            "candles": {"timeframe": "1m", "rows": candles.rows()},
            "technical": a_signal().to_dict() | instant,
            "regime": a_regime().to_dict() | instant,
        }
        self.context, _ = self.runs.insert_request(analysis("trading_context", request_key="context"))
        self.runs.complete(taken(self.runs, self.context), Completed(body), publish=False)
        params = {"context_run": self.context, "voter": "risk"}
        self.run_id, _ = self.runs.insert_request(analysis("trading_analysis", request_key="vote", params=params))

    def claim(self) -> ClaimedRun:
        return taken(self.runs, self.run_id)

    def cast(self, sovereign: ScriptedSovereign, claim: ClaimedRun | None = None) -> Completed:
        world = self.world
        return cast_vote(claim or self.claim(), world.results, sovereign, world.ledger, SETTINGS)

    def calls(self) -> list[object]:
        return [call["state"] for call in self.world.ledger.calls(self.run_id)]


@pytest.fixture
def ballot() -> Ballot:
    return Ballot()


def test_a_vote_says_what_was_said_who_said_it_and_on_what(ballot: Ballot) -> None:
    sovereign = ScriptedSovereign(json.dumps(SAID))
    vote = ballot.cast(sovereign)
    assert {key: vote.body[key] for key in ("signal", "confidence", "risk_score", "reasoning")} == {
        key: SAID[key] for key in ("signal", "confidence", "risk_score", "reasoning")
    }
    assert (vote.body["voter"], vote.body["stance"], vote.body["model"]) == ("risk", "risk", "sovereign-32b")
    assert vote.body["extras"] == {"mood": "fine"}
    assert vote.body["content"] == json.dumps(SAID)
    assert vote.body["prompt_hash"] == sovereign.asked[0].prompt_hash
    assert vote.body["fallback_used"] is False
    [lineage] = vote.inputs
    context = ballot.world.results.result(lineage.result_id or 0)
    assert (lineage.name, lineage.content_hash) == ("context", context.content_hash)
    assert ballot.calls() == ["answered"]


@pytest.mark.requirement("FM-TAW-007")
def test_an_answer_that_an_earlier_attempt_paid_for_is_not_asked_for_again(ballot: Ballot) -> None:
    sovereign = ScriptedSovereign(json.dumps(SAID), json.dumps(SAID | {"signal": "SELL"}))
    first = ballot.cast(sovereign)
    ballot.world.pass_time(16)  # the worker dies before it can store its vote
    second = ballot.cast(sovereign)
    assert second == first
    assert len(sovereign.asked) == 1
    assert ballot.calls() == ["answered"]


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_a_worker_overtaken_while_sovereign_thought_has_its_answer_refused(ballot: Ballot) -> None:
    stale = ballot.claim()

    def overtaken(request: ModelRequest) -> str:
        ballot.world.pass_time(16)
        ballot.cast(ScriptedSovereign(json.dumps(SAID | {"signal": "SELL"})), ballot.claim())
        return json.dumps(SAID)

    with pytest.raises(FenceLost):
        ballot.cast(ScriptedSovereign(overtaken), stale)
    assert ballot.calls() == ["abandoned", "answered"]


@pytest.mark.requirement("FM-TAW-007")
def test_a_worker_that_was_overtaken_does_not_ask_at_all(ballot: Ballot) -> None:
    stale = ballot.claim()
    ballot.world.pass_time(16)
    ballot.claim()
    sovereign = ScriptedSovereign(json.dumps(SAID))
    with pytest.raises(FenceLost, match="not asked"):
        ballot.cast(sovereign, stale)
    assert sovereign.asked == []


def test_a_failed_call_is_in_the_ledger_and_the_next_attempt_asks_again(ballot: Ballot) -> None:
    sovereign = ScriptedSovereign(SovereignTimeout("no answer within 120 s"), json.dumps(SAID))
    with pytest.raises(SovereignTimeout):
        ballot.cast(sovereign)
    ballot.world.pass_time(16)
    assert ballot.cast(sovereign).body["signal"] == "BUY"
    assert ballot.calls() == ["failed", "answered"]
    assert [call["error_code"] for call in ballot.world.ledger.calls(ballot.run_id)] == ["sovereign_timeout", None]


def test_what_an_unusable_answer_said_is_kept_with_its_error(ballot: Ballot) -> None:
    with pytest.raises(SovereignInvalidResponse):
        ballot.cast(ScriptedSovereign(SovereignInvalidResponse("not JSON", raw="<html>")))
    [call] = ballot.world.database.tables.calls.values()
    assert call.state == "failed"
    assert "not JSON" in (call.error_message or "")
    assert "<html>" in (call.error_message or "")


@pytest.mark.requirement("D4")
@pytest.mark.parametrize("content", ["no idea", '{"signal": "BUY"}', json.dumps(SAID | {"confidence": 85})])
def test_an_answer_that_is_no_vote_fails_the_run_and_is_kept_as_it_was(ballot: Ballot, content: str) -> None:
    with pytest.raises(SovereignInvalidResponse):
        ballot.cast(ScriptedSovereign(content))
    [call] = ballot.world.database.tables.calls.values()
    assert call.answer is not None
    assert call.answer.content == content


def test_a_vote_without_a_context_breaks_an_invariant(ballot: Ballot) -> None:
    params = {"context_run": 4711, "voter": "risk"}
    run_id, _ = ballot.runs.insert_request(analysis("trading_analysis", request_key="other", params=params))
    with pytest.raises(InvariantViolation, match="4711 has no result"):
        ballot.cast(ScriptedSovereign("{}"), taken(ballot.runs, run_id))


def test_voters_are_asked_different_things(ballot: Ballot) -> None:
    sovereign = ScriptedSovereign(json.dumps(SAID))
    for voter in SETTINGS.voters:
        spec = analysis("trading_analysis", request_key=voter, params={"context_run": ballot.context, "voter": voter})
        run_id, _ = ballot.runs.insert_request(spec)
        ballot.cast(sovereign, taken(ballot.runs, run_id))
    assert len({request.prompt_hash for request in sovereign.asked}) == len(SETTINGS.voters)
