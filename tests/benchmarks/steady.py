"""The service's memory over a million runs: resident kB while outcomes come in batches.

The runs' rows are written by this program, as agents in process write theirs (half of them are a live
release's, in either arm), and their outcomes come over HTTP in batches of 1,000, each with its run's token.
Beside each batch ten runs are entered and reported one by one, and fifty evaluations asked for.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterator

from measuring import Figure, tell, temporary_store
from recording import live

from lastgood import assigning, identity
from lastgood.assigning import Request
from lastgood.ids import new_id
from lastgood.roles import Role
from lastgood.snapshot import Serving
from lastgood.store.connection import Store
from tests import serving
from tests.serving import Client

BATCH, ALONE, LOOKS = 1_000, 10, 50
RUNS, OUTCOMES = "/v1/agents/support/runs", "/v1/agents/support/outcomes"
EVALUATE = "/ofrep/v1/evaluate/flags/support"
#: the first runs fill what is kept for good: connections, prepared statements, caches
WARM = 50_000
#: MB that the memory may have grown by from there to the end, as medians of a tenth of the way each
MOST_MB = 8


def templates(store: Store, served: Serving) -> list[dict]:
    """A row of each arm."""
    found: dict[str, dict] = {}
    for turn in range(10_000):
        given = assigning.assign(served, Request(f"template-{turn}", "faq", None, None))
        if given.decision.arm not in found:
            with store.reading() as txn:
                row = dict(txn.one("SELECT * FROM run WHERE id = :id", id=given.run_id))
            found[given.decision.arm] = {name: value for name, value in row.items() if name != "seq"}
        if len(found) == 2:
            return list(found.values())
    raise RuntimeError("one arm is served nothing")


def batches(store: Store, rows: list[dict], number: int) -> Iterator[bytes]:
    """Write so many thousand runs' rows; yield the bodies that report them."""
    keys, columns = identity.keys(store), tuple(rows[0])
    for turn in range(number):
        now_us, made, lines = store.clock.now_us(), [], []
        until = now_us + identity.LIFETIME_US
        for place in range(BATCH):
            row = rows[place % len(rows)]
            run_id = new_id("run_", now_us)
            made.append(
                tuple({**row, "id": run_id, "unit": f"{turn}-{place}", "assigned_us": now_us}.values())
            )
            token = identity.sign(keys, run_id, row["bundle_id"], row["epoch"], until)
            lines.append({"run": run_id, "token": token, "completed": place % 20 > 0, "cost_usd": 0.01})
        with store.transaction() as txn:
            txn.insert_new("run", columns, made)
        yield "\n".join(map(json.dumps, lines)).encode()


def beside(client: Client, turn: int) -> None:
    """What else comes meanwhile."""
    for place in range(ALONE):
        _, run = client.post(RUNS, {"unit": f"alone-{turn}-{place}"})
        status, said = client.lines(OUTCOMES, [{"run": run["run"], "token": run["token"], "completed": True}])
        if status != 200 or said["new"] != 1:
            raise RuntimeError(f"{status} {said}")
    for place in range(LOOKS):
        context = {"targetingKey": f"look-{turn}-{place}", "record": False}
        if client.post(EVALUATE, {"context": context})[0] != 200:
            raise RuntimeError("an evaluation failed")


def measure(runs: int) -> Figure:
    """Sample the memory after each batch."""
    with temporary_store() as store:
        rows = templates(store, live(store))
        token, sampled, new = serving.token(store, Role.AGENT), [], 0
        with serving.served(store.url) as server:
            client = Client(server.port, token)
            for turn, body in enumerate(batches(store, rows, runs // BATCH)):
                status, said = client.ask("POST", OUTCOMES, body)
                if status != 200:
                    raise RuntimeError(f"{status} {said[:300]!r}")
                new += json.loads(said)["new"]
                beside(client, turn)
                sampled.append(server.memory_kb() / 1e3)
    steady = sampled[min(WARM, runs // 5) // BATCH :]
    tenth = max(1, len(steady) // 10)
    first, last = statistics.median(steady[:tenth]), statistics.median(steady[-tenth:])
    alone = len(sampled) * ALONE
    return Figure(
        f"memory of the service over {new + alone:,} runs",
        f"{last - first:+.1f} MB, from {first:.0f} to {last:.0f} MB, at most {max(sampled):.0f} MB",
        f"{new:,} in batches of {BATCH:,}, {alone:,} one by one, {len(sampled) * LOOKS:,} evaluations",
        f"flat: < {MOST_MB} MB",
        last - first < MOST_MB and new == runs // BATCH * BATCH,
    )


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs: to see that it runs")
    parser.add_argument("--runs", type=int, default=1_000_000)
    given = parser.parse_args()
    os.environ[identity.VARIABLE] = serving.KEY
    tell([measure(20_000 if given.quick else given.runs)])


if __name__ == "__main__":
    main()
