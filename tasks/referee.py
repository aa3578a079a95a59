"""The referee at work: sampled runs of both arms judged blind, within a budget, each once.

A judgement is a stage row, whose key makes it happen once, and a late report that no agent can write. What
is judged, and in which order, is drawn from the runs' ids, so the referee sees arms in random order, and
learns neither the arm nor the run.
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from config.referee import RefereeSpec
from config.scores import ScoresSpec
from evaluators.referees import Sampler
from evaluators.rules import Guardrail, Kind
from lastgood import points, releasing
from lastgood.errors import InvalidInput, InvalidMove, LastgoodError, NotFound
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import judges, progress, scored
from tasks.comparison import Frozen
from tasks.judges import Mark

log = logging.getLogger("lastgood")
#: how often a referee is asked about one run before that run stays unjudged
TRIES = 3
_HOUR = 3_600_000_000
#: runs that may be drawn: those that no sealed block holds yet
_REPORTED = """
SELECT run.id AS run_id FROM run JOIN outcome ON outcome.run_id = run.id
WHERE run.release_id = :release_id AND run.block IS NOT NULL AND run.seq > :after
  AND (outcome.infra_failure IS NULL OR NOT outcome.infra_failure)
"""
_RUN = """
SELECT run.task_type, outcome.status, outcome.input, outcome.output
FROM run JOIN outcome ON outcome.run_id = run.id WHERE run.id = :run_id
"""
_JUDGED = """
SELECT key, at_us, detail FROM stage WHERE release_id = :release_id AND key LIKE :prefix ORDER BY at_us, key
"""
_PREFIX = "judge:%"


@dataclass(frozen=True, slots=True)
class Case:
    """One run as a referee sees it."""

    #: names it without telling which run it is
    id: str
    task_type: str
    input: Any
    output: Any
    #: whether there is anything to judge
    made: bool


@dataclass(frozen=True, slots=True)
class Worked:
    """What a referee got done."""

    #: runs that have a mark now, and calls that failed
    judged: int
    failed: int
    #: sampled runs that still wait
    waiting: int
    #: why it stopped before the end; empty where it did not
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """A release's referee and what lies before it."""

    store: Store
    release: Row
    spec: RefereeSpec
    sampler: Sampler
    #: the guardrail that its marks count in
    guardrail: Guardrail
    #: places in the order of assignment up to which all is sealed
    after: int

    def waiting(self) -> list[str]:
        """Ids of sampled runs without a judgement, in the order of judging."""
        with self.store.reading() as txn:
            rows = txn.all(_REPORTED, release_id=self.release["id"], after=self.after)
            done = {row["key"] for row in txn.all(_JUDGED, release_id=self.release["id"], prefix=_PREFIX)}
        drawn = [row["run_id"] for row in rows if self.sampler.draws(row["run_id"])]
        left = [run_id for run_id in drawn if self.key(run_id) not in done]
        return sorted(left, key=lambda run_id: (self.sampler.place(run_id), self.case_id(run_id)))

    def key(self, run_id: str) -> str:
        """The stage key of a judgement."""
        return f"judge:{self.spec.column}:{run_id}"

    def case_id(self, run_id: str) -> str:
        """A name of a run that tells nothing of it."""
        return blake2b(f"{self.sampler.salt}/{run_id}".encode(), digest_size=5).hexdigest()

    def case(self, run_id: str) -> Case:
        """A run as the referee sees it."""
        with self.store.reading() as txn:
            row = txn.one(_RUN, run_id=run_id)
        assert row is not None  # noqa: S101  it was read just now, and outcomes are never deleted in a release
        given, made = (None if row[name] is None else json.loads(row[name]) for name in ("input", "output"))
        there = made is not None or row["status"] == "disconnected"
        return Case(self.case_id(run_id), row["task_type"], given, made, there)

    def began_us(self, run_id: str) -> int:
        """When a run was assigned, microseconds UTC."""
        with self.store.reading() as txn:
            row = txn.one(sql.RUN, id=run_id)
        return 0 if row is None else int(row["assigned_us"])

    def broke(self, run_id: str) -> bool:
        """Whether a run ended by an exception: nobody scores what it did not make."""
        with self.store.reading() as txn:
            row = txn.one(sql.OUTCOME, run_id=run_id)
        return row is not None and row["status"] == "failed"

    def fitting(self, mark: object) -> Mark:
        """A mark as the guardrail takes it; InvalidInput where it is none."""
        if not isinstance(mark, bool | int | float) or not math.isfinite(mark):
            raise InvalidInput(f"{mark!r} is no mark of {self.spec.column}: it is {self.wanted}")
        if self.guardrail.kind is Kind.PROPORTION and mark in {0, 1}:
            return bool(mark)
        scored = self.guardrail.kind is Kind.SCORE and not isinstance(mark, bool)
        if scored and self.guardrail.lowest <= mark <= self.guardrail.highest:
            return float(mark)
        raise InvalidInput(f"{mark!r} is no mark of {self.spec.column}: it is {self.wanted}")

    @property
    def wanted(self) -> str:
        """What a mark is, for people."""
        if self.guardrail.kind is Kind.PROPORTION:
            return "yes or no"
        return f"a number from {self.guardrail.lowest:g} to {self.guardrail.highest:g}"

    @property
    def worst(self) -> Mark:
        """The mark of a run that made nothing."""
        if self.guardrail.kind is Kind.PROPORTION:
            return self.guardrail.bad
        return self.guardrail.highest if self.guardrail.bad else self.guardrail.lowest

    def record(self, run_id: str, mark: Mark | None, digest: str, *, usd: float, by: str) -> bool:
        """Write a judgement once; False where the run has one. None: it could not be judged, for good."""
        detail = {"mark": mark, "digest": digest, "usd": usd, "by": by}
        with self.store.transaction() as txn:
            if not self._enter(txn, self.key(run_id), detail):
                return False
            if mark is not None:
                judgement = {"column": self.spec.column, "mark": mark, "digest": digest}
                fields = json.dumps({"judgement": judgement}, sort_keys=True)
                txn.insert("late_report", {"run_id": run_id, "received_us": txn.now_us, "fields": fields})
        return True

    def tried(self, run_id: str, why: str) -> bool:
        """Note a failed try; False where it was the last one."""
        with self.store.transaction() as txn:
            for number in range(1, TRIES + 1):
                if self._enter(txn, f"judge-try:{self.spec.column}:{run_id}:{number}", {"why": why}):
                    return number < TRIES
        return False

    def _enter(self, txn: Transaction, key: str, detail: dict[str, Any]) -> bool:
        point = points.read(txn, self.release["agent"], self.release["environment"])
        values = {
            "release_id": self.release["id"],
            "key": key,
            "at_us": txn.now_us,
            "epoch": point.epoch,
            "detail": json.dumps(detail, sort_keys=True),
        }
        return txn.run(sql.insert_new("stage", tuple(values)), **values) == 1

    def spent(self) -> tuple[int, float]:
        """Judgements of the last hour, and US dollars that they cost."""
        with self.store.reading() as txn:
            rows = txn.all(_JUDGED, release_id=self.release["id"], prefix=_PREFIX)
            recent = [json.loads(row["detail"]) for row in rows if row["at_us"] > txn.now_us - _HOUR]
        called = [found for found in recent if found["by"] == "referee"]
        return len(called), math.fsum(found["usd"] for found in called)

    def exhausted(self, calls: int, usd: float) -> str:
        """Why no further judgement may be made this hour; empty where one may."""
        if calls >= self.spec.judgements_per_hour:
            most_calls = self.spec.judgements_per_hour
            return f"{calls} judgements were made this hour, the policy allows {most_calls}"
        most = self.spec.usd_per_hour
        if most is not None and usd + self.spec.usd_each > most:
            return f"judging cost ${usd:.2f} this hour, the policy allows ${most:.2f}"
        return ""


