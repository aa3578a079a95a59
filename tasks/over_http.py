"""What the HTTP service takes from the pipeline, by the entry points of `lastgood.service`."""

from lastgood import releasing
from lastgood.store.connection import Store
from tasks import checkout, preflight


def start(
    store: Store, *, agent: str, environment: str, candidate: str, policy: str, actor: str, note: str
) -> str:
    """Record a release that passes preflight; return its id. Raises what `preflight.check` raises."""
    checkout.verify()
    wanted = preflight.Wanted(agent, candidate, policy, environment, actor, note=note)
    return releasing.start(store, preflight.check(store, wanted))
