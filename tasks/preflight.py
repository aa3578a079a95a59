"""Preflight: everything that can refuse a release before anything is served differently."""

import json
from dataclasses import dataclass

import pandas as pd

from config.policy import Policy
from evaluators import History, absence, planning
from evaluators.blocks import stratum_of
from evaluators.readiness import ASKED, Readiness
from evaluators.rules import Gate, Kind
from lastgood import approving, incidents, points, registry, releasing, standing
from lastgood.bundle import Bundle
from lastgood.errors import InvalidMove, InvalidPolicy, NotFound, Refused
from lastgood.moves import ControlPoint
from lastgood.plural import counted
from lastgood.redaction import clean
from lastgood.release import RISKS
from lastgood.releasing import Start
from lastgood.retention import HISTORY_RUNS  # the newest baseline runs that a history is counted from
from lastgood.store import statements as sql
from lastgood.store.connection import Store, Transaction
from tasks import frames, outside, readiness, regression
from tasks.comparison import terms_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks to release; references as people write them."""

    agent: str
    candidate: str
    policy: str = "default"
    environment: str = "production"
    actor: str = ""
    approver: str = ""
    note: str = ""


def find_policy(txn: Transaction, reference: str) -> Policy:
    """Return a policy by the name or digest of a stored one, else by the name of a built-in one."""
    row = txn.one(sql.POLICY_BY_NAME, name=reference) or txn.one(sql.POLICY, digest=reference)
    if row is not None:
        return Policy.from_json(row["body"], digest=row["digest"])
    try:
        return Policy.builtin(reference)
    except InvalidPolicy as error:
        msg = f"no policy {reference!r} is stored or built in; `lastgood policy list` shows them"
        raise NotFound(msg) from error


def check(store: Store, wanted: Wanted, suite: regression.Suite = regression.run) -> Start:
    """Return the release that would start, frozen; raises the first thing that refuses it.

    `suite` runs the regression cases.

    `NotFound` (agent, bundle, policy), `LiveRelease`, `Quarantined`, `InvalidMove` (the candidate is the
    baseline; no recent run would be eligible; a regression case fails), `InvalidPolicy` (it can never
    decide), `InvalidInput` (the cases can't be run), `CorruptRow`, `Refused` (too few of the seven questions
    are answered with yes).
    """
    with store.reading() as txn:
        point = points.read(txn, wanted.agent, wanted.environment)
        registry.read(txn, point.baseline)
        candidate = registry.read(txn, registry.resolve(txn, wanted.candidate)).bundle
        policy = find_policy(txn, wanted.policy)
        releasing.refuse_second(txn, wanted.agent, wanted.environment)
        if candidate.id == point.baseline:
            msg = f"{candidate.short} is the baseline of {point.name} already: there is nothing to release"
            raise InvalidMove(msg)
        standing.refuse_cooling(txn, wanted.agent, wanted.environment)
        standing.refuse_quarantined(txn, wanted.agent, wanted.environment, candidate.id)
        _refuse_approver(txn, candidate.id, policy, wanted)
        _refuse_open_incidents(txn, point, policy)
        _refuse_ineligible(txn, point, policy)
        history = read_history(txn, point, policy)
    ready = readiness.check(store, wanted.agent, wanted.environment, policy, candidate)
    if ready.share_bp == 0:
        raise Refused(_unready(point, policy, ready))
    rules = absence.judged(policy.rules(), history, policy.refereed).rules.bounded(ready.share_bp)
    # by runs alone: the traffic of a day may be a burst or a holiday; `lastgood plan` looks at time too
    problems = planning.can_decide(rules, history)
    if problems:
        raise InvalidPolicy(_undecidable(point, policy, history, problems))
    names = {"agent": wanted.agent, "environment": wanted.environment, "baseline": point.baseline}
    outside.refuse_unknown(policy, names, store.clock.now_us())
    _refuse_regressions(store, wanted, candidate, policy, suite)
    return Start(
        agent=wanted.agent,
        environment=wanted.environment,
        candidate=candidate.id,
        policy_name=policy.name,
        policy_digest=policy.digest,
        policy=policy.to_json(),
        history=json.dumps(history.to_json(), sort_keys=True),
        terms=terms_of(policy),
        actor=wanted.actor,
        approver=clean(wanted.approver),
        note=clean(wanted.note),
        readiness=json.dumps(ready.to_json(), sort_keys=True),
    )


def _refuse_approver(txn: Transaction, candidate: str, policy: Policy, wanted: Wanted) -> None:
    """An approver who may not approve is named before the release starts, and not hours later."""
    if not (wanted.approver and policy.approval.not_author and Gate.START in policy.approval.before):
        return
    author = registry.read(txn, candidate).author or ""
    if approving.same_person(wanted.approver, author) or approving.same_person(wanted.approver, wanted.actor):
        msg = (
            f"{wanted.approver} wrote b-{candidate[:8]} or starts its release: the policy {policy.name} "
            "wants somebody else to approve it; name them, or leave the approver out and they are asked"
        )
        raise Refused(msg)


def _refuse_open_incidents(txn: Transaction, point: ControlPoint, policy: Policy) -> None:
    """What failed before and is held by no case would fail again unseen."""
    if policy.preflight.open_incidents == "allow":
        return
    found = incidents.unproven(txn, point.agent, point.environment)
    if found:
        first = found[0]
        others = len(found) - 1
        have = "has" if others == 1 else "have"
        more = f", nor {have} {counted(others, 'newer one')}" if others else ""
        msg = (
            f"no release of {point.name} can start: the open incident {first.id} ({first.reason}) has no "
            f"regression case{more}. `lastgood cases make {first.id}` makes them, `lastgood "
            f"incident close {first.id} --reason ...` says why none can stand for it, and "
            "`preflight: {open_incidents: allow}` in the policy lets the release start all the same"
        )
        raise InvalidMove(msg)


def _refuse_regressions(
    store: Store, wanted: Wanted, candidate: Bundle, policy: Policy, suite: regression.Suite
) -> None:
    """Replay the regression cases on the candidate: one that fails is refused before anything is served."""
    spec = policy.preflight.cases
    options = regression.Options(
        spec.folder, spec.required, spec.live, spec.usd, spec.workers, spec.timeout / 1_000_000,
        spec.time / 1_000_000, spread=spec.spread,
    )  # fmt: skip
    report = suite(store, wanted.agent, wanted.environment, candidate.id, options)
    regression.refuse_failing(report, required=spec.required)


def _unready(point: ControlPoint, policy: Policy, ready: Readiness) -> str:
    """What is missing, one line a question."""
    lines = [f"the policy {policy.name} refuses a release of {point.name}: {ready.said}"]
    lines += [f"- {ASKED[a.question]} no: {readiness.line(a)}" for a in ready.answers if not a.yes]
    return "\n".join(lines)


def _undecidable(point: ControlPoint, policy: Policy, history: History, problems: list[str]) -> str:
    """One line a guardrail, and the cause that they share where there is one."""
    lines = [f"the policy {policy.name} can never decide a release of {point.name}:"]
    if not history.overall:
        matures = max(policy.rules().classes) / 60_000_000
        lines.append(
            f"- no run of the baseline is matured yet (this policy scores a run after {matures:g} min)"
        )
    lines += [f"- {problem}" for problem in problems]
    lines.append("With `on_undecided: ask` harm is tested all the same and a person may promote as vouched.")
    lines.append(
        f"`lastgood plan {policy.name} --history {point.agent}` says what would do; --write FILE writes it."
    )
    lines.append("Another policy is named with --policy; `lastgood policy list` shows them.")
    return "\n".join(lines)


def _refuse_ineligible(txn: Transaction, point: ControlPoint, policy: Policy) -> None:
    spec = policy.preflight
    since = txn.now_us - spec.recent
    rows = txn.all(sql.RECENT_RISKS, agent=point.agent, environment=point.environment, since=since)
    seen = {row["risk"]: int(row["n"]) for row in rows}
    eligible = sum(n for risk, n in seen.items() if risk in policy.eligible_risks)
    if eligible >= spec.min_eligible_runs:
        return
    hours = spec.recent / 3_600_000_000
    if not seen:
        found = "there was none"
    else:
        found = ", ".join(f"{seen[risk]} of risk {risk}" for risk in RISKS if risk in seen)
    msg = (
        f"no release of {point.name} can start: its policy sends runs of risk "
        f"{', '.join(policy.eligible_risks)} to a candidate and wants at least {spec.min_eligible_runs} of "
        f"them in the last {hours:g} h; {found}. "
        "Let the agent run, or change eligible_risks in the policy"
    )
    raise InvalidMove(msg)


def read_history(txn: Transaction, point: ControlPoint, policy: Policy) -> History:
    """Count the baseline's own matured, eligible runs: what margins and predictions are frozen from."""
    runs = baseline_runs(txn, point, policy)
    return History() if runs.empty else History(runs)


