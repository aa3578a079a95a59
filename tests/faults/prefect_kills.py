"""F19 under `lastgood up`: kill -9 of flows at each stage, of what serves them and of the server; a wipe."""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from common import ENVIRONMENT, Line, Place, main, rows, servers

import lastgood
from config.policy import Policy
from lastgood import agent as served_agent
from lastgood import control, ledger, registry
from lastgood.store.connection import Store
from tasks import policies
from tests.flows import served
from tests.tasks.conftest import make_bundle

#: a release of seconds, whose driver is given up after three
POLICY = """
name: fast
lost_after: 0.5 s
guardrails: {completion: {margin: 25 points}}
alpha: {revert: 0.001, promote: 0.2}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 30%, min_runs: 10, rule_out: 5}, {share: 60%, min_runs: 10}]
look_every: 0.5 s
lease: 30 s
driver_timeout: 5 s
readiness: {fewer: null, three_or_four: null, five_or_six: null}
"""
#: the same, with a first step of most of a minute
LONG = POLICY.replace("name: fast", "name: long").replace("min_runs: 10, rule", "min_runs: 150, rule")
#: the same, with time for a heartbeat
LONGER = LONG.replace("name: long", "name: longer").replace("min_runs: 150", "min_runs: 450")
#: the same, without an end
ENDLESS = POLICY.replace("name: fast", "name: endless\nhorizon: {runs: 1000000}").replace(
    "10, rule", "900000, rule"
)
STAGES = ("canary", "cap", "compare", "promote", "revert")
_NOW = """
SELECT p.baseline, p.share_bp, r.state, r.ended_us FROM control_point p
LEFT JOIN release r ON r.agent = p.agent WHERE p.agent = :agent
"""
_SERVED_LATE = """
SELECT count(*) AS n FROM run JOIN release ON run.release_id = release.id
WHERE run.arm = 'candidate' AND run.assigned_us > release.ended_us AND release.agent = :agent
"""


@dataclass
class Fate:
    """One release whose process is killed at one moment."""

    agent: str
    moment: str
    good: bool
    candidate: str = ""
    #: what forms call it
    label: str = ""
    killed: float = 0.0
    taken: float = 0.0
    ended: float = 0.0
    #: times that nobody renewed the lease, and the baseline served everybody until the next look
    lapses: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def ends_as(self) -> str:
        return "promoted" if self.good else "reverted"


def fates(quick: bool) -> list[Fate]:
    """Before and after each stage's move; the good candidates and the bad ones take turns."""
    made = []
    for number, stage in enumerate(STAGES):
        for when in ("before", "after"):
            if quick and (when == "before" or stage in {"canary", "cap"}):
                continue
            good = stage == "promote" or (stage != "revert" and (number + (when == "after")) % 2 == 0)
            made.append(Fate(f"{stage}-{when}", f"{stage} {when}", good))
    return made


@contextlib.contextmanager
def serving(agents: dict[str, bool]) -> Iterator[None]:
    """Every agent serves in a thread; the candidate of a good one completes as the baseline does."""
    stopped, broken = threading.Event(), []

    def serve() -> None:
        number = 0
        try:
            while not stopped.is_set():
                number += 1
                for name, good in agents.items():
                    with lastgood.run(name, unit=f"u{number}") as run:
                        run.report(completed=number % 10 != 0 and (good or run.arm == "baseline"))
                stopped.wait(0.02)
        except Exception as error:  # noqa: BLE001  told below
            broken.append(error)
        served_agent.store().close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        if broken:
            raise broken[0]


def prepared(store: Store, found: list[Fate]) -> None:
    """Adopted agents with a history, candidates, and the policies."""
    for fate in found:
        old, new = (
            registry.register(store, fate.agent, make_bundle(f"{fate.agent} {text}"), author="ann")[0]
            for text in ("old", "new")
        )
        control.adopt(store, fate.agent, ENVIRONMENT, old.bundle.id, actor="ann", reason="it serves today")
        fate.candidate, fate.label = new.bundle.id, f"{new.bundle.short} {new.name}"
    for text in (POLICY, LONG, LONGER, ENDLESS):
        policies.keep(store, Policy.load(text), "ann")


def actions(store: Store, agent: str) -> list[dict]:
    """The ledger of an agent."""
    return rows(
        store, "SELECT action, at_us, epoch, actor FROM ledger WHERE agent = :agent ORDER BY seq", agent=agent
    )


def release(store: Store, agent: str) -> dict:
    """The newest release of an agent; empty where there is none."""
    found = rows(store, "SELECT * FROM release WHERE agent = :agent ORDER BY id DESC LIMIT 1", agent=agent)
    return found[0] if found else {}


