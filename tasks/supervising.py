"""Supervising: the processes of `lastgood up`, started anew when they die, ended by id. Loads no Prefect."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import BinaryIO

#: seconds between two glances at the processes
_GLANCE_S = 0.3
#: seconds that a process may take to end before it is killed
_GRACE_S = 15.0
#: a process that lived so long, seconds, is started anew at once; one that did not waits longer each time
_STEADY_S = 60.0
_LONGEST_PAUSE_S = 30.0
#: what a process ends with whose settings can't work: starting it again would not help (sysexits' EX_CONFIG)
HOPELESS = 78
#: the variable that tells a process who started it, by process id: it ends where that one is gone
SUPERVISOR = "LASTGOOD_UP"


@dataclass(slots=True)
class Child:
    """One process that has to live."""

    #: shown to people
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    #: where its output goes, and beside it stands its process id; None: to the terminal
    log: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)
    _pause_s: float = field(default=0.0, init=False)
    _due: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start it, in a session of its own: a Ctrl-C of the terminal is passed on in order."""
        self._began = time.monotonic()
        with self._output() as out:
            self.process = subprocess.Popen(
                list(self.command),
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=None if out is None else subprocess.STDOUT,
                start_new_session=True,
            )
        if self.log is not None:
            _note(self.log).write_text(str(self.process.pid))

    @contextlib.contextmanager
    def _output(self) -> Iterator[BinaryIO | None]:
        if self.log is None:
            yield None
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            yield out

    @property
    def lives(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def mend(self, say: Callable[[str], None]) -> int | None:
        """Start it anew where it died; return its code where that would not help, else None."""
        if self.process is None or self.lives:
            return None
        code = self.process.returncode
        if code == HOPELESS:
            return code
        now = time.monotonic()
        if not self._due:
            steady = now - self._began >= _STEADY_S
            self._pause_s = 0.0 if steady else min(_LONGEST_PAUSE_S, max(1.0, self._pause_s * 2))
            self._due = now + self._pause_s
            say(f"{self.name} ended ({_said(code)}); it starts again in {self._pause_s:.0f} s{self._see()}")
        if now >= self._due:
            self._due = 0.0
            self.start()
        return None

    def _see(self) -> str:
        return f"; see {self.log}" if self.log else ""

    def end(self) -> None:
        """End it: SIGTERM, and SIGKILL for its whole session where that does not do."""
        if self.process is None:
            return
        if self.lives:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what it started and left behind
        self.process.wait()
        if self.log is not None:
            _note(self.log).unlink(missing_ok=True)

    def tail(self, characters: int = 1_500) -> str:
        """The end of its log."""
        if self.log is None or not self.log.exists():
            return ""
        return self.log.read_text(errors="replace")[-characters:]


def _note(log: Path) -> Path:
    return log.with_suffix(".pid")


def left_behind(log: Path, words: Sequence[str]) -> int | None:
    """Return the process that had this log, where it lives still and its command has these words in a row.

    None too where the system has no /proc to tell that.
    """
    try:
        pid = int(_note(log).read_text())
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (OSError, ValueError):
        return None
    lives = any(command[place : place + len(words)] == list(words) for place in range(len(command)))
    return pid if lives else None


def _said(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"


class Stopped(Exception):
    """A signal asked to stop."""


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise `Stopped` inside, once; later ones are ignored while things end."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(children: Sequence[Child], say: Callable[[str], None]) -> int:
    """Keep the processes alive until one of them is hopeless; return its code."""
    while True:
        for child in children:
            code = child.mend(say)
            if code is not None:
                return code
        time.sleep(_GLANCE_S)


__all__ = ["HOPELESS", "SUPERVISOR", "Child", "Stopped", "left_behind", "stopping", "watch"]
