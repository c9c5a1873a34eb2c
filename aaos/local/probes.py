"""Whether a server answers, asked over plain sockets: no client library in the supervisor."""

from __future__ import annotations

import socket
import struct

LOOPBACK = "127.0.0.1"
_PROBE_TIMEOUT_S = 2.0
_PROTOCOL_3_0 = 196608  # PostgreSQL documentation, "Message Formats", StartupMessage
_SERVER_ERROR = 500
_ANSWER_BYTES = 4096


def postgres_answers(port: int, user: str, database: str) -> bool:
    """True once PostgreSQL asks for a password, that is, accepts sessions; False while it starts up."""
    fields = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
    packet = struct.pack("!II", 8 + len(fields), _PROTOCOL_3_0) + fields
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_PROBE_TIMEOUT_S) as connection:
            connection.sendall(packet)
            # The whole answer: closing with bytes unread resets the connection, which the server would log.
            return connection.recv(_ANSWER_BYTES)[:1] == b"R"
    except OSError:
        return False


def valkey_answers(port: int, password: str) -> bool:
    """True once Valkey answers PONG to an authenticated PING; False while it loads its file."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_PROBE_TIMEOUT_S) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < len(("AUTH", "PING")):
                piece = connection.recv(_ANSWER_BYTES)
                if not piece:
                    return False
                answer += piece
            return answer.startswith(b"+OK\r\n+PONG")
    except OSError:
        return False


def http_answers(port: int, path: str) -> bool:
    """True once something answers `GET path` with any status below 500."""
    request = f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}:{port}\r\n\r\n"
    try:
        with socket.create_connection((LOOPBACK, port), timeout=_PROBE_TIMEOUT_S) as connection:
            connection.sendall(request.encode())
            words = connection.recv(_ANSWER_BYTES).split(None, 2)  # HTTP/1.1 200 OK
    except OSError:
        return False
    return len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit() and int(words[1]) < _SERVER_ERROR
