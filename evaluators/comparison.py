"""The comparison of a candidate with its baseline: the plug point of the statistics.

    comparison = Comparison(policy, History(recorded_baseline_runs))
    comparison.observe(runs)          # runs as a frame; or, from a store:
    comparison.observe_blocks(blocks)
    comparison.verdict().decision

Evidence is additive: a look costs its new blocks. A comparison ends at its first revert; what comes
later is not judged, so that a verdict does not depend on how the evidence was cut into calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd

from evaluators import decision, run_looks
from evaluators.assignment_health import Assigned
from evaluators.blocks import BlockCounts, BlockTable, check_strata
from evaluators.checking import check_columns, check_rules, rules_of
from evaluators.decision import Looks, judge
from evaluators.evidence import Evidence, Pass
from evaluators.gathering import Before, Gathered, gather, reporting_now
from evaluators.guardrail_state import GuardrailState
from evaluators.history import History
from evaluators.mixture import FloatArray
from evaluators.path import ASSIGNED, FIRST, aligned, looks_of, path_rows
from evaluators.rules import Ruled, Rules
from evaluators.terms import terms
from evaluators.units import Units
from evaluators.verdict import Decision, Verdict
from evaluators.wording import describe
from lastgood.errors import InvalidEvidence, OutdatedEvidence

#: of what `to_json` gives; rises when it, the frozen terms or the statistics behind them change
VERSION = 2
#: a guardrail's blocks: every run, and each unit's first run where runs name units
Tables = dict[str, tuple[BlockTable, BlockTable | None]]


class Comparison:
    """Watches one release; see the module's example.

    Raises InvalidPolicy where the rules can't be used, InvalidEvidence on numbers that can't be (nothing
    of that call is then counted).
    """

    def __init__(self, policy: Rules | Ruled, history: History) -> None:
        """Freeze the terms of every guardrail; `policy` is `Rules`, or has them as a `config` policy has."""
        rules = rules_of(policy)
        check_rules(rules)
        self.rules = rules
        self.history = history
        fresh = {g.name: GuardrailState(terms(g, rules, history)) for g in rules.guardrails}
        self._evidence = {name: Evidence(state) for name, state in fresh.items()}
        self._assigned = Assigned(ramped=len({step.share_bp for step in rules.steps}) > 1)
        self._units = Units()
        self._reporting: set[str] = set()
        self._culprits: tuple[str, ...] = ()
        self._paths: list[pd.DataFrame] = []

    @property
    def ended(self) -> bool:
        """Whether a closed block, or a run looked at, proved harm; what comes later is not judged."""
        return bool(self._culprits)

    @property
    def runs_by_share(self) -> dict[int, int]:
        """Candidate runs of closed blocks by the share (basis points) at which they were assigned."""
        return dict(self._assigned.candidate)

    def copy(self) -> "Comparison":
        """An independent comparison with the same evidence; cheap."""
        twin = Comparison.__new__(Comparison)
        own = {
            "_evidence": dict(self._evidence),
            "_reporting": set(self._reporting),
            "_paths": list(self._paths),
        }
        twin.__dict__.update({**self.__dict__, **own})
        return twin

    def observe(self, runs: pd.DataFrame, *, every_run: bool = False) -> None:
        """Add matured, assigned, eligible runs in assignment order, one a row.

        Columns: `arm` (baseline, candidate), `share` (0..1, when assigned), optionally `unit`, `stratum`,
        `lost`, `infra_failure` and each guardrail's own. A column that is absent, or empty so far, is no
        data; one that nothing reads is refused. Adds one row a closed block to the path, or with
        `every_run` one a run.
        """
        check_columns(runs, self.rules)
        if self.ended or len(runs) == 0:
            return
        reporting = reporting_now(runs, self.rules, self.history, self._reporting)
        gathered = gather(runs, self._before(), reporting)
        culprits: tuple[str, ...] = ()
        if every_run:
            looks = self._looks_by_run(gathered)
            stop = run_looks.first_revert(self.rules, looks.harm)
            if stop is not None:
                culprits = decision.culprits(self.rules, looks.harm[stop])
                gathered = gather(runs.iloc[: stop + 1], self._before(), reporting)
        self._absorb(gathered, culprits, every_run=every_run)
        self._reporting = reporting

    def observe_blocks(self, blocks: Mapping[str, Sequence[BlockCounts]]) -> None:
        """Add blocks by guardrail name, in the order in which they closed: one look.

        Closed blocks must be new; an open one replaces the stratum's previous open one. Under the key
        ASSIGNED stand the blocks as assigned (every run; y counts runs that are not their unit's first),
        which the mismatch check needs; without it the blocks of `infra`, else of the first guardrail given,
        stand in. Under "NAME@first" may stand a guardrail's blocks of first runs, with moments behind their
        sums. Guardrails of one maturity see the same blocks; one that is left out has no data. Adds one row
        to the path.
        """
        if self.ended:
            return
        tables = {name: BlockTable.of(given) for name, given in blocks.items() if len(given)}
        for name, table in tables.items():
            if name != ASSIGNED and name.removesuffix(FIRST) not in self._evidence:
                known = ", ".join(self._evidence)
                raise InvalidEvidence(f"guardrail {name!r} is not in the policy; it has {known}")
            check_strata(self.rules, name, table)
        assigned = tables.pop(ASSIGNED, None) or self._standing_in(tables)
        if assigned is None:
            return
        self._assigned.add(assigned)  # refuses what is out of order before anything is counted
        firsts = {name.removesuffix(FIRST): t for name, t in tables.items() if name.endswith(FIRST)}
        groups = [
            aligned([m.name for m in members], tables, self._evidence)
            for members in self.rules.classes.values()
        ]
        results = [
            self._pass({name: (table, firsts.get(name)) for name, table in group.items()})
            for group in groups
            if group
        ]
        for traces, culprits in results:
            self._evidence.update({name: trace.after for name, trace in traces.items()})
            self._culprits = self._culprits or culprits
            if culprits:
                assigned = _until(assigned, next(iter(traces.values())).last)
        added = self._assigned.add(assigned)
        self._assigned = added.settled() if self._culprits else added
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
            guardrails=tuple(describe(e, self.rules, culprits, reason) for e in self._evidence.values()),
            log_family=float(judged.family[0]),
            log_line=decision.revert_line(self.rules),
            gates=gates,
            valid=not reason,
            invalid_reason=reason,
            assigned=n_c + n_b,
            candidate_runs=n_c,
            log_mismatch=float(looks.mismatch[0]),
            held_by_slice=bool(looks.held[0]),
        )

    def to_json(self) -> dict[str, Any]:
        """The evidence as a plain dict, doubles exact; rules and history are kept elsewhere."""
        return {
            "version": VERSION,
            "policy": self.rules.judged_by(),
            "bars": {name: found.terms.bars for name, found in self._evidence.items()},
            "guardrails": {name: found.to_json() for name, found in self._evidence.items()},
            "assigned": self._assigned.to_json(),
            "units": self._units.to_json(),
            "reporting": sorted(self._reporting),
            "culprits": list(self._culprits),
        }

    @classmethod
    def from_json(cls, rules: Rules, history: History, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json` under the same rules and history.

        Raises InvalidEvidence where it can't be, OutdatedEvidence where another version wrote it.
        """
        found = cls(rules, history)
        if data.get("version", VERSION) != VERSION:
            raise OutdatedEvidence(
                f"stored evidence is of version {data['version']}, this process has {VERSION};"
                " add what its looks were given anew"
            )
        bars = {name: held.terms.bars for name, held in found._evidence.items()}
        try:
            if data["bars"] != bars or data["policy"] != rules.judged_by():
                raise InvalidEvidence(
                    "stored evidence was gathered under other rules or another history than those given;"
                    " pass the frozen ones of its release"
                )
            for name, held in found._evidence.items():
                found._evidence[name] = Evidence.from_json(held.terms, data["guardrails"][name])
            found._assigned = Assigned.from_json(data["assigned"])
            found._units = Units.from_json(data["units"])
            found._reporting = {str(name) for name in data["reporting"]}
            found._culprits = tuple(str(name) for name in data["culprits"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidEvidence):
                raise
            raise InvalidEvidence(f"stored evidence can't be read: {error!r}; gather it anew") from error
        return found

    def _before(self) -> Before:
        return Before(self.rules, self._evidence, self._assigned, self._units)

    def _looks_by_run(self, gathered: Gathered) -> Looks:
        """The looks after each run, as if none reverted."""
        tables = _tables(gathered)
        traces = {name: self._evidence[name].trace(*pair) for name, pair in tables.items()}
        closed = gathered.assigned.take(gathered.assigned.closed)
        blocks = looks_of(self.rules, traces, self._mismatch(self._assigned.path(closed)[0]))
        return run_looks.looks_by_run(self.rules, self._evidence, gathered, self._looks_now(), blocks)

    def _absorb(self, gathered: Gathered, proven: tuple[str, ...], *, every_run: bool) -> None:
        """Add blocks that all guardrails share, up to the first revert, and their rows of the path."""
        traces, culprits = self._pass(_tables(gathered))
        assigned = gathered.assigned
        closed = assigned.take(assigned.closed)
        if culprits:
            closed = assigned = closed.take(slice(0, len(next(iter(traces.values())).harm)))
        mismatch, runs = self._assigned.path(closed)
        if every_run and not culprits:
            looks = self._looks_by_run(gathered)
            arms = np.stack([gathered.candidate, ~gathered.candidate], axis=1)
            arms = np.cumsum(arms, axis=0) + np.array(self._assigned.runs)
            self._paths.append(path_rows(self.rules, looks, arms, ended=bool(proven)))
        elif len(closed):
            looks = looks_of(self.rules, traces, self._mismatch(mismatch))
            self._paths.append(path_rows(self.rules, looks, runs, ended=bool(culprits)))
        added = self._assigned.add(assigned)
        self._assigned = added.settled() if culprits else added
        self._evidence.update({name: trace.after for name, trace in traces.items()})
        self._units = gathered.units
        self._culprits = culprits or proven

    def _pass(self, tables: Tables) -> tuple[dict[str, Pass], tuple[str, ...]]:
        """Trace blocks that the given guardrails share, cut at the first revert, and who caused it.

        Blocks that were open then are left out: how much of them came before it depends on the call.
        """
        traces = {name: self._evidence[name].trace(*pair) for name, pair in tables.items()}
        if not traces:
            return {}, ()
        harm = self._harm(traces)
        stop = run_looks.first_revert(self.rules, harm)
        if stop is None:
            return traces, ()

        def cut(table: BlockTable) -> BlockTable:
            return table.take(table.closed).take(slice(0, stop + 1))

        for name, (every, first) in tables.items():
            found = self._evidence[name].trace(cut(every), None if first is None else cut(first))
            traces[name] = replace(found, after=found.after.settled())
        return traces, decision.culprits(self.rules, harm[stop])

    def _harm(self, traces: Mapping[str, Pass]) -> FloatArray:
        """Ln harm e-values at a pass's closed blocks; a guardrail that is not in it bets nothing here."""
        rows = len(next(iter(traces.values())).harm)
        columns = [traces[g.name].harm if g.name in traces else np.zeros(rows) for g in self.rules.guardrails]
        return np.stack(columns, axis=1)

    def _mismatch(self, log_e: FloatArray) -> FloatArray:
        """The mismatch rests where the recorded share is not what dealt the runs."""
        return log_e if self.rules.share_ours else np.zeros(len(log_e))

    def _looks_now(self) -> Looks:
        """The one look at what is known now, open blocks included."""
        held = list(self._evidence.values())
        seen = np.array([found.seen for found in held])
        slices = [
            (decision.slices_over(self.rules, found.terms.guardrail, found.slices), found) for found in held
        ]
        holds = [(over & decision.holding(self.rules, f.terms.guardrail)).any() for over, f in slices]
        return Looks(
            harm=np.array([[found.log_e_harm for found in held]]),
            gates=np.array([[found.log_e_gates for found in held]]),
            crossed=np.array([[found.has_crossed for found in held]]),
            scored=((seen[:, 0] > 0) & (seen[:, 2] > 0))[None, :],
            mismatch=self._mismatch(np.array([self._assigned.log_mismatch])),
            held=np.array([any(holds)]),
        )

    def _standing_in(self, tables: Mapping[str, BlockTable]) -> BlockTable | None:
        """Some guardrail's blocks as assigned ones: their runs, each its unit's first."""
        names = [name for name in (decision.INFRA, *self._evidence) if name in tables]
        if not names:
            return None
        counts = tables[names[0]].counts.copy()
        counts[:, [1, 3]] = 0
        return tables[names[0]].with_counts(counts)


def _tables(gathered: Gathered) -> Tables:
    return {name: (found.table, found.firsts) for name, found in gathered.counted.items()}


def _until(assigned: BlockTable, last: tuple[str, int]) -> BlockTable:
    """The assigned blocks up to the one (stratum, number) that ended the comparison, if it is among them."""
    same = (assigned.stratum == last[0]) & (assigned.block == last[1])
    return assigned.take(slice(0, int(np.argmax(same)) + 1)) if same.any() else assigned
