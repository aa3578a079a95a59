"""What may come of a canary: short fixed stories that random rules seldom put together."""

from collections.abc import Callable

from core import HOUR, MINUTE, SECOND
from reference import Run
from world import World

#: by name: what follows a canary that serves and has some ended runs
AFTER: dict[str, Callable[[World, int], None]] = {}
Story = Callable[[World, int], None]


def _story(name: str) -> Callable[[Story], Story]:
    def add(function: Story) -> Story:
        AFTER[name] = function
        return function

    return add


def ready(world: World, actor: int, bundle: int) -> None:
    """Whatever was before: nothing is killed, stopped, cut off or kept out."""
    ref, wanted = world.ref, world.bundles[bundle]
    if ref.killed:
        world.switch(actor, "clear")
    if ref.stopped:
        world.switch(actor, "unstop")
    for other in (0, 1):
        world.link(other, cut=False)
    if ref.release is None and wanted in ref.kept_out:
        world.readmit(actor, wanted)


def _serve(world: World, actor: int, lease_us: int = 3 * HOUR) -> None:
    """The candidate serves everybody that may meet it."""
    world.remember()
    world.share(actor, 0, 10_000, lease_us)
    world.remember()


def _begin(world: World, actor: int, unit: str, conversation: str | None = None) -> Run | None:
    return world.begin(actor, unit, None, "faq", conversation)


def _newest(world: World, *, ended: bool) -> Run | None:
    """The live release's newest candidate run that has, or has not, ended."""
    runs = (r for r in reversed(world.ref.runs.values()) if r.release and r.release == world.ref.release)
    return next((r for r in runs if r.arm == "candidate" and (r.outcome is not None) is ended), None)


# -- releases


@_story("kill")
def _kill(world: World, actor: int) -> None:
    world.switch(actor, "kill")
    run = _begin(world, 1 - actor, "u1")
    if run is not None:
        world.act(actor, run, "refund", None, "done")
    world.look(actor, 0, "pass", 5)
    world.start(actor, world.bundles[3], world.ref.terms)
    world.promote(actor, 0, held=False)
    world.switch(1 - actor, "clear")
    _begin(world, 1 - actor, "u2", "c1")


@_story("promote")
def _promote(world: World, actor: int) -> None:
    for kind, runs in (("invalid", 5), ("pass", 2), ("pass", 3)):
        world.look(actor, 0, kind, runs)


@_story("vouch")
def _vouch(world: World, actor: int) -> None:
    world.promote(actor, 0, held=True)


@_story("harm")
def _harm(world: World, actor: int) -> None:
    world.wait(2 * HOUR)
    world.look(actor, 0, "harm", 5)


@_story("back")
def _back(world: World, actor: int) -> None:
    _promote(world, actor)
    for us in (0, 2 * HOUR, 0):
        world.wait(us)
        world.rollback(actor, None, vouched=False)


@_story("lapse")
def _lapse(world: World, actor: int) -> None:
    world.wait(2 * HOUR)
    _begin(world, actor, "u1", "c1")
    world.renew(actor, 0, HOUR)
    for kind in ("hold", "no_data", "hold"):
        world.look(actor, 0, kind, 5)


@_story("rest")
def _rest(world: World, actor: int) -> None:
    """A bundle that was reverted by hand may be tried again once it has cooled down."""
    candidate, terms = world.ref.candidate, world.ref.terms
    world.revert(actor, 0, "hand", held=False)
    for us in (0, terms.cooldown_us):
        world.wait(us)
        if candidate is not None:
            world.start(actor, candidate, terms)


@_story("watch")
def _watch(world: World, actor: int, us: int = SECOND) -> None:
    _promote(world, actor)
    run = _begin(world, 1 - actor, "u2")
    world.wait(us)
    if run is not None:
        world.act(actor, run, "message", "k1", "open")
        for token in ("right", "none"):
            world.event(actor, run, "data_leak", token)
        world.act(1 - actor, run, "message", "k2", "done")


@_story("alarm")
def _alarm(world: World, actor: int) -> None:
    _watch(world, actor, us=HOUR)


@_story("stale")
def _stale(world: World, actor: int) -> None:
    world.take_over(1 - actor, 0)
    for which in (3, 1, 0):
        world.renew(actor, which, HOUR)
        world.enter(actor, which, "compare")
        world.share(actor, which, 5_000, HOUR)


