"""Two machines: the voter's own model on one, the fallback on the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from support.examples import changed_settings
from support.sovereign_servers import completion, http, saying, scripted

from aaos.adapters.sovereign.router import ModelRouter
from aaos.bootstrap import Container
from aaos.domain.llm_budget import ModelCard
from aaos.domain.model_request import ModelRequest


@pytest.fixture
def router_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    made: list[ModelRouter] = []

    def make(default: str, other: str) -> ModelRouter:
        monkeypatch.setenv("SECOND_BOX_API_KEY", "sk-second-box")
        card = ModelCard(url=other, api_key_variable="SECOND_BOX_API_KEY")
        settings = changed_settings(
            sovereign_url=default, sovereign_api_key=SecretStr("sk-first-box"), models={"sovereign-7b": card}
        )
        made.append(Container(settings).sovereign)
        return made[-1]

    yield make
    for router in made:
        router.close()


@pytest.mark.requirement("S1")
def test_each_model_is_asked_at_its_own_address_with_its_own_key(router_of) -> None:
    answer = http("200 OK", completion("hm"))
    with scripted(saying(answer)) as first, scripted(saying(answer)) as second:
        router = router_of(first.url, second.url)
        for model in ("sovereign-32b", "sovereign-7b", "another"):
            router.ask(ModelRequest(model, "system", "user"))
        seen = [[said.decode() for said in server.requests] for server in (first, second)]
    assert [len(each) for each in seen] == [2, 1]
    assert all("sk-first-box" in each and "sk-second-box" not in each for each in seen[0])
    assert "sk-second-box" in seen[1][0]
    assert "sk-first-box" not in seen[1][0]
