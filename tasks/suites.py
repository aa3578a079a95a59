"""The flows of regression cases: cases of an incident, and the suite, spread where one worker is too few.

Each part of a spread suite is a flow run of its own, on whatever worker takes it, and leaves its report in
our table; who started the suite reads them there, so that a part that died is missed and is no pass.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelling

from lastgood import agent, suite_parts
from lastgood.errors import InvalidInput, InvalidMove
from lastgood.ids import new_id
from lastgood.plural import counted
from lastgood.redaction import clean
from lastgood.store.connection import Store
from tasks import case_making, choices, regression
from tasks.regression import Options, SuiteReport

#: the suite's deployment
DEPLOYMENT = "regression_suite/regression-suite"
#: parts of a suite at most
MOST = 64
#: seconds between two looks for reports
_LOOK_S = 1.0


def make_cases(incident: str, live: str, sandbox: str, usd: str) -> str:
    """Make, prove and keep the cases of an incident; say what came of it."""
    store = agent.store()
    wanted = case_making.wanted_of_incident(store, incident)
    made = case_making.make(store, case_making.allowed(wanted, _words(live), _words(sandbox), _number(usd)))
    admitted = sum(each.runs for each in made)
    lines = [f"- {each.case.name}: {each.draft.reason or 'admitted'}" for each in made]
    head = f"{incident}: {admitted} of {counted(len(made), 'case is', 'cases are')} proven"
    _publish(
        f"cases-{incident}", f"# Regression cases of {incident}\n\n{head}.\n\n" + "\n".join(lines) + "\n"
    )
    return head


def run_suite(agent_name: str, bundle: str, environment: str, folder: str, spread: str) -> str:
    """Run an agent's cases on a bundle, in as many parts as `spread` says; raises where one fails."""
    options = Options(folder, spread=_whole(spread, MOST))
    report = run(agent.store(), agent_name, environment, choices.reference(bundle), options)
    _publish(f"regression-{agent_name}-{environment}", report.markdown)
    regression.refuse_failing(report, required=False)
    return report.headline


def run(store: Store, agent_name: str, environment: str, bundle: str, options: Options) -> SuiteReport:
    """Run an agent's cases as `regression.run` does, spread over flow runs where the options say so."""
    wanted = {case.name for case in regression.gather(store, agent_name, environment, options)}
    parts = min(options.spread, len(wanted))
    if parts <= 1:
        return regression.run(store, agent_name, environment, bundle, options)
    suite_id = new_id("sui_", store.clock.now_us())
    named = choices.label(store, bundle)  # what the deployment's form takes
    given = {"agent": agent_name, "bundle": named, "environment": environment, "folder": options.folder}
    started: list[UUID] = []
    try:
        for number in range(1, parts + 1):
            part = Part(suite_id, number, parts).text(options)
            started.append(_start({**given, "part": part}))
        report = gather(store, suite_id, parts, lambda: _ended(started), limit_s=options.time_s)
    except BaseException:
        _cancel(started)
        suite_parts.drop(store, suite_id)
        raise
    missing = sorted(wanted - {one.name for one in report.results})
    if missing:  # each part lists the cases for itself
        raise InvalidMove(
            f"the cases changed while the suite {suite_id} ran, and {missing[0]} was not replayed: start it "
            "again"
        )
    return report


