"""The simulator as a process: its HTTP manners, its memory, its start and stop; and the shipped settings."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from aaos.domain.sovereign import SovereignSettings
from tests.support.sovereign_servers import ROOT, Sim, running_sim

ASK = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hm"}]}).encode()
PSS_MAX_KB = 30_000


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[Sim]:
    with running_sim("--model", "big", "--model", "small") as sim:
        yield sim


@pytest.fixture
def sim(shared_sim: Sim) -> Sim:
    shared_sim.reset()
    return shared_sim


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


def exchange(sim: Sim, sent: bytes) -> bytes:
    """Returns all that comes back until the simulator hangs up or says nothing for half a second."""
    with socket.create_connection(("127.0.0.1", sim.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        connection.settimeout(0.5)
        try:
            while piece := connection.recv(65_536):
                received += piece
        except TimeoutError:
            return received
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
