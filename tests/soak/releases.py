"""Releases good and bad, coming all the time, and the people who roll back and close incidents."""

import random
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from http.client import HTTPException

import httpx

from lastgood import control, incidents, points, registry
from lastgood.errors import LastgoodError
from lastgood.roles import Role
from lastgood.store.connection import Store
from tests import serving
from tests.soak.agent import boot_us
from tests.soak.diary import Left
from tests.soak.stack import AGENTS, ENVIRONMENT, Stack
from tests.tasks.conftest import make_bundle

#: how likely a candidate is good, completes a third of its runs, or leaks data
KINDS = {"good": 0.5, "failing": 0.3, "leaking": 0.2}
#: releases that may be live at once, and the share of them that a person puts back
MOST_LIVE, BY_HAND = 3, 0.25
#: seconds: between two releases of an agent, until one that did not begin is given up, and until a person
#: puts a live one back
REST_S, GIVE_UP_S, HAND_S = (10.0, 60.0), 180.0, (15.0, 45.0)
#: candidates of an agent that are registered before they are due; a form offers the newest 100
AHEAD = 6
_LIVE = """
SELECT release.id, release.agent, release.candidate, control_point.share_bp FROM release
JOIN control_point ON control_point.release_id = release.id WHERE release.ended_us IS NULL
"""
_OPEN = "SELECT id FROM incident WHERE state = 'open' AND opened_us < :before_us"


@dataclass
class Next:
    """What an agent is to be released to next."""

    bundle_id: str
    #: as the form calls it
    label: str
    #: when it may be asked for, and when it was; seconds of the monotonic clock
    due_s: float
    asked_s: float | None = None


