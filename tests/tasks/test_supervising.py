"""Processes that have to live: started anew when they die, ended by id with all that they started."""

import os
import signal
import sys
import threading
import time

import pytest

from tasks import supervising
from tasks.supervising import HOPELESS, Child, Stopped, stopping, watch


def child(tmp_path, code):
    return Child("it", [sys.executable, "-c", code], os.environ, tmp_path, tmp_path / "log" / "it.log")


def wait(what, seconds=20):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_one_that_died_is_started_again_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(supervising, "_GLANCE_S", 0.02)
    started = tmp_path / "started"
    code = (
        f"import sys; open({str(started)!r}, 'a').write('x');"
        f"sys.exit(3 if len(open({str(started)!r}).read()) < 2 else {HOPELESS})"
    )
    it, said = child(tmp_path, code), []
    it.start()
    assert watch([it], said.append) == HOPELESS
    assert started.read_text() == "xx"
    assert len(said) == 1
    assert said[0].startswith("it ended (code 3); it starts again in 1 s; see ")
    it.end()


def test_ending_it_ends_what_it_started_too(tmp_path):
    code = (
        "import subprocess, sys, time, signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(p.pid, flush=True); time.sleep(600)"
    )
    it = child(tmp_path, code)
    it.start()
    wait(lambda: it.tail().strip())
    pid = int(it.tail())
    it.end()
    assert not it.lives
    wait(lambda: gone(pid))


def asked(timer):
    timer.start()
    time.sleep(5)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123  a zombie that nobody waits for is gone
        return stat.read().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_once_and_handlers_are_put_back(number):
    before = signal.getsignal(number)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), number))
    with pytest.raises(Stopped), stopping():
        asked(timer)
    assert signal.getsignal(number) is before
