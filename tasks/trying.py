"""Trying what stands outside before a release hangs on it: signals, figures and scores as they are now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from config.policy import Policy
from config.scores import ScoresSpec
from config.triggers import OutsideSpec
from evaluators.outside import Found, Stand
from evaluators.watched import Series
from lastgood import points
from lastgood import profile as profiles
from lastgood.moves import ControlPoint
from lastgood.plural import counted
from lastgood.store import upkeep
from lastgood.store.connection import Store, Transaction
from tasks import outside, preflight, scored, signals
from tasks.readings import time_of

#: microseconds of a signal that are asked for
_SPAN_US = 3_600_000_000
#: newest runs of the baseline whose scores are asked for, and how far these may lie back
_RUNS, _SCORES_US = 20, 7 * 24 * 3_600_000_000
#: what no release has yet
_NONE = "rel_none"


@dataclass(frozen=True, slots=True)
class Tried:
    """One source, and what it says now."""

    #: `signal`, `figure` or `scores`
    what: str
    #: its name in the profile or the policy
    name: str
    #: whether it can be read, and has what is asked for; None: only a release can ask it
    answers: bool | None
    #: one clause for people
    said: str


def ask(store: Store, agent: str, environment: str, policy: str | None) -> list[Tried]:
    """Ask every signal of an agent's profile, and every figure and score of a policy; writes nothing.

    The baseline stands in for the candidate, which nobody has served yet. Raises `NotFound` for an agent that
    is not adopted and an unknown policy.
    """
    with store.reading() as txn:
        point, profile = points.read(txn, agent, environment), profiles.read(txn, agent)
        wanted = None if policy is None else preflight.find_policy(txn, policy)
        runs, now_us = _newest(txn, point), txn.now_us
    found = list(_signals(profile.signals, now_us))
    if wanted is not None:
        found += _of_policy(wanted, point, runs, now_us)
    return found


def _newest(txn: Transaction, point: ControlPoint) -> list[str]:
    key = {"agent": point.agent, "environment": point.environment, "bundle_id": point.baseline}
    first = txn.one(upkeep.FIRST_WATCHED, **key, most=_RUNS)
    after = first["seq"] if first else 0
    rows = txn.all(upkeep.SETTLED_RUNS, **key, after=after, before_us=txn.now_us, most=_RUNS)
    return [row["id"] for row in rows]


def _signals(specs: Mapping[str, Mapping[str, Any]], now_us: int) -> Iterator[Tried]:
    for name, spec in sorted(specs.items()):
        series = signals.source(name, spec).read(now_us - _SPAN_US, now_us)
        yield Tried("signal", name, not series.absent, series.absent or _newest_point(series))


def _newest_point(series: Series) -> str:
    at_us, value = series.points[-1]
    points = counted(len(series.points), "point")
    return f"{value:g} at {time_of(at_us):%H:%M:%S} UTC, the newest of {points} of the last hour"


def _of_policy(policy: Policy, point: ControlPoint, runs: list[str], now_us: int) -> Iterator[Tried]:
    row = {"agent": point.agent, "environment": point.environment, "id": _NONE, "candidate": point.baseline}
    specs = policy.declared_triggers.outside
    read = outside.read(specs, outside.names_of(row, point), now_us)
    for name, found in sorted(read.items()):
        if found.stand is Stand.ABSENT and _names_release(specs[name]):
            yield Tried("figure", name, None, "it names the release: asked once one is live")
        else:
            yield Tried("figure", name, found.stand is not Stand.ABSENT, _standing(found))
    scores = None if policy.referee is None else policy.referee.scores
    if policy.referee is not None and scores is not None:
        yield _scores(policy.referee.column, scores, runs, now_us)


def _names_release(spec: OutsideSpec) -> bool:
    given = spec.model_dump(mode="json", exclude_none=True, by_alias=True).values()
    return any("{release}" in str(text) or ":release" in str(text) for text in given)


#: what a figure would do to a release, where it does not do nothing
_DOES = {Stand.SHORT: ", not for long enough yet", Stand.BEYOND: ": it would act on a release now"}


def _standing(found: Found) -> str:
    return found.said + _DOES.get(found.stand, "")


def _scores(name: str, spec: ScoresSpec, runs: list[str], now_us: int) -> Tried:
    if not runs:
        return Tried("scores", name, False, "the baseline has no run yet whose score could be asked for")
    read = scored.read(spec, runs, now_us - _SCORES_US, now_us)
    said = read.absent or f"{len(read.found)} of the baseline's {len(runs)} newest runs have one"
    return Tried("scores", name, bool(read.found) and not read.absent, said)


__all__ = ["Tried", "ask"]
