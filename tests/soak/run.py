"""`make soak`: a week in an hour. Everything at once on Postgres, under load and faults; writes docs/soak.md.

Prefect's server and the store on one Postgres, two real workers, `lastgood serve`, eight agent processes,
releases good and bad all the time, a fault every minute or two, retention at work. No clock can be virtual
where Prefect, Postgres, HTTP and the kernel each have their own: so every limit that is counted in days is
divided instead, and the minutes of a soak stand for a week. Afterwards every run is held to the ledger.
"""

import argparse
import os
import pickle
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lastgood import retention
from lastgood.store.connection import Store
from tests.soak import diary, page, stack
from tests.soak.archive import Archive, Housekeeper
from tests.soak.faults import Faults
from tests.soak.findings import Seen, found, seen
from tests.soak.releases import People
from tests.soak.sampling import Sampler

#: a soak of an hour: seconds between two faults
GAP_S = (50.0, 100.0)
#: seconds that live releases have to end by themselves: Prefect keeps the slot of a dead evaluation for
#: five minutes
DRAIN_S = 420.0


def limits(week_s: float) -> retention.Limits:
    """Run records for a day, evidence and ledger for two, of a week of so many seconds."""
    day_us = round(week_s / 7 * 1e6)
    return retention.Limits(runs_us=day_us, evidence_us=2 * day_us, ledger_us=2 * day_us)


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def disturbed(whole: stack.Stack, faults: Faults, people: People, minutes: float) -> None:
    """Inject faults until the time is over; begin anew what ended by itself."""
    began, shrunk = time.monotonic(), min(1.0, minutes / 10)
    until, swept = began + 60 * minutes, began
    due = began + 30 * shrunk
    while (now := time.monotonic()) < until:
        whole.revive()
        if now >= due and now < until - 45 * shrunk:
            say(faults.inject(now - began, (now - began) / (until - began)))
            due = time.monotonic() + faults.draw.uniform(*GAP_S) * shrunk
        if now - swept > 10 * minutes:  # an hour's `sweep-runs` of a week would be 21 s here
            swept = now
            people.sweep_soon()
        time.sleep(0.5)


def drained(people: People) -> int:
    """Start no more, and wait until what lives has ended; how many had not."""
    people.close()
    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until and (people.waits or people.live()):
        time.sleep(2)
    return len(people.live())


def soaked(folder: Path, minutes: float, seed: int) -> Seen:
    """Run the whole, and keep what was seen."""
    week_s = 60 * minutes
    load = os.getloadavg()[0]
    with stack.at_work(folder, week_s) as whole:
        people = People(whole, random.Random(f"people {seed}"), close_s=week_s / 28)
        whole.install()
        whole.agents = stack.agents(whole)
        for each in whole.agents:
            each.begin()
        archive = Archive(Store(whole.store.url))
        house = Housekeeper(archive, limits(week_s), max(15.0, week_s / 28))
        faults, sampler = Faults(whole, random.Random(f"faults {seed}")), Sampler(whole)
        say("everything is up")
        began = time.monotonic()
        for each in (sampler, people, house):
            each.start()
        try:
            disturbed(whole, faults, people, minutes)
            say("no more faults; what lives has time to end")
            undecided = drained(people)
        finally:
            people.stop()
            sampler.stop()
            house.stop()
        for each in whole.agents:
            each.end()
        archive.snapshot()
        hours = (time.monotonic() - began) / 3600
        return seen(whole, archive, people, faults, sampler, undecided=undecided, hours=hours, load=load)


def main() -> int:
    """Soak, write the page where it was an hour, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long, which stand for a week")
    parser.add_argument("--seed", type=int, default=1, help="of the faults and releases")
    parser.add_argument("--keep", type=Path, help="a folder for logs and diaries, which stay")
    parser.add_argument("--again", type=Path, help="judge what a soak with --keep left in this folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lastgood-soak-logs-", ignore_cleanup_errors=True) as name:
        folder = given.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if given.again is None:
            kept = soaked(folder, given.minutes, given.seed)
            (folder / "seen.pickle").write_bytes(pickle.dumps(kept))
        else:
            folder = given.again
            kept = pickle.loads((folder / "seen.pickle").read_bytes())
        say("holding every run to the ledger")
        findings = found(kept, diary.read(folder))
        text = page.made(findings, given.minutes)
    sys.stdout.write(text)
    if given.minutes >= 60:
        (stack.ROOT / "docs" / "soak.md").write_text(text, encoding="utf-8")
    for line in findings.wrong:
        sys.stderr.write(f"{line}\n")
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
