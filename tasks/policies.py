"""Policies in the store: kept by digest, found by name, with trades that were accepted beforehand."""

from dataclasses import dataclass

from config.amended import waived
from config.policy import Policy, built_in
from lastgood.errors import InvalidPolicy
from lastgood.scanning import scan_json
from lastgood.store import statements as sql
from lastgood.store.connection import Store
from tasks import preflight


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored policy."""

    name: str
    digest: str
    #: whether it was not stored before
    new: bool
    #: digest of the version that its name means
    meant: str


@dataclass(frozen=True, slots=True)
class Trade:
    """A known trade: a guardrail may get worse in one slice."""

    guardrail: str
    slice: str
    reason: str
    approver: str


def keep(store: Store, policy: Policy, author: str) -> Kept:
    """Store a policy by its digest; its newest version serves under its name.

    Raises `InvalidPolicy` for the name of a built-in one, and for what looks like a secret.
    """
    if policy.name in built_in():
        msg = f"the name {policy.name} is a built-in policy's; give yours another name"
        raise InvalidPolicy(msg)
    scan_json("a policy", policy.to_json(), InvalidPolicy)
    values: dict[str, object] = {
        "digest": policy.digest,
        "name": policy.name,
        "body": policy.to_json(),
        "author": author,
    }
    with store.transaction(durable=True) as txn:
        values["created_us"] = txn.now_us
        new = txn.run(sql.insert_new("policy", tuple(values)), **values)
        newest = txn.one(sql.POLICY_BY_NAME, name=policy.name)
    return Kept(policy.name, policy.digest, bool(new), newest["digest"] if newest else policy.digest)


def waive(store: Store, reference: str, trade: Trade, *, actor: str) -> Kept:
    """Store a version of a policy with a trade added; live releases keep the policy they started with.

    Raises `NotFound`, and `InvalidPolicy` naming what the policy has no such thing of.
    """
    with store.reading() as txn:
        policy = preflight.find_policy(txn, reference)
    return keep(store, waived(policy, trade.guardrail, trade.slice, trade.reason, trade.approver), actor)


__all__ = ["Kept", "Trade", "keep", "waive"]
