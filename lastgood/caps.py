"""Caps: hard ceilings on what a candidate may do.

The values that a policy declares; the reservations against them are made in the transaction that
assigns a run (`lastgood.store.statements`).
"""

from dataclasses import dataclass

#: kinds of actions whose ceilings have names of their own in a policy
MESSAGE, AUTO_APPROVAL = "message", "auto_approval"


@dataclass(frozen=True, slots=True)
class Caps:
    """The ceilings of one release; `None` means no ceiling of that kind."""

    #: US dollars that all candidate runs together may spend in one clock hour
    spend_usd_per_hour: float | None = 5.0
    #: US dollars that one candidate run may spend; this much is reserved while it is under way
    spend_usd_per_run: float | None = 0.5
    #: candidate runs that may start in one clock hour
    runs_per_hour: int | None = 500
    #: external actions of one kind that one run may take, by kind ("message": 3)
    actions_per_run: tuple[tuple[str, int], ...] = ()
    #: external actions of one kind that all candidate runs together may take in one clock hour
    actions_per_hour: tuple[tuple[str, int], ...] = ()

    @property
    def messages_per_run(self) -> int | None:
        """Messages that one run may send."""
        return dict(self.actions_per_run).get(MESSAGE)

    @property
    def auto_approvals_per_hour(self) -> int | None:
        """Approvals that all candidate runs together may give by themselves in one clock hour."""
        return dict(self.actions_per_hour).get(AUTO_APPROVAL)
