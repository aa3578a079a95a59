"""Printing where a release stands while it works: all of it read from the tables."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lastgood import points
from lastgood.agent import environment_name, store
from lastgood.store import statements as sql


def say(text: str = "") -> None:
    """Print at once."""
    print(text, flush=True)


def newest_release(agent: str) -> str | None:
    """Return the id of the agent's newest release, None before its first."""
    with store().reading() as txn:
        rows = txn.all(sql.RELEASES, agent=agent, environment=environment_name(), most=1)
    return rows[0]["id"] if rows else None


def standing(agent: str) -> str:
    """Return one line: the share that is served, and what the last look saw."""
    release_id = newest_release(agent)
    if release_id is None:
        return ""
    with store().reading() as txn:
        point = points.read(txn, agent, environment_name())
        look = txn.one(sql.LAST_LOOK, release_id=release_id)
    share = f"candidate at {point.share_bp / 100:g}%"
    if look is None:
        return share
    seen = json.loads(look["verdict"])
    promote = min(found["log_e_promote"] for found in seen["guardrails"])
    return (
        f"{share}: {seen['candidate_runs']} of {seen['assigned']} runs; evidence of harm "
        f"{seen['log_family']:+.1f}, of no harm {promote:+.1f} (natural logs; {seen['log_line']:.1f} decides)"
    )


@contextmanager
def shown(agent: str) -> Iterator[None]:
    """Print the standing once a second, when it has changed, for as long as the block lasts."""
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(agent, ended))
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(agent: str, ended: threading.Event) -> None:
    last = ""
    while not ended.wait(1.0):
        now = standing(agent)
        if now != last:
            say(f"    {now}")
        last = now
