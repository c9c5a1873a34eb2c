"""What runs, what waits, what it costs, and which server does not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from aaos.errors import AaosError, BrokerUnavailable, DatabaseUnavailable, NetworkError
from aaos.shell import environment
from aaos.shell.breakers import breaker_rows
from aaos.shell.figures import json_form
from aaos.shell.reviews import WaitingList
from aaos.shell.runs import instant, plain
from aaos.shell.tables import as_text, table
from aaos.shell.trading import TradingNow, trading_now

if TYPE_CHECKING:
    from rich.console import Group

    from aaos.bootstrap import Container
    from aaos.local.status import StackStatus

T = TypeVar("T")
ALERTS_SHOWN = 5
WAITING_SHOWN = 20
SOVEREIGN_TIMEOUT_S = 2.0
SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """Whether a server answers; `problem` says why not, or what is wrong with one that does."""

    name: str
    reachable: bool
    address: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue's messages, and the runs of its kind; None where the server that knows is away."""

    queue: str
    messages: int | None
    pending: int | None
    running: int | None


@dataclass(frozen=True, slots=True, repr=False)
class Status:
    """The stack of this machine (if there is one), the servers in use, queues, and what an operator should see."""

    stack: StackStatus
    servers: tuple[ServerStatus, ...]
    queues: tuple[QueueStatus, ...]
    outbox_backlog: int | None
    alerts: tuple[Mapping[str, Any], ...]
    waiting: WaitingList = field(default_factory=WaitingList)
    """Decisions that wait for a person's approval."""
    breakers: tuple[Mapping[str, Any], ...] = ()
    """How each model's breaker stands; none where the broker is away."""
    trading: TradingNow | None = None
    """Whether entries are sent, and what is open; None where the database is away."""

    @property
    def memory_pss_mb(self) -> float:
        """Memory of the whole stack, proportional set size in MiB."""
        return self.stack.memory_pss_mb

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; the stack's own fields stand at the top."""
        return {
            **asdict(self.stack),
            "servers": [asdict(server) for server in self.servers],
            "queues": [asdict(queue) for queue in self.queues],
            "outbox_backlog": self.outbox_backlog,
            "alerts": [{name: plain(value) for name, value in alert.items()} for alert in self.alerts],
            "waiting": self.waiting.to_dicts(),
            "breakers": [dict(each) for each in self.breakers],
            "trading": json_form(self.trading),
        }

    def __rich__(self) -> Group:
        """The tables, for rich."""
        from rich.console import Group

        return Group(*_shown(self))

    def __repr__(self) -> str:
        return as_text(self)


def current_status(container: Container) -> Status:
    """Returns the status now; never raises for a server that is away."""
    from aaos.local.status import status as stack_status

    settings = container.settings
    servers = (
        _server("PostgreSQL", settings.database_url.get_secret_value(), container.database.now),
        _server("broker", settings.broker_url.get_secret_value(), lambda: container.hints.queued("maintenance")),
        _sovereign(container),
    )
    database, broker = servers[0].reachable, servers[1].reachable
    return Status(
        stack=stack_status(environment.state_dir()),
        servers=servers,
        queues=_queues(container, database, broker),
        outbox_backlog=_known(container.outbox.backlog, database),
        alerts=tuple(_known(lambda: container.alerts.recent(ALERTS_SHOWN), database) or ()),
        waiting=WaitingList(_known(lambda: container.approvals.waiting(WAITING_SHOWN), database) or ()),
        breakers=tuple(breaker_rows(container)) if broker else (),
        trading=_known(lambda: trading_now(container), database),
    )


def _server(name: str, address: str, ask: Callable[[], object]) -> ServerStatus:
    from aaos.logs import redact

    try:
        ask()
    except AaosError as error:
        return ServerStatus(name, False, redact(address), redact(" ".join(str(error).split())))
    return ServerStatus(name, True, redact(address))


