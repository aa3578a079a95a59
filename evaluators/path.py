"""Paths: a release's evidence look by look."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from evaluators.blocks import BlockTable
from evaluators.decision import Looks, holding, judge, slices_over
from evaluators.evidence import Evidence, Pass
from evaluators.mixture import FloatArray
from evaluators.rules import Rules
from evaluators.verdict import Decision
from lastgood.errors import InvalidEvidence

#: the name under which blocks count every assigned run
ASSIGNED = "assigned"
#: what follows a guardrail's name where its blocks hold each unit's first runs alone
FIRST = "@first"


def looks_of(rules: Rules, traces: Mapping[str, Pass], mismatch: FloatArray) -> Looks:
    """The looks after each closed block of a pass; a guardrail without data proves nothing."""
    rows, steps = len(mismatch), len(rules.steps)
    harm, gates = np.zeros((rows, len(rules.guardrails))), np.zeros((rows, len(rules.guardrails), steps))
    crossed, scored = np.zeros(gates.shape, dtype=np.bool_), np.zeros(harm.shape, dtype=np.bool_)
    held = np.zeros(rows, dtype=np.bool_)
    for column, guardrail in enumerate(rules.guardrails):
        trace = traces.get(guardrail.name)
        if trace is None:
            continue
        harm[:, column] = trace.harm
        gates[:, column] = trace.gates
        crossed[:, column] = trace.crossed
        scored[:, column] = (trace.totals[:, 0] > 0) & (trace.totals[:, 2] > 0)
        held |= (slices_over(rules, guardrail, trace.slices) & holding(rules, guardrail)).any(axis=1)
    return Looks(harm, gates, crossed, scored, mismatch, held)


def path_rows(rules: Rules, looks: Looks, runs: npt.ArrayLike, *, ended: bool) -> pd.DataFrame:
    """The frame of some looks; `runs` (looks, 2) are candidate and baseline runs, `ended` a last revert."""
    judged = judge(rules, looks)
    arms = np.asarray(runs, dtype=np.int64).reshape(len(looks.mismatch), 2)
    words = [str(word) for word in judged.words]
    if ended:
        words[-1] = str(Decision.REVERT)
    columns: dict[str, npt.ArrayLike] = {
        "assigned": arms.sum(axis=1),
        "candidate": arms[:, 0],
        "family": judged.family,
        "mismatch": looks.mismatch,
    }
    for place, guardrail in enumerate(rules.guardrails):
        columns[f"harm:{guardrail.name}"] = looks.harm[:, place]
        columns[f"promote:{guardrail.name}"] = looks.gates[:, place, -1]
    for step in range(len(rules.steps)):
        columns[f"gate:{step}"] = judged.gates[:, step]
    return pd.DataFrame({**columns, "valid": judged.valid, "decision": words})


def aligned(
    names: Sequence[str], tables: Mapping[str, BlockTable], states: Mapping[str, Evidence]
) -> dict[str, BlockTable]:
    """The tables of one maturity class, checked to hold the same blocks: InvalidEvidence where not."""
    found = {name: tables[name] for name in names if name in tables}
    if not found:
        return {}
    first, model = next(iter(found.items()))
    for name in names:
        if name not in found and states[name].every.slices:
            raise InvalidEvidence(
                f"guardrail {name} has data from earlier blocks but none of block {int(model.block[0])};"
                " send its block with n_c = n_b = 0 where nothing was scored"
            )
    for name, table in found.items():
        _same_blocks(first, model, name, table)
    return found


def _same_blocks(first: str, model: BlockTable, name: str, table: BlockTable) -> None:
    for column in ("block", "stratum", "share_bp", "closed"):
        ours, theirs = getattr(table, column).tolist(), getattr(model, column).tolist()
        if ours != theirs:
            place = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
            block = int(table.block[min(place, len(table) - 1)])
            raise InvalidEvidence(
                f"guardrail {name}: block {block}, column {column}: differs from guardrail {first};"
                " guardrails of one maturity see the same blocks"
            )
