"""What an agent process calls: `run`, `resume`, `report`.

The store is named by LASTGOOD_DATABASE, the environment by LASTGOOD_ENVIRONMENT; `configure` overrides both.
"""

import logging
import os
import threading
from pathlib import Path
from typing import Any

from lastgood import recorder
from lastgood.assigning import Assigned, Request, assign
from lastgood.errors import InvalidInput, InvalidMove, StoreUnavailable
from lastgood.ids import new_id
from lastgood.router import Decision, Reason
from lastgood.running import Pending, Run
from lastgood.snapshot import Serving
from lastgood.store import statements as sql
from lastgood.store.connection import Store

log = logging.getLogger("lastgood")
DEFAULT_FILE = Path(".lastgood") / "lastgood.db"
_lock = threading.Lock()
_stores: dict[str, Store] = {}
_serving: dict[tuple[str, str, str], Serving] = {}
_configured: dict[str, str] = {}


def configure(*, database: str | None = None, environment: str | None = None) -> None:
    """Name the store's URL and the environment for this process, before its first run."""
    given = {"database": database, "environment": environment}
    _configured.update({name: value for name, value in given.items() if value is not None})


def database_url() -> str:
    """Return the store's URL: `configure`, LASTGOOD_DATABASE, or `.lastgood/lastgood.db` here or above."""
    named = _configured.get("database") or os.environ.get("LASTGOOD_DATABASE")
    if named:
        return named
    here = Path.cwd()
    above = (folder / DEFAULT_FILE for folder in (here, *here.parents))
    return f"sqlite:///{next((path for path in above if path.exists()), here / DEFAULT_FILE)}"


def environment_name() -> str:
    """Return the environment: `configure`, LASTGOOD_ENVIRONMENT, or production."""
    return _configured.get("environment") or os.environ.get("LASTGOOD_ENVIRONMENT") or "production"


def store() -> Store:
    """Return this process's store."""
    url = database_url()
    with _lock:
        return _stores.setdefault(url, Store(url))


def serving(agent: str, environment: str | None = None) -> Serving:
    """Return how this process serves an agent."""
    place, found = environment or environment_name(), store()
    with _lock:
        return _serving.setdefault((found.url, agent, place), Serving(found, agent, place))


def run(
    agent: str,
    unit: str | None = None,
    *,
    task_type: str = "default",
    risk: str | None = None,
    conversation: str | None = None,
    environment: str | None = None,
) -> Pending:
    """Start a run: `with lastgood.run(agent="support", unit="u-1") as run:` (or `async with`).

    `unit` is what the assignment is keyed on (a user, a ticket); without one every run is its own. A
    `conversation` keeps the bundle of its first turn. `risk` is low, medium or high; without one the policy's
    default counts. When the store can't be written the run is served the baseline that was last seen, and is
    no evidence; it raises only where no bundle was ever seen (`StoreUnavailable`, `NotFound`).
    """
    for what, value in (("agent", agent), ("task_type", task_type)):
        if not value:
            msg = f"lastgood.run needs a {what} that is not empty"
            raise InvalidInput(msg)

    def begin() -> Run:
        served = serving(agent, environment)
        chosen = unit or conversation or new_id("", served.store.clock.now_us())
        request = Request(chosen, task_type, risk, conversation)
        return Run(served.store, _assigned(served, request))

    return Pending(begin)


def _assigned(served: Serving, request: Request) -> Assigned:
    try:
        return assign(served, request)
    except StoreUnavailable as error:
        if not served.known:
            raise
        log.warning("the run of %s is served the baseline and not recorded: %s", served.agent, error)
        router = served.router
        tier = request.risk or router.snapshot.point.terms.risk_default
        decision = router.refuse(Reason.STORE, tier)
        now_us = served.store.clock.now_us()
        run_id = new_id("run_", now_us)
        return Assigned(
            run_id, served.agent, served.environment, decision.bundle, decision, now_us, recorded=False
        )


def resume(run_id: str) -> Pending:
    """Go on with a run that `run.suspend()` left open, in this or another process; same bundle, same arm.

    Raises `NotFound` for an unknown run and `InvalidMove` for one that has ended.
    """

    def begin() -> Run:
        held = store()
        with held.reading() as txn:
            row = recorder.run_row(txn, run_id)
            if txn.one(sql.OUTCOME, run_id=run_id) is not None:
                msg = f"run {run_id} has ended; report what comes later with lastgood.report({run_id!r}, ...)"
                raise InvalidMove(msg)
            served = serving(row["agent"], row["environment"])
            bundle = served.bundle(txn, row["bundle_id"])
        decision = Decision(
            row["arm"], bundle, bool(row["eligible"]), Reason(row["reason"]), row["share_bp"], row["epoch"],
            row["release_id"], row["risk"],
        )  # fmt: skip
        return Run(
            held, Assigned(run_id, row["agent"], row["environment"], bundle, decision, row["assigned_us"])
        )

    return Pending(begin)


def report(run_id: str, *, event: str | None = None, **fields: Any) -> None:
    """Report what comes after a run: `lastgood.report(run_id, edits=3)`, `event="data_leak"`.

    Raises `NotFound` for an unknown run, `InvalidInput` for a value that can't be.
    """
    if event is not None:
        recorder.record_event(store(), run_id, event, dict(fields))
    if fields or event is None:
        recorder.record_late(store(), run_id, fields)
