"""A release's values: its states, and the terms that the agent side is held to."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Self

from lastgood.caps import Caps
from lastgood.errors import CorruptRow
from lastgood.records import Records
from lastgood.triggers import Triggers

#: risk tiers, lowest first
RISKS = ("low", "medium", "high")
#: the slice of every task type that a policy's slices do not list
OTHER = "other"
#: the slice of every run where a policy lists none
ALL = "all"
_MINUTE = 60_000_000

#: fields of `Terms` that schema 0001 did not know
_ADDED = ("after_watch", "agent_cooldown_us", "on_revert", "watch_us")


def stratum_of(listed: Collection[str], task_type: str | None) -> str:
    """Return the slice that a run of a task type counts in: a listed one, `other`, or `all` where none is."""
    if not listed:
        return ALL
    return task_type if task_type is not None and task_type in listed else OTHER


class ReleaseState(StrEnum):
    """Where a release stands."""

    OPENED = "opened"  #: recorded; no traffic yet
    CANARY = "canary"  #: its step's share is set
    CAP = "cap"  #: the ceilings were seen armed
    COMPARE = "compare"  #: looks until the step's gate
    AWAITING = "awaiting"  #: a person has to approve what comes next; what is served stays
    LAPSED = "lapsed"  #: nobody renewed the lease: baseline serves until a valid look
    ASKING = "asking"  #: undecided at the horizon, share 0: a person decides
    PROMOTED = "promoted"  #: the candidate is the baseline now
    REVERTED = "reverted"  #: the baseline was put back

    @property
    def live(self) -> bool:
        """Whether the release still holds its control point."""
        return self not in {ReleaseState.PROMOTED, ReleaseState.REVERTED}


@dataclass(frozen=True, slots=True)
class Terms:
    """What the agent side needs of the policy: frozen onto the control point when a release opens."""

    #: risk tiers whose runs may meet the candidate
    eligible_risks: tuple[str, ...] = ("low",)
    #: tier of a run that names none
    risk_default: str = "low"
    #: microseconds after which a silent run is lost
    lost_after_us: int = 10 * _MINUTE
    #: runs in a block, and microseconds after which an open block is closed
    block_size: int = 20
    block_time_us: int = 60 * _MINUTE
    #: microseconds that a bundle reverted by hand, lapse or indecision rests
    cooldown_us: int = 60 * _MINUTE
    #: microseconds after a revert in which no release of the agent may start
    agent_cooldown_us: int = 0
    #: task types that are compared by themselves; every other one is `other`
    strata: tuple[str, ...] = ()
    caps: Caps = field(default_factory=Caps)
    triggers: Triggers = field(default_factory=Triggers)
    #: what a run may still do after its bundle was reverted: `abort` (nothing) or `finish` (marked late)
    on_revert: str = "abort"
    #: microseconds after a promotion in which a trigger puts the last known good back by itself
    watch_us: int = 0
    #: what a trigger does after that: `revert` the same way, or `notify` a person through the ledger
    after_watch: str = "notify"
    records: Records = field(default_factory=Records)

    def stratum(self, task_type: str) -> str:
        """Return the slice that runs of a task type are compared in."""
        return stratum_of(self.strata, task_type)

    def to_json(self) -> str:
        """Return canonical JSON."""
        return _terms_json(self)

    def _to_json(self) -> str:
        raw = asdict(self)
        raw["triggers"] = self.triggers.plain()
        # what came after schema 0001 is left out at its default, so that older seals still match
        for name in _ADDED:
            if raw[name] == Terms.__dataclass_fields__[name].default:
                del raw[name]
        return json.dumps(raw, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; raises `CorruptRow`."""
        try:
            raw: dict[str, Any] = json.loads(text)
            caps, triggers, records = raw.pop("caps"), raw.pop("triggers"), raw.pop("records")
            for name in ("actions_per_run", "actions_per_hour"):
                caps[name] = tuple((kind, ceiling) for kind, ceiling in caps[name])
            return cls(
                eligible_risks=tuple(raw.pop("eligible_risks")),
                strata=tuple(raw.pop("strata")),
                caps=Caps(**caps),
                triggers=Triggers.of_plain(triggers),
                records=Records(**{**records, "redact": tuple(records["redact"])}),
                **raw,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            msg = (
                f"the terms of a control point can't be read: {error!r}; restore it with `lastgood rollback`"
            )
            raise CorruptRow(msg) from error


@lru_cache(maxsize=256)
def _terms_json(terms: Terms) -> str:
    """Every transaction seals the terms that it reads; they stay as they are through most moves."""
    return terms._to_json()  # noqa: SLF001  our own
