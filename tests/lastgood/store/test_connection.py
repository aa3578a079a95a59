import contextlib
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psycopg
import pytest

from lastgood.errors import SchemaMismatch, StoreUnavailable
from lastgood.store import connection as connecting
from lastgood.store import sqlite
from lastgood.store.connection import Store
from lastgood.store.sqlite import sqlite_path

#: what a broken constraint raises
BROKEN = (sqlite3.IntegrityError, psycopg.IntegrityError)
fork = multiprocessing.get_context("fork")
POLICY = {"name": "n", "body": "{}", "author": "ann", "created_us": 1}


def add(store, digest, **how):
    with store.transaction(**how) as txn:
        txn.insert("policy", {**POLICY, "digest": digest})


def digests(store):
    """What another process would read."""
    other = Store(store.url)
    with other.reading() as txn:
        found = {row["digest"] for row in txn.all("SELECT digest FROM policy")}
    other.close()
    return found


def synchronous(store):
    with store.reading() as txn:
        return txn.one("PRAGMA synchronous")[0]


def test_a_transaction_commits_as_a_whole(store):
    add(store, "one")
    assert digests(store) == {"one"}


def test_an_error_rolls_everything_back(store):
    def fail():
        with store.transaction() as txn:
            txn.insert("policy", {**POLICY, "digest": "one"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert digests(store) == set()
    add(store, "two")
    assert digests(store) == {"two"}


def test_reading_changes_nothing(store):
    with contextlib.suppress(StoreUnavailable), store.reading() as txn:
        txn.insert("policy", {**POLICY, "digest": "one"})
    assert digests(store) == set()


def test_a_read_is_consistent_while_others_write(store):
    add(store, "one")
    other = Store(store.url)
    with store.reading() as txn:
        assert txn.one("SELECT count(*) AS n FROM policy")["n"] == 1
        add(other, "two")
        assert txn.one("SELECT count(*) AS n FROM policy")["n"] == 1
    other.close()


def test_a_transaction_in_a_transaction_is_refused_and_harms_none(store):
    with store.transaction() as txn:
        txn.insert("policy", {**POLICY, "digest": "one"})
        with pytest.raises(StoreUnavailable, match="open in this thread already"), store.transaction():
            pass
        with pytest.raises(StoreUnavailable, match="open in this thread already"), store.reading():
            pass
    assert digests(store) == {"one"}


def test_a_broken_constraint_is_no_fault_of_the_store(store):
    add(store, "one")
    with pytest.raises(BROKEN):
        add(store, "one")


@pytest.mark.only("sqlite")
def test_durable_waits_for_the_disk_and_telemetry_does_not(store):
    full, normal = 2, 1
    add(store, "one", durable=True)
    assert synchronous(store) == full
    add(store, "two")
    assert synchronous(store) == normal
    add(store, "three", durable=True)
    assert synchronous(store) == full


def test_foreign_keys_hold(store):
    with pytest.raises(BROKEN), store.transaction() as txn:
        txn.insert("stage", {"release_id": "rel_none", "key": "k", "at_us": 1, "epoch": 1, "detail": "{}"})


# -- what can't be used: one clear error, and nothing changes


@pytest.mark.parametrize("url", ["postgresql://host/db", "sqlite:///", "lastgood.db", ""])
def test_another_kind_of_url_is_refused(url):
    with pytest.raises(StoreUnavailable, match="use sqlite:///PATH"):
        sqlite_path(url)


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(StoreUnavailable, match=r"there is no store at .*lastgood db upgrade"):
        add(store, "one")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/proc", "/dev/null/x.db", f"/{'long' * 90}.db"])
def test_a_path_that_holds_no_file_is_one_clear_error(path):
    with pytest.raises(StoreUnavailable, match=r"the store|there is no store"):
        add(Store(f"sqlite:///{path}"), "one")


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("no database " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="not a database"):
        add(Store(f"sqlite:///{path}"), "one")
    assert path.read_bytes() == before


def test_an_empty_file_needs_the_schema(tmp_path):
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(SchemaMismatch, match=r"has schema none.*lastgood db upgrade"):
        add(Store(f"sqlite:///{path}"), "one")
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("found", "way_out"), [("0000", "lastgood db upgrade"), ("0999", "upgrade the lastgood package")]
)
def test_another_schema_says_who_is_older(found, way_out, store, hand):
    hand(store, "UPDATE alembic_version SET version_num = ?", found)
    with pytest.raises(SchemaMismatch, match=f"schema {found}, this process needs .*{way_out}"):
        add(store, "one")
    assert hand(store, "SELECT digest FROM policy") == []


def test_a_process_that_was_connected_before_a_migration_refuses_too(store, hand):
    add(store, "one")
    hand(store, "UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(SchemaMismatch, match="schema 0999"):
        add(store, "two")
    with pytest.raises(SchemaMismatch, match="schema 0999"), store.reading():
        pass
    assert hand(store, "SELECT digest FROM policy") == [("one",)]


@pytest.mark.only("sqlite")
def test_a_network_file_system_is_refused(store):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlite, "_file_system", lambda path: "cifs")
        with pytest.raises(StoreUnavailable, match=r"network file system \(cifs\).*local disk"):
            add(store, "one")
    assert digests(store) == set()


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("/dev/sda / ext4 rw 0 0\nserver:/x /data nfs4 rw 0 0\n", "nfs4"),
        ("/dev/sda / ext4 rw 0 0\nserver:/x /dat nfs4 rw 0 0\n", "ext4"),
        ("server:/x /data nfs rw 0 0\n/dev/sdb /data ext4 rw 0 0\n", "ext4"),
        ("/dev/sda / ext4 rw 0 0\nserver:/x /data/with\\040space nfs rw 0 0\n", "nfs"),
        ("", ""),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(mounts, kind, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda self: mounts)
    assert sqlite._file_system(Path("/data/with space/x.db")) == kind


@pytest.mark.only("sqlite")
def test_a_locked_store_is_waited_for_and_then_given_up(store, monkeypatch):
    monkeypatch.setattr(connecting, "BUSY_S", 0.05)
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="database is locked; nothing was written"):
        add(store, "one")
    holder.execute("ROLLBACK")
    holder.close()
    add(store, "two")
    assert digests(store) == {"two"}


