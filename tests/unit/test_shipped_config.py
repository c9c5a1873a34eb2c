"""config/*.yaml: what operators read is what the code takes for granted."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from aaos.domain.calibration import CalibrationRules
from aaos.domain.decision import DecisionRules
from aaos.domain.market import MarketSettings
from aaos.domain.regime import RegimeParams
from aaos.domain.runs import RunRules
from aaos.domain.signals import SignalParams
from aaos.domain.sovereign import SovereignSettings

CONFIG = Path(__file__).parents[2] / "config"
SECTIONS = {
    "market": MarketSettings,
    "signals": SignalParams,
    "regime": RegimeParams,
    "decision": DecisionRules,
    "runs": RunRules,
    "sovereign": SovereignSettings,
    "calibration": CalibrationRules,
}


@pytest.mark.requirement("F16")
@pytest.mark.parametrize("section", SECTIONS)
def test_the_file_says_what_the_defaults_say_and_comments_every_key(section: str) -> None:
    text = (CONFIG / f"{section}.yaml").read_text(encoding="utf-8")
    schema = SECTIONS[section]
    assert TypeAdapter(schema).validate_python(yaml.safe_load(text)) == schema()
    for line in text.splitlines():
        assert not line.strip() or "#" in line, f"{section}.yaml: no comment beside {line!r}"
    assert set(yaml.safe_load(text)) == {field.name for field in fields(schema)}


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
        ("sovereign", "primary_time_share", 0.0),
        ("sovereign", "breaker", {"open_s": 0}),
        ("sovereign", "limits", {"concurrent": 0}),
        ("sovereign", "budget", {"tokens_per_dayy": 5}),
    ],
)
def test_values_out_of_range_are_refused(section: str, key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        TypeAdapter(SECTIONS[section]).validate_python({key: value})


def test_enough_candles_for_every_analysis_are_the_fewest_accepted() -> None:
    needed = max(SignalParams().candles_needed, RegimeParams().candles_needed)
    assert MarketSettings().min_candles >= needed
