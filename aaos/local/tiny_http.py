"""A small HTTP/1.1 server for simulators: keep-alive, streamed bodies, and it notices who hangs up.

asyncio and h11 only: Starlette on uvicorn would do the same with 12 MB more memory per process, and the
embedded stack counts every megabyte (docs/decisions/sovereign-client.md has the figures).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlsplit

import h11

MAX_BODY_BYTES: Final = 4_194_304
MAX_PIPELINED_BYTES: Final = 1_048_576
"""What a client may send ahead while its request is being answered."""
_NO_LINGER: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, read whole; `peer` is the address of who sent it."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    peer: str


class Respond(Protocol):
    """Sends the response and returns when it is handed over; a streamed body goes out as it comes."""

    async def __call__(
        self, status: int, body: bytes | AsyncIterable[bytes], headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends one response; `headers` are added to a content type of JSON."""

    async def send_raw(self, data: bytes) -> None:
        """Sends bytes as they are, HTTP or not; the connection is closed when the handler returns."""

    def hang_up(self, *, reset: bool = False) -> None:
        """Closes the connection after what was sent; with `reset` at once, and the peer is told so (RST)."""


Handler = Callable[[HttpRequest, Respond], Awaitable[None]]
"""Answers one request; it is cancelled when the client hangs up."""


class HttpServer:
    """Listens, and gives every request to one handler."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Returns the port it listens on (`port` 0 lets the system choose); raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._handler, self._connections), host, port, backlog=1024
        )
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Stops listening and drops every connection, whatever it waits for."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()


class _Connection(asyncio.Protocol):
    """One client: requests one after another, each answered by a task of its own."""

    def __init__(self, handler: Handler, connections: set[_Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._http = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._ahead_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP gives no other kind
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._task is not None:
            self._ahead_bytes += len(data)
            if self._ahead_bytes > MAX_PIPELINED_BYTES:
                self._transport.abort()
                return
        self._http.receive_data(data)
        if self._task is None:
            self._read()

    def _read(self) -> None:
        """Takes in what has arrived, up to the end of one request."""
        try:
            while self._task is None:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                self._take(event)
        except h11.RemoteProtocolError as error:
            self._give_up(error.error_status_hint)

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Request):
            self._head, self._body = event, bytearray()
            if self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > MAX_BODY_BYTES:
                raise h11.RemoteProtocolError("body too long", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            self._ahead_bytes = 0
            self._task = asyncio.get_running_loop().create_task(self._answer())
            self._task.add_done_callback(self._answered)

    async def _answer(self) -> None:
        assert self._head is not None  # noqa: S101 - EndOfMessage follows a Request
        target = urlsplit(self._head.target.decode("ascii", "replace"))
        peer = self._transport.get_extra_info("peername")
        request = HttpRequest(
            method=self._head.method.decode("ascii"),
            path=target.path,
            query=dict(parse_qsl(target.query)),
            body=bytes(self._body),
            peer=peer[0] if peer else "",
        )
        await self._handler(request, _Response(self))

    async def respond(
        self, status: int, body: bytes | AsyncIterable[bytes], headers: Mapping[str, str] | None = None
    ) -> None:
        fields = {"content-type": "application/json", **(headers or {})}
        if isinstance(body, bytes):
            fields["content-length"] = str(len(body))
            self._send(_head(status, fields), h11.Data(data=body), h11.EndOfMessage())
        else:
            self._send(_head(status, fields))
            async for piece in body:
                self._send(h11.Data(data=piece))
                await self._writable.wait()
            self._send(h11.EndOfMessage())
        await self._writable.wait()

    async def send_raw(self, data: bytes) -> None:
        self._transport.write(data)
        await self._writable.wait()

    def hang_up(self, *, reset: bool) -> None:
        if reset:
            # Lingering for no time makes the kernel send RST in place of FIN (socket(7)).
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._transport.abort()
        else:
            self._transport.close()

    def _answered(self, task: asyncio.Task[None]) -> None:
        """Goes on to the next request, or hangs up after an answer that cannot be followed by one."""
        self._task = None
        if task.cancelled() or self._transport.is_closing():
            return
        failure = task.exception()
        if failure is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the handler of a request failed", "exception": failure}
            )
            self._give_up(500)
        elif self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._read()
        else:
            self._transport.close()

    def _give_up(self, status: int) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(_head(status, {"content-length": "0", "connection": "close"}), h11.EndOfMessage())
        self._transport.close()

    def _send(self, *events: h11.Event) -> None:
        data = b"".join(self._http.send(event) or b"" for event in events)
        if data:
            self._transport.write(data)


class _Response:
    """What a handler may do to its connection."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def __call__(
        self, status: int, body: bytes | AsyncIterable[bytes], headers: Mapping[str, str] | None = None
    ) -> None:
        await self._connection.respond(status, body, headers)

    async def send_raw(self, data: bytes) -> None:
        await self._connection.send_raw(data)

    def hang_up(self, *, reset: bool = False) -> None:
        self._connection.hang_up(reset=reset)


def _head(status: int, fields: Mapping[str, str]) -> h11.Response:
    return h11.Response(status_code=status, headers=list(fields.items()))
