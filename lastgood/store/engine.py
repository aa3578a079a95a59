"""The SQLModel side of the store: the engine for reading, and the migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session

from lastgood.errors import SchemaMismatch, StoreUnavailable
from lastgood.store.connection import SCHEMA, Store, refuse_network, sqlite_path

MIGRATIONS = Path(__file__).with_name("migrations")


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 begins no transaction before DDL: `_on_begin` does
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA busy_timeout=5000")


def _on_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


def engine_for(url: str) -> Engine:
    """Return an engine over the store at `url`; its transactions hold DDL too."""
    engine = create_engine(URL.create("sqlite", database=str(sqlite_path(url))))
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


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

    Raises `StoreUnavailable` when it can't be written, `SchemaMismatch` when a newer version wrote it.
    """
    path = sqlite_path(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_network(path.parent)
        _prepare(url)
        command.upgrade(alembic_config(url), "head")
    except (DatabaseError, OSError) as error:
        reason = getattr(error, "orig", error)
        msg = f"the store {path} can't be created or written: {reason}; check the path and its permissions"
        raise StoreUnavailable(msg) from error


def _prepare(url: str) -> None:
    """Refuse a store that a newer version wrote, and turn write-ahead logging on."""
    engine = engine_for(url)
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
            if found is not None and found not in known:
                msg = (
                    f"the store {sqlite_path(url)} has schema {found}, this process needs {SCHEMA}: "
                    "upgrade the lastgood package of this process"
                )
                raise SchemaMismatch(msg)
            connection.rollback()
            connection.connection.execute("PRAGMA journal_mode=WAL")  # not possible inside a transaction
    finally:
        engine.dispose()
