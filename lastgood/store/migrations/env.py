"""Alembic's entry: runs the migrations on the store named in the configuration's attributes."""

from alembic import context
from sqlmodel import SQLModel

from lastgood.store import engine, recounting, tables
from lastgood.store.connection import SCHEMA

target_metadata = SQLModel.metadata
assert tables.ControlPointRow.__tablename__ in target_metadata.tables  # noqa: S101  the import fills the metadata


def _run() -> None:
    source = engine.migrating_engine(context.config.attributes["url"])
    try:
        # one transaction from the first read on: all migrations or none, and nobody else's in between
        with source.begin() as connection:
            engine.lock_out_writers(connection)
            context.configure(connection=connection, target_metadata=target_metadata, render_as_batch=True)
            before = context.get_context().get_current_revision()
            with context.begin_transaction():
                context.run_migrations()
            after = context.get_context().get_current_revision()
            if (before, after) == (recounting.BEFORE_SUMS, SCHEMA):
                recounting.sum_up(connection)
            engine.sort_by_code_point(connection)
    finally:
        source.dispose()


_run()
