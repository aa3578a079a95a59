"""How long a switch takes to reach a process without the database: over LASTGOOD_URL, by the stream."""

import argparse
import statistics
import time

from measuring import ENVIRONMENT, Figure, percentile, tell, temporary_store
from recording import live

import lastgood
from lastgood import agent as agents
from lastgood import control, remote_serving
from lastgood.roles import Role
from lastgood.router import Router
from tests import serving


def heard_ms(router: Router, *, killed: bool) -> float:
    """Wait until the router knows of the kill switch; milliseconds since now."""
    began = time.monotonic()
    while (router.route("u").reason == "killed") is not killed:
        time.sleep(0.0005)
    return (time.monotonic() - began) * 1_000


def main() -> None:
    """Turn the kill switch on and off; the process hears by the stream alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a handful of rounds")
    rounds = 5 if parser.parse_args().quick else 200
    poll_ms, remote_serving.POLL_S = remote_serving.POLL_S * 1_000, 3_600.0
    with temporary_store() as store:
        live(store)
        with serving.served(store.url) as service:
            token = serving.token(store, Role.AGENT)
            lastgood.configure(url=f"http://127.0.0.1:{service.port}", token=token)
            with lastgood.run("support", "u"):
                pass
            served = agents._remote().serving("support", ENVIRONMENT)
            assert served.hearing.connected.wait(30)
            who, taken = {"actor": "bench", "reason": "measure"}, []
            for _ in range(rounds):
                control.kill(store, "support", ENVIRONMENT, **who)
                taken.append(heard_ms(served.router, killed=True))
                control.clear(store, "support", ENVIRONMENT, **who)
                heard_ms(served.router, killed=False)
            lastgood.flush()
            served.hearing.end()
    median = statistics.median(taken)
    tell(
        [
            Figure(
                f"a switch is known to a process over LASTGOOD_URL, of {rounds}",
                f"median {median:.1f} ms, p99 {percentile(taken, 0.99):.1f} ms",
                f"a poll every {poll_ms:,.0f} ms",
                "a tenth of a poll",
                median <= poll_ms / 10,
            )
        ]
    )


if __name__ == "__main__":
    main()
