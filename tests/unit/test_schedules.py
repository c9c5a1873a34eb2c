"""What may depend on what."""

from __future__ import annotations

from itertools import pairwise

import pytest
from celery.utils.time import rate as celery_rate
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from aaos.domain.schedules import RATE, Kind, Schedule, check_dependencies, find_cycle
from aaos.errors import ConfigError


def schedules(**needs: tuple[str, ...]) -> dict[str, Schedule]:
    return {name: Schedule(60, depends_on) for name, depends_on in needs.items()}


@pytest.mark.requirement("F03")
def test_dependencies_without_a_circle_are_accepted() -> None:
    check_dependencies(schedules(a=(), b=("a",), c=("a", "b")))


@pytest.mark.requirement("F03")
def test_a_name_that_exists_nowhere_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"schedules\.b\.depends_on: unknown schedule 'x'; known: a, b"):
        check_dependencies(schedules(a=(), b=("x",)))


@pytest.mark.requirement("F03")
def test_a_schedule_cannot_depend_on_itself() -> None:
    with pytest.raises(ConfigError, match="a cannot depend on itself"):
        check_dependencies(schedules(a=("a",)))


@pytest.mark.requirement("F03")
def test_a_circle_is_refused_and_named() -> None:
    with pytest.raises(ConfigError, match="a → b → c → a"):
        check_dependencies(schedules(a=("b",), b=("c",), c=("a",)))


@pytest.mark.requirement("F03")
def test_an_enabled_schedule_cannot_wait_for_one_that_never_runs() -> None:
    never = Schedule(60, enabled=False)
    with pytest.raises(ConfigError, match="a is not enabled"):
        check_dependencies({"a": never, "b": Schedule(60, ("a",))})
    check_dependencies({"a": never, "b": Schedule(60, ("a",), enabled=False)})


GRAPHS = st.dictionaries(st.integers(0, 7).map(str), st.lists(st.integers(0, 7).map(str), max_size=4), max_size=8)


@given(GRAPHS)
def test_what_is_named_as_a_circle_is_one(graph: dict[str, list[str]]) -> None:
    cycle = find_cycle(graph)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(after in graph[before] for before, after in pairwise(cycle))


@given(GRAPHS)
def test_without_a_circle_everything_can_be_done_in_some_order(graph: dict[str, list[str]]) -> None:
    left = {node: set(needs) & set(graph) for node, needs in graph.items()}
    while ready := [node for node, needs in left.items() if not needs]:
        for node in ready:
            del left[node]
        left = {node: needs - set(ready) for node, needs in left.items()}
    assert bool(find_cycle(graph)) == bool(left)


@pytest.mark.requirement("F16")
@pytest.mark.parametrize(
    ("schema", "value", "what"),
    [
        (Schedule, {"every_s": 0}, "greater than or equal to 1"),
        (Schedule, {"every_s": 60, "max_age_factor": 0}, "greater than 0"),
        (Schedule, {"every_s": 60, "on_restart": "explode"}, "'rerun', 'skip' or 'alert'"),
        (Schedule, {"every_s": 60, "surprise": 1}, "surprise"),
        (Kind, {"requires": [], "pool": "cpu", "timeout_seconds": 30}, "at least 1 item"),
        (Kind, {"requires": ["x"], "pool": "gevent", "timeout_seconds": 30}, "'cpu' or 'io'"),
        (Kind, {"requires": ["x"], "pool": "cpu", "timeout_seconds": 0.5}, "greater than or equal to 1"),
        (Kind, {"requires": ["x"], "pool": "cpu", "timeout_seconds": 30, "max_concurrent": 0}, "or equal to 1"),
    ],
)
def test_values_outside_their_range_are_refused(schema: type, value: dict[str, object], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        TypeAdapter(schema).validate_python(value)


KIND = {"requires": ["x"], "pool": "io", "timeout_seconds": 30}


@pytest.mark.parametrize("rate", ["60/m", "0.5/s", "7200/h", None])
def test_a_rate_limit_is_a_number_and_a_unit(rate: str | None) -> None:
    assert TypeAdapter(Kind).validate_python(KIND | {"rate_limit": rate}).rate_limit == rate


@pytest.mark.parametrize("rate", ["60", "60/d", "60 / m", "-1/s", "0/m", "0.0/s", "fast", "1e3/s", "", "٣/s", 60])
def test_any_other_rate_limit_is_refused(rate: object) -> None:
    with pytest.raises(ValidationError, match="rate_limit"):
        TypeAdapter(Kind).validate_python(KIND | {"rate_limit": rate})


@given(st.from_regex(RATE, fullmatch=True))
def test_celery_reads_every_rate_limit_as_we_do(rate: str) -> None:
    per_s = {"s": 1, "m": 60, "h": 3600}
    number, _, unit = rate.partition("/")
    assert celery_rate(rate) == pytest.approx(float(number) / per_s[unit])
