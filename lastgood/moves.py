"""The moves of a control point, as pure functions from one point to the next.

Every move that changes who or how much is served raises the epoch by one. A move that the point's state
does not allow raises `InvalidMove`. `lastgood.control` makes them, one transaction each.
"""

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from typing import Self

from lastgood.errors import InvalidMove
from lastgood.release import Terms


@dataclass(frozen=True, slots=True)
class Lease:
    """The time until which the candidate may be served without a renewed look."""

    #: microseconds UTC
    until_us: int = 0
    #: the boot whose clock `boot_until_us` is on
    boot_id: str = ""
    #: microseconds since that boot
    boot_until_us: int = 0

    def left_us(self, *, now_us: int, boot_id: str, boot_us: int) -> int:
        """Microseconds left: on the same boot by its clock, which nobody can set, else by the wall clock."""
        if self.boot_id and self.boot_id == boot_id:
            return self.boot_until_us - boot_us
        return self.until_us - now_us


@dataclass(frozen=True, slots=True)
class ControlPoint:
    """Who serves one agent in one environment."""

    agent: str
    environment: str
    #: the last known good bundle's id: what everybody gets who does not get the candidate
    baseline: str
    #: `vouched` (a person said so) or `proven` (by evidence)
    standing: str
    candidate: str | None = None
    release_id: str | None = None
    #: basis points of eligible units that get the candidate
    share_bp: int = 0
    epoch: int = 1
    lease_seq: int = 0
    lease: Lease = Lease()
    #: takeovers of the release by drivers
    driver_term: int = 0
    #: the kill switch: no candidate run starts while it is on
    killed: bool = False
    terms: Terms = field(default_factory=Terms)

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.agent} in {self.environment}"

    @property
    def in_command(self) -> str:
        """How a command names it."""
        return in_command(self.agent, self.environment)

    def to_json(self) -> str:
        """Return canonical JSON of every field."""
        rest = {name: getattr(self, name) for name in _FIELDS if name not in {"lease", "terms"}}
        rest["lease"] = {name: getattr(self.lease, name) for name in _LEASE_FIELDS}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        return f'{text[:-1]},"terms":{self.terms.to_json()}}}'  # the last key in their order

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        lease, terms = Lease(**raw.pop("lease")), Terms.from_json(json.dumps(raw.pop("terms")))
        return cls(**raw, lease=lease, terms=terms)

    @property
    def seal(self) -> str:
        """Sha256 over every field: a row edited by hand does not match it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def in_command(agent: str, environment: str) -> str:
    """Return how a command names a control point: one that names no environment acts on production."""
    return agent if environment == "production" else f"{agent} -e {environment}"


_FIELDS = tuple(each.name for each in fields(ControlPoint))
_LEASE_FIELDS = tuple(each.name for each in fields(Lease))


def _served(point: ControlPoint, **changes: object) -> ControlPoint:
    return replace(point, epoch=point.epoch + 1, **changes)  # type: ignore[arg-type]  # the callers name fields


def _needs_release(point: ControlPoint, release_id: str, move: str) -> None:
    if point.release_id != release_id:
        held = point.release_id or "no release"
        msg = f"can't {move} {release_id}: {point.name} holds {held}; see `lastgood status`"
        raise InvalidMove(msg)


def claim(point: ControlPoint, *, release_id: str, candidate: str, terms: Terms) -> ControlPoint:
    """Hold the point for a release; nothing is served differently yet."""
    if point.release_id is not None:
        msg = f"can't start a release: {point.name} holds {point.release_id}, which is still live"
        raise InvalidMove(msg)
    if candidate == point.baseline:
        msg = f"can't start a release: the candidate is the baseline of {point.name} already"
        raise InvalidMove(msg)
    if point.killed:
        msg = (
            f"can't start a release: the kill switch of {point.name} is on; "
            f"`lastgood clear {point.in_command}` first"
        )
        raise InvalidMove(msg)
    return replace(
        point, release_id=release_id, candidate=candidate, terms=terms, driver_term=point.driver_term + 1
    )


def share(point: ControlPoint, *, release_id: str, share_bp: int, lease: Lease) -> ControlPoint:
    """Serve the candidate to a share of eligible units: open a canary, ramp it, reopen or pause it."""
    _needs_release(point, release_id, "set the share of")
    if not 0 <= share_bp <= 10_000:
        msg = f"a share of {share_bp} basis points is impossible; give 0 to 10000"
        raise InvalidMove(msg)
    return _served(point, share_bp=share_bp, lease=lease, lease_seq=point.lease_seq + 1)


def renew(point: ControlPoint, *, release_id: str, lease: Lease) -> ControlPoint:
    """Renew the lease after a completed look."""
    _needs_release(point, release_id, "renew the lease of")
    return replace(point, lease=lease, lease_seq=point.lease_seq + 1)


def take_over(point: ControlPoint, *, release_id: str) -> ControlPoint:
    """Make another driver the only one whose commits are accepted."""
    _needs_release(point, release_id, "take over")
    return replace(point, driver_term=point.driver_term + 1)


def promote(point: ControlPoint, *, release_id: str, standing: str) -> ControlPoint:
    """Make the candidate the last known good."""
    _needs_release(point, release_id, "promote")
    if point.killed:
        msg = (
            f"can't promote {release_id}: the kill switch of {point.name} is on; "
            f"`lastgood clear {point.in_command}` first"
        )
        raise InvalidMove(msg)
    if point.candidate is None:
        msg = f"can't promote {release_id}: {point.name} has no candidate"
        raise InvalidMove(msg)
    return _served(_released(point), baseline=point.candidate, standing=standing)


def revert(point: ControlPoint, *, release_id: str) -> ControlPoint:
    """Put everybody back on the baseline and let the release go."""
    _needs_release(point, release_id, "revert")
    return _served(_released(point))


def _released(point: ControlPoint) -> ControlPoint:
    return replace(
        point,
        candidate=None,
        release_id=None,
        share_bp=0,
        lease=Lease(),
        driver_term=point.driver_term + 1,
    )


def restore(point: ControlPoint, *, bundle_id: str, standing: str) -> ControlPoint:
    """Make an earlier last known good the baseline again."""
    if point.release_id is not None:
        msg = f"{point.name} holds {point.release_id}: revert it first"
        raise InvalidMove(msg)
    if bundle_id == point.baseline:
        msg = f"{point.name} already serves that bundle as its baseline; nothing to roll back"
        raise InvalidMove(msg)
    return _served(point, baseline=bundle_id, standing=standing)


def kill(point: ControlPoint) -> ControlPoint:
    """Turn the kill switch on: no candidate run starts from here on."""
    if point.killed:
        msg = f"the kill switch of {point.name} is on already"
        raise InvalidMove(msg)
    return _served(point, killed=True)


def clear(point: ControlPoint) -> ControlPoint:
    """Turn the kill switch off."""
    if not point.killed:
        msg = f"the kill switch of {point.name} is not on"
        raise InvalidMove(msg)
    return _served(point, killed=False)