@dataclass
class People:
    """Who starts releases, puts some back by hand, and closes incidents; a thread of its own."""

    stack: Stack
    draw: random.Random
    #: seconds after which an incident is closed
    close_s: float
    #: by bundle
    kinds: dict[str, str] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    told: Counter = field(default_factory=Counter)
    broken: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._store = Store(self.stack.store.url)
        self._api = httpx.Client(base_url=self.stack.api_url, timeout=20)
        token = serving.token(self.stack.store, Role.OPERATOR)
        self._client = serving.Client(self.stack.service.port, token, timeout_s=10)
        self._number = 0
        #: registered well before they are due, so that the form has them
        self._queued = {agent: deque(self._registered(agent) for _ in range(AHEAD)) for agent in AGENTS}
        self._next = {agent: self._made(agent, self.draw.uniform(0, 20)) for agent in AGENTS}
        #: when a live release is put back by hand; None: it is not
        self._hands: dict[str, float | None] = {}
        self._sweeping, self._closing, self._stopping = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._run, name="soak-people")
        with self._store.reading() as txn:
            for row in txn.all("SELECT baseline FROM control_point"):
                self.kinds[row["baseline"]] = "good"
        self._store.close()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Start no more."""
        self._closing.set()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(60)

    def live(self) -> list[dict]:
        """The live releases."""
        with self._store.reading() as txn:
            return [dict(row) for row in txn.all(_LIVE)]

    @property
    def waits(self) -> bool:
        """Whether a release that was asked for may still begin."""
        now_s = time.monotonic()
        return any(n.asked_s is not None and now_s - n.asked_s < GIVE_UP_S for n in self._next.values())

    def sweep_soon(self) -> None:
        """Have Prefect's old runs deleted, as its deployment does each hour."""
        self._sweeping.set()

    def _run(self) -> None:
        while not self._stopping.wait(2.0):
            try:
                self._look()
            except (LastgoodError, httpx.HTTPError, HTTPException, OSError) as error:
                self.told[f"refused or away: {type(error).__name__}"] += 1
            except Exception as error:  # noqa: BLE001  told at the end
                self.broken.append(error)
        self._store.close()

    def _look(self) -> None:
        live = {row["agent"]: row for row in self.live()}
        for agent, row in live.items():
            if row["candidate"] == self._next[agent].bundle_id:
                self._next[agent] = self._made(agent, self.draw.uniform(*REST_S))
                self.told[f"began: {self.kinds[row['candidate']]}"] += 1
            self._by_hand(row)
        if not self._closing.is_set():
            self._start_some(live)
        self._close_incidents()
        if self._sweeping.is_set() and self._ask("sweep_runs/sweep-runs", {}):
            self._sweeping.clear()

    def _made(self, agent: str, rest_s: float) -> Next:
        """Take the next candidate, and register one more."""
        self._queued[agent].append(self._registered(agent))
        bundle_id, label = self._queued[agent].popleft()
        return Next(bundle_id, label, time.monotonic() + rest_s)

    def _registered(self, agent: str) -> tuple[str, str]:
        """Register a candidate; its id, and what forms call it."""
        self._number += 1
        kind = self.draw.choices(list(KINDS), list(KINDS.values()))[0]
        made = make_bundle(f"{kind} {agent} {self._number}")
        found, _ = registry.register(self._store, agent, made, author="ann")
        self.kinds[found.bundle.id] = kind
        return found.bundle.id, f"{found.bundle.short} {found.name}"

    def _start_some(self, live: dict[str, dict]) -> None:
        now_s = time.monotonic()
        for each in self._next.values():
            if each.asked_s is not None and now_s - each.asked_s > GIVE_UP_S:
                self.told["never began, asked for again"] += 1
                each.asked_s = None
        asked = sum(each.asked_s is not None for each in self._next.values())
        for agent in self.draw.sample(AGENTS, len(AGENTS)):
            wanted = self._next[agent]
            free = agent not in live and wanted.asked_s is None and now_s >= wanted.due_s
            if free and len(live) + asked < MOST_LIVE:
                given = {"agent": agent, "candidate": wanted.label, "policy": "soak"}
                if self._ask("release/release", given):
                    wanted.asked_s, asked = now_s, asked + 1
                else:
                    wanted.due_s = now_s + 10  # the form does not offer it yet: a minute at most

    def _ask(self, deployment: str, parameters: dict[str, str]) -> bool:
        """Start a flow run as the form does."""
        found = self._api.get(f"/deployments/name/{deployment}").raise_for_status().json()["id"]
        path = f"/deployments/{found}/create_flow_run"
        answer = self._api.post(path, json={"parameters": parameters})
        self.told[f"{deployment}: {answer.status_code}"] += 1
        return answer.is_success

    def _by_hand(self, row: dict) -> None:
        """A person puts a live release back: on the store, or over HTTP."""
        if row["id"] not in self._hands:
            chosen = self.draw.random() < BY_HAND
            self._hands[row["id"]] = time.monotonic() + self.draw.uniform(*HAND_S) if chosen else None
        due_s = self._hands[row["id"]]
        if due_s is None or time.monotonic() < due_s:
            return
        self._hands[row["id"]] = None
        place = (row["agent"], ENVIRONMENT)
        if self.draw.random() < 0.5:
            with self._store.reading() as txn:
                point = points.read(txn, *place)
            if point.release_id != row["id"]:
                return
            control.rollback(self._store, *place, actor="ann", reason="by hand", epoch=point.epoch)
            self.left.append(Left(row["agent"], row["candidate"], boot_us(), "hand"))
        else:
            status, _ = self._client.post(f"/v1/agents/{row['agent']}/rollback", {"reason": "by hand"})
            if status == 200:
                self.left.append(Left(row["agent"], row["candidate"], boot_us(), "HTTP"))
            self.told[f"rollback over HTTP: {status}"] += 1

    def _close_incidents(self) -> None:
        before_us = self._store.clock.now_us() - round(self.close_s * 1e6)
        with self._store.reading() as txn:
            found = [row["id"] for row in txn.all(_OPEN, before_us=before_us)]
        for each in found:
            incidents.close(self._store, each, actor="ann", reason="planted by the soak")
            self.told["incidents closed"] += 1
