"""What an agent process calls: `run`, `resume`, `report`, `flush`.

The store is named by LASTGOOD_DATABASE, or a service over it by LASTGOOD_URL and LASTGOOD_TOKEN, for a
process that is to have no database; the environment by LASTGOOD_ENVIRONMENT. LASTGOOD_FLUSH_MS lets
outcomes of the baseline wait for one another, LASTGOOD_REQUIRE_TOKENS=1 has reports bring their run's token.
`configure` overrides each.
"""

import importlib
import logging
import os
import threading
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lastgood import batching, isolation, outside, recorder, suspending
from lastgood.assigning import Assigned, Request, assign
from lastgood.batching import Recorder
from lastgood.bundle import Bundle
from lastgood.decision import Reason, risk_of
from lastgood.errors import InvalidInput, NotFound, StoreError
from lastgood.ids import new_id
from lastgood.outcome import checked, is_outcome
from lastgood.running import Pending, Run
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

log = logging.getLogger("lastgood")
DEFAULT_FILE = Path(".lastgood") / "lastgood.db"
_lock = threading.Lock()
_stores: dict[str, Store] = {}
_serving: dict[tuple[str, str, str], Serving] = {}
_recorders: dict[tuple[str, float], Recorder] = {}
_configured: dict[str, str] = {}
#: by URL and token
_remotes: dict[tuple[str, str], Any] = {}
#: the baseline of an agent whose store was never read
_fallbacks: dict[str, Bundle] = {}
#: the newest runs of this process that the store could not take
_unrecorded: deque[str] = deque(maxlen=1_000)
# a child must not inherit the lock from a thread that it does not have
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def configure(
    *,
    database: str | None = None,
    environment: str | None = None,
    url: str | None = None,
    token: str | None = None,
    flush_ms: float | None = None,
    require_tokens: bool | None = None,
    fallback: Mapping[str, Bundle] | None = None,
) -> None:
    """Name the store's URL and the environment for this process, before its first run.

    `url` and `token` name the service instead, for a process without the database.

    `flush_ms` lets outcomes of the baseline wait up to so many milliseconds for one another (0, the default:
    each is written at once); a kill -9 loses what waits. `require_tokens` refuses what `report` and `resume`
    are told of a run without its token: for a process that speaks for others, such as a web service.
    `fallback` names the baseline of agents, by name, that is served as long as the store was never read: with
    it a process starts without one.
    """
    _fallbacks.update(fallback or {})
    given = {
        "database": database,
        "environment": environment,
        "url": url,
        "token": token,
        "flush_ms": None if flush_ms is None else str(flush_ms),
        "require_tokens": None if require_tokens is None else str(int(require_tokens)),
    }
    _configured.update({name: value for name, value in given.items() if value is not None})


def _setting(name: str) -> str:
    return _configured.get(name) or os.environ.get(f"LASTGOOD_{name.upper()}") or ""


def flush_interval_s() -> float:
    """Return how long an outcome of the baseline may wait, seconds; raises `InvalidInput`."""
    text = _setting("flush_ms") or "0"
    try:
        return float(text) / 1_000
    except ValueError as error:
        msg = f"LASTGOOD_FLUSH_MS={text!r} is no number of milliseconds; write 200, for example"
        raise InvalidInput(msg) from error


def _needs_token(token: str | None) -> str | None:
    """The token to check: what was given, nothing where one is required, None where none is."""
    return "" if token is None and _setting("require_tokens") in {"1", "true", "yes"} else token


def _recorder(held: Store) -> Recorder:
    interval_s = flush_interval_s()
    with _lock:
        found = _recorders.get((held.url, interval_s))
        if found is None:
            found = _recorders[held.url, interval_s] = Recorder(held, interval_s)
        return found


def flush() -> None:
    """Write every outcome that waits in this process; raises `StoreUnavailable` where that can't be done."""
    batching.flush()


def is_quarantined(key: str, *, agent: str | None = None, environment: str | None = None) -> bool:
    """Whether an output, by its run's id, or a memory entry, by its key, came from a bad window.

    True until a person clears it (`lastgood quarantine clear KEY`); one that was recalled stays so. What
    nobody looked at goes with its run when that is pruned, once its incident is closed. Keys of memory
    entries are an agent's own: `agent` asks about its own alone. One indexed read; raises `StoreUnavailable`.
    """
    if (over := _remote()) is not None:
        return bool(over.is_quarantined(key, agent, environment or environment_name()))
    place = None if agent is None else (agent, environment or environment_name())
    with store().reading() as txn:
        return isolation.is_quarantined(txn, key, place)


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
        found = _stores.get(url)
        if found is None:
            found = _stores[url] = Store(url)
        return found


def is_remote() -> bool:
    """Whether this process works over LASTGOOD_URL, and has no database."""
    return bool(_setting("url"))


def _remote() -> Any:
    """This process's way over LASTGOOD_URL, None where that is not set: then the database is at hand."""
    url = _setting("url")
    if not url:
        return None
    token = _setting("token")
    # by name: an agent that has the database loads none of it, nor of the HTTP client that it needs
    run_of = importlib.import_module("lastgood.remote_client").Remote
    service_of = importlib.import_module("lastgood.remote").Service
    interval_s = flush_interval_s()
    with _lock:
        found = _remotes.get((url, token))
        if found is None:
            found = _remotes[url, token] = run_of(service_of(url, token), interval_s)
        return found


def serving(agent: str, environment: str | None = None) -> Serving:
    """Return how this process serves an agent."""
    place, held = environment or environment_name(), store()
    with _lock:
        found = _serving.get((held.url, agent, place))
        if found is None:
            found = _serving[held.url, agent, place] = Serving(
                held, agent, place, fallback=_fallbacks.get(agent)
            )
        return found


