"""One agent process of the soak: it serves two agents by turns and keeps a diary of what it was told.

    agent.py NAME DIARY PACE AGENT AGENT

In process or over LASTGOOD_URL, as the environment says. Each line of the diary is one write, so that a
kill -9 loses none that was written; `tests.soak.diary` reads it.
"""

import json
import logging
import os
import random
import re
import sys
import time
from collections import deque
from contextlib import suppress

import lastgood
from lastgood.errors import LastgoodError

RUN_ID = re.compile(r"run_\w+")
#: shares of runs: with an action, of a conversation, corrected afterwards; of a leaking bundle: with one
ACTS, TALKS, EDITED, LEAKS = 0.1, 0.05, 0.05, 0.3
#: chances to complete, by the first word of the bundle's prompt
COMPLETES = {"good": 0.9, "failing": 0.3, "leaking": 0.9}
#: turns of a conversation, and runs after which one is corrected
TURNS, LATER = 20, 10


def boot_us() -> int:
    """Microseconds since boot: the same for every process of this host, and nobody sets it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000


class Diary:
    """What this process was told, as JSON lines."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def tell(self, *words: object) -> None:
        os.write(self._file, json.dumps(words).encode() + b"\n")


class Dropped(logging.Handler):
    """Notes the outcomes that lastgood says it could not record."""

    def __init__(self, diary: Diary) -> None:
        super().__init__(logging.WARNING)
        self._diary = diary

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if "could not be recorded" in said:
            for run_id in RUN_ID.findall(said):
                self._diary.tell("drop", run_id)


class Agent:
    """The work of this process."""

    def __init__(self, name: str, diary: Diary) -> None:
        self._name, self._diary = f"{name}-{os.getpid()}", diary
        self._draw, self._number = random.Random(self._name), 0
        #: runs to be corrected, with their numbers
        self._later: deque[tuple[int, str]] = deque()

    def serve(self, agent: str) -> None:
        """Serve one run, from the decision to what is known of its outcome."""
        self._number += 1
        unit, begun_us = f"{self._name}-{self._number}", boot_us()
        talk = f"{self._name}-talk-{self._number // TURNS}" if self._draw.random() < TALKS else None
        self._diary.tell("try", unit, agent, begun_us)
        with lastgood.run(agent, unit=unit, conversation=talk) as run:
            epoch, bundle = run._assigned.decision.epoch, run.bundle.id
            self._diary.tell(
                "run", unit, run.id, agent, bundle, run.arm, epoch, run.recorded, begun_us, boot_us()
            )
            kind = run.bundle.prompt.text.split(maxsplit=1)[0]
            completed = self._draw.random() < COMPLETES[kind]
            if self._draw.random() < ACTS:
                with run.action("message", unit, {"unsend": unit}):
                    pass
            if kind == "leaking" and run.arm == "candidate" and self._draw.random() < LEAKS:
                lastgood.report(run.id, event="data_leak")
                self._diary.tell("leak", agent, bundle, boot_us())
            run.report(completed=completed, cost_usd=round(self._draw.uniform(0.001, 0.02), 6))
        if run.recorded:
            self._diary.tell("end", run.id, completed)
            if self._draw.random() < EDITED:
                self._later.append((self._number, run.id))

    def settle(self) -> None:
        """Have everything written, and say so; correct an older run."""
        with suppress(LastgoodError):
            lastgood.flush()
            self._diary.tell("sure", boot_us())
        if self._later and self._later[0][0] <= self._number - LATER:
            _, run_id = self._later.popleft()
            with suppress(LastgoodError):
                lastgood.report(run_id, operator_edits=1, key=run_id)


def main() -> None:
    """Serve until somebody ends this process."""
    name, path, pace, *agents = sys.argv[1:]
    diary = Diary(path)
    diary.tell("born", name, boot_us())
    logging.basicConfig(level=logging.WARNING, handlers=[logging.StreamHandler(), Dropped(diary)])
    work, every_s, due_s, turn = Agent(name, diary), 1 / float(pace), time.monotonic(), 0
    while True:
        turn += 1
        try:
            work.serve(agents[turn % len(agents)])
            work.settle()
        except LastgoodError as error:  # no bundle was ever seen, or an action was refused
            diary.tell("failed", type(error).__name__)
        due_s = max(due_s + every_s, time.monotonic() - 1)  # what an outage delayed is not made up for
        time.sleep(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    main()
