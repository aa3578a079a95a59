"""Every error that lastgood raises, in one tree.

LastgoodError
├── InvalidInput        what was given can't be used; nothing was written
│   ├── InvalidBundle
│   ├── InvalidPolicy
│   ├── InvalidProfile  an agent's profile can't be used
│   ├── InvalidEvidence
│   │   └── OutdatedEvidence  another version of the statistics wrote it
│   ├── InvalidMove     the control point's state does not allow this move
│   ├── InvalidRuns     a file of recorded runs can't be read
│   └── MalformedCall   a tool's call or answer does not fit the manifest's schema
├── NotFound            no such agent, bundle, policy, release or run
├── Conflict            somebody else was first
│   ├── LiveRelease     another release of this control point is live
│   └── StaleDriver     the epoch or the driver term moved on
├── Refused             allowed in form, refused by a rule
│   ├── Quarantined
│   ├── CapReached
│   ├── CannotUndo      an action can't be taken back: a handler of `undo` raises it
│   ├── InDoubt         whether an earlier call with this key took effect is not known
│   ├── BadToken        a report's run token is missing, forged, expired or another run's
│   ├── Unauthenticated a request to the service shows no valid access token
│   ├── Forbidden       its token's role or scope does not allow that
│   └── Denied          a rehearsal denies what would reach outside
│       └── MissingFixture
├── PrefectUnusable     Prefect's API can't be used; the control point does not need it
└── StoreError          the store can't be used
    ├── StoreUnavailable
    ├── SchemaMismatch
    └── CorruptRow      a stored row does not hash to what it claims

Five modules have kinds of their own below these: `Unfit` (`lastgood.evaluation`) and `TooManySpans`
(`lastgood.telemetry`) are invalid input, `BlockedUrl` (`lastgood.guard`) is refused, `Expired`
(`lastgood.link`) unauthenticated, and `lastgood.service.problems` has those of a request.

A message says what happened, to which object, and what to do next.
"""


class LastgoodError(Exception):
    """Base of every error of this package; no message of one holds a secret, whatever it quotes."""

    def __init__(self, *said: object) -> None:
        from lastgood.redaction import clean  # an agent that meets no error never loads it

        super().__init__(*(clean(each) if isinstance(each, str) else each for each in said))


class InvalidInput(LastgoodError, ValueError):
    """What was given can't be used; nothing was written."""


class InvalidBundle(InvalidInput):
    """A bundle's file or parts can't be registered."""


class InvalidPolicy(InvalidInput):
    """A policy can't be used."""


class InvalidProfile(InvalidInput):
    """An agent's profile can't be used."""


class InvalidEvidence(InvalidInput):
    """Evidence with impossible numbers; the message names the block and the column."""


class OutdatedEvidence(InvalidEvidence):
    """Evidence that another version of the statistics stored: what its looks were given is added anew."""


class InvalidMove(InvalidInput):
    """The control point's state does not allow this move."""


class InvalidRuns(InvalidInput):
    """A file of recorded runs can't be read."""


class MalformedCall(InvalidInput):
    """A tool's call or answer does not fit the manifest's schema; the message says where."""


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
    """A hard ceiling is reached; the message says which, its level, and when it frees.

    The same as fields: `cap` is the ceiling's name in the policy (`actions_per_run:message`), `level` its
    height, `used` what is taken of it, and `frees_us` the microseconds UTC at which it frees, None where it
    never does for this run.
    """

    def __init__(
        self,
        message: str,
        *,
        cap: str = "",
        level: float = 0.0,
        used: float = 0.0,
        frees_us: int | None = None,
    ) -> None:
        super().__init__(message)
        self.cap, self.level, self.used, self.frees_us = cap, level, used, frees_us


class CannotUndo(Refused):
    """An action can't be taken back; raised by a handler, whose message says why, it is not called again."""


class InDoubt(Refused):
    """An earlier call with this key began and never settled: whether it took effect is not known."""


class BadToken(Refused):
    """A report's run token is missing, forged, expired or another run's; the report was counted, not kept."""


class PrefectUnusable(LastgoodError):
    """Prefect's API can't be used; nothing was moved, and the control point does not need it."""


class Unauthenticated(Refused):
    """A request to the service shows no access token that is valid now."""


class Forbidden(Refused):
    """The access token's role or scope does not allow what was asked; the message says which would."""


class Denied(Refused):
    """A rehearsal denies what would reach outside: nothing was sent."""


class MissingFixture(Denied):
    """A rehearsal has no recorded answer to a call; the message names the call."""


class StoreError(LastgoodError):
    """The store can't be used."""


class StoreUnavailable(StoreError):
    """The store can't be opened, read or written."""


class SchemaMismatch(StoreError):
    """The store's schema is of another version than this process."""


class CorruptRow(StoreError):
    """A stored row does not hash to what it claims; it is not used."""
