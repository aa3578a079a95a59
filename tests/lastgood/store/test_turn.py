import multiprocessing
import os
import signal
import threading
import time

import pytest

from lastgood.errors import StoreUnavailable
from lastgood.store import turn
from lastgood.store.connection import Store
from lastgood.store.turn import Turn

fork = multiprocessing.get_context("fork")
POLICY = {"name": "n", "body": "{}", "author": "ann", "created_us": 1}


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "lastgood.db"
    path.touch(mode=0o640)
    path.chmod(0o640)
    return path


def add(store, digest, **how):
    with store.transaction(**how) as txn:
        txn.insert("policy", {**POLICY, "digest": digest})


def test_a_writer_waits_while_a_control_move_has_its_turn(database):
    move, writer = Turn(database), Turn(database)
    before = writer.is_free()
    move.announce()
    during = writer.is_free()
    move.done()
    assert (before, during, writer.is_free()) == (True, False, True)


def test_of_two_control_moves_the_second_takes_over(database):
    one, other, writer = Turn(database), Turn(database), Turn(database)
    one.announce()
    other.announce()
    one.done()
    other.announce()
    assert not writer.is_free()
    other.done()
    assert writer.is_free()


def test_looking_does_not_end_somebody_elses_turn(database):
    move, writer = Turn(database), Turn(database)
    move.announce()
    writer.is_free()
    writer.done()
    writer.close()
    assert not Turn(database).is_free()


def announce_for_good(database, told):
    Turn(database).announce()
    told.set()
    time.sleep(60)


def test_a_turn_ends_with_a_killed_process(database):
    told = fork.Event()
    other = fork.Process(target=announce_for_good, args=(database, told), daemon=True)
    other.start()
    assert told.wait(30)
    writer = Turn(database)
    before = writer.is_free()
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert (before, writer.is_free()) == (False, True)


def test_the_file_is_for_whoever_may_use_the_database(database):
    Turn(database).announce()
    assert database.with_name("lastgood.db.turn").stat().st_mode & 0o777 == 0o640


def test_without_a_file_everybody_asks_at_once(database):
    database.with_name("lastgood.db.turn").symlink_to(database / "no such folder")
    move, writer = Turn(database), Turn(database)
    move.announce()
    assert writer.is_free()
    move.done()


def test_a_control_move_writes_before_those_that_wait(store, monkeypatch):
    """The lock is held until all of them wait; then the last that came writes first."""
    monkeypatch.setattr("lastgood.store.sqlite.YIELD_S", 60.0)
    order: list[str] = []
    ready = threading.Barrier(4)

    def write(name, *, first):
        other = Store(store.url)
        ready.wait()
        if first:
            time.sleep(0.2)  # the others wait by then
        with other.transaction(first=first, durable=first, at=("a", "e")) as txn:
            txn.insert("policy", {**POLICY, "digest": name})
            order.append(name)
        other.close()

    threads = [threading.Thread(target=write, args=(f"w{n}",), kwargs={"first": False}) for n in range(3)]
    threads += [threading.Thread(target=write, args=("move",), kwargs={"first": True})]
    with store.transaction(at=("a", "e")):
        for thread in threads:
            thread.start()
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    assert order[0] == "move"
    assert sorted(order) == ["move", "w0", "w1", "w2"]


@pytest.mark.only("sqlite")
def test_a_holder_that_hangs_is_passed(store, monkeypatch):
    monkeypatch.setattr("lastgood.store.sqlite.YIELD_S", 0.05)
    hung = Turn(store.path)
    hung.announce()
    add(store, "d")
    assert not Turn(store.path).is_free()
    hung.done()


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("how", ["commits", "rolls back", "can't begin"])
def test_the_turn_ends_with_the_transaction(store, how, monkeypatch):
    class Stop(Exception):
        pass

    if how == "can't begin":
        monkeypatch.setattr("lastgood.store.connection.BUSY_S", 0.02)
        holder = Store(store.url)
        with holder.transaction(), pytest.raises(StoreUnavailable, match="locked"):
            add(Store(store.url), "d", first=True)
        holder.close()
    elif how == "rolls back":
        with pytest.raises(Stop), store.transaction(first=True):
            raise Stop
    else:
        add(store, "d", first=True)
    assert Turn(store.path).is_free()


def test_the_names_beside_a_database_are_ignored_by_git(request):
    assert f"*{turn.SUFFIX}" in (request.config.rootpath / ".gitignore").read_text().splitlines()
