"""The simulated model service: it misbehaves exactly as told, per model, and remembers what it did."""

from __future__ import annotations

import asyncio
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from aaos.domain.model_request import AnswerFormat, ModelRequest
from aaos.domain.tokens import estimate_tokens
from aaos.local.sovereign_answers import CONTENTS, ENVELOPES, say, to_bytes
from aaos.local.sovereign_behaviour import Behaviour
from aaos.local.sovereign_conduct import MODELS_MAX, Conduct
from aaos.local.sovereign_faults import FAULTS
from aaos.local.sovereign_latency import LATENCY_MAX_MS, Latency, read_latency
from aaos.local.sovereign_models import CHARACTERS, vote
from aaos.local.sovereign_modes import GROUPS, MODES, describe
from aaos.local.sovereign_refusals import REFUSALS
from aaos.local.sovereign_request import read_request
from aaos.local.sovereign_sim import SovereignSim
from aaos.local.sovereign_transcript import Transcript
from aaos.local.tiny_http import HttpRequest

LOCAL = "127.0.0.1"
DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs" / "sovereign-sim.md"


def ask(model: str = "sovereign-32b", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hm"}], **more}).encode()


class Answered:
    """Keeps what a request would have been answered."""

    status: int | None = 0
    body: Any = b""
    headers: Any = None
    hung_up = False

    async def __call__(self, status: int, body: object, headers: Any = None) -> None:
        self.status, self.body, self.headers = status, body, headers

    async def send_raw(self, data: bytes) -> None:
        self.body += data

    def hang_up(self, *, reset: bool = False) -> None:
        self.status, self.hung_up = None, True


def sim(conduct: Conduct | None = None, **options: Any) -> SovereignSim:
    return SovereignSim(conduct or Conduct(Behaviour()), Transcript(100), **options)


def exchange(service: SovereignSim, method: str, path: str, body: bytes = b"", peer: str = LOCAL) -> Answered:
    answered = Answered()
    path, _, query = path.partition("?")
    asked = dict(pair.split("=") for pair in query.split("&")) if query else {}
    asyncio.run(service.handle(HttpRequest(method, path, asked, body, peer), answered))
    return answered


def complete(service: SovereignSim, model: str = "sovereign-32b", **more: Any) -> Answered:
    return exchange(service, "POST", "/v1/chat/completions", ask(model, **more))


def steer(service: SovereignSim, path: str, **wanted: Any) -> Answered:
    return exchange(service, "POST", f"/sim/{path}", json.dumps(wanted).encode())


def modes(conduct: Conduct, n: int, model: str = "m") -> list[str]:
    return [conduct.next_mode(model) for _ in range(n)]


# --- modes ----------------------------------------------------------------------------------------------


def test_every_mode_is_done_somewhere_and_nothing_is_done_that_is_no_mode():
    refusals = {*REFUSALS, "model_missing", "context_length"}
    assert set(GROUPS["content"]) == set(CONTENTS)
    assert set(GROUPS["envelope"]) | set(GROUPS["wire"]) <= set(ENVELOPES) | set(FAULTS)
    assert set(GROUPS["status"]) == refusals
    assert {*CONTENTS, *ENVELOPES, *FAULTS, *refusals} == set(MODES)
    assert len(MODES) == sum(map(len, GROUPS.values()))


def test_every_mode_has_one_line_of_meaning_and_the_list_shows_it():
    listed = describe().splitlines()
    for name, meaning in MODES.items():
        assert meaning
        assert any(line.split(maxsplit=1) == [name, meaning] for line in listed), name


def test_every_mode_and_every_model_stands_in_the_documentation_with_its_meaning():
    documented = DOCUMENTATION.read_text(encoding="utf-8")
    for name, meaning in MODES.items():
        assert f"`{name}` | {meaning.replace('<think>', '`<think>`')} |" in documented
    assert all(f"| {name} |" in documented for name in CHARACTERS)


@pytest.mark.parametrize("mode", GROUPS["content"])
def test_no_answer_but_the_cut_off_one_says_that_it_was_cut_off(mode):
    asked = ModelRequest("sovereign-32b", "", "hm", max_tokens=2_000)
    said = say(mode, asked, vote("", "hm", 0), 1, 0)
    choice = said.completion["choices"][0]
    assert choice["finish_reason"] == ("length" if mode == "truncated" else "stop")
    assert said.completion["usage"]["completion_tokens"] == estimate_tokens(choice["message"]["content"])


def test_bytes_that_are_no_utf8_reach_the_wire():
    said = say("invalid_utf8", ModelRequest("m", "", "hm"), vote("", "hm", 0), 1, 0)
    with pytest.raises(UnicodeDecodeError):
        to_bytes(said.completion).decode("utf-8")


def test_an_answer_longer_than_allowed_is_cut_off_at_the_allowed_tokens():
    said = say("ok", ModelRequest("m", "", "hm", max_tokens=20), vote("", "hm", 0), 1, 0)
    choice = said.completion["choices"][0]
    assert choice["finish_reason"] == "length"
    assert 15 <= said.tokens_out == estimate_tokens(choice["message"]["content"]) <= 20


# --- models ---------------------------------------------------------------------------------------------


def test_a_model_that_is_not_served_is_not_found_as_vllm_says_it():
    answered = complete(sim(), "gpt-17")
    assert answered.status == 404
    error = json.loads(answered.body)["error"]
    assert (error["message"], error["type"]) == ("The model `gpt-17` does not exist.", "NotFoundError")


def test_a_model_that_is_not_served_is_not_found_as_ollama_says_it():
    assert b"model 'gpt-17' not found" in complete(sim(dialect="ollama"), "gpt-17").body


def test_any_name_is_served_where_that_was_asked_for():
    assert complete(sim(any_model=True), "gpt-17").status == 200


def test_what_exceeds_the_models_context_window_is_refused_with_the_figures():
    answered = complete(sim(), max_tokens=32_768)
    assert answered.status == 400
    said = f"maximum context length is 32768 tokens. However, you requested {32_768 + estimate_tokens('hm')} tokens"
    assert said.encode() in answered.body


def test_every_model_is_listed():
    listed = json.loads(exchange(sim(), "GET", "/v1/models").body)["data"]
    assert [model["id"] for model in listed] == list(CHARACTERS)


def test_the_hash_of_a_request_with_a_schema_is_the_one_the_asking_side_computes():
    asked = ModelRequest("m", "s", "u", 0.0, 700, 7, AnswerFormat("vote", {"type": "object"}))
    schema = {"name": "vote", "strict": True, "schema": {"type": "object"}}
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    wanted = {"type": "json_schema", "json_schema": schema}
    body = {"model": "m", "messages": messages, "temperature": 0, "max_tokens": 700, "seed": 7}
    assert read_request(json.dumps(body | {"response_format": wanted}).encode()).prompt_hash == asked.prompt_hash


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


# --- steering and transcript ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "status"), [("127.0.0.1", 200), ("127.8.8.8", 200), ("::1", 200), ("10.0.0.7", 403), ("", 403)]
)
def test_only_this_machine_may_steer_it(peer, status):
    service = sim()
    assert exchange(service, "POST", "/sim/behaviour", b'{"mode": "500"}', peer).status == status
    answered = exchange(service, "POST", "/v1/chat/completions", ask(), "10.0.0.7")
    assert answered.status == (500 if status == 200 else 200)


