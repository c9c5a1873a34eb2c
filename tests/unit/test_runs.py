"""The rules of runs."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from aaos.domain.runs import Dependency, Input, RunRules, State, first_unmet, retry_delay_s

NEEDED = Dependency(1, "technical_analysis", "BTC/USDT", True, State.COMPLETED, None, 1, None, None, None)


@pytest.mark.parametrize(
    ("state", "final"),
    [("pending", False), ("running", False), ("completed", True), ("failed", True), ("skipped", True)],
)
def test_three_states_are_final(state: str, final: bool) -> None:
    assert State(state).final is final


@pytest.mark.requirement("F03")
def test_a_required_dependency_that_did_not_complete_is_unmet_and_an_optional_one_is_not() -> None:
    failed = replace(NEEDED, run_id=2, state=State.FAILED)
    skipped = replace(NEEDED, run_id=3, state=State.SKIPPED)
    assert first_unmet([]) is None
    assert first_unmet([NEEDED]) is None
    assert first_unmet([NEEDED, failed, skipped]) is failed
    assert first_unmet([NEEDED, skipped]) is skipped
    assert first_unmet([NEEDED, replace(failed, required=False)]) is None


def test_pauses_double_and_end_at_a_lease() -> None:
    rules = RunRules(retry_delay_s=2, lease_s=15)
    assert [retry_delay_s(rules, attempt) for attempt in (1, 2, 3, 4, 5)] == [2, 4, 8, 15, 15]


@given(st.integers(0, 20), st.floats(0, 300))
def test_a_pause_is_never_negative_nor_longer_than_a_lease(attempt: int, first_s: float) -> None:
    rules = RunRules(retry_delay_s=first_s)
    assert 0 <= retry_delay_s(rules, attempt) <= rules.lease_s
    assert retry_delay_s(rules, attempt) <= retry_delay_s(rules, attempt + 1)


def test_a_heartbeat_slower_than_half_a_lease_is_refused() -> None:
    RunRules(lease_s=10, heartbeat_s=5)
    with pytest.raises(ValueError, match=r"heartbeat_s = 5.1 must be at most half of lease_s = 10"):
        RunRules(lease_s=10, heartbeat_s=5.1)


@pytest.mark.requirement("F16")
@pytest.mark.parametrize(
    "wrong", [{"lease_s": 0.5}, {"max_attempts": 0}, {"max_concurrent_tasks": 0}, {"sweep_s": 0}, {"surprise": 1}]
)
def test_values_outside_their_range_and_unknown_keys_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TypeAdapter(RunRules).validate_python(wrong)


@pytest.mark.requirement("F16")
def test_the_shipped_file_says_what_the_defaults_say_and_comments_every_key() -> None:
    text = (Path(__file__).parents[2] / "config" / "runs.yaml").read_text(encoding="utf-8")
    assert TypeAdapter(RunRules).validate_python(yaml.safe_load(text)) == RunRules()
    assert set(yaml.safe_load(text)) == {field.name for field in fields(RunRules)}
    assert all("#" in line for line in text.splitlines() if line.strip())


def test_an_input_is_plain_json() -> None:
    given_input = Input("candles", "abc", "2026-01-01T00:00:00+00:00", 7)
    assert given_input.to_dict() == {
        "name": "candles",
        "content_hash": "abc",
        "as_of": "2026-01-01T00:00:00+00:00",
        "result_id": 7,
    }
