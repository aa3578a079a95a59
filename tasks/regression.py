"""The regression suite: the cases of an agent, run by pytest on one bundle; what preflight asks.

It runs in a process of its own, so that an agent that hangs or leaks harms nobody here, through the plugin
that teams use too (`lastgood.pytest_plugin`): one engine.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood import case_store, cases, profile, registry
from lastgood.bundle import BundleRecord
from lastgood.case_store import State
from lastgood.cases import Case
from lastgood.errors import InvalidInput, InvalidMove
from lastgood.plural import counted
from lastgood.store.connection import Store

#: pytest's codes for "all passed" and "some failed"; any other is no verdict
_VERDICTS = (0, 1)
#: cases that a message names
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Options:
    """What the suite runs, and what its replays may use."""

    #: case files beside the store's; empty: none
    folder: str = ""
    #: whether an agent without any case is refused
    required: bool = False
    live: tuple[str, ...] = ()
    #: US dollars for real model calls, all workers together
    usd: float = 1.0
    workers: int = 1
    #: seconds of one replay, and of the whole suite
    timeout_s: float = 60.0
    time_s: float = 1_800.0
    #: how the agent is replayed; empty: its profile's, else what each case names
    replay: str = ""
    #: which part of the cases: (2, 4) is every fourth, beginning with the second
    shard: tuple[int, int] = (1, 1)
    #: flow runs over which Prefect's workers share it, where Prefect asks
    spread: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What one case showed."""

    name: str
    passed: bool
    #: why it failed
    why: tuple[str, ...] = ()
    passes: int = 0
    replays: int = 0
    incident: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """What a suite showed of a bundle."""

    agent: str
    #: how the bundle was named
    bundle: str
    results: tuple[Result, ...] = field(default=())

    @property
    def failing(self) -> tuple[Result, ...]:
        """Cases that failed."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failing

    @property
    def headline(self) -> str:
        """One line."""
        total = len(self.results)
        if not total:
            return f"{self.agent}: there is no regression case"
        passed = f"{total - len(self.failing)} of {counted(total, 'regression case')}"
        return f"{self.bundle} of {self.agent} passes {passed}"

    @property
    def markdown(self) -> str:
        """The report as an artifact shows it."""
        rows = "\n".join(
            f"| {_cell(one.name)} | {'passes' if one.passed else 'FAILS'} | {one.passes} of {one.replays} | "
            f"{_cell(one.incident or '-')} | {_cell('; '.join(one.why) or '-')} |"
            for one in self.results
        )
        head = "| case | verdict | replays passed | stands for | why |\n|---|---|---|---|---|"
        return f"# Regression cases\n\n{self.headline}.\n\n{head}\n{rows}\n"

    def to_json(self) -> str:
        """Return it as JSON text."""
        results = [{**_fields(one), "why": list(one.why)} for one in self.results]
        return json.dumps({"agent": self.agent, "bundle": self.bundle, "results": results}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "SuiteReport":
        """Read what `to_json` wrote."""
        told = json.loads(text)
        results = tuple(Result(**{**one, "why": tuple(one["why"])}) for one in told["results"])
        return cls(told["agent"], told["bundle"], results)


#: what runs a suite: store, agent, environment, bundle and options in, its report out
Suite = Callable[[Store, str, str, str, Options], SuiteReport]


def _fields(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) for name in Result.__slots__}


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def gather(store: Store, agent: str, environment: str, options: Options) -> list[Case]:
    """Return the cases that count for an agent: the proven ones of the store, then those of the folder.

    A case of the folder that the store has by the same name is the same case: the file counts. Raises
    `InvalidInput`, which names the file and line, and `NotFound` for a folder without cases.
    """
    with store.reading() as txn:
        stored = case_store.listed(txn, agent=agent, environment=environment, state=State.ADMITTED)
    own = cases.read_folder(Path(options.folder)) if options.folder else []
    names = {case.name for case in own}
    found = own + [each.case for each in stored if each.runs and each.case.name not in names]
    number, of = options.shard
    return sorted(found, key=lambda case: case.name)[number - 1 :: of]


def run(store: Store, agent: str, environment: str, bundle: str, options: Options) -> SuiteReport:
    """Run an agent's cases on a registered bundle.

    Raises `NotFound` for a bundle that is not registered, and `InvalidInput` where pytest could not run.
    """
    found = gather(store, agent, environment, options)
    with store.reading() as txn:
        record = registry.read(txn, registry.resolve(txn, bundle))
        declared = profile.read(txn, agent).replay
    if not found:
        return SuiteReport(agent, record.name)
    replay = options.replay or declared
    unnamed = [case.name for case in found if not (replay or case.told.get("replay"))]
    if unnamed:
        raise InvalidInput(
            f"the agent {agent} declares no replay, and the case {unnamed[0]} names none: write `replay: "
            "package.module:function` into the agent's profile (`lastgood agent set FILE`)"
        )
    return SuiteReport(agent, record.name, _pytest(store, record, found, replay, options))


def _pytest(
    store: Store, record: BundleRecord, found: Sequence[Case], replay: str, options: Options
) -> tuple[Result, ...]:
    with tempfile.TemporaryDirectory(prefix="lastgood-cases-") as name:
        folder = Path(name)
        (folder / "cases").mkdir()
        for place, case in enumerate(found):
            (folder / "cases" / f"{place:05d}.yaml").write_text(cases.write([case], case.name), "utf-8")
        (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")  # none of the settings that are about here
        report = folder / "report.json"
        _started(store, _command(folder, report, record, replay, options), options, record)
        told = json.loads(report.read_text("utf-8"))["cases"]
    results = tuple(_result(one) for one in told)
    missing = {case.name for case in found} - {one.name for one in results}
    if missing:
        raise InvalidInput(
            f"{counted(len(missing), 'case')} brought no result on {record.name}: {_some(sorted(missing))}"
        )
    return results


def _command(folder: Path, report: Path, record: BundleRecord, replay: str, options: Options) -> list[str]:
    usd = options.usd / options.workers
    command = [
        sys.executable, "-m", "pytest", str(folder / "cases"), "-q",
        "-c", str(folder / "pytest.ini"), "--rootdir", str(folder),
        "--noconftest",  # nor code: a conftest.py that is about here may change the environment
        "-p", "no:cacheprovider", "-p", "lastgood.pytest_plugin", "--lastgood-cases", str(folder / "cases"),
        "--lastgood-bundle", record.bundle.id, "--lastgood-report", str(report),
        "--lastgood-timeout", str(options.timeout_s), "--lastgood-usd", str(usd),
    ]  # fmt: skip
    command += ["--lastgood-replay", replay] if replay else []
    for host in options.live:
        command += ["--lastgood-live", host]
    if options.workers > 1:
        if importlib.util.find_spec("xdist") is None:
            raise InvalidInput("cases.workers above 1 needs pytest-xdist: install it, or set workers to 1")
        command += ["-p", "xdist.plugin", "-n", str(options.workers)]
    return command


def _started(store: Store, command: list[str], options: Options, record: BundleRecord) -> None:
    """Run pytest to its end; raises `InvalidInput` where it gives no verdict."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        "LASTGOOD_DATABASE": store.url,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those named on the command line do
    }
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=options.time_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidMove(
            f"the regression cases did not end on {record.name} within {options.time_s:g} s, so they prove "
            "nothing: see whether a replay hangs (preflight.cases.timeout), or allow more time "
            "(preflight.cases.time)"
        ) from error
    if done.returncode not in _VERDICTS:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise InvalidInput(f"the regression cases could not be run on {record.name}:\n{tail}")


