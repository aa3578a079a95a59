"""The stage machine: where a release stands, what the evidence says, and so what comes next.

A pure function, the same in production, in a backtest and in a property test. `TRANSITIONS` is the whole
machine; docs/states.md draws it, and a test holds the drawing to the table.
"""

from dataclasses import dataclass
from enum import StrEnum

from evaluators.amounts import amount
from evaluators.rules import Gate, Mode, Rules, Undecided
from evaluators.verdict import Decision, GuardrailVerdict, Verdict, Word
from lastgood.release import ReleaseState as State


class Move(StrEnum):
    """What happens to a release next."""

    OPEN = "open"  #: serve the first step's share
    ARM = "arm"  #: the ceilings were seen armed
    COMPARE = "compare"  #: begin to look
    HOLD = "hold"  #: nothing yet; renew the lease
    RAMP = "ramp"  #: the gate opened: serve the next step's share
    PAUSE = "pause"  #: the evidence stayed invalid: share 0
    LAPSE = "lapse"  #: nobody renewed the lease: record what the routers do already
    REOPEN = "reopen"  #: serve the step's share again, at a new epoch
    AWAIT = "await"  #: a person has to approve what comes next; what is served stays
    ASK = "ask"  #: undecided at the horizon: share 0, a person decides
    PROMOTE = "promote"  #: the candidate is the last known good now
    REVERT = "revert"  #: put the last known good back


