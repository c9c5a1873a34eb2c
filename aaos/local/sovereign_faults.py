"""Answers that break on their way: too slow, cut off, mislabelled, or no HTTP at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from aaos.local.tiny_http import Respond

OK: Final = 200
OVERSIZED_BYTES: Final = 10_000_000
FILLER_BYTES: Final = 65_536
DRIP_S: Final = 0.25
TRICKLE_S: Final = 1.0
HALF_ARRIVES_S: Final = 0.05
"""Lets the first half reach the client before the reset, which would discard what is not yet read."""
HELD_S: Final = 30.0
"""How long a connection stays open on which more was sent than was announced."""
GARBAGE: Final = b'\x00\xff<html>Bad gateway</html>{"choices": ['
NOT_HTTP: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03SSH-2.0-OpenSSH_9.6\r\n\x00\xff\xfe"
HEADERS_PAUSE_S: Final = 0.01
HEADERS_PIECE: Final = b"x-padding: " + b"x" * 4_000 + b"\r\n"

Ended = tuple[int | None, bool]
"""The status that was sent, and whether a complete answer was."""


async def _hang(respond: Respond, body: bytes) -> Ended:  # noqa: ARG001 - one signature for all
    await asyncio.Event().wait()
    return None, False


async def _hang_mid_body(respond: Respond, body: bytes) -> Ended:
    await respond.send_raw(head(len(body)) + body[: len(body) // 2])
    await asyncio.Event().wait()
    return OK, False


async def _slow_headers(respond: Respond, body: bytes) -> Ended:
    await _drip(respond, head(len(body)), TRICKLE_S)
    await respond.send_raw(body)
    return OK, True


async def _trickle(respond: Respond, body: bytes) -> Ended:
    await respond.send_raw(head(len(body)))
    await _drip(respond, body, TRICKLE_S)
    return OK, True


async def _slow_drip(respond: Respond, body: bytes) -> Ended:
    await respond.send_raw(head(len(body)))
    await _drip(respond, body, DRIP_S)
    return OK, True


async def _close(respond: Respond, body: bytes) -> Ended:  # noqa: ARG001 - one signature for all
    respond.hang_up()
    return None, False


async def _reset(respond: Respond, body: bytes) -> Ended:  # noqa: ARG001 - one signature for all
    respond.hang_up(reset=True)
    return None, False


async def _reset_mid_body(respond: Respond, body: bytes) -> Ended:
    await respond.send_raw(head(len(body)) + body[: len(body) // 2])
    await asyncio.sleep(HALF_ARRIVES_S)
    respond.hang_up(reset=True)
    return OK, False


async def _length_too_long(respond: Respond, body: bytes) -> Ended:
    await respond.send_raw(head(len(body) + 1_000) + body)
    return OK, False


async def _length_too_short(respond: Respond, body: bytes) -> Ended:
    await respond.send_raw(head(len(body) // 2) + body)
    await asyncio.sleep(HELD_S)
    return OK, False


async def _chunked_cut(respond: Respond, body: bytes) -> Ended:
    half = body[: len(body) // 2]
    await respond.send_raw(head(None) + f"{len(body):x}\r\n".encode("ascii") + half)
    return OK, False


async def _surplus(respond: Respond, body: bytes) -> Ended:
    forged = body.replace(b"HOLD", b"BUY").replace(b"SELL", b"BUY")
    await respond.send_raw(head(len(body)) + body + head(len(forged)) + forged)
    await asyncio.sleep(HELD_S)
    return OK, True


async def _compressed(respond: Respond, body: bytes) -> Ended:
    await respond(OK, _gzip(body), {"content-encoding": "gzip"})
    return OK, True


async def _bomb(respond: Respond, body: bytes) -> Ended:
    start, end = _around_padding(body)
    await respond(OK, _gzip(start + b"x" * OVERSIZED_BYTES + end), {"content-encoding": "gzip"})
    return OK, True


async def _not_http(respond: Respond, body: bytes) -> Ended:  # noqa: ARG001 - one signature for all
    await respond.send_raw(NOT_HTTP)
    return None, False


async def _endless_head(respond: Respond, body: bytes) -> Ended:  # noqa: ARG001 - one signature for all
    await respond.send_raw(b"HTTP/1.1 200 OK\r\n")
    while True:
        await respond.send_raw(HEADERS_PIECE)
        await asyncio.sleep(HEADERS_PAUSE_S)


async def _garbage(respond: Respond, body: bytes) -> Ended:  # noqa: ARG001 - one signature for all
    await respond(OK, GARBAGE)
    return OK, True


async def _oversized(respond: Respond, body: bytes) -> Ended:
    await respond(OK, _padded(body))
    return OK, True


FAULTS: Final[Mapping[str, Callable[[Respond, bytes], Awaitable[Ended]]]] = {
    "garbage": _garbage,
    "oversized": _oversized,
    "hang": _hang,
    "hang_mid_body": _hang_mid_body,
    "slow_headers": _slow_headers,
    "trickle": _trickle,
    "slow_drip": _slow_drip,
    "close": _close,
    "reset": _reset,
    "reset_mid_body": _reset_mid_body,
    "length_too_long": _length_too_long,
    "length_too_short": _length_too_short,
    "chunked_cut": _chunked_cut,
    "surplus": _surplus,
    "compressed": _compressed,
    "bomb": _bomb,
    "not_http": _not_http,
    "endless_head": _endless_head,
}
"""How the body of a valid answer is (not) sent, by mode."""


def head(length: int | None) -> bytes:
    """Returns the head of a 200 with this Content-Length; None: chunked."""
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{size}\r\n\r\n".encode("ascii")


async def _drip(respond: Respond, data: bytes, pause_s: float) -> None:
    for position in range(len(data)):
        await respond.send_raw(data[position : position + 1])
        await asyncio.sleep(pause_s)


async def _padded(body: bytes) -> AsyncIterator[bytes]:
    """Yields a valid completion, padded; piece by piece, so that 32 of them at once take no memory."""
    start, end = _around_padding(body)
    yield start
    for sent in range(0, OVERSIZED_BYTES, FILLER_BYTES):
        yield b"x" * min(FILLER_BYTES, OVERSIZED_BYTES - sent)
    yield end


def _around_padding(body: bytes) -> tuple[bytes, bytes]:
    """Returns what stands before and after the text of one more field."""
    return body[:-1] + b', "padding": "', b'"}'


def _gzip(data: bytes) -> bytes:
    import zlib  # only these two modes need it

    compressor = zlib.compressobj(wbits=31)
    return compressor.compress(data) + compressor.flush()
