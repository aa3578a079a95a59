"""Ids: ULIDs (48 bits of milliseconds, 80 random bits) behind a prefix that names the noun."""

import secrets

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32


def new_id(prefix: str, now_us: int) -> str:
    """Return `prefix` and 26 characters that sort by `now_us` (microseconds UTC)."""
    number = (now_us // 1_000) << 80 | secrets.randbits(80)
    return prefix + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
