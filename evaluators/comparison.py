"""The comparison of a candidate with its baseline: the plug point of the statistics.

    comparison = Comparison(rules, History(recorded_baseline_runs))
    comparison.observe(runs)          # runs as a frame; or, from a store:
    comparison.observe_blocks(blocks)
    comparison.verdict().decision

Evidence is additive: a look costs its new blocks. A comparison ends at its first revert; what comes
later is not judged, so that a verdict does not depend on how the evidence was cut into calls.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from evaluators import decision, scoring
from evaluators.assembly import Layout, count, lay_out
from evaluators.assignment_health import Assigned
from evaluators.blocks import ALL, OTHER, BlockCounts, BlockTable, check_strata
from evaluators.decision import Looks, judge
from evaluators.guardrail_state import GuardrailState, Trace
from evaluators.history import History
from evaluators.mixture import BoolArray, FloatArray
from evaluators.path import ASSIGNED, aligned, looks_of, path_rows
from evaluators.rules import Guardrail, Rules
from evaluators.terms import terms
from evaluators.verdict import Decision, Verdict
from evaluators.wording import describe
from lastgood.errors import InvalidEvidence, InvalidPolicy


class Comparison:
    """Watches one release; see the module's example.

    Raises InvalidPolicy where the rules can't be used, InvalidEvidence on numbers that can't be (nothing
    of that call is then counted).
    """

    def __init__(self, rules: Rules, history: History) -> None:
        """Freeze the terms of every guardrail."""
        check_rules(rules)
        self.rules = rules
        self.history = history
        self._states = {g.name: GuardrailState(terms(g, rules, history)) for g in rules.guardrails}
        self._assigned = Assigned()
        self._units: set[str] = set()
        self._reporting: set[str] = set()
        self._culprits: tuple[str, ...] = ()
        self._paths: list[pd.DataFrame] = []

    @property
    def ended(self) -> bool:
        """Whether a closed block proved harm; later evidence is not judged."""
        return bool(self._culprits)

    def copy(self) -> "Comparison":
        """An independent comparison with the same evidence; cheap."""
        twin = Comparison.__new__(Comparison)
        own = {
            "_states": dict(self._states),
            "_units": set(self._units),
            "_reporting": set(self._reporting),
            "_paths": list(self._paths),
        }
        twin.__dict__.update({**self.__dict__, **own})
        return twin

    def observe(self, runs: pd.DataFrame) -> None:
        """Add matured, assigned, eligible runs in assignment order, one a row.

        Columns: `arm` (baseline, candidate), `share` (0..1, when assigned), optionally `unit`, `stratum`,
        `lost`, `infra_failure` and each guardrail's own. A column that is absent, or empty so far, is no
        data. Adds one row a closed block to the path.
        """
        if self.ended or len(runs) == 0:
            return
        candidate, share_bp = scoring.read_arm(runs), scoring.read_share(runs)
        first, units = scoring.first_runs(runs, self._units)
        runs, candidate, share_bp = runs.loc[first], candidate[first], share_bp[first]
        reporting = self._reporting_now(runs)
        if len(runs) == 0:
            return
        size, held = self.rules.block_size, self._assigned
        layout = lay_out(self._strata_of(runs), share_bp, size, held.last, held.open)
        tables = self._tables(runs, layout, candidate, reporting)
        everyone = np.ones(len(runs), dtype=np.bool_)
        assigned = count(layout, candidate, everyone, ~everyone, held.open)
        self._absorb(tables, assigned)
        self._units.update(units)
        self._reporting = reporting

    def observe_blocks(self, blocks: Mapping[str, Sequence[BlockCounts]]) -> None:
        """Add blocks by guardrail name, in the order in which they closed: one look.

        Closed blocks must be new; an open one replaces the stratum's previous open one. Under the key
        ASSIGNED stand the blocks as assigned (every run, y = 0), which the mismatch check needs; without
        it the blocks of `infra`, else of the first guardrail given, stand in. Guardrails of one maturity
        see the same blocks; one that is left out has no data. Adds one row to the path.
        """
        if self.ended:
            return
        tables = {name: BlockTable.of(given) for name, given in blocks.items() if len(given)}
        for name, table in tables.items():
            if name != ASSIGNED and name not in self._states:
                known = ", ".join(self._states)
                raise InvalidEvidence(f"guardrail {name!r} is not in the policy; it has {known}")
            check_strata(self.rules, name, table)
        assigned = tables.pop(ASSIGNED, None) or tables.get(decision.INFRA) or self._first(tables)
        if assigned is None:
            return
        self._assigned.add(assigned)  # refuses what is out of order before anything is counted
        groups = [
            aligned([m.name for m in members], tables, self._states)
            for members in self.rules.classes.values()
        ]
        results = [self._pass(group) for group in groups if group]
        for traces, culprits in results:
            self._states.update({name: trace.after for name, trace in traces.items()})
            self._culprits = self._culprits or culprits
            if culprits:
                assigned = _until(assigned, next(iter(traces.values())).last)
        self._assigned = self._assigned.add(assigned)
        runs = np.array([self._assigned.runs])
        self._paths.append(path_rows(self.rules, self._looks_now(), runs, ended=self.ended))

    def path(self) -> pd.DataFrame:
        """One row a look: assigned, candidate, family, harm:<g>, promote:<g> (natural logs), decision.

        Also gate:<i> by step: whether the evidence lets it open. Only looks of this object.
        """
        if not self._paths:
            empty = np.zeros((0, 2))
            return path_rows(self.rules, looks_of(self.rules, {}, np.zeros(0)), empty, ended=False)
        return pd.concat(self._paths, ignore_index=True)

    def verdict(self) -> Verdict:
        """What the evidence says now; open blocks count for harm only."""
        looks = self._looks_now()
        judged = judge(self.rules, looks)
        reverts = self.ended or bool(judged.reverts[0])
        culprits = self._culprits or (decision.culprits(self.rules, looks.harm[0]) if reverts else ())
        reason = decision.invalid_reason(self.rules, looks)
        gates = tuple(bool(gate) and not reverts for gate in judged.gates[0])
        n_c, n_b = self._assigned.runs
        word = Decision.PROMOTE if gates[-1] else Decision.HOLD
        return Verdict(
            decision=Decision.REVERT if reverts else word,
            culprits=culprits,
            guardrails=tuple(describe(s, self.rules, culprits, reason) for s in self._states.values()),
            log_family=float(judged.family[0]),
            log_line=decision.revert_line(self.rules),
            gates=gates,
            valid=not reason,
            invalid_reason=reason,
            assigned=n_c + n_b,
            candidate_runs=n_c,
            log_mismatch=float(looks.mismatch[0]),
        )

    def to_json(self) -> dict[str, Any]:
        """The evidence as a plain dict, doubles exact; rules and history are kept elsewhere."""
        return {
            "version": 1,
            "nulls": {name: [gate.null for gate in s.terms.gates] for name, s in self._states.items()},
            "guardrails": {name: state.to_json() for name, state in self._states.items()},
            "assigned": self._assigned.to_json(),
            "units": sorted(self._units),
            "reporting": sorted(self._reporting),
            "culprits": list(self._culprits),
        }

    @classmethod
    def from_json(cls, rules: Rules, history: History, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json` under the same rules and history; InvalidEvidence where it can't be."""
        found = cls(rules, history)
        nulls = {name: [gate.null for gate in s.terms.gates] for name, s in found._states.items()}
        try:
            if data["nulls"] != nulls:
                raise InvalidEvidence(
                    "stored evidence was gathered under other rules or another history than those given;"
                    " pass the frozen ones of its release"
                )
            for name, state in found._states.items():
                found._states[name] = GuardrailState.from_json(state.terms, data["guardrails"][name])
            found._assigned = Assigned.from_json(data["assigned"])
            found._units = {str(unit) for unit in data["units"]}
            found._reporting = {str(name) for name in data["reporting"]}
            found._culprits = tuple(str(name) for name in data["culprits"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidEvidence):
                raise
            raise InvalidEvidence(f"stored evidence can't be read: {error!r}; gather it anew") from error
        return found

    def _reporting_now(self, runs: pd.DataFrame) -> set[str]:
        """Guardrails with data so far; a column that vanishes is an error."""
        found = set(self._reporting)
        for guardrail in self.rules.guardrails:
            if guardrail.name in found and guardrail.column not in runs:
                raise InvalidEvidence(
                    f"runs have no column {guardrail.column} any more, guardrail {guardrail.name} has data"
                    " from earlier runs; give it, empty where nothing was reported"
                )
            if scoring.has_data(runs, guardrail.column):
                found.add(guardrail.name)
        return found

    def _strata_of(self, runs: pd.DataFrame) -> "np.typing.NDArray[np.object_]":
        found = np.full(len(runs), OTHER if self.rules.strata else ALL, dtype=object)
        if self.rules.strata and "stratum" in runs:
            column = runs["stratum"]
            for name, _ in self.rules.strata:
                found[(column == name).to_numpy(dtype=np.bool_, na_value=False)] = name
        return found

    def _tables(
        self, runs: pd.DataFrame, layout: Layout, candidate: BoolArray, reporting: set[str]
    ) -> dict[str, BlockTable]:
        """The layout's blocks as each guardrail with data sees them."""
        lost, infra = scoring.read_modifiers(runs)
        found = {}
        for guardrail in self.rules.guardrails:
            if guardrail.name not in reporting:
                continue
            counted, bad = scoring.counted_and_bad(runs, guardrail.column, lost, infra, bad=guardrail.bad)
            found[guardrail.name] = count(layout, candidate, counted, bad, self._pending(guardrail))
        return found

    def _pending(self, guardrail: Guardrail) -> dict[str, BlockCounts]:
        slices = self._states[guardrail.name].slices
        return {name: part.open for name, part in slices.items() if part.open is not None}

    def _absorb(self, tables: dict[str, BlockTable], assigned: BlockTable) -> None:
        """Add blocks that all guardrails share, up to the first revert, and their rows of the path."""
        traces, culprits = self._pass(tables)
        closed = assigned.take(assigned.closed)
        if culprits:
            closed = assigned = closed.take(slice(0, len(next(iter(traces.values())).harm)))
        if len(closed):
            mismatch, runs = self._assigned.path(closed)
            looks = looks_of(self.rules, traces, mismatch)
            self._paths.append(path_rows(self.rules, looks, runs, ended=bool(culprits)))
        self._assigned = self._assigned.add(assigned)
        self._states.update({name: trace.after for name, trace in traces.items()})
        self._culprits = culprits

    def _pass(self, tables: Mapping[str, BlockTable]) -> tuple[dict[str, Trace], tuple[str, ...]]:
        """Trace blocks that the given guardrails share, cut at the first revert, and who caused it."""
        traces = {name: self._states[name].trace(table) for name, table in tables.items()}
        if not traces:
            return {}, ()
        harm = self._harm(traces)
        over = decision.families(self.rules, harm).max(axis=1) >= decision.revert_line(self.rules)
        if not over.any():
            return traces, ()
        stop = int(np.argmax(over))
        cut = {name: table.take(table.closed).take(slice(0, stop + 1)) for name, table in tables.items()}
        traces = {name: self._states[name].trace(table) for name, table in cut.items()}
        return traces, decision.culprits(self.rules, harm[stop])

    def _harm(self, traces: Mapping[str, Trace]) -> FloatArray:
        """Ln harm e-values at a pass's closed blocks; a guardrail that is not in it bets nothing here."""
        rows = len(next(iter(traces.values())).harm)
        columns = [traces[g.name].harm if g.name in traces else np.zeros(rows) for g in self.rules.guardrails]
        return np.stack(columns, axis=1)

    def _looks_now(self) -> Looks:
        """The one look at what is known now, open blocks included."""
        states = list(self._states.values())
        seen = np.array([state.seen for state in states])
        return Looks(
            harm=np.array([[state.log_e_harm for state in states]]),
            gates=np.array([[state.log_e_gates for state in states]]),
            crossed=np.array([[state.has_crossed for state in states]]),
            scored=((seen[:, 0] > 0) & (seen[:, 2] > 0))[None, :],
            mismatch=np.array([self._assigned.log_mismatch]),
        )

    def _first(self, tables: Mapping[str, BlockTable]) -> BlockTable | None:
        return next((tables[name] for name in self._states if name in tables), None)


def _until(assigned: BlockTable, last: tuple[str, int]) -> BlockTable:
    """The assigned blocks up to the one (stratum, number) that ended the comparison, if it is among them."""
    same = (assigned.stratum == last[0]) & (assigned.block == last[1])
    return assigned.take(slice(0, int(np.argmax(same)) + 1)) if same.any() else assigned


def check_rules(rules: Rules) -> None:
    """Refuse rules that no comparison can be made under: InvalidPolicy."""
    weights = [guardrail.weight for guardrail in rules.guardrails]
    if not weights or min(weights) <= 0.0 or abs(sum(weights) - 1.0) > 1e-6:
        raise InvalidPolicy(f"guardrail weights must be above 0 and sum to 1, not to {sum(weights):g}")
    names = [guardrail.name for guardrail in rules.guardrails]
    if len(set(names)) < len(names) or ASSIGNED in names:
        raise InvalidPolicy(f"guardrail names must differ from each other and from {ASSIGNED!r}: {names}")
    if not rules.steps:
        raise InvalidPolicy("a policy needs at least one step")
    if rules.block_size < 1:
        raise InvalidPolicy(f"a block holds at least 1 run, not {rules.block_size}")
    total = sum(weight for _, weight in rules.strata)
    if rules.strata and (min(w for _, w in rules.strata) < 0.0 or abs(total - 1.0) > 1e-6):
        raise InvalidPolicy(f"stratum weights must not be negative and must sum to 1, not to {total:g}")
    for label, alpha in (("alpha_revert", rules.alpha_revert), ("alpha_promote", rules.alpha_promote)):
        if not 0.0 < alpha < 1.0:
            raise InvalidPolicy(f"{label} must be between 0 and 1, not {alpha:g}")
