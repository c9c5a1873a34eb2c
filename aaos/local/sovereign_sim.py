"""`python -m aaos.local.sovereign_sim`: the model service's HTTP API, answered by rules instead of a model.

It needs no model and no network, gives the same vote for the same prompt and seed, and misbehaves on demand,
by flags or while it runs:

    curl -d '{"mode": "500", "share": 0.5, "count": 10}' http://127.0.0.1:PORT/sim/behaviour
    curl http://127.0.0.1:PORT/sim/transcript

`/sim/*` answers to this machine only.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

from aaos.domain.model_request import ModelRequest, estimate_tokens
from aaos.local.sovereign_behaviour import MODES, Behaviour, Call, Conduct, Transcript
from aaos.local.sovereign_rules import vote
from aaos.local.tiny_http import HttpRequest, HttpServer, Respond

DEFAULT_MODELS: Final = ("sovereign-32b", "sovereign-7b")
TRANSCRIPT_CALLS: Final = 20_000
"""About 6 MB when full."""
PAGE_CALLS: Final = 5_000
DRIP_S: Final = 0.25
OVERSIZED_BYTES: Final = 4_194_304
FILLER_BYTES: Final = 65_536
RETRY_AFTER_S: Final = 1
MODEL_NAME_CHARS: Final = 256
TEMPERATURE_MAX: Final = 2


class RefusedRequestError(Exception):
    """A request this service answers with 400; the message says why."""


class SovereignSim:
    """The service: what it answers on each path."""

    def __init__(self, conduct: Conduct, seed: int, models: Sequence[str], transcript: Transcript) -> None:
        self._conduct = conduct
        self._seed = seed
        self._models = tuple(models)
        self._transcript = transcript

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
            await respond(HTTPStatus.NOT_FOUND, _error(f"nothing answers {route}"))

    async def _steer(self, route: str, request: HttpRequest, respond: Respond) -> None:
        if not _is_loopback(request.peer):
            await respond(HTTPStatus.FORBIDDEN, _error("/sim answers to this machine only"))
            return
        try:
            body = self._steered(route, request)
        except (ValueError, RecursionError) as error:
            await respond(HTTPStatus.BAD_REQUEST, _error(str(error)))
            return
        if body is None:
            await respond(HTTPStatus.NOT_FOUND, _error(f"nothing answers {route}"))
        else:
            await respond(HTTPStatus.OK, body)

    def _steered(self, route: str, request: HttpRequest) -> bytes | None:
        if route == "POST /sim/behaviour":
            changes = json.loads(request.body)
            if not isinstance(changes, dict):
                raise ValueError("expected a JSON object of changes")
            return _json(asdict(self._conduct.change(changes)))
        if route == "GET /sim/behaviour":
            return _json(asdict(self._conduct.behaviour))
        if route == "GET /sim/transcript":
            since, limit = (int(request.query.get(name, "0")) for name in ("since", "limit"))
            return self._transcript.to_json(since, limit if 0 < limit < PAGE_CALLS else PAGE_CALLS)
        if route == "DELETE /sim/transcript":
            self._transcript.clear()
            return _json({"status": "forgotten"})
        return None

    async def _complete(self, request: HttpRequest, respond: Respond) -> None:
        try:
            asked = _model_request(request.body)
        except RefusedRequestError as refused:
            self._transcript.finish(self._transcript.begin("", ""), "refused", HTTPStatus.BAD_REQUEST)
            await respond(HTTPStatus.BAD_REQUEST, _error(str(refused)))
            return
        call = self._transcript.begin(asked.prompt_hash, asked.model)
        mode = self._conduct.next_mode(asked.model)
        try:
            await asyncio.sleep(self._conduct.behaviour.latency_ms / 1000)
            status = await self._answer(mode, asked, call, respond)
        except asyncio.CancelledError:  # the client hung up: a real service stops generating, too
            self._transcript.finish(call, "abandoned", None)
            raise
        self._transcript.finish(call, mode, status)

    async def _answer(self, mode: str, asked: ModelRequest, call: Call, respond: Respond) -> int:
        """Returns the status it answered with."""
        if mode == "hang":
            await asyncio.Event().wait()
        if mode == "429":
            body = _error("rate limit exceeded (simulated)")
            await respond(HTTPStatus.TOO_MANY_REQUESTS, body, {"retry-after": str(RETRY_AFTER_S)})
            return HTTPStatus.TOO_MANY_REQUESTS
        if mode == "500":
            await respond(HTTPStatus.INTERNAL_SERVER_ERROR, _error("the model crashed (simulated)"))
            return HTTPStatus.INTERNAL_SERVER_ERROR
        await respond(HTTPStatus.OK, self._body(mode, asked, call))
        return HTTPStatus.OK

    def _body(self, mode: str, asked: ModelRequest, call: Call) -> bytes | AsyncIterator[bytes]:
        if mode == "garbage":
            return b'\x00\xff<html>Bad gateway</html>{"choices": ['
        seed = self._seed if asked.seed is None else self._seed ^ asked.seed
        envelope = _envelope(asked, _content(mode, vote(asked.system, asked.user, seed)), call.number)
        if mode == "unknown_fields":
            envelope |= {"x_internal": {"order": "buy everything"}, "choices_v2": None}
        if mode == "oversized":
            return _oversized(envelope)
        body = _json(envelope)
        return _dripping(body) if mode == "slow_drip" else body


def _content(mode: str, ballot: dict[str, Any]) -> str:
    """Returns what the simulated model says."""
    if mode == "nan":
        ballot["confidence"] = float("nan")
    if mode == "unknown_fields":
        ballot |= {"leverage": 125, "execute_now": True, "confidence_interval": [0.2, 0.9]}
    if mode == "babble":
        return f"As the market may rise or fall, I would rather not commit. {ballot['reasoning']}"
    text = json.dumps(ballot)
    if mode == "prose":
        return f"Let me look at the figures.\n\n```json\n{text}\n```\nThat is my vote."
    return text


def _envelope(asked: ModelRequest, content: str, number: int) -> dict[str, Any]:
    tokens_in, tokens_out = estimate_tokens(asked.system + asked.user), estimate_tokens(content)
    return {
        "id": f"chatcmpl-sim-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


async def _dripping(body: bytes) -> AsyncIterator[bytes]:
    for position in range(len(body)):
        yield body[position : position + 1]
        await asyncio.sleep(DRIP_S)


async def _oversized(envelope: dict[str, Any]) -> AsyncIterator[bytes]:
    """Yields a valid envelope, padded; piece by piece, so that 32 of them at once take no memory."""
    start, end = _json(envelope | {"padding": "PADDING"}).split(b"PADDING")
    yield start
    for _ in range(OVERSIZED_BYTES // FILLER_BYTES):
        yield b"x" * FILLER_BYTES
    yield end


def _model_request(body: bytes) -> ModelRequest:
    """Returns what is asked, with the hash the asking side computes; raises RefusedRequestError."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedRequestError("the body is not JSON") from None
    if not isinstance(asked, dict):
        raise RefusedRequestError("the body is not a JSON object")
    if asked.get("stream"):
        raise RefusedRequestError("stream is not supported; leave it out")
    texts = _texts(asked.get("messages"))
    return ModelRequest(
        model=_typed(asked, "model", str, "")[:MODEL_NAME_CHARS],
        system="\n".join(text for role, text in texts if role == "system"),
        user="\n".join(text for role, text in texts if role != "system"),
        temperature=_temperature(asked),
        max_tokens=_typed(asked, "max_tokens", int, 0),
        seed=_typed(asked, "seed", int, None),
    )


