"""One routing decision beside a bare hash-and-compare and beside flag SDKs, at one verified split.

Runs in the environment of peers.txt; without it, with `--floor`, beside the bare hash alone.
"""

import argparse
import os
import sys
from collections.abc import Callable
from hashlib import blake2b

from measuring import ENVIRONMENT, Figure, interleaved, ratio, served, tell, temporary_store

from lastgood.router import Router
from lastgood.snapshot import Serving
from lastgood.store.connection import Store

SHARE_BP = 1_000
UNITS = [f"user-{number:06d}" for number in range(2_000)]
#: four standard deviations of a share of 10% among 100,000
NOISE = 0.0038


def bare(salt: str, share_bp: int) -> Callable[[str], bool]:
    """The quickest correct split that CPython has: a hash begun once, digests compared as bytes."""
    begun = blake2b(salt.encode(), digest_size=8)
    limit = (-(-(share_bp << 64) // 10_000)).to_bytes(8, "big")

    def split(unit: str) -> bool:
        hashed = begun.copy()
        hashed.update(unit.encode())
        return hashed.digest() < limit

    return split


def plain(salt: str, share_bp: int) -> Callable[[str], bool]:
    """The split as it is usually written: the digest as a number, scaled to basis points."""
    copy = blake2b(salt.encode(), digest_size=8).copy

    def split(unit: str) -> bool:
        hashed = copy()
        hashed.update(unit.encode())
        return int.from_bytes(hashed.digest(), "big") * 10_000 >> 64 < share_bp

    return split


def each(decide: Callable[[str], object], units: list[str]) -> Callable[[], None]:
    """Work: decide for every unit."""

    def work() -> None:
        for unit in units:
            decide(unit)

    return work


def by_turns(routes: list[Callable[[str], object]], units: list[str]) -> Callable[[], None]:
    """Work: decide for every unit, each for the next agent.

    Ten times over: what a round begins with, nobody having asked these agents for a while, is the least of
    it, as it is for one agent.
    """
    turns = [(routes[number % len(routes)], unit) for number, unit in enumerate(units * 10)]

    def work() -> None:
        for route, unit in turns:
            route(unit)

    return work


def beside_floor(store: Store, agents: list[str], rounds: int) -> list[Figure]:
    """Compare one agent's router with the bare hash, and many agents' with one's."""
    routers = [Serving(store, agent, ENVIRONMENT).router for agent in agents]
    loaded = [router.route for router in routers]
    # the same snapshots and words in routers of their own, as a process has that was given them
    routes = [Router(router.snapshot, store.clock, mark=router.mark).route for router in routers]
    split, number = bare(f"rel_{agents[0]}", SHARE_BP), plain(f"rel_{agents[0]}", SHARE_BP)
    assert all((routes[0](u).arm == "candidate") == split(u) == number(u) for u in UNITS)
    many = UNITS * 10
    works = {"route": each(loaded[0], many), "bare": each(split, many), "plain": each(number, many)}
    splits = [bare(f"rel_{agent}", SHARE_BP) for agent in agents]
    for count in (1, 10, 100, len(agents)):
        works[f"{count}"] = by_turns(routes[:count], UNITS)
        works[f"bare {count}"] = by_turns(splits[:count], UNITS)
    works["loaded"] = by_turns(loaded, UNITS)
    taken = interleaved(works, rounds)
    micro = sorted(taken["route"])[rounds // 2] / len(many) * 1e6
    quick, usual = ratio(taken, "route", "bare"), ratio(taken, "route", "plain")
    turns = [
        Figure(
            f"with {n} agents in turn",
            f"{ratio(taken, f'{n}', f'bare {n}'):.2f}x",
            f"{n} bare hashes in turn",
            "<= 1.5x",
            ratio(taken, f"{n}", f"bare {n}") <= 1.5,
        )
        for n in (1, 10, 100, len(agents))
    ]
    return [
        Figure(
            "a routing decision with every check",
            f"{quick:.2f}x ({micro:.2f} us)",
            "the quickest bare blake2b-and-compare",
            "<= 1.5x",
            quick <= 1.5,
        ),
        Figure("the same", f"{usual:.2f}x", "blake2b-and-compare by int.from_bytes", "<= 1.5x", usual <= 1.5),
        *turns,
        Figure(
            f"{len(agents)} agents in turn",
            f"{ratio(taken, f'{len(agents)}', '1'):.2f}x",
            "one agent",
            "flat: <= 1.5x",
            ratio(taken, f"{len(agents)}", "1") <= 1.5,
        ),
        Figure(
            "the same beside all that they loaded from the store",
            f"{ratio(taken, 'loaded', '1'):.2f}x",
            "one agent; the memory of a decision is no longer in the cache",
        ),
    ]


def beside_peers(store: Store, agents: list[str], rounds: int, verified: int) -> list[Figure]:
    """Compare the router with each SDK, all of which hold as many flags as there are agents."""
    import peers

    peers.quiet()
    route = Serving(store, agents[0], ENVIRONMENT).router.route
    decides = {name: build(agents, SHARE_BP) for name, (build, _) in peers.PEERS.items()}
    shares = {"route": sum(route(f"u{n}").arm == "candidate" for n in range(verified)) / verified}
    for name, decide in decides.items():
        shares[name] = sum(bool(decide(agents[0], f"u{n}")) for n in range(verified)) / verified
    units = UNITS * 2
    works: dict[str, Callable[[], object]] = {"route": each(route, units)}
    for name, decide in decides.items():
        works[name] = each(lambda unit, decide=decide: decide(agents[0], unit), units)
    taken = interleaved(works, rounds)
    by = {name: ratio(taken, name, "route") for name in decides}
    found = [
        Figure(
            f"{name} on the same split",
            f"{by[name]:.0f}x the router",
            f"share {shares[name]:.2%} of {verified:,}",
        )
        for name in decides
    ]
    pure = [name for name in decides if peers.PEERS[name][1]]
    fastest, fastest_pure = min(by.values()), min(by[name] for name in pure)
    even = all(
        abs(share - SHARE_BP / 10_000) < NOISE * (100_000 / verified) ** 0.5 for share in shares.values()
    )
    return [
        Figure(
            "the fastest SDK",
            f"{fastest:.1f}x the router",
            min(by, key=by.__getitem__),
            ">= 5x",
            fastest >= 5,
        ),
        Figure(
            "the fastest SDK in pure Python",
            f"{fastest_pure:.1f}x the router",
            min(pure, key=by.__getitem__),
            ">= 10x",
            fastest_pure >= 10,
        ),
        Figure(
            "the split is the same everywhere",
            f"router {shares['route']:.2%}",
            f"{SHARE_BP / 10_000:.0%}",
            "within noise",
            even,
        ),
        *found,
    ]


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--floor", action="store_true", help="no SDKs")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs")
    given = parser.parse_args()
    rounds, verified, count = (3, 2_000, 20) if given.quick else (101, 100_000, 1_000)
    agents = [f"agent-{number}" for number in range(count)]
    with temporary_store() as store:
        served(store, agents, SHARE_BP)
        tell(beside_floor(store, agents, rounds))
        if not given.floor:
            tell(beside_peers(store, agents, rounds // 2, verified))
    sys.stdout.flush()
    os._exit(0)  # SDKs leave threads behind that want the network


if __name__ == "__main__":
    main()
