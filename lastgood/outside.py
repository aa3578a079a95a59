"""What a rehearsal must not reach: one guard over sockets and subprocesses, and who stands under it.

A rehearsal holds for the code that is called in it: in this thread and task, in those that copy its
context (`asyncio.to_thread`), and in every thread that is started under it. Python tells of sockets, name
look-ups and subprocesses by audit events (PEP 578), whatever library makes them; of threads it tells from
3.12 on, so their start is wrapped. Both are put in place at the first rehearsal of a process: an agent in
service never has them.
"""

import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from lastgood.errors import Denied

#: events that look a name up: DNS
LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_REACHING = LOOKUPS | {
    "socket.connect", "socket.sendto", "socket.sendmsg",
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn",
}  # fmt: skip
_MARK = "_lastgood_guard"


class Guard(Protocol):
    """What decides on a reach outside."""

    def reach(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Let it pass, or raise `Denied`."""


_current: ContextVar[Guard | None] = ContextVar("lastgood_guard", default=None)
_active: list[Guard] = []
_lock = threading.Lock()
_hooked = False


def current() -> Any:
    """Return the guard that the calling code stands under; None where it stands under none.

    Raises `Denied` for a thread that outlived its own rehearsal while several others run: whose it is now
    can't be told.
    """
    found = _current.get()
    if found is not None or not _hooked:
        return found
    born = threading.current_thread().__dict__.get(_MARK)
    if born is None or born in _active:
        return born
    held = list(_active)
    if len(held) > 1:
        raise Denied(
            "a thread of an earlier rehearsal works for one of several that run now, and which one can't be "
            "told; pass the context on with contextvars.copy_context().run"
        )
    return held[0] if held else born


@contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Put what is called inside under a guard."""
    _hook()
    with _lock:
        _active.append(guard)
    token = _current.set(guard)
    try:
        yield
    finally:
        _current.reset(token)
        with _lock:
            _active.remove(guard)


def _hook() -> None:
    global _hooked  # noqa: PLW0603  a hook is the process's, and can't be taken away again
    with _lock:
        if not _hooked:
            sys.addaudithook(_audit)
            _mark_threads()
            _hooked = True


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _REACHING and (guard := current()) is not None:
        guard.reach(event, arguments)


def _mark_threads() -> None:
    """Have every thread that is started under a guard know it."""
    plain = threading.Thread.start

    @functools.wraps(plain)
    def start(thread: threading.Thread) -> None:
        guard = current()
        if guard is not None:
            thread.__dict__[_MARK] = guard
        plain(thread)

    threading.Thread.start = start  # type: ignore[assignment, method-assign]


__all__ = ["LOOKUPS", "Guard", "current", "guarded"]
