"""The way to the service: what `LASTGOOD_URL` and `LASTGOOD_TOKEN` name, with our own errors.

Needs `lastgood[client]` (httpx), which nobody loads who did not set LASTGOOD_URL.
"""

import json
from collections.abc import Sequence
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
#: what an answer can name
_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, LastgoodError) and kind not in {LastgoodError, CapReached}
}


class Service:
    """The service at a URL, as one process speaks to it; safe in threads, begun anew in a forked child."""

    def __init__(self, url: str, token: str, environment: str) -> None:
        if not token:
            msg = "LASTGOOD_URL is set and LASTGOOD_TOKEN is not: `lastgood token make NAME --role agent`"
            raise InvalidInput(msg)
        self.url = url.rstrip("/")
        self.environment = environment
        self.clock: Clock = SystemClock()
        self._token = token
        self._client: httpx.Client | None = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"Service({self.url!r})"  # never the token

    def ask(self, method: str, path: str, body: Any = None, *, lines: Sequence[Any] | None = None) -> Any:
        """Return the answer's JSON, None where it has none.

        Raises what the service says, and `StoreUnavailable` where it can't be reached or failed itself.
        """
        content = None if body is None else json.dumps(body)
        if lines is not None:
            content = "\n".join(json.dumps(each) for each in lines)
        try:
            answer = self._held().request(
                method, path, params={"environment": self.environment}, content=content
            )
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            why = str(error) or type(error).__name__
            raise StoreUnavailable(
                f"the service {self.url} can't be reached: {why}; check that it runs and that LASTGOOD_URL "
                "names it"
            ) from error
        if answer.is_success:
            return json.loads(answer.content) if answer.content else None
        raise _error(self.url, answer)

    def _held(self) -> httpx.Client:
        import os

        if self._client is None or self._pid != os.getpid():
            self._client = httpx.Client(
                base_url=self.url,
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
                follow_redirects=False,
                transport=httpx.HTTPTransport(retries=1),
            )
            self._pid = os.getpid()
        return self._client

    def close(self) -> None:
        """Nothing that a thread would have to close."""


def _error(url: str, answer: httpx.Response) -> LastgoodError:
    try:
        said = answer.json()
        kind, text = str(said["error"]), str(said["message"])
    except (ValueError, KeyError, TypeError):
        said, kind, text = {}, "", answer.text[:200]
    if kind == "CapReached":
        fields = {name: said[name] for name in ("cap", "level", "used", "frees_us") if name in said}
        return CapReached(text, **fields)
    if answer.status_code >= 500:
        return StoreUnavailable(f"the service {url} answered {answer.status_code}: {text}")
    found = _KINDS.get(kind)
    if found is not None:
        return found(text)
    default = Forbidden if answer.status_code in {401, 403} else InvalidInput
    return default(f"the service {url} answered {answer.status_code}: {text}")
