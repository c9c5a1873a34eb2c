"""The client of the model service: one question, one answer, one total deadline, only aaos errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

import httpx
import structlog
from pydantic import SecretStr

from aaos.adapters.sovereign.connections import Connections
from aaos.adapters.sovereign.loop import io_loop
from aaos.adapters.sovereign.wire import decode_answer, encode_request, invalid, refusal, retry_after_s
from aaos.domain.sovereign import ModelAnswer, ModelRequest, SovereignSettings, require_fits
from aaos.errors import (
    AaosError,
    ConfigError,
    InvariantViolation,
    SovereignCancelled,
    SovereignInvalidResponse,
    SovereignTimeout,
    SovereignUnavailable,
)

LOOP_GRACE_S: Final = 2.0
"""How long beyond the deadline a caller waits for the loop to report it; passed only if the loop hangs."""
CLOSE_S: Final = 5.0
"""How long `close` waits; what is not closed then is closed with the process."""
STOOD_STILL_S: Final = 1.0
"""A deadline noticed so much too late says that this process was frozen or starved, nothing about the model."""
ERROR_BODY_BYTES: Final = 8_192
"""What is read of the body of a refusal."""
MIN_REDACTED_CHARS: Final = 8
"""Shorter keys are dummies ("none"): hiding them would mangle answers."""
REDACTED: Final = "[redacted]"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Here:
    """What this process has: touched on its loop only, so it needs no lock."""

    loop: asyncio.AbstractEventLoop
    connections: Connections
    calls: set[asyncio.Task[_Received]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Received:
    status: int
    body: bytes
    retry_after_s: float | None
    request_id: str
    truncated: bool


class SovereignClient:
    """Asks models; thread-safe, usable before and after a fork, connections pooled per process."""

    def __init__(self, base_url: str, settings: SovereignSettings, api_key: str | None = None) -> None:
        """Prepares a client without connecting.

        Args:
            base_url: up to and including /v1.
            settings: deadlines, sizes and sampling (section `sovereign`).
            api_key: sent as a bearer token, and nowhere else.

        Raises:
            ConfigError: the address or the key cannot be used.
        """
        self._url = _checked_url(base_url)
        self._settings = settings
        self._api_key = _checked_key(api_key)
        self._here: _Here | None = None
        self._of_parents: list[_Here] = []

    def __repr__(self) -> str:
        return f"SovereignClient({str(self._url)!r})"

    def ask(self, request: ModelRequest, timeout_s: float | None = None) -> ModelAnswer:
        """Returns the model's answer, its content unchecked (see `parse_vote`). Nothing is tried again here.

        Args:
            request: the question.
            timeout_s: total deadline, connecting and reading included; at most, and by default, `request_timeout_s`.

        Raises:
            ContextTooLarge: the prompt exceeds `context_cap_tokens`; nothing was sent.
            InputError: the request has no valid JSON form; nothing was sent.
            SovereignTimeout: no complete answer in time, or no connection within `connect_timeout_s`.
            SovereignUnavailable: no connection, connection lost, 429, 408 or 5xx; says whether asking again is safe.
            SovereignModelMissing: the service does not serve this model.
            SovereignRequestRefused: any other status outside 2xx.
            SovereignInvalidResponse: too long, not a chat completion, or an answer to a part of the prompt only.
            SovereignCancelled: this side ended the call: `close`, no time given, or the process stood still.
        """
        started = time.perf_counter()
        limit_s = self._settings.request_timeout_s
        limit_s = limit_s if timeout_s is None else min(timeout_s, limit_s)
        tokens = require_fits(request, self._settings.context_cap_tokens)
        try:
            received = self._exchange(encode_request(request, self._settings), limit_s)
            return self._answer(received, request, _elapsed_ms(started))
        except AaosError as error:
            _log.warning(
                "sovereign gave no answer",
                model=request.model,
                prompt_hash=request.prompt_hash,
                prompt_tokens_estimated=tokens,
                error=type(error).__name__,
                reason=str(error),
                elapsed_ms=round(_elapsed_ms(started), 1),
            )
            raise

    def close(self) -> None:
        """Closes the connections; calls under way end with SovereignCancelled, a later `ask` connects anew."""
        if self._here is None or self._here.loop is not io_loop():
            return
        closed = asyncio.run_coroutine_threadsafe(self._disconnect(), io_loop())
        try:
            closed.result(CLOSE_S)
        except (TimeoutError, concurrent.futures.CancelledError):
            _log.warning("sovereign connections are not closed yet", waited_s=CLOSE_S)

    # --- in the caller's thread ------------------------------------------------------------------------------

    def _exchange(self, body: bytes, limit_s: float) -> _Received:
        if not limit_s > 0:
            raise SovereignCancelled("Sovereign was not asked: no time was left for it", sent=False)
        # The body travels in a holder that the sending empties: while the model thinks, nobody keeps a copy.
        future = asyncio.run_coroutine_threadsafe(self._post_in_time(_Once(body), limit_s), io_loop())
        del body
        return self._wait(future, limit_s + LOOP_GRACE_S)

    def _wait(self, future: concurrent.futures.Future[_Received], limit_s: float) -> _Received:
        """Returns what came back; a caller interrupted (Ctrl-C, a time limit) cancels the call."""
        try:
            return future.result(limit_s)
        except concurrent.futures.CancelledError:
            raise SovereignCancelled("the call to Sovereign was cancelled: the client was closed") from None
        except TimeoutError:
            future.cancel()
            raise SovereignCancelled(
                f"this process did not come to look at Sovereign's answer in {limit_s:g} s"
            ) from None
        except BaseException:
            future.cancel()
            raise

    # --- on the loop -----------------------------------------------------------------------------------------

    async def _post_in_time(self, body: _Once, limit_s: float) -> _Received:
        """Returns what came back; every foreign error ends here."""
        here = self._in_this_process()
        until = here.loop.time() + limit_s
        call = cast("asyncio.Task[_Received]", asyncio.current_task())
        here.calls.add(call)
        try:
            async with asyncio.timeout_at(until):
                return await self._post(here.connections, body)
        except TimeoutError:
            late_s = here.loop.time() - until
            if late_s > STOOD_STILL_S:
                raise SovereignCancelled(
                    f"this process stood still for {late_s:.1f} s while Sovereign was asked"
                ) from None
            # Whoever got a connection only when most of the time was over had no chance to be answered either.
            if not body.sent and (body.placed_at is None or body.placed_at > until - limit_s / 2):
                busy = f"all sovereign.pool_size = {self._settings.pool_size} connections of this process"
                raise SovereignCancelled(
                    f"Sovereign was not asked: {busy} were busy for {limit_s:g} s", sent=False
                ) from None
            raise self._timed_out(limit_s, body.sent) from None
        except AaosError:
            raise
        except Exception as error:
            raise self._as_ours(error, limit_s) from error
        finally:
            here.calls.discard(call)

    async def _post(self, connections: Connections, body: _Once) -> _Received:
        async with connections.one() as connection:
            body.placed_at = asyncio.get_running_loop().time()
            response = await connection.handle_async_request(self._request(body))
            try:
                return await self._received(response)
            finally:
                await response.aclose()

    def _request(self, body: _Once) -> httpx.Request:
        headers = {
            "Host": self._place,
            "Content-Type": "application/json",
            "Content-Length": str(body.size),
            "Accept-Encoding": "identity",
        }
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key.get_secret_value()}"
        connect = {"timeout": {"connect": self._settings.connect_timeout_s}}
        return httpx.Request("POST", self._url, headers=headers, stream=body, extensions=connect)

    async def _received(self, response: httpx.Response) -> _Received:
        if _is_success(response.status_code):
            _require_uncompressed(response)
            content, truncated = await _read(response, self._settings.max_response_bytes)
        else:
            content, truncated = await _read(response, ERROR_BODY_BYTES)
        return _Received(
            status=response.status_code,
            body=self._redacted(content),
            retry_after_s=retry_after_s(response.headers.get("retry-after"), response.headers.get("date")),
            request_id=self._redacted(response.headers.get("x-request-id", "").encode("utf-8")).decode("utf-8"),
            truncated=truncated,
        )

    def _in_this_process(self) -> _Here:
        loop = asyncio.get_running_loop()
        if self._here is None or self._here.loop is not loop:
            if self._here is not None:
                self._of_parents.append(self._here)  # its sockets are the parent's: not to be closed here
            self._here = _Here(loop, Connections(self._settings.pool_size, _tls(self._url)))
        return self._here

    async def _disconnect(self) -> None:
        here, self._here = self._here, None
        if here is not None:
            calls = list(here.calls)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await here.connections.close()

    # --- what it means ---------------------------------------------------------------------------------------

    def _answer(self, received: _Received, request: ModelRequest, latency_ms: float) -> ModelAnswer:
        if not _is_success(received.status):
            raise refusal(received.status, received.retry_after_s, received.body)
        if received.truncated:
            limit = self._settings.max_response_bytes
            raise invalid(f"longer than sovereign.max_response_bytes = {limit}", received.body)
        return decode_answer(received.body, request, latency_ms, received.request_id)

    def _timed_out(self, limit_s: float, sent: bool = True) -> SovereignTimeout:
        whole = limit_s == self._settings.request_timeout_s
        limit = f"sovereign.request_timeout_s = {limit_s:g}" if whole else f"the {limit_s:g} s that were left for it"
        return SovereignTimeout(f"Sovereign gave no complete answer within {limit}", sent)

    def _as_ours(self, error: Exception, limit_s: float) -> AaosError:
        """Returns what a foreign error means to our callers."""
        if isinstance(error, httpx.ConnectTimeout):
            limit = self._settings.connect_timeout_s
            return SovereignTimeout(f"no connection to Sovereign at {self._place} within {limit:g} s", sent=False)
        if isinstance(error, httpx.TimeoutException):
            return self._timed_out(limit_s)
        if isinstance(error, httpx.ConnectError):
            return SovereignUnavailable(
                f"cannot connect to Sovereign at {self._place}: is it running, is the URL right?", safe_to_retry=True
            )
        return SovereignUnavailable(f"the connection to Sovereign at {self._place} failed: {type(error).__name__}")

    @property
    def _place(self) -> str:
        return self._url.netloc.decode("ascii")

    def _redacted(self, said: bytes) -> bytes:
        """Returns what the service said without our key, should it echo it: bodies reach logs and tables."""
        secret = self._api_key.get_secret_value() if self._api_key else ""
        if len(secret) < MIN_REDACTED_CHARS:
            return said
        for written in (secret, secret.replace("\\", "\\\\").replace('"', '\\"')):  # plainly, and in JSON
            said = said.replace(written.encode("ascii"), REDACTED.encode("ascii"))
        return said


class _Once(httpx.AsyncByteStream):
    """A request's body that is handed over once and then forgotten."""

    def __init__(self, body: bytes) -> None:
        self.size = len(body)
        self.placed_at: float | None = None
        self._body: bytes | None = body

    @property
    def sent(self) -> bool:
        """Whether it was handed over, so that the service may have it."""
        return self._body is None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body, self._body = self._body, None
        if body is None:
            raise InvariantViolation("a question was about to be sent twice on one connection")
        yield body


