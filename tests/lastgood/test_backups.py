import errno
import multiprocessing
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

import psycopg
import pytest

from lastgood import backups, identity, ledger
from lastgood.assigning import Request, assign
from lastgood.errors import Conflict, CorruptRow, InvalidInput, SchemaMismatch, StoreUnavailable
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
from tests.conftest import without_postgres

fork = multiprocessing.get_context("fork")
sqlite_alone = pytest.mark.only("sqlite")


@pytest.fixture
def taken(desk, tmp_path):
    """A backup of a store with a live release, which is reverted after it."""
    release = desk.live()
    file = tmp_path / "elsewhere" / "backup.db"
    file.parent.mkdir()
    backups.take(desk.store, file)
    desk.revert(release)
    desk.store.close()
    return file


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@sqlite_alone
def test_a_backup_is_one_file_that_holds_what_is_still_in_the_log(desk, tmp_path):
    desk.live()
    log = desk.store.path.with_name(desk.store.path.name + "-wal")
    assert log.stat().st_size  # or there would be nothing to see
    file = tmp_path / "backup.db"
    backups.take(desk.store, file)
    assert [name for name in files(tmp_path) if name.startswith(("backup", ".backup"))] == ["backup.db"]
    assert ledger.verify(Store(f"sqlite:///{file}"), desk.agent, desk.environment) == ledger.verify(
        desk.store, desk.agent, desk.environment
    )


@sqlite_alone
def test_run_keys_go_with_it_for_their_owner_alone(desk, tmp_path):
    identity.keys(desk.store)
    backups.take(desk.store, tmp_path / "backup.db")
    keys = tmp_path / "backup.db.keys"
    assert keys.read_bytes() == identity.key_file(desk.store).read_bytes()
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


@sqlite_alone
def test_a_backup_overwrites_nothing(desk, tmp_path):
    file = tmp_path / "backup.db"
    file.write_text("mine")
    with pytest.raises(InvalidInput, match="is there already"):
        backups.take(desk.store, file)
    assert file.read_text() == "mine"


@sqlite_alone
def test_a_store_whose_ledger_was_changed_is_not_backed_up_as_if_it_were_sound(desk, tmp_path):
    desk.hand("UPDATE ledger SET reason = 'another'")
    with pytest.raises(CorruptRow, match="broken at row 1"):
        backups.take(desk.store, tmp_path / "backup.db")
    assert "backup.db" not in files(tmp_path)


@sqlite_alone
def test_a_backup_where_nothing_can_be_written_is_told_in_a_line(desk):
    with pytest.raises(StoreUnavailable, match=r"/proc/nowhere/backup.db can't be written"):
        backups.take(desk.store, Path("/proc/nowhere/backup.db"))


@sqlite_alone
def test_what_is_put_back_is_what_was_backed_up_with_its_live_release_killed(desk, taken):
    found = backups.put_back(desk.store, taken, actor="ann")
    point = desk.point
    assert (point.candidate, point.killed, point.share_bp) == (desk.candidate, True, 10_000)
    assert found.killed == ((desk.agent, desk.environment),)
    run = assign(Serving(desk.store, desk.agent, desk.environment), Request("u-1", "faq", None, None))
    assert run.decision.arm == "baseline"
    ledger.verify(desk.store, desk.agent, desk.environment)
    assert [row["action"] for row in desk.all("SELECT action FROM ledger ORDER BY seq")][-1] == "kill"


@sqlite_alone
def test_the_store_that_was_there_is_kept_aside_whole(desk, taken):
    found = backups.put_back(desk.store, taken, actor="ann")
    held = Store(f"sqlite:///{found.aside}")
    with held.reading() as txn:
        assert txn.one("SELECT state FROM release")["state"] == "reverted"
    held.close()
    assert not [name for name in files(desk.store.path.parent) if name.startswith(".")]


