"""The pytest plugin: regression cases as tests.

    pytest --lastgood-cases DIR --lastgood-bundle bundle.yaml --lastgood-replay my_agent:replay

Inert without `--lastgood-cases`, and until then it imports nothing that `import lastgood` does not. With it,
only the cases are run, unless other tests are named too. Works under pytest-xdist (`-n 4`).
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lastgood.bundle import Bundle
    from lastgood.cases import Case, Tried
    from lastgood.checks import Known
    from lastgood.replaying import Means, Replay

_SUITE = pytest.StashKey["Suite"]()
#: name of the property by which a result travels from a worker to the report
_PROPERTY = "lastgood"
_MANY: dict[str, Any] = {"action": "append", "default": []}
_OPTIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("cases", "DIR", "Run the regression cases of this folder or file.", {}),
    ("bundle", "B", "Run them on this bundle: a bundle.yaml, or a registered one's name or id.", {}),
    (
        "replay",
        "M:F",
        "How the agent is replayed, module:function or URL; default: what each case names.",
        {},
    ),
    ("live", "HOST", "A host that is called for real, such as a model vendor's; may be given again.", _MANY),
    (
        "usd",
        "USD",
        "Ceiling for real model calls in one worker, US dollars.",
        {"type": float, "default": 0.0},
    ),
    ("timeout", "S", "Seconds that one replay may take.", {"type": float, "default": 60.0}),
    ("evaluator", "M:C", "Your own check, a dataclass with why_not(subject); may be given again.", _MANY),
    ("report", "FILE", "Write the results here, as JSON.", {}),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each `--lastgood-*`."""
    group = parser.getgroup("lastgood", "regression cases of lastgood")
    for name, shown, about, more in _OPTIONS:
        group.addoption(f"--lastgood-{name}", metavar=shown, help=about, **more)


def pytest_configure(config: pytest.Config) -> None:
    """Point pytest at the cases, where it is asked for them."""
    folder = config.getoption("--lastgood-cases")
    if folder is None:
        return
    config.stash[_SUITE] = Suite(config)
    report = config.getoption("--lastgood-report")
    if report and not hasattr(config, "workerinput"):  # under xdist it is whoever started the workers
        reporter = Reporter(Path(report), config.getoption("--lastgood-bundle"))
        config.pluginmanager.register(reporter, "lastgood-reporter")
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    config.args = [*(config.args if named else ()), *(() if folder in config.args else (folder,))]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a case file that lies in the folder of the cases."""
    suite = parent.config.stash.get(_SUITE, None)
    if suite is None or file_path.resolve() not in suite.files:
        return None
    return CaseFile.from_parent(parent, path=file_path)


class Reporter:
    """Collects the results, wherever they were run, and writes the report."""

    def __init__(self, path: Path, bundle: str) -> None:
        self._path, self._bundle = path, bundle
        self._results: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a result."""
        told = [value for name, value in report.user_properties if name == _PROPERTY]
        if report.when == "call":
            self._results += [json.loads(str(value)) for value in told]

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        found = {"bundle": self._bundle, "cases": sorted(self._results, key=_by_name)}
        self._path.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", "utf-8")


def _by_name(result: dict[str, Any]) -> str:
    return str(result["name"])


