"""config/*.yaml and the environment, validated once into one frozen object.

Every file `config/<section>.yaml` is a section; its schema is the frozen dataclass that uses it. Unknown
keys are refused, in files and in the environment. Environment variables win over files: addresses and secrets as
`AAOS_BROKER_URL`, single keys as `AAOS_<SECTION>__<KEY>`, for example `AAOS_RUNS__LEASE_S=10`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from aaos.config_sources import (
    DELIMITER,
    PREFIX,
    KeyTree,
    check_variables,
    key_tree,
    keys_below,
    nearest,
    read_yaml,
)
from aaos.domain.calibration import CalibrationRules
from aaos.domain.call_limits import check_largest_call
from aaos.domain.decision import DecisionRules
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.llm_budget import ModelCard, check_prices
from aaos.domain.market import MarketSettings
from aaos.domain.market_clock import slot_width_ms
from aaos.domain.portfolio.rules import PortfolioRules
from aaos.domain.regime import RegimeParams
from aaos.domain.risk.rules import RiskRules
from aaos.domain.runs import RunRules
from aaos.domain.schedules import JOINT, Kind, Schedule, check_dependencies, check_depth
from aaos.domain.signals import SignalParams
from aaos.domain.sovereign import SovereignSettings
from aaos.domain.venue.rules import PaperRules
from aaos.domain.vetoes import VetoRules
from aaos.errors import ConfigError, UnknownKind
from aaos.local_settings import LocalConfig

PROJECT_ROOT = Path(__file__).resolve().parent.parent
# Stages of a decision, and of a trade, that no schedule names; they have queues and limits like any other kind.
STAGE_KINDS = ("trading_context", "trading_analysis", "risk_assessment", "execution")
# What a decision's context reads: with more it would wait for nothing, with less it could not be made.
MADE_FROM = {"trading_decision": ("technical_analysis", "regime_detection")}
# Threads of the io worker that votes may never fill.
FREE_IO_THREADS = 4
SHOWN_MAX_CHARS = 60
# What pydantic calls a key that nobody knows, inside a section and at the top.
UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")
# What says where something is and how to get in there, not what it does.
ADDRESSES = ("broker_url", "redis_url", "database_url", "sovereign_url", "sovereign_api_key")
PLACE = {"url", "api_key_variable"}  # of a model
HOUSEKEEPING_QUEUES = ("result_publishing", "maintenance")


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class Voter:
    """One voice in a decision: a model, and what it is asked to weigh first."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    stance: Annotated[str, Field(pattern="^(trend|reversal|risk)$")] = "trend"


