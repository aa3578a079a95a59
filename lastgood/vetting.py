"""Vetting: which reports from outside may be written: of a known run, of the right agent, with its token."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from lastgood import identity
from lastgood.identity import Keys, Wrong
from lastgood.store.connection import Row, Transaction
from lastgood.store.link import Place


class Told(Protocol):
    """A report: whose it is, and the token that it brings."""

    @property
    def run_id(self) -> str:
        """The run that it says it is of."""

    @property
    def token(self) -> str | None:
        """The run's token."""


@dataclass(slots=True)
class Vetting:
    """Vets the reports of one transaction, and keeps what it leaves out."""

    #: the keys of run tokens, where reports have to bring one
    keys: Keys | None
    #: the only control point whose runs count, where there is one
    place: Place | None
    #: runs whose report is refused and why, and the places of these reports among all
    refused: list[tuple[str, str]] = field(default_factory=list)
    refused_at: list[int] = field(default_factory=list)
    #: places of reports of another control point's runs
    foreign_at: list[int] = field(default_factory=list)
    _wrongs: Counter[tuple[str, str, Wrong]] = field(default_factory=Counter)

    def passes(self, at: int, told: Told, run: Row | None, now_us: int) -> bool:
        """Whether the report at a place may be written; `run` is the row that it names, if there is one."""
        if run is None:
            self._wrongs["", "", Wrong.UNKNOWN_RUN] += self.keys is not None
            self._refuse(at, told.run_id, f"no run {told.run_id!r} in this store")
        elif self.place is not None and (run["agent"], run["environment"]) != self.place:
            self.foreign_at.append(at)
        elif self.keys and (wrong := identity.refusal(self.keys, told.token, run, now_us)):
            self._wrongs[run["agent"], run["environment"], wrong] += 1
            self._refuse(at, told.run_id, wrong.say(told.run_id))
        else:
            return True
        return False

    def _refuse(self, at: int, run_id: str, why: str) -> None:
        self.refused_at.append(at)
        self.refused.append((run_id, why))

    def count(self, txn: Transaction) -> None:
        """Count what was refused, by control point and reason: whoever floods makes few statements of it."""
        for (agent, environment, wrong), times in sorted((+self._wrongs).items()):
            identity.count(txn, {"agent": agent, "environment": environment}, wrong, times)
