"""The simulator as a process: its HTTP manners, its memory, its start and stop; and the shipped settings."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from aaos.domain.sovereign import SovereignSettings
from aaos.local.sovereign_modes import GROUPS, MODES
from tests.support.sovereign_servers import ROOT, Sim, running_sim

ASK = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hm"}]}).encode()
PSS_MAX_KB = 30_000
EXCHANGE_S = 3.0
RESET = b"(reset)"


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[Sim]:
    with running_sim("--model", "big", "--model", "small") as sim:
        yield sim


def post(body: bytes, *headers: str) -> bytes:
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: sim",
        f"content-length: {len(body)}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def ask_of(model: str) -> bytes:
    return ASK.replace(b'"m"', f'"{model}"'.encode())


def exchange(sim: Sim, sent: bytes, limit_bytes: int = 10**9, idle_s: float = 0.5) -> bytes:
    """Returns all that comes back until the simulator hangs up, says nothing for a while, or has said enough."""
    until = time.monotonic() + EXCHANGE_S
    with socket.create_connection(("127.0.0.1", sim.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        connection.settimeout(idle_s)
        try:
            while len(received) < limit_bytes and time.monotonic() < until and (piece := connection.recv(65_536)):
                received += piece
        except TimeoutError:
            return received
        except ConnectionResetError:
            return RESET
        return received


def test_health_and_models_answer_even_while_models_fail(sim):
    sim.behave(mode="hang")
    assert sim.call("GET", "/health") == {"status": "ok"}
    assert [model["id"] for model in sim.call("GET", "/v1/models")["data"]] == ["big", "small"]


def test_requests_sent_ahead_are_answered_in_order(sim):
    received = exchange(sim, post(ASK) * 3)
    assert received.count(b"HTTP/1.1 200") == 3
    assert sim.outcomes() == ["ok"] * 3


def test_a_request_arriving_byte_by_byte_is_answered(sim):
    with socket.create_connection(("127.0.0.1", sim.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(ASK):
            connection.sendall(bytes([byte]))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (post(b"{"), b"400"),
        (post(b"[]"), b"400"),
        (post(b'{"messages": []}'), b"400"),
        (post(ASK[:-1] + b', "response_format": {"json_schema": {"schema": 5}}}'), b"400"),
        (post(b'{"model": "m", "messages": [{"content": [1]}]}'), b"400"),
        (post(ASK[:-1] + b', "stream": true}'), b"400"),
        (post(ASK[:-1] + b', "temperature": 1e999}'), b"400"),
        (post(ASK[:-1] + b', "seed": "x"}'), b"400"),
        (post(b"[" * 100_000), b"400"),
        (b"NOT HTTP AT ALL\r\n\r\n", b"400"),
        (post(b"", "expect: 100-continue", "content-length: 5"), b"400"),
        (b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n", b"404"),
        (b"POST /sim/behaviour HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n[]", b"400"),
        (b"GET /sim/nothing HTTP/1.1\r\nhost: x\r\n\r\n", b"404"),
        (b"GET /sim/transcript?since=x HTTP/1.1\r\nhost: x\r\n\r\n", b"400"),
    ],
)
def test_what_it_cannot_answer_it_says_so(sim, sent, status):
    assert exchange(sim, sent).startswith(b"HTTP/1.1 " + status)
    assert sim.call("GET", "/health")


def test_a_behaviour_that_makes_no_sense_is_refused_by_name(sim):
    with pytest.raises(HTTPError) as caught:
        sim.behave(mode="angry")
    with caught.value as response:
        assert b"mode must be one of ok, prose" in response.read()


# What a client that reads until the connection closes, or half a second of silence, receives in each mode.
WIRE = {
    "hang": rb"",
    "hang_mid_body": rb"HTTP/1.1 200 OK\r\n.*[^}]",
    "slow_headers": rb"H",
    "trickle": rb"HTTP/1.1 200 OK\r\n.*\r\n\r\n\{",
    "slow_drip": rb"HTTP/1.1 200 OK\r\n.*\r\n\r\n\{.{0,14}",
    "close": rb"",
    "reset": re.escape(RESET),
    "reset_mid_body": re.escape(RESET),
    "length_too_long": rb"HTTP/1.1 200 OK\r\n.*\}\}",
    "length_too_short": rb"HTTP/1.1 200 OK\r\n.*\}\}",
    "chunked_cut": rb"HTTP/1.1 200 OK\r\n.*chunked\r\n\r\n[0-9a-f]+\r\n\{.*[^}]",
    "surplus": rb"HTTP/1.1 200 OK\r\n.*\}\}HTTP/1.1 200 OK\r\n.*BUY.*\}\}",
    "compressed": rb"HTTP/1.1 200 \r\n.*content-encoding: gzip\r\n.*\r\n\r\n\x1f\x8b.*",
    "bomb": rb"HTTP/1.1 200 \r\n.*content-encoding: gzip\r\n.*\r\n\r\n\x1f\x8b.{4000,20000}",
    "not_http": rb"\x16\x03.*",
    "endless_head": rb"HTTP/1.1 200 OK\r\nx-padding: .*",
}


@pytest.mark.parametrize("mode", WIRE)
def test_on_the_wire_each_mode_is_what_it_is_called(sim, mode):
    assert set(WIRE) == set(GROUPS["wire"])
    sim.behave(mode=mode)
    received = exchange(sim, post(ASK), limit_bytes=100_000)
    assert re.fullmatch(WIRE[mode], received, re.DOTALL), received[:300]
    sim.behave(mode="ok")
    assert exchange(sim, post(ASK)).startswith(b"HTTP/1.1 200"), "and it serves on"


@pytest.mark.parametrize("mode", GROUPS["status"])
def test_every_refusal_has_its_status_and_the_connection_goes_on(sim, mode):
    status = {"context_length": 400, "model_missing": 404, "busy": 503, "redirect": 307}
    sim.behave(mode=mode)
    received = exchange(sim, post(ASK) * 2)
    assert received.count(f"HTTP/1.1 {status.get(mode) or mode[:3]} ".encode()) == 2
    assert (b"retry-after: " in received) == (mode in ("429", "429_date", "429_absurd"))


def test_a_model_that_goes_down_drops_the_calls_that_are_under_way_to_it_and_no_others(sim):
    sim.behave(latency_ms=500)
    with ThreadPoolExecutor(2) as threads:
        big, small = (threads.submit(exchange, sim, post(ask_of(name)), idle_s=2) for name in ("big", "small"))
        sim.wait_for_outcomes(["waiting"] * 2)
        sim.call("POST", "/sim/down", {"model": "big"})
        assert big.result(5) == RESET
        assert small.result(5).startswith(b"HTTP/1.1 200")
    assert exchange(sim, post(ask_of("big"))) == b""
    assert sorted(sim.outcomes()) == ["down", "down", "ok"]


def test_a_script_runs_by_the_clock_while_nobody_asks(sim):
    steps = [{"mode": "500", "seconds": 0.4}, {"mode": "429", "seconds": 60}]
    sim.call("POST", "/sim/script", {"model": "big", "steps": steps})
    before = exchange(sim, post(ask_of("big"), "connection: close"))
    time.sleep(0.5)
    after = exchange(sim, post(ask_of("big"), "connection: close"))
    assert (before[9:12], after[9:12]) == (b"500", b"429")


def test_the_list_of_modes_needs_no_port():
    command = [sys.executable, "-m", "aaos.local.sovereign_sim", "--modes"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    assert all(meaning in ended.stdout for meaning in MODES.values())


def test_models_are_named_and_given_a_character_by_flags():
    with running_sim("--model", "qwen=sovereign-mute", "--latency", "uniform:1:2", any_model=False) as sim:
        state = sim.call("GET", "/sim/state")
        assert state["served"]["qwen"]["character"] == "sovereign-mute"
        assert state["all"]["latency"] == "uniform:1:2"
        assert exchange(sim, post(ASK)).startswith(b"HTTP/1.1 404")


def test_latency_is_waited_for(sim):
    sim.behave(latency_ms=300)
    started = time.monotonic()
    sim.call("POST", "/v1/chat/completions", json.loads(ASK))
    assert 0.29 < time.monotonic() - started < 1.0


def test_a_stop_waits_for_nothing():
    with (
        running_sim("--mode", "hang") as sim,
        socket.create_connection(("127.0.0.1", sim.port)) as connection,
    ):
        connection.sendall(post(ASK))
        time.sleep(0.1)
        started = time.monotonic()
        assert sim.stop() == 0
        assert time.monotonic() - started < 1.0


def test_a_port_in_use_is_a_clear_error(sim):
    command = [sys.executable, "-m", "aaos.local.sovereign_sim", "--port", str(sim.port)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "choose another --port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_flags_that_make_no_sense_are_refused():
    command = [sys.executable, "-m", "aaos.local.sovereign_sim", "--port", "0", "--share", "2"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert "share must be 0 to 1" in ended.stderr


def test_it_stays_small(sim):
    for _ in range(50):
        assert exchange(sim, post(ASK, "connection: close"))
    with open(f"/proc/{sim.process.pid}/smaps_rollup", encoding="ascii") as rollup:
        pss_kb = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    assert pss_kb < PSS_MAX_KB


def test_the_shipped_settings_are_the_documented_defaults():
    shipped = yaml.safe_load((ROOT / "config/sovereign.yaml").read_text(encoding="utf-8"))
    assert TypeAdapter(SovereignSettings).validate_python(shipped) == SovereignSettings()
    assert set(shipped) == {field.name for field in dataclasses.fields(SovereignSettings)}


@pytest.mark.parametrize("wrong", [{"timeout": 5}, {"pool_size": 0}, {"temperature": 3}, {"seed": -1}])
def test_settings_refuse_unknown_keys_and_values_out_of_range(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TypeAdapter(SovereignSettings).validate_python(wrong)
