"""The faults of the soak: what is done to whom, one after the other, every minute or two."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.soak.agent import boot_us
from tests.soak.stack import Stack

#: agent processes that are killed, one of each way to the store; the others live through it all
VICTIMS = (0, 5)
#: the service and Prefect's server are killed in this share of the time and only stopped later, so that a
#: long life of each is measured too
KILLED_UNTIL = 0.5
#: seconds that a crash of the database may lose of what was acknowledged: three times `wal_writer_delay`,
#: and what an answer takes to its agent
LOSES_S = 1.0
#: seconds: how long something is down, stopped, and how long looks stay away for a lease of 20 s to lapse
DOWN_S, STOPPED_S, LAPSE_S = (2.0, 6.0), (6.0, 15.0), 32.0


@dataclass
class Faults:
    """Draws faults until the time is over; runs in the thread that started everything (`prctl` counts it)."""

    stack: Stack
    draw: random.Random
    #: what was done, and when: seconds since the start
    done: list[tuple[float, str]] = field(default_factory=list)
    #: spans, microseconds since boot, before a crash of the database
    excused: list[tuple[int, int]] = field(default_factory=list)
    _bag: list[str] = field(default_factory=list)

    def inject(self, now_s: float, share: float) -> str:
        """Do the next one; `share` of the time is over."""
        name = self._drawn(share)
        said = KINDS[name](self)
        self.done.append((now_s, name))
        return f"{name}{said or ''}"

    @property
    def counts(self) -> Counter:
        return Counter(name for _, name in self.done)

    def _drawn(self, share: float) -> str:
        """Every kind once, in an order of chance, then again."""
        while True:
            if not self._bag:
                self._bag = self.draw.sample(list(KINDS), len(KINDS))
            name = self._bag.pop()
            if share < KILLED_UNTIL or name not in {"kill -9 of the service", "Prefect's server killed"}:
                return name

    def _rest(self, span: tuple[float, float]) -> None:
        time.sleep(self.draw.uniform(*span))

    def _agent(self, number: int) -> None:
        victim = self.stack.agents[number]
        victim.kill()
        self._rest(DOWN_S)
        victim.begin()

    def _worker(self) -> None:
        worker = self.stack.workers[0]
        worker.kill(group=False)  # what it started goes on without it
        self._rest(DOWN_S)
        worker.begin()

    def _flow_run(self) -> str:
        found = self.stack.flow_runs()
        for _ in range(40):
            if found:
                break
            time.sleep(0.5)
            found = self.stack.flow_runs()
        if not found:
            return ": none ran"
        with suppress(ProcessLookupError):
            os.kill(self.draw.choice(found), signal.SIGKILL)
        return ""

    def _service(self) -> None:
        self.stack.service.end()
        self._rest(DOWN_S)
        self.stack.service.begin()

    def _service_stopped(self) -> None:
        process = self.stack.service.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            self._rest(STOPPED_S)
        finally:
            process.send_signal(signal.SIGCONT)

    def _server_stopped(self) -> None:
        self.stack.server.signal(signal.SIGSTOP)
        try:
            self._rest(STOPPED_S)
        finally:
            self.stack.server.signal(signal.SIGCONT)

    def _server_killed(self) -> None:
        self.stack.server.kill()
        time.sleep(20)
        self.stack.server.begin()
        self.stack.wait_for_server()

    def _database(self, number: int) -> None:
        began_us = boot_us()
        self.stack.database.end(number)
        if number == signal.SIGQUIT:
            self.excused.append((began_us - round(LOSES_S * 1e6), boot_us()))
        self._rest(DOWN_S)
        self.stack.database.begin()

    def _lapse(self) -> str:
        """Nobody looks: workers and flows stand still for longer than a lease."""
        stopped = [*self.stack.flow_runs(), *(worker.pid for worker in self.stack.workers if worker.alive)]
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(LAPSE_S)
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return f": {len(stopped)} processes"


#: every kind of fault
KINDS: dict[str, Callable[[Faults], str | None]] = {
    "kill -9 of an agent process (store)": lambda faults: faults._agent(VICTIMS[0]),
    "kill -9 of an agent process (HTTP)": lambda faults: faults._agent(VICTIMS[1]),
    "kill -9 of a worker": Faults._worker,
    "kill -9 of a flow run": Faults._flow_run,
    "kill -9 of the service": Faults._service,
    "SIGSTOP of the service": Faults._service_stopped,
    "SIGSTOP of Prefect's server": Faults._server_stopped,
    "Prefect's server killed": Faults._server_killed,
    "Postgres restarted": lambda faults: faults._database(signal.SIGINT),
    "Postgres crashed": lambda faults: faults._database(signal.SIGQUIT),
    "looks stay away until the lease lapses": Faults._lapse,
}
