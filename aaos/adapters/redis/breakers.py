"""Breakers that all workers share: one hash per model in Redis, changed by one script per operation.

The scripts are `aaos.domain.breakers` said again in Lua, so that reading, judging and writing are one atomic step
on Redis' own clock; the contract tests run both side by side. `aaos:breaker:{model}` holds

    state epoch failures window until successes trials

`window` is one digit per call, 1 for a failure, newest last; `trials` is `id=end of lease` for each, with blanks
between. Instants are milliseconds. What is not there, because Redis was emptied or nobody asked for long, is closed.
"""

from __future__ import annotations

import secrets
from collections import deque
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from redis import Redis

from aaos.adapters.redis.scripts import Script
from aaos.domain.breakers import (
    TRIAL_ANSWERS_S,
    Admission,
    Breaker,
    BreakerChange,
    BreakerRules,
    BreakerState,
    BreakerView,
    change_of,
)
from aaos.errors import BrokerUnavailable

KEY_PREFIX: Final = "aaos:breaker:"
FORGET_AFTER_S: Final = 3600
"""A model that nobody asked for so long, beyond its open time and its trials, is as good as new."""
GHOSTS_MAX: Final = 100
"""Trials that may have been granted without our hearing of it; few calls are made while Redis is away."""

_LOAD = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stored = redis.call('HMGET', KEYS[1], 'state', 'epoch', 'failures', 'window', 'until', 'successes', 'trials')
local state, epoch, window = stored[1], stored[2], stored[4]
local failures, open_until, successes = tonumber(stored[3]), tonumber(stored[5]), tonumber(stored[6])
local trials, trying = {}, 0

local function whole(number) return string.format('%.0f', number) end

if state then
    if state ~= 'closed' and state ~= 'open' and state ~= 'half_open' then
        return redis.error_reply('the breaker is in no known state')
    end
    for id, finish in string.gmatch(stored[7], '(%w+)=(%d+)') do
        trials[id] = tonumber(finish)
        trying = trying + 1
    end
end

local function left(finish, span)
    local ms = finish - now
    if ms > 0 and ms <= span then return ms end
    return 0
end

local function save(keep_ms)
    local list = {}
    for id, finish in pairs(trials) do list[#list + 1] = id .. '=' .. whole(finish) end
    redis.call('HSET', KEYS[1], 'state', state, 'epoch', epoch, 'failures', whole(failures), 'window', window,
        'until', whole(open_until), 'successes', whole(successes), 'trials', table.concat(list, ' '))
    redis.call('PEXPIRE', KEYS[1], keep_ms)
end

local function enter(new_state)
    -- The clock's microseconds: never the number of a state from before Redis forgot everything.
    state, epoch = new_state, whole(math.max(tonumber(epoch or 0) + 1, time[1] * 1000000 + time[2]))
    window, open_until, successes, trials, trying = '', 0, 0, {}, 0
end
"""

# trial, open_ms, lease_ms, patience_ms, keep_ms → allowed, state, epoch, retry_ms, whether it became half-open
_ADMIT = (
    _LOAD
    + """
local id, lease_ms, keep_ms = ARGV[1], tonumber(ARGV[3]), ARGV[5]
if not state then
    failures = 0
    enter('closed')
    save(keep_ms)
end
if state == 'closed' then return {1, state, epoch, 0, 0} end
local became = 0
if state == 'open' then
    local ms = left(open_until, tonumber(ARGV[2]))
    if ms > 0 then return {0, state, epoch, ms, 0} end
    enter('half_open')
    became = 1
end
local soonest = math.huge
for other, finish in pairs(trials) do
    if left(finish, lease_ms) == 0 then
        trials[other] = nil
        trying = trying - 1
    else
        soonest = math.min(soonest, finish - now)
    end
end
if not trials[id] and trying > successes then
    save(keep_ms)
    return {0, state, epoch, math.min(soonest, tonumber(ARGV[4])), 0}
end
trials[id] = trials[id] or now + lease_ms
save(keep_ms)
return {1, state, epoch, 0, became}
"""
)

# epoch, trial, failed, failures_to_open, window_calls, window_failures, successes_to_close, open_ms, keep_ms
# → nothing, or before, after, failures in a row, failures in the window
_JUDGE = (
    _LOAD
    + """
local id, failed, calls, keep_ms = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5]), ARGV[9]
if not state or ARGV[1] ~= epoch then return {} end
local before, bad = state, 0
failures = failed == 1 and failures + 1 or 0
if state == 'closed' then
    window = string.sub(window .. failed, -calls)
    local _, ones = string.gsub(window, '1', '')
    local many = #window == calls and ones >= tonumber(ARGV[6])
    if failures >= tonumber(ARGV[4]) or many then
        bad = ones
        enter('open')
    end
else
    if not trials[id] then return {} end
    trials[id] = nil
    if failed == 1 then
        enter('open')
    elseif successes + 1 < tonumber(ARGV[7]) then
        successes = successes + 1
    else
        enter('closed')
    end
