"""Runs in the gbstats environment: for each line on standard input, one run of its pipeline on the same sums.

Answers with the CPU seconds that it took.
"""

import json
import sys
import time
import warnings

from gbstats.gbstats import process_experiment_results

warnings.simplefilter("ignore")


def asked(arms, metrics):
    """Sums as GrowthBook's back end sends them."""
    rows = []
    for variation, arm in enumerate(arms):
        row = {"variation": str(variation), "dimension": "", "users": arm["n"], "count": arm["n"]}
        for place, (metric, amount) in enumerate(metrics.items()):
            prefix = f"m{place}_"
            row |= {f"{prefix}main_sum": arm[metric], f"{prefix}main_sum_squares": arm[f"{metric}^2"]}
            if amount:
                done = {"denominator_sum": arm["done"], "denominator_sum_squares": arm["done"]}
                row |= {f"{prefix}{name}": value for name, value in done.items()}
                row[f"{prefix}main_denominator_sum_product"] = arm[f"{metric}*done"]
        rows.append(row)
    settings = {
        metric: {
            "id": metric, "name": metric, "inverse": True, "statistic_type": "ratio" if amount else "mean",
            "main_metric_type": "count" if amount else "binomial",
            "denominator_metric_type": "count" if amount else None,
        }
        for metric, amount in metrics.items()
    }  # fmt: skip
    analysis = {
        "var_names": ["baseline", "candidate"], "var_ids": ["0", "1"], "weights": [0.5, 0.5],
        "stats_engine": "frequentist", "sequential_testing_enabled": True,
    }  # fmt: skip
    return {
        "metrics": settings,
        "analyses": [analysis],
        "query_results": [{"rows": rows, "metrics": list(metrics)}],
    }


def main():
    data = asked(**json.loads(sys.stdin.readline()))
    for _ in sys.stdin:
        began = time.process_time()
        found = process_experiment_results(data)
        taken = time.process_time() - began
        assert len(found) == len(data["metrics"])
        print(taken, flush=True)


if __name__ == "__main__":
    main()
