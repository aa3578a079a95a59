"""F12 over HTTP: a candidate that has a valid token and forges, floods, drops its failures or lies."""

import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from common import (
    AGENT,
    HOUR,
    SECOND,
    Line,
    Place,
    adopted,
    again,
    main,
    number,
    opened,
    percentile,
    rows,
    seasoned,
    store_at,
)
from forged import DROPPED, POLICY

from lastgood import identity
from lastgood.roles import Role
from lastgood.running import Run
from lastgood.store.connection import Store
from tasks import driving
from tests import serving
from tests.serving import Client
from tests.tasks.conftest import World

BASE = f"/v1/agents/{AGENT}"
FORGERIES, SEEDS, FLOODERS = 2_000, 10, 8
#: lines of a batch of the flood
FLOOD = 2_000
#: corrections of an operator to a run of the baseline, and of a candidate that lies, on average
HONEST, LYING = 0.3, 1.0
LIES = POLICY.replace("name: dropping", "name: lying").replace(
    "guardrails: {completion: {margin: 5 points}}",
    "guardrails: {completion: {margin: 5 points}, edits: {margin_rel: 30%}}",
)
#: what a run may say it is; none of it is its to say
CLAIMS = {"bundle": "f" * 64, "arm": "baseline", "epoch": "7", "release": "rel_0", "agent": "coder"}


class Told:
    """Sends what a candidate tells over every route, and counts the answers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.answers: Counter[str] = Counter()
        self.sent = 0

    def lines(self, noun: str, **line: object) -> None:
        """One line of a batch; counted as what became of it."""
        status, said = self._client.lines(f"{BASE}/{noun}", [line])
        refused = said.get("refused") or [{"error": f"written {status}"}]
        self._note(refused[0]["error"] if status == 200 else str(status))

    def body(self, path: str, **body: object) -> None:
        """One body."""
        status, said = self._client.post(f"{BASE}/{path}", body)
        self._note(said.get("error", f"written {status}"))

    def _note(self, what: str) -> None:
        self.sent += 1
        self.answers[what] += 1


def told(client: Client, run: str, token: str) -> Told:
    """Everything that one token could be good for."""
    found = Told(client)
    found.lines("outcomes", run=run, token=token, completed=True)
    found.lines("reports", run=run, token=token, completed=True)
    found.body("events", run=run, token=token, name="data_leak")
    found.body("actions", run=run, token=token, kind="message")
    found.body("actions/act_0", run=run, token=token, state="done")
    return found


def entered(client: Client, unit: str) -> dict:
    """A new run."""
    status, said = client.post(f"{BASE}/runs", {"unit": unit, "run": unit})
    if status != 200:
        raise RuntimeError(f"{status} {said}")
    return said


def forged(place: Place, forgeries: int) -> Line:
    """Every wrong token on every route, others' access tokens, claims of another bundle: none is kept."""
    store = released(place)
    keys, draw, kinds, answers, sent = identity.keys(store), random.Random(12), set(), Counter(), 0
    with serving.served(store.url) as server:
        client = Client(server.port, serving.token(store, Role.AGENT))
        strangers = {
            "another agent's access token": serving.token(store, Role.AGENT, agents=["coder"]),
            "an observer's": serving.token(store, Role.OBSERVER),
            "none": "",
        }
        while sent < forgeries:
            mine, other = (entered(client, f"{kind}-{sent}") for kind in ("mine", "other"))
            for kind, token in wrong(draw, keys, store, mine, other).items():
                kinds.add(kind)
                found = told(client, mine["run"], token)
                answers, sent = answers + found.answers, sent + found.sent
            for kind, token in strangers.items():
                kinds.add(kind)
                found = told(Client(server.port, token or None), mine["run"], mine["token"])
                answers, sent = answers + found.answers, sent + found.sent
            claims = Told(client)
            for name, value in CLAIMS.items():
                claims.lines("outcomes", run=mine["run"], token=mine["token"], **{name: value})
            answers, sent = answers + claims.answers, sent + claims.sent
    kept = sum(
        number(store, f"SELECT count(*) AS n FROM {table}")
        for table in ("outcome", "late_report", "event", "action")
    )
    live = number(store, "SELECT count(*) AS n FROM release WHERE ended_us IS NULL")
    figure = (
        f"{sent} requests with {len(kinds)} kinds of wrong tokens on 5 routes, and claims of another bundle, "
        f"arm, epoch, release or agent: accepted {kept:g}; answers {dict(answers)}; the release is "
        f"{'live' if live else 'reverted'}"
    )
    return Line("F12", "forged and crossed tokens and claims over HTTP", figure, not kept and live == 1)


