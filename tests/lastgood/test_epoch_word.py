import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import epoch_word, snapshot
from lastgood.decision import Reason
from lastgood.epoch_word import SIZE, UNWATCHED, Mark, Words, slot_of
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

KEY = ("support", "production")
SLOT = slot_of(*KEY)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "some.db").write_bytes(b"")
    return tmp_path / "some.db.epochs"


@pytest.fixture
def words(path):
    return Words(path, path.with_name("some.db"))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """A router that sees a move reads the store at once."""
    monkeypatch.setattr(snapshot, "_SPREAD_NS", 0)


def word(path):
    return int.from_bytes(path.read_bytes()[SLOT * 8 : SLOT * 8 + 8], sys.byteorder)


def test_the_word_of_a_point_is_where_it_always_was():
    assert slot_of("support", "production") == 6360
    assert slot_of("support", "staging") == 4349


def test_a_move_makes_the_word_odd_and_its_end_another_even_number(path, words):
    before = words.mark(*KEY)
    odd = epoch_word._began(path, SLOT)
    assert word(path) == odd == 1
    assert (before.stands, before.moving) == (False, True)
    assert not words.mark(*KEY).stands
    epoch_word._ended(path, SLOT, odd)
    assert word(path) == 2
    assert (before.stands, before.moving) == (False, False)
    assert words.mark(*KEY).stands


def test_a_mark_of_another_point_is_not_moved(path, words):
    other = words.mark("sales", "production")
    epoch_word._ended(path, SLOT, epoch_word._began(path, SLOT))
    assert other.stands


@given(steps=st.lists(st.sampled_from(["begin", "end", "die", "settle"]), max_size=12))
def test_no_even_word_ever_comes_back(steps, tmp_path_factory):
    """Writers that die, and some that end long after others have begun: a frozen reader is never deceived."""
    path = tmp_path_factory.mktemp("words") / "some.db.epochs"
    txn = SimpleNamespace(word_path=path)
    open_writers, seen = [], [0]
    for step in steps:
        if step == "begin":
            open_writers.append(epoch_word._began(path, SLOT))
            assert open_writers[-1] % 2 == 1
        elif step == "end" and open_writers:
            before = word(path)
            epoch_word._ended(path, SLOT, open_writers.pop(0))
            assert word(path) not in seen
            assert word(path) >= before
        elif step == "die" and open_writers:
            open_writers.pop(0)
        elif step == "settle":
            epoch_word.settle(txn, *KEY)
            assert not path.exists() or word(path) % 2 == 0
        now = word(path) if path.exists() else 0
        if now % 2 == 0 and now != seen[-1]:
            assert now not in seen
            seen.append(now)


def test_the_last_writer_to_end_leaves_an_even_word(path):
    first = epoch_word._began(path, SLOT)
    second = epoch_word._began(path, SLOT)
    epoch_word._ended(path, SLOT, first)
    assert word(path) == second
    epoch_word._ended(path, SLOT, second)
    assert word(path) % 2 == 0


def test_a_file_made_anew_in_between_is_changed_too(path, words):
    odd = epoch_word._began(path, SLOT)
    path.unlink()
    mark = words.mark(*KEY)
    assert mark.stands
    epoch_word._ended(path, SLOT, odd)
    assert not mark.stands


def test_the_largest_number_is_followed_by_the_smallest(path):
    path.write_bytes(b"\xff" * SIZE)
    odd = epoch_word._began(path, SLOT)
    epoch_word._ended(path, SLOT, odd)
    assert word(path) < 2**64 - 1


def test_the_file_belongs_to_whom_the_database_belongs(path, words):
    path.with_name("some.db").chmod(0o660)
    words.mark(*KEY)
    assert path.stat().st_mode & 0o777 == 0o660
    assert path.stat().st_size == SIZE


def test_a_file_that_is_gone_or_another_holds_no_mark(path, words):
    mark = words.mark(*KEY)
    assert words.holds(mark)
    path.unlink()
    assert not words.holds(mark)
    assert words.holds(words.mark(*KEY))
    assert not words.holds(mark)


def test_another_database_at_the_path_holds_no_mark(path, words):
    mark = words.mark(*KEY)
    path.with_name("other.db").write_bytes(b"")
    path.with_name("other.db").rename(path.with_name("some.db"))
    assert not words.holds(mark)


@pytest.mark.parametrize("content", [b"x" * (SIZE + 8), None])
def test_what_is_no_file_of_words_stands_for_nothing(content, path, words):
    path.write_bytes(content) if content else path.mkdir()
    assert words.mark(*KEY) is UNWATCHED
    assert not UNWATCHED.stands
    assert not words.holds(UNWATCHED)


def test_a_short_file_is_brought_to_its_size(path, words):
    path.write_bytes(bytes(100))
    assert words.mark(*KEY).stands
    assert path.stat().st_size == SIZE


def test_a_reader_that_may_not_write_still_reads(path, words, monkeypatch):
    epoch_word._ended(path, SLOT, epoch_word._began(path, SLOT))

    def refuse(path):
        raise PermissionError

    monkeypatch.setattr(epoch_word, "_open", refuse)
    assert words.mark(*KEY).seen == 2


