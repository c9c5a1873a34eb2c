"""`aaos sovereign-sim`: the model service's HTTP API, answered by rules instead of a model.

It needs no model and no network, gives the same vote for the same prompt and seed, and misbehaves on demand,
by flags or while it runs:

    curl -d '{"mode": "500", "share": 0.5, "count": 10}' http://127.0.0.1:PORT/sim/behaviour
    curl http://127.0.0.1:PORT/sim/transcript

`/sim/*` answers to this machine only. docs/sovereign-sim.md has the models, the modes and examples.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from aaos.domain.model_request import ModelRequest
from aaos.domain.tokens import estimate_tokens
from aaos.local.sovereign_answers import say, to_bytes
from aaos.local.sovereign_behaviour import Behaviour
from aaos.local.sovereign_conduct import Conduct
from aaos.local.sovereign_control import Control
from aaos.local.sovereign_faults import FAULTS
from aaos.local.sovereign_latency import FORMS, OWN, Latency
from aaos.local.sovereign_models import CHARACTERS, DEFAULT, Character
from aaos.local.sovereign_modes import GROUPS, describe
from aaos.local.sovereign_refusals import DIALECTS, Refusal, context_exceeded, error_body, model_missing, refuse
from aaos.local.sovereign_request import RefusedRequestError, read_request
from aaos.local.sovereign_rulings import answer
from aaos.local.sovereign_transcript import Call, Transcript
from aaos.local.tiny_http import HttpRequest, HttpServer, Respond

TRANSCRIPT_CALLS: Final = 20_000
"""About 8 MB when full."""


class SovereignSim:
    """The service: what it answers on each path."""

    def __init__(
        self,
        conduct: Conduct,
        transcript: Transcript,
        models: Mapping[str, Character] = CHARACTERS,
        *,
        seed: int = 0,
        dialect: str = DIALECTS[0],
        any_model: bool = False,
    ) -> None:
        """`any_model` serves every name; without it, other names than those of `models` get a 404."""
        self._conduct = conduct
        self._seed = seed
        self._models = models
        self._dialect = dialect
        self._any_model = any_model
        self._transcript = transcript
        self._control = Control(conduct, transcript, models, self._drop)
        self._under_way: dict[int, tuple[str, Respond]] = {}

    async def handle(self, request: HttpRequest, respond: Respond) -> None:
        """Answers one request."""
        route = f"{request.method} {request.path.rstrip('/')}"
        if route == "POST /v1/chat/completions":
            await self._complete(request, respond)
        elif route == "GET /v1/models":
            served = [{"id": name, "object": "model", "owned_by": "sovereign-sim"} for name in self._models]
            await respond(HTTPStatus.OK, _json({"object": "list", "data": served}))
        elif route == "GET /health":
            await respond(HTTPStatus.OK, _json({"status": "ok"}))
        elif request.path.startswith("/sim/"):
            await self._steer(route, request, respond)
        else:
            await respond(HTTPStatus.NOT_FOUND, error_body(f"nothing answers {route}"))

    async def _steer(self, route: str, request: HttpRequest, respond: Respond) -> None:
        if not _is_loopback(request.peer):
            await respond(HTTPStatus.FORBIDDEN, error_body("/sim answers to this machine only"))
            return
        try:
            body = self._control.answer(request)
        except (ValueError, RecursionError) as error:
            await respond(HTTPStatus.BAD_REQUEST, error_body(str(error)))
            return
        if body is None:
            await respond(HTTPStatus.NOT_FOUND, error_body(f"nothing answers {route}"))
        else:
            await respond(HTTPStatus.OK, body)

    async def _complete(self, request: HttpRequest, respond: Respond) -> None:
        try:
            asked = read_request(request.body)
        except RefusedRequestError as refused:
            self._transcript.finish(self._transcript.begin("", ""), "refused", HTTPStatus.BAD_REQUEST)
            await respond(HTTPStatus.BAD_REQUEST, error_body(str(refused), "BadRequestError", 400))
            return
        call = self._transcript.begin(asked.prompt_hash, asked.model)
        self._under_way[call.number] = (asked.model, respond)
        try:
            await self._answer(asked, call, respond)
        except asyncio.CancelledError:  # the client hung up (or we did): a real service stops generating, too
            self._transcript.finish(call, "down" if self._conduct.is_down(asked.model) else "abandoned", None)
            raise
        finally:
            del self._under_way[call.number]

    async def _answer(self, asked: ModelRequest, call: Call, respond: Respond) -> None:
        refusal = self._turned_away(asked, call)
        if refusal is not None:
            await self._refuse(call, refusal, call.mode, respond)
        elif self._conduct.is_down(asked.model):
            call.mode = "down"
            respond.hang_up()
            self._transcript.finish(call, "down", None)
        else:
            call.mode, latency = self._conduct.next(asked.model)
            await self._answer_in_mode(asked, call, latency, respond)

    def _turned_away(self, asked: ModelRequest, call: Call) -> Refusal | None:
        """Returns how a request is refused that no model could answer."""
        call.tokens_in = estimate_tokens(asked.system + asked.user)
        character = self._character(asked.model)
        if character is None:
            call.mode = "missing"
            return model_missing(asked.model, self._dialect)
        if call.tokens_in + asked.max_tokens > character.context_tokens:
            call.mode = "too_long"
            return context_exceeded(call.tokens_in, asked.max_tokens, character.context_tokens)
        return None

    async def _answer_in_mode(self, asked: ModelRequest, call: Call, latency: Latency, respond: Respond) -> None:
        mode, character = call.mode, self._character(asked.model) or DEFAULT
        seed = self._seed if asked.seed is None else self._seed ^ asked.seed
        said = say(mode, asked, answer(asked.system, asked.user, seed, character), call.number, int(time.time()))
        if latency.kind == OWN:
            latency = character.latency
        delay_ms = latency.sample_ms(f"{self._seed} {asked.model} {call.number}", said.tokens_out)
        await asyncio.sleep(delay_ms / 1000)
        if mode in GROUPS["status"]:
            await self._refuse(call, refuse(mode, asked, call.tokens_in, self._dialect), mode, respond)
            return
        call.tokens_out = said.tokens_out
        status, complete = await _send(mode, to_bytes(said.completion), respond)
        self._transcript.finish(call, mode, status, complete=complete)

    async def _refuse(self, call: Call, refusal: Refusal, outcome: str, respond: Respond) -> None:
        await respond(refusal.status, refusal.body, refusal.headers)
        self._transcript.finish(call, outcome, refusal.status)

    def _character(self, model: str) -> Character | None:
        return self._models.get(model) or (CHARACTERS.get(model, DEFAULT) if self._any_model else None)

    def _drop(self, model: str | None) -> None:
        for asked, respond in list(self._under_way.values()):
            if model in (None, asked):
                respond.hang_up(reset=True)


async def _send(mode: str, body: bytes, respond: Respond) -> tuple[int | None, bool]:
    """Returns the status that was sent, and whether a complete answer was."""
    fault = FAULTS.get(mode)
    if fault is not None:
        return await fault(respond, body)
    await respond(HTTPStatus.OK, body)
    return HTTPStatus.OK, True


def _json(value: object) -> bytes:
    return json.dumps(value).encode("ascii")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def serve(sim: SovereignSim, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT, then stops at once; raises OSError when it cannot listen."""
    stopped = asyncio.Event()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop_signal, stopped.set)
    server = HttpServer(sim.handle)
    chosen = await server.start(host, port)
    print(f"sovereign-sim: ready on http://{host}:{chosen}/v1", flush=True)
    await stopped.wait()
    server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 after a stop, 1 when it cannot listen; exits with 2 for wrong flags."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    if flags.modes:
        print(describe())
        return 0
    if flags.port is None:
        parser.error("--port is missing: 0 lets the system choose one")
    try:
        sim = _sim(flags)
    except ValueError as error:
        parser.error(str(error))
    try:
        asyncio.run(serve(sim, flags.host, flags.port))
    except OSError as error:
        print(
            f"sovereign-sim: cannot listen on {flags.host}:{flags.port} ({error.strerror}): "
            "choose another --port, or 0 for a free one",
            file=sys.stderr,
        )
        return 1
    return 0