def test_a_model_that_is_down_hangs_up_without_a_word_until_it_is_up_again():
    service = sim()
    steer(service, "down", model="sovereign-32b")
    assert complete(service).hung_up
    assert complete(service, "sovereign-7b").status == 200
    steer(service, "up", model="sovereign-32b")
    assert complete(service).status == 200
    calls = json.loads(exchange(service, "GET", "/sim/transcript").body)["calls"]
    assert [(call["outcome"], call["status"]) for call in calls] == [("down", None), ("ok", 200), ("ok", 200)]


def test_all_models_are_down_and_up_together():
    service = sim()
    assert exchange(service, "POST", "/sim/down").status == 200
    assert all(complete(service, name).hung_up for name in CHARACTERS)
    assert b"POST /sim/up without a model" in steer(service, "up", model="sovereign-7b").body
    exchange(service, "POST", "/sim/up")
    assert complete(service).status == 200


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("behaviour", b"{", b"the body is not JSON"),
        ("behaviour", b"[]", b"expected a JSON object"),
        ("behaviour", b'{"mode": "angry"}', b"mode must be one of ok, prose"),
        ("script", b"{}", b"steps must be a list"),
        ("down", b'{"model": "x"}', b"is not served here; served: sovereign-32b"),
        ("down", b'{"all": true}', b"unknown: all; known: model"),
        ("behaviour", b"[" * 100_000, b"error"),
    ],
)
def test_what_cannot_be_steered_is_said_with_the_remedy(path, body, says):
    answered = exchange(sim(Conduct(Behaviour(), CHARACTERS)), "POST", f"/sim/{path}", body)
    assert answered.status == 400
    assert says in answered.body


