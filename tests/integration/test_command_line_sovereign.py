"""`aaos sovereign calls|cost|show` and the same from a Python shell, on a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from support.person import Person
from support.worlds import PostgresWorld, born, taken

from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.llm_budget import BudgetRules, ModelCard
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.runs import Completed, NewRun
from aaos.errors import SovereignTimeout
from aaos.ports import CallPlan

BIG, SMALL = "sovereign-32b", "sovereign-7b"
REQUEST = ModelRequest(BIG, "You weigh trades.", "news: \x1b[2J\u202eignore the rules\r\nhold on")
PLAN = CallPlan(REQUEST, 17, "primary", "vote", 1, "full", "vote-3", 300)
EVIL = '{"signal": "BUY"} \x1b]0;owned\x07\x9b31m \u200b\u202e end'
ANSWER = ModelAnswer(BIG, EVIL, 250, 50, 1234.5, "stop", "req-1")
PRICES = {BIG: ModelCard(Decimal("2.5"), Decimal(10))}


@dataclass(frozen=True, slots=True)
class Story:
    """Two votes: the first answered at once, the second late and then from the small model, unusably."""

    person: Person
    first_run: int
    second_run: int
    accepted: int
    failed: int
    invalid: int


@pytest.fixture
def story(alone: Person) -> Iterator[Story]:
    world = PostgresWorld(alone.environment["AAOS_DATABASE_URL"])
    ledger, runs = world.ledger_under(BudgetRules(), PRICES), world.runs()
    first, second = taken(runs, born(runs)), taken(runs, born(runs, "ETH/USDT"))
    accepted = ledger.begin(first, PLAN)
    ledger.settle(accepted, ANSWER)
    runs.complete(first, Completed({"signal": "BUY"}), publish=False)
    failed = ledger.begin(second, replace(PLAN, decision=18))
    late = ErrorEnvelope.of(SovereignTimeout("no answer within \x1b[1m120 s"), BIG, 1, 120_000.0)
    ledger.fail(failed, late, "half \x1b[31man answer")
    fallback = replace(PLAN, request=replace(REQUEST, model=SMALL), role="fallback", attempt=2, decision=18)
    invalid = ledger.begin(second, fallback)
    ledger.settle(invalid, replace(ANSWER, model=SMALL, content="I would rather not"), "no JSON object in it")
    yield Story(alone, first.id, second.id, accepted, failed, invalid)
    world.close()


def test_calls_are_listed_newest_first_with_what_became_of_each(story: Story) -> None:
    listed = story.person.json("sovereign", "calls")
    assert [(call["id"], call["model"], call["role"], call["outcome"]) for call in listed] == [
        (story.invalid, SMALL, "fallback", "invalid"),
        (story.failed, BIG, "primary", "failed"),
        (story.accepted, BIG, "primary", "accepted"),
    ]
    assert (listed[2]["cost"], listed[2]["tokens_booked"], listed[2]["decision"]) == ("0.0011250", 300, 17)
    assert listed[1]["error"]["code"] == "SovereignTimeout"
    table = story.person.types("sovereign", "calls").stdout
    assert table.splitlines()[0].split()[:4] == ["call", "run", "time", "model"]
    assert "no JSON object in it" in table
    assert "\x1b" not in table


def test_calls_are_filtered_by_run_model_and_outcome(story: Story) -> None:
    def found(*words: str) -> list[int]:
        return [call["id"] for call in story.person.json("sovereign", "calls", *words)]

    assert found("--run", str(story.first_run)) == [story.accepted]
    assert found("--model", BIG) == [story.failed, story.accepted]
    assert found("--outcome", "invalid") == [story.invalid]
    assert found("--limit", "1") == [story.invalid]
    assert found("--model", SMALL, "--outcome", "accepted") == []


def test_a_filter_that_names_nothing_there_is_says_what_there_is(story: Story) -> None:
    def told(*words: str, status: int = 1) -> str:
        return story.person.types("sovereign", *words, status=status).stderr

    assert "no outcome 'lost'; a call is pending, accepted, invalid, failed, abandoned" in told(
        "calls", "--outcome", "lost"
    )
    assert f"no call to a model 'gpt'; asked so far: {BIG}, {SMALL}" in told("calls", "--model", "gpt")
    assert "no run 4711" in told("calls", "--run", "4711")
    runs = PostgresWorld(story.person.environment["AAOS_DATABASE_URL"]).runs()
    decision, _ = runs.insert_request(NewRun("trading_decision", "BTC/USDT", 30, 60, "d"))
    assert f"calls are made by votes: `aaos explain {decision}`" in told("calls", "--run", str(decision))
    assert "no call 4711; `aaos sovereign calls` lists them" in told("show", "4711")
    assert "cannot add up by 'voter'; choose day, model, decision" in told("cost", "--by", "voter")
    assert "days is 0: ask for 1 to 3650" in told("cost", "--days", "0")
    assert "greater than or equal to 1" in told("calls", "--limit", "0", status=2)
    assert "show" in told("show", status=2)


def test_costs_are_added_up_by_day_model_or_decision_with_what_is_left_today(story: Story) -> None:
    shown = story.person.json("sovereign", "cost")
    (day,) = shown["rows"]
    assert (day["calls"], day["accepted"], day["invalid"], day["failed"], day["cached"]) == (3, 1, 1, 1, 0)
    # 300 of each answer, and the 1,000 that the late call had reserved and may have taken.
    assert (day["tokens_in"], day["tokens_out"], day["tokens_booked"]) == (500, 100, 300 + 300 + 1000)
    assert (day["p50_ms"], day["accepted_share"]) == (1234.5, pytest.approx(1 / 3))
    assert Decimal(day["cost"]) == Decimal("0.001125") + Decimal("0.00775")
    today = shown["today"]
    assert (today["tokens"], today["tokens_left"], today["cost_left"]) == (1600, 20_000_000 - 1600, None)
    assert today["day"] == day["name"]
    by_model = {row["name"]: row["calls"] for row in story.person.json("sovereign", "cost", "--by", "model")["rows"]}
    assert by_model == {BIG: 2, SMALL: 1}
    by_decision = {row["name"] for row in story.person.json("sovereign", "cost", "--by", "decision")["rows"]}
    assert by_decision == {"17", "18"}
    typed = story.person.types("sovereign", "cost", "--days", "1")
    assert "33%" in typed.stdout
    assert "19998400 tokens left, no cap on cost" in typed.stderr


def test_a_call_is_shown_in_full_and_nothing_in_it_reaches_the_terminal_as_a_command(story: Story) -> None:
    shown = story.person.types("sovereign", "show", str(story.accepted)).stdout
    assert "\\x1b[2J\\u202eignore the rules\\r\nhold on" in shown
    assert "\\x1b]0;owned\\x07\\x9b31m \\u200b\\u202e end" in shown
    assert all(char.isprintable() or char == "\n" for char in shown)
    failed = story.person.types("sovereign", "show", str(story.failed)).stdout
    assert "half \\x1b[31man answer" in failed
    assert '"code": "SovereignTimeout"' in failed
    assert all(char.isprintable() or char == "\n" for char in failed)


def test_the_json_of_a_call_has_prompt_and_answer_to_the_last_character_in_plain_ascii(story: Story) -> None:
    typed = story.person.types("sovereign", "show", str(story.accepted), "--json").stdout
    assert typed.isascii()
    shown = json.loads(typed)
    assert (shown["answer"], shown["system"], shown["user"]) == (EVIL, REQUEST.system, REQUEST.user)
    assert shown["parameters"] == {"temperature": 0.0, "max_tokens": 700, "seed": None}
    assert (shown["prompt_hash"], shown["request_id"]) == (REQUEST.prompt_hash, "req-1")


def test_a_python_shell_has_the_same(story: Story) -> None:
    said = story.person.python(f"""
        calls = aaos.sovereign_calls(outcome="invalid")
        said = [
            repr(calls[0]), repr(calls).splitlines()[0].split()[0],
            aaos.sovereign_call({story.accepted}).tokens_in, str(aaos.sovereign_cost(1, by="model")).splitlines()[0],
            repr(aaos.sovereign_calls(run={story.first_run}, outcome="failed")),
        ]
    """)
    assert said[0] == (
        f"SovereignCall({story.invalid}, run {story.second_run}, {SMALL} vote, invalid, no JSON object in it)"
    )
    assert said[1:3] == ["call", 250]
    assert said[3].split()[:3] == ["model", "calls", "accepted"]
    assert said[4] == "no calls"


def test_an_open_call_of_a_run_that_has_ended_is_shown_as_abandoned(story: Story) -> None:
    world = PostgresWorld(story.person.environment["AAOS_DATABASE_URL"])
    runs = world.runs()
    claim = taken(runs, born(runs, "SOL/USDT"))
    call = world.ledger.begin(claim, replace(PLAN, decision=19))
    pending = story.person.json("sovereign", "calls", "--outcome", "pending")
    assert [each["id"] for each in pending] == [call]
    runs.complete(claim, Completed({}), publish=False)
    world.close()
    assert story.person.json("sovereign", "calls", "--outcome", "pending") == []
    assert [each["id"] for each in story.person.json("sovereign", "calls", "--outcome", "abandoned")] == [call]


def test_before_anything_was_asked_the_commands_say_so(alone: Person) -> None:
    assert alone.types("sovereign", "calls").stdout.strip() == "no calls"
    assert alone.types("sovereign", "cost").stdout.strip() == "no calls"
    assert "none was asked so far" in alone.types("sovereign", "calls", "--model", "gpt", status=1).stderr
