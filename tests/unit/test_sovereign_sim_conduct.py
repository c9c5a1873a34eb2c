"""How the simulated models behave: their latency, their modes and shares, and scripts of them."""

from __future__ import annotations

import statistics

import pytest
from sovereign_sim_examples import modes

from aaos.local.sovereign_behaviour import Behaviour
from aaos.local.sovereign_conduct import MODELS_MAX, Conduct
from aaos.local.sovereign_latency import LATENCY_MAX_MS, read_latency

# --- latency --------------------------------------------------------------------------------------------


def test_a_lognormal_has_the_median_and_the_99th_percentile_it_was_given():
    latency = read_latency("lognormal:800:4000")
    delays = [latency.sample_ms(f"seed {n}", 0) for n in range(4_000)]
    cuts = statistics.quantiles(delays, n=100)
    assert statistics.median(delays) == pytest.approx(800, rel=0.05)
    assert cuts[98] == pytest.approx(4000, rel=0.15)


def test_a_uniform_fills_its_range():
    delays = [read_latency("uniform:100:300").sample_ms(f"seed {n}", 0) for n in range(500)]
    assert 100 <= min(delays) < 110
    assert 290 < max(delays) <= 300


def test_tokens_take_their_time():
    assert read_latency("tokens:200:50").sample_ms("", 100) == 200 + 1000 * 100 / 50


def test_the_same_seed_gives_the_same_delay_and_another_one_another():
    latency = read_latency("lognormal:800:4000")
    assert latency.sample_ms("a", 0) == latency.sample_ms("a", 0) != latency.sample_ms("b", 0)


def test_no_delay_exceeds_the_longest():
    assert max(read_latency("lognormal:1:600000").sample_ms(f"{n}", 0) for n in range(5_000)) <= LATENCY_MAX_MS
    assert read_latency("tokens:0:0.001").sample_ms("", 10**9) == LATENCY_MAX_MS


@pytest.mark.parametrize("text", ["fixed:150", "uniform:1:2", "lognormal:800:4000", "tokens:200:40", "own"])
def test_a_latency_is_written_as_it_is_read(text):
    assert str(read_latency(text)) == text


@pytest.mark.parametrize(
    "value",
    [
        *("", "fast", "fixed", "fixed:x", "fixed:-1", "fixed:nan", "fixed:1:2", "own:1"),
        *("uniform:3:2", "lognormal:0:5", "lognormal:9:5", "tokens:1:0", "fixed:1e9", -1, True, None, float("nan")),
    ],
)
def test_a_latency_that_makes_no_sense_is_refused_with_the_forms_it_can_have(value):
    with pytest.raises(ValueError, match="lognormal:P50:P99"):
        read_latency(value)


# --- behaviour ------------------------------------------------------------------------------------------


def test_a_share_is_spread_evenly_and_exactly():
    conduct = Conduct(Behaviour(mode="500", share=0.1))
    assert [modes(conduct, 10).count("500") for _ in range(20)] == [1] * 20


def test_a_share_that_doubles_cannot_hold_is_exact_all_the_same():
    assert modes(Conduct(Behaviour(mode="500", share=0.29)), 100).count("500") == 29


def test_share_zero_never_and_share_one_always_misbehaves():
    assert modes(Conduct(Behaviour(mode="500", share=0.0)), 50) == ["ok"] * 50
    assert modes(Conduct(Behaviour(mode="500")), 50) == ["500"] * 50


def test_after_its_count_the_mode_is_ok_again_and_the_latency_stays():
    conduct = Conduct(Behaviour(latency=read_latency(5), mode="nan", count=2))
    assert modes(conduct, 4) == ["nan", "nan", "ok", "ok"]
    assert conduct.behaviour == Behaviour(latency=read_latency(5))


def test_a_mode_for_one_model_leaves_the_others_alone():
    conduct = Conduct(Behaviour())
    conduct.change({"mode": "hang", "model": "big"})
    assert (modes(conduct, 1, "big"), modes(conduct, 1, "small")) == (["hang"], ["ok"])


def test_several_models_misbehave_at_once_each_in_its_way():
    conduct = Conduct(Behaviour())
    conduct.change({"models": {"big": {"mode": "500", "share": 0.5}, "small": {"mode": "nan", "count": 1}}})
    assert modes(conduct, 4, "big") == ["ok", "500", "ok", "500"]
    assert modes(conduct, 3, "small") == ["nan", "ok", "ok"]


def test_when_one_of_several_makes_no_sense_none_is_changed():
    conduct = Conduct(Behaviour())
    with pytest.raises(ValueError, match="mode must be one of"):
        conduct.change({"models": {"big": {"mode": "500"}, "small": {"mode": "angry"}}})
    assert modes(conduct, 1, "big") == ["ok"]


def test_a_mode_for_all_ends_what_single_models_were_given():
    conduct = Conduct(Behaviour())
    conduct.change({"mode": "hang", "model": "big"})
    conduct.change({"mode": "ok"})
    assert modes(conduct, 1, "big") == ["ok"]


def test_a_latency_for_all_reaches_the_models_with_a_mode_of_their_own():
    conduct = Conduct(Behaviour())
    conduct.change({"mode": "nan", "model": "big"})
    conduct.change({"latency_ms": 7})
    assert [conduct.next(model) for model in ("big", "small")] == [("nan", read_latency(7)), ("ok", read_latency(7))]


