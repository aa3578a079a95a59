"""F7: the disk under the store is full."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import Line, Place, adopted, main, opened, rows, serving, store_at

from lastgood import releasing
from lastgood.assigning import Request, assign
from lastgood.errors import LastgoodError, StoreUnavailable
from lastgood.outcome import Outcome
from lastgood.recorder import Report, record_batch
from lastgood.releasing import Ending
from lastgood.store.connection import Store
from lastgood.store.engine import upgrade

SIZE, ROUNDS = "8m", 5
#: writes refused in a row after which the disk is called full
FULL = 20


@contextlib.contextmanager
def small_disk() -> Iterator[Path | None]:
    """A tmpfs of a few megabytes; None where it can't be mounted."""
    with tempfile.TemporaryDirectory(prefix="lastgood-full-") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "lastgood-fault", name]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=False)


@dataclass
class Written:
    """What was acknowledged on one disk."""

    runs: list[str]
    outcomes: list[str]
    #: what the store raised, other than that it can't be used
    wrong: list[str]


def fill(store: Store) -> Written:
    """Serve and record until nothing is taken any more."""
    served, found, refused = serving(store), Written([], [], []), 0
    while refused < FULL:
        try:
            assigned = assign(served, Request(f"u{len(found.runs)}", "faq", None, None))
            found.runs.append(assigned.run_id)
            report = Report(
                assigned.run_id, Outcome(completed=True), output="x" * 20_000, origin=assigned.origin
            )
            if record_batch(store, [report], durable=False).new:
                found.outcomes.append(assigned.run_id)
            refused = 0
        except StoreUnavailable:
            refused += 1
        except Exception as error:  # noqa: BLE001  the line tells
            found.wrong.append(repr(error))
            refused += 1
    return found


def reverted(store: Store, release_id: str) -> bool:
    """Whether a revert commits on the full disk."""
    try:
        releasing.revert(store, release_id, Ending("ann", "the disk is full", "hand"))
    except LastgoodError:
        return False
    return True


@dataclass(frozen=True)
class Disk:
    """What happened on one disk."""

    #: rows that were acknowledged, and those of them that are not there afterwards
    acknowledged: int
    lost: int
    #: whether a revert committed on the full disk, and whether one does once there is room again
    at_once: bool
    later: bool
    #: whether the file is sound, and nobody is served the candidate after a revert that committed
    sound: bool
    #: errors other than that the store can't be used
    wrong: int


def one(folder: Path) -> Disk:
    """Fill one disk, revert, make room."""
    theirs = folder / "somebody-elses"
    theirs.write_bytes(bytes(400_000))
    url = f"sqlite:///{folder / 'lastgood.db'}"
    upgrade(url)
    store = store_at(url)
    _, candidate = adopted(store)
    release_id = opened(store, candidate)
    found = fill(store)
    at_once, units = reverted(store, release_id), [f"u{turn}" for turn in range(200)]
    arms = {serving(store).router.route(unit).arm for unit in units if at_once}
    theirs.unlink()
    later = at_once or reverted(store, release_id)
    store.close()
    kept = {row["id"] for row in rows(store, "SELECT id FROM run")}
    ended = {row["run_id"] for row in rows(store, "SELECT run_id FROM outcome")}
    lost = len(set(found.runs) - kept) + len(set(found.outcomes) - ended)
    sound = rows(store, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    acknowledged = len(found.runs) + len(found.outcomes)
    return Disk(acknowledged, lost, at_once, later, sound and arms <= {"baseline"}, len(found.wrong))


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Fill a few small disks."""
    what, disks = f"a tmpfs of {SIZE} runs full of runs and outcomes", []
    for _ in range(1 if quick else ROUNDS):
        with small_disk() as folder:
            if folder is None:
                yield Line("F7", what, "not run: mounting a tmpfs needs root", None)
                return
            disks.append(one(folder))
    acknowledged, lost = sum(disk.acknowledged for disk in disks), sum(disk.lost for disk in disks)
    at_once, sound = sum(disk.at_once for disk in disks), sum(disk.sound for disk in disks)
    figure = (
        f"{len(disks)} disks, {acknowledged} acknowledged rows, lost {lost}; sound {sound}; reverts that "
        f"committed on the full disk {at_once}, once there was room {sum(disk.later for disk in disks)}; "
        f"other errors {sum(disk.wrong for disk in disks)}"
    )
    good = all(disk.at_once and disk.sound and not disk.wrong for disk in disks)
    yield Line("F7", what, figure, good and lost == 0 and acknowledged > 0)


if __name__ == "__main__":
    main(run, "F7", ("SQLite",))
