"""Looking for a failure: how many examples and steps it takes, without shrinking."""

import time
from collections import Counter
from dataclasses import dataclass, field

from bench import Yard
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import machine
from tour import tour


@dataclass
class Found:
    """What a search came to."""

    failure: BaseException | None = None
    examples: int = 0
    steps: int = 0
    #: of the wall clock, and of this process's own work
    seconds: float = 0.0
    cpu_s: float = 0.0
    reached: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Found") -> None:
        """Take another search in."""
        self.examples, self.steps = self.examples + other.examples, self.steps + other.steps
        self.seconds, self.cpu_s = self.seconds + other.seconds, self.cpu_s + other.cpu_s
        self.failure = self.failure or other.failure
        self.reached.update(other.reached)


def search(
    yard: Yard, *, examples: int, number: int = 0, steps: int = 25, shrink: bool = False, guided: bool = False
) -> Found:
    """Run up to `examples` examples of up to `steps` rules each, from the seed `number`, until one fails.

    Where it is `guided` the tour goes first.
    """
    reached, count, done = Counter[str](), [0], [0]
    began, worked = time.perf_counter(), time.process_time()
    made = machine(yard, reached, count)

    class Counted(made):  # type: ignore[misc,valid-type]  # made above
        def __init__(self) -> None:
            done[0] += 1
            super().__init__()

    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    how = settings(
        max_examples=examples, stateful_step_count=steps, database=None, deadline=None, phases=phases,
        suppress_health_check=list(HealthCheck), print_blob=False, derandomize=False, report_multiple_bugs=False,
    )  # fmt: skip
    failure: BaseException | None = None
    try:
        if guided:
            tour(Counted)
        run_state_machine_as_test(seed(number)(Counted), settings=how)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        failure = error
    taken = time.perf_counter() - began, time.process_time() - worked
    return Found(failure, done[0], count[0], *taken, reached)


__all__ = ["Found", "search"]
