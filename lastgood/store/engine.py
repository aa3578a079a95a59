"""The SQLModel side of the store: the engine for reading, and the migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from lastgood.errors import StoreUnavailable
from lastgood.store.connection import Store, sqlite_path

MIGRATIONS = Path(__file__).with_name("migrations")


def _on_connect(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA busy_timeout=5000")


def engine_for(url: str) -> Engine:
    """Return an engine over the store at `url`."""
    engine = create_engine(url)
    event.listen(engine, "connect", _on_connect)
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
    """Create the store at `url`, or migrate it to this version's schema.

    Raises `StoreUnavailable` when it can't be written.
    """
    path = sqlite_path(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = engine_for(url)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        engine.dispose()
        command.upgrade(alembic_config(url), "head")
    except (OperationalError, OSError) as error:
        reason = getattr(error, "orig", error)
        msg = f"the store {path} can't be created or written: {reason}; check the path and its permissions"
        raise StoreUnavailable(msg) from error
