"""Stored rows as typed values that print well."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest
from shell_examples import SLOT, a_decision_story, stored

from aaos.domain.runs import State
from aaos.local.status import ProcessStatus, StackStatus
from aaos.ports import RunRecord
from aaos.shell.lists import ResultList, RunList, shortened
from aaos.shell.results import AnalysisResult, DecisionResult, RegimeResult, Result, VoteResult, typed
from aaos.shell.runs import Run
from aaos.shell.status import QueueStatus, ServerStatus, Status
from aaos.shell.tables import as_text, table

DECISION, RESULTS = a_decision_story()
RECORD = RunRecord(
    7, "technical_analysis", "BTC/USDT", SLOT, State.COMPLETED, 1, None, None, "host:1:x", None, SLOT, SLOT,
    SLOT.replace(second=2), 3,
)  # fmt: skip


def test_a_technical_analysis_has_score_signal_and_contributions() -> None:
    result = typed(RESULTS.rows[1])
    assert isinstance(result, AnalysisResult)
    assert result.score == pytest.approx(sum(each.points for each in result.contributions))
    assert result.signal == {"long": "BUY", "short": "SELL", "neutral": "HOLD"}[result.direction]
    assert result.confidence == result.confidence_pct / 100
    assert result.as_of == SLOT


def test_a_regime_has_phase_and_volume_trend() -> None:
    result = typed(RESULTS.rows[3])
    assert isinstance(result, RegimeResult)
    assert (result.regime, result.wyckoff_phase, result.volume_trend) == ("trending_up", "distribution", "declining")


def test_a_decision_has_votes_adjustments_and_the_hidden_hand_warning() -> None:
    result = typed(DECISION)
    assert isinstance(result, DecisionResult)
    assert result.hidden_hand_warning == "BUY in distribution on declining volume: potential upthrust"
    assert [vote.signal for vote in result.votes] == ["BUY", "BUY", None]
    assert result.votes[2].absent == "the model did not answer within 120 s"
    assert result.adjustments[0].step == "hidden_hand"
    assert result.risk == "LOW"
    assert "warning: BUY in distribution" in repr(result)


def test_a_vote_is_typed_and_a_kind_without_a_type_is_still_a_result() -> None:
    vote, context = typed(RESULTS.rows[5]), typed(RESULTS.rows[4])
    assert isinstance(vote, VoteResult)
    assert (vote.voter, vote.signal) == ("trend", "BUY")
    assert type(context) is Result


@pytest.mark.parametrize("record", RESULTS.rows.values(), ids=lambda record: f"{record.kind}-{record.id}")
def test_every_result_prints_as_one_line_is_frozen_and_has_the_same_json_keys(record: object) -> None:
    result = typed(record)  # type: ignore[arg-type]
    assert "\n" not in repr(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.id = 5  # type: ignore[misc]
    told = json.loads(json.dumps(result.to_dict()))
    expected = "id run_id kind symbol slot fence analyzed_at published_at content_hash body inputs"
    assert list(told) == expected.split()


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (
            "risk_assessment",
            {"source": "decision:3", "signal": "SELL", "approved": True, "sizing": {"quantity": "2.5", "leverage": 2}},
            "decision:3: SELL approved, 2.5, leverage 2",
        ),
        (
            "risk_assessment",
            {"source": "trade:4", "signal": "BUY", "approved": False, "code": "RISK_DRAWDOWN", "sizing": None},
            "trade:4: BUY refused as RISK_DRAWDOWN",
        ),
        (
            "execution",
            {"source": "decision:3", "placed": True, "order": 7, "side": "sell", "quantity": "2.5", "state": "working"},
            "decision:3: order 7, sell 2.5, working",
        ),
        (
            "execution",
            {"source": "decision:3", "placed": False, "denial": "NO_APPROVAL"},
            "decision:3: refused as NO_APPROVAL",
        ),
        (
            "execution",
            {"source": "decision:3", "placed": None, "order": 7, "side": "sell", "quantity": "2.5"},
            "decision:3: order 7 is quarantined, nobody knows whether it was accepted",
        ),
    ],
)  # fmt: skip
def test_what_risk_and_execution_did_is_said_in_a_line(kind: str, body: dict[str, object], said: str) -> None:
    assert typed(stored(9, kind, body)).headline == said


def test_a_run_that_was_put_back_says_when_it_is_due_and_why() -> None:
    record = replace(RECORD, state=State.PENDING, reason="limit of 16 calls at once reached", due_at=SLOT)
    run = Run.of(record)
    assert run.why == f"due at {SLOT:%Y-%m-%d %H:%M:%SZ}: limit of 16 calls at once reached"
    assert Run.of(replace(record, reason=None)).why == "", "one that just waits for a worker says nothing"
    assert "limit of 16" in as_text(RunList([run]), 200)


def test_a_run_prints_what_became_of_it_and_why() -> None:
    failed = replace(RECORD, state=State.FAILED, failure_source="timeout", reason="not done after 30 s", result_id=None)
    assert repr(Run.of(failed)).endswith("failed, timeout: not done after 30 s)")
    assert Run.of(RECORD).took_s == 2
    assert Run.of(RECORD).to_dict()["slot"] == "2026-01-01T12:00:00+00:00"


def test_only_slots_nobody_took_count_as_missed() -> None:
    missed = Run.of(replace(RECORD, state=State.SKIPPED, reason="missed: nobody ticked this slot"))
    stale = Run.of(replace(RECORD, state=State.SKIPPED, reason="stale input: a gap"))
    assert (missed.missed, stale.missed, Run.of(RECORD).missed) == (True, False, False)


def test_lists_print_as_tables_and_empty_ones_say_so() -> None:
    runs = RunList([Run.of(RECORD)])
    assert repr(runs).splitlines()[0].split()[:4] == ["run", "kind", "symbol", "slot"]
    assert "completed" in repr(runs)
    results = ResultList([typed(each) for each in RESULTS.rows.values()])
    assert len(repr(results).splitlines()) >= 1 + len(results)
    assert (repr(RunList()), repr(ResultList())) == ("no runs", "no results")


def test_brackets_in_a_cell_are_no_markup_and_nothing_is_cut_but_folded() -> None:
    shown = as_text(table(("id", "why"), [[1, "[bold]text[/bold] " + "q" * 200], [None, 1.25]]), width=60)
    assert "[bold]text[/bold]" in shown
    assert shown.count("q") == 200
    assert shown.splitlines()[-1].split() == ["-", "1.2"]


def test_a_narrow_terminal_folds_the_last_column_only() -> None:
    shown = as_text(table(("identifier", "why"), [["A" * 30, "b " * 40]]), width=40)
    assert "A" * 30 in shown


def test_shortened_text_is_one_line_within_its_limit() -> None:
    assert shortened("a\n\tb", 10) == "a b"
    assert shortened("x" * 20, 10) == "x" * 9 + "…"


def test_a_body_of_another_version_that_lacks_a_field_is_an_error_not_a_guess() -> None:
    with pytest.raises(KeyError):
        typed(stored(1, "technical_analysis", {"score": 1.0}))


def test_a_running_stack_is_shown_with_the_memory_of_each_process_and_in_all() -> None:
    process = ProcessStatus("cpu", 12, "ready", 1, 60.0, 101.25, None, 3)
    stack = StackStatus("/state", True, 11, 61.0, 114.0, "http://127.0.0.1:5555", (process,))
    server = ServerStatus("broker", False, "redis://***@h/0", "no answer")
    status = Status(stack, (server,), (QueueStatus("maintenance", None, None, None),), None, ())
    shown = as_text(status, 200)
    for text in ("memory 114.0 MB (PSS)", "cpu      ready", "101.2", "Flower: http://127.0.0.1:5555", "no answer"):
        assert text in shown, text
    assert "results not announced yet: unknown" in shown
    told = json.loads(json.dumps(status.to_dict()))
    assert (told["memory_pss_mb"], told["processes"][0]["memory_pss_mb"]) == (114.0, 101.25)
    assert status.memory_pss_mb == 114.0
