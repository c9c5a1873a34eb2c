"""The client against servers that break in every way we know: one error each, and the next answer is sound."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import pytest
from support.sovereign_clients import REQUEST

from aaos.domain.sovereign import parse_vote
from aaos.errors import (
    AaosError,
    SovereignInvalidResponse,
    SovereignModelMissing,
    SovereignRequestRefused,
    SovereignTimeout,
    SovereignUnavailable,
    TransientError,
)
from aaos.local.sovereign_modes import MODES
from tests.support.sovereign_servers import Script, completion, http, saying, scripted


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


NOT_NOW = {"foreign Retry-After", "status beyond HTTP"}


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


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refused_connection_names_the_place(client_of, scheme):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SovereignUnavailable, match=f"127.0.0.1:{port}: is it running") as caught:
        client_of(f"{scheme}://127.0.0.1:{port}/v1").ask(REQUEST)
    assert (caught.value.status, caught.value.safe_to_retry) == (None, True)


def test_a_name_that_does_not_resolve_is_transient(client_of):
    with pytest.raises(TransientError):
        client_of("http://sovereign.invalid/v1", request_timeout_s=3.0).ask(REQUEST)


def test_tls_to_a_server_without_it_is_unavailable(sim, client_of):
    with pytest.raises(SovereignUnavailable):
        client_of(sim.url.replace("http:", "https:")).ask(REQUEST)
