"""The Prefect server that is used: found, told from what is none, its version compared. Loads no Prefect."""

import os
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import urlsplit

import httpx

from lastgood.errors import PrefectUnusable

#: seconds that a server may take to answer
_ANSWER_S = 5.0
#: seconds between two questions while a server starts
_ASK_S = 0.25
#: seconds between two lines that say so
_SAY_S = 4.0


@dataclass(frozen=True, slots=True)
class Found:
    """What an address turned out to be."""

    #: the Prefect API's URL, ending in /api as a rule
    url: str
    #: version of the server; empty where nothing answers
    version: str = ""
    #: why it can't be used, a sentence; empty where it can
    problem: str = ""

    @property
    def ui(self) -> str:
        """Where people look at it."""
        return self.url.removesuffix("/").removesuffix("/api")


def look(url: str, *, client_version: str = "") -> Found:
    """Ask an address once whether it is a Prefect API that this checkout can use.

    `client_version` stands in for the version that is installed here.
    """
    ours = client_version or version("prefect")
    try:
        with _client(url) as client:
            health, told = client.get("/health"), client.get("/admin/version")
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        return Found(url, problem=f"{url!r} is no URL; write http://HOST:PORT/api")
    except httpx.HTTPError as error:
        return Found(url, problem=f"nothing answers at {url} ({type(error).__name__})")
    theirs = _version(told)
    if not theirs:
        return Found(url, problem=_stranger(url, health))
    if theirs.partition(".")[0] != ours.partition(".")[0]:
        msg = (
            f"the server at {url} is Prefect {theirs} and this checkout has {ours}: two major versions do "
            "not understand each other; start a server of this one, or point PREFECT_API_URL to such a server"
        )
        return Found(url, theirs, msg)
    if health.status_code != httpx.codes.OK:
        return Found(url, theirs, f"the Prefect server at {url} is not healthy yet ({health.status_code})")
    return Found(url, theirs)


@contextmanager
def _client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=_ANSWER_S, headers=_credentials()) as client:
        yield client


def _credentials() -> dict[str, str]:
    """What the client of Prefect itself would send."""
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if pair := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}


def _version(answer: httpx.Response) -> str:
    """The version that `/admin/version` told; empty where it told none."""
    try:
        told = answer.json() if answer.is_success else ""
    except ValueError:
        return ""
    return told if isinstance(told, str) and told[:1].isdigit() else ""


def _stranger(url: str, health: httpx.Response) -> str:
    if health.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return f"{url} wants credentials: set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY)"
    if not urlsplit(url).path.rstrip("/").endswith("/api"):
        return f"what answers at {url} is no Prefect API; its URL ends in /api"
    return f"what answers at {url} is no Prefect API (it says {health.status_code})"


def checked(url: str) -> Found:
    """Return the server at an address; raises `PrefectUnusable` where it can't be used."""
    found = look(url)
    if found.problem:
        raise PrefectUnusable(found.problem)
    return found


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def wait(url: str, *, seconds: float, alive: Callable[[], bool], say: Callable[[str], None]) -> Found:
    """Wait until a server that was started answers; raises `PrefectUnusable` where it ends or is too slow.

    `alive` tells whether its process is; `say` gets a line every few seconds.
    """
    began, said = time.monotonic(), 0.0
    while True:
        passed = time.monotonic() - began
        if not alive():
            raise PrefectUnusable(f"the Prefect server ended after {passed:.0f} s")
        found = look(url)
        if not found.problem:
            return found
        if passed > seconds:
            raise PrefectUnusable(
                f"the Prefect server did not answer within {seconds:.0f} s: {found.problem}"
            )
        if passed - said >= _SAY_S:
            said = passed
            usual = "a first start takes about 20, on a busy machine a minute"
            say(f"waiting for the Prefect server ({passed:.0f} s; {usual})")
        time.sleep(_ASK_S)


__all__ = ["Found", "checked", "is_free", "look", "wait"]
