"""The behaviour in force: one for all models, and one for each model that was given its own, or a script."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from aaos.local.sovereign_behaviour import LATENCIES, Behaviour, require_known
from aaos.local.sovereign_latency import Latency
from aaos.local.sovereign_script import Script, read_script

ROUNDING: Final = 1e-9
"""Keeps 0.1 × 10 from being counted as less than one."""
MODELS_MAX: Final = 64


class _Lane:
    """The behaviour of one model, or of all that have none of their own, and how far it has been used up."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.script: Script | None = None
        self._position = -1
        self._seen = 0
        self._applied = 0

    def set(self, behaviour: Behaviour) -> None:
        self.behaviour, self._seen, self._applied = behaviour, 0, 0

    def follow(self, script: Script | None) -> None:
        self.script, self._position = script, -1

    def next(self, now: float) -> tuple[str, Latency]:
        self._follow_script(now)
        behaviour = self.behaviour
        return self._next_mode(behaviour), behaviour.latency

    def _follow_script(self, now: float) -> None:
        script = self.script
        if script is None:
            return
        step = script.at(now)
        if step is None:
            self.follow(None)
            self.set(Behaviour(latency=self.behaviour.latency))
            return
        if script.position != self._position:
            self._position = script.position
            self.set(step.behaviour)
        script.count(now)

    def _next_mode(self, now: Behaviour) -> str:
        if now.mode == "ok":
            return "ok"
        before, self._seen = self._seen, self._seen + 1
        if math.floor(self._seen * now.share + ROUNDING) == math.floor(before * now.share + ROUNDING):
            return "ok"
        self._applied += 1
        if now.count is not None and self._applied >= now.count:
            self.set(Behaviour(latency=now.latency))
        return now.mode


class Conduct:
    """The behaviour in force: one for all models, and one for each model that was given its own."""

    def __init__(
        self,
        behaviour: Behaviour,
        models: Collection[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`models` are the names that may be given a behaviour; None: any."""
        self._all = _Lane(behaviour)
        self._own: dict[str, _Lane] = {}
        self._down: set[str] = set()
        self._all_down = False
        self._models = None if models is None else frozenset(models)
        self._clock = clock

    @property
    def behaviour(self) -> Behaviour:
        """Returns the behaviour of the models that have none of their own."""
        return self._all.behaviour

    def next(self, model: str) -> tuple[str, Latency]:
        """Returns the mode and the latency of the model's next answer, and counts it."""
        return self._own.get(model, self._all).next(self._clock())

    def change(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the behaviour now in force, of what was changed.

        A new mode for all models ends what single models were given; another latency for all keeps their modes.

        Args:
            changes: fields of a Behaviour, with `model` for one model; or `models`: {name: fields, …}.

        Raises:
            ValueError: nothing was changed; the message names the field and what may stand there.
        """
        if "models" in changes:
            require_known(changes, ("models",))
            return {"models": self._change_several(_objects(changes["models"]))}
        model = self._named(changes)
        wanted = {name: value for name, value in changes.items() if name != "model"}
        if model is not None:
            return self._change_several({model: wanted})[model] | {"model": model}
        self._change_all(wanted)
        return self._all.behaviour.to_dict()

    def follow(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the state after a script was given to all models, to `model`, or to each of `models`.

        Raises:
            ValueError: no script was taken; the message names what is wrong.
        """
        if "models" in wanted:
            require_known(wanted, ("models",))
            scripts = {self._known(name): self._script(each) for name, each in _objects(wanted["models"]).items()}
            self._require_room(scripts)
            for name, each in scripts.items():
                self._lane(name).follow(each)
            return self.to_dict()
        model = self._named(wanted)
        script = self._script({name: value for name, value in wanted.items() if name != "model"})
        if model is None:
            self._own.clear()
            self._all.follow(script)
        else:
            self._require_room((model,))
            self._lane(model).follow(script)
        return self.to_dict()

    def set_down(self, wanted: Mapping[str, Any], down: bool) -> str | None:
        """Takes a model (None: all) down or up again, and returns it; raises ValueError for an unknown one."""
        require_known(wanted, ("model",))
        model = self._named(wanted)
        if model is None:
            self._all_down = down
            self._down.clear()
        elif down:
            self._require_room((model,))
            self._down.add(model)
        elif self._all_down:
            raise ValueError("all models are down: POST /sim/up without a model brings them back")
        else:
            self._down.discard(model)
        return model

    def is_down(self, model: str) -> bool:
        """Returns whether the model gives no answer at all."""
        return self._all_down or model in self._down

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it, JSON-able."""
        return {
            "all": _lane_dict(self._all),
            "models": {model: _lane_dict(lane) for model, lane in sorted(self._own.items())},
            "down": sorted(self._down),
            "all_down": self._all_down,
        }

    def _change_all(self, wanted: Mapping[str, Any]) -> None:
        behaviour = self._all.behaviour.changed(wanted)
        if "mode" in wanted:
            self._own.clear()
            self._all.follow(None)
        else:
            latency = {name: wanted[name] for name in LATENCIES if name in wanted}
            for lane in self._own.values():
                lane.set(lane.behaviour.changed(latency))
        self._all.set(behaviour)

    def _change_several(self, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        changed = {self._known(model): self._of(model).changed(each) for model, each in wanted.items()}
        self._require_room(changed)
        for model, behaviour in changed.items():
            lane = self._lane(model)
            if "mode" in wanted[model]:
                lane.follow(None)
            lane.set(behaviour)
        return {model: behaviour.to_dict() for model, behaviour in changed.items()}

    def _of(self, model: str) -> Behaviour:
        own = self._own.get(model)
        return Behaviour(latency=self._all.behaviour.latency) if own is None else own.behaviour

    def _lane(self, model: str) -> _Lane:
        if model not in self._own:
            self._own[model] = _Lane(self._of(model))
        return self._own[model]

    def _require_room(self, models: Collection[str]) -> None:
        if len({*self._own, *self._down, *models}) > MODELS_MAX:
            raise ValueError(f"more than {MODELS_MAX} models with a behaviour of their own: set one for all first")

    def _named(self, wanted: Mapping[str, Any]) -> str | None:
        model = wanted.get("model")
        return None if model is None else self._known(model)

    def _known(self, model: object) -> str:
        if not isinstance(model, str):
            raise ValueError(f"model must be a model's name, or null for all, not {model!r:.80}")
        if self._models is not None and model not in self._models:
            raise ValueError(f"model {model!r:.80} is not served here; served: {', '.join(sorted(self._models))}")
        return model

    def _script(self, wanted: Mapping[str, Any]) -> Script:
        return read_script(wanted, self._all.behaviour.latency, self._clock())


def _lane_dict(lane: _Lane) -> dict[str, Any]:
    script = lane.script
    if script is None:
        return lane.behaviour.to_dict()
    return lane.behaviour.to_dict() | {
        "script": {"step": script.position + 1, "steps": len(script.steps), "repeat": script.repeat}
    }


def _objects(value: object) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, dict) or not value or not all(isinstance(each, dict) for each in value.values()):
        raise ValueError('models must be an object of objects, like {"sovereign-32b": {"mode": "500"}}')
    return value
