"""Access tokens: what a client of the HTTP service shows, and what the store keeps of it.

    lgt_ID_SECRET

The store keeps the id, a sha256 of the secret (256 random bits: no slow hash is needed), its role, scope and
times; the secret is shown once. A rotated token goes on until its grace is over: no client is cut off.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from lastgood.bundle import check_name
from lastgood.errors import InvalidInput, NotFound, Unauthenticated
from lastgood.roles import EVERY, Principal, Role
from lastgood.store import access
from lastgood.store.connection import Row, Store, Transaction

DAY_US = 24 * 3_600_000_000
#: how long a token is good for unless told otherwise, and at most, microseconds
LIFETIME_US, LONGEST_US = 90 * DAY_US, 366 * DAY_US
#: how long a rotated token goes on, microseconds
GRACE_US = DAY_US
_TOKEN = re.compile(r"lgt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token; the text is never shown again."""

    id: str
    text: str
    expires_us: int

    def __repr__(self) -> str:
        return f"Minted({self.id})"  # never the secret


def mint(
    store: Store,
    name: str,
    role: Role,
    *,
    actor: str,
    agents: Iterable[str] = (EVERY,),
    environments: Iterable[str] = (EVERY,),
    lifetime_us: int = LIFETIME_US,
) -> Minted:
    """Make a token for `name`; raises `InvalidInput` for a name, scope or lifetime that can't be."""
    scopes = _scope("an agent", agents), _scope("an environment", environments)
    if not _NAME.fullmatch(name):
        msg = f"{name!r} can't name a token: write 1 to 100 printable characters, for example who uses it"
        raise InvalidInput(msg)
    if not 0 < lifetime_us <= LONGEST_US:
        msg = f"a token lives between a moment and {LONGEST_US // DAY_US} days, not {lifetime_us / DAY_US:g}"
        raise InvalidInput(msg)
    with store.transaction(durable=True) as txn:
        return _insert(txn, name, role, scopes, actor, lifetime_us)


def _scope(what: str, names: Iterable[str]) -> str:
    found = sorted(set(names))
    if not found:
        msg = f"a token needs {what} in its scope; write * for every one"
        raise InvalidInput(msg)
    for name in found:
        if name != EVERY:
            check_name(name, what)
    return json.dumps(found)


def _insert(
    txn: Transaction, name: str, role: Role, scopes: tuple[str, str], actor: str, lifetime_us: int
) -> Minted:
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    expires_us = txn.now_us + lifetime_us
    row = {"id": token_id, "name": name, "role": str(role), "digest": _digest(secret)}
    row |= {"agents": scopes[0], "environments": scopes[1]}
    txn.insert(
        "access_token", row | {"created_by": actor, "created_us": txn.now_us, "expires_us": expires_us}
    )
    return Minted(token_id, f"lgt_{token_id}_{secret}", expires_us)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def rotate(store: Store, token_id: str, *, actor: str, grace_us: int = GRACE_US) -> Minted:
    """Make a successor of the same name, role, scope and lifetime; the old one ends after `grace_us`.

    Raises `NotFound`, and `InvalidInput` for one that has ended: make a new one then.
    """
    with store.transaction(durable=True) as txn:
        row = _row(txn, token_id)
        if row["expires_us"] <= txn.now_us:
            msg = (
                f"the token {token_id} of {row['name']} has ended: make a new one with `lastgood token make`"
            )
            raise InvalidInput(msg)
        if row["replaced_by"] is not None:
            msg = f"the token {token_id} was rotated to {row['replaced_by']} already: rotate that one"
            raise InvalidInput(msg)
        scopes = row["agents"], row["environments"]
        lifetime_us = row["expires_us"] - row["created_us"]
        made = _insert(txn, row["name"], Role(row["role"]), scopes, actor, lifetime_us)
        txn.run(access.REPLACE, id=token_id, at_us=txn.now_us + grace_us, replaced_by=made.id)
        return made


def revoke(store: Store, token_id: str) -> bool:
    """End a token at once; return False where it had ended already. Raises `NotFound`."""
    with store.transaction(durable=True) as txn:
        _row(txn, token_id)
        return txn.run(access.END, id=token_id, at_us=txn.now_us) == 1


def _row(txn: Transaction, token_id: str) -> Row:
    row = txn.one(access.BY_ID, id=token_id)
    if row is None:
        msg = f"no token {token_id!r}; `lastgood token list` shows them"
        raise NotFound(msg)
    return row


def verify(txn: Transaction, text: str | None) -> Principal:
    """Return who a token stands for; raises `Unauthenticated`, which tells a stranger nothing."""
    found = _TOKEN.fullmatch(text or "")
    row = txn.one(access.BY_ID, id=found[1]) if found else None
    # compared in any case, so that no id is told from another by the time it takes
    known = hmac.compare_digest(_digest(found[2]) if found else "", row["digest"] if row else "-")
    if not known or row is None:
        msg = "no valid token: send `Authorization: Bearer lgt_...`; `lastgood token make` makes one"
        raise Unauthenticated(msg)
    if row["expires_us"] <= txn.now_us:
        msg = f"the token {row['id']} has ended; rotate it or make another with `lastgood token make`"
        raise Unauthenticated(msg)
    agents, environments = (frozenset(json.loads(row[scope])) for scope in ("agents", "environments"))
    return Principal(row["name"], Role(row["role"]), agents, environments, row["id"])


def stands(txn: Transaction, token_id: str) -> bool:
    """Whether a token that was verified before has neither ended nor been revoked since."""
    row = txn.one(access.BY_ID, id=token_id)
    return row is not None and row["expires_us"] > txn.now_us
