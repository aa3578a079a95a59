"""The flows of regression cases: cases of an incident, and the suite, spread where one worker is too few.

Each part of a spread suite is a flow run of its own, on whatever worker takes it, and leaves its report in
our table; who started the suite reads them there, so that a part that died is missed and is no pass.
"""

import re
import time
from collections.abc import Callable, Sequence

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from lastgood import agent, suite_parts
from lastgood.errors import InvalidInput, InvalidMove
from lastgood.ids import new_id
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
    head = f"{incident}: {admitted} of {len(made)} cases are proven"
    _publish(
        f"cases-{incident}", f"# Regression cases of {incident}\n\n{head}.\n\n" + "\n".join(lines) + "\n"
    )
    return head


def run_suite(agent_name: str, bundle: str, environment: str, folder: str, spread: str) -> str:
    """Run an agent's cases on a bundle, in as many parts as `spread` says; raises where one fails."""
    parts = _whole(spread, MOST)
    store, reference = agent.store(), choices.reference(bundle)
    if parts == 1:
        report = regression.run(store, agent_name, environment, reference, Options(folder))
    else:
        report = _spread(store, agent_name, environment, reference, folder, parts)
    _publish(f"regression-{agent_name}-{environment}", report.markdown)
    regression.refuse_failing(report, required=False)
    return report.headline


def run_part(agent_name: str, bundle: str, environment: str, folder: str, part: str) -> str:
    """Run one part of a suite, `suite_id 2/4`, and leave its report in our table."""
    suite_id, number, of = _part(part)
    store = agent.store()
    reference = choices.reference(bundle)
    report = regression.run(store, agent_name, environment, reference, Options(folder, shard=(number, of)))
    suite_parts.put(store, suite_id, number, report.to_json())
    return report.headline


def _part(text: str) -> tuple[str, int, int]:
    found = re.fullmatch(r"(\S+) ([0-9]+)/([0-9]+)", text)
    if found is None or not 1 <= int(found[2]) <= int(found[3]) <= MOST:
        raise InvalidInput(f"{text!r} is no part of a suite; write SUITE 2/4")
    return found[1], int(found[2]), int(found[3])


def _spread(
    store: Store, agent_name: str, environment: str, bundle: str, folder: str, parts: int
) -> SuiteReport:
    suite_id = new_id("sui_", store.clock.now_us())
    started = []
    for number in range(1, parts + 1):
        given = {
            "agent": agent_name, "bundle": choices.label(store, bundle), "environment": environment,
            "folder": folder, "part": f"{suite_id} {number}/{parts}",
        }  # fmt: skip
        run = run_deployment(DEPLOYMENT, parameters=given, timeout=0)
        assert isinstance(run, FlowRun)  # noqa: S101  no event loop runs here, so it is no coroutine
        started.append(run.id)
    limit = Options(folder).time_s
    return gather(store, suite_id, parts, lambda: _ended(started), limit_s=limit)


def _ended(ids: Sequence[object]) -> set[int]:
    """The numbers of the parts whose flow runs have ended, however."""
    with get_client(sync_client=True) as client:
        states = [client.read_flow_run(each).state for each in ids]  # type: ignore[arg-type]
    return {place for place, state in enumerate(states, 1) if state is not None and state.is_final()}


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
                f"{limit_s:g} s: is a worker at hand?"
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


__all__ = ["DEPLOYMENT", "gather", "make_cases", "run_part", "run_suite"]
