"""What only Postgres has: locks by control point, a server that is away or frozen, a password."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from lastgood.clock import AnchoredClock, ManualClock, SystemClock
from lastgood.errors import InvalidInput, SchemaMismatch, StoreUnavailable
from lastgood.store import connection as connecting
from lastgood.store import engine, postgres
from lastgood.store.connection import Store

pytestmark = pytest.mark.only("postgres")
POLICY = {"name": "n", "body": "{}", "author": "ann", "created_us": 1}
A, B = ("support", "production"), ("sales", "production")


def add(store, digest, **how):
    with store.transaction(**how) as txn:
        txn.insert("policy", {**POLICY, "digest": digest})


def digests(store):
    with store.reading() as txn:
        return {row["digest"] for row in txn.all("SELECT digest FROM policy")}


def backend(store):
    with store.reading() as txn:
        return txn.one("SELECT pg_backend_pid() AS pid")["pid"]


# -- statements


@pytest.mark.parametrize(
    ("statement", "text", "names"),
    [
        ("SELECT 1", "SELECT 1", ()),
        ("SELECT :a, :b, :a", "SELECT $1, $2, $1", ("a", "b")),
        ("SELECT ':a', 'it''s :b', :c", "SELECT ':a', 'it''s :b', $1", ("c",)),
        ("SELECT x::text, :a::bigint", "SELECT x::text, $1::bigint", ("a",)),
        ("WHERE a LIKE :a_1 AND b = '100%'", "WHERE a LIKE $1 AND b = '100%'", ("a_1",)),
    ],
)
def test_named_parameters_become_places(statement, text, names):
    assert postgres.translated(statement) == (text, names)


def test_a_row_is_read_by_name_and_by_place(store):
    with store.reading() as txn:
        row = txn.one("SELECT 1 AS one, 'x' AS two")
    assert (row["two"], row[0], row[1], dict(row)) == ("x", 1, "x", {"one": 1, "two": "x"})
    with pytest.raises(KeyError):
        row["three"]


def test_sums_are_whole_numbers_as_on_sqlite(store):
    with store.reading() as txn:
        row = txn.one("SELECT sum(x) AS whole, avg(x) AS part FROM (VALUES (1::bigint), (2)) AS t (x)")
    assert (row["whole"], type(row["whole"]), row["part"], type(row["part"])) == (3, int, 1.5, float)


def test_a_nul_character_is_refused_before_anything_is_written(store):
    with pytest.raises(InvalidInput, match=r"digest='a\\x00b' holds a NUL character"):
        add(store, "a\0b")
    with pytest.raises(InvalidInput, match="NUL"), store.transaction() as txn:
        txn.many("UPDATE policy SET name = :name", [{"name": "\0"}])
    assert digests(store) == set()


def test_many_rows_in_one_go(store):
    from lastgood.store import statements as sql

    rows = [{**POLICY, "digest": str(number)} for number in range(30)]
    with store.transaction() as txn:
        assert txn.many(sql.insert("policy", tuple(rows[0])), rows) == 30
        assert txn.many(sql.insert_new("policy", tuple(rows[0])), [rows[0], {**POLICY, "digest": "new"}]) == 1
        assert txn.many("UPDATE policy SET name = :name", []) == 0
    assert len(digests(store)) == 31


# -- commits


def test_durable_waits_for_the_disk_and_telemetry_does_not(store):
    said = []
    for durable in (True, False, True):
        with store.transaction(durable=durable) as txn:
            said.append(txn.one("SHOW synchronous_commit")["synchronous_commit"])
    assert said == ["on", "off", "on"]


def test_a_server_that_waits_for_more_than_its_own_disk_goes_on_to_do_so(store, hand):
    hand(store, f"ALTER DATABASE {store.name.rpartition('/')[2]} SET synchronous_commit = 'remote_apply'")
    store.close()
    with store.transaction(durable=True) as txn:
        assert txn.one("SHOW synchronous_commit")["synchronous_commit"] == "remote_apply"


def test_a_transaction_whose_statement_failed_is_not_taken_for_committed(store):
    ended = []

    def swallow():
        with store.transaction() as txn:
            txn.when_ended(ended.append)
            txn.insert("policy", {**POLICY, "digest": "one"})
            with pytest.raises(psycopg.errors.UniqueViolation):
                txn.insert("policy", {**POLICY, "digest": "one"})

    with pytest.raises(StoreUnavailable, match="all of it was rolled back"):
        swallow()
    assert ended == [False]
    assert digests(store) == set()


# -- locks


def held(store, *, waits, **how):
    """Whether a second writer has to wait while a first one holds a transaction."""
    other, said = Store(store.url), ""
    other.check_schema()
    with store.transaction(**how):
        try:
            add(other, "second", **waits)
        except StoreUnavailable as error:
            said = str(error)
    other.close()
    return "lock timeout" in said


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        ({}, {}, True),
        ({}, {"at": A}, True),
        ({"at": A}, {}, True),
        ({"at": A}, {"at": A}, True),
        ({"at": A}, {"at": B}, False),
        ({"at": A}, {"at": A, "first": True}, True),
        ({"at": A, "first": True}, {"at": A}, True),
    ],
)
def test_writers_wait_for_those_of_their_control_point_alone(first, second, waits, store, monkeypatch):
    monkeypatch.setattr(connecting, "BUSY_S", 0.2)
    assert held(store, waits=second, **first) is waits


def test_readers_wait_for_nobody(store):
    other = Store(store.url)
    with store.transaction() as txn:
        txn.insert("policy", {**POLICY, "digest": "one"})
        assert digests(other) == set()
    assert digests(other) == {"one"}
    other.close()


def test_what_a_writer_read_does_not_change_before_it_commits(store):
    """Eight threads add one to what they read; a lost update would show."""
    add(store, "sum")

    def work(_):
        own = Store(store.url)
        for _ in range(20):
            with own.transaction(at=A) as txn:
                was = txn.one("SELECT count(*) AS n FROM stop")["n"]
                row = {"agent": f"a{was}", "environment": "p", "since_us": 1, "actor": "", "reason": ""}
                txn.insert("stop", row)
        own.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with store.reading() as txn:
        assert txn.one("SELECT count(*) AS n FROM stop")["n"] == 160


def test_a_ledger_row_of_another_control_point_is_a_defect(desk):
    from lastgood import ledger

    point = desk.point
    with pytest.raises(AssertionError, match="not this transaction's"), desk.store.transaction(at=B) as txn:
        ledger.append(txn, point, ledger.Entry("kill", "ann", ""))


# -- the clock


def test_time_is_the_databases_not_this_machines(store, monkeypatch):
    monkeypatch.setattr(SystemClock, "now_us", lambda self: 5)
    own = Store(store.url)
    before = time.time_ns() // 1000
    with own.transaction() as txn:
        said = txn.now_us
    assert isinstance(own.clock, AnchoredClock)
    assert before - 1_000_000 < said < before + 30_000_000
    assert abs(own.clock.now_us() - said) < 30_000_000
    own.close()


def test_before_the_first_answer_time_is_this_machines():
    clock = AnchoredClock()
    assert abs(clock.now_us() - SystemClock().now_us()) < 1_000_000
    clock.anchor(1_000)
    assert 1_000 <= clock.now_us() < 30_000_000


def test_a_clock_that_was_given_is_the_one_that_counts(store, clock):
    assert isinstance(store.clock, ManualClock)
    with store.transaction() as txn:
        assert txn.now_us == clock.now_us()


# -- a server that is away, frozen or of another mind


def test_a_connection_that_the_server_closed_is_replaced_unseen(store):
    add(store, "one")
    with psycopg.connect(store.url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [backend(store)])
    add(store, "two")
    assert digests(store) == {"one", "two"}


def test_a_connection_that_breaks_in_a_transaction_leaves_nothing_behind(store):
    def work():
        with store.transaction() as txn:
            txn.insert("policy", {**POLICY, "digest": "one"})
            with psycopg.connect(store.url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(%s)", [txn.one("SELECT pg_backend_pid() AS p")["p"]]
                )
            txn.insert("policy", {**POLICY, "digest": "two"})

    with pytest.raises(StoreUnavailable, match="nothing was written"):
        work()
    assert digests(store) == set()


@pytest.mark.parametrize("what", ["there is no server", "there is no such database", "there is no such host"])
def test_a_server_that_is_not_there_is_one_clear_error_without_the_password(what, postgres):
    url = {
        "there is no server": "postgresql://ann:s3cr%20et@127.0.0.1:1/lastgood",
        "there is no such database": postgres.of("lastgood_none").replace("@", ":s3cr%20et@"),
        "there is no such host": "postgresql://ann:s3cr%20et@no-such-host.invalid/lastgood",
    }[what]
    store = Store(url)
    with pytest.raises(
        StoreUnavailable, match=r"the store postgresql://[^@]*/lastgood\w* can't be used"
    ) as said:
        store.check_schema()
    with pytest.raises(StoreUnavailable) as migrated:
        engine.upgrade(url)
    for text in (str(said.value), str(migrated.value), repr(store), store.name):
        assert "s3cr" not in text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@host:port/db",
        "postgresql://ann:s3cret@[::1/db",
        "postgresql://ann:s3cret@h/d?x=1",
    ],
)
def test_a_url_that_can_not_be_read_is_refused_without_the_password(url):
    with pytest.raises(StoreUnavailable) as said:
        Store(url).check_schema()
    with pytest.raises(StoreUnavailable) as migrated:
        engine.upgrade(url)
    assert "s3cret" not in f"{said.value} {migrated.value} {said.value.__cause__} {said.value.__context__}"


def test_a_password_among_the_parameters_is_not_shown_either():
    store = Store("postgresql:///db?host=/nowhere&user=ann&password=s3cret")
    with pytest.raises(StoreUnavailable, match="nowhere") as said:
        store.check_schema()
    assert "s3cret" not in str(said.value) + repr(store)


def test_a_database_without_our_tables_needs_the_schema(postgres):
    url = postgres.make()
    store = Store(url)
    with pytest.raises(SchemaMismatch, match=r"has schema none.*lastgood db upgrade"):
        store.check_schema()
    store.close()
    postgres.drop(url)


def test_a_user_who_may_not_write_is_one_clear_error(store, postgres):
    with psycopg.connect(store.url, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS lastgood_reader")
        owner.execute("CREATE ROLE lastgood_reader LOGIN")
        owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO lastgood_reader")
    reader = Store(store.url.replace("//lastgood@", "//lastgood_reader@"))
    with pytest.raises(StoreUnavailable, match="permission denied for table policy; nothing was written"):
        add(reader, "one")
    assert digests(reader) == set()
    reader.close()
    with psycopg.connect(store.url, autocommit=True) as owner:
        owner.execute("DROP OWNED BY lastgood_reader")
        owner.execute("DROP ROLE lastgood_reader")


def test_without_the_driver_the_extra_is_named():
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from lastgood.store.connection import Store\n"
        "Store('postgresql://host/db')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StoreUnavailable" in ended.stderr
    assert "pip install 'lastgood[postgres]'" in ended.stderr


@pytest.fixture(scope="module")
def own(start_postgres):
    """A server that this module may stop and freeze."""
    with start_postgres() as server:
        engine.upgrade(server.url)
        yield server


@pytest.fixture
def frozen(own, monkeypatch):
    """`frozen(pid)`: stop a process of the server; it goes on after the test."""
    monkeypatch.setattr(connecting, "BUSY_S", 1.0)
    stopped = []

    def freeze(pid):
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    yield freeze
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_freezes_is_given_up_in_time_and_comes_back(own, frozen):
    store = Store(own.url)
    pid = backend(store)
    frozen(pid)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"did not answer for 2 s; nothing was written"):
        add(store, "frozen")
    assert time.monotonic() - began < 20  # by far more than it takes, by far less than for ever
    os.kill(pid, signal.SIGCONT)
    add(store, "thawed")
    assert "frozen" not in digests(store)
    store.close()


def test_a_server_that_freezes_before_it_says_hello_is_given_up_in_time(own, frozen):
    frozen(own.pid)
    store = Store(own.url)
    with pytest.raises(StoreUnavailable, match="timeout"):
        store.check_schema()


def test_a_commit_that_nobody_answers_is_not_called_written_or_unwritten(own, frozen):
    store = Store(own.url)
    ended = []

    def work():
        with store.transaction() as txn:
            txn.when_ended(ended.append)
            txn.insert("policy", {**POLICY, "digest": "who knows"})
            frozen(txn.one("SELECT pg_backend_pid() AS pid")["pid"])

    with pytest.raises(StoreUnavailable, match="whether the commit was written is not known"):
        work()
    assert ended == [False]
    store.close()


@pytest.mark.parametrize("at", [None, ("support", "production")])
def test_a_writer_that_freezes_holds_the_others_up_for_a_bounded_time(own, monkeypatch, at):
    monkeypatch.setattr(postgres, "_HOLD_S", 0.3)
    monkeypatch.setattr(postgres, "_begin", getattr(postgres._begin, "__wrapped__", postgres._begin))
    asleep, store = Store(own.url), Store(own.url)
    opened = threading.Event()

    def sleep():
        with asleep.transaction(at=at):
            opened.set()
            time.sleep(1.5)

    def hold():
        with pytest.raises(StoreUnavailable):
            sleep()
        asleep.close()

    thread = threading.Thread(target=hold)
    thread.start()
    opened.wait(10)
    add(store, f"after {at}")
    thread.join()
    assert f"after {at}" in digests(store)
    store.close()


def test_a_connection_that_the_collector_finds_first_is_ended_without_a_word(store):
    held = postgres.connect(store.url, 5)
    pid, cycle = held.info.backend_pid, [held]
    cycle.append(cycle)
    del held, cycle
    gc.collect()
    with psycopg.connect(store.url, autocommit=True) as looking:
        until = time.monotonic() + 10
        while looking.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone():
            assert time.monotonic() < until
            time.sleep(0.05)
