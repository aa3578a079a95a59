"""What the benchmarks share: interleaved rounds, medians of ratios, and a store to measure on."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lastgood import control, points, registry
from lastgood.bundle import Bundle, Part
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint, Lease
from lastgood.store import engine
from lastgood.store.connection import Store

ENVIRONMENT = "production"
HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    #: as people read it
    measured: str
    #: what it was measured beside, in the same run; empty where it stands for itself
    beside: str = ""
    target: str = ""
    #: whether the target is met; None where there is none, or where it could not be measured
    met: bool | None = None


def tell(figures: list[Figure]) -> None:
    """Print figures for `run.py`."""
    for figure in figures:
        print(json.dumps(asdict(figure)), flush=True)


def interleaved(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each work in each round; every round runs them all, every second one backwards."""
    for work in works.values():  # once for the caches
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works) if number % 2 else reversed(works):
            began = time.process_time_ns()
            works[name]()
            taken[name].append((time.process_time_ns() - began) / 1e9)
    return taken


def ratio(taken: Mapping[str, list[float]], name: str, floor: str) -> float:
    """Median over the rounds of one work's time by another's."""
    return statistics.median(a / b for a, b in zip(taken[name], taken[floor], strict=True))


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all values do not exceed."""
    return sorted(values)[max(0, round(len(values) * share) - 1)]


@contextmanager
def temporary_store() -> Iterator[Store]:
    """An empty store in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'lastgood.db'}"
        engine.upgrade(url)
        store = Store(url)
        yield store
        store.close()


def bundle(prompt: str) -> Bundle:
    """A small bundle."""
    return Bundle(
        [Part.of_value(kind, "1", prompt) for kind in ("prompt", "model", "tools", "memory", "policy")]
    )


def adopted(store: Store, agent: str = "support") -> tuple[str, str]:
    """Adopt an agent; return the ids of its baseline and of a second bundle."""
    first, second = (registry.register(store, agent, bundle(p), author="bench")[0].bundle.id for p in "ab")
    control.adopt(store, agent, ENVIRONMENT, first, actor="bench", reason="measure")
    return first, second


def served(store: Store, agents: list[str], share_bp: int) -> None:
    """Give each agent a control point that serves a candidate, all in one transaction."""
    first, second = (registry.register(store, "bench", bundle(p), author="bench")[0].bundle.id for p in "cd")
    clock = store.clock
    lease = Lease(clock.now_us() + HOUR_US, clock.boot_id, clock.boot_us() + HOUR_US)
    with store.transaction() as txn:
        for agent in agents:
            point = ControlPoint(
                agent, ENVIRONMENT, first, "vouched", second, f"rel_{agent}", share_bp, lease=lease
            )
            points.create(txn, point, Entry("adopt", "bench", "measure"))
