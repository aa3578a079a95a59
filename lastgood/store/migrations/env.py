"""Alembic's entry: runs the migrations on the store named in the configuration's attributes."""

from alembic import context
from sqlmodel import SQLModel

from lastgood.store import engine, tables

target_metadata = SQLModel.metadata
assert tables.ControlPointRow.__tablename__ in target_metadata.tables  # noqa: S101  the import fills the metadata


def _run() -> None:
    source = engine.migrating_engine(context.config.attributes["url"])
    try:
        # one transaction from the first read on: all migrations or none, and nobody else's in between
        with source.begin() as connection:
            engine.lock_out_writers(connection)
            context.configure(connection=connection, target_metadata=target_metadata, render_as_batch=True)
            with context.begin_transaction():
                context.run_migrations()
            engine.sort_by_code_point(connection)
    finally:
        source.dispose()


_run()