def test_words_that_can_not_be_written_are_removed_for_readers_to_notice(path, words, monkeypatch, caplog):
    mark = words.mark(*KEY)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(epoch_word, "_write", full)
    assert epoch_word._began(path, SLOT) == -1
    assert not path.exists()
    assert not words.holds(mark)
    assert "No space left on device" in caplog.text
    epoch_word._ended(path, SLOT, -1)
    monkeypatch.undo()
    assert words.mark(*KEY).stands


def test_what_can_not_be_removed_either_is_said(path, caplog):
    path.mkdir()
    assert epoch_word._began(path, SLOT) == -1
    assert "can't be written" in caplog.text
    assert "nor removed" in caplog.text


def test_a_mark_is_compared_by_what_it_was_read_of():
    one, two = [2], [2]
    assert Mark.of(one, 0).same(Mark.of(one, 0))
    assert not Mark.of(one, 0).same(Mark.of(two, 0))


# -- with real processes

_MOVER = """
import os, signal, sys
from lastgood import moves, points
from lastgood.ledger import Entry
from lastgood.store.connection import Store
url, how, sign = sys.argv[1], sys.argv[2], getattr(signal, sys.argv[3])
def stop(_committed=None):
    os.kill(os.getpid(), sign)
with Store(url).transaction(durable=True) as txn:
    point = points.read(txn, "support", "production")
    if how == "after":
        txn.when_ended(stop)  # before that of the word
    points.move(txn, point, moves.kill(point), Entry("kill", "ann", "stop", point.release_id))
    if how == "before":
        stop()
"""


def mover(desk, how, sign="SIGKILL"):
    return subprocess.Popen([sys.executable, "-c", _MOVER, desk.store.url, how, sign])


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(("how", "after"), [("before", Reason.SPLIT), ("after", Reason.KILLED)])
def test_a_writer_killed_over_an_odd_word_leaves_before_or_after(how, after, desk):
    desk.live(10_000)
    route = Serving(desk.store, *KEY).router.route
    assert route("unit").arm == "candidate"
    assert mover(desk, how).wait() == -signal.SIGKILL
    assert word(desk.store.word_path) % 2 == 1
    assert route("unit").reason is Reason.MOVED
    assert Serving(desk.store, *KEY).router.route("unit").arm == "baseline"
    until(lambda: route("unit").reason is not Reason.MOVED)
    assert route("unit").reason is after
    assert word(desk.store.word_path) % 2 == 0


@pytest.mark.only("sqlite")
def test_a_writer_frozen_between_its_commit_and_the_word_deceives_nobody(desk):
    release_id = desk.live(10_000)
    route = Serving(desk.store, *KEY).router.route
    assert route("unit").arm == "candidate"
    frozen = mover(desk, "after", "SIGSTOP")
    os.waitpid(frozen.pid, os.WUNTRACED)
    try:
        assert route("unit").reason is Reason.MOVED
        desk.revert(release_id)
        assert route("unit").reason is Reason.NO_RELEASE
        seen = word(desk.store.word_path)
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert frozen.wait() == 0
    assert word(desk.store.word_path) > seen
    assert route("unit").reason is Reason.NO_RELEASE


_ROUTER = """
import json, sys, time
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
route = Serving(Store(sys.argv[1]), "support", "production").router.route
print("ready", flush=True)
seen, end = [], time.monotonic() + 60
while time.monotonic() < end:
    began = time.monotonic_ns()
    decision = route("unit")
    if not seen or seen[-1][1] != decision.bundle.id or seen[-1][2] != decision.epoch:
        seen.append([began, decision.bundle.id, decision.epoch, began])
    seen[-1][3] = began  # the last decision of this kind
    if decision.reason == "killed":
        break
print(json.dumps(seen))
"""


@pytest.mark.only("sqlite")
def test_no_process_begins_a_decision_after_a_commit_returned_and_serves_what_was_left(desk):
    url = desk.store.url
    release_id = desk.start()
    routers = [
        subprocess.Popen([sys.executable, "-c", _ROUTER, url], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for each in routers:
        assert each.stdout.readline() == "ready\n"
    left = []
    store = Store(url)  # the machine's own clock, as the routers have
    desk.store.close()
    desk.store, was = store, desk.store
    for number in range(20):
        desk.serve(release_id, 10_000, key=f"up {number}")
        time.sleep(
            0.002 if number % 2 else 0.03
        )  # routers read a switch within 20 ms: some serve the candidate
        desk.serve(release_id, 0, key=f"down {number}")
        left.append((time.monotonic_ns(), desk.point.epoch))
    desk.serve(release_id, 10_000, key="last")
    desk.kill()
    wrong = candidates = 0
    for each in routers:
        out, _ = each.communicate(timeout=60)
        for _first, bundle_id, epoch, last in json.loads(out):
            candidates += bundle_id == desk.candidate
            ends = [at for at, after in left if after > epoch]
            wrong += bundle_id == desk.candidate and bool(ends) and last > ends[0]
    store.close()
    desk.store = was
    assert candidates > 0
    assert wrong == 0
