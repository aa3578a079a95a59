"""Which changed part is at fault: the verdicts of a case on hybrids of two bundles, read.

A *forward* hybrid is the good bundle with one part of the bad one; it fails where that part alone is enough.
A *reverse* hybrid is the bad bundle with one part of the good one; it passes where that part is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

#: what is said where no part alone is enough
INTERACTION = "interaction"


class Shown(StrEnum):
    """What a case showed on a hybrid."""

    PASSES = "passes"  #: every check passed
    FAILS = "fails"  #: a check failed
    UNANSWERED = "unanswered"  #: a recorded answer was missing, so it shows nothing


@dataclass(frozen=True, slots=True)
class Blame:
    """What a case says of the parts that changed."""

    #: kinds of parts that each alone are enough to make it fail
    enough: tuple[str, ...]
    #: kinds without which it does not fail
    needed: tuple[str, ...]
    #: kinds of which a hybrid shows nothing
    unknown: tuple[str, ...]

    @property
    def layer(self) -> str:
        """The part at fault, `interaction`, or empty where the hybrids do not tell."""
        both = [kind for kind in self.enough if kind in self.needed]
        if both:
            return both[0]
        if self.enough:
            return self.enough[0] if len(self.enough) == 1 else " or ".join(self.enough)
        return "" if self.unknown else INTERACTION


def blame(forward: Mapping[str, Shown], reverse: Mapping[str, Shown]) -> Blame:
    """Read the verdicts on the hybrids, by the kind of the part that was exchanged."""
    seen = {*forward, *reverse}
    unknown = {k for k in seen if Shown.UNANSWERED in {forward.get(k), reverse.get(k)}}
    return Blame(
        tuple(sorted(kind for kind, shown in forward.items() if shown is Shown.FAILS)),
        tuple(sorted(kind for kind, shown in reverse.items() if shown is Shown.PASSES)),
        tuple(sorted(unknown)),
    )


def agreed(blames: Sequence[Blame]) -> str:
    """Return the layer that all cases name, all that they name where they differ, `""` where none does."""
    named = list(dict.fromkeys(each.layer for each in blames if each.layer))
    return ", ".join(named)


__all__ = ["INTERACTION", "Blame", "Shown", "agreed", "blame"]
