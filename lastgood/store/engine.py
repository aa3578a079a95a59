"""The SQLModel side of the store: the engine for reading, and the migrations."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from lastgood.errors import SchemaMismatch, StoreError, StoreUnavailable
from lastgood.store.connection import SCHEMA, Store, database
from lastgood.store.sqlite import refuse_network, sqlite_path

MIGRATIONS = Path(__file__).with_name("migrations")
_POSTGRES = re.compile(r"^postgres(ql)?://")
#: seconds that a migration waits for another process that writes or migrates
_PATIENCE_S = 60.0
#: seconds between two attempts at what SQLite does not wait for by itself
_PAUSE_S = 0.05


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 begins no transaction before DDL: `_on_begin` does
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA busy_timeout=5000")


def _on_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


def _on_writing(connection: Any, _record: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={_PATIENCE_S * 1_000:.0f}")


def _on_begin_writing(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def engine_for(url: str) -> Engine:
    """Return an engine over the store at `url`; its transactions hold DDL too."""
    if _POSTGRES.match(url):
        return _postgres_engine(url)
    engine = create_engine(URL.create("sqlite", database=str(sqlite_path(url))))
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def migrating_engine(url: str) -> Engine:
    """Return an engine whose transaction keeps other writers out from its beginning, and waits for them.

    One that only reads at first could not write any more once another process has migrated meanwhile.
    """
    engine = engine_for(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _on_writing)
        event.remove(engine, "begin", _on_begin)
        event.listen(engine, "begin", _on_begin_writing)
    return engine


def _postgres_engine(url: str) -> Engine:
    known = database(url)  # also says what is missing where psycopg is
    made: URL | StoreError
    try:
        made = make_url(_POSTGRES.sub("postgresql+psycopg://", url))
    except (ArgumentError, ValueError) as error:
        made = known.unavailable(error)
    if isinstance(made, StoreError):
        raise made  # with nothing behind it: what SQLAlchemy says may hold the password
    return create_engine(made, poolclass=NullPool, connect_args={"connect_timeout": 5})


@contextmanager
def reading(store: Store) -> Iterator[Session]:
    """A session for reading through SQLModel; nothing is committed."""
    store.check_schema()
    engine = engine_for(store.url)
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def alembic_config(url: str) -> Config:
    """Alembic's configuration for the store at `url`, with no file of its own."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Create the store at `url`, or migrate it to this version's schema: all of it, or nothing.

    On Postgres the database itself has to be there. Raises `StoreUnavailable` when it can't be written,
    `SchemaMismatch` when a newer version wrote it.
    """
    store = database(url)
    try:
        if store.path is not None:
            path = sqlite_path(url)
            path.parent.mkdir(parents=True, exist_ok=True)
            refuse_network(path.parent)
        if _prepare(url) != SCHEMA or store.path is None:
            command.upgrade(alembic_config(url), "head")
    except (DatabaseError, OSError) as error:
        raise _not_written(url, error) from error


def _not_written(url: str, error: Exception) -> StoreError:
    store = database(url)
    reason = getattr(error, "orig", error)
    if store.path is None:
        return store.unavailable(reason)
    path = sqlite_path(url)
    return StoreUnavailable(
        f"the store {path} can't be created or written: {reason}; check the path and its permissions"
    )


def _prepare(url: str) -> str | None:
    """Turn write-ahead logging on, on SQLite; return the migration that the store is at.

    Raises `SchemaMismatch` where a newer version wrote it.
    """
    engine = engine_for(url)
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
            if found is not None and found not in known:
                msg = (
                    f"the store {database(url).name} has schema {found}, this process needs {SCHEMA}: "
                    "upgrade the lastgood package of this process"
                )
                raise SchemaMismatch(msg)
            connection.rollback()
            if engine.dialect.name == "sqlite":
                _log_ahead(connection.connection)
            return found
    finally:
        engine.dispose()


def _log_ahead(connection: Any) -> None:
    """Turn write-ahead logging on, outside a transaction; another process that does it too is waited for."""
    until = time.monotonic() + _PATIENCE_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)


def lock_out_writers(connection: Connection) -> None:
    """On Postgres, let nobody write, and nobody else migrate, until the migration's transaction ends."""
    if connection.dialect.name == "postgresql":
        from lastgood.store.postgres import lock_key

        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_key()})


def sort_by_code_point(connection: Connection) -> None:
    """On Postgres, make every text column sort as on SQLite, whatever the database's own language is.

    Ranges find the bundles whose name or id begins in some way; a language's order skips dashes and cases.
    """
    if connection.dialect.name != "postgresql":
        return
    columns = connection.execute(
        text(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND collation_name IS DISTINCT FROM 'C' "
            "AND data_type IN ('character varying', 'text') AND table_name = ANY(:ours)"
        ),
        {"ours": our_tables()},
    ).all()
    for table, column, kind in columns:
        connection.execute(text(f'ALTER TABLE "{table}" ALTER "{column}" TYPE {kind} COLLATE "C"'))


def our_tables() -> list[str]:
    """Return the names of our tables."""
    from sqlmodel import SQLModel

    from lastgood.store import tables

    del tables  # its import fills the metadata
    return list(SQLModel.metadata.tables)
