"""Models that are served at addresses of their own: each is asked where it is, with its own key and no other."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError
from support.examples import changed_settings

from aaos.bootstrap import Container
from aaos.domain.llm_budget import ModelCard
from aaos.errors import ConfigError

HERE = "http://127.0.0.1:9/v1"


def test_a_key_needs_an_address_of_its_own_and_a_name_that_logs_hide() -> None:
    read = TypeAdapter(ModelCard).validate_python
    assert read({"url": HERE, "api_key_variable": "SECOND_BOX_API_KEY"}).url == HERE
    for wrong in ("second_box_api_key", "SECOND_BOX", "sk-1234567", "AAOS_SECOND_API_KEY"):
        with pytest.raises(ValidationError, match="ends in _API_KEY"):
            read({"url": HERE, "api_key_variable": wrong})
    with pytest.raises(ValidationError, match="AAOS_SOVEREIGN_API_KEY"):
        read({"api_key_variable": "SECOND_BOX_API_KEY"})


def test_a_key_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECOND_BOX_API_KEY", raising=False)
    card = ModelCard(url=HERE, api_key_variable="SECOND_BOX_API_KEY")
    container = Container(changed_settings(models={"sovereign-7b": card}))
    with pytest.raises(ConfigError, match=r"models\.sovereign-7b\.api_key_variable = SECOND_BOX_API_KEY"):
        _ = container.sovereign


def test_an_address_that_cannot_be_used_is_named_without_what_stands_in_it() -> None:
    card = ModelCard(url="http://me:hunter2@box/v1")
    container = Container(changed_settings(models={"sovereign-7b": card}))
    with pytest.raises(ConfigError, match="user, password") as refused:
        _ = container.sovereign
    assert "hunter2" not in str(refused.value)


def test_where_a_model_is_does_not_change_the_hash_of_the_settings_but_what_it_costs_does() -> None:
    plain = changed_settings(models={"m": ModelCard()}).hash
    assert changed_settings(models={"m": ModelCard(url=HERE)}).hash == plain
    assert changed_settings(models={"m": ModelCard(concurrent=3)}).hash != plain
    assert changed_settings(models={"m": ModelCard()}, sovereign_url=HERE).hash == plain
