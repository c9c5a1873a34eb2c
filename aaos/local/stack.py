"""The processes of aaos in one table: every command line of the stack stands here and nowhere else."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from aaos.local.child import ProcessSpec, RunningProcess
from aaos.local.config import LocalConfig
from aaos.local.files import password, password_file
from aaos.local.forked import NURSERY_READY, Nursery
from aaos.local.ports import PortBook
from aaos.local.postgres import PostgresServer
from aaos.local.probes import LOOPBACK, http_answers
from aaos.local.server import Server
from aaos.local.spawn import Command, spawn
from aaos.local.state import StateDir
from aaos.local.valkey import ValkeyServer

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
FLOWER_USER = "aaos"
# It keeps what it shows in memory, 2.5 kB a task; its own limit is 100,000. Runs, however old, are in the database.
FLOWER_TASKS = 2_000
CPU_QUEUES = "technical_analysis,regime_detection"
# A container's root runs this stack on purpose; Celery would say so in eight lines at each start.
_NO_ROOT_WARNING = "ignore:You're running the worker with superuser privileges"
# Celery's soft shutdown (it hands unfinished messages back) answers SIGQUIT; make SIGTERM mean that.
_NODES = {"REMAP_SIGTERM": "SIGQUIT", "PYTHONWARNINGS": _NO_ROOT_WARNING}
# What costs memory per thread, bounded: glibc's arenas, and buffers of numpy's linear algebra (which nobody uses here).
_SMALL = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
IO_QUEUES = ",".join(
    (
        *("trading_context", "trading_analysis", "trading_decision", "risk_assessment"),
        *("portfolio_rebalance", "result_publishing", "maintenance"),
    )
)
TRADER_QUEUES = "execution"
# Who decides may not write orders, who executes no approvals: the database sees to it (docs/trading-store.md).
DECIDING, EXECUTING = "aaos_deciding_worker", "aaos_executing_worker"


# SYMBOL@TIMEFRAME=PATH; whatever does not look so is a path.
_NAMED_SERIES = re.compile(r"(?P<series>[^=@]+@\d+[a-zA-Z])=(?P<path>.+)")


@dataclass(frozen=True, slots=True)
class ReplayFile:
    """A file to be played, and the series it is said to hold where its name does not tell."""

    path: Path
    series: str | None = None

    @classmethod
    def parse(cls, argument: str) -> ReplayFile:
        """The file that a person named as PATH or SYMBOL@TIMEFRAME=PATH, made absolute."""
        named = None if Path(argument).exists() else _NAMED_SERIES.fullmatch(argument)
        path = Path(named["path"] if named else argument).expanduser().absolute()
        return cls(path, named["series"] if named else None)

    def __str__(self) -> str:
        return f"{self.series}={self.path}" if self.series else str(self.path)


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What a person may say to `./run up`."""

    state: Path = field(default_factory=lambda: PROJECT_ROOT / ".aaos")
    replay: tuple[ReplayFile, ...] = ()
    speed: float | None = None
    flower_port: int | None = None
    fresh_ports: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """What the supervisor needs: the table, what must not be printed, the environment for everybody else."""

    specs: tuple[ProcessSpec, ...]
    secrets: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    flower_port: int | None = None
    simulated: bool = True
    """Whether the model service is a simulator of this stack."""


TOKENS_PER_DAY = "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DAY"

StackBuilder = Callable[[UpOptions, StateDir, LocalConfig], Stack]


