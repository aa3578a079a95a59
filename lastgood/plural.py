"""Plurals: how many of something, as a person says it."""


def counted(n: int, one: str, many: str = "", form: str = "") -> str:
    """Return a number with its noun: `1 run`, `2 runs`.

    `many` is the plural where an s does not do, `form` how the number is written, as in `format`.
    """
    return f"{n:{form}} {one if n == 1 else many or f'{one}s'}"


__all__ = ["counted"]
