"""Bundles in the store: registered once, immutable, checked against their digests whenever they are read."""

import hashlib
import json

from lastgood.bundle import KINDS, Bundle, BundleRecord, Part, check_name, readable_name
from lastgood.errors import CorruptRow, InvalidBundle, NotFound
from lastgood.scanning import scan_bundle
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from lastgood.tool import check_tools

_SHORTEST = 4


def _seal(values: dict[str, object], bundle: Bundle) -> str:
    parts = [[kind, bundle[kind].version, bundle[kind].digest] for kind in KINDS]
    fields = [values[name] for name in ("id", "name", "agent", "author", "approver", "parent", "created_us")]
    # `repr`: a row edited by hand may hold bytes, and must not match
    return hashlib.sha256(
        json.dumps([fields, parts], separators=(",", ":"), default=repr).encode()
    ).hexdigest()


def _free_name(txn: Transaction, agent: str) -> str:
    stem = agent[:40]
    taken = {row["name"] for row in txn.all(sql.BUNDLE_NAMES, low=stem, high=stem + "~")}
    return readable_name(agent, txn.now_us, taken)


def register(
    store: Store,
    agent: str,
    bundle: Bundle,
    *,
    author: str,
    approver: str = "",
    parent: str = "",
    name: str = "",
) -> tuple[BundleRecord, bool]:
    """Store a bundle and the content of its parts; return its record and whether it is new.

    The same content again is the same bundle: the record that stands is returned. Raises `InvalidBundle`
    when the name is taken or a part holds what looks like a secret, `NotFound` when the parent is unknown.
    """
    check_name(agent, "the agent")
    if name:
        check_name(name, "the bundle")
    check_tools(bundle)
    scan_bundle(bundle)
    with store.transaction(durable=True) as txn:
        if txn.one(sql.BUNDLE, id=bundle.id) is not None:
            return read(txn, bundle.id), False
        if name and txn.one(sql.BUNDLE_BY_NAME, name=name) is not None:
            msg = f"the name {name} is taken by another bundle; leave it out to get the next free one"
            raise InvalidBundle(msg)
        values = {
            "id": bundle.id,
            "name": name or _free_name(txn, agent),
            "agent": agent,
            "author": author,
            "approver": approver,
            "parent": resolve(txn, parent) if parent else "",
            "created_us": txn.now_us,
        }
        txn.insert("bundle", {**values, "seal": _seal(values, bundle)})
        for kind in KINDS:
            _insert_part(txn, bundle.id, bundle[kind])
        return read(txn, bundle.id), True


def _insert_part(txn: Transaction, bundle_id: str, part: Part) -> None:
    if txn.one(sql.PART_EXISTS, digest=part.digest) is None:
        txn.insert("part", {"digest": part.digest, "kind": part.kind, "body": part.body})
    txn.insert(
        "bundle_part",
        {"bundle_id": bundle_id, "kind": part.kind, "digest": part.digest, "version": part.version},
    )


def read(txn: Transaction, bundle_id: str) -> BundleRecord:
    """Return a bundle by its full id, every digest checked; raises `NotFound` or `CorruptRow`."""
    row = txn.one(sql.BUNDLE, id=bundle_id)
    if row is None:
        msg = f"no bundle {bundle_id[:12]}; register it with `lastgood bundle add bundle.yaml`"
        raise NotFound(msg)
    bundle = Bundle.verified([_part(row) for row in txn.all(sql.BUNDLE_PARTS, id=bundle_id)], bundle_id)
    if _seal(dict(row), bundle) != row["seal"]:
        msg = (
            f"what stands beside bundle {bundle.short} ({row['name']}) was changed behind lastgood's back: "
            "the row does not match its seal; restore it from a backup"
        )
        raise CorruptRow(msg)
    return BundleRecord(
        bundle=bundle,
        name=row["name"],
        agent=row["agent"],
        author=row["author"] or None,
        approver=row["approver"] or None,
        parent=row["parent"] or None,
        created_us=row["created_us"],
    )


def _part(row: Row) -> Part:
    """Check a stored part; a hand may have left text in place of bytes, or bytes in place of text."""
    body = row["body"]
    content = body if isinstance(body, bytes) else str(body or "").encode()
    return Part.from_body(str(row["kind"]), str(row["version"]), content, str(row["digest"]))


def resolve(txn: Transaction, reference: str) -> str:
    """Return the full id of a bundle given by name, `b-` short form, or the beginning of its id."""
    named = txn.one(sql.BUNDLE_BY_NAME, name=reference)
    if named is not None:
        return str(named["id"])
    stem = reference.removeprefix("b-").lower()
    found: list[str] = []
    if len(stem) >= _SHORTEST and set(stem) <= set("0123456789abcdef"):
        found = [row["id"] for row in txn.all(sql.BUNDLES_BY_PREFIX, low=stem, high=stem + "g")]
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"{reference} is the beginning of several bundles' ids; give more of it"
    else:
        msg = f"no bundle {reference!r}; see `lastgood bundle list`"
    raise NotFound(msg)


def load(store: Store, reference: str) -> BundleRecord:
    """Return a bundle by name, short form or id."""
    with store.reading() as txn:
        return read(txn, resolve(txn, reference))
