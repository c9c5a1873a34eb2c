"""The client of the model service: one question, one answer, one total deadline, only aaos errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar

import httpx
import structlog
from pydantic import SecretStr

from aaos.adapters.sovereign.loop import io_loop
from aaos.adapters.sovereign.wire import decode_answer, encode_request, invalid, refusal
from aaos.domain.sovereign import ModelAnswer, ModelRequest, SovereignSettings, require_fits
from aaos.errors import (
    AaosError,
    ConfigError,
    SovereignInvalidResponse,
    SovereignTimeout,
    SovereignUnavailable,
)

KEEPALIVE_EXPIRY_S: Final = 4.0
"""Idle connections are dropped before the server does so: uvicorn, which vLLM runs on, waits 5 s."""
LOOP_GRACE_S: Final = 2.0
"""How long beyond the deadline a caller waits for the loop to report it; passed only if the loop hangs."""
ERROR_BODY_BYTES: Final = 8_192
"""What is read of the body of a refusal."""
MIN_REDACTED_CHARS: Final = 8
"""Shorter keys are dummies ("none"): hiding them would mangle answers."""
REDACTED: Final = b"[redacted]"

T = TypeVar("T")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Received:
    status: int
    body: bytes
    retry_after: str | None
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
        self._http: httpx.AsyncClient | None = None
        self._http_loop: asyncio.AbstractEventLoop | None = None
        self._of_parents: list[httpx.AsyncClient] = []

    def __repr__(self) -> str:
        return f"SovereignClient({str(self._url)!r})"

    def ask(self, request: ModelRequest) -> ModelAnswer:
        """Returns the model's answer, its content unchecked (see `parse_vote`).

        Raises:
            ContextTooLarge: the prompt exceeds `context_cap_tokens`; nothing was sent.
            InputError: the request has no valid JSON form; nothing was sent.
            SovereignTimeout: no complete answer within `request_timeout_s`, or no connection within
                `connect_timeout_s`.
            SovereignUnavailable: no connection, connection lost, 429, 408 or 5xx.
            SovereignRequestRefused: any other status outside 2xx.
            SovereignInvalidResponse: too long, or not a chat completion.
        """
        started = time.perf_counter()
        tokens = require_fits(request, self._settings.context_cap_tokens)
        try:
            received = self._exchange(encode_request(request, self._settings))
            answer = self._answer(received, request, _elapsed_ms(started))
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
        return answer

    def close(self) -> None:
        """Lets go of the pooled connections; calls under way fail, a later `ask` connects anew."""
        if self._http is None or self._http_loop is not io_loop():
            return
        self._wait(asyncio.run_coroutine_threadsafe(self._disconnect(), io_loop()))

    def _exchange(self, body: bytes) -> _Received:
        return self._wait(asyncio.run_coroutine_threadsafe(self._post_in_time(body), io_loop()))

    def _wait(self, future: concurrent.futures.Future[T]) -> T:
        """Returns the future's result; a caller interrupted (Ctrl-C, a time limit) cancels the call."""
        try:
            return future.result(self._settings.request_timeout_s + LOOP_GRACE_S)
        except concurrent.futures.CancelledError:
            raise SovereignUnavailable("the call to Sovereign was cancelled: the client was closed") from None
        except TimeoutError:
            future.cancel()
            raise self._timed_out() from None
        except BaseException:
            future.cancel()
            raise

    async def _post_in_time(self, body: bytes) -> _Received:
        """Returns what came back; every foreign error ends here."""
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                return await self._post(body)
        except TimeoutError:
            raise self._timed_out() from None
        except AaosError:
            raise
        except Exception as error:
            raise self._as_ours(error) from error

    async def _post(self, body: bytes) -> _Received:
        async with self._connected().stream("POST", self._url, content=body) as response:
            if _is_success(response.status_code):
                _require_uncompressed(response)
                content, truncated = await _read(response, self._settings.max_response_bytes)
            else:
                content, truncated = await _read(response, ERROR_BODY_BYTES)
            return _Received(
                status=response.status_code,
                body=self._redacted(content),
                retry_after=response.headers.get("retry-after"),
                request_id=response.headers.get("x-request-id", ""),
                truncated=truncated,
            )

    def _answer(self, received: _Received, request: ModelRequest, latency_ms: float) -> ModelAnswer:
        if not _is_success(received.status):
            raise refusal(received.status, received.retry_after, received.body)
        if received.truncated:
            limit = self._settings.max_response_bytes
            raise invalid(f"longer than sovereign.max_response_bytes = {limit}", received.body)
        return decode_answer(received.body, request, latency_ms, received.request_id)

    def _connected(self) -> httpx.AsyncClient:
        """Returns this process's HTTP client; runs on the loop only, so it needs no lock."""
        loop = asyncio.get_running_loop()
        if self._http is None or self._http_loop is not loop:
            if self._http is not None:
                self._of_parents.append(self._http)  # its sockets are the parent's: not to be closed here
            self._http, self._http_loop = self._new_http(), loop
        return self._http

    def _new_http(self) -> httpx.AsyncClient:
        settings = self._settings
        headers = httpx.Headers({"Accept-Encoding": "identity", "Content-Type": "application/json"})
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key.get_secret_value()}"
        return httpx.AsyncClient(
            headers=headers,
            verify=_tls(self._url),
            # Prompts and the key go to the service itself: no proxy or .netrc from the environment.
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=settings.connect_timeout_s),
            limits=httpx.Limits(
                max_connections=settings.pool_size,
                max_keepalive_connections=settings.pool_size,
                keepalive_expiry=KEEPALIVE_EXPIRY_S,
            ),
        )

    async def _disconnect(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            try:
                await http.aclose()
            except (httpx.HTTPError, OSError, RuntimeError) as error:
                # What cannot be closed now is closed with the process.
                _log.warning("sovereign connections did not close cleanly", error=type(error).__name__)

    def _timed_out(self) -> SovereignTimeout:
        limit = self._settings.request_timeout_s
        return SovereignTimeout(f"Sovereign gave no complete answer within sovereign.request_timeout_s = {limit:g}")

    def _as_ours(self, error: Exception) -> AaosError:
        """Returns what a foreign error means to our callers."""
        if isinstance(error, httpx.ConnectTimeout):
            limit = self._settings.connect_timeout_s
            return SovereignTimeout(f"no connection to Sovereign at {self._place} within {limit:g} s")
        if isinstance(error, httpx.TimeoutException):
            return self._timed_out()
        if isinstance(error, httpx.DecodingError):
            return SovereignInvalidResponse("Sovereign's answer is not encoded as its headers say")
        if isinstance(error, httpx.ConnectError):
            return SovereignUnavailable(
                f"cannot connect to Sovereign at {self._place}: is it running, is the URL right?"
            )
        return SovereignUnavailable(f"the connection to Sovereign at {self._place} failed: {type(error).__name__}")

    @property
    def _place(self) -> str:
        return self._url.netloc.decode("ascii")

    def _redacted(self, body: bytes) -> bytes:
        """Returns `body` without our key, should a service echo it: bodies reach logs and tables."""
        secret = self._api_key.get_secret_value() if self._api_key else ""
        return body.replace(secret.encode("ascii"), REDACTED) if len(secret) >= MIN_REDACTED_CHARS else body


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
