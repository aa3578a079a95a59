"""What there is before a role makes a move: prepared by who owns the tables (`moves_of_roles`)."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from lastgood import (
    approving,
    control,
    recorder,
    releasing,
)
from lastgood.approving import Question
from lastgood.assigning import Assigned, Request, assign
from lastgood.caps import Caps
from lastgood.ledger import Entry
from lastgood.outcome import Outcome
from lastgood.points import Expect
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Stage
from lastgood.snapshot import Serving
from lastgood.triggers import Triggers

MINUTE, HOUR = 60_000_000, 3_600_000_000
BY = {"actor": "ann", "reason": "it is odd"}
LEAK = Triggers(("data_leak",))
CAPS = Caps(actions_per_run=(("mail", 9),), actions_per_hour=(("mail", 9),))
TERMS = Terms(caps=CAPS, triggers=LEAK, watch_us=HOUR)
#: numbers that make a bundle, a key or an environment a new one
NUMBERS = count()


def adopted(desk) -> None:
    desk.adopt()


def live(desk, **terms) -> str:
    desk.adopt()
    return desk.live(terms=replace(TERMS, **terms))


def promoted(desk, **terms) -> str:
    release_id = live(desk, **terms)
    desk.promote(release_id)
    return release_id


def another_live(desk, **terms) -> str:
    """A release over a baseline that became that by one."""
    promoted(desk)
    return desk.live(1, replace(TERMS, **terms), desk.third)


def killed(desk) -> str:
    release_id = live(desk)
    desk.kill()
    return release_id


def stopped(desk) -> None:
    live(desk)
    control.stop(desk.store, *desk.place, **BY)


def cooling(desk) -> None:
    desk.revert(live(desk, agent_cooldown_us=HOUR))


def quarantined(desk) -> None:
    desk.revert(live(desk), by="evidence")


def with_run(desk) -> Assigned:
    live(desk)
    return entered(desk)


def with_incident(desk) -> str:
    desk.revert(live(desk))
    return desk.incidents[0].id


def entered(desk, conversation=None, **request) -> Assigned:
    request["conversation"] = conversation
    return assign(Serving(desk.store, *desk.place), Request(f"u-{next(NUMBERS)}", "faq", None, **request))


def ended(desk, run: Assigned, **outcome) -> None:
    made = Outcome(**{"completed": True, "validated": True, "cost_usd": 0.1, **outcome})
    assert recorder.record(desk.store, run.run_id, run.decision.arm, made, "in", "out")


def asked(desk, level: str = "claimed") -> str:
    release_id = live(desk)
    ask(desk, release_id, level)
    return release_id


def ask(desk, release_id: str, level: str = "claimed") -> None:
    question = Question("promote", level, not_author=False, lasts_us=HOUR)
    stage = Stage(f"awaiting:{next(NUMBERS)}", ReleaseState.AWAITING, 0)
    releasing.enter(
        desk.store, release_id, stage, entry=Entry("await", "driver", "the gate is open", release_id),
        expect=Expect.of(desk.point), also=lambda txn, row, point: approving.ask(txn, row, point, question),
    )  # fmt: skip


def code_for(desk) -> str:
    return approving.issue_code(desk.store, *desk.place, person="ben", actor="ann", lasts_us=HOUR)


def verified(desk) -> str:
    asked(desk, "verified")
    return code_for(desk)


def frozen(desk, **approval) -> str:
    desk.adopt()
    wanted = replace(desk.wanted(terms=TERMS), policy=json.dumps({"approval": approval}))
    release_id = releasing.start(desk.store, wanted)
    desk.serve(release_id, 2_500)
    return release_id


def guarded(desk) -> str:
    frozen(desk, level="verified")
    return code_for(desk)


def by_hand(change: str) -> Callable[[Any], None]:
    """A live release whose control point a hand edited."""

    def prepare(desk) -> None:
        live(desk)
        desk.hand(f"{change} WHERE environment = ?", desk.environment)

    return prepare


def back_on_one_that_cools(desk) -> None:
    """The baseline was rolled back from, then back to; what is left now would cool down for less long."""
    promoted(desk, cooldown_us=24 * HOUR)
    desk.rollback()
    desk.live(terms=replace(TERMS, cooldown_us=MINUTE), candidate=desk.third)
    desk.rollback(to=desk.candidate)
