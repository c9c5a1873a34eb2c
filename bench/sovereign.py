"""Asking a model that answers at once: what our layer adds to a call; then 200 votes in flight on one real worker."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import psutil

from bench.environment import ROOT, SCRATCH, Servers, servers
from bench.figures import percentile, spread, table
from bench.peers.install import peers_python
from bench.processes import Process, celery_worker, cpu_s, wait_until

CALLS = 400
WARM_UP = 100
AT_ONCE = (1, 32)
FLOOR = "floor"
NAMES = {
    FLOOR: "http.client, one connection (floor)",
    "httpx": "bare httpx.AsyncClient",
    "openai": "openai, AsyncOpenAI",
    "aaos": "aaos, SovereignClient",
}
SYMBOL = "BTC/USDT"
VOTER = "trend"
IN_FLIGHT = 200
# Long enough for all votes to be claimed and asked before the first answer comes.
MODEL_TAKES_S = 12
VOTES_TIMEOUT_S = 180.0
SAMPLE_S = 0.25
MIB = 1024


@dataclass(slots=True)
class Lap:
    """One turn of one caller: milliseconds of each call, CPU milliseconds per call."""

    ms: list[float]
    cpu_ms: float


@dataclass(slots=True)
class Memory:
    """MiB of one process: its share of all pages, all its pages, and those that are its alone."""

    pss: float
    rss: float
    private: float

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Reads them from the kernel."""
        found: dict[str, float] = {}
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value, _ = line.split()
            found[name.rstrip(":")] = int(value) / MIB
        return cls(found["Pss"], found["Rss"], found["Private_Dirty"] + found["Private_Clean"])

    def cells(self) -> list[str]:
        """As a table shows them."""
        return [f"{value:.0f}" for value in (self.pss, self.rss, self.private)]


@dataclass(slots=True)
class Votes:
    """What one worker needed for its votes."""

    memory: dict[str, Memory] = field(default_factory=dict)
    cpu_ms: float = 0.0
    threads: int = 0


def run(options: Namespace) -> None:
    """Prints both tables."""
    print(_report_calls(_raced(options)), flush=True)
    print(_report_votes(_voted()))


# --- what a call costs ------------------------------------------------------------------------------------------


def _raced(options: Namespace) -> dict[tuple[str, int], list[Lap]]:
    laps: dict[tuple[str, int], list[Lap]] = {}
    with ExitStack() as stack:
        url = stack.enter_context(_simulator())
        callers = {name: stack.enter_context(_caller(argv)) for name, argv in _callers(options).items()}
        for caller in callers.values():
            _turn(caller, {"do": "prepare", "url": url, "request": _request()})
            _asked(caller, WARM_UP, 1)
        for number in range(options.rounds):
            for at_once in AT_ONCE:
                for name, caller in callers.items():
                    lap = _asked(caller, CALLS, at_once)
                    if lap is not None:
                        laps.setdefault((name, at_once), []).append(lap)
            print(f"  round {number + 1} of {options.rounds}", flush=True)
    return laps


def _callers(options: Namespace) -> dict[str, list[str]]:
    found = {name: [sys.executable, "-m", "bench.callers", name] for name in (FLOOR, "httpx", "aaos")}
    python = None if options.no_peers else peers_python()
    if python is not None:
        found["openai"] = [str(python), str(ROOT / "bench" / "peers" / "openai_app.py")]
    return {name: found[name] for name in NAMES if name in found}


