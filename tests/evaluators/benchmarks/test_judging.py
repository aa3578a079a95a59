"""What a verdict costs, beside gbstats on equal sums: CPU time, medians, interleaved."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from evaluators import Comparison, History

STUDY = Path(__file__).parents[2] / "study"
PIPELINE = Path(__file__).with_name("gbstats_pipeline.py")
ROUNDS = 50

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module")
def study():
    """The study's modules: its streams, and its peers' environments."""
    sys.path.insert(0, str(STUDY))
    import peers
    import scenarios

    yield scenarios, peers
    sys.path.remove(str(STUDY))


@pytest.fixture(scope="module")
def released(study):
    scenarios, _ = study
    rng = np.random.default_rng(1)
    case = next(each for each in scenarios.SCENARIOS if each.name == "no-change")
    return case.rules, History(case.history(rng)), case.stream(rng, 50_000)


def cpu(work):
    began = time.process_time()
    work()
    return time.process_time() - began


def test_one_evaluation_of_six_guardrails_beside_gbstats(study, released):
    """From a release's stored sums to its decision and verdicts, intervals and forecasts included."""
    scenarios, peers = study
    rules, history, runs = released
    rules = scenarios._rules([g for g in rules.guardrails if g.name != "cost_tail"], alpha=1e-9)
    weights = sum(g.weight for g in rules.guardrails)
    six = [scenarios.replace(g, weight=g.weight / weights) for g in rules.guardrails]
    whole = Comparison(scenarios._rules(six, alpha=1e-9), history)
    whole.observe(runs)
    stored = whole.to_json()
    look = peers.sums(scenarios.pd.concat([runs] * 2), 2)[-1]
    metrics = {name: amount for name, (_, amount) in peers.METRICS.items()}
    asked = json.dumps({"arms": [look["baseline"], look["candidate"]], "metrics": metrics})
    with subprocess.Popen(
        [str(peers.python("gbstats")), str(PIPELINE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as peer:
        peer.stdin.write(asked + "\n")
        ours, theirs = [], []
        for _ in range(ROUNDS):
            peer.stdin.write("go\n")
            peer.stdin.flush()
            theirs.append(float(peer.stdout.readline()))
            fresh = Comparison.from_json(whole.rules, history, stored)
            ours.append(cpu(fresh.verdict))
        peer.stdin.close()
    one, other = statistics.median(ours), statistics.median(theirs)
    part = f"1/{other / one:.1f}"
    print(f"\nsix guardrails from sums: {one * 1e3:.2f} ms CPU, gbstats {other * 1e3:.1f} ms: {part}")
    assert one <= other / 15


def test_fifty_thousand_runs_are_judged_at_every_block(released):
    rules, history, runs = released
    fresh = Comparison(rules, history)

    def judged():
        comparison = fresh.copy()
        comparison.observe(runs)
        assert len(comparison.path()) == len(runs) // rules.block_size or comparison.ended

    taken = [cpu(judged) for _ in range(ROUNDS)]
    print(f"\n50,000 runs, six guardrails and the tail, every block: {statistics.median(taken):.3f} s CPU")


def test_the_state_of_a_guardrail_in_a_stratum_is_small(released):
    rules, history, runs = released
    comparison = Comparison(rules, history)
    comparison.observe(runs)
    held = comparison.to_json()["guardrails"]
    sizes = {name: len(json.dumps(found)) for name, found in held.items()}
    print(f"\nstate as stored, bytes a guardrail in one stratum: {sizes}")
    numbers = {n: f.every.bet.nbytes + f.every.conditional.nbytes for n, f in comparison._evidence.items()}
    assert max(numbers.values()) <= 2_000