_LIVE = tuple(state for state in State if state.live)
_SERVING = (State.CANARY, State.CAP, State.COMPARE, State.AWAITING)
#: every edge: (from, move, to)
TRANSITIONS: frozenset[tuple[State, Move, State]] = frozenset(
    {
        (State.OPENED, Move.OPEN, State.CANARY),
        (State.OPENED, Move.HOLD, State.OPENED),
        (State.OPENED, Move.AWAIT, State.AWAITING),
        (State.CANARY, Move.ARM, State.CAP),
        (State.CAP, Move.COMPARE, State.COMPARE),
        (State.COMPARE, Move.HOLD, State.COMPARE),
        (State.COMPARE, Move.RAMP, State.CANARY),
        (State.COMPARE, Move.PAUSE, State.COMPARE),
        (State.COMPARE, Move.REOPEN, State.CANARY),
        (State.COMPARE, Move.AWAIT, State.AWAITING),
        (State.COMPARE, Move.ASK, State.ASKING),
        (State.AWAITING, Move.HOLD, State.AWAITING),
        (State.AWAITING, Move.OPEN, State.CANARY),
        (State.AWAITING, Move.RAMP, State.CANARY),
        (State.AWAITING, Move.PAUSE, State.COMPARE),
        (State.LAPSED, Move.HOLD, State.LAPSED),
        (State.LAPSED, Move.REOPEN, State.CANARY),
        (State.LAPSED, Move.ASK, State.ASKING),
        (State.ASKING, Move.HOLD, State.ASKING),
        *((state, Move.LAPSE, State.LAPSED) for state in _SERVING),
        *((state, Move.PROMOTE, State.PROMOTED) for state in _LIVE),
        *((state, Move.REVERT, State.REVERTED) for state in _LIVE),
    }
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person was asked, and has said."""

    #: microseconds left to decide; 0 or less has expired
    left_us: int
    #: empty while nobody decided; `promote` goes on with what was asked, `revert` ends the release
    decision: str = ""
    #: who decided, and why
    who: str = ""
    reason: str = ""

    @property
    def expired(self) -> bool:
        """Whether nobody decided in time."""
        return not self.decision and self.left_us <= 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a release stands when it is decided what comes next."""

    state: State
    #: index of the step it is on
    step: int
    #: basis points that the control point serves now
    share_bp: int
    #: microseconds since the release started, and since its step began
    age_us: int
    step_age_us: int
    #: candidate runs scored since the step began
    step_runs: int
    #: microseconds left of the lease; 0 or less has lapsed
    lease_left_us: int
    #: microseconds since the evidence became invalid; None while it is valid
    invalid_us: int | None = None
    #: whether the kill switch is on
    killed: bool = False
    #: the newest question to a person; None where none was asked
    asked: Asked | None = None
    #: the freeze window that holds every step forward, in words with its end; empty outside of one
    frozen: str = ""
    #: figures from outside that are bad or not known, in words: they hold every step and the promotion
    held: str = ""
    #: the ceiling that lets no candidate run start, in words with when it frees; empty where there is none
    full: str = ""

    @property
    def at_start(self) -> bool:
        """Whether nothing was served yet."""
        return self.state is State.OPENED or (self.state is State.AWAITING and self.share_bp == 0)


@dataclass(frozen=True, slots=True)
class Transition:
    """What comes next, and why."""

    move: Move
    to: State
    step: int
    #: basis points to serve from here on
    share_bp: int
    #: one sentence for people
    reason: str
    #: `evidence`, `undecided`, `hand` or empty: what a promotion or a revert is by
    by: str = ""
    #: guardrails at fault, worst first
    culprits: tuple[str, ...] = ()
    #: in mode `advise`: the move that the pipeline would have made
    advice: Move | None = None


#: moves that need a look before them
LOOKING = frozenset({State.COMPARE, State.AWAITING, State.LAPSED, State.ASKING})


def next_transition(standing: Standing, verdict: Verdict | None, rules: Rules) -> Transition:
    """Return what comes next; `verdict` is a look completed just now, None where none was needed.

    Absence is never a pass: without a verdict a looking state holds.
    """
    if verdict is not None and verdict.decision is Decision.REVERT and rules.mode is Mode.ACT:
        return _judged(standing, verdict, rules)  # proven harm goes before everything else
    if standing.at_start:
        return _opening(standing, rules)
    if standing.state in _SERVING and standing.share_bp and standing.lease_left_us <= 0:
        reason = "nobody renewed the lease: the baseline has been serving since"
        return Transition(Move.LAPSE, State.LAPSED, standing.step, 0, reason)
    if standing.state is State.CANARY:
        return _stay(Move.ARM, State.CAP, standing, "the ceilings are armed")
    if standing.state is State.CAP:
        return _stay(Move.COMPARE, State.COMPARE, standing, "both arms serve; the comparison begins")
    return _advised(_judged(standing, verdict, rules), standing, rules)


def _opening(standing: Standing, rules: Rules) -> Transition:
    """What comes before the first share: a person's approval, and the end of a freeze."""
    if Gate.START in rules.approve:
        if standing.state is State.OPENED:
            return _stay(Move.AWAIT, State.AWAITING, standing, "a person has to approve the start")
        said = _said(standing)
        if said is not None:
            return said
    if standing.frozen:
        return _hold(standing, f"{standing.frozen}: the release opens after it")
    return _serve(Move.OPEN, 0, rules, f"the release opens{_approved(standing)}")


def _said(standing: Standing) -> Transition | None:
    """What a person's answer comes to by itself; None where it is yes, and so the asked for may come."""
    asked = standing.asked
    if asked is None or asked.expired:
        reason = "nobody decided in time"
        return _end(Move.REVERT, State.REVERTED, standing, reason, "undecided", ())
    if not asked.decision:
        hours = asked.left_us / 3_600_000_000
        return _hold(standing, f"a person decides; undecided it is reverted in {hours:.1f} h")
    if asked.decision != "promote":
        return _end(Move.REVERT, State.REVERTED, standing, f"{asked.who}: {asked.reason}", "hand", ())
    if standing.killed:
        return _hold(standing, "the kill switch is on: no candidate run starts")
    return None


def _approved(standing: Standing) -> str:
    asked = standing.asked
    return f", approved by {asked.who}: {asked.reason}" if asked is not None and asked.decision else ""


def _judged(standing: Standing, verdict: Verdict | None, rules: Rules) -> Transition:
    if standing.state in {State.ASKING, State.AWAITING} and not _harms(verdict):
        return _answered(standing, verdict, rules)
    if verdict is None:  # a look that failed proves nothing, and time goes on
        late = standing.age_us >= rules.horizon_us
        return _undecided(standing, None, rules) if late else _hold(standing, "no completed look")
    if verdict.decision is Decision.REVERT:
        return _end(Move.REVERT, State.REVERTED, standing, _harm(verdict), "evidence", verdict.culprits)
    if _gate_opens(standing, verdict, rules) and _is_last(standing, rules) and not standing.held:
        return _forward(standing, verdict, rules)
    if verdict.candidate_runs >= rules.horizon_runs or standing.age_us >= rules.horizon_us:
        return _undecided(standing, verdict, rules)
    return _going_on(standing, verdict, rules)


def _harms(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.decision is Decision.REVERT


def _answered(standing: Standing, verdict: Verdict | None, rules: Rules) -> Transition:
    """A release that waits for a person: looks go on, and harm, an expiry or the answer ends the waiting."""
    said = _said(standing)
    if said is not None and said.move is Move.REVERT:
        return said
    if verdict is None:
        return _hold(standing, "no completed look")
    if standing.state is State.AWAITING and not verdict.valid:
        return _invalid(standing, verdict, rules)
    if said is None and standing.frozen:
        said = _hold(standing, f"approved; {standing.frozen}: it goes on after it")
    if said is None and standing.held:
        said = _kept_back(standing, rules)
    if said is not None:
        return said
    if standing.state is State.ASKING:
        reason = f"undecided by evidence{_approved(standing)}"
        return _end(Move.PROMOTE, State.PROMOTED, standing, reason, "hand", ())
    return _stepped(standing, verdict, rules)


def _kept_back(standing: Standing, rules: Rules) -> Transition:
    """What an approved step comes to while figures from outside are bad or not known: the horizon ends it."""
    if standing.state is State.AWAITING and standing.age_us >= rules.horizon_us:
        reason = f"undecided at the horizon: {standing.held}"
        return _end(Move.REVERT, State.REVERTED, standing, reason, "undecided", ())
    return _hold(standing, f"approved; {standing.held}: it goes on after that")


def _forward(standing: Standing, verdict: Verdict, rules: Rules) -> Transition:
    """The gate is open: the step or the promotion, after a person's approval and outside of a freeze."""
    gate = Gate.PROMOTE if _is_last(standing, rules) else Gate.STEP
    if gate in rules.approve:
        ahead = _stepped(standing, verdict, rules).reason
        return _stay(
            Move.AWAIT, State.AWAITING, standing, f"a person has to approve what comes next: {ahead}"
        )
    if standing.frozen:
        return _hold(standing, f"the gate is open; {standing.frozen}: it goes on after it")
    if standing.held:
        return _hold(standing, f"the gate is open; {standing.held}: it goes on after that")
    return _stepped(standing, verdict, rules)


def _stepped(standing: Standing, verdict: Verdict, rules: Rules) -> Transition:
    if _is_last(standing, rules):
        runs = verdict.candidate_runs
        reason = (
            f"every guardrail is proven within its margin after {runs} candidate runs{_approved(standing)}"
        )
        return _end(Move.PROMOTE, State.PROMOTED, standing, reason, "evidence", ())
    rule_out = rules.steps[standing.step].rule_out
    reason = f"harm of {rule_out:g} times the odds is ruled out{_approved(standing)}"
    return _serve(Move.RAMP, standing.step + 1, rules, reason)


def _is_last(standing: Standing, rules: Rules) -> bool:
    return standing.step == len(rules.steps) - 1


def _invalid(standing: Standing, verdict: Verdict, rules: Rules) -> Transition:
    long = (standing.invalid_us or 0) >= rules.invalid_after_us
    if long and standing.state in {State.COMPARE, State.AWAITING} and standing.share_bp:
        reason = f"the evidence stayed invalid: {verdict.invalid_reason}"
        return Transition(Move.PAUSE, State.COMPARE, standing.step, 0, reason)
    return _hold(standing, f"the evidence is invalid: {verdict.invalid_reason}")


def _going_on(standing: Standing, verdict: Verdict, rules: Rules) -> Transition:
    if standing.killed:
        return _hold(standing, "the kill switch is on: no candidate run starts")
    if not verdict.valid:
        return _invalid(standing, verdict, rules)
    if standing.state is State.LAPSED or standing.share_bp == 0:
        if standing.frozen:
            return _hold(standing, f"{standing.frozen}: the canary reopens after it")
        return _serve(Move.REOPEN, standing.step, rules, "a valid look reopens the canary")
    if _gate_opens(standing, verdict, rules):
        return _forward(standing, verdict, rules)
    return _hold(standing, _waiting(standing, rules))


def _gate_opens(standing: Standing, verdict: Verdict, rules: Rules) -> bool:
    """Whether the step may end: enough runs and time at a served share, and the evidence for its gate."""
    step = rules.steps[standing.step]
    enough = standing.step_runs >= step.min_runs and standing.step_age_us >= step.min_time_us
    served = standing.state is State.COMPARE and standing.share_bp > 0 and not standing.killed
    proven = verdict.gates[standing.step] or verdict.decision is Decision.PROMOTE
    return served and verdict.valid and enough and proven


def _waiting(standing: Standing, rules: Rules) -> str:
    return "; ".join(words for words in (_lacking(standing, rules), standing.full) if words)


def _lacking(standing: Standing, rules: Rules) -> str:
    step = rules.steps[standing.step]
    if standing.step_runs < step.min_runs:
        return f"{standing.step_runs} of at least {step.min_runs} candidate runs of this step are scored"
    if standing.step_age_us < step.min_time_us:
        minutes = (step.min_time_us - standing.step_age_us) / 60_000_000
        return f"this step lasts another {minutes:.0f} min at least"
    return "no harm proven, the gate's margin neither"


def _undecided(standing: Standing, verdict: Verdict | None, rules: Rules) -> Transition:
    days, runs = standing.age_us / 86_400_000_000, 0 if verdict is None else verdict.candidate_runs
    reason = f"undecided at the horizon, after {runs} candidate runs and {days:.1f} days{_so_far(verdict)}"
    if rules.on_undecided is Undecided.ASK:
        return _end(Move.ASK, State.ASKING, standing, reason, "undecided", ())
    return _end(Move.REVERT, State.REVERTED, standing, reason, "undecided", ())


def _so_far(verdict: Verdict | None) -> str:
    """What a person could vouch on: how much worse the undecided guardrails can be at most."""
    found = () if verdict is None else verdict.guardrails
    parts = [
        f"{g.name} {amount(g.proven, g.unit, signed=True)}"
        for g in found
        if g.word is Word.UNDECIDED and g.proven is not None
    ]
    return f"; proven so far, at most this much worse: {', '.join(parts)}" if parts else ""


def _harm(verdict: Verdict) -> str:
    said = {g.name: g for g in verdict.guardrails}
    parts = [f"{name} is worse{_where(said[name])} ({_compared(said[name])})" for name in verdict.culprits]
    return "; ".join(parts) or "the guardrails together prove harm"


def _where(found: GuardrailVerdict) -> str:
    """The slices that harm is proven in where it is in them alone."""
    return f" in slice {', '.join(found.harmed)} alone" if found.harmed_alone else ""


def _compared(found: GuardrailVerdict) -> str:
    """Both arms' figures in the guardrail's unit."""
    if found.unit == "points":
        return f"{found.y_c} bad of {found.n_c} candidate runs, {found.y_b} of {found.n_b} baseline runs"
    ours, theirs = amount(found.candidate_rate, found.unit), amount(found.baseline_rate, found.unit)
    return f"{ours} over {found.n_c} candidate runs, {theirs} over {found.n_b} baseline runs"


def _advised(transition: Transition, standing: Standing, rules: Rules) -> Transition:
    """In mode `advise` a move by evidence becomes a hold that says what it would have been."""
    keeps = {Move.HOLD, Move.REOPEN}
    if rules.mode is Mode.ACT or transition.move in keeps:
        return transition
    reason = f"advice: {transition.move} ({transition.reason})"
    held = _hold(standing, reason)
    return Transition(
        held.move,
        held.to,
        held.step,
        held.share_bp,
        reason,
        culprits=transition.culprits,
        advice=transition.move,
    )


def _serve(move: Move, step: int, rules: Rules, reason: str) -> Transition:
    return Transition(move, State.CANARY, step, rules.steps[step].share_bp, reason)


def _stay(move: Move, to: State, standing: Standing, reason: str) -> Transition:
    return Transition(move, to, standing.step, standing.share_bp, reason)


def _hold(standing: Standing, reason: str) -> Transition:
    return _stay(Move.HOLD, standing.state, standing, reason)


def _end(
    move: Move, to: State, standing: Standing, reason: str, by: str, culprits: tuple[str, ...]
) -> Transition:
    return Transition(move, to, standing.step, 0, reason, by, culprits)
