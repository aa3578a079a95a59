"""Assignment: which units of a release meet the candidate. Pure, and fixed for good by test vectors.

A unit's bucket is blake2b(salt + unit) with an 8-byte digest, read big-endian, scaled to 10,000 basis points.
A unit is the candidate's when its bucket is below the share, so raising the share never moves one back.
The salt is the release's id: every release draws other units.
"""

from collections.abc import Callable
from hashlib import blake2b

BASIS_POINTS = 10_000


def bucket(salt: str, unit: str) -> int:
    """Return the unit's bucket, 0..9999."""
    return bucketer(salt)(unit)


def bucketer(salt: str) -> Callable[[str], int]:
    """Return `bucket` for one salt, hashed once."""
    seeded = blake2b(salt.encode(), digest_size=8)

    def find(unit: str) -> int:
        hashed = seeded.copy()
        hashed.update(unit.encode())
        return int.from_bytes(hashed.digest(), "big") * BASIS_POINTS >> 64

    return find