end
if state == 'open' then open_until = now + tonumber(ARGV[8]) end
save(keep_ms)
if state == before then return {} end
return {before, state, failures, bad}
"""
)

# trial, keep_ms; a trial's id is never used again, so it tells the epoch, too
_WITHDRAW = (
    _LOAD
    + """
if state and trials[ARGV[1]] then
    trials[ARGV[1]] = nil
    save(ARGV[2])
end
return 0
"""
)

# open_ms → state, failures in a row, ms for which it stays open
_VIEW = (
    _LOAD
    + """
if not state then return {'closed', 0, 0} end
return {state, failures, state == 'open' and left(open_until, tonumber(ARGV[1])) or 0}
"""
)


class RedisModelBreakers:
    """Implements `ports.ModelBreakers`, but for one thing: BrokerUnavailable says that Redis is away.

    Args:
        redis: client that does not wait for long.
        rules: when a breaker opens and closes.
        trial_lease_s: how long one admission may take, repair of an answer included; a trial that is neither
            reported nor withdrawn by then makes room for another.
    """

    def __init__(self, redis: Redis, rules: BreakerRules, trial_lease_s: float) -> None:
        self._rules = rules
        self._lease_ms = round(trial_lease_s * 1000)
        self._keep_ms = rules.open_ms + self._lease_ms + FORGET_AFTER_S * 1000
        self._admit = Script(redis, _ADMIT)
        self._judge = Script(redis, _JUDGE)
        self._withdraw = Script(redis, _WITHDRAW)
        self._view = Script(redis, _VIEW)
        self._ghosts: deque[tuple[str, str]] = deque(maxlen=GHOSTS_MAX)

    def admit(self, model: str) -> Admission:
        """See the port."""
        # The id is made here: a client that sends the command twice (on a cluster they do) makes one trial of it.
        trial = secrets.token_hex(8)
        patience_ms = round(TRIAL_ANSWERS_S * 1000)
        arguments = (trial, self._rules.open_ms, self._lease_ms, patience_ms, self._keep_ms)
        self._lay_ghosts()
        try:
            reply = self._admit([key_of(model)], arguments)
        except BrokerUnavailable:
            # A server that was frozen may grant it when it goes on, to nobody.
            self._ghosts.append((model, trial))
            raise
        return self._admission(model, trial, reply)

    def report(self, admission: Admission, ok: bool) -> BreakerChange | None:
        """See the port."""
        rules = self._rules
        reply = self._judge(
            [key_of(admission.model)],
            (
                admission.epoch,
                admission.trial or "",
                0 if ok else 1,
                rules.failures_to_open,
                rules.window_calls,
                rules.window_failures,
                rules.successes_to_close,
                rules.open_ms,
                self._keep_ms,
            ),
        )
        return self._change(admission, reply)

    def withdraw(self, admission: Admission) -> None:
        """See the port."""
        if admission.trial is not None:
            self._withdraw([key_of(admission.model)], (admission.trial, self._keep_ms))

    def view(self, model: str) -> BreakerView:
        """See the port."""
        reply = self._view([key_of(model)], (self._rules.open_ms,))
        try:
            state, failures, left_ms = reply
            return BreakerView(model, _state(state), int(failures), int(left_ms) / 1000)
        except (TypeError, ValueError) as error:
            raise _malformed(reply) from error

    def _lay_ghosts(self) -> None:
        while self._ghosts:
            model, trial = ghost = self._ghosts[0]
            self._withdraw([key_of(model)], (trial, self._keep_ms))
            with suppress(ValueError):  # another thread was quicker
                self._ghosts.remove(ghost)

    def _admission(self, model: str, trial: str, reply: Any) -> Admission:
        try:
            allowed, state, epoch, retry_ms, became = reply
            now = Breaker(int(epoch), _state(state))
            change = change_of(model, BreakerState.OPEN, now, 0, self._rules) if int(became) else None
            tried = trial if int(allowed) and now.state is BreakerState.HALF_OPEN else None
            return Admission(model, bool(int(allowed)), now.state, now.epoch, tried, int(retry_ms) / 1000, change)
        except (TypeError, ValueError) as error:
            raise _malformed(reply) from error

    def _change(self, admission: Admission, reply: Any) -> BreakerChange | None:
        try:
            if not reply:
                return None
            before, after, failures, window_failures = reply
            now = Breaker(admission.epoch, _state(after), int(failures))
            return change_of(admission.model, _state(before), now, int(window_failures), self._rules)
        except (TypeError, ValueError) as error:
            raise _malformed(reply) from error


def key_of(model: str) -> str:
    """Returns the key of the model's breaker; braces, blanks and whatever else a name may hold are %-encoded."""
    # The tag in braces decides a key's place on a cluster, and must not be ended by the name itself.
    return f"{KEY_PREFIX}{{{quote(model, safe='/:@', errors='surrogatepass')}}}"


def _state(said: bytes | str) -> BreakerState:
    return BreakerState(said.decode() if isinstance(said, bytes) else said)


def _malformed(reply: Any) -> BrokerUnavailable:
    return BrokerUnavailable(f"Redis gave an answer that a breaker cannot have given: {reply!r:.100}")