def work(store: Store, release_id: str, *, seconds: float = math.inf, most: int | None = None) -> Worked:
    """Judge what waits, until nothing does, the budget is used up, or the time is over.

    Idempotent and resumable: each judgement is committed by itself. Raises NotFound, InvalidMove where the
    release has ended or people judge it, InvalidPolicy where the referee can't be loaded.
    """
    bench = _bench(store, release_id)
    if bench.spec.scores is not None:
        return _scored(bench, bench.spec.scores)
    if bench.spec.call is None:
        raise InvalidMove(f"people judge {release_id}: `lastgood review next {release_id}`")
    judge, waiting = judges.load(bench.spec), bench.waiting()
    calls, usd = bench.spent()
    until, judged, failed, why = time.monotonic() + seconds, 0, 0, ""
    for run_id in waiting[:most]:
        why = bench.exhausted(calls, usd) or ("" if time.monotonic() < until else "its time is over")
        if why:
            break
        case = bench.case(run_id)
        if not case.made:
            judged += bench.record(run_id, bench.worst, judge.digest, usd=0.0, by="no output")
            continue
        cost = _judged(bench, judge, run_id, case)
        failed += cost is None
        judged += cost is not None
        calls, usd = calls + 1, usd + (bench.spec.usd_each if cost is None else cost)
    return Worked(judged, failed, len(waiting) - judged, why)


def _scored(bench: _Bench, spec: ScoresSpec) -> Worked:
    """Take the marks of waiting runs that somebody else gave; a failed run that has none gets the worst."""
    waiting, digest = sorted(bench.waiting()), judges.digest_of(bench.spec)
    if not waiting:
        return Worked(0, 0, 0)
    now_us, since_us = bench.store.clock.now_us(), bench.began_us(waiting[0])
    scores, judged, failed = scored.read(spec, waiting, since_us, now_us), 0, 0
    for run_id, value in scores.found.items():
        try:
            judged += bench.record(run_id, bench.fitting(value), digest, usd=0.0, by="scores")
        except InvalidInput as error:
            failed += 1
            log.warning("a score of %s is not taken: %s", bench.release["id"], error)
    for run_id in waiting:
        if run_id not in scores.found and bench.broke(run_id):
            judged += bench.record(run_id, bench.worst, digest, usd=0.0, by="failed")
    if scores.absent:
        log.warning("%s: %s", bench.release["id"], scores.absent)
    return Worked(judged, failed, len(waiting) - judged, scores.absent)