def _texts(messages: object) -> list[tuple[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise RefusedRequestError("messages must be a list with at least one message")
    for message in messages:
        if not (isinstance(message, dict) and isinstance(message.get("content"), str)):
            raise RefusedRequestError("a message must be an object with a role and a text as content")
    return [(str(message.get("role")), message["content"]) for message in messages]


def _typed(asked: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    value = asked.get(name)
    if value is None:
        if default == "":
            raise RefusedRequestError(f"{name} is missing")
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RefusedRequestError(f"{name} has the wrong type")
    return value


def _temperature(asked: Mapping[str, Any]) -> float:
    value = _typed(asked, "temperature", (int, float), 0.0)
    if not 0 <= value <= TEMPERATURE_MAX:
        raise RefusedRequestError(f"temperature must be 0 to {TEMPERATURE_MAX}")
    return float(value)


def _error(message: str) -> bytes:
    return _json({"error": {"message": message, "type": "simulated", "code": None}})


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
    wanted = {"latency_ms": flags.latency_ms, "mode": flags.mode, "share": flags.share, "count": flags.count}
    try:
        behaviour = Behaviour().changed(wanted)
    except ValueError as error:
        parser.error(str(error))
    sim = SovereignSim(Conduct(behaviour), flags.seed, flags.model or DEFAULT_MODELS, Transcript(flags.transcript))
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


def _parser() -> argparse.ArgumentParser:
    modes = "; ".join(f"{name}: {meaning}" for name, meaning in MODES.items())
    parser = argparse.ArgumentParser(
        prog="sovereign-sim",
        description="A model service without a model: the same HTTP API, answered by rules.",
    )
    parser.add_argument("--port", type=int, required=True, help="0 lets the system choose; it is printed")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same prompt, same seed, same vote (default: 0)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="waited before every answer (default: 0)")
    parser.add_argument("--mode", default="ok", metavar="MODE", help=modes)
    parser.add_argument("--share", type=float, default=1.0, help="part of the requests it applies to, 0 to 1")
    parser.add_argument("--count", type=int, help="back to ok after this many misbehaved requests")
    parser.add_argument("--model", action="append", help="a model to list in /v1/models; repeatable")
    parser.add_argument(
        "--transcript", type=int, default=TRANSCRIPT_CALLS, help="calls remembered (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
