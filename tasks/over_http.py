"""What the HTTP service takes from the pipeline, by the entry points of `lastgood.service`."""

from lastgood import releasing
from lastgood.store.connection import Store
from tasks import checkout, policies, preflight
from tasks.policies import Trade


def start(
    store: Store, *, agent: str, environment: str, candidate: str, policy: str, actor: str, note: str
) -> str:
    """Record a release that passes preflight; return its id. Raises what `preflight.check` raises."""
    checkout.verify()
    wanted = preflight.Wanted(agent, candidate, policy, environment, actor, note=note)
    return releasing.start(store, preflight.check(store, wanted))


def waive(
    store: Store,
    *,
    policy: str,
    guardrail: str,
    stratum: str,
    reason: str,
    approver: str,
    actor: str,
) -> tuple[str, str]:
    """Store a version of a policy with a trade added; return its name and digest; raises as `waive` there."""
    checkout.verify()
    kept = policies.waive(store, policy, Trade(guardrail, stratum, reason, approver), actor=actor)
    return kept.name, kept.digest