def wrong(draw: random.Random, keys: identity.Keys, store: Store, mine: dict, other: dict) -> dict[str, str]:
    """One of each kind of token that must not do for `mine`: those of `forged`, of runs entered over HTTP."""
    [row] = rows(store, "SELECT bundle_id, epoch FROM run WHERE id = :id", id=mine["run"])
    now_us = time.time_ns() // 1_000
    good, later = mine["token"], now_us + HOUR
    place = draw.randrange(len(good))
    signed = lambda run, bundle, epoch, until, with_=keys: identity.sign(with_, run, bundle, epoch, until)  # noqa: E731
    stranger = identity.Keys(keys.newest, {keys.newest: draw.randbytes(32)})
    run, bundle, epoch = mine["run"], row["bundle_id"], row["epoch"]
    return {
        "a character flipped": good[:place] + chr(ord(good[place]) ^ 1) + good[place + 1 :],
        "cut short": good[: draw.randrange(1, len(good))],
        "another secret": signed(run, bundle, epoch, later, stranger),
        "another run's": other["token"],
        "another bundle": signed(run, "f" * 64, epoch, later),
        "another epoch": signed(run, bundle, epoch + 1, later),
        "expired": signed(run, bundle, epoch, now_us - 1),
        "an unknown key's": good.replace("lg1.script.", "lg1.other."),
    }


def released(place: Place) -> Store:
    """A store with a release that serves its candidate to half of the runs."""
    os.environ[identity.VARIABLE] = serving.KEY
    store = store_at(place.migrated())
    opened(store, adopted(store)[1])
    return store