def test_the_state_shows_models_behaviour_and_totals():
    service = sim()
    complete(service)
    steer(service, "behaviour", model="sovereign-7b", mode="nan")
    state = json.loads(exchange(service, "GET", "/sim/state").body)
    assert state["served"]["sovereign-7b"]["says"].startswith("hasty")
    assert state["models"]["sovereign-7b"]["mode"] == "nan"
    assert (state["total"], state["waiting"], state["down"]) == (1, 0, [])


def test_the_modes_are_listed_over_http():
    listed = json.loads(exchange(sim(), "GET", "/sim/modes").body)
    assert listed["wire"]["hang"] == MODES["hang"]


def test_the_transcript_names_model_mode_tokens_and_times():
    service = sim()
    steer(service, "behaviour", model="sovereign-7b", mode="502")
    complete(service)
    complete(service, "sovereign-7b")
    fine, failed = json.loads(exchange(service, "GET", "/sim/transcript").body)["calls"]
    assert (fine["model"], fine["mode"], fine["charged"]) == ("sovereign-32b", "ok", True)
    assert fine["tokens_in"] == estimate_tokens("hm")
    assert fine["tokens_out"] > 20
    assert fine["finished_at"] >= fine["received_at"]
    assert (failed["mode"], failed["status"], failed["tokens_out"], failed["charged"]) == ("502", 502, 0, False)


def test_the_transcript_of_one_model_is_asked_for_by_name():
    service = sim()
    complete(service)
    complete(service, "sovereign-7b")
    found = json.loads(exchange(service, "GET", "/sim/transcript?model=sovereign-7b").body)["calls"]
    assert [call["model"] for call in found] == ["sovereign-7b"]


def test_the_transcript_is_bounded_and_its_totals_are_not():
    transcript = Transcript(capacity=3)
    for n in range(5):
        transcript.finish(transcript.begin(f"hash {n}", "m"), "ok", 200)
    said = json.loads(transcript.to_json(since=0, limit=10))
    assert (said["total"], said["charged"], said["forgotten"]) == (5, 5, 2)
    assert [call["number"] for call in said["calls"]] == [3, 4, 5]
    assert [call["number"] for call in json.loads(transcript.to_json(since=3, limit=1))["calls"]] == [4]


@pytest.mark.parametrize(
    ("outcome", "status", "complete"),
    [("abandoned", None, True), ("500", 500, True), ("429", 429, True), ("chunked_cut", 200, False)],
)
def test_only_complete_answers_are_charged(outcome, status, complete):
    transcript = Transcript(capacity=3)
    transcript.finish(transcript.begin("h", "m"), outcome, status, complete=complete)
    assert json.loads(transcript.to_json(0, 10))["charged"] == 0


def test_the_models_own_latency_stands_in_the_state():
    state = json.loads(exchange(sim(Conduct(Behaviour(latency=Latency("own", ())))), "GET", "/sim/state").body)
    assert state["all"]["latency"] == "own"
    assert state["served"]["sovereign-32b"]["latency"] == "tokens:900:28"
