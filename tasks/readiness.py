"""Readiness: the seven questions of a release, each answered by a check with its evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.policy import Policy
from evaluators.readiness import Answer, Question, Readiness, judged
from lastgood import incidents, points, profile, registry
from lastgood.bundle import KINDS, Bundle
from lastgood.errors import CorruptRow, NotFound
from lastgood.moves import ControlPoint
from lastgood.part import Part
from lastgood.plural import counted
from lastgood.store import readying as sql
from lastgood.store.connection import Store, Transaction
from lastgood.tool import Manifest, Tool, manifest_of
from tasks import drill
from tasks.comparison import terms_of
from tasks.compensating import Handlers

#: newest runs that the checks look at
_RUNS = 1_000


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the checks are made on."""

    point: ControlPoint
    policy: Policy
    baseline: Bundle
    #: None: no candidate is named
    candidate: Bundle | None
    undo: Mapping[str, Any]

    @property
    def key(self) -> dict[str, str]:
        return {"agent": self.point.agent, "environment": self.point.environment}

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        return (self.baseline,) if self.candidate is None else (self.baseline, self.candidate)

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        return tuple(manifest_of(bundle.tools) for bundle in self.bundles)


def check(
    store: Store, agent: str, environment: str, policy: Policy, candidate: Bundle | None = None
) -> Readiness:
    """Answer all seven for an agent, and for the bundle that is to be released; raises `NotFound`."""
    with store.reading() as txn:
        point = points.read(txn, agent, environment)
        baseline = registry.read(txn, point.baseline).bundle
        facts = _Facts(point, policy, baseline, candidate, profile.read(txn, agent).undo)
        answers = [_bundle(txn, facts), _actions(txn, facts), _outputs(txn, facts), _tests(txn, facts)]
    answers += [_back(facts), _thresholds(policy), _undo(facts)]
    return judged(answers, policy.readiness.bounds())


def _bundle(txn: Transaction, facts: _Facts) -> Answer:
    rows = txn.all(sql.NEWEST_BUNDLES, **facts.key, most=_RUNS)
    runs = sum(row["n"] for row in rows)
    if not runs:
        return Answer(Question.BUNDLE, False, "no run is recorded yet", "let the agent run")
    for row in rows:
        try:
            registry.read(txn, row["bundle_id"])
        except (CorruptRow, NotFound) as error:
            found = f"{row['n']} of the newest {counted(runs, 'run')}: {error}"
            return Answer(Question.BUNDLE, False, found, "restore the bundle from a backup")
    newest = "the newest run is" if runs == 1 else f"the newest {runs} runs are"
    found = f"{newest} tied to {counted(len(rows), 'bundle')}, and each body hashes to its id"
    return Answer(Question.BUNDLE, True, found)


def _back(facts: _Facts) -> Answer:
    other = facts.candidate or _variant(facts.baseline)
    found = drill.drill(facts.point.agent, facts.baseline, other, terms_of(facts.policy))
    if found.failed:
        return Answer(Question.BACK, False, f"the drill failed: {found.failed}", "mend what it says")
    said = (
        f"drilled on a shadow control point: {found.before} of {drill.UNITS} units met the candidate, "
        f"{found.after} after one step that took {found.took_ms:.0f} ms"
    )
    return Answer(Question.BACK, found.well, said, "" if found.well else "look why with `lastgood status`")


def _variant(baseline: Bundle) -> Bundle:
    """A bundle that differs, where no candidate is named."""
    parts = {kind: baseline[kind] for kind in KINDS}
    return Bundle(
        [*(parts[kind] for kind in KINDS if kind != "prompt"), Part.of_value("prompt", "drill", "drill")]
    )