def _result(told: dict[str, Any]) -> Result:
    return Result(
        told["name"], told["passed"], tuple(told["why"]), told["passes"], told["replays"],
        told.get("incident", ""), told.get("signature", ""),
    )  # fmt: skip


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def joined(parts: Sequence[SuiteReport]) -> SuiteReport:
    """Return the parts of a suite as one report."""
    results = sorted((one for part in parts for one in part.results), key=lambda one: one.name)
    return SuiteReport(parts[0].agent, parts[0].bundle, tuple(results))


def refuse_failing(report: SuiteReport, *, required: bool) -> None:
    """Raise `InvalidMove` where a case fails, or none is there and one is required."""
    if required and not report.results:
        raise InvalidMove(
            f"no release of {report.agent} can start: its policy requires regression cases and there is "
            "none; `lastgood cases make` turns failing runs into cases, `preflight.cases.folder` names a "
            "folder of them"
        )
    if report.passed:
        return
    lines = [f"{report.bundle} is refused before any canary: {report.headline}"]
    for one in report.failing[:_NAMED]:
        stands = f" (stands for {one.incident})" if one.incident else ""
        lines.append(f"- {one.name}{stands}: {one.why[0] if one.why else 'failed'}")
    if len(report.failing) > _NAMED:
        lines.append(f"- and {len(report.failing) - _NAMED} more")
    lines.append("Repair the bundle; `lastgood cases show CASE` tells what is replayed and checked.")
    raise InvalidMove("\n".join(lines))


__all__ = ["Options", "Result", "Suite", "SuiteReport", "gather", "joined", "refuse_failing", "run"]
