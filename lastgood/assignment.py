"""Assignment: which units of a release meet the candidate. Pure, and fixed for good by test vectors.

A unit's bucket is blake2b(salt + unit) with an 8-byte digest, read big-endian, scaled to 10,000 basis points.
A unit is the candidate's when its bucket is below the share, so raising the share never moves one back.
The salt is the release's id: every release draws other units.
"""

from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from typing import Protocol

BASIS_POINTS = 10_000


def bucket(salt: str, unit: str) -> int:
    """Return the unit's bucket, 0..9999."""
    return bucketer(salt)(unit)


def bucketer(salt: str) -> Callable[[str], int]:
    """Return `bucket` for one salt, hashed once."""
    hash_ = begun(salt)

    def find(unit: str) -> int:
        hashed = hash_.copy()
        hashed.update(unit_bytes(unit))
        return int.from_bytes(hashed.digest(), "big") * BASIS_POINTS >> 64

    return find


class Hash(Protocol):
    """A hash that was begun."""

    def copy(self) -> "Hash":
        """Return another one that goes on from here."""

    def update(self, data: bytes, /) -> None:
        """Add to what is hashed."""

    def digest(self) -> bytes:
        """Return the hash of all that was added."""


def begun(salt: str) -> Hash:
    """Return what every unit's hash begins with: add `unit_bytes(unit)` to a copy; see `limit`."""
    return blake2b(salt.encode(), digest_size=8)


@cache
def limit(share_bp: int) -> bytes:
    """Return what divides the units: a digest is below it where the unit's bucket is below the share.

    Bytes compare as big-endian numbers do. For the whole of 10,000 it is longer than any digest, so above it.
    """
    if share_bp >= BASIS_POINTS:
        return b"\xff" * 9
    # the least number whose bucket is the share: ceil(share * 2**64 / 10,000)
    return (-(-(share_bp << 64) // BASIS_POINTS)).to_bytes(8, "big")


def unit_bytes(unit: object) -> bytes:
    """Return what of a unit is hashed: UTF-8, half a surrogate pair as it stands."""
    return str(unit).encode("utf-8", "surrogatepass")
