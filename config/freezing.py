"""The freeze windows of a policy, as people write them."""

import re
from datetime import date, time
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator, model_validator

from config.metrics import Misplaced
from config.sections import Section
from lastgood.freezing import DAYS

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def _moment(value: object) -> object:
    """A time of day or a date, as canonical text; YAML reads a date as one."""
    text = value.isoformat() if isinstance(value, date) else value
    if isinstance(text, str) and _TIME.fullmatch(text):
        return text
    try:
        return date.fromisoformat(str(text)).isoformat()
    except ValueError:
        raise ValueError('should be a time such as "22:00" (quoted) or a date such as 2026-12-24') from None


Moment = Annotated[str, BeforeValidator(_moment)]


class FreezeSpec(Section):
    """One window: hours of days of the week, or a span of dates with both days in it."""

    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...],
        Field(strict=False, max_length=7),
    ] = Field(default=(), title="Days", description="Days of the week on which it begins; empty: every day.")
    begin: Moment | None = Field(
        default=None, alias="from", title="From", description='A time ("22:00") or a date (2026-12-24).'
    )
    end: Moment | None = Field(
        default=None,
        alias="to",
        title="To",
        description="A time, on the next day where it is before the beginning, or the last date.",
    )
    zone: str = Field(default="UTC", max_length=64, title="Zone", description="Such as Europe/Berlin.")

    @field_validator("zone")
    @classmethod
    def _is_known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (OSError, ValueError, LookupError) as error:
            raise ValueError(f"{zone!r} is no time zone such as Europe/Berlin") from error
        return zone

    @field_validator("days")
    @classmethod
    def _in_order(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(day for day in DAYS if day in days)

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        if self.begin is None and self.end is None:
            if not self.days:
                raise Misplaced("needs days, or from and to: else it would freeze everything for ever")
            return self
        if self.begin is None or self.end is None:
            raise Misplaced("from and to go together", "from" if self.begin is None else "to")
        if (":" in self.begin) != (":" in self.end):
            raise Misplaced("from and to are two times or two dates", "to")
        if ":" in self.begin:
            if self.begin == self.end and time.fromisoformat(self.begin) != time():
                raise Misplaced("is as long as a day: leave from and to out", "to")
            return self
        if self.days:
            raise Misplaced("days do not go with dates: leave them out", "days")
        if self.end < self.begin:
            raise Misplaced("is before its beginning", "to")
        return self


__all__ = ["FreezeSpec"]
