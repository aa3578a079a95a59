"""The CRM's database: rows that change by key, once each, and can be put back.

Every change remembers what it wrote over. Taking one back puts that there again; where a later change wrote
the same field, that one stays, and what it wrote over is corrected instead, as if the first had never been.
"""

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from examples.support_agent.crm.schema import SCHEMA, SHOWN

Rows = list[dict[str, Any]]
#: tables whose rows a change makes; those of the others are there before
_MADE = {"refunds", "messages", "notes"}


def row_id(prefix: str, key: str) -> str:
    """A row's id, by the key of the change that makes it: the same whatever else happened."""
    return f"{prefix}_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


class Books:
    """One database; its methods run inside `changing`, one transaction at a time."""

    def __init__(
        self,
        path: str = ":memory:",
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        deliver_after_s: float = 0.0,
    ) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + SCHEMA)
        self._lock = threading.RLock()
        self.now_us = now_us
        #: microseconds that a message waits in the outbox, where it can still be recalled
        self.deliver_after_us = round(deliver_after_s * 1_000_000)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction: all of it or nothing."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def all(self, query: str, **values: Any) -> Rows:
        """The rows of a query."""
        with self._lock:
            return [dict(row) for row in self._connection.execute(query, values)]

    def one(self, query: str, **values: Any) -> dict[str, Any] | None:
        """The first row of a query, None where there is none."""
        return next(iter(self.all(query, **values)), None)

    def shown(self) -> dict[str, Rows]:
        """Every table as people see it: what a recovery is compared by."""
        return {table: self.all(query) for table, query in SHOWN.items()}

    def load(self, table: str, rows: list[dict[str, Any]]) -> int:
        """Take orders or tickets in, from outside; those that are there stay. Returns how many are new."""
        columns = {"orders": ("id", "customer", "amount_cents", "age_days"), "tickets": ("id", "customer")}
        names = columns[table]
        statement = (
            f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
        )
        before = self._connection.total_changes
        self._connection.executemany(statement, [[row[name] for name in names] for row in rows])
        return self._connection.total_changes - before

    def make(self, key: str, table: str, row: str, fields: Mapping[str, Any]) -> None:
        """Make a row, under a key."""
        self._log(key, table, row, "", None, dict(fields))
        self._insert(table, row, fields)

    def write(self, key: str, table: str, row: str, field: str, value: Any) -> Any:
        """Write one field of a row, under a key; returns what stood there."""
        found = self.one(f"SELECT {field} AS value FROM {table} WHERE id = :id", id=row)  # noqa: S608
        before = found["value"] if found else None
        self._log(key, table, row, field, before, value)
        self._set(table, row, field, value)
        return before

    def undo(self, key: str, place: str) -> int:
        """Take back what a key changed in one table; returns how many fields, 0 where nothing was left."""
        query = "SELECT * FROM changes WHERE key = :key AND place = :place AND NOT undone ORDER BY seq DESC"
        rows = self.all(query, key=key, place=place)
        for row in rows:
            self._take_back(row)
        return len(rows)

    def _take_back(self, change: Mapping[str, Any]) -> None:
        later = self.one(
            "SELECT seq FROM changes WHERE place = :place AND row = :row AND field = :field AND seq > :seq "
            "AND NOT undone ORDER BY seq LIMIT 1",
            **{name: change[name] for name in ("place", "row", "field", "seq")},
        )
        if later is None:
            self._set(change["place"], change["row"], change["field"], json.loads(change["before"]))
        else:
            self._run(
                "UPDATE changes SET before = :before WHERE seq = :seq",
                before=change["before"],
                seq=later["seq"],
            )
        self._run("UPDATE changes SET undone = 1 WHERE seq = :seq", seq=change["seq"])

    def _set(self, table: str, row: str, field: str, value: Any) -> None:
        if table in _MADE and value is None:
            self._run(f"DELETE FROM {table} WHERE id = :id", id=row)  # noqa: S608
        elif field == "":
            self._insert(table, row, value)
        elif self._run(f"UPDATE {table} SET {field} = :value WHERE id = :id", value=value, id=row) == 0:  # noqa: S608
            customer, _, topic = row.partition("/")
            self._insert(table, row, {"customer": customer, "topic": topic, field: value})

    def _insert(self, table: str, row: str, fields: Mapping[str, Any]) -> None:
        names = ["id", *fields]
        places = ", ".join(f":{name}" for name in names)
        self._run(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", id=row, **fields)  # noqa: S608

    def _log(self, key: str, place: str, row: str, field: str, before: Any, after: Any) -> None:
        self._run(
            "INSERT INTO changes (key, place, row, field, before, after) "
            "VALUES (:key, :place, :row, :field, :before, :after)",
            key=key,
            place=place,
            row=row,
            field=field,
            before=json.dumps(before),
            after=json.dumps(after),
        )

    def answer_of(self, key: str) -> dict[str, Any] | None:
        """What a request with this key was answered."""
        return self.one("SELECT * FROM answered WHERE key = :key", key=key)

    def keep_answer(self, key: str, request: str, status: int, body: str) -> None:
        """Keep an answer for whoever sends the request again."""
        self._run(
            "INSERT INTO answered (key, request, status, body) VALUES (:key, :request, :status, :body)",
            key=key,
            request=request,
            status=status,
            body=body,
        )

    def _run(self, statement: str, **values: Any) -> int:
        return self._connection.execute(statement, values).rowcount