def _judged(bench: _Bench, judge: judges.Judge, run_id: str, case: Case) -> float | None:
    """Ask about one run and record the mark; what it cost, None where it failed."""
    try:
        found = judge.judge(case.input, case.output)
        mark = bench.fitting(found.mark)
    except Exception as error:  # noqa: BLE001  whatever a referee does, the release goes on without that mark
        log.warning("the referee of %s failed on case %s: %r", bench.release["id"], case.id, error)
        if not bench.tried(run_id, repr(error)[:200]):
            bench.record(run_id, None, judge.digest, usd=bench.spec.usd_each, by="referee")
        return None
    cost = bench.spec.usd_each if found.usd is None else max(0.0, float(found.usd))
    bench.record(run_id, mark, judge.digest, usd=cost, by="referee")
    return cost


def work_quietly(store: Store, release_id: str, *, seconds: float) -> None:
    """`work` for whoever waits for a look: a referee that fails leaves runs unjudged, and that is all."""
    try:
        with store.reading() as txn:
            frozen = Frozen.of(releasing.read(txn, release_id))
        spec = frozen.policy.referee
        if spec is not None and spec.works:
            work(store, release_id, seconds=seconds)
    except (LastgoodError, ValueError) as error:
        log.warning("the referee of %s did not judge: %s", release_id, error)


def queue(store: Store, release_id: str) -> list[Case]:
    """The cases that wait for people, in the order of judging; runs that made nothing get the worst mark."""
    bench, cases = _bench(store, release_id), []
    for run_id in bench.waiting():
        case = bench.case(run_id)
        if case.made:
            cases.append(case)
        else:
            bench.record(run_id, bench.worst, judges.digest_of(bench.spec), usd=0.0, by="no output")
    return cases


def mark(store: Store, release_id: str, case_id: str, given: object, *, by: str) -> None:
    """Record a person's mark of a case; NotFound where it does not wait, InvalidInput for no mark."""
    bench = _bench(store, release_id)
    if bench.spec.works:
        judge = bench.spec.call or "its source of scores"
        raise InvalidMove(f"{judge} judges {release_id}, not people: one release has one referee")
    fitting = bench.fitting(given)
    for run_id in bench.waiting():
        if bench.case_id(run_id) == case_id:
            bench.record(run_id, fitting, judges.digest_of(bench.spec), usd=0.0, by=by)
            return
    raise NotFound(f"no case {case_id!r} of {release_id} waits; `lastgood review next` shows one that does")


def marked(store: Store, release_id: str) -> Iterator[tuple[str, object, str, int]]:
    """What was judged so far: case, mark, who, when (microseconds UTC), oldest first."""
    bench = _bench(store, release_id, live=False)
    with store.reading() as txn:
        rows = txn.all(_JUDGED, release_id=release_id, prefix=_PREFIX)
    for row in rows:
        detail = json.loads(row["detail"])
        yield bench.case_id(row["key"].rpartition(":")[2]), detail["mark"], detail["by"], row["at_us"]


def question(store: Store, release_id: str) -> str:
    """What a mark of a release is, for people."""
    bench = _bench(store, release_id, live=False)
    rubric = f"{bench.spec.rubric.strip()}\n" if bench.spec.rubric.strip() else ""
    return f"{rubric}{bench.spec.column}: {bench.wanted}"


def _bench(store: Store, release_id: str, *, live: bool = True) -> _Bench:
    with store.reading() as txn:
        release = releasing.read(txn, release_id)
        stored = txn.one(sql.EVIDENCE, release_id=release_id)
    frozen = Frozen.of(release)
    spec, sampler = frozen.policy.referee, frozen.policy.sampler(release_id)
    if spec is None or sampler is None:
        name = release["policy_name"]
        raise InvalidMove(f"the policy {name} of {release_id} has no referee; its key `referee` names one")
    if live and release["ended_us"] is not None:
        raise InvalidMove(f"{release_id} has ended ({release['state']}): its evidence is closed")
    watching = [g for g in frozen.rules.guardrails if g.column == spec.column]
    known = progress.read_progress(stored["sealed"] if stored else "{}")
    slowest = [known[key].after for g in watching if (key := str(g.maturity_us)) in known]
    return _Bench(store, release, spec, sampler, watching[0], min(slowest, default=0))


__all__ = ["TRIES", "Case", "Worked", "mark", "marked", "question", "queue", "work", "work_quietly"]