def _actions(txn: Transaction, facts: _Facts) -> Answer:
    declared = [manifest.kinds for manifest in facts.manifests]
    problems = [problem for manifest in facts.manifests for problem in manifest.problems]
    seen = {row["kind"] for row in txn.all(sql.NEWEST_KINDS, **facts.key, most=_RUNS)}
    unknown = sorted(seen - frozenset().union(*declared))
    if problems or unknown:
        found = "; ".join([*problems, *([f"made and not declared: {', '.join(unknown)}"] if unknown else [])])
        return Answer(Question.ACTIONS, False, found, "declare each tool with its `kind` in the tools part")
    known = sorted(frozenset().union(*declared))
    new = sorted(declared[-1] - declared[0])
    said = f"declared: {', '.join(known)}" if known else "none is declared and none was made"
    return Answer(Question.ACTIONS, True, said + (f"; new in the candidate: {', '.join(new)}" if new else ""))


def _thresholds(policy: Policy) -> Answer:
    triggers = policy.triggers()
    armed = [f"any {name}" for name in triggers.zero_tolerance]
    armed += [f"{rate.metric} above {rate.limit:g}" for rate in triggers.rates]
    armed += [f"a mean cost above ${triggers.spend.limit_usd:g}"] if triggers.spend else []
    armed += [f"{triggers.repeats.times} same failures of {triggers.repeats.of}"] if triggers.repeats else []
    if not armed:
        way_out = "name events under triggers.zero_tolerance, or rates, in the policy"
        return Answer(Question.THRESHOLDS, False, "the policy has no trigger", way_out)
    return Answer(Question.THRESHOLDS, True, f"reverts at once on {', '.join(armed)}")


def _outputs(txn: Transaction, facts: _Facts) -> Answer:
    keep = facts.policy.records().keep
    row = txn.one(sql.NEWEST_OUTPUTS, **facts.key, most=_RUNS)
    kept = f"{row['kept']} of the newest {row['n']} ended runs kept an output" if row else ""
    if keep == "none":
        way_out = "set records.keep to inline or reference in the policy"
        return Answer(Question.OUTPUTS, False, "the policy keeps no output and no reference to one", way_out)
    return Answer(Question.OUTPUTS, True, f"each run names its bundle, and outputs are kept {keep}; {kept}")


def _undo(facts: _Facts) -> Answer:
    tools = {t.name: t for m in facts.manifests for t in m.tools.values() if t.kind is not None}
    undoing = {t.undo for t in tools.values() if isinstance(t.undo, str)}
    wanted = [tool for name, tool in sorted(tools.items()) if name not in undoing]
    handlers = Handlers(facts.undo)
    missing = [why for tool in wanted if (why := _lacks(tool, handlers))]
    if missing:
        way_out = "declare `undo` in the tools part, and its handler under `undo` in the agent's profile"
        return Answer(Question.UNDO, False, "; ".join(missing), way_out)
    kinds = sorted({str(tool.kind) for tool in wanted})
    said = f"every handler can be called: {', '.join(kinds)}" if kinds else "no external action is declared"
    return Answer(Question.UNDO, True, said)


def _lacks(tool: Tool, handlers: Handlers) -> str:
    """What keeps a tool's actions from being undone, as a recovery finds it; empty where nothing does."""
    declared = {"tool": tool.undo} if isinstance(tool.undo, str) else tool.undo or {}
    handler, _, why = handlers.find({"kind": tool.kind}, declared)
    return "" if handler is not None else f"{tool.kind}: {why}"


def _tests(txn: Transaction, facts: _Facts) -> Answer:
    open_ = incidents.unproven(txn, **facts.key)
    row = txn.one(sql.INCIDENTS_SEEN, **facts.key)
    if open_:
        way_out = "prove a regression case for each, or close it with a reason: `lastgood incident close`"
        names = ", ".join(found.id for found in open_)
        return Answer(Question.TESTS, False, f"open without a case: {names}", way_out)
    n = row["n"] if row else 0
    return Answer(
        Question.TESTS,
        True,
        f"{counted(n, 'incident')}, each with a case or a recorded reason" if n else "no incident",
    )


def line(answer: Answer) -> str:
    """One answer for people."""
    way_out = f" ({answer.way_out})" if answer.way_out else ""
    return f"{answer.evidence}{way_out}"


__all__ = ["check", "line"]
