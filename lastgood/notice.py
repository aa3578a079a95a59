"""A notice: what people are told, and how urgently."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How urgently people are told."""

    PAGE = "page"  #: somebody has to act
    INFORM = "inform"  #: good to know


#: every kind of notice, and what it says
KINDS = {
    "adopted": "the first baseline serves",
    "started": "a release was recorded",
    "share": "a release serves its candidate another share",
    "lapsed": "nobody renewed the lease: the baseline serves",
    "promoted": "the candidate is the last known good now",
    "reverted": "the last known good was put back",
    "restored": "a control point that a hand had edited was restored from its ledger",
    "asking": "a person has to decide",
    "approved": "a person decided",
    "killed": "the kill switch is on",
    "cleared": "the kill switch is off again",
    "stopped": "external actions are denied",
    "allowed": "external actions are allowed again",
    "readmitted": "a quarantined bundle may be released again",
    "alarm": "a trigger fired and nothing was reverted",
    "residue": "effects of a bad window that can't be undone",
    "inconclusive": "a watch ended without an answer",
    "incident": "an incident was opened or closed",
    "drift": "what a serving bundle names has changed underneath",
    "recovered": "a bad window's effects were undone",
    "watched": "a watch ended with an answer",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that people are told."""

    agent: str
    environment: str
    #: one of `KINDS`
    kind: str
    #: what makes it the same notice: it is kept, and told, once
    key: str
    #: one line
    title: str
    #: a few lines; data, never markup
    text: str
    level: Level
