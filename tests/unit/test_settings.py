"""config/*.yaml and the environment: validated once, refused by name, hashed without secrets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from aaos.errors import ConfigError, UnknownKind
from aaos.settings import PROJECT_ROOT, STAGE_KINDS, Settings, load_settings, settings

SHIPPED = PROJECT_ROOT / "config"
Edit = Callable[[str, Callable[[Any], Any]], Path]


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Edits one section of a copy of the shipped configuration; returns the copy."""
    directory = tmp_path / "config"
    shutil.copytree(SHIPPED, directory)

    def change(section: str, how: Callable[[Any], Any]) -> Path:
        path = directory / f"{section}.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(yaml.safe_dump(how(content)), encoding="utf-8")
        return directory

    return change


def changed(**values: Any) -> Callable[[Any], Any]:
    return lambda content: content | values


def refusal(directory: Path | None = None, **overrides: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(directory, **overrides)
    return str(caught.value)


# --- what is shipped ----------------------------------------------------------------------------------------


def test_the_shipped_configuration_is_valid_and_has_a_queue_for_every_schedule_and_stage() -> None:
    shipped = load_settings()
    assert set(shipped.enabled_schedules) == {
        "technical_analysis",
        "regime_detection",
        "trading_decision",
        "portfolio_rebalance",
    }
    for name in (*shipped.schedules, *STAGE_KINDS):
        assert shipped.kind(name).timeout_seconds > 0


@pytest.mark.requirement("F16")
def test_every_key_an_operator_can_edit_is_commented_where_it_stands() -> None:
    for path in sorted(SHIPPED.glob("*.yaml")):
        assert path.read_text(encoding="utf-8").lstrip().startswith("#"), f"{path.name} does not say what it is"


@pytest.mark.requirement("F08")
def test_time_limits_are_the_ones_asked_for() -> None:
    shipped = load_settings()
    asked = {"technical_analysis": 30, "regime_detection": 30, "trading_decision": 300}
    assert {kind: shipped.kind(kind).timeout_seconds for kind in asked} == asked


def test_a_minute_that_cannot_hold_one_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_SOVEREIGN__LIMITS__TOKENS_PER_MINUTE", "18000")
    with pytest.raises(ConfigError, match=r"limits\.tokens_per_minute = 18000.*context_budget_tokens.*max_tokens"):
        load_settings()


def test_a_models_own_minute_that_cannot_hold_one_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_MODELS__SOVEREIGN-7B__TOKENS_PER_MINUTE", "5000")
    with pytest.raises(ConfigError, match=r"models\.sovereign-7b\.tokens_per_minute = 5000: must be at least"):
        load_settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        load_settings().speed = 2.0  # type: ignore[misc]


def test_a_process_reads_its_settings_once() -> None:
    settings.cache_clear()
    try:
        assert settings() is settings()
    finally:
        settings.cache_clear()


# --- the environment ----------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_files_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_RUNS__LEASE_S", "20")
    monkeypatch.setenv("AAOS_KINDS__TECHNICAL_ANALYSIS__MAX_CONCURRENT", "7")
    monkeypatch.setenv("AAOS_SPEED", "60")
    loaded = load_settings()
    assert (loaded.runs.lease_s, loaded.runs.heartbeat_s, loaded.speed) == (20, 5, 60)
    assert loaded.kinds["technical_analysis"].max_concurrent == 7
    assert loaded.kinds["technical_analysis"].timeout_seconds == 30


def test_a_directory_named_in_the_environment_is_used(edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_CONFIG_DIR", str(edit("runs", changed(max_attempts=5))))
    assert load_settings().runs.max_attempts == 5


@pytest.mark.parametrize("plain", ["postgresql://u:p@h/d", "postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"])
def test_every_usual_spelling_of_a_database_address_is_understood(plain: str) -> None:
    assert load_settings(database_url=plain).database_url.get_secret_value() == "postgresql+psycopg://u:p@h/d"


def test_results_go_to_the_broker_s_redis_unless_another_is_named() -> None:
    assert load_settings(broker_url="redis://a/0").redis_address == "redis://a/0"
    assert load_settings(broker_url="redis://a/0", redis_url="redis://b/1").redis_address == "redis://b/1"
    assert load_settings(broker_url="amqp://a//", redis_url="redis://b/1").redis_address == "redis://b/1"
    assert "AAOS_REDIS_URL" in refusal(broker_url="amqp://a//")


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("F16")
@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("runs", "surprise", 1, "runs.surprise = 1"),
        ("runs", "lease_s", "soon", "runs.lease_s = 'soon'"),
        ("runs", "max_attempts", 99, "runs.max_attempts = 99: Input should be less than or equal to 20"),
        ("schedules", "technical_analysis", {"every_s": 0}, "schedules.technical_analysis.every_s = 0"),
        ("kinds", "technical_analysis", {"pool": "cpu"}, "kinds.technical_analysis.requires"),
        ("voters", "extra", {"model": "m", "stance": "guess"}, "voters.extra.stance = 'guess'"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_file(
    edit: Edit, section: str, key: str, value: Any, said: str
) -> None:
    directory = edit(section, changed(**{key: value}))
    message = refusal(directory)
    assert said in message
    assert str(directory / f"{section}.yaml") in message


@pytest.mark.requirement("F03")
def test_a_circle_of_schedules_is_refused_when_the_configuration_loads(edit: Edit) -> None:
    edit("schedules", changed(technical_analysis={"every_s": 60, "depends_on": ["trading_decision"]}))
    message = refusal(edit("schedules", lambda content: content))
    assert "trading_decision → technical_analysis → trading_decision" in message


def test_a_schedule_without_a_kind_is_refused(edit: Edit) -> None:
    assert "kinds.sentiment_analysis: missing" in refusal(
        edit("schedules", changed(sentiment_analysis={"every_s": 1800}))
    )


def test_an_unknown_section_is_refused(edit: Edit) -> None:
    assert "surprise" in refusal(edit("surprise", lambda _: {"key": 1}))


def test_too_many_voters_are_refused(edit: Edit) -> None:
    seven = {f"v{n}": {"model": "m"} for n in range(7)}
    assert "voters" in refusal(edit("voters", lambda _: seven))
    assert "voters" in refusal(edit("voters", lambda _: {}))


def test_broken_yaml_and_a_missing_directory_are_named(tmp_path: Path) -> None:
    (tmp_path / "runs.yaml").write_text("lease_s: [", encoding="utf-8")
    assert "runs.yaml" in refusal(tmp_path)
    assert "AAOS_CONFIG_DIR" in refusal(tmp_path / "nowhere")


def test_an_address_that_is_no_postgresql_is_refused_without_showing_it() -> None:
    message = refusal(database_url="mysql://user:hush-hush@host/db")
    assert "AAOS_DATABASE_URL" in message
    assert "hush-hush" not in message


def test_a_speed_that_makes_slots_too_narrow_is_refused_with_the_largest_allowed() -> None:
    assert "300" in refusal(speed=1000)


# --- what follows from it -----------------------------------------------------------------------------------


def test_the_hash_tells_configurations_apart_but_not_addresses_and_secrets() -> None:
    base = load_settings()
    assert base.hash == load_settings(database_url="postgresql://u:p@elsewhere/d", sovereign_api_key="k").hash
    assert base.hash != load_settings(speed=2.0).hash
    assert len(base.hash) == 64


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    loaded = load_settings(
        database_url="postgresql://u:hush-hush@h/d", broker_url="redis://:hush-hush@h/0", sovereign_api_key="hush-hush"
    )
    assert "hush-hush" not in repr(loaded)
    assert "hush-hush" not in str(loaded.model_dump())
    assert "hush-hush" not in loaded.model_dump_json()


def test_at_speed_n_slots_and_age_limits_shrink_alike() -> None:
    slow, fast = load_settings(), load_settings(speed=60.0)
    assert (slow.slot_width_ms("technical_analysis"), fast.slot_width_ms("technical_analysis")) == (60_000, 1_000)
    assert (slow.max_age_s("regime_detection"), fast.max_age_s("regime_detection")) == (600, 10)


@pytest.mark.parametrize(
    ("speed", "kind", "start_within_s"),
    [
        (1.0, "technical_analysis", 120),
        (1.0, "regime_detection", 600),
        (60.0, "technical_analysis", 30),
        (1.0, "trading_decision", 300),
    ],
)
def test_a_run_may_wait_as_long_as_its_answer_would_be_fresh_but_never_less_than_its_own_limit(
    speed: float, kind: str, start_within_s: float
) -> None:
    assert load_settings(speed=speed).start_within_s(kind) == start_within_s


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownKind, match="'nothing'; known kinds: execution, portfolio_rebalance, regime_detection"):
        load_settings().kind("nothing")


def test_settings_can_be_built_in_code_for_tests() -> None:
    assert isinstance(load_settings(speed=2.0), Settings)


def test_null_may_come_from_the_environment_where_a_file_may_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_SOVEREIGN__FALLBACK_MODEL", "null")
    monkeypatch.setenv("AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DECISION", "null")
    sovereign = load_settings().sovereign
    assert (sovereign.fallback_model, sovereign.budget.tokens_per_decision) == (None, None)
    monkeypatch.setenv("AAOS_VOTERS__TREND__MODEL", "null")
    with pytest.raises(ConfigError, match=r"voters\.trend\.model = None"):
        load_settings()


def test_a_model_servers_address_without_a_scheme_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_SOVEREIGN_URL", "ada:hunter2@gpu-box:8000/v1")
    with pytest.raises(ConfigError, match=r"must look like http://host:port/v1 .*AAOS_SOVEREIGN_URL") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_a_list_may_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_MARKET__SYMBOLS", '["BTC/USDT", "LTC/USDT"]')
    assert load_settings().market.symbols == ("BTC/USDT", "LTC/USDT")
    monkeypatch.setenv("AAOS_MARKET__SYMBOLS", "[BTC/USDT")
    with pytest.raises(ConfigError, match="symbols"):
        load_settings()


def test_a_schedule_whose_input_waits_for_others_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "config"
    shutil.copytree(PROJECT_ROOT / "config", directory)
    schedules = directory / "schedules.yaml"
    schedules.write_text(schedules.read_text() + "later:\n  every_s: 3600\n  depends_on: [trading_decision]\n")
    kinds = directory / "kinds.yaml"
    kinds.write_text(kinds.read_text() + "later:\n  requires: [x]\n  pool: io\n  timeout_seconds: 60\n")
    with pytest.raises(ConfigError, match="trading_decision waits for others itself"):
        load_settings(directory)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AAOS_KINDS__TECHNICAL_ANALYSIS__TIMEOUT_SECONDS", "10", "at least runs.lease_s"),
        ("AAOS_SCHEDULES__TRADING_DECISION__DEPENDS_ON", '["technical_analysis"]', "name exactly these"),
        ("AAOS_KINDS__PORTFOLIO_REBALANCE__TIMEOUT_SECONDS", "300", "since it spans the wait for it"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=said):
        load_settings()


@pytest.mark.requirement("Q5")
def test_too_few_threads_for_hung_votes_and_housekeeping_are_refused(edit: Edit) -> None:
    with pytest.raises(ConfigError, match="hung votes leave no thread"):
        load_settings(edit("local", lambda local: {**local, "io_threads": 5}))