@sqlite_alone
@pytest.mark.parametrize("step", ["_place_keys", "_place"])
def test_the_store_that_was_there_serves_on_where_the_backup_can_not_take_its_place(
    step, desk, taken, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(backups, step, full)
    with pytest.raises(StoreUnavailable, match="No space left on device; nothing was changed"):
        backups.put_back(desk.store, taken, actor="ann")
    assert desk.one("SELECT state FROM release")["state"] == "reverted"
    assert not [name for name in files(desk.store.path.parent) if "before" in name or name.startswith(".")]


@sqlite_alone
def test_a_log_that_lay_beside_the_old_store_does_not_reach_the_one_that_is_put_back(desk, taken):
    """As after a power cut: a log that nobody brought into the file."""
    path = desk.store.path
    held = sqlite3.connect(path)
    held.execute("SELECT 1 FROM run").fetchall()
    desk.kill()
    log = shutil.copy(path.with_name(path.name + "-wal"), path.with_name("kept-wal"))
    held.close()
    desk.store.close()
    shutil.copy(log, path.with_name(path.name + "-wal"))
    backups.put_back(desk.store, taken, actor="ann")
    with desk.store.reading() as txn:
        assert txn.one("PRAGMA integrity_check")[0] == "ok"
    ledger.verify(desk.store, desk.agent, desk.environment)


def hold_open(path, ready, leave):
    held = sqlite3.connect(path)
    held.execute("SELECT count(*) FROM run").fetchall()
    ready.set()
    leave.wait(60)
    held.close()


@sqlite_alone
def test_nothing_is_put_back_under_a_process_that_has_the_store_open(desk, taken, monkeypatch):
    monkeypatch.setattr(backups, "_LEAVING_S", 0.1)
    ready, leave = fork.Event(), fork.Event()
    other = fork.Process(target=hold_open, args=(desk.store.path, ready, leave))
    other.start()
    ready.wait(60)
    before = desk.store.path.read_bytes()
    with pytest.raises(Conflict, match=r"is open in another process; nothing was changed\. Stop the agents"):
        backups.put_back(desk.store, taken, actor="ann")
    assert desk.store.path.read_bytes() == before
    leave.set()
    other.join()
    assert backups.put_back(desk.store, taken, actor="ann").aside is not None


@sqlite_alone
def test_a_damaged_store_is_put_back_too(desk, taken):
    desk.store.path.write_bytes(b"no database any more" * 100)
    backups.put_back(desk.store, taken, actor="ann")
    ledger.verify(desk.store, desk.agent, desk.environment)


@sqlite_alone
def test_a_store_that_is_gone_is_put_back_with_its_keys(desk, tmp_path):
    identity.keys(desk.store)
    kept = identity.key_file(desk.store).read_bytes()
    backups.take(desk.store, tmp_path / "backup.db")
    desk.store.close()
    desk.vanish()
    assert backups.put_back(desk.store, tmp_path / "backup.db", actor="ann").aside is None
    assert identity.key_file(desk.store).read_bytes() == kept


@sqlite_alone
def test_what_is_no_backup_changes_nothing(desk, tmp_path):
    before = desk.store.path.read_bytes()
    for name, content in (("none.db", None), ("text.db", b"words" * 400), ("empty.db", b"")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInput, match="nothing was changed"):
            backups.put_back(desk.store, tmp_path / name, actor="ann")
    assert desk.store.path.read_bytes() == before


@sqlite_alone
@pytest.mark.parametrize(
    ("found", "way_out"), [("0007", "upgrade it first"), ("9999", "upgrade the lastgood")]
)
def test_a_backup_of_another_version_is_refused_with_the_way_out(desk, taken, found, way_out):
    held = sqlite3.connect(taken)
    held.execute("UPDATE alembic_version SET version_num = ?", (found,))
    held.commit()
    held.close()
    with pytest.raises(SchemaMismatch, match=f"has schema {found}.*{way_out}"):
        backups.put_back(desk.store, taken, actor="ann")


def test_settling_kills_where_a_release_is_live_and_nowhere_else(desk):
    release, epoch = desk.live(), desk.point.epoch
    assert backups.settle(desk.store, actor="ann") == ((desk.agent, desk.environment),)
    assert (desk.point.killed, desk.point.epoch) == (True, epoch + 1)
    desk.revert(release)
    before = desk.point
    assert backups.settle(desk.store, actor="ann") == ()
    assert desk.point == before


def program(name):
    """A program of Postgres, beside its `initdb` or on the path."""
    beside = shutil.which("initdb")
    found = Path(beside).resolve().with_name(name) if beside else Path(shutil.which(name) or name)
    if not found.exists():
        without_postgres(f"{name} is missing: install postgresql-client")
    return found


@pytest.mark.only("postgres")
def test_on_postgres_a_dump_that_is_restored_is_the_store_of_then(desk, postgres, tmp_path):
    """As docs/operating.md has it."""
    release, file = desk.live(), tmp_path / "lastgood.dump"
    dump = [program("pg_dump"), "--format=custom", f"--file={file}", desk.store.url]
    subprocess.run(dump, check=True, capture_output=True)
    desk.revert(release)
    url = postgres.make()
    restore = [
        program("pg_restore"),
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        f"--dbname={url}",
        file,
    ]
    subprocess.run(restore, check=True, capture_output=True)
    store = Store(url, desk.clock)
    assert backups.settle(store, actor="ann") == ((desk.agent, desk.environment),)
    run = assign(Serving(store, desk.agent, desk.environment), Request("u-1", "faq", None, None))
    assert (run.decision.arm, run.recorded) == ("baseline", True)
    with pytest.raises(psycopg.IntegrityError, match="rows are immutable"), store.transaction() as txn:
        txn.run("DELETE FROM ledger")
    store.close()
    postgres.drop(url)


@pytest.mark.only("postgres")
def test_on_postgres_the_database_s_own_means_are_named(desk, tmp_path):
    with pytest.raises(InvalidInput, match="pg_dump"):
        backups.take(desk.store, tmp_path / "x")
    with pytest.raises(InvalidInput, match="pg_restore"):
        backups.put_back(desk.store, tmp_path / "x", actor="ann")
