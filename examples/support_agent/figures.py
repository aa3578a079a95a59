"""What the support agent's releases must reach, and the page that says what they did."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from examples.support_agent.trials import Trial


@dataclass(frozen=True, slots=True)
class Target:
    """How a faulty bundle has to be caught."""

    bundle: str
    #: what is wrong with it, for people
    about: str
    #: guardrails and triggers that name the fault; the first culprit has to be one of them
    right: tuple[str, ...]
    #: candidate runs, median over releases, at most
    runs: int | None


TARGETS = (
    Target("malformed", "its wrapper speaks of fields that the CRM does not have", ("tool_malformed",), 30),
    Target(
        "confidently_wrong",
        "its retrieval is certain of the wrong document",
        ("correct", "edits", "incidents"),
        120,
    ),
    Target("cheap", "it sends risky work down the cheap path", ("validation", "escalation"), 150),
    Target("garbage", "it writes templates into the memory that nobody fills in", ("garbage_memory",), 1),
    Target("overspend", "twelve drafts and four messages a ticket", ("cost", "cost_tail", "overspend"), None),
)


_NOT_WORSE = {"better": "it knows the customers' own words", "good again": "the good one, two words swapped"}
_TABLE = (
    "| bundle | what is wrong | releases | median runs | p90 | at most | right culprit first | above caps |",
    "|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class Caught:
    """How the releases of one faulty bundle ended."""

    target: Target
    trials: tuple[Trial, ...]

    @property
    def median_runs(self) -> float:
        """Candidate runs assigned until the revert."""
        return median(trial.runs for trial in self.trials)

    @property
    def rightly(self) -> int:
        """Releases that were reverted, by the right culprit first."""
        return sum(
            trial.state == "reverted" and trial.culprits[:1] != () and trial.culprits[0] in self.target.right
            for trial in self.trials
        )

    @property
    def usd_over(self) -> float:
        """US dollars above any ceiling, in all releases together."""
        return sum(trial.usd_over_run + trial.usd_over_hour for trial in self.trials)

    @property
    def messages_over(self) -> int:
        """Messages above the ceiling of a run, in all releases together."""
        return sum(trial.messages_over for trial in self.trials)

    @property
    def holds(self) -> bool:
        """Whether the target is met: in the median, by the right one in more than half, nothing overshot."""
        in_time = self.target.runs is None or self.median_runs <= self.target.runs
        return (
            in_time and 2 * self.rightly > len(self.trials) and self.usd_over == 0 and self.messages_over == 0
        )

    def row(self) -> str:
        """A row of the table."""
        runs = sorted(trial.runs for trial in self.trials)
        culprits = Counter(trial.culprits[0] if trial.culprits else trial.state for trial in self.trials)
        said = ", ".join(f"{name} {n}" for name, n in culprits.most_common())
        most = "-" if self.target.runs is None else str(self.target.runs)
        p90 = runs[min(len(runs) - 1, int(0.9 * len(runs)))]
        cells = (
            self.target.bundle,
            self.target.about,
            len(self.trials),
            f"{self.median_runs:g}",
            p90,
            most,
            f"{self.rightly} of {len(self.trials)} ({said})",
            f"${self.usd_over:.2f}, {self.messages_over}",
        )
        return f"| {' | '.join(map(str, cells))} |"


def caught(trials: Sequence[Trial]) -> list[Caught]:
    """Sort trials by the bundle's target."""
    by_bundle = {
        target.bundle: [trial for trial in trials if trial.bundle == target.bundle] for target in TARGETS
    }
    return [Caught(target, tuple(by_bundle[target.bundle])) for target in TARGETS if by_bundle[target.bundle]]


def live(trials: Sequence[Trial]) -> Iterator[str]:
    """What became of the bundles that are not worse, released for real."""
    for name, about in _NOT_WORSE.items():
        ended = [trial for trial in trials if trial.bundle == name]
        if ended:
            states = Counter(trial.state for trial in ended)
            said = ", ".join(f"{state} {n}" for state, n in states.most_common())
            runs, tickets = median(t.runs for t in ended), median(t.tickets for t in ended)
            yield (
                f"- {name} ({about}): {len(ended)} releases: {said}; median {runs:g} candidate runs of "
                f"{tickets:g} tickets"
            )


def head(trials: int, history: int) -> Iterator[str]:
    """What the page is about, down to the head of its table."""
    yield from ("# How soon a faulty bundle of the support agent is caught", "")
    yield (
        "Written by `make support`. Every release is a real one under `examples/support_agent/policy.yaml`, "
        "at a 10% share: the store, the stages, a look every five minutes, the referee, the agent and the "
        "CRM's service. The clock is virtual (240 tickets an hour), and the baseline has served "
        f"{history:,} tickets before. Each of the {trials} releases has tickets and a salt of its own, drawn "
        "from its number: a second run gives the same figures."
    )
    yield ""
    yield (
        "Runs are the candidate's, assigned until the revert, whether they were scored or not. In brackets: "
        "the culprit that was named first. The last column sums over all releases the dollars above the "
        "ceiling of a run or an hour, and the messages above that of a run."
    )
    yield ""
    yield from _TABLE


__all__ = ["TARGETS", "Caught", "Target", "caught", "head", "live"]
