"""Progress: how far the guardrails of one maturity are scored; what a look leaves for the next."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluators.evidence import BOTH
from evaluators.mixture import FloatArray, pack, unpack
from evaluators.referees import Refereed
from evaluators.units import Units
from tasks import frames


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """How far the guardrails of one maturity are scored."""

    #: every run up to this place in the order of assignment lies in a sealed block
    after: int = 0
    #: the last sealed block of each stratum
    sealed: Mapping[str, int] = field(default_factory=dict)
    #: guardrails that runs have reported on
    reporting: tuple[str, ...] = ()
    #: every unit of the runs up to `after`; None until a unit repeats, so that others pay nothing for it
    units: Units | None = None
    #: moments of blocks that were sealed before a unit repeated, by guardrail, not handed on yet, (12,) each
    owed: Mapping[str, FloatArray] = field(default_factory=dict)
    #: what referees did on the runs up to `after`, by column
    judges: Mapping[str, Refereed] = field(default_factory=dict)


def read_progress(text: str) -> dict[str, Progress]:
    """Return the progress by maturity (microseconds, as text) that `write_progress` wrote."""
    return {maturity: _read(raw) for maturity, raw in json.loads(text).items()}


def _read(raw: Mapping[str, Any]) -> Progress:
    units, judges = raw.get("units"), raw.get("judges", {})
    return Progress(
        raw["after"],
        raw["sealed"],
        tuple(raw["reporting"]),
        None if units is None else Units.from_json(units),
        {name: unpack(text, (BOTH,)) for name, text in raw.get("owed", {}).items()},
        {column: Refereed(column, tuple(found[0]), *found[1:]) for column, found in judges.items()},
    )


def write_progress(progress: Mapping[str, Progress]) -> str:
    """Return canonical JSON; what a release has nothing of is left out."""
    return frames.plain({maturity: _plain(found) for maturity, found in progress.items()})


def _plain(found: Progress) -> dict[str, Any]:
    extra = {
        "units": None if found.units is None else found.units.to_json(),
        "owed": {name: pack(moments) for name, moments in found.owed.items()},
        "judges": {name: [list(r.digests), r.sampled, r.judged] for name, r in found.judges.items()},
    }
    own = {"after": found.after, "sealed": dict(found.sealed), "reporting": list(found.reporting)}
    return {**own, **{name: value for name, value in extra.items() if value}}


__all__ = ["Progress", "read_progress", "write_progress"]