class Flood:
    """Clients that send as fast as they can: batches of forged lines, repeated lines, and noise."""

    def __init__(self, port: int, token: str, run: dict) -> None:
        forged = {"run": run["run"], "token": run["token"][:-1] + "x", "completed": True}
        repeated = {"run": run["run"], "token": run["token"], "completed": True}
        unknown = {"run": "run_nobody", "token": "x"}
        self._bodies = [
            "\n".join([json.dumps(line)] * FLOOD).encode() for line in (forged, repeated, unknown)
        ]
        self._port, self._token = port, token
        self.answers: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(FLOODERS)]
        for each in self._threads:
            each.start()

    def _work(self, turn: int) -> None:
        client = Client(self._port, self._token)
        while not self._stop.is_set():
            turn += 1
            try:
                status, _ = client.ask("POST", f"{BASE}/outcomes", self._bodies[turn % len(self._bodies)])
                self.answers[str(status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1

    def end(self) -> None:
        """Let them stop."""
        self._stop.set()
        for each in self._threads:
            each.join(60)


def flooded(place: Place, seconds: float) -> Line:
    """A candidate floods: honest runs are recorded, a rollback commits, the store does not fill up."""
    store = released(place)
    honest, lost, took = serving.token(store, Role.AGENT), 0, []
    with serving.served(store.url) as server:
        flooder = Client(server.port, serving.token(store, Role.AGENT))
        mine, client = entered(flooder, "flooder"), Client(server.port, honest)
        operator = Client(server.port, serving.token(store, Role.OPERATOR))
        flood = Flood(server.port, serving.token(store, Role.AGENT), mine)
        until, runs = time.monotonic() + seconds, []
        while time.monotonic() < until:
            began = time.monotonic()
            run = entered(client, f"honest-{len(runs)}")
            line = {"run": run["run"], "token": run["token"], "completed": True}
            lost += client.lines(f"{BASE}/outcomes", [line])[1]["new"] != 1
            took.append((time.monotonic() - began) / 2)
            runs.append(run["run"])
        began = time.monotonic()
        status, _ = operator.post(f"{BASE}/rollback", {"reason": "it floods"})
        reverted_s = time.monotonic() - began
        flood.end()
    ended = {row["run_id"] for row in rows(store, "SELECT run_id FROM outcome")}
    lost += len(set(runs) - ended)
    kept = {name: number(store, f"SELECT count(*) AS n FROM {name}") for name in ("refusal", "ledger")}
    written = len(ended - set(runs) - {mine["run"]})
    sent = flood.answers["200"] * FLOOD
    median, p99 = percentile(took, 0.5), percentile(took, 0.99)
    figure = (
        f"{FLOODERS} connections of one token sent forged, repeated and unknown lines, {FLOOD:,} a batch, "
        f"for {seconds:g} s: read {sent:,}, written {written}, rows of refusals {kept['refusal']:g}, of the "
        f"ledger {kept['ledger']:g}; beside it {len(runs)} honest runs of another token, lost {lost}, a "
        f"request {median * 1e3:.0f} ms in the median, p99 {p99 * 1e3:.0f} ms; a rollback over HTTP "
        f"{reverted_s * 1e3:.0f} ms; answers {dict(flood.answers)}"
    )
    holds = not lost and not written and status == 200 and kept["refusal"] < 10 and len(runs) > 0
    return Line("F12", "a candidate floods its own intake", figure, holds)


Behave = Callable[[Client, dict, random.Random], list[dict]]


def silent(_client: Client, run: dict, draw: random.Random) -> list[dict]:
    """A candidate whose failures say nothing; a baseline that tells them."""
    fails = draw.random() < (DROPPED if run["arm"] == "candidate" else 0.1)
    if fails and run["arm"] == "candidate":
        return []
    return [{"run": run["run"], "token": run["token"], "completed": not fails}]


def lying(client: Client, run: dict, draw: random.Random) -> list[dict]:
    """A candidate that calls all a success, twice; operators tell what they had to correct."""
    mine = {"run": run["run"], "token": run["token"]}
    lies = run["arm"] == "candidate"
    client.lines(f"{BASE}/outcomes", [{**mine, "completed": lies or draw.random() < 0.9}] * 2)
    edits = sum(draw.random() < (LYING if lies else HONEST) / 4 for _ in range(4))
    client.lines(f"{BASE}/reports", [{**mine, "key": "operator", "edits": edits}])
    return []


def driven(world: World, policy: str, behave: Behave, seed: int) -> tuple[int, str, str]:
    """Drive a release whose runs come over HTTP: candidate runs until its end, the end, and the culprits."""
    draw, token = random.Random(seed), serving.token(world.store, Role.AGENT)
    driver = driving.begin(world.store, world.start(policy), "me")
    with serving.inside(world.store) as port:
        client = Client(port, token)
        for look in range(200):
            what = driving.due(world.store, driver)
            if what.stage is driving.StageName.ENDED:
                break
            driving.act(world.store, driver, what)
            lines: list[dict] = []
            for turn in range(20 if what.waits else 0):
                world.clock.advance(3 * SECOND)
                lines += behave(client, entered(client, f"{seed}-{look}-{turn}"), draw)
            if lines:
                client.lines(f"{BASE}/outcomes", lines)
    runs = number(world.store, "SELECT count(*) AS n FROM run WHERE arm = 'candidate'")
    [release] = rows(world.store, "SELECT state, culprits FROM release")
    return int(runs), release["state"], ", ".join(json.loads(release["culprits"] or "[]"))


def history(world: World, runs: int) -> None:
    """What operators corrected before."""
    for _ in range(runs):
        world.clock.advance(3 * SECOND)
        with Run(world.store, world.assign()) as run:
            edits = sum(world.draw.random() < HONEST / 4 for _ in range(4))
            run.report(completed=world.draw.random() < 0.9, edits=edits)
    world.clock.advance(11 * 60 * SECOND)


def found(place: Place, what: str, policy: str, behave: Behave, seeds: int) -> Line:
    """Candidate runs until a release ends."""
    ready, ends = seasoned(place.migrated(), runs=1_000 if behave is silent else 0), []
    if behave is lying:
        history(ready, 1_000)
    for seed in range(seeds):
        world = again(ready, place.copy(ready.store))
        ends.append(driven(world, policy, behave, seed))
        place.drop(world.store)
    runs, culprits = sorted(end[0] for end in ends), Counter(end[2] for end in ends)
    reverted = sum(end[1] == "reverted" for end in ends)
    figure = (
        f"{seeds} releases, reverted {reverted}, after {runs[len(runs) // 2]} candidate runs in the median, "
        f"{runs[-1]} at most; culprits {dict(culprits)}"
    )
    return Line("F12", what, figure, reverted == seeds)


def run(place: Place, quick: bool) -> Iterator[Line]:
    """All, on one kind of store."""
    yield forged(place, 200 if quick else FORGERIES)
    yield flooded(place, 2 if quick else 20)
    if place.server is None:  # what is judged is the same on both
        seeds = 1 if quick else SEEDS
        dropped = f"a candidate drops {DROPPED:.0%} of its runs, which failed, in silence, over HTTP"
        yield found(place, dropped, POLICY, silent, seeds)
        lied = "a candidate calls every run a success, twice; operators correct them, over HTTP"
        yield found(place, lied, LIES, lying, seeds)


if __name__ == "__main__":
    main(run, "F12")
