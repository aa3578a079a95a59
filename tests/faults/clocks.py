"""F8: the wall clock jumps by an hour, a day, backwards, into and out of summer time."""

from collections.abc import Iterator

from common import HOUR, MINUTE, SECOND, Line, Place, again, main, seasoned

from evaluators.stages import Move
from tasks import driving
from tests.tasks.conftest import World

DAY = 24 * HOUR
JUMPS = {
    "an hour ahead": HOUR, "a day ahead": DAY, "an hour back": -HOUR, "a day back": -DAY,
    "summer time begins": HOUR, "summer time ends": -HOUR, "a leap second": SECOND,
}  # fmt: skip
LEASE = 3 * MINUTE
#: the last step asks for an hour that has not passed when the clock jumps
POLICY = """
name: timed
lost_after: 1 min
guardrails: {completion: {margin: 30 points}}
alpha: {promote: 0.2}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 50%, min_runs: 10, min_time: 6 h}]
lease: 3 min
"""


def canary(world: World) -> driving.Driver:
    """A release whose evidence would promote, were the step's time not to come."""
    driver = driving.begin(world.store, world.start(POLICY), "me")
    for _ in range(3):
        world.step(driver)
    for _ in range(4):
        world.work(100, good=0.9, candidate=1.0, every=SECOND)
        world.step(driver)
    world.clock.advance(MINUTE)
    world.step(driver)
    return driver


def arms(world: World) -> set[str]:
    """What a router that has just come serves, and one that assigns."""
    router = world.serving.router
    return {router.route(f"u{turn}").arm for turn in range(60)} | {
        world.assign().decision.arm for _ in range(40)
    }


def jumped(world: World, jump_us: int) -> tuple[int, int, int]:
    """Let the clock jump inside a lease: leases cut short, leases that lasted too long, promotes."""
    driver, warm = driving.begin(world.store, driving.live_releases(world.store)[0], "me"), world.serving
    warm.router.route("first")
    world.clock.advance(MINUTE)
    world.clock.wall_us += jump_us
    short = int("candidate" not in arms(world))
    early = int(driving.due(world.store, driver).transition.move is Move.PROMOTE)
    world.clock.advance(LEASE - MINUTE + SECOND)
    long = int("candidate" in arms(world)) + int(
        any(warm.router.route(f"u{n}").arm == "candidate" for n in range(60))
    )
    early += int(driving.due(world.store, driver).transition.move is Move.PROMOTE)
    return short, long, early


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Every jump, on one kind of store."""
    ready = seasoned(place.migrated())
    canary(ready)
    short = long = early = 0
    for jump_us in [HOUR, -DAY] if quick else JUMPS.values():
        world = again(ready, place.copy(ready.store))
        found = jumped(world, jump_us)
        short, long, early = (a + b for a, b in zip((short, long, early), found, strict=True))
        place.drop(world.store)
    what = f"the wall clock jumps: {', '.join(JUMPS)}"
    figure = f"{len(JUMPS)} jumps: candidate served after its lease {long}, "
    figure += f"leases cut short {short}, early promotes {early}"
    yield Line("F8", what, figure, (short, long, early) == (0, 0, 0))


if __name__ == "__main__":
    main(run, "F8")