async def _read(response: httpx.Response, limit_bytes: int) -> tuple[bytes, bool]:
    """Returns at most `limit_bytes` of the body as sent, and whether there was more."""
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > limit_bytes:
            return bytes(content[:limit_bytes]), True
    return bytes(content), False


def _require_uncompressed(response: httpx.Response) -> None:
    # We asked for identity: a compressed body could unpack to any size.
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise SovereignInvalidResponse("Sovereign's answer is compressed, though identity was asked for")


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _elapsed_ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def _checked_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.rstrip("/") + "/chat/completions")
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigError(f"Sovereign's URL cannot be read ({error}); expected http://host:port/v1") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("Sovereign's URL must look like http://host:port/v1 or https://host/v1")
    if url.userinfo or url.query or url.fragment:
        raise ConfigError("Sovereign's URL must not carry a user, password or query: set the API key instead")
    return url


def _checked_key(api_key: str | None) -> SecretStr | None:
    key = (api_key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError("Sovereign's API key holds a character that no HTTP header can carry; was it pasted whole?")
    return SecretStr(key) if key else None


def _tls(url: httpx.URL) -> ssl.SSLContext:
    """Returns how a server proves itself; for plain HTTP an empty trust store: 110 ms less to build."""
    if url.scheme == "https":
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
