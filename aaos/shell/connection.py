"""The way from a shell to the services: this process's container, and errors that say what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aaos.errors import BrokerUnavailable, DatabaseUnavailable
from aaos.shell import environment

if TYPE_CHECKING:
    from aaos.bootstrap import Container
    from aaos.settings import Settings

WARNING = 30  # logging.WARNING, without loading logging


def connect() -> Container:
    """Returns this process's container, on the servers that `environment` finds; connects to nothing yet.

    Raises:
        ConfigError, StartupError: the configuration or the state directory is unusable; names the remedy.
    """
    environment.enter()
    from aaos.bootstrap import container

    _quiet_logs()
    return container()


def configuration() -> Settings:
    """Returns the settings, without anything that could connect to a server."""
    environment.enter()
    from aaos.settings import settings

    return settings()


@contextmanager
def helpful_errors() -> Iterator[None]:
    """Adds to the error of a server that is away what the person at the keyboard can do; also a decorator."""
    try:
        yield
    except (DatabaseUnavailable, BrokerUnavailable) as error:
        raise environment.with_remedy(error) from None


def _quiet_logs() -> None:
    """Log lines to stderr, warnings and worse; whoever configured structlog already is left alone."""
    import structlog

    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(WARNING),
            # Asked for at each line: stderr may be redirected between two of them.
            logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        )
