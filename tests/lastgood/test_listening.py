import os
import queue
import random
import subprocess
import threading
import time

import psycopg
import pytest

from lastgood import listening
from lastgood.listening import Listener

WAIT_S = 20


class Heard:
    """What a listener called back."""

    def __init__(self, url):
        self.switches, self.gaps = queue.Queue(), queue.Queue()
        self.listener = Listener(url, lambda *switch: self.switches.put(switch), lambda: self.gaps.put(None))

    def __enter__(self):
        self.listener.start()
        self.gaps.get(timeout=WAIT_S)
        return self

    def __exit__(self, *_):
        self.listener.stop()


def cut(url):
    """End every other connection to the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.only("sqlite")
def test_on_sqlite_there_is_nothing_to_hear(desk):
    listener = Listener(desk.store.url, lambda *_: None, lambda: None)
    listener.start()
    assert not listener.running
    listener.stop()


@pytest.mark.only("postgres")
def test_every_move_is_heard_after_its_commit_with_its_epoch(desk):
    with Heard(desk.store.url) as heard:
        release_id = desk.live(500)
        desk.revert(release_id)
        moves = [heard.switches.get(timeout=WAIT_S) for _ in range(3)]
    assert {(agent, environment) for agent, environment, _ in moves} == {("support", "production")}
    assert moves[-1][2] == desk.point.epoch


@pytest.mark.only("postgres")
@pytest.mark.parametrize("by_hand", ["DELETE FROM control_point", "UPDATE control_point SET share_bp = 9"])
def test_what_a_hand_had_changed_is_heard_when_it_is_restored(by_hand, desk):
    with Heard(desk.store.url) as heard:
        desk.hand(by_hand)
        desk.rollback()
        assert heard.switches.get(timeout=WAIT_S) == ("support", "production", desk.point.epoch)


@pytest.mark.only("postgres")
def test_a_move_that_is_rolled_back_is_not_heard(desk):
    def fail():
        with desk.store.transaction() as txn:
            txn.notify("support/production/99")
            raise ZeroDivisionError

    with Heard(desk.store.url) as heard:
        with pytest.raises(ZeroDivisionError):
            fail()
        desk.kill()
        assert heard.switches.get(timeout=WAIT_S) == ("support", "production", desk.point.epoch)
        assert heard.switches.empty()


@pytest.mark.only("postgres")
def test_after_a_cut_it_listens_again_and_says_that_moves_may_have_been_missed(desk, caplog):
    with Heard(desk.store.url) as heard:
        cut(desk.store.url)
        heard.gaps.get(timeout=WAIT_S)
        desk.kill()
        assert heard.switches.get(timeout=WAIT_S)[2] == desk.point.epoch
    assert "switches are not heard until the store answers again" in caplog.text


@pytest.mark.only("postgres")
def test_what_a_callback_raises_is_logged_and_the_next_switch_is_heard(desk, caplog):
    switches, ready = queue.Queue(), queue.Queue()

    def on_switch(*switch):
        switches.put(switch)
        raise ZeroDivisionError

    listener = Listener(desk.store.url, on_switch, lambda: ready.put(None))
    listener.start()
    ready.get(timeout=WAIT_S)
    desk.kill()
    switches.get(timeout=WAIT_S)
    with desk.store.transaction() as txn:
        txn.notify("support/production/7")
    assert switches.get(timeout=WAIT_S) == ("support", "production", 7)
    listener.stop()
    assert "what a switch should cause failed" in caplog.text


@pytest.mark.only("postgres")
@pytest.mark.parametrize(
    "text", ["", "support", "support/production/", "support/production/x", "/production/1"]
)
def test_a_notification_that_is_no_switch_is_ignored(text, desk):
    with Heard(desk.store.url) as heard:
        with desk.store.transaction() as txn:
            txn.notify(text)
            txn.notify("support/production/7")
        assert heard.switches.get(timeout=WAIT_S) == ("support", "production", 7)


@pytest.mark.only("postgres")
def test_a_forked_child_listens_too(desk):
    with Heard(desk.store.url) as heard:
        reading, writing = os.pipe()
        desk.store.close()
        pid = os.fork()
        if pid == 0:
            try:
                heard.gaps.get(timeout=WAIT_S)
                os.write(writing, b"r")
                os.write(writing, repr(heard.switches.get(timeout=WAIT_S)[2]).encode())
            finally:
                os._exit(0)
        os.close(writing)
        assert os.read(reading, 1) == b"r"
        desk.kill()
        assert os.read(reading, 9) == str(desk.point.epoch).encode()
        os.waitpid(pid, 0)
        os.close(reading)
        assert heard.switches.get(timeout=WAIT_S)[2] == desk.point.epoch


def test_a_server_that_is_away_is_tried_again_in_the_background(monkeypatch, caplog):
    monkeypatch.setattr(listening, "_FIRST_RETRY_S", 0.01)
    listener = Listener("postgresql://ann:s3cret@127.0.0.1:1/none", lambda *_: None, lambda: None)
    listener.start()
    while "switches are not heard" not in caplog.text:
        listener._stopping.wait(0.01)
    assert listener.running
    listener.stop()
    assert not listener.running
    assert "s3cret" not in caplog.text


def test_threads_that_begin_to_listen_at_once_share_one_connection(monkeypatch):
    class Slow(Listener):
        @property
        def running(self):
            found = super().running
            time.sleep(0.05)  # both threads have looked by then
            return found

    begun = []
    monkeypatch.setattr(Listener, "_run", lambda self, stopping: begun.append(self) or stopping.wait(WAIT_S))
    listener = Slow("postgresql://nobody@127.0.0.1:1/none", print, print)
    threads = [threading.Thread(target=listener.start) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    listener.stop()
    assert len(begun) == 1


def test_what_an_agent_draws_from_its_seed_is_the_same_beside_a_listener(monkeypatch):
    monkeypatch.setattr(listening, "_FIRST_RETRY_S", 0.001)
    random.seed(1)
    before, listener = random.getstate(), Listener("postgresql://nobody@127.0.0.1:1/none", print, print)
    own = listening._own.getstate()
    listener.start()
    until = time.monotonic() + WAIT_S
    while listening._own.getstate() == own and time.monotonic() < until:
        time.sleep(0.01)
    listener.stop()
    assert (random.getstate() == before, listening._own.getstate() == own) == (True, False)


def test_listening_loads_no_driver_before_it_is_used():
    code = "import sys, lastgood, lastgood.listening; sys.exit('psycopg' in sys.modules)"
    subprocess.run([os.sys.executable, "-c", code], check=True)
