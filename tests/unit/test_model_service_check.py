"""`aaos status` on the model service: wrong address, wrong key and wrong names are told before a vote fails of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aaos.domain.llm_budget import ModelCard
from aaos.settings import load_settings
from aaos.shell.model_service import models_asked, problem_of

WANTED = ["sovereign-32b", "sovereign-7b"]


def listing(*names: str) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()


@pytest.mark.parametrize(
    "body", [listing("sovereign-7b", "sovereign-32b", "x"), listing("sovereign-32b:latest", "sovereign-7b:latest")]
)
def test_a_service_that_lists_all_models_asked_for_has_no_problem(body: bytes) -> None:
    assert problem_of(200, body, WANTED) is None


def test_a_name_that_is_not_served_is_told_with_those_that_are() -> None:
    said = problem_of(200, listing("my-32b", "sovereign-7b"), WANTED)
    assert said is not None
    assert said.startswith("it does not list sovereign-32b, it lists my-32b, sovereign-7b: ")
    assert "config/voters.yaml" in said


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "AAOS_SOVEREIGN_API_KEY"), (403, "AAOS_SOVEREIGN_API_KEY"), (404, "including /v1"),
                           (307, "including /v1")]
)  # fmt: skip
def test_a_status_comes_with_its_remedy(status: int, remedy: str) -> None:
    said = problem_of(status, b"", WANTED)
    assert said is not None
    assert str(status) in said
    assert remedy in said


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"data": 3}', b'{"data": [3]}', b"[" * 100_000, b"\xff"])
def test_what_is_no_list_of_models_is_called_so(body: bytes) -> None:
    assert "cannot be read" in (problem_of(200, body, WANTED) or "")


def test_names_from_a_service_cannot_act_on_a_terminal() -> None:
    assert "\x1b" not in (problem_of(200, listing("\x1b[2J"), WANTED) or "")


def test_a_model_with_an_address_of_its_own_is_not_looked_for_at_the_common_one() -> None:
    settings = load_settings()
    assert models_asked(settings) == ["sovereign-32b", "sovereign-7b"]
    cards = {**settings.models, "sovereign-7b": replace(ModelCard(), url="http://second-box:8000/v1")}
    assert models_asked(settings.model_copy(update={"models": cards})) == ["sovereign-32b"]