@contextmanager
def _caller(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _turn(caller: subprocess.Popen[str], request: Mapping[str, Any]) -> Any:
    asked, answered = cast("IO[str]", caller.stdin), cast("IO[str]", caller.stdout)
    print(json.dumps(request), file=asked, flush=True)
    return json.loads(answered.readline())


def _asked(caller: subprocess.Popen[str], calls: int, at_once: int) -> Lap | None:
    told = _turn(caller, {"do": "ask", "calls": calls, "at_once": at_once})
    return told and Lap([each / 1e6 for each in told["ns"]], told["cpu_ns"] / 1e6 / calls)


@contextmanager
def _simulator(*flags: str) -> Iterator[str]:
    """Yields the URL of a simulated service that answers at once."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "aaos.local.sovereign_sim", "--port", "0", *flags]
    log = Path(tempfile.mkstemp(prefix="sovereign-sim-", suffix=".log", dir=SCRATCH)[1])
    process = Process("sovereign-sim", argv, {}, log, "ready on http://")
    try:
        yield process.log.read_text().partition("ready on ")[2].split()[0]
    finally:
        process.stop()
        log.unlink()


def _request() -> dict[str, Any]:
    """A question of a vote's size: 100 candles, about 6 kB, and the schema of the answer."""
    rows = [
        f"{-n},{42_000 + n * 7}.25,{42_010 + n * 7}.5,{41_990 + n * 7}.75,{42_003 + n * 7},{9 + n}.125"
        for n in range(100)
    ]
    schema = {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "signal": {"enum": ["BUY", "SELL", "HOLD"]}},
        "required": ["reasoning", "signal"],
    }
    return {
        "model": "sovereign-32b",
        "messages": [
            {"role": "system", "content": "You are a careful analyst. Answer in JSON."},
            {"role": "user", "content": "minute,open,high,low,close,volume\n" + "\n".join(rows)},
        ],
        "temperature": 0.0,
        "max_tokens": 700,
        "seed": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "vote", "strict": True, "schema": schema}},
    }


def _report_calls(laps: Mapping[tuple[str, int], list[Lap]]) -> str:
    floor = statistics.median(percentile(lap.ms, 50) for lap in laps[FLOOR, 1])
    rows = []
    for (name, at_once), found in laps.items():
        middle, late = ([percentile(lap.ms, p) for lap in found] for p in (50, 99))
        added = [f"{statistics.median(each) - floor:.2f}" if at_once == 1 else "" for each in (middle, late)]
        cpu = spread([lap.cpu_ms for lap in found], 2)
        rows.append([NAMES[name], str(at_once), spread(middle, 2), spread(late, 2), *added, cpu])
    header = ["who asks", "at once", "p50 ms", "p99 ms", "above the floor: p50", "p99", "CPU ms a call"]
    rounds = len(laps[FLOOR, 1])
    return f"\nCalls to the simulator, no latency ({CALLS} calls a round, {rounds} rounds)\n\n{table(header, rows)}\n"


# --- votes in flight --------------------------------------------------------------------------------------------


def _voted() -> Votes:
    """All votes wait for the model at once; then the same number again, of a model that answers at once."""
    with servers() as on, _simulator() as url:
        context = _context(on, _environment(url))
        worker = _worker(on, _environment(url))
        try:
            _answer_after(url, MODEL_TAKES_S)
            votes = _in_flight(worker, context, url)
            _answer_after(url, 0)
            votes.cpu_ms = _cpu_per_vote(worker, context)
        finally:
            worker.stop()
    return votes


def _answer_after(url: str, seconds: float) -> None:
    change = json.dumps({"latency_ms": seconds * 1000}).encode()
    at = url.removesuffix("/v1") + "/sim/behaviour"
    with urllib.request.urlopen(urllib.request.Request(at, change, method="POST"), timeout=10):
        return


def _environment(url: str) -> dict[str, str]:
    """Room for all votes at once: the limits of a real service would put them back."""
    return {
        "AAOS_SOVEREIGN_URL": url,
        "AAOS_KINDS__TRADING_ANALYSIS__MAX_CONCURRENT": str(IN_FLIGHT),
        "AAOS_RUNS__MAX_CONCURRENT_TASKS": str(IN_FLIGHT),
        "AAOS_LOCAL__IO_THREADS": "256",
        "AAOS_SOVEREIGN__POOL_SIZE": str(IN_FLIGHT),
        "AAOS_SOVEREIGN__LIMITS__CONCURRENT": str(10 * IN_FLIGHT),
        "AAOS_SOVEREIGN__LIMITS__REQUESTS_PER_MINUTE": "1000000",
        "AAOS_SOVEREIGN__LIMITS__TOKENS_PER_MINUTE": "1000000000",
        "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DECISION": "1000000000",
        "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DAY": "1000000000",
        # As the embedded stack starts its workers.
        "MALLOC_ARENA_MAX": "2",
    }


def _worker(on: Servers, environment: Mapping[str, str]) -> Process:
    arguments = ("-P", "threads", "-c", str(IN_FLIGHT), "-Q", "trading_analysis")
    return celery_worker("bench.noop", "io", arguments, {**on.environment(), **environment}, on.directory)


