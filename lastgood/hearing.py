"""Hearing: what stands in for epoch words where a store is a server (`lastgood.listening`).

The cell of a control point is changed when a move of it is heard, and every router of it is brought up to
date by the thread that listens, so that no decision waits for a server. Two points may share a cell, as they
may share a word. A cut link is silent: the last that was seen is served then, within the lease. What was
missed meanwhile is read when the link is back.
"""

import os
import threading
import weakref
from typing import Protocol

from lastgood.epoch_word import SLOTS, UNWATCHED, Mark, slot_of
from lastgood.listening import Listener

#: seconds that the first router of a process waits until its moves are heard
BEGIN_S = 1.0


class Hearer(Protocol):
    """Who is brought up to date."""

    agent: str
    environment: str

    def reread(self) -> bool:
        """Read the control point and route by it; return whether it could be read."""


class Heard:
    """The moves of one store's control points, as one process hears them."""

    def __init__(self, url: str) -> None:
        self._cells = [0] * SLOTS
        self._hearers: weakref.WeakSet[Hearer] = weakref.WeakSet()
        self._begun = threading.Event()
        self._listener = Listener(url, self._on_switch, self._on_gap)
        _all.add(self)

    def begin(self, hearer: Hearer) -> None:
        """Tell `hearer` of moves from here on; waits a moment for the first one of a process."""
        self._hearers.add(hearer)
        self._listener.start()
        self._begun.wait(BEGIN_S)

    def end(self) -> None:
        """Hear nothing more."""
        self._begun.clear()
        self._listener.stop()

    def mark(self, agent: str, environment: str) -> Mark:
        """Return a point's cell as it is now; call it before the store is read."""
        if not self._begun.is_set():
            return UNWATCHED
        return Mark.of(self._cells, slot_of(agent, environment))

    def holds(self, mark: Mark) -> bool:
        """Whether moves are heard that would change the mark's cell."""
        return self._begun.is_set() and mark is not UNWATCHED

    def deafen(self) -> None:
        """Forget that anything is heard: in a forked child, until its own thread listens."""
        self._begun = threading.Event()

    def _on_switch(self, agent: str, environment: str, _epoch: int) -> None:
        self._cells[slot_of(agent, environment)] += 2
        for hearer in list(self._hearers):
            if (hearer.agent, hearer.environment) == (agent, environment):
                hearer.reread()

    def _on_gap(self) -> None:
        self._begun.set()
        for slot in range(SLOTS):
            self._cells[slot] += 2
        for hearer in list(self._hearers):
            hearer.reread()


_all: weakref.WeakSet[Heard] = weakref.WeakSet()


def _in_child() -> None:
    for heard in list(_all):
        heard.deafen()


os.register_at_fork(after_in_child=_in_child)
