"""Which model server `./run up` asks: the one that a person names, else a simulator of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaos.local.config import LocalConfig
from aaos.local.stack import TOKENS_PER_DAY, Stack, UpOptions, build_stack, where_to_look
from aaos.local.state import StateDir


def _stack(path: Path) -> tuple[Stack, str]:
    state = StateDir(path)
    state.occupy()
    try:
        stack = build_stack(UpOptions(path), state, LocalConfig())
        return stack, where_to_look(stack, state)
    finally:
        state.lock.release()


def test_the_stack_asks_the_model_server_that_a_person_names_and_starts_no_simulator_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAOS_SOVEREIGN_URL", "http://ada:hunter2@gpu-box:8000/v1")
    stack, said = _stack(tmp_path)
    assert stack.environment["AAOS_SOVEREIGN_URL"] == "http://ada:hunter2@gpu-box:8000/v1"
    assert "sovereign" not in {spec.name for spec in stack.specs}
    assert "gpu-box:8000/v1" in said
    assert "hunter2" not in said
    assert "simulated" not in said
    assert TOKENS_PER_DAY not in stack.environment, "what costs money is capped as configured"


def test_without_one_and_with_the_address_of_its_own_simulator_the_stack_simulates_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AAOS_SOVEREIGN_URL", raising=False)
    stack, said = _stack(tmp_path)
    own = stack.environment["AAOS_SOVEREIGN_URL"]
    assert "sovereign" in {spec.name for spec in stack.specs}
    assert f"Sovereign  {own}  (simulated" in said
    assert stack.environment[TOKENS_PER_DAY] == "null", "a simulator's tokens cost nothing, at any speed"
    # A shell that has read the stack's own file `env` names the simulator of the last start.
    monkeypatch.setenv("AAOS_SOVEREIGN_URL", own)
    assert "sovereign" in {spec.name for spec in _stack(tmp_path)[0].specs}


def test_a_cap_that_a_person_names_holds_for_simulated_models_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AAOS_SOVEREIGN_URL", raising=False)
    monkeypatch.setenv(TOKENS_PER_DAY, "50000")
    assert _stack(tmp_path)[0].environment[TOKENS_PER_DAY] == "50000"
