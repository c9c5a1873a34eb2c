"""The simulated model service: it misbehaves exactly as told, per model, and remembers what it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sovereign_sim_examples import ask, complete, exchange, sim, steer

from aaos.domain.model_request import AnswerFormat, ModelRequest
from aaos.domain.tokens import estimate_tokens
from aaos.local.sovereign_answers import CONTENTS, ENVELOPES, say, to_bytes
from aaos.local.sovereign_behaviour import Behaviour
from aaos.local.sovereign_conduct import Conduct
from aaos.local.sovereign_faults import FAULTS
from aaos.local.sovereign_latency import Latency
from aaos.local.sovereign_models import CHARACTERS, vote
from aaos.local.sovereign_modes import GROUPS, MODES, describe
from aaos.local.sovereign_refusals import REFUSALS
from aaos.local.sovereign_request import read_request
from aaos.local.sovereign_transcript import Transcript

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs" / "sovereign-sim.md"


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