def _context(on: Servers, environment: Mapping[str, str]) -> int:
    """Returns the run of a frozen context, made by the services from simulated candles."""
    from aaos import bootstrap
    from aaos.domain.runs import ClaimedRun, Completed
    from aaos.services.tick_schedule import new_run
    from aaos.services.use_market import use_simulated
    from aaos.settings import settings

    os.environ.update({**on.environment(), **environment})
    settings.cache_clear()
    bootstrap.reset()
    c = bootstrap.container()
    use_simulated(1.0, int(c.database.now().timestamp() * 1000), 3_600_000, c.settings.market, c.market_store)
    run_id, _ = c.runs.insert_request(new_run("trading_context", SYMBOL, c.settings, "bench"))
    run = c.runs.claim(run_id, "bench", 1)
    assert isinstance(run, ClaimedRun), run
    technical, regime = c.analyze_technicals(run, ()).body, c.detect_regime(run, ()).body
    candles = c.market.candles(SYMBOL, run.slot, c.settings.market.history_candles)
    body = {
        "symbol": SYMBOL,
        "as_of": technical["as_of"],
        "market_time": technical["market_time"],
        "candles": {"timeframe": candles.timeframe, "rows": candles.rows()},
        "technical": technical,
        "regime": regime,
    }
    c.runs.complete(run, Completed(body), publish=False)
    return run_id


def _ask_for_votes(context: int, count: int, name: str) -> None:
    from aaos.bootstrap import container
    from aaos.domain.runs import NewRun

    c = container()
    params = {"context_run": context, "voter": VOTER}
    timeout_s = c.settings.kind("trading_analysis").timeout_seconds
    for number in range(count):
        spec = NewRun("trading_analysis", SYMBOL, timeout_s, 600.0, f"{name}:{number}", params=params)
        run_id, _ = c.runs.insert_request(spec)
        c.hints.hint("trading_analysis", run_id)


def _all_completed() -> bool:
    """Whether no vote is under way; raises where one did not become a vote."""
    from aaos.bootstrap import container

    states = [each.state for each in container().runs.runs(2_000, kind="trading_analysis")]
    if {"failed", "skipped"} & {str(state) for state in states}:
        raise RuntimeError("a vote failed; see the worker's log")
    return all(str(state) == "completed" for state in states)


def _cpu_per_vote(worker: Process, context: int) -> float:
    """Returns the CPU milliseconds a whole vote costs its worker: message, claim, prompt, call, result."""
    before = sum(cpu_s(worker.pid))
    _ask_for_votes(context, IN_FLIGHT, "cpu")
    wait_until(_all_completed, VOTES_TIMEOUT_S, f"{IN_FLIGHT} votes", SAMPLE_S)
    return (sum(cpu_s(worker.pid)) - before) * 1000 / IN_FLIGHT


def _in_flight(worker: Process, context: int, url: str) -> Votes:
    votes = Votes({"ready": Memory.of(worker.pid)})
    process, port = psutil.Process(worker.pid), cast("int", urllib.parse.urlsplit(url).port)
    _ask_for_votes(context, IN_FLIGHT, "memory")
    asked = f"{IN_FLIGHT} calls in flight"
    wait_until(lambda: _asking(process, port) >= IN_FLIGHT, VOTES_TIMEOUT_S, asked, SAMPLE_S)
    votes.threads = process.num_threads()
    votes.memory[asked] = most = Memory.of(worker.pid)
    deadline = time.monotonic() + VOTES_TIMEOUT_S
    while not _all_completed() and time.monotonic() < deadline:
        most = max(most, Memory.of(worker.pid), key=lambda each: each.pss)
        time.sleep(SAMPLE_S)
    votes.memory["at its most, while the answers come in"] = most
    return votes


def _asking(process: psutil.Process, port: int) -> int:
    """How many connections to the model service are open."""
    return sum(1 for each in process.net_connections("tcp") if each.raddr and each.raddr.port == port)


def _report_votes(votes: Votes) -> str:
    rows = [[name, *memory.cells()] for name, memory in votes.memory.items()]
    header = ["one threads worker, MiB", "PSS", "RSS", "private"]
    ready, held = list(votes.memory.values())[:2]
    each_kib = (held.private - ready.private) * MIB / IN_FLIGHT
    return (
        f"\nVotes ({IN_FLIGHT} whole votes at once, {votes.threads} threads)\n\n{table(header, rows)}\n\n"
        f"{each_kib:.0f} KiB a vote in flight; {votes.cpu_ms:.1f} ms CPU of the worker a vote, from message to result\n"
    )
