"""The limiter's scripts. Each is atomic, on Redis' own clock, and the same arithmetic as `domain.call_limits.CallBook`.

Per scope (all models together, or one of them) there is a hash and a sorted set. The hash holds, by the number of
the cell: `r`, `t` the requests and tokens used, `R`, `T` those promised; and `.turn`, `.berth`, `.overflow`, `.mean`
as `CallBook` has them. The sorted set holds the calls under way by the end of their lease, so that those of a dead
worker end by themselves.
"""

from __future__ import annotations

from typing import Final

from aaos.domain.call_limits import (
    CELLS,
    FIRST_GUESS_S,
    GUESS_SHARE,
    HOLD_MAX_S,
    HORIZON_WINDOWS,
    LATENESS_CELLS,
)

KEPT_S: Final = 86_400
"""What nobody has asked for is forgotten after this long."""

SERVER_TIME: Final = "redis.call('TIME')"

CLOCK: Final = f"""
local time = {SERVER_TIME}
local now = time[1] + time[2] / 1000000
local window = tonumber(ARGV[4])
local width = window / {CELLS}
local function cell_of(at) return math.floor(at / width) end
local function write(number) return string.format('%.6f', number) end
"""

# KEYS: hash and sorted set of each scope. ARGV: member, tokens, hold_s, window_s, and for each scope its requests,
# tokens and calls at once (0: no limit). Answers the instant, or the number of scope and limit, and the wait.
ACQUIRE: Final = f"""{CLOCK}
local member, tokens, hold = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local current, horizon = cell_of(now), {HORIZON_WINDOWS} * window

local function read(number)
  local scope = {{hash = KEYS[2 * number - 1], calls = KEYS[2 * number], number = number}}
  local first = 4 + 3 * (number - 1)
  scope.requests, scope.tokens = tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2])
  scope.concurrent = tonumber(ARGV[first + 3])
  scope.cells, scope.order, scope.used, scope.booked = {{}}, {{}}, 0, 0
  scope.turn, scope.berth, scope.overflow, scope.mean = 0, 0, 0, {FIRST_GUESS_S}
  local over, promises = {{}}, {{}}
  local function count(cell, kind, value)
    local each = scope.cells[cell]
    if not each then
      each = {{0, 0}}
      scope.cells[cell] = each
      scope.order[#scope.order + 1] = cell
    end
    each[kind] = each[kind] + value
  end
  local stored = redis.call('HGETALL', scope.hash)
  for at = 1, #stored, 2 do
    local name, value = stored[at], tonumber(stored[at + 1])
    local letter, cell = string.sub(name, 1, 1), tonumber(string.sub(name, 2))
    if letter == '.' then
      scope[string.sub(name, 2)] = value
    elseif letter == 'r' or letter == 't' then
      if cell < current - {CELLS} or cell > current then
        over[#over + 1] = name
      elseif letter == 'r' then
        scope.used = scope.used + value
        count(cell, 1, value)
      else
        scope.booked = scope.booked + value
        count(cell, 2, value)
      end
    elseif cell <= current then
      over[#over + 1] = name
    else
      promises[#promises + 1] = {{name, cell, letter == 'R' and 1 or 2, value}}
    end
  end
  local set_back = math.max(scope.turn, scope.berth) > now + horizon
  if set_back then
    scope.turn, scope.berth = now, now
    redis.call('HSET', scope.hash, '.turn', write(now), '.berth', write(now))
  end
  for _, each in ipairs(promises) do
    if set_back then over[#over + 1] = each[1] else count(each[2], each[3], each[4]) end
  end
  if #over > 0 then redis.call('HDEL', scope.hash, unpack(over)) end
  redis.call('ZREMRANGEBYSCORE', scope.calls, '-inf', write(now))
  redis.call('ZREMRANGEBYSCORE', scope.calls, '(' .. write(now + {HOLD_MAX_S}), '+inf')
  return scope
end

local function over(scope, used, booked)
  if scope.requests > 0 and used + 1 > scope.requests then return 1 end
  if scope.tokens > 0 and booked > 0 and booked + tokens > scope.tokens then return 2 end
  return nil
end

local function room_at(scope)
  table.sort(scope.order)
  local used, booked = 0, 0
  for _, each in pairs(scope.cells) do
    used, booked = used + each[1], booked + each[2]
  end
  for _, cell in ipairs(scope.order) do
    used, booked = used - scope.cells[cell][1], booked - scope.cells[cell][2]
    if not over(scope, used, booked) then return (cell + {CELLS} + 1) * width end
  end
  return now
end

local function spacing_of(scope)
  local share = 0
  if scope.requests > 0 then share = 1 / scope.requests end
  if scope.tokens > 0 then share = math.max(share, math.min(tokens / scope.tokens, 1)) end
  return window * share
end

local function far_off(scope, spacing)
  scope.overflow = math.fmod(scope.overflow + spacing, horizon / 2)
  redis.call('HSET', scope.hash, '.overflow', write(scope.overflow))
  return horizon / 2 + scope.overflow
end

local function pace(scope)
  local limit = over(scope, scope.used, scope.booked)
  if not limit then return nil end
  local spacing = spacing_of(scope)
  local slot = math.max(room_at(scope), scope.turn + spacing)
  if slot > now + horizon then return limit, far_off(scope, spacing) end
  local cell = string.format('%d', cell_of(slot) + {LATENESS_CELLS})
  redis.call('HSET', scope.hash, '.turn', write(slot))
  redis.call('HINCRBY', scope.hash, 'R' .. cell, 1)
  redis.call('HINCRBY', scope.hash, 'T' .. cell, tokens)
  return limit, slot - now
end

local function berth(scope)
  if scope.concurrent == 0 or redis.call('ZCARD', scope.calls) < scope.concurrent then return nil end
  local spacing = scope.mean / scope.concurrent
  local slot = math.max(now, scope.berth) + spacing
  if slot > now + horizon then return 3, far_off(scope, spacing) end
  redis.call('HSET', scope.hash, '.berth', write(slot))
  return 3, slot - now
end

local scopes, refused = {{}}, nil
for number = 1, #KEYS / 2 do
  local scope = read(number)
  scopes[number] = scope
  for _, ask in ipairs({{pace, berth}}) do
    local limit, wait = ask(scope)
    if limit and (not refused or wait > refused[3]) then refused = {{number, limit, wait}} end
  end
end
for _, scope in ipairs(scopes) do
  if not refused then
    local cell = string.format('%d', current)
    redis.call('HINCRBY', scope.hash, 'r' .. cell, 1)
    redis.call('HINCRBY', scope.hash, 't' .. cell, tokens)
    redis.call('ZADD', scope.calls, write(now + hold), member)
  end
  redis.call('EXPIRE', scope.hash, {KEPT_S})
  redis.call('EXPIRE', scope.calls, {KEPT_S})
end
if refused then return {{tostring(refused[1]), tostring(refused[2]), write(refused[3])}} end
return {{write(now)}}
"""

# KEYS as above. ARGV: member, tokens not used, when it was acquired (0: nobody knows), window_s.
RELEASE: Final = f"""{CLOCK}
local spare, acquired = tonumber(ARGV[2]), tonumber(ARGV[3])
local field = string.format('t%d', cell_of(acquired))
for number = 1, #KEYS / 2 do
  local hash = KEYS[2 * number - 1]
  if redis.call('ZREM', KEYS[2 * number], ARGV[1]) == 1 and acquired > 0 then
    if spare ~= 0 and redis.call('HEXISTS', hash, field) == 1 then
      redis.call('HINCRBY', hash, field, -spare)
    end
    local mean = tonumber(redis.call('HGET', hash, '.mean') or {FIRST_GUESS_S})
    redis.call('HSET', hash, '.mean', write(mean + {GUESS_SHARE} * (math.max(now - acquired, 0) - mean)))
  end
end
return 1
"""
