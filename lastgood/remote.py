"""The way to the service: what `LASTGOOD_URL` and `LASTGOOD_TOKEN` name, with our own errors.

A request that may be made twice is made again where the answer to the first did not come: a connection that
was kept for the next request can have been closed meanwhile. Needs `lastgood[client]` (httpx), which nobody
loads who did not set LASTGOOD_URL.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from lastgood import errors
from lastgood.clock import Clock, SystemClock
from lastgood.errors import CapReached, Forbidden, InvalidInput, LastgoodError, StoreUnavailable

try:
    import httpx
except ImportError as missing:
    msg = "LASTGOOD_URL needs httpx: `pip install 'lastgood[client]'`"
    raise StoreUnavailable(msg) from missing

#: seconds to connect, and to wait for an answer
CONNECT_S, ANSWER_S = 2.0, 10.0
#: connections at once, and kept for the next request: a thread that starts a run holds one
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)
#: answers that say "not now": the body was not there in time, this token sends too often
_LATER = frozenset({408, 429})
_NOTHING: Mapping[str, str] = {}
#: what an answer can name
_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, LastgoodError) and kind not in {LastgoodError, CapReached}
}


#: one client a process is made; taken while a process forks, so that no child finds it held
_making = threading.Lock()
os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


class Service:
    """The service at a URL, as one process speaks to it; safe in threads, begun anew in a forked child."""

    def __init__(self, url: str, token: str) -> None:
        if not token:
            msg = "LASTGOOD_URL is set and LASTGOOD_TOKEN is not: `lastgood token make NAME --role agent`"
            raise InvalidInput(msg)
        self.url = url.rstrip("/")
        self.clock: Clock = SystemClock()
        self._token = token
        self._client: httpx.Client | None = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"Service({self.url!r})"  # never the token

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        environment: str | None = None,
        lines: Sequence[Any] | None = None,
        query: Mapping[str, str] = _NOTHING,
        again: bool = False,
        within_s: float | None = None,
    ) -> Any:
        """Return the answer's JSON, None where it has none.

        `again` says that the request may be made twice. Raises what the service says, and `StoreUnavailable`
        where it can't be reached or failed itself.
        """
        content = None if body is None else json.dumps(body)
        if lines is not None:
            content = "\n".join(json.dumps(each) for each in lines)
        given = query if environment is None else {**query, "environment": environment}
        timeout = httpx.Timeout(within_s or ANSWER_S, connect=CONNECT_S)
        for left in range(int(again), -1, -1):
            try:
                answer = self._held().request(method, path, params=given, content=content, timeout=timeout)
                break
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                if not left:
                    raise self._unreachable(error) from error
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
                raise self._unreachable(error) from error
        if answer.is_success:
            return json.loads(answer.content) if answer.content else None
        raise _error(self.url, answer)

    @contextmanager
    def hear(
        self, path: str, *, quiet_s: float, **query: str
    ) -> Iterator[tuple[Iterator[str], Callable[[], None]]]:
        """Yield the lines of a stream, and what cuts it from another thread.

        Raises as `ask`, and when nothing comes for `quiet_s` seconds.
        """
        timeout = httpx.Timeout(quiet_s, connect=CONNECT_S)
        try:
            with self._held().stream("GET", path, params=query, timeout=timeout) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _error(self.url, answer)
                yield answer.iter_lines(), lambda: _cut(answer)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> StoreUnavailable:
        why = str(error) or type(error).__name__
        return StoreUnavailable(
            f"the service {self.url} can't be reached: {why}; check that it runs and that LASTGOOD_URL "
            "names it"
        )

    def _held(self) -> httpx.Client:
        if self._client is None or self._pid != os.getpid():
            with _making:
                if self._client is None or self._pid != os.getpid():
                    self._client = self._made()
                    self._pid = os.getpid()  # last: until then another thread comes here too
        return self._client

    def _made(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            follow_redirects=False,
            transport=httpx.HTTPTransport(retries=1, limits=_LIMITS),
        )

    def close(self) -> None:
        """Nothing that a thread would have to close."""


def _cut(answer: httpx.Response) -> None:
    """Wake whoever reads the answer: closing what another thread reads from would not."""
    held: socket.socket | None = answer.extensions["network_stream"].get_extra_info("socket")
    with suppress(OSError):
        if held is not None:
            held.shutdown(socket.SHUT_RDWR)


def _error(url: str, answer: httpx.Response) -> LastgoodError:
    try:
        said = answer.json()
        kind, text = str(said["error"]), str(said["message"])
    except (ValueError, KeyError, TypeError):
        said, kind, text = {}, "", answer.text[:200]
    if kind == "CapReached":
        fields = {name: said[name] for name in ("cap", "level", "used", "frees_us") if name in said}
        return CapReached(text, **fields)
    if answer.status_code >= 500 or answer.status_code in _LATER:
        return StoreUnavailable(f"the service {url} answered {answer.status_code}: {text}")
    found = _KINDS.get(kind)
    if found is not None:
        return found(text)
    default = Forbidden if answer.status_code in {401, 403} else InvalidInput
    return default(f"the service {url} answered {answer.status_code}: {text}")
