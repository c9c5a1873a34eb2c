"""config/*.yaml: what operators read is what the code takes for granted."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from aaos.domain.calibration import CalibrationRules
from aaos.domain.decision import DecisionRules
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.market import MarketSettings
from aaos.domain.portfolio.rules import PortfolioRules
from aaos.domain.regime import RegimeParams
from aaos.domain.risk.rules import RiskRules
from aaos.domain.runs import RunRules
from aaos.domain.signals import SignalParams
from aaos.domain.sovereign import SovereignSettings
from aaos.domain.venue.rules import PaperRules
from aaos.domain.vetoes import VetoRules

HERE = Path(__file__).parents[2]
CONFIG = HERE / "config"
# What differs from house to house has no default.
CHOICES = {"portfolio": {"targets"}, "paper": {"instruments"}}
SECTIONS = {
    "market": MarketSettings,
    "signals": SignalParams,
    "regime": RegimeParams,
    "decision": DecisionRules,
    "risk": RiskRules,
    "execution": ExecutionRules,
    "portfolio": PortfolioRules,
    "paper": PaperRules,
    "runs": RunRules,
    "sovereign": SovereignSettings,
    "calibration": CalibrationRules,
    "vetoes": VetoRules,
}


@pytest.mark.requirement("F16")
@pytest.mark.parametrize("section", SECTIONS)
def test_the_file_says_what_the_defaults_say_and_comments_every_key(section: str) -> None:
    text = (CONFIG / f"{section}.yaml").read_text(encoding="utf-8")
    schema = SECTIONS[section]
    chosen = CHOICES.get(section, set())
    said = {key: value for key, value in yaml.safe_load(text).items() if key not in chosen}
    assert TypeAdapter(schema).validate_python(said) == schema()
    for line in text.splitlines():
        entry_of_a_choice = bool(chosen) and line.startswith(" ")
        assert not line.strip() or entry_of_a_choice or "#" in line, f"{section}.yaml: no comment beside {line!r}"
    assert set(yaml.safe_load(text)) == {field.name for field in fields(schema)}
    assert TypeAdapter(schema).validate_python(yaml.safe_load(text)), "what ships is accepted"


@pytest.mark.requirement("F16")
@pytest.mark.parametrize("section", ["decision", "execution", "paper", "portfolio", "risk", "vetoes"])
def test_every_key_is_read_by_the_code(section: str) -> None:
    read = {
        node.attr
        for package in ("aaos", "workers")
        for file in (HERE / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert {field.name for field in fields(SECTIONS[section])} <= read


@pytest.mark.requirement("F16")
@pytest.mark.parametrize("section", SECTIONS)
def test_unknown_keys_are_refused(section: str) -> None:
    with pytest.raises(ValidationError, match="surprise"):
        TypeAdapter(SECTIONS[section]).validate_python({"surprise": 1})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("market", "source", "exchange"),
        ("market", "symbols", []),
        ("signals", "rsi_period", 1),
        ("signals", "rsi_oversold", 50.0),
        ("signals", "stoch_overbought", 50.0),
        ("signals", "divergence", {"max_agee": 3}),
        ("regime", "volatile_enter", 1.5),
        ("decision", "min_confidence", float("nan")),
        ("decision", "fallback_multiplier", 0.0),
        ("risk", "base_risk", 0),
        ("risk", "max_leverage", 0.5),
        ("risk", "correlation_limit", float("nan")),
        ("execution", "max_slippage", 0),
        ("execution", "order_max_age_s", float("nan")),
        ("execution", "broker", "live"),
        ("portfolio", "targets", {"BTC/USDT": -0.1}),
        ("portfolio", "drift_threshold", 0),
        ("paper", "taker_fee", "NaN"),
        ("paper", "levels", 0),
        ("sovereign", "primary_time_share", 0.0),
        ("sovereign", "breaker", {"open_s": 0}),
        ("sovereign", "limits", {"concurrent": 0}),
        ("sovereign", "budget", {"tokens_per_dayy": 5}),
        ("vetoes", "horizon_candles", 0),
        ("vetoes", "taker_fee", "0.1"),
    ],
)
def test_values_out_of_range_are_refused(section: str, key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        TypeAdapter(SECTIONS[section]).validate_python({key: value})


def test_enough_candles_for_every_analysis_are_the_fewest_accepted() -> None:
    needed = max(SignalParams().candles_needed, RegimeParams().candles_needed)
    assert MarketSettings().min_candles >= needed
