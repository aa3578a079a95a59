"""Run identity: a token that ties a report to a run, its bundle and its epoch.

    lg1.KEY_ID.RUN.BUNDLE.EPOCH.EXPIRES_US.SIGNATURE

signed with HMAC-SHA256. Keys come from LASTGOOD_RUN_KEY (`ID:SECRET`, newest first, separated by commas) or
from a 0600 file beside the store (`ID SECRET` a line, newest first), made when the first token is. The newest
key signs; the others still verify, so that a rotation refuses nothing under way.

A process that holds a run reports on it without one: who has the database in hand is trusted. Whoever reports
from outside (a webhook, the HTTP service) brings the run's token.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from lastgood.errors import InvalidInput
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction

VARIABLE = "LASTGOOD_RUN_KEY"
#: microseconds that a token is good for: late reports arrive a day later, a weekend may lie between
LIFETIME_US = 7 * 24 * 3_600_000_000
#: characters of a secret at least
LEAST = 16
_VERSION = "lg1"
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
#: nobody but the owner may read the key file
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class _Begun:
    """HMAC-SHA256 (RFC 2104) with both hashes begun by the key: a quarter of the time of `hmac.digest`.

    A batch of outcomes brings a thousand tokens signed with one key.
    """

    inner: Any
    outer: Any

    @classmethod
    def of(cls, secret: bytes) -> Self:
        """Begin with a key."""
        block = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        return cls(hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER)))

    def signature(self, text: bytes) -> str:
        """Return the HMAC of a text, hexadecimal."""
        inner, outer = self.inner.copy(), self.outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return str(outer.hexdigest())


#: bytes of a block of SHA-256, and what its key is combined with
_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that sign and verify run tokens."""

    #: id of the key that signs
    newest: str
    #: secrets by key id
    secrets: Mapping[str, bytes]
    _begun: Mapping[str, "_Begun"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        begun = {key_id: _Begun.of(secret) for key_id, secret in self.secrets.items()}
        object.__setattr__(self, "_begun", begun)

    def signature(self, key_id: str, text: str) -> str | None:
        """Return the signature of a text by one of the keys, None where there is no such key."""
        begun = self._begun.get(key_id)
        return None if begun is None else begun.signature(text.encode())

    def __repr__(self) -> str:
        return f"Keys({', '.join(self.secrets)})"  # never a secret


class Wrong(StrEnum):
    """Why a report was refused at the door."""

    MISSING = "missing"  #: it brings no token
    FORGED = "forged"  #: the signature does not fit, or it is no token at all
    UNKNOWN_KEY = "unknown_key"  #: signed with a key that is not in use here
    EXPIRED = "expired"  #: its time is over
    CROSSED = "crossed"  #: another run's, bundle's or epoch's
    UNKNOWN_RUN = "unknown_run"  #: no such run in this store

    def say(self, run_id: str) -> str:
        """Return the sentence for people."""
        return f"report of run {run_id!r} is refused and counted: {_SAID[self]}"


_SAID = {
    Wrong.MISSING: "it brings no token; send run.token along with it",
    Wrong.FORGED: "its token was not signed here; send run.token as it is",
    Wrong.UNKNOWN_KEY: f"its token is signed with a key that is not in use here; add it to {VARIABLE}",
    Wrong.EXPIRED: "its token has expired; report sooner, or let a person correct the record",
    Wrong.CROSSED: "its token belongs to another run; send the token of this one",
    Wrong.UNKNOWN_RUN: "there is no such run in this store",
}


def sign(keys: Keys, run_id: str, bundle_id: str, epoch: int, expires_us: int) -> str:
    """Return the token of a run; `expires_us` is microseconds UTC."""
    text = f"{_VERSION}.{keys.newest}.{run_id}.{bundle_id}.{epoch}.{expires_us}"
    return f"{text}.{keys.signature(keys.newest, text)}"


def refusal(keys: Keys, token: str | None, run: Row, now_us: int) -> Wrong | None:
    """Return why a token does not stand for a run's row at `now_us`, or None where it does."""
    if not token:
        return Wrong.MISSING
    signed, _, signature = token.rpartition(".")
    pieces = signed.split(".")
    if len(pieces) != 6 or pieces[0] != _VERSION or not token.isascii():
        return Wrong.FORGED
    right = keys.signature(pieces[1], signed)
    if right is None:
        return Wrong.UNKNOWN_KEY
    if not hmac.compare_digest(signature, right):
        return Wrong.FORGED
    if pieces[2] != run["id"] or pieces[3] != run["bundle_id"] or pieces[4] != str(run["epoch"]):
        return Wrong.CROSSED
    return Wrong.EXPIRED if int(pieces[5]) <= now_us else None


#: where the refusals of unknown runs stand
_NOWHERE = {"agent": "", "environment": ""}


def count(txn: Transaction, run: Row | None, wrong: Wrong, times: int = 1) -> None:
    """Count refusals where `lastgood status` shows them; an unknown run's stand under no agent."""
    at = _NOWHERE if run is None else run
    values = {"agent": at["agent"], "environment": at["environment"], "reason": str(wrong)}
    txn.run(sql.COUNT_REFUSAL, **values, times=times, now_us=txn.now_us)


def keys(store: Store) -> Keys:
    """Return the keys in use: from the environment, else from the file beside the store, made if missing.

    Raises `InvalidInput` where they can't be read, are too short, or others may read the file.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return _of_environment(given)
    path = key_file(store)
    if not path.exists():
        _create(path, f"{_new_line()}\n")
    status = path.stat()
    return _of_file(path, status.st_mtime_ns, status.st_mode)


def key_file(store: Store) -> Path:
    """Return the file that holds the keys of a store; raises `InvalidInput` where there is no place."""
    if store.path is None:
        msg = f"run tokens need a key: set {VARIABLE} to ID:SECRET, the same for every process of this store"
        raise InvalidInput(msg)
    return store.path.with_name(store.path.name + ".keys")


def rotate(store: Store) -> str:
    """Put a new key on top of the file, which signs from now on; return its id. The old ones still verify."""
    if os.environ.get(VARIABLE):
        msg = f"the keys come from {VARIABLE}: put a new ID:SECRET in front of the others there"
        raise InvalidInput(msg)
    keys(store)
    path, line = key_file(store), _new_line()
    made = _written(path, f"{line}\n{path.read_text(encoding='ascii')}")
    made.replace(path)
    return line.split()[0]


def _new_line() -> str:
    return f"{secrets.token_hex(4)} {secrets.token_hex(32)}"


def _written(path: Path, text: str) -> Path:
    """Write a file beside `path` that only its owner may read."""
    made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return made


def _create(path: Path, text: str) -> None:
    """Make the file whole or not at all; where another process was first its file stands."""
    try:
        made = _written(path, text)
        try:
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    except OSError as error:
        msg = f"the key file {path} can't be made: {error}; set {VARIABLE}, or let this process write there"
        raise InvalidInput(msg) from error


@lru_cache(maxsize=16)
def _of_file(path: Path, _changed_ns: int, mode: int) -> Keys:
    if mode & _OTHERS:
        msg = f"others may read the key file {path}: chmod 600 it, and rotate the key if they could have"
        raise InvalidInput(msg)
    try:
        lines = path.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the key file {path} can't be read: {error}; restore it, or set {VARIABLE}"
        raise InvalidInput(msg) from error
    return _keys([line.split() for line in lines if line.strip()], str(path))


@lru_cache(maxsize=16)
def _of_environment(text: str) -> Keys:
    return _keys([entry.strip().split(":", 1) for entry in text.split(",")], VARIABLE)


def _keys(pairs: list[list[str]], source: str) -> Keys:
    """Build keys of (id, secret) pairs, newest first; a message never holds a secret."""
    for place, pair in enumerate(pairs, start=1):
        if len(pair) != 2 or not _KEY_ID.fullmatch(pair[0]) or len(pair[1]) < LEAST:
            msg = (
                f"key {place} of {source} can't be used: write an id of letters, digits, '-' and '_', "
                f"and a secret of {LEAST} characters or more"
            )
            raise InvalidInput(msg)
    if not pairs:
        msg = f"{source} holds no key; remove it to have one made, or write one"
        raise InvalidInput(msg)
    return Keys(pairs[0][0], {key_id: secret.encode() for key_id, secret in reversed(pairs)})


__all__ = ["LIFETIME_US", "Keys", "Wrong", "count", "key_file", "keys", "refusal", "rotate", "sign"]