def build_stack(options: UpOptions, state: StateDir, config: LocalConfig) -> Stack:
    """The whole of aaos on this machine.

    Raises:
        StartupError: a port that was asked for or remembered is in use; names the remedy.
    """
    valkey = ValkeyServer(state.path, max_memory_mb=config.valkey_max_memory_mb)
    postgres = PostgresServer(state.path)
    for server in (valkey, postgres):
        server.shared_fds = (state.lock.fd,)
        server.claim_port()
    ports = PortBook(state.path)
    sovereign_port = ports.claim("sovereign")
    simulator = f"http://{LOOPBACK}:{sovereign_port}/v1"
    # Also equal where a shell has read this stack's own file `env`.
    model_service = os.environ.get("AAOS_SOVEREIGN_URL") or simulator
    simulated = model_service == simulator
    flower_port = ports.claim("flower", options.flower_port, "choose another with --flower-port N, or --fresh-ports")
    environment = {
        "AAOS_BROKER_URL": valkey.url,
        "AAOS_REDIS_URL": valkey.url,
        "AAOS_DATABASE_URL": postgres.dsn,
        "AAOS_SOVEREIGN_URL": model_service,
        "AAOS_SPEED": f"{options.speed or 1:g}",
        "AAOS_STATE_DIR": str(state.path),
    }
    if simulated:
        # A simulator's tokens cost nothing, and `--speed 60` asks for a day's worth of them in 24 minutes.
        environment[TOKENS_PER_DAY] = os.environ.get(TOKENS_PER_DAY, "null")
    flower_password = password(state.path, "flower")
    logins = {user: password(state.path, user) for user in (DECIDING, EXECUTING)}
    addresses = {user: postgres.dsn_of(user, secret) for user, secret in logins.items()}
    nursery = _nursery(state) if sys.platform == "linux" else None
    table = _Table(options, config, environment, state, addresses, nursery)
    specs = (
        table.server(valkey, stage=1),
        table.server(postgres, stage=1),
        *table.nursery_of_nodes(),
        *([table.sovereign(sovereign_port)] if simulated else []),
        *table.preparations(),
        *table.workers(),
        table.beat(),
        # Last: the first decision does not wait for its page.
        table.flower(flower_port, flower_password),
    )
    secrets = (valkey.password, postgres.password, flower_password, *logins.values())
    return Stack(specs, secrets, environment, flower_port, simulated)


@dataclass(frozen=True, slots=True)
class _Table:
    options: UpOptions
    config: LocalConfig
    environment: Mapping[str, str]
    state: StateDir
    databases: Mapping[str, str] = field(repr=False)
    """The database's address by user."""
    nursery: Nursery | None
    """What forks the Celery nodes; without it each imports everything itself."""

    def server(self, server: Server, stage: int) -> ProcessSpec:
        return ProcessSpec(
            name=server.name,
            stage=stage,
            start=partial(server.launch, piped=True),
            answers=server.answers,
            ready_line=server.ready_line,
            stop_signal=server.stop_signal,
            grace_s=self.config.stop_grace_s,
            restart_delay_s=self.config.server_restart_delay_s,
            port=server.port,
        )

    def preparations(self) -> tuple[ProcessSpec, ...]:
        files = [word for file in self.options.replay for word in ("--replay", str(file))]
        market = ("market", "use", *files, "--speed", self.environment["AAOS_SPEED"])
        decider, executor = (f"{user}={password_file(self.state.path, user)}" for user in (DECIDING, EXECUTING))
        migrate = ("migrate", "--decider", decider, "--executor", executor)
        return (
            ProcessSpec("migrate", 2, self._python("-m", "aaos.cli", *migrate), once=True),
            ProcessSpec("market", 3, self._python("-m", "aaos.cli", *market), once=True),
        )

    def sovereign(self, port: int) -> ProcessSpec:
        start = self._python("-m", "aaos.local.sovereign_sim", "--port", str(port))
        return self._service("sovereign", 2, start, answers=partial(http_answers, port, "/health"), port=port)

    def nursery_of_nodes(self) -> tuple[ProcessSpec, ...]:
        if self.nursery is None:
            return ()
        spec = self._service("nursery", 2, self.nursery.launch, ready_line=NURSERY_READY)
        # Nodes that die meanwhile wait for it.
        return (replace(spec, restart_delay_s=self.config.server_restart_delay_s),)

    def workers(self) -> tuple[ProcessSpec, ...]:
        cpu = ("-P", "prefork", "-c", str(self.config.cpu_processes), "-O", "fair", "-Q", CPU_QUEUES)
        io = ("-P", "threads", "-c", str(self.config.io_threads), "-Q", IO_QUEUES)
        trader = ("-P", "threads", "-c", str(self.config.trader_threads), "-Q", TRADER_QUEUES)
        return (
            self._worker("cpu", DECIDING, *cpu),
            self._worker("io", DECIDING, *io),
            self._worker("trader", EXECUTING, *trader),
        )

    def beat(self) -> ProcessSpec:
        # Ticks the current slot of every schedule as soon as it starts.
        start = self._celery("beat", "beat", "--loglevel", "INFO")
        return self._service("beat", 5, start, ready_line="beat: Starting")

    def flower(self, port: int, secret: str) -> ProcessSpec:
        # Through the environment: a command line would show the password to every user of the machine.
        broker = self.environment["AAOS_BROKER_URL"]
        extra = {"FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{secret}", "CELERY_BROKER_URL": broker}
        # Without `-A workers`: Flower watches events and asks workers, and our code would cost it 40 MB.
        where = (f"--address={LOOPBACK}", f"--port={port}", f"--max_tasks={FLOWER_TASKS}")
        start = self._node("flower", "flower", *where, extra=extra)
        return self._service("flower", 6, start, answers=partial(http_answers, port, "/"), port=port)

    def _worker(self, name: str, user: str, *arguments: str) -> ProcessSpec:
        quiet = ("--without-mingle", "--without-gossip", "--loglevel", "INFO")
        extra = {**_NODES, "AAOS_DATABASE_URL": self.databases[user]}
        start = self._celery(name, "worker", "-n", f"{name}@%h", *arguments, *quiet, extra=extra)
        grace_s = self.config.worker_stop_grace_s
        return self._service(name, 4, start, ready_line=" ready.", grace_s=grace_s)

    def _service(
        self,
        name: str,
        stage: int,
        start: Callable[[], RunningProcess],
        *,
        answers: Callable[[], bool] | None = None,
        ready_line: str | None = None,
        grace_s: float | None = None,
        port: int | None = None,
    ) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            stage=stage,
            start=start,
            answers=answers,
            ready_line=ready_line,
            grace_s=self.config.stop_grace_s if grace_s is None else grace_s,
            restart_delay_s=self.config.restart_delay_s,
            port=port,
        )

    def _celery(
        self, name: str, *arguments: str, extra: Mapping[str, str] | None = None
    ) -> Callable[[], RunningProcess]:
        return self._node(name, "--quiet", "-A", "workers", *arguments, extra=extra)

    def _node(self, name: str, *arguments: str, extra: Mapping[str, str] | None = None) -> Callable[[], RunningProcess]:
        if self.nursery is not None:
            return partial(self.nursery.fork, name, arguments, {**self.environment, **(extra or {})})
        return self._python("-m", "celery", *arguments, extra=extra)

    def _python(self, *arguments: str, extra: Mapping[str, str] | None = None) -> Callable[[], subprocess.Popen[bytes]]:
        environment = child_environment(self.environment, extra)
        return partial(spawn, _python(self.state, *arguments, environment=environment), subprocess.PIPE)


