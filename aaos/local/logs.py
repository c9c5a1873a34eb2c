"""What children print: on the console with their name before it, and in one bounded file each."""

from __future__ import annotations

import os
import sys
from collections import deque
from pathlib import Path
from typing import TextIO

NAME_WIDTH = 9
KEPT_LINES = 30
_MAX_LINE_BYTES = 64 * 1024  # a child that prints no newline must not fill our memory
_COLOURS = (36, 33, 32, 35, 34, 31)  # ECMA-48 foreground colours, readable on dark and light
_MASK = b"***"


class Console:
    """Prefixed lines on a stream; coloured only on a terminal, silent once the terminal is gone."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._coloured = self._stream.isatty() and "NO_COLOR" not in os.environ
        self._gone = False

    def line(self, name: str, text: str, colour: int = 0) -> None:
        """Print `name | text`."""
        prefix = f"{name:<{NAME_WIDTH}} |"
        if self._coloured:
            prefix = f"\x1b[{_COLOURS[colour % len(_COLOURS)]}m{prefix}\x1b[0m"
        self._write(f"{prefix} {text}\n")

    def block(self, text: str) -> None:
        """Print text as it is."""
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        if self._gone:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._gone = True  # closed terminal or pipe: the stack goes on, the files have it all


class LogFile:
    """`NAME.log`, moved to `NAME.log.1` when it exceeds its size."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size
        self._failed = False

    def write(self, data: bytes) -> None:
        """Append; a full disk loses log lines, never the stack."""
        try:
            if self._size + len(data) > self._max_bytes:
                self._rotate()
            self._file.write(data)
            self._size += len(data)
            self._failed = False
        except OSError as error:
            if not self._failed:
                print(f"cannot write {self._path}: {error.strerror}", file=sys.stderr)
            self._failed = True

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rotate(self) -> None:
        self._path.replace(self._path.with_suffix(".log.1"))
        self._file.close()
        self._file = self._path.open("ab", buffering=0)
        self._size = 0


class LineReader:
    """Turns pieces of a child's output into lines, with secrets masked."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self._secrets = tuple(secret.encode() for secret in secrets if secret)
        self._rest = b""
        self.recent: deque[str] = deque(maxlen=KEPT_LINES)

    def feed(self, data: bytes) -> list[str]:
        """The lines completed by `data`."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            complete, self._rest = [*complete, self._rest], b""
        return [self._clean(line) for line in complete]

    def flush(self) -> list[str]:
        """The last line, if it had no newline."""
        rest, self._rest = self._rest, b""
        return [self._clean(rest)] if rest else []

    def _clean(self, line: bytes) -> str:
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, _MASK)
        text = line.decode("utf-8", errors="replace").rstrip("\r")
        self.recent.append(text)
        return text
