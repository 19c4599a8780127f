"""Sends JSON over HTTP to one server or to several replicas of it, with time-outs, retries and back-off.

Engines (engine.py), reward models and chat models use it; it knows no model and no prompt.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.terminal import one_line
from cord_distill.engines.base import EngineDead, EngineError
from cord_distill.engines.liveness import hangs, too_late
from cord_distill.engines.server.replicas import Replica, Replicas

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
CONNECT_SECONDS = 10.0
# Servers drop idle connections (uvicorn after 5 s); a request on a dropped one would look like a dead server.
KEEP_ALIVE = 3.0
BUSY = (408, 425, 429, 500)
GONE = (502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
# Log-probs of a whole long prompt take some MiB.
LONGEST_ANSWER = 128 * 2**20


@dataclass
class _Trouble(Exception):
    """An attempt that is worth another one. gone: there was no server; pause: seconds that the server asked for; stale:
    it may have been the end of an idle connection and no more."""

    reason: str
    gone: bool
    pause: float | None = None
    stale: bool = False


class HttpClient:
    """Asks one of `urls` and gives its JSON; made and used inside one event loop.

    urls: what every path is put behind. api_key_env: the environment variable that holds the key (`Authorization:
    Bearer`); None, or an unset one: no key is sent. timeout: seconds for one attempt. wait: seconds that a server may
    be away, or refuse as busy, before a request is given up; 0 = no second attempt. limit: connections at once, 0 = any
    number.

    A request is tried again when it got no answer, or 408, 425, 429 or 5xx, after the server's Retry-After or a pause
    that doubles, with jitter from a generator of its own. Raises EngineError: refused (any other 4xx, with the server's
    words), no JSON, too slow while others were answered, or busy for `wait` seconds. Raises EngineDead: none of the
    urls was there for `wait` seconds. Raises CordError: a url that is none.
    """

    def __init__(
        self, urls: str | list[str], *, api_key_env: str | None = None, timeout: float = 3600.0, wait: float = 600.0,
        limit: int = 0,
    ) -> None:  # fmt: skip
        given = [urls] if isinstance(urls, str) else list(urls)
        for url in given:
            if not url.startswith(("http://", "https://")):
                raise CordError(f"url: {url!r} is no address of a server; write it like http://127.0.0.1:8000")
        self.replicas = Replicas([url.rstrip("/") for url in given], CONNECT_SECONDS)
        self.homes = self.replicas.homes
        self.timeout = timeout
        self.wait = wait
        self.limit = limit
        self.api_key_env = api_key_env
        self._dice = random.Random()
        self._sessions: dict[bool, Any] = {}

    async def post(self, path: str, body: Any, home: str = "") -> Any:
        """The JSON that POST url+path gives. home: requests of one `home` go to one replica as long as it is up, until
        it leaves `homes`; one without a home goes to the replica with the fewest of both."""
        return await self._ask("POST", path, body, home)

    async def get(self, path: str) -> Any:
        return await self._ask("GET", path, None, "")

    async def text(self, path: str) -> str:
        """What GET url+path gives, whatever it is."""
        return str(await self._ask("GET", path, None, "", read=str))

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    async def _ask(self, method: str, path: str, body: Any, home: str, read: Callable[[str], Any] = json.loads) -> Any:
        with self.homes.staying(home) as name:
            return await self._ask_at(name, method, path, body, read)

    async def _ask_at(self, home: str, method: str, path: str, body: Any, read: Callable[[str], Any]) -> Any:
        tries = 0
        stale = False
        first_trouble: float | None = None
        while True:
            replica = self.replicas.choose(home)
            try:
                return await self._once(replica, method, path, body, stale, read)
            except _Trouble as trouble:
                if trouble.stale and not stale:
                    stale = True
                    continue
                now = time.monotonic()
                first_trouble = first_trouble or now
                if trouble.gone:
                    self.replicas.down(replica, trouble.reason)
                gone_since = self.replicas.gone_since()
                left = (gone_since or first_trouble) + self.wait - now
                if left <= 0:
                    self._give_up(replica, trouble, gone_since is not None)
                if not trouble.gone or gone_since is not None:
                    # At least the back-off, whatever the server asks for: zero would be a storm of requests.
                    await asyncio.sleep(min(left, max(self._pause(tries), trouble.pause or 0.0)))
                    tries += 1

    async def _once(
        self, replica: Replica, method: str, path: str, body: Any, fresh: bool, read: Callable[[str], Any]
    ) -> Any:
        import aiohttp

        where = replica.url + path
        try:
            # Never followed: a redirect would send the prompt to whomever the server names.
            async with self._opened(fresh).request(method, where, json=body, allow_redirects=False) as response:
                status, headers, text = response.status, response.headers, await _text(response)
            if status >= 300:
                text = self._without_key(text)
        except aiohttp.ClientSSLError as error:
            raise EngineDead(f"{where}: {error}") from error
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            raise _Trouble(f"no connection: {_short(error)}", gone=True) from error
        except aiohttp.ClientConnectionError as error:
            raise _Trouble(_short(error), gone=True, stale=True) from error
        except aiohttp.ClientPayloadError as error:
            raise _Trouble(f"the answer broke off: {_short(error)}", gone=True) from error
        except TimeoutError as error:
            reason = too_late(self.timeout)
            if hangs(replica.answered, self.timeout):
                raise _Trouble(reason, gone=True) from error
            raise EngineError(f"{where}: {reason}") from error
        except aiohttp.ClientError as error:
            raise EngineError(f"{where}: {_short(error)}") from error
        if status not in GONE:
            self.replicas.up(replica)
        if status in BUSY or status >= 500:
            reason = f"HTTP {status}: {_message(text)}"
            raise _Trouble(reason, status in GONE, _retry_after(headers.get("Retry-After")))
        if status in REDIRECTS:
            to = one_line(headers.get("Location", "nowhere"), 200)
            raise EngineError(
                f"{where}: HTTP {status}: a redirect to {to}, which is not followed; give that address as url"
            )
        if status >= 400:
            raise EngineError(f"{where}: HTTP {status}: {_message(text)}{self._about_the_key(status)}")
        try:
            return read(text)
        except (ValueError, RecursionError):
            raise EngineError(f"{where}: HTTP {status}, but no JSON: {text[:200]!r}") from None

    def _opened(self, fresh: bool) -> Any:
        """fresh: every request gets a new connection, as a server may have dropped all the idle ones at once."""
        if fresh not in self._sessions:
            import aiohttp

            key = os.environ.get(self.api_key_env) if self.api_key_env else None
            if key and not (key.isascii() and key.isprintable()):
                raise CordError(
                    f"api_key_env: ${self.api_key_env} holds a line break or another sign that no key has; set it to "
                    "the key alone"
                )
            kept = {"force_close": True} if fresh else {"keepalive_timeout": KEEP_ALIVE}
            self._sessions[fresh] = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(self.timeout, CONNECT_SECONDS)),
                connector=aiohttp.TCPConnector(limit=self.limit, **kept),
            )
        return self._sessions[fresh]

    def _give_up(self, replica: Replica, trouble: _Trouble, gone: bool) -> None:
        urls = ", ".join(replica.url for replica in self.replicas) if gone else replica.url
        waited = f" for {self.wait:g} s (decode.server_wait)" if self.wait else ""
        raise (EngineDead if gone else EngineError)(f"{urls}: {trouble.reason}{waited}")

    def _pause(self, tries: int) -> float:
        return self._dice.uniform(0.5, 1) * min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries, 16))

    def _without_key(self, text: str) -> str:
        """An error page may repeat the key that it refuses; it would stand in a row's error."""
        key = os.environ.get(self.api_key_env, "") if self.api_key_env else ""
        return text.replace(key, f"${self.api_key_env}") if key else text

    def _about_the_key(self, status: int) -> str:
        if status not in (401, 403):
            return ""
        if self.api_key_env is None:
            return " (api_key_env names the environment variable that holds the key)"
        return f" (the key was read from ${self.api_key_env})" if os.environ.get(self.api_key_env) else (
            f" (${self.api_key_env} is not set; it should hold the key)"
        )  # fmt: skip


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def _message(text: str) -> str:
    """What an error page says, in one line: OpenAI's and FastAPI's JSON, else its beginning."""
    try:
        page = json.loads(text)
        told = page.get("error", page) if isinstance(page, dict) else page
        if isinstance(told, dict):
            told = told.get("message") or told.get("detail") or told
        text = told if isinstance(told, str) else json.dumps(told)
    except (ValueError, RecursionError):
        pass
    return one_line(text) or "no reason given"


async def _text(response: Any) -> str:
    """The body. Raises EngineError on one that no answer can be as long as (a compressed one counts unpacked)."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > LONGEST_ANSWER:
            raise EngineError(f"{response.url}: an answer of more than {LONGEST_ANSWER >> 20} MiB")
        parts.append(part)
    try:
        return b"".join(parts).decode(response.get_encoding(), errors="replace")
    except (LookupError, RuntimeError):
        return b"".join(parts).decode(errors="replace")


def _short(error: Exception) -> str:
    text = str(getattr(error, "os_error", error))
    return one_line(text, 300) or type(error).__name__