@_story("ramp")
def _ramp(world: World, actor: int) -> None:
    """A conversation and a run that began before a ramp go on as they were."""
    run = _begin(world, actor, "u1", "c2")
    world.remember()
    world.share(actor, 0, 1_000, HOUR)
    for unit in ("u1", "u2", "u3"):
        _begin(world, 1 - actor, unit, "c2" if unit == "u1" else None)
    if run is not None:
        world.act(actor, run, "refund", None, "done")


# -- runs


@_story("slow")
def _slow(world: World, actor: int) -> None:
    """A block that does not fill closes by time."""
    world.wait(HOUR)
    _serve(world, actor)
    for us in (HOUR + SECOND, 0):
        _begin(world, actor, "u1")
        world.wait(us)


@_story("late")
def _late(world: World, actor: int) -> None:
    for number, run in enumerate(list(world.ref.runs.values())[-3:]):
        for _ in range(2):
            world.late(actor, run, {"completed": False, "cost_usd": 0.6}, f"r{number}", "right")
        world.end(actor, [run, run], [{"completed": True}] * 2, "none")


@_story("dear")
def _dear(world: World, actor: int) -> None:
    """A run cost more than it said: counted, and above its ceiling the release is reverted."""
    world.wait(HOUR)
    _serve(world, actor)
    run = _begin(world, actor, "u1")
    if run is not None:
        world.end(actor, [run], [{"completed": True, "cost_usd": 0.1}], "none")
        for cost in (0.2, 0.45, 0.7):
            world.late(actor, run, {"cost_usd": cost}, None, "right")


@_story("dry")
def _dry(world: World, actor: int) -> None:
    """Runs that never report use a ceiling up; what they reserved comes back once they are lost."""
    world.wait(HOUR)  # a fresh hour of the ceilings
    _serve(world, actor)
    for unit in range(1, 6):
        _begin(world, actor, f"u{unit}")
    world.wait(world.ref.terms.lost_after_us + MINUTE)
    for unit in range(6, 10):
        _begin(world, 1 - actor, f"u{unit}")
    for ended in (True, False):
        if (run := _newest(world, ended=ended)) is not None:
            world.end(actor, [run], [{"completed": True, "cost_usd": 0.25}], "none")
    _begin(world, actor, "u1")


@_story("silent")
def _silent(world: World, actor: int) -> None:
    """Runs that never report are lost, and count so once another one reports."""
    world.wait(HOUR)
    _serve(world, actor)
    for unit in range(1, 7):
        _begin(world, actor, f"u{unit}")
    world.wait(world.ref.terms.lost_after_us + MINUTE)
    if (run := _newest(world, ended=False)) is not None:
        world.end(actor, [run], [{"completed": True}], "none")


# -- actions


@_story("halt")
def _halt(world: World, actor: int) -> None:
    """Nothing leaves an agent that was stopped, in either arm."""
    _serve(world, actor)
    run = _begin(world, actor, "u1")
    for what in ("stop", "unstop"):
        world.switch(actor, what)
        if run is not None:
            world.act(1 - actor, run, "refund", None, "done")


@_story("fails")
def _fails(world: World, actor: int) -> None:
    """Actions that failed take no place; those that happened do."""
    world.wait(HOUR)
    _serve(world, actor)
    for unit in ("u1", "u2"):
        if (run := _begin(world, actor, unit)) is not None:
            for end in ("failed", "failed", "done", "done", "done"):
                world.act(actor, run, "message", None, end)


@_story("doubt")
def _doubt(world: World, actor: int) -> None:
    """An action whose end is not known is not made again; one that failed is."""
    world.wait(HOUR)
    _serve(world, actor)
    if (run := _begin(world, actor, "u1")) is not None:
        for key, end in (("k1", "failed"), ("k1", "open"), ("k1", "done"), ("k2", "done"), ("k2", "done")):
            world.act(actor, run, "message", key, end)


@_story("again")
def _again(world: World, actor: int) -> None:
    """An idempotent action in doubt is made again: it takes its place in the hour of each call."""
    world.wait(HOUR)
    _serve(world, actor)
    runs = [run for unit in ("u1", "u2", "u3") if (run := _begin(world, actor, unit)) is not None]
    if not runs:
        return
    for _ in range(2):
        world.act(actor, runs[0], "message", "k1", "open", idempotent=True)
    world.wait(HOUR)
    for run in (runs[-1], runs[-1]):
        world.act(actor, run, "message", None, "done")
    world.act(1 - actor, runs[0], "message", "k1", "failed", idempotent=True)
    for run in runs[1:]:
        world.act(actor, run, "message", None, "done")


__all__ = ["AFTER", "ready"]
