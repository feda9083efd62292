"""Requests to a reward server: as many at a time as it is asked for, repeated when the server is busy or away.

Guarantees: a request is repeated where that can help (no connection, a timeout, 429, 5xx), never sooner than the
server's ``Retry-After`` says; what it says otherwise is an error with its own words; answers come as they are ready,
and the first error, or Ctrl-C, ends the run without waiting for any other request.
"""

from __future__ import annotations

import email.utils
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

import httpx

from plaudit.errors import PlauditError
from plaudit.evaluation.names import user_and_password, without_password

__all__ = ["API_KEY_VARIABLE", "Server", "as_completed"]

API_KEY_VARIABLE = "PLAUDIT_API_KEY"
"""The environment variable whose content is sent as a bearer token."""

MAX_TRIES = 8
"""Of one request (derived: with the pauses below, a server may be away for a minute)."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Pauses double from the first to the longest (assumed)."""

LONGEST_RETRY_AFTER_S = 600.0
"""A server that asks for a longer pause than this is not waited for (assumed)."""

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""

MAX_WORDS = 400
"""Characters of a server's own words in an error."""

T = TypeVar("T")
R = TypeVar("R")


class Server:
    """A server at an address; requests may be made from several threads at a time."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        concurrency: int,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """
        Args:
            url: Of the server, without a route; a user and password in it are sent, and are in nothing that is written.
            timeout_s: How long an answer may take.
            concurrency: Requests at a time.
            sleep: Waits for so many seconds; by default until the server is closed, at the longest.
        """
        self.url = without_password(url).rstrip("/")
        self.concurrency = concurrency
        self._is_closed = threading.Event()
        self.sleep = sleep or self._is_closed.wait
        key = os.environ.get(API_KEY_VARIABLE)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else None,
            auth=user_and_password(url),
            timeout=httpx.Timeout(timeout_s, pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            follow_redirects=True,
        )

    def close(self) -> None:
        """Close all connections; requests that are under way in other threads are not made again."""
        self._is_closed.set()
        self._client.close()

    def find(self, path: str) -> Any:
        """What a route says to GET, as JSON; None where there is no such route.

        Raises:
            PlauditError: No answer.
        """
        response = self._send("GET", path, None, "")
        if response.status_code != httpx.codes.OK:
            return None
        try:
            return response.json()
        except ValueError:
            return None

    def post(self, path: str, body: Any, *, about: str) -> Any:
        """A route's answer to a JSON body.

        Args:
            path: The route.
            body: Of the request.
            about: What the request is about, for errors.

        Raises:
            PlauditError: The server refuses, cannot be reached, or answers something that is no JSON.
        """
        response = self._send("POST", path, body, about)
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response, path, about)
        try:
            return response.json()
        except ValueError as error:
            raise self._error(f"{path} answers no JSON: {response.text[:MAX_WORDS]!r}", about) from error

    def _send(self, method: str, path: str, body: Any, about: str) -> httpx.Response:
        pause = FIRST_PAUSE_S
        for number in range(1, MAX_TRIES + 1):
            is_last = number == MAX_TRIES
            try:
                response = self._client.request(method, self.url + path, json=body)
            except httpx.TransportError as error:
                if is_last:
                    raise self._error(f"no answer from {path} ({_words_of(error)})", about) from error
                asked = None
            except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise self._error(f"cannot be asked ({error})", about) from error
            else:
                if response.status_code not in BUSY or is_last:
                    return response
                asked = _retry_after(response)
                if asked is not None and asked > LONGEST_RETRY_AFTER_S:
                    return response
            # Requests that failed together should not come back together.
            own = pause * random.uniform(0.5, 1.0)
            self.sleep(own if asked is None else max(asked, own))
            if self._is_closed.is_set():
                raise self._error("the server was closed", about)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        raise AssertionError("the last try returns or raises")

    def _refusal(self, response: httpx.Response, path: str, about: str) -> PlauditError:
        fixes = {
            401: f"Set {API_KEY_VARIABLE} to the server's key.",
            403: f"Set {API_KEY_VARIABLE} to the server's key.",
            404: "Name the server's protocol: --protocol.",
            413: "Give a server with a higher limit, or leave the longest out: --tokenizer and --max-length.",
            429: "Ask less at a time: --concurrency.",
            503: "Ask less at a time (--concurrency), or give the same command again later.",
        }
        return self._error(
            f"{path} answers {response.status_code}: {response.text[:MAX_WORDS].strip() or 'nothing'}",
            about,
            fixes.get(response.status_code, "Look into the server's log."),
        )

    def _error(
        self, what: str, about: str, fix: str = "Check the address, and that the server runs."
    ) -> PlauditError:
        return PlauditError(f"{what}{f', asked about {about}' if about else ''}", where=self.url, fix=fix)


def as_completed(work: Callable[[T], R], parts: Iterable[T], num_threads: int) -> Iterator[tuple[T, R]]:
    """Each part with what the work makes of it, as it is ready; twice as many parts are under way as threads.

    The first error is raised, and work that was not begun is given up. Nothing waits for work that was begun, be it an
    error or Ctrl-C that ends this: the threads are daemons, where Python waits at its end for those of an executor.
    """
    todo: SimpleQueue[tuple[T] | None] = SimpleQueue()
    done: SimpleQueue[tuple[T, R] | BaseException] = SimpleQueue()
    is_over = threading.Event()

    def run() -> None:
        while (part := todo.get()) is not None and not is_over.is_set():
            try:
                done.put((part[0], work(part[0])))
            except BaseException as error:  # raised again where the answers are read
                is_over.set()
                done.put(error)

    for number in range(num_threads):
        threading.Thread(target=run, name=f"plaudit-request-{number}", daemon=True).start()
    waiting, num_under_way = iter(parts), 0
    try:
        while True:
            for part in itertools.islice(waiting, 2 * num_threads - num_under_way):
                todo.put((part,))
                num_under_way += 1
            if not num_under_way:
                return
            answer = done.get()
            num_under_way -= 1
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        is_over.set()
        for _ in range(num_threads):
            todo.put(None)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait: a number, or a date. (RFC 9110, 10.2.3)"""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _words_of(error: Exception) -> str:
    return str(error) or type(error).__name__
