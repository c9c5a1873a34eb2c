"""A contestant of `./run bench sovereign` waits here for its turn, asks, and tells how long each call took.

Standard library only: this runs in the peers' own Python, too. One request a line on standard input, one answer a
line on standard output, both JSON:

    {"do": "prepare", "url": URL, "request": {...}}   a client for the service, the body of one chat completion
    {"do": "ask", "calls": N, "at_once": M}           N calls, M at a time
"""

import asyncio
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor


class Caller:
    """A client that blocks its caller: asked from threads."""

    # Whether it serves one caller at a time only.
    alone = False

    def prepare(self, url: str, request: dict) -> None:
        """Makes the client; not timed."""
        raise NotImplementedError

    def ask(self) -> str:
        """One call: returns the content of the answer."""
        raise NotImplementedError

    def calls(self, count: int, at_once: int) -> list:
        """Nanoseconds of each call."""
        if at_once == 1:
            return [self._timed(None) for _ in range(count)]
        with ThreadPoolExecutor(at_once) as threads:
            return list(threads.map(self._timed, range(count)))

    def _timed(self, _) -> int:
        began = time.perf_counter_ns()
        self.ask()
        return time.perf_counter_ns() - began


class AsyncCaller:
    """A client for coroutines: all calls on one loop."""

    alone = False

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def prepare(self, url: str, request: dict) -> None:
        """Makes the client; not timed."""
        raise NotImplementedError

    async def ask(self) -> str:
        """One call: returns the content of the answer."""
        raise NotImplementedError

    def calls(self, count: int, at_once: int) -> list:
        """Nanoseconds of each call."""
        return self._loop.run_until_complete(self._calls(count, at_once))

    async def _calls(self, count: int, at_once: int) -> list:
        turns = [count // at_once + (number < count % at_once) for number in range(at_once)]
        return [each for one in await asyncio.gather(*map(self._several, turns)) for each in one]

    async def _several(self, count: int) -> list:
        times = []
        for _ in range(count):
            began = time.perf_counter_ns()
            await self.ask()
            times.append(time.perf_counter_ns() - began)
        return times


def serve(caller) -> None:
    """Takes turns until standard input ends."""
    for line in sys.stdin:
        turn = json.loads(line)
        if turn["do"] == "prepare":
            caller.prepare(turn["url"], turn["request"])
            print(json.dumps(os.getpid()), flush=True)
            continue
        if caller.alone and turn["at_once"] > 1:
            print("null", flush=True)
            continue
        cpu_began = time.process_time_ns()
        times = caller.calls(turn["calls"], turn["at_once"])
        print(json.dumps({"ns": times, "cpu_ns": time.process_time_ns() - cpu_began}), flush=True)
