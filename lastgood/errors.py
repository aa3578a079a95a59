"""Every error that lastgood raises, in one tree.

LastgoodError
├── InvalidInput        what was given can't be used; nothing was written
│   ├── InvalidBundle
│   ├── InvalidPolicy
│   ├── InvalidEvidence
│   ├── InvalidMove     the control point's state does not allow this move
│   └── InvalidRuns     a file of recorded runs can't be read
├── NotFound            no such agent, bundle, policy, release or run
├── Conflict            somebody else was first
│   ├── LiveRelease     another release of this control point is live
│   └── StaleDriver     the epoch or the driver term moved on
├── Refused             allowed in form, refused by a rule
│   ├── Quarantined
│   └── CapReached
└── StoreError          the store can't be used
    ├── StoreUnavailable
    ├── SchemaMismatch
    └── CorruptRow      a stored row does not hash to what it claims

A message says what happened, to which object, and what to do next.
"""


class LastgoodError(Exception):
    """Base of every error of this package."""


class InvalidInput(LastgoodError, ValueError):
    """What was given can't be used; nothing was written."""


class InvalidBundle(InvalidInput):
    """A bundle's file or parts can't be registered."""


class InvalidPolicy(InvalidInput):
    """A policy can't be used."""


class InvalidEvidence(InvalidInput):
    """Evidence with impossible numbers; the message names the block and the column."""


class InvalidMove(InvalidInput):
    """The control point's state does not allow this move."""


class InvalidRuns(InvalidInput):
    """A file of recorded runs can't be read."""


class NotFound(LastgoodError, LookupError):
    """No such agent, bundle, policy, release or run."""


class Conflict(LastgoodError):
    """Somebody else was first; read again and decide anew."""


class LiveRelease(Conflict):
    """Another release of this control point is live."""


class StaleDriver(Conflict):
    """The epoch or the driver term moved on since the caller last looked."""


class Refused(LastgoodError):
    """Allowed in form, refused by a rule."""


class Quarantined(Refused):
    """The bundle is quarantined and was not re-admitted."""


class CapReached(Refused):
    """A hard ceiling is reached; the message says which, its level, and when it frees."""


class StoreError(LastgoodError):
    """The store can't be used."""


class StoreUnavailable(StoreError):
    """The store can't be opened, read or written."""


class SchemaMismatch(StoreError):
    """The store's schema is of another version than this process."""


class CorruptRow(StoreError):
    """A stored row does not hash to what it claims; it is not used."""