class Suite:
    """What the options name, loaded when the first case needs it."""

    def __init__(self, config: pytest.Config) -> None:
        from lastgood import cases

        option = config.getoption
        folder = Path(option("--lastgood-cases"))
        if not folder.exists():
            raise pytest.UsageError(f"--lastgood-cases {folder}: there is no such folder or file")
        if not option("--lastgood-bundle"):
            raise pytest.UsageError("--lastgood-cases needs --lastgood-bundle: the bundle to run them on")
        self.files = {path.resolve() for path in cases.files_in(folder)}
        if not self.files:
            raise pytest.UsageError(f"--lastgood-cases {folder}: no case file (*.yaml) is there")
        self._option = option
        self._replays: dict[tuple[str, str], Replay] = {}
        self._bundle: Bundle | None = None
        self._means: Means | None = None
        self._known: Known | None = None

    @property
    def known(self) -> "Known":
        """Checks by name, the team's own among them."""
        if self._known is None:
            from lastgood.checks import KNOWN
            from lastgood.replaying import function_of

            own = [function_of(name, "--lastgood-evaluator") for name in self._option("--lastgood-evaluator")]
            self._known = {**KNOWN, **{kind.__name__: kind for kind in own}}
        return self._known

    @property
    def bundle(self) -> "Bundle":
        """The bundle that the cases are run on; raises what `find_bundle` does."""
        if self._bundle is None:
            from lastgood.replaying import find_bundle

            self._bundle = find_bundle(self._option("--lastgood-bundle"))
        return self._bundle

    @property
    def means(self) -> "Means":
        """What the replays may use."""
        if self._means is None:
            from lastgood.rehearsal import Access, Purse
            from lastgood.replaying import Means

            access = Access(live=frozenset(self._option("--lastgood-live")))
            purse = Purse(self._option("--lastgood-usd"))
            self._means = Means(access, purse, self._option("--lastgood-timeout"))
        return self._means

    def replay(self, case: "Case") -> "Replay":
        """How a case's agent is replayed; raises `InvalidInput`."""
        from lastgood.replaying import load

        agent = str(case.told.get("agent") or "agent")
        key = (agent, str(self._option("--lastgood-replay") or case.told.get("replay") or ""))
        if key not in self._replays:
            self._replays[key] = load(*key)
        return self._replays[key]

    def run(self, case: "Case") -> "Tried":
        """Replay a case as often as it takes."""
        from lastgood.cases import attempt

        replay = self.replay(case)
        return attempt(case, lambda: replay.play(self.bundle, case.inputs, case.fixtures, self.means))


class CaseFile(pytest.File):
    """One case file."""

    def collect(self) -> Iterator[pytest.Item]:
        """Read its cases; a file that is none is an error of the collection."""
        from lastgood import cases
        from lastgood.errors import LastgoodError

        suite = self.config.stash[_SUITE]
        try:
            found = cases.read_file(self.path, suite.known)
        except LastgoodError as error:
            raise self.CollectError(str(error)) from error
        for case in found:
            yield CaseItem.from_parent(self, name=case.name, case=case)


class CaseFailed(Exception):
    """A case failed on the bundle."""


class CaseItem(pytest.Item):
    """One case."""

    def __init__(self, *, case: "Case", **given: Any) -> None:
        super().__init__(**given)
        self.case = case

    def runtest(self) -> None:
        """Replay it; fails by what its checks say."""
        from lastgood.cases import Judged, Tried
        from lastgood.errors import LastgoodError

        try:
            tried = self.config.stash[_SUITE].run(self.case)
        except LastgoodError as error:  # no replay, no bundle: the case shows nothing, and that is no pass
            tried = Tried(passed=False, judged=(Judged((str(error),), unanswered=True),))
        self.user_properties.append((_PROPERTY, json.dumps(result(self.case, tried), ensure_ascii=False)))
        if not tried.passed:
            raise CaseFailed("\n".join(self._said(tried)))

    def _said(self, tried: "Tried") -> Iterable[str]:
        told, case = self.case.told, self.case
        passes = sum(one.passed for one in tried.judged)
        bundle = self.config.getoption("--lastgood-bundle")
        yield f"the case {case.name} of {told.get('agent', 'the agent')} fails on {bundle}"
        if case.attempts > 1:
            ran = len(tried.judged)
            yield f"  {passes} of {ran} replays passed, {case.needed} of {case.attempts} have to"
        yield from (f"  {why}" for why in tried.why)
        if told.get("incident"):
            yield f"  it stands for {told['incident']}: {told.get('signature', '')}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """An error of ours is one message, without a traceback through this file."""
        from lastgood.errors import LastgoodError

        if isinstance(excinfo.value, CaseFailed | LastgoodError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it stands."""
        return self.path, None, f"case {self.name}"


def result(case: "Case", tried: "Tried") -> dict[str, Any]:
    """Return what a report says of a case."""
    return {
        "name": case.name,
        "passed": tried.passed,
        "why": list(tried.why),
        "unanswered": tried.unanswered,
        "passes": sum(one.passed for one in tried.judged),
        "replays": len(tried.judged),
        **{key: case.told[key] for key in ("id", "incident", "signature") if key in case.told},
    }
