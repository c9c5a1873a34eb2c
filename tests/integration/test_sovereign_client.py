"""The client against a real server process: what is asked, what is answered, who pays, and where the key goes."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.sovereign_clients import REQUEST

from aaos.adapters.sovereign.client import SovereignClient
from aaos.domain.prompts import build_vote_request
from aaos.domain.sovereign import ModelRequest, SovereignSettings, parse_vote
from aaos.errors import (
    AaosError,
    ContextTooLarge,
)
from tests.support.sovereign_servers import completion, http, running_sim, saying, scripted

KEY = "sk-planted-0123456789"


def context() -> dict[str, Any]:
    rows = [[n * 60_000, 100.0 + n, 100.6 + n, 99.9 + n, 100.5 + n, 7.0] for n in range(100)]
    return {
        "symbol": "BTC/USDT",
        "as_of": "2022-01-01T00:00:00Z",
        "market_time": "2022-01-01T00:00:00Z",
        "candles": {"timeframe": "1m", "rows": rows},
        "technical": {"direction": "long", "score": 80.0, "indicators": {"rsi": 61.0}},
        "regime": {
            "regime": "trending_up",
            "confidence": 0.8,
            "wyckoff_phase": "markup",
            "volume_trend": "rising",
        },
    }


def test_a_decision_context_becomes_a_vote(sim, client_of):
    asked = build_vote_request(context(), "trend", "any-model", "trend", SovereignSettings())
    answer = client_of(sim.url).ask(asked)
    vote = parse_vote(answer.content)
    assert (vote.signal, answer.model, answer.finish_reason) == ("BUY", "any-model", "stop")
    assert vote.confidence > 0.7
    assert answer.tokens_in > 1_000
    assert answer.latency_ms > 0
    assert answer.request_id.startswith("chatcmpl-sim-")


def test_the_service_saw_the_hash_we_store(sim, client_of):
    client_of(sim.url).ask(REQUEST)
    said = sim.transcript()
    assert [call["request_hash"] for call in said["calls"]] == [REQUEST.prompt_hash]
    assert (said["total"], said["charged"]) == (1, 1)


def test_the_same_request_gets_the_same_content_from_another_process(sim, client_of):
    with running_sim() as other:
        assert client_of(sim.url).ask(REQUEST).content == client_of(other.url).ask(REQUEST).content


@pytest.mark.parametrize("mode", ["ok", "prose", "unknown_fields"])
def test_a_vote_is_understood_however_it_is_wrapped(sim, client_of, mode):
    plain = parse_vote(client_of(sim.url).ask(REQUEST).content)
    sim.behave(mode=mode)
    vote = parse_vote(client_of(sim.url).ask(REQUEST).content)
    assert (vote.signal, vote.confidence, vote.reasoning) == (plain.signal, plain.confidence, plain.reasoning)
    assert bool(vote.extras) == (mode == "unknown_fields")


def test_32_callers_are_answered_side_by_side(sim, client_of):
    sim.behave(latency_ms=500)
    client = client_of(sim.url, pool_size=32)
    with ThreadPoolExecutor(32) as threads:
        started = time.monotonic()
        answers = list(threads.map(lambda _: client.ask(REQUEST), range(32)))
    assert time.monotonic() - started < 2.0
    assert len({answer.request_id for answer in answers}) == 32


def test_connections_are_kept_and_used_again(client_of):
    with scripted(saying(http("200 OK", completion("hm")), then_close=False)) as server:
        client = client_of(server.url)
        for _ in range(5):
            client.ask(REQUEST)
        assert (server.accepted, len(server.requests)) == (1, 5)


@pytest.mark.requirement("FM-002")
def test_a_prompt_beyond_the_cap_is_not_sent(sim, client_of):
    with pytest.raises(ContextTooLarge):
        client_of(sim.url, context_cap_tokens=256, context_budget_tokens=256).ask(ModelRequest("m", "", "word " * 300))
    assert sim.transcript()["total"] == 0


def test_a_forked_child_asks_on_connections_of_its_own(sim, client_of):
    client = client_of(sim.url)
    client.ask(REQUEST)
    sim.behave(latency_ms=300)
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(client.ask, REQUEST)
        time.sleep(0.1)
        child = os.fork()
        if child == 0:
            os._exit(exit_code_of_two_calls(client))
        assert under_way.result(10).content
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.ask(REQUEST).content
    assert sim.outcomes() == ["ok"] * 5


def exit_code_of_two_calls(client: SovereignClient) -> int:
    try:
        client.ask(REQUEST)
        client.ask(REQUEST)
    except Exception:  # noqa: BLE001 - the child must end here, whatever happened
        traceback.print_exc()
        return 1
    return 0


@pytest.mark.requirement("S1")
def test_the_key_goes_into_the_authorization_header_only(client_of):
    with scripted(saying(http("200 OK", completion("hm")))) as server:
        client_of(server.url, api_key=KEY).ask(REQUEST)
    (request,) = server.requests
    assert request.count(KEY.encode()) == 1
    assert f"authorization: bearer {KEY}".encode() in request.lower()


def test_without_a_key_there_is_no_authorization_header(client_of):
    with scripted(saying(http("200 OK", completion("hm")))) as server:
        client_of(server.url).ask(REQUEST)
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.requirement("S1")
@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "500 Oops"])
def test_a_service_that_echoes_the_key_gets_it_into_no_message_log_or_record(client_of, caplog, capfd, status):
    caplog.set_level(logging.DEBUG)
    with (
        scripted(saying(http(status, f"you said {KEY}".encode()))) as server,
        pytest.raises(AaosError) as caught,
    ):
        client_of(server.url, api_key=KEY).ask(REQUEST)
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + caplog.text
    assert KEY not in shown + "".join(capfd.readouterr())


def test_proxies_of_the_environment_are_not_used(sim, client_of, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert client_of(sim.url).ask(REQUEST).content


def test_connections_that_idle_are_closed_before_the_server_does_it(client_of, monkeypatch):
    monkeypatch.setattr("aaos.adapters.sovereign.connections.KEEPALIVE_EXPIRY_S", 0.2)
    hung_up = threading.Event()

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(http("200 OK", completion("hm")))
        connection.settimeout(3.0)
        if connection.recv(1, socket.MSG_PEEK) == b"":
            hung_up.set()

    with scripted(answer) as server:
        client_of(server.url).ask(REQUEST)
        assert hung_up.wait(2.0)


@pytest.mark.requirement("S1")
def test_a_key_echoed_in_headers_and_json_reaches_no_record(client_of):
    key = 'sk-"quoted\\0123456789'
    echo = http("200 OK", completion(f"your key is {key}"), f"x-request-id: {key}")
    with scripted(saying(echo)) as server:
        answer = client_of(server.url, api_key=key).ask(REQUEST)
    assert (answer.content, answer.request_id) == ("your key is [redacted]", "[redacted]")