def run_part(agent_name: str, bundle: str, environment: str, folder: str, part: str) -> str:
    """Run one part of a suite, as `Part.text` wrote it, and leave its report in our table."""
    mine, options = Part.read(part, folder)
    store = agent.store()
    report = regression.run(store, agent_name, environment, choices.reference(bundle), options)
    suite_parts.put(store, mine.suite_id, mine.number, report.to_json())
    return report.headline


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a suite a flow run is."""

    suite_id: str
    number: int
    of: int

    def text(self, options: Options) -> str:
        """Return it with what its replays may use, as the one word that a flow run is given."""
        told = {
            "suite": self.suite_id, "number": self.number, "of": self.of, "live": list(options.live),
            "usd": options.usd / self.of, "workers": options.workers, "timeout_s": options.timeout_s,
            "time_s": options.time_s, "replay": options.replay,
        }  # fmt: skip
        return json.dumps(told)

    @classmethod
    def read(cls, text: str, folder: str) -> tuple["Part", Options]:
        """Read what `text` wrote; raises `InvalidInput` where it is something else."""
        try:
            told = json.loads(text)
            mine = cls(told["suite"], told["number"], told["of"])
            options = Options(
                folder, live=tuple(told["live"]), usd=told["usd"], workers=told["workers"],
                timeout_s=told["timeout_s"], time_s=told["time_s"], replay=told["replay"],
                shard=(mine.number, mine.of),
            )  # fmt: skip
            known = 1 <= mine.number <= mine.of <= MOST
        except (KeyError, TypeError, ValueError):
            known = False
        if not known:
            raise InvalidInput(f"{text!r} is no part of a suite; leave it empty, the suite fills it in")
        return mine, options


def _start(parameters: dict[str, str]) -> UUID:
    """Start a part on whichever worker takes it; its flow run hangs below the one that asks."""
    try:
        run = run_deployment(DEPLOYMENT, parameters=parameters, timeout=0)
    except ObjectNotFound as error:
        raise InvalidMove(
            f"a suite can't be spread: this Prefect server has no deployment {DEPLOYMENT}; `lastgood up` "
            "serves it, and `prefect deploy --all` gives it to workers"
        ) from error
    assert isinstance(run, FlowRun)  # noqa: S101  no event loop runs here, so it is no coroutine
    return run.id


def _ended(ids: Sequence[UUID]) -> set[int]:
    """The numbers of the parts whose flow runs have ended, however."""
    with get_client(sync_client=True) as client:
        states = [client.read_flow_run(each).state for each in ids]
    return {place for place, state in enumerate(states, 1) if state is not None and state.is_final()}


def _cancel(ids: Sequence[UUID]) -> None:
    """Call back the parts that nobody waits for any more, as far as Prefect answers."""
    with suppress(PrefectException, httpx.HTTPError), get_client(sync_client=True) as client:
        for each in ids:
            client.set_flow_run_state(each, Cancelling(message="the suite that it is a part of has ended"))


def gather(
    store: Store, suite_id: str, parts: int, ended: Callable[[], set[int]], *, limit_s: float
) -> SuiteReport:
    """Wait for the report of every part; raises `InvalidMove` where one ends without it, or time is up."""
    until = time.monotonic() + limit_s
    while True:
        gone = ended()  # before the reports: a part writes its report and then ends
        found = suite_parts.read(store, suite_id)
        lost = sorted(gone - found.keys())
        if lost:
            raise InvalidMove(
                f"part {lost[0]} of {parts} of the suite {suite_id} ended without a report, so the suite "
                "proves nothing: see its flow run, and start the suite again"
            )
        if len(found) == parts:
            suite_parts.drop(store, suite_id)
            return regression.joined([SuiteReport.from_json(text) for text in found.values()])
        if time.monotonic() > until:
            raise InvalidMove(
                f"{parts - len(found)} of {parts} parts of the suite {suite_id} brought no report within "
                f"{limit_s:g} s: is a worker at hand, and does its pool allow as many runs at once?"
            )
        time.sleep(_LOOK_S)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.replace(",", " ").split())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no number of US dollars; write 1.5, for example") from error


def _whole(text: str, most: int) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= most):
        raise InvalidInput(f"{text!r} parts can't be: write a whole number, 1 to {most}")
    return int(text)


def _publish(key: str, markdown: str) -> None:
    plain = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")
    create_markdown_artifact(key=plain, markdown=clean(markdown))


__all__ = ["DEPLOYMENT", "Part", "gather", "make_cases", "run", "run_part", "run_suite"]
