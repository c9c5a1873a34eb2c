"""Log lines: a constant sentence and structured fields, on one line, without secrets."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

import structlog

# user:password@ in an address, and what an Authorization header carries
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]*:[^\s/@]+(?=@)|(?<=Bearer )\S+|(?<=Basic )\S+")
_HIDDEN = "***"
# Variables whose values are secrets whatever they look like.
_SECRET_NAMES = re.compile(r"(PASSWORD|SECRET|TOKEN|API_KEY|BASIC_AUTH)")
_SECRET_MIN_CHARS = 6


def redact(text: str) -> str:
    """Returns the text without credentials: those in addresses and headers, and every secret of the environment."""
    for secret in _environment_secrets():
        text = text.replace(secret, _HIDDEN)
    return _CREDENTIALS.sub(_HIDDEN, text)


def configure_logging(level: str = "INFO") -> None:
    """Sends structlog and the standard library's log lines to stderr in one format."""
    _environment_secrets.cache_clear()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        # Line and newline in one write: pool children share the stream.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_RedactingFormatter("%(asctime)s [%(levelname)-7s] %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # One line per HTTP request and per task received says nothing that the run's own line does not.
    logging.getLogger("celery.beat").addFilter(_housekeeping)
    for noisy in ("httpx", "httpcore", "celery.worker.strategy", "celery.app.trace", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _housekeeping(record: logging.LogRecord) -> bool:
    """Drops beat's line for every task it sends: what a tick led to is logged by its runs."""
    return "Sending due task" not in record.getMessage()


class _RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


@lru_cache(maxsize=1)
def _environment_secrets() -> list[str]:
    # Read once: walking the environment for every field of every line cost a tenth of a run.
    return [
        value
        for name, value in os.environ.items()
        if (name.startswith(("AAOS_", "FLOWER_")) and _SECRET_NAMES.search(name)) or name.endswith("_API_KEY")
        if len(value) >= _SECRET_MIN_CHARS
    ]