def _write_as_nobody(url, answers):
    if os.getuid() == 0:
        os.setuid(65_534)
    try:
        add(Store(url), "one")
    except StoreUnavailable as error:
        answers.put(str(error))
    else:
        answers.put("written")


@pytest.mark.only("sqlite")
def test_a_store_that_is_not_writable(store):
    """As another user, since file modes stop nobody who is root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "lastgood.db"
        path.write_bytes(store.path.read_bytes())
        path.chmod(0o444)
        folder.chmod(0o555)
        answers = fork.SimpleQueue()
        child = fork.Process(target=_write_as_nobody, args=(f"sqlite:///{path}", answers))
        child.start()
        said = answers.get()
        child.join()
        folder.chmod(0o755)
        assert f"the store {path} can't be used" in said
        assert "nothing was written" in said
        assert digests(Store(f"sqlite:///{path}")) == set()


@pytest.mark.only("sqlite")
def test_a_store_that_is_damaged_mid_way_is_one_clear_error(store):
    with store.transaction() as txn:
        for number in range(200):
            txn.insert("policy", {**POLICY, "digest": f"d{number}", "body": "x" * 4000})
    store.close()
    raw = bytearray(store.path.read_bytes())
    last = len(raw) // 4096
    raw[4096 * (last - 100) : 4096 * (last - 20)] = b"\xff" * (4096 * 80)  # of the rows, behind the schema
    store.path.write_bytes(raw)
    store.check_schema()  # the damage is elsewhere
    with pytest.raises(StoreUnavailable, match="malformed"), store.transaction() as txn:
        txn.all("SELECT * FROM policy")


@pytest.mark.only("sqlite")
def test_a_store_that_was_deleted_is_not_written_on_in_the_dark(store):
    add(store, "one")
    for file in store.path.parent.glob("lastgood.db*"):
        file.unlink()
    with pytest.raises(StoreUnavailable, match="there is no store"):
        add(store, "two")


@pytest.mark.only("sqlite")
def test_a_backup_that_is_put_back_is_what_counts(store, migrated):
    add(store, "one")
    other = store.path.with_name("backup.db")
    other.write_bytes(migrated.read_bytes())
    for file in store.path.parent.glob("lastgood.db*"):
        file.unlink()
    other.rename(store.path)
    add(store, "two")
    assert digests(store) == {"two"}


def test_a_relative_path_stays_the_same_file(path, monkeypatch, tmp_path):
    monkeypatch.chdir(path.parent)
    store = Store(f"sqlite:///{path.name}")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    add(store, "one")
    assert digests(Store(f"sqlite:///{path}")) == {"one"}
    store.close()


# -- threads and processes


def test_each_thread_has_its_own_connection(store):
    seen, gate = [], threading.Barrier(3)

    def work(number):
        add(store, f"thread-{number}")
        with store.reading() as txn:
            gate.wait(5)
            seen.append(txn._link)
        store.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len({id(connection) for connection in seen}) == 3
    assert digests(store) == {"thread-0", "thread-1", "thread-2"}


def test_what_a_forked_child_commits_is_kept(store):
    """The parent's connection is not inherited; its locks would not be, and the log gone under the child."""
    add(store, "parent")
    go, ready = fork.Event(), fork.Event()

    def work():
        add(store, "child-1")
        ready.set()
        go.wait(10)
        add(store, "child-2", durable=True)

    child = fork.Process(target=work)
    child.start()
    assert ready.wait(10)
    store.close()
    look = (
        f"from lastgood.store.connection import Store; s = Store({store.url!r}); s.check_schema(); s.close()"
    )
    subprocess.run([sys.executable, "-c", look], check=True)
    go.set()
    child.join(10)
    assert child.exitcode == 0
    assert digests(store) == {"parent", "child-1", "child-2"}


