"""What another prior of the bet would gain on one harm and lose on another: `python tests/study/priors.py`.

One guardrail alone, a look at every closed block, 10% to the candidate, 2,000 releases each: candidate runs until
it reverts by its own weight (median, and the range that holds the true one in 95 of 100 studies).
"""

import numpy as np

from evaluators.method import with_declared
from evaluators.mixture import BET_PRIOR, THETAS, bump, log_mean_exp
from evaluators.proportions import bet_increments

#: bad rates of baseline and candidate, weight of the guardrail, blocks of 20 runs to walk at most
HARMS = {
    "incidents .5 to 2 in 100": (0.005, 0.020, 0.15, 1_000),
    "completion .92 to .90": (0.08, 0.10, 0.25, 2_600),
}
RELEASES, AT_ONCE, SIZE, SHARE, HISTORY, WEIGHT = 2_000, 100, 20, 0.1, 20_000, 200


def priors(p_b: float, p_c: float) -> dict[str, np.ndarray]:
    """The prior as it is, with this harm declared, and a narrower one."""
    theta = np.log(p_c / (1 - p_c)) - np.log(p_b / (1 - p_b))
    narrow = 0.8 * bump(np.log(THETAS), np.log(0.9), 0.8) + 0.2 * bump(np.log(THETAS), np.log(3.0), 0.3)
    return {
        "as it is": np.asarray(BET_PRIOR),
        "this harm declared": with_declared(np.asarray(BET_PRIOR), np.asarray(THETAS), float(theta)),
        "narrower, about .9": np.log(narrow),
    }


def paths(rng: np.random.Generator, p_b: float, p_c: float, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Running bets (releases, blocks, 24) and candidate runs (releases, blocks)."""
    n_c = rng.binomial(SIZE, SHARE, (AT_ONCE, blocks))
    y_c, y_b = rng.binomial(n_c, p_c), rng.binomial(SIZE - n_c, p_b)
    known = rng.binomial(HISTORY, p_b, (AT_ONCE, 1)) / HISTORY
    runs, bad = (np.cumsum(found, axis=1) - found for found in (SIZE - n_c, y_b))
    rate = (WEIGHT * known + bad) / (WEIGHT + runs)
    counts = np.stack([n_c, y_c, SIZE - n_c, y_b], axis=-1).reshape(-1, 4)
    bets = bet_increments(counts, np.full(len(counts), SHARE), rate.ravel(), np.asarray(THETAS))
    return np.cumsum(bets.reshape(AT_ONCE, blocks, -1), axis=1), np.cumsum(n_c, axis=1)


def main() -> None:
    """One line a harm and prior."""
    for name, (p_b, p_c, weight, blocks) in HARMS.items():
        found: dict[str, list[np.ndarray]] = {}
        for seed in range(RELEASES // AT_ONCE):
            path, runs = paths(np.random.default_rng([5, seed]), p_b, p_c, blocks)
            for label, prior in priors(p_b, p_c).items():
                over = log_mean_exp(prior, path) >= np.log(1.0 / (weight * 0.05))
                at = np.where(over.any(axis=1), runs[np.arange(AT_ONCE), over.argmax(axis=1)], np.inf)
                found.setdefault(label, []).append(at)
        for label, parts in found.items():
            rising, reach = np.sort(np.concatenate(parts)), 1.96 * np.sqrt(RELEASES) / 2
            low, high = (rising[int(RELEASES / 2 + side * reach)] for side in (-1, 1))
            print(f"{name}, prior {label}: {np.median(rising):,.0f} ({low:,.0f} to {high:,.0f})", flush=True)


if __name__ == "__main__":
    main()