def watch(place: served.Place, store: Store, found: list[Fate], seconds: float) -> None:
    """Look at every control point until all releases ended: times, and what must never be seen."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not all(fate.ended for fate in found):
        for fate in found:
            row = rows(store, _NOW, agent=fate.agent)[0]
            killed = place.folder / f"killed-{fate.agent}"
            if not fate.killed and killed.exists():
                fate.killed = killed.stat().st_ctime
            if row["baseline"] == fate.candidate and row["state"] != "promoted":
                fate.wrong.append("the candidate is the baseline of a release that was not promoted")
            if row["share_bp"] > 6_000 or (row["share_bp"] and row["ended_us"]):
                fate.wrong.append(f"share {row['share_bp']} of a release that is {row['state']}")
            if row["ended_us"] and not fate.ended:
                fate.ended = row["ended_us"] / 1e6
        time.sleep(0.1)


def moved(done: Iterable[str]) -> tuple[Counter[str], int]:
    """How often each move was made, and how often the lease lapsed; what a lapse took is given back once."""
    counts: Counter[str] = Counter()
    owed: set[str] = set()
    for name in done:
        if name == "lapse":
            owed = {"share", "arm"}
        elif name in owed:
            owed.discard(name)
            continue
        counts[name] += 1
    return counts, counts["lapse"]


def judged(store: Store, fate: Fate) -> None:
    """What the ledger says once all is over."""
    if not release(store, fate.agent):
        fate.wrong.append("its release never began")
        return
    done = actions(store, fate.agent)
    counts, fate.lapses = moved(row["action"] for row in done)
    steps = 2 if fate.good else 1
    for name, most in {"start": 1, "share": 2, "arm": 2, "promote": 1, "revert": 1}.items():
        if counts[name] > most:
            fate.wrong.append(f"{name} {counts[name]} times")
    if counts["share"] < steps or counts["promote"] + counts["revert"] != 1:
        fate.wrong.append(f"it went {dict(counts)}")
    state = release(store, fate.agent)["state"]
    if state != fate.ends_as:
        fate.wrong.append(f"it is {state}")
    if late := rows(store, _SERVED_LATE, agent=fate.agent)[0]["n"]:
        fate.wrong.append(f"{late} candidate runs after its end")
    ledger.verify(store, fate.agent, ENVIRONMENT)
    taken = [row["at_us"] / 1e6 for row in done if row["action"] == "takeover" and "evaluate" in row["actor"]]
    fate.taken = next((at for at in taken if at >= fate.killed), 0.0)


def told(fate: Fate) -> str:
    """Times of one fate."""
    if not fate.killed:
        return f"{fate.agent}: **was not killed**"
    over = fate.taken - fate.killed if fate.taken else 0.0
    took = f"taken over after {over:.1f} s" if fate.taken else "it had ended"
    ends = f"{fate.ends_as} {max(0.0, fate.ended - fate.killed):.1f} s after the kill"
    return f"{fate.agent}: {took}, {lapsed(fate)}{ends}"


def lapsed(fate: Fate) -> str:
    """How often the lease lapsed meanwhile."""
    return f"lapsed {fate.lapses} times meanwhile, " if fate.lapses else ""


def children(place: served.Place, word: bytes) -> list[int]:
    """Processes that `lastgood up` started whose command has a word."""
    pid = place.up.pid
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in pids if word in Path(f"/proc/{each}/cmdline").read_bytes()]


def strike(place: served.Place, store: Store, fate: Fate, word: bytes, *, wipe: bool = False) -> str:
    """Kill a child of `lastgood up` in the middle of a canary, and see the release to its end."""
    began = time.time()
    os.kill(children(place, word)[0], signal.SIGKILL)
    if wipe:
        for path in Path(place.environment["PREFECT_HOME"]).glob("prefect.db*"):
            path.unlink()
    fate.killed = began
    watch(place, store, [fate], 600)
    judged(store, fate)
    return ended(store, fate)


def ended(store: Store, fate: Fate) -> str:
    """How the release of a strike ended, and who ended it."""
    if not fate.ended:
        return "**it did not end**"
    by = actions(store, fate.agent)[-1]["actor"].partition(" (")[0]
    return (
        f"{lapsed(fate)}{release(store, fate.agent)['state']} {fate.ended - fate.killed:.1f} s later by {by}"
    )


def run(place: Place, quick: bool) -> Iterator[Line]:
    """One `lastgood up` for all."""
    found = fates(quick)
    strikes = [
        Fate("serving-killed", "", good=True),
        Fate("server-killed", "", good=True),
        Fate("database-wiped", "", good=True),
    ]
    alone = Fate("both-killed", "", good=True)
    if quick:
        strikes = strikes[1:2]
    with under_up(place, [*found, *strikes, alone]) as (up, store):
        yield at_each_stage(up, store, found)
        words = (b"flows", b"prefect", b"prefect")[-len(strikes) :]
        for fate, word in zip(strikes, words, strict=True):
            yield around(up, store, fate, word, wipe=fate.agent == "database-wiped")
        if not quick:
            yield both(up, store, alone)


@contextlib.contextmanager
def under_up(place: Place, everything: list[Fate]) -> Iterator[tuple[served.Place, Store]]:
    """`lastgood up` over a store of all these agents, which serve."""
    url = place.migrated()
    theirs = ("PREFECT_", "LASTGOOD_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    with tempfile.TemporaryDirectory(prefix="lastgood-kills-") as name:
        folder = Path(name)
        shutil.copy(Path(__file__).with_name("planted_kill.py"), folder / "sitecustomize.py")
        store = Store(url)
        prepared(store, everything)
        lastgood.configure(database=url, environment=ENVIRONMENT)
        settings = {"LASTGOOD_DATABASE": url, "LASTGOOD_LOOK_EVERY": "5 s"}
        with (
            served.up(folder, clean, servers._running, **settings) as up,
            serving({fate.agent: fate.good for fate in everything}),
        ):
            assert up.is_up(), up.logs()
            enough = 200 * len(everything)
            served.wait_for(lambda: rows(store, "SELECT count(*) AS n FROM run")[0]["n"] > enough, 120)
            yield up, store
        store.close()


def at_each_stage(up: served.Place, store: Store, found: list[Fate]) -> Line:
    """All releases at once, each killed at its own moment."""
    for fate in found:
        (up.folder / f"kill-{fate.agent}").write_text(fate.moment)
        up.start("release/release", agent=fate.agent, candidate=fate.label, policy="fast")
    watch(up, store, found, 900)
    for fate in found:
        judged(store, fate)
    wrong = {fate.agent: sorted(set(fate.wrong)) for fate in found if fate.wrong}
    killed = sum(bool(fate.killed) for fate in found)
    each = "; ".join(map(told, found))
    figure = f"{killed} killed of {len(found)}; {each}; wrong {json.dumps(wrong) if wrong else 0}"
    holds = not wrong and killed == len(found) and all(fate.ended for fate in found)
    return Line(
        "F19",
        "kill -9 of a release's flow before and after the move of each stage, on a real server",
        figure,
        holds,
    )


def around(up: served.Place, store: Store, fate: Fate, word: bytes, *, wipe: bool) -> Line:
    """Kill what runs the flows, in the middle of a canary."""
    flow_run = mid_canary(up, store, fate)
    said = strike(up, store, fate, word, wipe=wipe) if flow_run else "it did not begin"
    wrong = sorted(set(fate.wrong))
    what = {
        "serving-killed": "kill -9 of the serving process",
        "server-killed": "kill -9 of the Prefect server",
    }
    name = what.get(fate.agent, "kill -9 of the Prefect server and its database deleted")
    return Line(
        "F19",
        f"{name}, mid-canary under `lastgood up`",
        f"{said}; wrong {wrong or 0}",
        bool(flow_run and not wrong and fate.ended),
    )


def mid_canary(up: served.Place, store: Store, fate: Fate, policy: str = "long") -> str:
    """Start a release of a minute and wait until it compares; its flow run, empty where it did not."""
    found = up.start("release/release", agent=fate.agent, candidate=fate.label, policy=policy)
    return found if served.wait_for(lambda: release(store, fate.agent).get("state") == "compare", 120) else ""


def both(up: served.Place, store: Store, fate: Fate) -> Line:
    """Kill a flow's process together with what would have told of its death: Prefect shows it as running."""
    flow_run, said = mid_canary(up, store, fate, "longer"), "it did not begin"
    if flow_run:
        # one heartbeat has to come before: it is its absence that tells
        served.wait_for(lambda: heartbeats(up, flow_run), 120)
        fate.killed = time.time()
        os.kill(children(up, b"flows")[0], signal.SIGKILL)
        assert served.kill_flow_process(flow_run)
        watch(up, store, [fate], 600)
        judged(store, fate)
        crashed = served.wait_for(lambda: crash(up, flow_run), 300)
        told = f"{crashed - fate.killed:.0f} s" if crashed else "**never**"
        said = f"marked as crashed by the automation after {told}; {ended(store, fate)}"
    wrong = sorted(set(fate.wrong))
    what = "kill -9 of the serving process and of the flow's process at once, mid-canary under `lastgood up`"
    holds = bool(flow_run and not wrong and fate.ended and crashed)
    return Line("F19", what, f"{said}; wrong {wrong or 0}", holds)


def heartbeats(up: served.Place, flow_run: str) -> int:
    """How many signs of life the server has of a flow run."""
    resource = {"id": [f"prefect.flow-run.{flow_run}"]}
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": resource}
    return up.ask("POST", "/events/filter", {"filter": wanted})["total"]


def crash(up: served.Place, flow_run: str) -> float:
    """When a flow run was marked as crashed for its silence, seconds since the epoch; 0 where it never was.

    Its states are asked for: once the release has ended its run shows that.
    """
    for state in up.ask("GET", f"/flow_run_states/?flow_run_id={flow_run}"):
        if state["type"] == "CRASHED" and "no sign of life" in (state["message"] or ""):
            return datetime.fromisoformat(state["timestamp"]).timestamp()
    return 0.0


if __name__ == "__main__":
    main(run, "F19", ("SQLite",))