def test_a_fork_waits_for_the_transaction_of_another_thread(store):
    opened, ended = threading.Event(), threading.Event()

    def hold():
        with store.transaction() as txn:
            txn.insert("policy", {**POLICY, "digest": "thread"})
            opened.set()
            ended.wait(0.3)
        store.close()

    thread = threading.Thread(target=hold)
    thread.start()
    opened.wait(5)
    child = fork.Process(target=add, args=(store, "child"))
    child.start()
    child.join(10)
    thread.join()
    assert child.exitcode == 0
    assert digests(store) == {"thread", "child"}


def test_a_fork_inside_a_transaction_leaves_the_transaction_whole(store):
    with store.transaction() as txn:
        txn.insert("policy", {**POLICY, "digest": "parent"})
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    assert digests(store) == {"parent"}


@pytest.mark.parametrize("number", [1, 99, 100, 201])
@pytest.mark.parametrize("note", [None, "[]", "{}", "mixed"])
def test_new_rows_are_written_as_they_were_given(store, number, note):
    notes = [None if n % 2 else "[]" for n in range(number)] if note == "mixed" else [note] * number
    rows = [(f"d{n}", "n", "{}", each or "", n) for n, each in enumerate(notes)]
    columns = ("digest", "name", "body", "author", "created_us")
    with store.transaction() as txn:
        new = txn.insert_new("policy", columns, rows)
        again = txn.insert_new("policy", columns, [*rows, ("one more", *rows[0][1:])])
        found = txn.all(
            "SELECT digest, name, body, author, created_us FROM policy WHERE digest <> 'one more'"
        )
    assert (new, again) == (number, 1)
    assert sorted(tuple(dict(row).values()) for row in found) == sorted(rows)


def test_the_place_of_a_row_is_asked_where_writers_of_other_points_could_go_on(store, store_kind):
    found = store.place_of("SELECT 'a' AS agent, 'e' AS environment WHERE :id = 'x'", id="x")
    missing = store.place_of("SELECT 'a' AS agent, 'e' AS environment WHERE :id = 'x'", id="y")
    assert (found, missing) == (("a", "e") if store_kind == "postgres" else None, None)
