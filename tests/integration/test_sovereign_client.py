"""The client against a real server process, and against servers that break in every way we know."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from aaos.adapters.sovereign.client import SovereignClient
from aaos.adapters.sovereign.loop import io_loop
from aaos.domain.prompts import build_vote_request
from aaos.domain.sovereign import ModelRequest, SovereignSettings, parse_vote
from aaos.errors import (
    AaosError,
    ContextTooLarge,
    SovereignCancelled,
    SovereignInvalidResponse,
    SovereignModelMissing,
    SovereignRequestRefused,
    SovereignTimeout,
    SovereignUnavailable,
    TransientError,
)
from aaos.local.sovereign_modes import MODES
from tests.support.sovereign_servers import Script, Sim, completion, http, running_sim, saying, scripted

KEY = "sk-planted-0123456789"
REQUEST = ModelRequest(model="sovereign-32b", system="Stance: trend.", user="What now?", max_tokens=700, seed=1)


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[Sim]:
    with running_sim() as sim:
        yield sim


@pytest.fixture
def sim(shared_sim: Sim) -> Sim:
    shared_sim.reset()
    return shared_sim


class Clients:
    def __init__(self) -> None:
        self._made: list[SovereignClient] = []

    def __call__(self, url: str, api_key: str | None = None, **settings: Any) -> SovereignClient:
        settings.setdefault("connect_timeout_s", min(5.0, settings.get("request_timeout_s", 5.0)))
        self._made.append(SovereignClient(url, SovereignSettings(**settings), api_key))
        return self._made[-1]

    def close(self) -> None:
        for client in self._made:
            client.close()


@pytest.fixture
def client_of() -> Iterator[Clients]:
    clients = Clients()
    yield clients
    clients.close()


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


@pytest.mark.requirement("FM-001")
@pytest.mark.parametrize("mode", ["nan", "babble"])
def test_content_that_is_no_vote_is_refused_when_it_is_read(sim, client_of, mode):
    sim.behave(mode=mode)
    answer = client_of(sim.url).ask(REQUEST)
    with pytest.raises(SovereignInvalidResponse):
        parse_vote(answer.content)


@pytest.mark.parametrize(
    ("mode", "kind", "says"),
    [
        ("429", SovereignUnavailable, "Retry-After: 1"),
        ("500", SovereignUnavailable, "HTTP 500"),
        ("garbage", SovereignInvalidResponse, "not a chat completion"),
        ("oversized", SovereignInvalidResponse, "max_response_bytes"),
    ],
)
def test_each_misbehaviour_has_its_error(sim, client_of, mode, kind, says):
    sim.behave(mode=mode)
    with pytest.raises(kind, match=says):
        client_of(sim.url).ask(REQUEST)
    sim.behave(mode="ok")
    assert client_of(sim.url).ask(REQUEST).content


@pytest.mark.requirement("FM-TAW-005")
@pytest.mark.parametrize("mode", sorted(MODES))
def test_whatever_the_simulator_does_ends_in_time_and_does_not_touch_the_next_answer(sim, client_of, mode):
    client = client_of(sim.url, request_timeout_s=0.8, pool_size=1)
    plain = client.ask(REQUEST).content
    sim.behave(mode=mode)
    started = time.monotonic()
    with suppress(SovereignTimeout, SovereignUnavailable, SovereignInvalidResponse, SovereignRequestRefused):
        assert client.ask(REQUEST).content
    assert time.monotonic() - started < 1.4
    sim.behave(mode="ok")
    sim.call("POST", "/sim/up")
    assert client.ask(REQUEST).content == plain


def test_what_comes_late_behind_an_answer_is_not_taken_for_the_next_one(client_of):
    answers = [http("200 OK", completion(text)) for text in ("first", "forged", "second")]

    def surplus(connection: socket.socket, _: bytes) -> None:
        connection.sendall(answers.pop(0))
        time.sleep(0.1)
        if len(answers) == 2:
            connection.sendall(answers.pop(0))

    with scripted(surplus) as server:
        client = client_of(server.url, pool_size=1)
        assert client.ask(REQUEST).content == "first"
        time.sleep(0.3)
        assert client.ask(REQUEST).content == "second"


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


def error_of(future: Any) -> BaseException | None:
    return future.exception(10)


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


def reset(connection: socket.socket, _: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()


def endless(response: bytes, piece: bytes) -> Script:
    def send(connection: socket.socket, _: bytes) -> None:
        connection.sendall(response)
        while True:
            connection.sendall(piece)

    return send


FAULTS: dict[str, tuple[Script, type[AaosError]]] = {
    "hangs up": (saying(b""), SovereignUnavailable),
    "resets": (reset, SovereignUnavailable),
    "not HTTP": (saying(b"220 smtp ready\r\n" * 9), SovereignUnavailable),
    "binary": (saying(bytes(range(256)) * 9), SovereignUnavailable),
    "endless header": (endless(b"HTTP/1.1 200 OK\r\nx: ", b"y" * 65_536), SovereignUnavailable),
    "endless headers": (endless(b"HTTP/1.1 200 OK\r\n", b"x: yyyyyyyy\r\n" * 4_096), SovereignUnavailable),
    "endless chunk size": (
        endless(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"0" * 65_536),
        SovereignUnavailable,
    ),
    "endless trailer": (
        endless(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 9_999),
        SovereignUnavailable,
    ),
    "two lengths": (saying(http("200 OK", b"{}", "content-length: 3")), SovereignUnavailable),
    "truncated JSON": (saying(http("200 OK", completion("hm")[:-3])), SovereignInvalidResponse),
    "lost between chunks": (
        saying(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"),
        SovereignUnavailable,
    ),
    "endless body": (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 65_536), SovereignInvalidResponse),
    "endless refusal": (endless(b"HTTP/1.1 400 No\r\n\r\n", b"y" * 65_536), SovereignRequestRefused),
    "shorter than announced": (
        saying(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}"),
        SovereignUnavailable,
    ),
    "bad length": (saying(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}"), SovereignUnavailable),
    "bad chunks": (
        saying(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}"),
        SovereignUnavailable,
    ),
    "no content": (saying(b"HTTP/1.1 204 No Content\r\n\r\n"), SovereignInvalidResponse),
    "empty": (saying(http("200 OK", b"")), SovereignInvalidResponse),
    "compressed": (saying(http("200 OK", b"\x1f\x8b", "content-encoding: gzip")), SovereignInvalidResponse),
    "only said to be compressed": (
        saying(http("200 OK", completion("hm"), "content-encoding: gzip")),
        SovereignInvalidResponse,
    ),
    "compressed refusal": (
        saying(http("404 Nope", b"\x1f\x8b", "content-encoding: gzip")),
        SovereignModelMissing,
    ),
    "redirect": (saying(http("307 Moved", b"", "location: http://127.0.0.1:9/")), SovereignRequestRefused),
    "redirect to nowhere": (saying(http("302 Found", b"", "location: http://[")), SovereignRequestRefused),
    "status beyond HTTP": (saying(http("999 Odd", b"")), SovereignUnavailable),
    "status that is none": (saying(b"HTTP/1.1 abc\r\n\r\n"), SovereignUnavailable),
    "foreign Retry-After": (saying(http("429 No", b"", "retry-after: \xe9\xff")), SovereignUnavailable),
}


@pytest.mark.requirement("FM-TAW-005")
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_no_foreign_error_escapes_and_the_only_place_is_free_again(client_of, fault):
    script, kind = FAULTS[fault]
    broken = [True]

    def broken_first(connection: socket.socket, request: bytes) -> None:
        if broken:
            broken.pop()
            script(connection, request)
        else:
            connection.sendall(http("200 OK", completion("hm")))

    with scripted(broken_first) as server:
        client = client_of(server.url, request_timeout_s=5.0, pool_size=1)
        with pytest.raises(AaosError) as caught:
            client.ask(REQUEST)
        assert client.ask(REQUEST).content == "hm"
    assert type(caught.value) is kind
    if fault not in NOT_NOW:
        assert not getattr(caught.value, "safe_to_retry", False)


NOT_NOW = {"foreign Retry-After", "status beyond HTTP"}


def test_an_answer_of_10_mb_is_not_read_to_its_end(client_of):
    sent = [0]

    def pour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
        for _ in range(200):
            connection.sendall(b"y" * 50_000)
            sent[0] += 50_000

    with (
        scripted(pour) as server,
        pytest.raises(SovereignInvalidResponse, match="max_response_bytes = 2048") as caught,
    ):
        client_of(server.url, max_response_bytes=2_048).ask(REQUEST)
    assert len(caught.value.raw) <= 2_048
    assert sent[0] < 10_000_000


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


def test_retry_after_as_a_moment_is_counted_on_the_services_clock(client_of):
    answer = http(
        "429 Slow down",
        b"",
        "date: Sun, 06 Nov 1994 08:49:37 GMT",
        "retry-after: Sun, 06 Nov 1994 08:49:52 GMT",
    )
    with scripted(saying(answer)) as server, pytest.raises(SovereignUnavailable) as caught:
        client_of(server.url).ask(REQUEST)
    assert (caught.value.status, caught.value.retry_after_s, caught.value.safe_to_retry) == (429, 15.0, True)


@pytest.mark.requirement("S1")
def test_a_key_echoed_in_headers_and_json_reaches_no_record(client_of):
    key = 'sk-"quoted\\0123456789'
    echo = http("200 OK", completion(f"your key is {key}"), f"x-request-id: {key}")
    with scripted(saying(echo)) as server:
        answer = client_of(server.url, api_key=key).ask(REQUEST)
    assert (answer.content, answer.request_id) == ("your key is [redacted]", "[redacted]")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refused_connection_names_the_place(client_of, scheme):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SovereignUnavailable, match=f"127.0.0.1:{port}: is it running") as caught:
        client_of(f"{scheme}://127.0.0.1:{port}/v1").ask(REQUEST)
    assert (caught.value.status, caught.value.safe_to_retry) == (None, True)


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


def test_a_name_that_does_not_resolve_is_transient(client_of):
    with pytest.raises(TransientError):
        client_of("http://sovereign.invalid/v1", request_timeout_s=3.0).ask(REQUEST)


def test_tls_to_a_server_without_it_is_unavailable(sim, client_of):
    with pytest.raises(SovereignUnavailable):
        client_of(sim.url.replace("http:", "https:")).ask(REQUEST)
