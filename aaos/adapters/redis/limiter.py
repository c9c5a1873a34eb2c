"""Limits on calls to models, shared by all workers: one round trip a call, one script that decides all limits at once.

Redis' own clock counts, so that machines need not agree on the time; the arithmetic is that of `CallBook`.
"""

from __future__ import annotations

import random
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from redis import Redis

from aaos.adapters.redis.limiter_scripts import ACQUIRE, RELEASE, SERVER_TIME
from aaos.adapters.redis.scripts import Script
from aaos.domain.call_limits import JITTER_S, WINDOW_S, CallLimits, Caps, Limit, LimitPlan, Refused
from aaos.domain.llm_budget import ModelCard
from aaos.errors import BrokerUnavailable, RateLimited
from aaos.ports import Permit

# One hash tag: on a cluster, all keys of a script must live together.
PREFIX: Final = "aaos:{limits}:"
LIMITS: Final = (Limit.REQUESTS, Limit.TOKENS, Limit.CONCURRENT)
NO_LIMIT: Final = 0
UNKNOWN: Final = 0
# Bookings that may have been made without our hearing of it; one call in seconds tries, so they are few.
GHOSTS_MAX: Final = 100


class RedisCallLimiter:
    """`ports.CallLimiter`, except that it raises BrokerUnavailable while Redis is away; see `SteadyCallLimiter`."""

    def __init__(
        self,
        redis: Redis,
        limits: CallLimits,
        models: Mapping[str, ModelCard] | None = None,
        chance: random.Random | None = None,
        time: str = SERVER_TIME,
    ) -> None:
        """Builds it; `time` is the Lua expression for {seconds, microseconds}, for tests in which time is moved."""
        self._plan = LimitPlan.of(limits, models)
        self._chance = chance or random.Random()
        self._ghosts: deque[tuple[list[str], str]] = deque(maxlen=GHOSTS_MAX)
        self._acquire = Script(redis, ACQUIRE.replace(SERVER_TIME, time))
        self._release = Script(redis, RELEASE.replace(SERVER_TIME, time))

    def acquire(self, model: str, tokens: int, hold_s: float) -> Permit:
        """See the port. Raises BrokerUnavailable, too."""
        scopes = self._plan.scopes(model)
        member = uuid.uuid4().hex
        limits = [NO_LIMIT if each is None else each for _, caps in scopes for each in _in_order(caps)]
        try:
            answer = self._acquire(_keys(scopes), [member, tokens, str(hold_s), str(WINDOW_S), *limits])
        except BrokerUnavailable:
            # It may have been booked all the same, by a server that was frozen while we waited for its answer.
            self._ghosts.append((_keys(scopes), member))
            raise
        self._drop_ghosts()
        if len(answer) == 1:
            return Permit(model, f"{answer[0].decode()}:{member}", tokens)
        number, limit, wait_s = int(answer[0]), LIMITS[int(answer[1]) - 1], float(answer[2])
        scope, caps = scopes[number - 1]
        allowed = _in_order(caps)[LIMITS.index(limit)] or NO_LIMIT
        refused = Refused(limit, scope, allowed, wait_s)
        raise RateLimited(str(refused), wait_s + self._chance.uniform(0, JITTER_S))

    def release(self, permit: Permit, tokens_used: int | None = None) -> None:
        """See the port. Raises BrokerUnavailable, too; the permit ends by itself then."""
        acquired, _, member = permit.token.partition(":")
        spare = 0 if tokens_used is None else permit.tokens - tokens_used
        self._release(_keys(self._plan.scopes(permit.model)), [member, spare, acquired, str(WINDOW_S)])

    def _drop_ghosts(self) -> None:
        while self._ghosts:
            keys, member = self._ghosts.popleft()
            self._release(keys, [member, 0, UNKNOWN, str(WINDOW_S)])


def _keys(scopes: Sequence[tuple[str, Caps]]) -> list[str]:
    return [key for scope, _ in scopes for key in (f"{PREFIX}{scope}", f"{PREFIX}{scope}:calls")]


def _in_order(caps: Caps) -> tuple[int | None, int | None, int | None]:
    return caps.requests, caps.tokens, caps.concurrent
