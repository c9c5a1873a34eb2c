"""The client's time: every call ends at its deadline, or when its caller does, and frees what it held."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.sovereign_clients import REQUEST, error_of

from aaos.adapters.sovereign.loop import io_loop
from aaos.errors import (
    SovereignCancelled,
    SovereignTimeout,
)
from tests.support.sovereign_servers import completion, http, scripted


@pytest.mark.requirement("FM-004")
@pytest.mark.parametrize("mode", ["hang", "slow_drip"])
def test_the_deadline_spans_the_whole_request_and_frees_the_service(sim, client_of, mode):
    sim.behave(mode=mode)
    started = time.monotonic()
    with pytest.raises(SovereignTimeout, match=r"request_timeout_s = 0\.6"):
        client_of(sim.url, request_timeout_s=0.6).ask(REQUEST)
    assert 0.5 < time.monotonic() - started < 1.2
    sim.wait_for_outcomes(["abandoned"])
    assert sim.transcript()["charged"] == 0


@pytest.mark.requirement("FM-004")
def test_waiting_for_a_connection_counts_towards_the_deadline(sim, client_of):
    sim.behave(latency_ms=400)
    client = client_of(sim.url, pool_size=1, request_timeout_s=0.6)
    with ThreadPoolExecutor(3) as threads:
        started = time.monotonic()
        ended = [error_of(future) for future in [threads.submit(client.ask, REQUEST) for _ in range(3)]]
    assert time.monotonic() - started < 1.2
    late, unasked = sorted((error for error in ended if error), key=lambda error: type(error).__name__, reverse=True)
    assert (type(late), late.sent) == (SovereignTimeout, True)
    assert (type(unasked), unasked.sent) == (SovereignCancelled, False), "no model is to blame for our own queue"
    assert "sovereign.pool_size = 1" in str(unasked)


class InterruptedCallError(Exception):
    pass


def test_an_interrupted_caller_cancels_the_call(sim, client_of):
    def interrupt(*_: object) -> None:
        raise InterruptedCallError

    sim.behave(mode="hang")
    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(InterruptedCallError):
            client_of(sim.url).ask(REQUEST)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    sim.wait_for_outcomes(["abandoned"])


def test_closing_ends_calls_under_way_and_a_later_call_connects_anew(sim, client_of):
    client = client_of(sim.url, request_timeout_s=20.0)
    sim.behave(mode="hang")
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(client.ask, REQUEST)
        time.sleep(0.3)
        client.close()
        assert isinstance(error_of(under_way), SovereignCancelled)
    sim.behave(mode="ok")
    assert client.ask(REQUEST).content


@pytest.mark.requirement("FM-004")
@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"])
def test_a_byte_now_and_then_does_not_stretch_the_deadline(client_of, start):
    def trickle(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        for byte in b"HTTP/1.1 100 Continue\r\n\r\n" * 9:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    with scripted(trickle) as server:
        started = time.monotonic()
        with pytest.raises(SovereignTimeout, match=r"within the 0\.5 s that were left"):
            client_of(server.url).ask(REQUEST, timeout_s=0.5)
        assert time.monotonic() - started < 1.0


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
def test_without_any_time_nothing_is_asked_and_no_model_blamed(sim, client_of, timeout_s):
    with pytest.raises(SovereignCancelled, match="no time was left"):
        client_of(sim.url).ask(REQUEST, timeout_s)
    assert sim.transcript()["total"] == 0


@pytest.mark.requirement("FM-004")
def test_the_configured_deadline_bounds_a_longer_one(sim, client_of):
    sim.behave(mode="hang")
    with pytest.raises(SovereignTimeout, match=r"sovereign\.request_timeout_s = 0\.4"):
        client_of(sim.url, request_timeout_s=0.4).ask(REQUEST, timeout_s=60.0)


def test_calls_cancelled_at_any_moment_leave_every_place_usable(client_of):
    """Deadlines from nothing to plenty end calls while they wait for a place, connect, send, wait and read."""

    def now_and_then(connection: socket.socket, request: bytes) -> None:
        time.sleep(0.002 * (len(server.requests) % 7))
        connection.sendall(http("200 OK", completion("hm" * 20_000)))

    with scripted(now_and_then) as server, ThreadPoolExecutor(24) as threads:
        client = client_of(server.url, pool_size=3)
        deadlines = [0.0005 * (number % 60 + 1) for number in range(900)]
        ended = [error_of(threads.submit(client.ask, REQUEST, each)) for each in deadlines[:100]]
        ended += [error_of(each) for each in [threads.submit(client.ask, REQUEST, s) for s in deadlines[100:]]]
        assert {type(error) for error in ended} <= {type(None), SovereignTimeout, SovereignCancelled}
        assert sum(error is not None for error in ended) > 300
        started = time.monotonic()
        assert all(client.ask(REQUEST).content for _ in range(3))
        assert [each.result(5).finish_reason for each in [threads.submit(client.ask, REQUEST) for _ in range(9)]]
        assert time.monotonic() - started < 3.0


def test_a_process_that_stood_still_does_not_blame_the_model(client_of):
    """A worker that is frozen (SIGSTOP, a laptop's lid) past the deadline learns nothing about the model."""

    def freeze_the_loop(connection: socket.socket, _: bytes) -> None:
        io_loop().call_soon_threadsafe(time.sleep, 1.6)
        time.sleep(3.0)

    with (
        scripted(freeze_the_loop) as server,
        pytest.raises(SovereignCancelled, match=r"this process stood still for 1\.\d s"),
    ):
        client_of(server.url).ask(REQUEST, timeout_s=0.3)


def test_a_loop_that_hangs_keeps_no_caller(client_of):
    def hang_the_loop(connection: socket.socket, _: bytes) -> None:
        io_loop().call_soon_threadsafe(time.sleep, 3.5)
        time.sleep(4.0)

    with scripted(hang_the_loop) as server:
        started = time.monotonic()
        with pytest.raises(SovereignCancelled, match="did not come to look"):
            client_of(server.url).ask(REQUEST, timeout_s=0.2)
        assert time.monotonic() - started < 3.0


def test_a_host_that_does_not_answer_the_connection_is_timed_out_early(client_of):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        waiting = [socket.socket() for _ in range(4)]  # they fill its queue: Linux then ignores newcomers
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        time.sleep(0.1)
        with pytest.raises(SovereignTimeout, match=r"no connection to Sovereign at .* within 0\.3 s"):
            client_of(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", connect_timeout_s=0.3).ask(REQUEST)
        for one in waiting:
            one.close()