def test_a_new_mode_begins_afresh_and_other_changes_add_to_what_is():
    start = Behaviour(latency=read_latency(5), mode="500", share=0.5, count=9)
    assert start.changed({"count": 3}) == Behaviour(latency=read_latency(5), mode="500", share=0.5, count=3)
    assert start.changed({"mode": "429"}) == Behaviour(latency=read_latency(5), mode="429")


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "angry"},
        {"mode": None},
        {"mode": []},
        {"share": 1.1},
        {"share": float("nan")},
        {"share": True},
        {"latency_ms": -1},
        {"latency_ms": "5"},
        {"latency": "slow"},
        {"count": 0},
        {"count": 1.5},
        {"model": 5},
        {"models": {}},
        {"models": {"big": 5}},
        {"speed": 1},
    ],
)
def test_a_behaviour_that_makes_no_sense_is_refused_by_name(change):
    name = next(iter(change)).removesuffix("_ms")
    with pytest.raises(ValueError, match=name):
        Conduct(Behaviour()).change(change)


def test_a_model_that_is_not_served_is_not_given_a_behaviour():
    with pytest.raises(ValueError, match="'smal' is not served here; served: big, small"):
        Conduct(Behaviour(), models=("big", "small")).change({"mode": "500", "model": "smal"})


def test_no_more_models_than_a_process_can_remember_get_a_behaviour():
    conduct = Conduct(Behaviour())
    for n in range(MODELS_MAX):
        conduct.change({"mode": "500", "model": f"m{n}"})
    with pytest.raises(ValueError, match="more than 64 models"):
        conduct.change({"mode": "500", "model": "one more"})
    with pytest.raises(ValueError, match="more than 64 models"):
        conduct.set_down({"model": "one more"}, down=True)


# --- scripts --------------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_script_goes_through_its_steps_by_calls_and_then_is_over():
    conduct = Conduct(Behaviour())
    conduct.follow({"steps": [{"mode": "500", "calls": 2}, {"mode": "nan", "calls": 1}]})
    assert modes(conduct, 5) == ["500", "500", "nan", "ok", "ok"]


def test_a_script_goes_through_its_steps_by_time_whoever_asks():
    clock = Clock()
    conduct = Conduct(Behaviour(), clock=clock)
    steps = [{"mode": "500", "seconds": 10}, {"mode": "hang", "seconds": 5}, {"mode": "nan"}]
    conduct.follow({"model": "big", "steps": steps})
    seen = []
    for clock.now in (100, 109.9, 110, 114.9, 115, 99_999):
        seen += modes(conduct, 1, "big")
    assert seen == ["500", "500", "hang", "hang", "nan", "nan"]
    assert modes(conduct, 1, "small") == ["ok"]


def test_a_script_that_repeats_begins_again_and_skips_whole_rounds_at_once():
    clock = Clock()
    conduct = Conduct(Behaviour(), clock=clock)
    conduct.follow({"repeat": True, "steps": [{"mode": "500", "seconds": 1}, {"mode": "ok", "seconds": 1}]})
    seen = []
    for clock.now in (100.5, 101.5, 102.5, 10_000_000_100.5, 10_000_000_101.5):
        seen += modes(conduct, 1)
    assert seen == ["500", "ok", "500", "500", "ok"]


def test_a_step_has_its_own_share_and_latency():
    conduct = Conduct(Behaviour(latency=read_latency(3)))
    steps = [{"mode": "500", "share": 0.5, "calls": 4, "latency": "fixed:9"}, {"mode": "nan"}]
    conduct.follow({"steps": steps})
    nine, three = read_latency(9), read_latency(3)
    assert [conduct.next("m") for _ in range(5)] == [
        *[("ok", nine), ("500", nine), ("ok", nine), ("500", nine)],
        ("nan", three),
    ]


def test_scripts_for_several_models_run_side_by_side_and_a_new_mode_ends_one():
    conduct = Conduct(Behaviour())
    script = {"repeat": True, "steps": [{"mode": "500", "calls": 1}, {"mode": "ok", "calls": 1}]}
    conduct.follow({"models": {"big": script, "small": script}})
    assert modes(conduct, 3, "big") == ["500", "ok", "500"]
    conduct.change({"mode": "ok", "model": "small"})
    assert modes(conduct, 2, "small") == ["ok", "ok"]
    assert conduct.to_dict()["models"]["big"]["script"] == {"step": 2, "steps": 2, "repeat": True}


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "steps must be a list"),
        ({"steps": []}, "steps must be a list"),
        ({"steps": [5]}, "number 1 must be an object"),
        ({"steps": [{"mode": "angry", "calls": 1}]}, "number 1: mode must be one of"),
        ({"steps": [{"mode": "ok"}, {"mode": "500"}]}, "number 1 needs calls or seconds"),
        ({"steps": [{"mode": "ok"}], "repeat": True}, "number 1 needs calls or seconds"),
        ({"steps": [{"mode": "ok", "calls": 1, "seconds": 1}]}, "give one of them"),
        ({"steps": [{"mode": "ok", "calls": 0}]}, "calls must be"),
        ({"steps": [{"mode": "ok", "seconds": 0}]}, "seconds must be"),
        ({"steps": [{"mode": "ok", "count": 1}]}, "unknown: count"),
        ({"steps": [{"mode": "ok"}], "repeat": 1}, "repeat must be"),
    ],
)
def test_a_script_that_makes_no_sense_is_refused_by_name(wanted, says):
    with pytest.raises(ValueError, match=says):
        Conduct(Behaviour()).follow(wanted)