def _sovereign(container: Container) -> ServerStatus:
    """The model service; one that answers may still be another than the one that was meant."""
    problems: list[str | None] = []
    found = _server("Sovereign", container.settings.sovereign_url, lambda: problems.append(_ask_sovereign(container)))
    return replace(found, problem=problems[0]) if problems else found


def _ask_sovereign(container: Container) -> str | None:
    import httpx

    from aaos.shell.model_service import models_asked, problem_of

    key = container.settings.sovereign_api_key
    headers = {} if key is None else {"authorization": f"Bearer {key.get_secret_value()}"}
    try:
        address = container.settings.sovereign_url.rstrip("/") + "/models"
        answer = httpx.get(address, headers=headers, timeout=SOVEREIGN_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise NetworkError(f"no answer ({reason}); is it running, and is AAOS_SOVEREIGN_URL right?") from None
    if answer.status_code >= SERVER_ERROR:
        raise NetworkError(f"Sovereign answers with status {answer.status_code}")
    return problem_of(answer.status_code, answer.content, models_asked(container.settings))


def _queues(container: Container, database: bool, broker: bool) -> tuple[QueueStatus, ...]:
    from aaos.settings import HOUSEKEEPING_QUEUES

    found = []
    for name in (*container.settings.kinds, *HOUSEKEEPING_QUEUES):
        messages = _known(lambda queue=name: container.hints.queued(queue), broker)  # type: ignore[misc]
        is_kind = name in container.settings.kinds
        active = _known(lambda kind=name: container.runs.active(kind), database and is_kind)  # type: ignore[misc]
        pending, running = active or (None, None)
        found.append(QueueStatus(name, messages, pending, running))
    return tuple(found)


def _known(ask: Callable[[], T], worth_asking: bool) -> T | None:
    """What the server says, None where it is known to be away or just went."""
    if not worth_asking:
        return None
    try:
        return ask()
    except (DatabaseUnavailable, BrokerUnavailable):
        return None


def _left_alone(breaker: Mapping[str, Any]) -> str:
    if breaker["state"] == "open":
        return f"{breaker['model']} is left alone for {breaker['retry_after_s']:.0f} s more (`aaos sovereign breakers`)"
    return f"{breaker['model']} is being tried again, a call or two at a time (`aaos sovereign breakers`)"


def _shown(status: Status) -> Sequence[Any]:
    stack = status.stack
    parts: list[Any] = []
    if stack.running:
        cost = f"memory {stack.memory_pss_mb:.1f} MB (PSS)"
        parts.append(f"stack in {stack.state_dir}, up {stack.uptime_s:.0f} s; {cost}")
        headers = ("process", "state", "pid", "port", "up s", "restarts", "memory_pss_mb")
        parts.append(table(headers, ([
            each.name, each.state, each.pid, each.port, round(each.uptime_s), each.restarts, each.memory_pss_mb,
        ] for each in stack.processes)))  # fmt: skip
        parts += [f"Flower: {stack.flower_url}"] if stack.flower_url else []
    else:
        parts.append(f"no stack is running in {stack.state_dir}")
    parts += ["", table(("server", "answers", "address", "problem"), ([
        each.name, "yes" if each.reachable else "no", each.address, each.problem or "",
    ] for each in status.servers))]  # fmt: skip
    parts += ["", table(("queue", "messages", "pending runs", "running"), ([
        each.queue, each.messages, each.pending, each.running,
    ] for each in status.queues))]  # fmt: skip
    waiting = "unknown" if status.outbox_backlog is None else str(status.outbox_backlog)
    parts += ["", f"results not announced yet: {waiting}"]
    parts += ["trading: unknown" if status.trading is None else status.trading.line]
    parts += [_left_alone(each) for each in status.breakers if each["state"] not in (None, "closed")]
    if status.waiting:
        parts += ["", "decisions that wait for approval (`aaos approve RUN --reason …`):", status.waiting]
    if status.alerts:
        rows = ([instant(each["created_at"]), each["kind"], each["message"]] for each in status.alerts)
        parts += ["", table(("newest alerts", "kind", "message"), rows)]
    return parts
