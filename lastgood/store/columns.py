"""What columns of all tables are made of: whole numbers of 64 bits, times, and text of any length."""

from sqlalchemy import BigInteger, Column, Integer, Text

#: SQLite numbers rows by INTEGER alone, which has 64 bits there
BIG = BigInteger().with_variant(Integer, "sqlite")


def big(*, nullable: bool = False) -> Column[int]:
    """A whole number; a time is microseconds UTC."""
    return Column(BIG, nullable=nullable)


def long(*, nullable: bool = False) -> Column[str]:
    """Text of any length."""
    return Column(Text, nullable=nullable)


__all__ = ["BIG", "big", "long"]