def run(
    agent: str,
    unit: str | None = None,
    *,
    task_type: str = "default",
    risk: str | None = None,
    conversation: str | None = None,
    environment: str | None = None,
    tools: Collection[str] | None = None,
) -> Pending:
    """Start a run: `with lastgood.run(agent="support", unit="u-1") as run:` (or `async with`).

    `unit` is what the assignment is keyed on (a user, a ticket); without one every run is its own. A
    `conversation` keeps the bundle of its first turn. `risk` is low, medium or high, and never below that of
    the tools which the run may call (`tools` names them, default: all that the bundle declares); where
    neither says anything the policy's default counts. When the store can't be written the run is served the
    baseline that was last seen, and is no evidence; it raises only where no bundle was ever seen
    (`StoreUnavailable`, `NotFound`).
    """
    for what, value in (("agent", agent), ("task_type", task_type)):
        if not value:
            msg = f"lastgood.run: {what} is empty; name it"
            raise InvalidInput(msg)
    for what, text in (("unit", unit), ("conversation", conversation), ("task_type", task_type)):
        _check_text(what, text)
    named = None if tools is None else tuple(tools)

    def begin() -> Run:
        rehearsal = outside.current()
        if rehearsal is not None:
            from lastgood import rehearsed  # a replay's: an agent in service never needs it

            return rehearsed.begin(rehearsal, agent, environment or environment_name(), named)
        if (over := _remote()) is not None:
            now_us = over.service.clock.now_us()
            asked = Request(unit or conversation or new_id("", now_us), task_type, risk, conversation, named)
            serves = over.serving(agent, environment or environment_name(), _fallbacks.get(agent))
            begun: Run = over.begin(serves, asked)
            return begun
        served = serving(agent, environment)
        chosen = unit or conversation or new_id("", served.store.clock.now_us())
        request = Request(chosen, task_type, risk, conversation, named)
        assigned = _assigned(served, request)
        return Run(served.store, assigned, recorder=_recorder(served.store), tools=named)

    return Pending(begin)


def _check_text(what: str, value: object) -> None:
    if value is not None and not (isinstance(value, str) and _is_utf8(value)):
        msg = f"lastgood.run: {what}={value!r} is no text; give a str, for example {what}=str(...)"
        raise InvalidInput(msg)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _assigned(served: Serving, request: Request) -> Assigned:
    try:
        return assign(served, request)
    except (StoreError, NotFound) as error:
        if not served.known:
            raise
        log.warning("the run of %s is served the baseline and not recorded: %s", served.agent, error)
        router = served.router
        decision = router.refuse(Reason.STORE, risk_of(router.snapshot.point, request.risk))
        now_us = served.store.clock.now_us()
        run_id = new_id("run_", now_us)
        _unrecorded.append(run_id)
        return Assigned(
            run_id, served.agent, served.environment, decision.bundle, decision, now_us, recorded=False
        )


def resume(run_id: str, *, token: str | None = None, tools: Collection[str] | None = None) -> Pending:
    """Go on with a run that `run.suspend()` left open, in this or another process; same bundle, same arm.

    What was reported before is kept. `token` is the run's, where one is required; `tools` are those that the
    run may call, as in `run`. Raises `BadToken` for another run's, `NotFound` for an unknown run,
    `InvalidMove` for one that has ended, and `Refused` where this process does not announce the runtime of
    its bundle.
    """

    def begin() -> Run:
        rehearsal = outside.current()
        if rehearsal is not None:
            from lastgood import rehearsed

            return rehearsed.resume(rehearsal, run_id)
        named = None if tools is None else tuple(tools)
        if (over := _remote()) is not None:
            resumed: Run = over.resume(run_id, token, named)
            return resumed
        held = store()
        with held.reading() as txn:
            row, before = suspending.reopened(txn, held, run_id, _needs_token(token))
            served = serving(row["agent"], row["environment"])
            bundle = served.bundle(txn, row["bundle_id"])
        suspending.check_runtime(run_id, bundle, served.runtimes)
        assigned = Assigned.of(row, bundle)
        return Run(held, assigned, before, recorder=_recorder(held), tools=named)

    return Pending(begin)


def report(
    run_id: str, *, event: str | None = None, key: str | None = None, token: str | None = None, **fields: Any
) -> None:
    """Report what comes after a run: `lastgood.report(run_id, edits=3)`, `event="data_leak"`.

    With an event all fields are its details, and those that name an outcome count besides. With a `key` of
    your own the same outcomes count once; an event is noted each time. `token` is the run's `run.token`,
    which a process that requires tokens insists on. Raises `NotFound` for an unknown run, `BadToken`, and
    `InvalidInput` for a value that can't be; nothing is written then. A run of this process that could not be
    recorded when it began has nothing to report to: that is logged, not raised.
    """
    rehearsal = outside.current()
    if rehearsal is not None:
        from lastgood import rehearsed

        rehearsed.report(rehearsal, run_id, event, fields)
        return
    if (over := _remote()) is not None:
        over.report(run_id, event, key, token, fields)
        return
    if run_id in _unrecorded:
        log.warning("what is reported of %s is dropped: the run itself could not be recorded", run_id)
        return
    held, token = store(), _needs_token(token)
    _recorder(held).flush()  # the run's own outcome may wait still
    if event is None:
        recorder.record_late(held, run_id, fields, key=key, token=token)
        return
    outcomes = {name: value for name, value in fields.items() if is_outcome(name)}
    checked(outcomes)
    recorder.record_event(held, run_id, event, fields, token=token)
    if outcomes:
        recorder.record_late(held, run_id, outcomes, key=key, token=token)