def _nursery(state: StateDir) -> Nursery:
    # Without the stack's addresses: they come to each node with the request for it.
    return Nursery(_python(state, "-m", "aaos.local.nursery", environment=child_environment(_NODES)))


def _python(state: StateDir, *arguments: str, environment: Mapping[str, str]) -> Command:
    return Command(
        argv=(sys.executable, *arguments),
        env=environment,
        cwd=PROJECT_ROOT,
        death_signal=signal.SIGKILL,
        keep_fds=(state.lock.fd,),
    )


def child_environment(stack: Mapping[str, str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our own environment, the stack's addresses, unbuffered output, and a small appetite for memory."""
    # The interpreter's own directory first: children find the tools of this virtual environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**_SMALL, **os.environ, **stack, **(extra or {}), "PATH": path, "PYTHONUNBUFFERED": "1"}


def where_to_look(stack: Stack, state: StateDir) -> str:
    """What a person reads when all is ready."""
    default = state.path == UpOptions().state
    option = "" if default else f" --state {shlex.quote(str(state.path))}"
    aaos = f"./run aaos{option}"
    flower = f"http://{LOOPBACK}:{stack.flower_port}"
    model_service = re.sub("//[^/@]*@", "//***@", stack.environment.get("AAOS_SOVEREIGN_URL", "none"))
    whose = "simulated; your own: docs/sovereign.md" if stack.simulated else "as AAOS_SOVEREIGN_URL says"
    return "\n".join(
        [
            "",
            f"aaos is running. State and data: {state.path} (logs in {state.logs})",
            f"  Flower     {flower}  user {FLOWER_USER}, password in {state.path}/secrets/flower",
            f"  Sovereign  {model_service}  ({whose})",
            f"  results    {aaos} results",
            f"  runs       {aaos} runs",
            f"  trading    {aaos} trading   (on paper; also: positions, orders, pnl)",
            f"  shell      {aaos} shell",
            f"  status     {aaos} status",
            f"  stop       Ctrl-C here, or ./run down{option}",
            "",
        ]
    )
