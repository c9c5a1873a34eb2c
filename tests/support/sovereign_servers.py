"""Servers the Sovereign tests talk to: the real simulator as a process, and one that says what it is told."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[2]
START_S = 20.0


class Sim:
    """A running simulator process."""

    def __init__(self, *flags: str, any_model: bool = True) -> None:
        names = ["--any-model"] if any_model else []
        command = [sys.executable, "-m", "aaos.local.sovereign_sim", "--port", "0", *names, *flags]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        assert ready, "the simulator did not say that it is ready"
        self.url = self.process.stdout.readline().split()[-1]
        self.root = self.url.removesuffix("/v1")
        self.port = int(self.root.rpartition(":")[2])

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.root}{path}", data=data, method=method), timeout=10) as response:
            return json.load(response)

    def behave(self, **changes: object) -> None:
        self.call("POST", "/sim/behaviour", changes)

    def transcript(self) -> Any:
        return self.call("GET", "/sim/transcript")

    def outcomes(self) -> list[str]:
        return [call["outcome"] for call in self.transcript()["calls"]]

    def wait_for_outcomes(self, wanted: list[str]) -> None:
        """The other side's hanging up arrives a moment later."""
        until = time.monotonic() + 5
        while self.outcomes() != wanted and time.monotonic() < until:
            time.sleep(0.02)
        assert self.outcomes() == wanted

    def reset(self) -> None:
        self.behave(mode="ok", latency_ms=0)
        self.call("POST", "/sim/up")
        self.call("DELETE", "/sim/transcript")

    def stop(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(5)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextmanager
def running_sim(*flags: str, any_model: bool = True) -> Iterator[Sim]:
    sim = Sim(*flags, any_model=any_model)
    try:
        yield sim
    finally:
        sim.stop()


Script = Callable[[socket.socket, bytes], None]
"""Gets the connection and a request; returns to wait for the next one, closes the socket to hang up."""


class Scripted:
    """A TCP server that reads requests whole and leaves the rest to a script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.accepted = 0
        self.requests: list[bytes] = []
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while request := read_request(connection):
                self.requests.append(request)
                self._script(connection, request)
        except OSError:
            return  # it hung up, or the script did
        finally:
            connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        self._thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@contextmanager
def scripted(script: Script) -> Iterator[Scripted]:
    server = Scripted(script)
    try:
        yield server
    finally:
        server.close()


def saying(response: bytes, then_close: bool = True) -> Script:
    def say(connection: socket.socket, _: bytes) -> None:
        connection.sendall(response)
        if then_close:
            connection.shutdown(socket.SHUT_RDWR)

    return say


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def completion(content: str, **extra: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}], **extra}).encode()
