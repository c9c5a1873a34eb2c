"""What a decision rests on, and whether that is still what it was."""

from __future__ import annotations

import pytest
from shell_examples import SYMBOL, StoredResults, a_decision_story, from_result, stored, tampered

from aaos.services.explain_run import explain
from aaos.shell.explanation import Explained, Node, tree_lines


def test_the_chain_reaches_from_the_decision_down_to_the_candles() -> None:
    decision, results = a_decision_story()
    explanation = explain(decision, results)
    names = [link.name for link in explanation.links()]
    assert {"trading_context", "trend", "reversal", "technical_analysis", "regime_detection", "candles"} <= set(names)
    assert explanation.intact
    assert explanation.problems() == []


def test_each_result_is_followed_once_and_an_earlier_slots_regime_not_at_all() -> None:
    decision, results = a_decision_story()
    links = list(explain(decision, results).links())
    assert sum(link.name == "technical_analysis" for link in links) == 1
    before = next(link for link in links if link.name == "regime_before")
    assert (before.check, before.inputs) == ("verified", ())


def test_candles_quoted_by_the_context_are_hashed_again_others_are_known_by_hash_only() -> None:
    decision, results = a_decision_story()
    explanation = explain(decision, results)
    context, technical = explanation.find("trading_context"), explanation.find("technical_analysis")
    assert context is not None
    assert technical is not None
    assert [link.check for link in context.inputs if link.name == "candles"] == ["verified"]
    assert [link.check for link in technical.inputs] == ["by hash only"]


@pytest.mark.parametrize(("result_id", "name"), [(1, "technical_analysis"), (3, "regime_detection"), (5, "trend")])
def test_an_input_changed_afterwards_is_named_even_if_its_stored_hash_was_left_alone(result_id: int, name: str) -> None:
    decision, results = a_decision_story()
    results.rows[result_id] = tampered(results.rows[result_id], confidence=0.99)
    (problem,) = explain(decision, results).problems()
    assert problem.startswith(f"{name} (result {result_id}) is not what it was")


def test_an_input_replaced_together_with_its_hash_is_named_too() -> None:
    decision, results = a_decision_story()
    before = results.rows[1]
    results.rows[1] = stored(1, before.kind, {**before.body, "score": 130.0}, *map(dict, before.inputs))
    assert "technical_analysis (result 1) is not what it was" in explain(decision, results).problems()[0]


def test_candles_changed_inside_a_context_are_named() -> None:
    decision, results = a_decision_story()
    context = results.rows[4]
    rows = [list(row) for row in context.body["candles"]["rows"]]
    rows[0][4] += 1
    results.rows[4] = tampered(context, candles={"timeframe": "1m", "rows": rows})
    named = " ".join(explain(decision, results).problems())
    assert "trading_context" in named
    assert "candles is not what it was" in named


def test_an_input_that_is_gone_is_named() -> None:
    decision, results = a_decision_story()
    del results.rows[3]
    assert explain(decision, results).problems() == ["regime_detection (result 3) is not stored any more"]


def test_a_decision_that_was_changed_itself_says_so() -> None:
    decision, results = a_decision_story()
    explanation = explain(tampered(decision, signal="SELL"), results)
    assert not explanation.intact
    assert explanation.problems() == ["result 9 does not have its own content hash any more"]


def test_a_result_that_leads_back_to_itself_ends_the_walk() -> None:
    one = stored(1, "regime_detection", {"a": 1})
    two = stored(2, "regime_detection", {"b": 2}, from_result("regime_detection", one))
    looped = stored(1, "regime_detection", {"a": 1}, from_result("regime_detection", two))
    links = list(explain(two, StoredResults(looped, two)).links())
    assert [link.result_id for link in links] == [1, 2]


def test_the_tree_reads_in_the_order_in_which_the_decision_came_about() -> None:
    decision, results = a_decision_story()
    text = "\n".join(Explained(explain(decision, results)).lines())
    stages = [
        "candles:",
        "indicators:",
        "regime:",
        "context, frozen",
        "Sovereign's answers",
        "adjustments",
        "decision:",
    ]
    places = [text.index(f"├─ {stage}") for stage in stages]
    assert places == sorted(places)
    assert text.startswith("trading_decision: ")
    assert SYMBOL in text.splitlines()[0]
    for shown in (
        "hidden_hand × 0.5",
        "said: trend thinks so",
        "absent: run 108",
        "Hidden Hand warning: BUY in",
        "rsi ",
    ):
        assert shown in text, shown
    assert text.splitlines()[-1] == "└─ every stored input has the content that was recorded"


@pytest.mark.parametrize("result_id", [1, 3, 4, 5])
def test_every_kind_of_result_can_be_explained(result_id: int) -> None:
    _, results = a_decision_story()
    result = results.rows[result_id]
    lines = Explained(explain(result, results)).lines()
    assert lines[0].startswith(result.kind)
    assert len(lines) > 3


def test_a_decision_whose_context_is_gone_is_still_explained_with_the_problem_named() -> None:
    decision, results = a_decision_story()
    for result_id in (4, 5, 6):
        del results.rows[result_id]
    lines = Explained(explain(decision, results)).lines()
    assert sum("PROBLEM" in line for line in lines) == 3


def test_a_models_words_reach_the_terminal_without_control_characters() -> None:
    decision, results = a_decision_story()
    results.rows[5] = tampered(results.rows[5], reasoning="buy\x1b[31m now\n\n\u202e!")
    text = "\n".join(Explained(explain(decision, results)).lines())
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "said: buy?[31m now ?!" in text


def test_the_json_form_holds_bodies_hashes_and_checks_all_the_way_down() -> None:
    decision, results = a_decision_story()
    told = explain(decision, results).to_dict()
    assert (told["id"], told["run_id"], told["intact"], told["problems"]) == (9, 109, True, [])
    context = next(each for each in told["inputs"] if each["name"] == "trading_context")
    assert context["body"] == results.rows[4].body
    assert {each["name"]: each["check"] for each in context["inputs"]}["candles"] == "verified"


def test_long_lines_fold_under_their_own_branch() -> None:
    lines = tree_lines(Node("top", (Node("word " * 30, (Node("leaf"),)), Node("end"))), width=60)
    assert max(map(len, lines)) <= 60
    assert [line[:3] for line in lines] == ["top", "├─ ", *["│  "] * (len(lines) - 3), "└─ "]
