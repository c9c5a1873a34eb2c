"""Breakers in memory and in a real Valkey: the same calls, the same verdicts, the same breaker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aaos.adapters.memory import MovableClock
from aaos.adapters.memory.breakers import LocalModelBreakers
from aaos.adapters.redis.breakers import RedisModelBreakers, key_of
from aaos.adapters.redis.scripts import connect_brisk
from aaos.domain.breakers import TRIAL_ANSWERS_S, Admission, BreakerChange, BreakerRules, BreakerState, BreakerView
from aaos.errors import BrokerUnavailable
from aaos.ports import ModelBreakers

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
RULES = BreakerRules()
LEASE_S = 125.0
MODEL, OTHER = "sovereign-32b", "sovereign-7b"
RACERS = 100
# Time passes in Valkey when every instant that is stored there is that much longer ago. KEYS: breakers, ARGV: ms.
PASS_TIME = """
for _, key in ipairs(KEYS) do
    local stored = redis.call('HMGET', key, 'until', 'trials')
    if stored[1] then
        local function ago(at) return string.format('%.0f', at - ARGV[1]) end
        local trials = string.gsub(stored[2], '=(%d+)', function(at) return '=' .. ago(at) end)
        redis.call('HSET', key, 'until', ago(stored[1]), 'trials', trials)
    end
