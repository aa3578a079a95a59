"""F9 and F16 can fail: bugs planted into the recovery, each of which `compensations` has to find."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from common import Line, Place, main
from compensations import late, many

from tasks import compensating, recovery, undoing
from tasks.undoing import Answer, Ended

ACTIONS, GROUPS, LATE = 300, 4, 20


@dataclass(frozen=True)
class Bug:
    """One thing that the recovery does wrong."""

    name: str
    #: whose attribute, which, and what it is made of the right one
    owner: Any
    attribute: str
    wrong: Callable[[Any], Any]
    #: whether it shows in late actions
    late: bool = False


def acknowledged_first(_right: Any) -> Any:
    """Success is written down before the call."""

    def do(self: Any, caller: Any, row: Any) -> int:
        self._settle(row, Answer(Ended.DONE))
        caller.call(row["handler"], compensating.undo_of(row, self.incident))
        return 0

    return do


def early(right: Any) -> Any:
    """Only what was done before the incident is seen."""

    def unplanned(txn: Any, incident: Any, **pages: int) -> list[Any]:
        return [row for row in right(txn, incident, **pages) if row["reserved_us"] <= incident.opened_us]

    return unplanned


def told(ended: Ended, instead: Ended) -> Callable[[Any], Any]:
    """One kind of answer is taken for another."""

    def made(right: Any) -> Any:
        def settle(self: Any, row: Any, answer: Answer) -> int:
            return right(self, row, replace(answer, ended=instead) if answer.ended is ended else answer)

        return settle

    return made


BUGS = (
    Bug("success is written down before the call", recovery.Job, "_do", acknowledged_first),
    Bug("every call has a key of its own", compensating, "undo_of",
        lambda right: lambda *a: replace(found := right(*a), key=f"{found.key}-{found.attempt}")),
    Bug("a failed call counts as done", recovery.Job, "_settle", told(Ended.AGAIN, Ended.DONE)),
    Bug("a refusal counts as done", recovery.Job, "_settle", told(Ended.REFUSED, Ended.DONE)),
    Bug("a handler that answers 500 refuses", undoing, "of_status",
        lambda right: lambda status, where: replace(right(status, where), ended=Ended.REFUSED)),
    Bug("what nobody can undo is left out of the books", compensating, "write",
        lambda right: lambda txn, incident, plans: right(txn, incident, [p for p in plans if p.handler])),
    Bug("nobody minds whether an action took effect", compensating, "planned",
        lambda right: lambda row, *a: right({**dict(row), "state": "done"}, *a)),
    Bug("late actions are not looked for", compensating, "unplanned", early, late=True),
)  # fmt: skip


@contextlib.contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The bug in place; the processes of the recovery are forked from this one."""
    right = getattr(bug.owner, bug.attribute)
    setattr(bug.owner, bug.attribute, bug.wrong(right))
    try:
        yield
    finally:
        setattr(bug.owner, bug.attribute, right)


def line(place: Place, bug: Bug) -> Line:
    """What the script says of a recovery with this bug."""
    with planted(bug):
        found = late(place, GROUPS, LATE) if bug.late else many(place, ACTIONS)
    said = found.figure.rpartition("; ")[2]
    return Line(found.fault, f"planted: {bug.name}", f"found: {said}", not found.holds)


def run(place: Place, quick: bool) -> Iterator[Line]:
    """Every bug, or two, on one kind of store."""
    for bug in (BUGS[0], BUGS[-1]) if quick else BUGS:
        yield line(place, bug)


if __name__ == "__main__":
    main(run, "F9, F16")