def baseline_runs(txn: Transaction, point: ControlPoint, policy: Policy) -> pd.DataFrame:
    """The newest of them, one a row, in the columns that the policy's guardrails read; may be empty."""
    rules = policy.rules()
    maturity = max(rules.classes)
    rows = txn.all(
        sql.BASELINE_RUNS,
        bundle_id=point.baseline,
        agent=point.agent,
        environment=point.environment,
        before=txn.now_us - maturity,
        most=HISTORY_RUNS,
    )
    key = {"bundle_id": point.baseline, "agent": point.agent, "environment": point.environment}
    late = txn.all(sql.LATE_OF_BUNDLE, **key)
    eligible = [row for row in reversed(rows) if row["risk"] in policy.eligible_risks]
    runs = frames.frame(
        eligible, late, rules.guardrails, lost_after_us=policy.lost_after, maturity_us=maturity,
        infra_watched=frames.infra_watched(rules),
    )  # fmt: skip
    if runs.empty:
        return runs
    runs["stratum"] = [stratum_of(rules, task_type) for task_type in runs["task_type"]]
    return pd.DataFrame(runs[[name for name in runs.columns if name in _columns(policy)]])


def _columns(policy: Policy) -> set[str]:
    """What a history is counted from. A referee's column is left out: its marks begin with the release."""
    guardrails = policy.rules().guardrails
    own = {g.column for g in guardrails} | {g.per for g in guardrails if g.kind is Kind.RATIO}
    return {"unit", "stratum", "lost", "infra_failure"} | (own - policy.refereed)