end
"""


@dataclass
class Ground:
    """One kind of breakers, and how time passes there."""

    name: str
    make: Callable[[BreakerRules], ModelBreakers]
    pass_time: Callable[[float], object]

    def __post_init__(self) -> None:
        self.breakers = self.make(RULES)

    def calls(self, *verdicts: bool, model: str = MODEL) -> list[BreakerChange]:
        changes = [self.breakers.report(self.breakers.admit(model), ok) for ok in verdicts]
        return [change for change in changes if change is not None]

    def half_open(self) -> Ground:
        self.calls(False, False, False)
        self.pass_time(RULES.open_s)
        return self


def _memory() -> Ground:
    clock = MovableClock()
    made: dict[BreakerRules, LocalModelBreakers] = {}

    def make(rules: BreakerRules) -> LocalModelBreakers:
        return made.setdefault(rules, LocalModelBreakers(rules, LEASE_S, lambda: clock.now().timestamp()))

    return Ground("memory", make, clock.advance)


def _valkey(client: redis.Redis) -> Ground:
    def pass_time(seconds: float) -> None:
        keys = list(client.scan_iter("aaos:breaker:*"))
        client.eval(PASS_TIME, len(keys), *keys, round(seconds * 1000))

    return Ground("valkey", lambda rules: RedisModelBreakers(client, rules, LEASE_S), pass_time)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect_brisk(redis_url, timeout_s=5) as client:
        client.flushdb()
        yield client


@pytest.fixture(params=["memory", "valkey"])
def ground(request: pytest.FixtureRequest) -> Ground:
    return _memory() if request.param == "memory" else _valkey(request.getfixturevalue("client"))


def test_a_model_that_nobody_asked_is_trusted(ground: Ground) -> None:
    assert ground.breakers.view(MODEL) == BreakerView(MODEL, CLOSED, 0, 0.0)
    admission = ground.breakers.admit(MODEL)
    assert (admission.allowed, admission.state, admission.trial, admission.change) == (True, CLOSED, None, None)


@pytest.mark.requirement("FM-005")
def test_three_failures_in_a_row_open_it_for_a_minute(ground: Ground) -> None:
    assert ground.calls(False, False) == []
    assert ground.calls(False) == [BreakerChange(MODEL, CLOSED, OPEN, "3 failures in a row")]
    refused = ground.breakers.admit(MODEL)
    assert (refused.allowed, refused.state) == (False, OPEN)
    assert refused.retry_after_s == pytest.approx(60, abs=2)
    ground.pass_time(50)
    assert ground.breakers.admit(MODEL).retry_after_s == pytest.approx(10, abs=2)
    seen = ground.breakers.view(MODEL)
    assert (seen.state, seen.failures_in_a_row) == (OPEN, 3)
    assert seen.retry_after_s == pytest.approx(10, abs=2)


def test_half_of_the_last_ten_calls_open_it(ground: Ground) -> None:
    assert ground.calls(True, True, *[False, True] * 4) == []
    assert ground.calls(False) == [BreakerChange(MODEL, CLOSED, OPEN, "5 of the last 10 calls failed")]


@pytest.mark.requirement("FM-TAW-010")
def test_each_model_has_a_breaker_of_its_own(ground: Ground) -> None:
    ground.calls(False, False, False)
    assert ground.breakers.admit(OTHER).allowed


@pytest.mark.requirement("FM-005")
def test_after_a_minute_one_call_tries_and_five_successes_close_it(ground: Ground) -> None:
    ground.half_open()
    trial, other = ground.breakers.admit(MODEL), ground.breakers.admit(MODEL)
    assert trial.change == BreakerChange(MODEL, OPEN, HALF_OPEN, "left alone for 60 s: one call may try")
    assert (trial.allowed, other.allowed, other.change) == (True, False, None)
    assert other.retry_after_s == TRIAL_ANSWERS_S
    assert ground.breakers.report(trial, ok=True) is None
    assert ground.calls(True, True, True) == []
    assert ground.calls(True) == [BreakerChange(MODEL, HALF_OPEN, CLOSED, "5 trials in a row succeeded")]
    assert ground.breakers.view(MODEL) == BreakerView(MODEL, CLOSED, 0, 0.0)


def test_each_success_makes_room_for_one_more_trial(ground: Ground) -> None:
    ground.half_open()
    rounds = []
    while ground.breakers.view(MODEL).state is not CLOSED:
        trials = [each for each in (ground.breakers.admit(MODEL) for _ in range(10)) if each.allowed]
        rounds.append(len(trials))
        for trial in trials:
            ground.breakers.report(trial, ok=True)
    assert rounds == [1, 2, 4]


def test_a_failed_trial_opens_it_for_another_minute(ground: Ground) -> None:
    ground.half_open()
    assert ground.calls(False) == [BreakerChange(MODEL, HALF_OPEN, OPEN, "a trial failed")]
    assert not ground.breakers.admit(MODEL).allowed
    ground.pass_time(RULES.open_s)
    assert ground.breakers.admit(MODEL).allowed


def test_a_trial_that_is_never_heard_of_again_is_replaced_when_its_lease_ends(ground: Ground) -> None:
    lost = ground.half_open().breakers.admit(MODEL)
    ground.pass_time(LEASE_S - 5)
    assert not ground.breakers.admit(MODEL).allowed
    ground.pass_time(5)
    second = ground.breakers.admit(MODEL)
    assert (second.allowed, second.change) == (True, None)
    assert ground.breakers.report(lost, ok=False) is None
    assert ground.breakers.view(MODEL).state is HALF_OPEN


def test_a_trial_that_is_given_back_may_be_made_by_another(ground: Ground) -> None:
    ground.half_open().breakers.withdraw(ground.breakers.admit(MODEL))
    assert ground.breakers.admit(MODEL).allowed


def test_late_and_repeated_verdicts_are_void(ground: Ground) -> None:
    early = [ground.breakers.admit(MODEL) for _ in range(5)]
    ground.half_open()
    trial = ground.breakers.admit(MODEL)
    for admission in early:
        assert ground.breakers.report(admission, ok=False) is None
        ground.breakers.withdraw(admission)
    assert ground.breakers.view(MODEL).state is HALF_OPEN
    for _ in range(RULES.successes_to_close):
        assert ground.breakers.report(trial, ok=True) is None
    assert ground.breakers.view(MODEL).state is HALF_OPEN, "one success, told five times"


@pytest.mark.requirement("FM-005")
def test_of_a_hundred_that_race_exactly_one_tries(ground: Ground) -> None:
    ground.half_open()
    together = threading.Barrier(RACERS)

    def race(_: int) -> Admission:
        together.wait(30)
        return ground.breakers.admit(MODEL)

    with ThreadPoolExecutor(RACERS) as pool:
        admissions = list(pool.map(race, range(RACERS)))
    assert sum(each.allowed for each in admissions) == 1
    assert sum(each.change is not None for each in admissions) == 1


def test_of_a_hundred_failures_at_once_exactly_one_opens_it(ground: Ground) -> None:
    admissions = [ground.breakers.admit(MODEL) for _ in range(RACERS)]
    together = threading.Barrier(RACERS)

    def race(admission: Admission) -> BreakerChange | None:
        together.wait(30)
        return ground.breakers.report(admission, ok=False)

    with ThreadPoolExecutor(RACERS) as pool:
        changes = [change for change in pool.map(race, admissions) if change is not None]
    assert changes == [BreakerChange(MODEL, CLOSED, OPEN, "3 failures in a row")]
    assert ground.breakers.view(MODEL).failures_in_a_row == 3


def test_names_of_models_never_meet(ground: Ground) -> None:
    names = ["a", "a}", "{a", "{a}", "a b", "a%20b", "a\nb", "a:b", "a/b", "ä", "\ud800", "", "%7Ba", "*", "x" * 200]
    for name in names:
        ground.calls(False, False, False, model=name)
        assert ground.breakers.view(name).state is OPEN
        ground.pass_time(RULES.open_s)
        trial = ground.breakers.admit(name)
        assert trial.change is not None
        ground.calls(False, False, model=name)
    assert len({ground.breakers.view(name).failures_in_a_row for name in names}) == 1


# --- both side by side ------------------------------------------------------------------------------------

EVENTS = st.one_of(
    st.just(("ask",)),
    st.tuples(st.just("report"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("withdraw"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([7, 45, 61, 130])),
)
TRIES = st.builds(
    BreakerRules,
    failures_to_open=st.integers(1, 4),
    window_calls=st.integers(2, 6),
    window_failure_share=st.floats(0.05, 1),
    open_s=st.just(60.0),
    successes_to_close=st.integers(1, 4),
)
_numbers = count()


def _alike(one: Admission, other: Admission) -> bool:
    same = replace(one, epoch=0, trial=None, retry_after_s=0) == replace(other, epoch=0, trial=None, retry_after_s=0)
    near = one.retry_after_s == pytest.approx(other.retry_after_s, abs=3)
    return same and near and (one.trial is None) == (other.trial is None)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=TRIES, events=st.lists(EVENTS, max_size=60))
def test_the_script_and_the_domain_are_one_machine(
    client: redis.Redis, rules: BreakerRules, events: list[tuple[str, ...]]
) -> None:
    model = f"model-{next(_numbers)}"
    grounds = (_memory(), _valkey(client))
    local, shared = (ground.make(rules) for ground in grounds)
    pairs: list[tuple[Admission, Admission]] = []
    for name, *details in events:
        if name == "ask":
            pair = local.admit(model), shared.admit(model)
            assert _alike(*pair)
            if pair[0].allowed:
                pairs.append(pair)
        elif name == "wait":
            for ground in grounds:
                ground.pass_time(float(details[0]))
        elif pairs:
            pair = pairs[int(details[0]) % len(pairs)]
            if name == "report":
                ok = bool(details[1])
                assert local.report(pair[0], ok) == shared.report(pair[1], ok)
            else:
                local.withdraw(pair[0])
                shared.withdraw(pair[1])
        seen, stored = local.view(model), shared.view(model)
        assert replace(seen, retry_after_s=0) == replace(stored, retry_after_s=0)
    client.delete(key_of(model))


# --- only in Valkey ---------------------------------------------------------------------------------------


def test_what_valkey_has_forgotten_is_closed_and_old_verdicts_on_it_are_void(client: redis.Redis) -> None:
    ground = _valkey(client)
    early = [ground.breakers.admit(MODEL) for _ in range(3)]
    trial = ground.half_open().breakers.admit(MODEL)
    client.flushall()
    assert ground.breakers.report(trial, ok=False) is None
    assert not client.exists(key_of(MODEL)), "a verdict brings nothing back"
    assert ground.breakers.admit(MODEL).state is CLOSED
    for admission in [*early, trial]:
        assert ground.breakers.report(admission, ok=False) is None
        ground.breakers.withdraw(admission)
    assert ground.breakers.view(MODEL) == BreakerView(MODEL, CLOSED, 0, 0.0)


def test_a_server_that_has_forgotten_the_scripts_is_sent_them_again(client: redis.Redis) -> None:
    ground = _valkey(client)
    for _ in range(2):
        client.script_flush()
        ground.calls(False)
        ground.breakers.view(MODEL)
    assert ground.breakers.view(MODEL).failures_in_a_row == 2


def test_every_key_ends_by_itself(client: redis.Redis) -> None:
    ground = _valkey(client)
    longest_ms = (RULES.open_s + LEASE_S + 3600) * 1000
    for step in (lambda: ground.breakers.admit(MODEL), ground.half_open, lambda: ground.breakers.admit(MODEL)):
        step()
        assert 3_500_000 < client.pttl(key_of(MODEL)) <= longest_ms
    ground.breakers.withdraw(ground.breakers.admit(MODEL))
    assert client.dbsize() == 1
    assert 0 < client.pttl(key_of(MODEL)) <= longest_ms


WHOLE = {"epoch": "1", "failures": "0", "window": "", "until": "0", "successes": "0", "trials": ""}


@pytest.mark.parametrize(
    "foreign",
    [
        lambda client, key: client.set(key, "hello"),
        lambda client, key: client.rpush(key, "a", "b"),
        lambda client, key: client.hset(key, "state", "ajar"),
        lambda client, key: client.hset(key, mapping={**WHOLE, "state": "ajar"}),
        lambda client, key: client.hset(key, "state", "open"),
        lambda client, key: client.hset(key, mapping={"state": "closed", "trials": "", "epoch": "soon"}),
        lambda client, key: client.hset(key, mapping={"state": "half_open", "trials": "", "epoch": "soon"}),
    ],
    ids=["text", "list", "unknown state alone", "unknown state", "half a breaker", "no epoch", "no figures"],
)
def test_a_key_that_is_no_breaker_counts_as_redis_being_away(
    client: redis.Redis, foreign: Callable[[redis.Redis, str], object]
) -> None:
    foreign(client, key_of(MODEL))
    stored = client.dump(key_of(MODEL))
    with pytest.raises(BrokerUnavailable):
        RedisModelBreakers(client, RULES, LEASE_S).admit(MODEL)
    assert client.dump(key_of(MODEL)) == stored, "it is somebody else's"


@pytest.mark.parametrize("reply", [None, b"OK", [], [1], [1, b"ajar", b"1", 0, 0], [1, b"closed", b"x", 0, 0], {}])
def test_an_answer_that_is_none_counts_as_redis_being_away(reply: object) -> None:
    class Liar:
        def execute_command(self, *_: object) -> object:
            return reply

    breakers = RedisModelBreakers(Liar(), RULES, LEASE_S)  # type: ignore[arg-type]
    with pytest.raises(BrokerUnavailable):
        breakers.admit(MODEL)
    with pytest.raises(BrokerUnavailable):
        breakers.view(MODEL)
    if reply:
        with pytest.raises(BrokerUnavailable):
            breakers.report(Admission(MODEL, True, CLOSED, 1), ok=True)


def test_a_full_valkey_counts_as_redis_being_away(client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerUnavailable):
            RedisModelBreakers(client, RULES, LEASE_S).admit(MODEL)
    finally:
        client.config_set("maxmemory", "128mb")


def test_a_name_never_ends_its_own_hash_tag() -> None:
    assert key_of("qwen3:32b") == "aaos:breaker:{qwen3:32b}"
    assert key_of("}{ x") == "aaos:breaker:{%7D%7B%20x}"