class _ConfigDirectory(PydanticBaseSettingsSource):
    """Reads `<directory>/<section>.yaml` for every section of the settings class."""

    directory: ClassVar[Path] = PROJECT_ROOT / "config"

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (pydantic's)
        """Returns nothing by itself; `__call__` reads all sections at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        if not self.directory.is_dir():
            raise ConfigError(f"no configuration directory {self.directory}; name one with AAOS_CONFIG_DIR")
        sections = {path.stem: read_yaml(path) for path in sorted(self.directory.glob("*.yaml"))}
        # Here, where the files are known: a misspelt entry of a table is only seen beside the ones that are there.
        check_variables(os.environ, known_keys(), sections)
        return sections


class Settings(BaseSettings):
    """All that can be configured; immutable, and hashed into the audit trail."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    redis_url: SecretStr | None = None
    database_url: SecretStr = SecretStr("postgresql+psycopg://127.0.0.1:5432/aaos")
    sovereign_url: str = "http://127.0.0.1:8000/v1"
    sovereign_api_key: SecretStr | None = None
    speed: Annotated[float, Ge(0.1), Le(10_000)] = 1.0
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    runs: RunRules = RunRules()
    schedules: dict[str, Schedule]
    kinds: dict[str, Kind]
    voters: Annotated[dict[str, Voter], Field(min_length=1, max_length=6)]
    market: MarketSettings = MarketSettings()
    signals: SignalParams = SignalParams()
    regime: RegimeParams = RegimeParams()
    decision: DecisionRules = DecisionRules()
    risk: RiskRules = RiskRules()
    execution: ExecutionRules = ExecutionRules()
    portfolio: PortfolioRules = PortfolioRules()
    paper: PaperRules = PaperRules()
    vetoes: VetoRules = VetoRules()
    sovereign: SovereignSettings = SovereignSettings()
    models: dict[str, ModelCard] = {}
    calibration: CalibrationRules = CalibrationRules()
    local: LocalConfig = LocalConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Returns what wins over what: arguments, then the environment, then the files."""
        return init_settings, env_settings, _ConfigDirectory(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _read_lists(cls, values: Any) -> Any:
        """Lists and null from the environment are JSON; inside sections pydantic-settings hands them over as text."""
        if not isinstance(values, Mapping):
            return values
        return {name: _decoded(value) if isinstance(value, Mapping) else value for name, value in values.items()}

    @field_validator("database_url", mode="before")
    @classmethod
    def _use_psycopg(cls, value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for plain in ("postgresql://", "postgres://"):
            if text.startswith(plain):
                return "postgresql+psycopg://" + text[len(plain) :]
        if not text.startswith("postgresql+psycopg://"):
            raise ValueError("must start with postgresql:// (AAOS_DATABASE_URL)")
        return text

    @field_validator("sovereign_url")
    @classmethod
    def _has_a_scheme(cls, value: str) -> str:
        # The client looks closer; this much is told before a vote fails of it.
        if not value.startswith(("http://", "https://")):
            raise ValueError("must look like http://host:port/v1 or https://host/v1")
        return value

    @model_validator(mode="after")
    def _hangs_together(self) -> Settings:
        check_dependencies(self.schedules)
        check_depth(self.schedules)
        for name in (*self.schedules, *STAGE_KINDS):
            if name not in self.kinds:
                raise ConfigError(f"kinds.{name}: missing; every schedule and stage needs a queue and limits there")
        self._check_kinds()
        self._check_largest_call()
        for schedule in self.schedules.values():
            slot_width_ms(schedule.every_s, self.speed)
        needed = max(self.signals.candles_needed, self.regime.candles_needed)
        if self.market.min_candles < needed:
            raise ConfigError(
                f"market.min_candles = {self.market.min_candles}: the periods in signals.yaml and regime.yaml need "
                f"at least {needed} candles"
            )
        if self.redis_url is None and not self.broker_url.get_secret_value().startswith(("redis://", "rediss://")):
            raise ConfigError("AAOS_REDIS_URL: needed for results and chords when the broker is not Redis")
        others = (self.sovereign.fallback_model, self.decision.arbiter_model)
        asked = [voter.model for voter in self.voters.values()] + [model for model in others if model is not None]
        check_prices(self.sovereign.budget, self.models, asked)
        return self

    def _check_largest_call(self) -> None:
        asked = self.sovereign
        places: dict[str, int | None] = {"sovereign.limits.tokens_per_minute": asked.limits.tokens_per_minute}
        places |= {f"models.{name}.tokens_per_minute": card.tokens_per_minute for name, card in self.models.items()}
        for place, tokens_per_minute in places.items():
            check_largest_call(place, tokens_per_minute, asked.context_budget_tokens, asked.max_tokens)

    def _check_kinds(self) -> None:
        for name, schedule in self.schedules.items():
            limit_s = self.kinds[name].timeout_seconds
            longer = [each for each in schedule.depends_on if self.kinds[each].timeout_seconds >= limit_s]
            if name in JOINT and longer:
                raise ConfigError(
                    f"kinds.{name}.timeout_seconds = {limit_s:g}: must be more than {longer[0]}'s "
                    f"({self.kinds[longer[0]].timeout_seconds:g}), since it spans the wait for it"
                )
            if name in MADE_FROM and set(self.schedules[name].depends_on) != set(MADE_FROM[name]):
                needed = " and ".join(MADE_FROM[name])
                raise ConfigError(f"schedules.{name}.depends_on: {name} is made from {needed}; name exactly these")
        for name, kind in self.kinds.items():
            if kind.timeout_seconds < self.runs.lease_s:
                raise ConfigError(
                    f"kinds.{name}.timeout_seconds = {kind.timeout_seconds:g}: must be at least runs.lease_s "
                    f"({self.runs.lease_s:g}), or a crash would count as a timeout and never be retried"
                )
        threads, votes = self.local.io_threads, self.kinds["trading_analysis"].max_concurrent
        if threads < votes + FREE_IO_THREADS:
            raise ConfigError(
                f"local.io_threads = {threads}: must be at least kinds.trading_analysis.max_concurrent ({votes}) + "
                f"{FREE_IO_THREADS}, or hung votes leave no thread for ticks, sweeps and publishing"
            )

    @cached_property
    def redis_address(self) -> str:
        """The Redis of result streams and chord counters: AAOS_REDIS_URL, else the broker's."""
        return (self.redis_url or self.broker_url).get_secret_value()

    @cached_property
    def hash(self) -> str:
        """SHA-256 over everything but addresses and secrets."""
        plain = self.model_dump(mode="json", exclude=dict.fromkeys(ADDRESSES, True) | {"models": {"__all__": PLACE}})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def enabled_schedules(self) -> dict[str, Schedule]:
        """The schedules beat ticks."""
        return {name: schedule for name, schedule in self.schedules.items() if schedule.enabled}

    def kind(self, name: str) -> Kind:
        """Returns the kind of that name; raises UnknownKind naming the known ones."""
        try:
            return self.kinds[name]
        except KeyError:
            raise UnknownKind(f"no task kind {name!r}; known kinds: {', '.join(sorted(self.kinds))}") from None

    def slot_width_ms(self, schedule: str) -> int:
        """Returns the width of a slot of that schedule in wall-clock milliseconds, speed applied."""
        return slot_width_ms(self.schedules[schedule].every_s, self.speed)

    def max_age_s(self, schedule: str) -> float:
        """Returns how old (wall-clock seconds, speed applied) a result of that schedule may be when it is used."""
        return self.schedules[schedule].max_age_factor * self.slot_width_ms(schedule) / 1000

    def start_within_s(self, kind: str) -> float:
        """Returns how long a scheduled run may stay pending before its answer would come too late to be used.

        Never less than the run's own time limit, so that a backlog at high replay speed is worked off.
        """
        if self.schedules[kind].depends_on:
            return self.kinds[kind].timeout_seconds
        return max(self.max_age_s(kind), self.kinds[kind].timeout_seconds)


@lru_cache(maxsize=1)
def known_keys() -> KeyTree:
    """Returns section → keys; addresses, secrets and the like are sections without keys."""
    return {name: key_tree(field.annotation) for name, field in Settings.model_fields.items()}


def load_settings(config_dir: Path | None = None, **overrides: Any) -> Settings:
    """Returns the settings from `config_dir` (default: AAOS_CONFIG_DIR, else ./config of the project).

    Raises:
        ConfigError: naming file or variable, key, value and allowed range.
    """
    directory = config_dir or Path(os.environ.get("AAOS_CONFIG_DIR", PROJECT_ROOT / "config"))
    _ConfigDirectory.directory = directory
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigError(_explain(error, directory)) from None
    except SettingsError as error:
        raise ConfigError(f"{error}: a whole section from the environment must be a JSON object") from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Returns this process's settings, read once."""
    return load_settings()


def _explain(error: ValidationError, directory: Path) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=True):
        section, *rest = [str(part) for part in problem["loc"]] or ["settings"]
        place = ".".join([section, *rest])
        variable = PREFIX + DELIMITER.join(part.upper() for part in [section, *rest])
        source = f"{directory / section}.yaml or {variable}" if rest else variable
        shown = "" if _is_secret(section) else f" = {_short(problem.get('input'))}"
        known = keys_below(known_keys(), [section, *rest][:-1])
        hint = nearest([section, *rest][-1], known) if problem["type"] in UNKNOWN_KEY else ""
        lines.append(f"{place}{shown}: {problem['msg']}{hint} ({source})")
    return "; ".join(lines)


def _decoded(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _decoded_value(value) for key, value in section.items()}


def _decoded_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _decoded(value)
    if not (isinstance(value, str) and (value.startswith("[") or value == "null")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _is_secret(section: str) -> bool:
    return section.endswith(("_url", "_key", "password", "token"))


def _short(value: Any) -> str:
    text = "(mapping)" if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= SHOWN_MAX_CHARS else text[: SHOWN_MAX_CHARS - 1] + "…"