def _sim(flags: argparse.Namespace) -> SovereignSim:
    """Returns the service that the flags describe; raises ValueError naming the flag that makes no sense."""
    latency = flags.latency_ms if flags.latency is None else flags.latency
    wanted: dict[str, Any] = {"mode": flags.mode, "share": flags.share, "count": flags.count, "latency": latency}
    models = dict(map(_model, flags.model)) if flags.model else CHARACTERS
    conduct = Conduct(Behaviour().changed(wanted), None if flags.any_model else models)
    transcript = Transcript(flags.transcript)
    return SovereignSim(conduct, transcript, models, seed=flags.seed, dialect=flags.dialect, any_model=flags.any_model)


def _model(word: str) -> tuple[str, Character]:
    name, said, character = word.partition("=")
    if said and character not in CHARACTERS:
        raise ValueError(f"--model {word}: unknown character {character!r}; one of {', '.join(CHARACTERS)}")
    return name, CHARACTERS[character] if said else CHARACTERS.get(name, DEFAULT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aaos sovereign-sim",
        description="A model service without a model: the same HTTP API, answered by rules.",
    )
    add = parser.add_argument
    add("--port", type=int, help="0 lets the system choose; it is printed")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--seed", type=int, default=0, help="same prompt, same seed, same vote (default: 0)")
    add("--latency-ms", type=float, default=0.0, help="waited before every answer (default: 0)")
    add("--latency", metavar="L", help=f"in place of --latency-ms: {FORMS}")
    add("--mode", default="ok", metavar="MODE", help="how it answers; --modes lists them (default: %(default)s)")
    add("--modes", action="store_true", help="list the modes and exit")
    add("--share", type=float, default=1.0, help="part of the requests the mode applies to, 0 to 1")
    add("--count", type=int, help="back to ok after this many misbehaved requests")
    add(
        "--model",
        action="append",
        metavar="NAME[=CHARACTER]",
        help=f"a model to serve; repeatable (default: {', '.join(CHARACTERS)}, which are also the characters)",
    )
    add("--any-model", action="store_true", help="serve every name, in place of 404 for the others")
    add("--dialect", choices=DIALECTS, default=DIALECTS[0], help="whose words a 404 has (default: %(default)s)")
    add("--transcript", type=int, default=TRANSCRIPT_CALLS, help="calls remembered (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
