"""Moves of control, on both sides."""

from typing import Any

from bench import Plan
from core import LOST, NAMES, Core
from looks import RULES, made_up

from evaluators import stages
from evaluators.stages import Move, Standing
from lastgood import control, incidents, releasing
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState, Terms
from lastgood.releasing import Ending, Stage, Start
from tasks import traffic


class Moving(Core):
    """What drivers and people do."""

    # -- moves of control

    def start(self, actor: int, candidate: str, terms: Terms, plan: Plan | None = None) -> None:
        wanted = Start(*NAMES, candidate, "default", "d" * 64, "{}", "{}", terms, "ann")

        def apply(answer: Any) -> None:
            row = self._one("SELECT id FROM release WHERE ended_us IS NULL")
            assert row is not None, "a start left no live release"
            assert answer in {LOST, row["id"]}
            self.ref.start(row["id"], candidate, terms)
            self.remember()

        if self.ref.release is not None:
            self.reached["race lost"] += 1
        self.attempt(
            actor, lambda s: releasing.start(s, wanted), self.ref.why_not_start(candidate), apply, plan
        )

    def remember(self) -> None:
        """A driver looks at the control point."""
        if self.ref.release is not None:
            self.beliefs = [*self.beliefs[-5:], (self.ref.release, self.ref.epoch, self.ref.term)]

    def _believed(self, which: int) -> tuple[str, Expect, tuple[int, int]] | None:
        if not self.beliefs:
            return None
        release, epoch, term = self.beliefs[-1 - which % len(self.beliefs)]
        if self.ref.releases[release].live and (epoch, term) != (self.ref.epoch, self.ref.term):
            self.reached["stale driver"] += 1
        return release, Expect(epoch, term), (epoch, term)

    def share(self, actor: int, which: int, share_bp: int, lease_us: int, plan: Plan | None = None) -> None:
        if (believed := self._believed(which)) is None:
            return
        release, expect, pair = believed
        key = f"canary:0@{expect.epoch}"
        if key in self.ref.releases[release].stages and self.ref.releases[release].live:
            self.reached["a stage was retried"] += 1
        stage, entry = Stage(key, ReleaseState.CANARY, 0), Entry("share", "driver", "", release)
        self.attempt(
            actor,
            lambda s: releasing.set_share(
                s, release, stage, share_bp=share_bp, lease_us=lease_us, entry=entry, expect=expect
            ),
            self.ref.why_not_stage(release, key, pair),
            lambda _: (self.ref.stage(release, key, "canary", share_bp, lease_us), self.remember())[0],
            plan,
        )

    def enter(self, actor: int, which: int, state: str, plan: Plan | None = None) -> None:
        if (believed := self._believed(which)) is None:
            return
        release, expect, pair = believed
        key = f"{state}:0@{expect.epoch}"
        stage, entry = Stage(key, ReleaseState(state), 0), Entry(state, "driver", "", release)
        self.attempt(
            actor,
            lambda s: releasing.enter(s, release, stage, entry=entry, expect=expect),
            self.ref.why_not_stage(release, key, pair),
            lambda _: self.ref.stage(release, key, state, None, 0),
            plan,
        )

    def renew(self, actor: int, which: int, lease_us: int, plan: Plan | None = None) -> None:
        if (believed := self._believed(which)) is None:
            return
        release, expect, pair = believed
        if self.ref.share_bp and self.ref.lapsed:
            self.reached["lapsed before it was renewed"] += 1
        self.attempt(
            actor,
            lambda s: releasing.renew(
                s, release, lease_us=lease_us, driver="driver", reason="", expect=expect
            ),
            self.ref.why_not_drive(release, pair),
            lambda _: self.ref.renew(lease_us),
            plan,
        )

    def take_over(self, actor: int, which: int, plan: Plan | None = None) -> None:
        if (believed := self._believed(which)) is None:
            return
        release = believed[0]
        self.attempt(
            actor,
            lambda s: releasing.take_over(s, release, driver="other", reason=""),
            self.ref.why_not_drive(release, None),
            lambda _: (self.ref.take_over(), self.remember())[0],
            plan,
        )

    def promote(self, actor: int, which: int, *, held: bool, plan: Plan | None = None) -> None:
        """A person promotes; the evidence's own way is `look`."""
        if (believed := self._believed(which)) is None:
            return
        release, expect, pair = believed
        if not self.ref.releases[release].live:
            self.reached["promote of an ended release"] += 1
        ending = Ending("bob", "it is good", "hand")
        self.attempt(
            actor,
            lambda s: releasing.promote(
                s, release, proven=False, ending=ending, expect=expect if held else None
            ),
            self.ref.why_not_promote(release, pair if held else None),
            lambda _: self.ref.promote(proven=False),
            plan,
        )

    def revert(self, actor: int, which: int, by: str, *, held: bool, plan: Plan | None = None) -> None:
        if (believed := self._believed(which)) is None:
            return
        release, expect, pair = believed
        ending, open_ = Ending("ann", "it is bad", by), self._open_actions()

        def apply(_: Any) -> None:
            self.ref.revert(quarantines=by in {"evidence", "trigger"})
            self.reached["revert during an open action"] += open_
            self.reached["revert with a router cut off"] += any(s.cut for s in self.stores)

        self.attempt(
            actor,
            lambda s: releasing.revert(s, release, ending, expect if held else None),
            self.ref.why_not_drive(release, pair if held else None),
            apply,
            plan,
        )

    def _open_actions(self) -> bool:
        runs = (r for r in self.ref.runs.values() if r.release is not None and r.release == self.ref.release)
        return any(a.state == "reserved" for r in runs for a in r.actions.values())

    def look(self, actor: int, which: int, kind: str, runs: int, plan: Plan | None = None) -> None:
        """A driver makes a look and does what the stage machine says of it."""
        if (believed := self._believed(which)) is None or self.ref.releases[believed[0]].state == "asking":
            return
        release, expect, pair = believed
        ref, found = self.ref, self.ref.releases[release]
        verdict = made_up(kind, runs)
        left_us = ref.lease_boot_us - ref.boot_us
        standing = Standing(ReleaseState(found.state), 0, ref.share_bp, 0, 0, runs, left_us, None, ref.killed)
        if not found.live:
            return
        said = stages.next_transition(standing, verdict, RULES)
        self._judge_look(kind, runs, said.move)
        if kind == "absent" and said.move is Move.HOLD:
            return  # as the driver does: the lease runs out by itself
        lease_us, key = 60_000_000, f"{said.to}:{said.step}@{expect.epoch}"

        def apply(_: Any) -> None:
            if said.move is Move.HOLD:
                ref.renew(lease_us)
            elif said.move is Move.PROMOTE:
                ref.promote(proven=True)
                self.reached["promoted by evidence"] += 1
            elif said.move is Move.REVERT:
                ref.revert(quarantines=True)
            else:
                serves = said.move in {Move.OPEN, Move.REOPEN, Move.LAPSE}
                ref.stage(release, key, str(said.to), said.share_bp if serves else None, lease_us)
                self.reached["lapsed and reopened"] += said.move is Move.REOPEN
            self.remember()

        staged = said.move not in {Move.HOLD, Move.PROMOTE, Move.REVERT}
        why_not = ref.why_not_stage(release, key, pair) if staged else ref.why_not_drive(release, pair)
        if said.move is Move.PROMOTE:
            why_not = ref.why_not_promote(release, pair)
        self.attempt(
            actor,
            lambda s: traffic.carry_out(s, release, said, lease_us=lease_us, driver="driver", expect=expect),
            why_not,
            apply,
            plan,
        )

    def _judge_look(self, kind: str, runs: int, move: Move) -> None:
        """A release shown as proven has evidence; harm reverts at once; no look does nothing."""
        ref = self.ref
        served = ref.share_bp > 0 and not ref.killed and not ref.lapsed
        state = ref.releases[ref.release or ""].state if ref.release else ""
        proven = kind == "pass" and runs >= RULES.steps[0].min_runs and served and state == "compare"
        assert (move is Move.PROMOTE) is proven, f"{move} of a {kind} look with {runs} runs in {state}"
        assert (move is Move.REVERT) is (kind == "harm"), f"{move} of a look that says {kind}"
        if move is Move.REOPEN:
            assert kind in {"pass", "hold"}, f"reopened by a look that says {kind}"
        self.reached[f"a look: {kind}"] += 1

    def rollback(self, actor: int, to: str | None, *, vouched: bool, plan: Plan | None = None) -> None:
        why_not = self.ref.why_not_rollback(to, vouched=vouched)

        def apply(_: Any) -> None:
            self.reached["rolled back to an earlier bundle"] += self.ref.release is None
            self.ref.rollback(to, vouched=vouched)

        self.attempt(
            actor,
            lambda s: control.rollback(s, *NAMES, actor="ann", reason="back", to=to, vouched=vouched),
            why_not,
            apply,
            plan,
        )

    def switch(self, actor: int, what: str, plan: Plan | None = None) -> None:
        """`kill`, `clear`, `stop`, `unstop`."""
        on = what in {"kill", "stop"}
        make = self.ref.switch if what in {"kill", "clear"} else self.ref.stop
        name = "killed" if what in {"kill", "clear"} else "stopped"
        self.reached["killed while serving"] += what == "kill" and self.ref.serving
        self.attempt(
            actor,
            lambda s: getattr(control, what)(s, *NAMES, actor="ann", reason="so"),
            None,
            lambda _: make(**{name: on}),
            plan,
        )

    def learn(self, actor: int, number: int, how: str, plan: Plan | None = None) -> None:
        """Close an incident by a `reason`, by a `case`, or by `nothing`."""
        if not self.ref.incidents:
            return
        rows = self._all("SELECT * FROM incident ORDER BY opened_us, id")
        row = rows[number % len(rows)]
        key = (row["bad_bundle"], row["good_bundle"], row["release_id"], row["opened_us"])
        found = next(
            i for i in self.ref.incidents if (i.bad, i.good, i.release, i.at_us) == key
            and (i.open, i.cases) == (row["state"] == "open", row["cases"].count('"') // 2)
        )  # fmt: skip
        if how == "case":
            self.attempt(actor, lambda s: _prove(s, row["id"]), None, lambda _: _proven(found), plan)
        reason = "none can" if how == "reason" else ""

        def apply(_: Any) -> None:
            found.open = False
            self.reached[f"an incident was closed by a {'reason' if reason else 'case'}"] += 1

        self.attempt(
            actor,
            lambda s: incidents.close(s, row["id"], actor="ann", reason=reason),
            self.ref.why_not_close(found, reasoned=bool(reason)),
            apply,
            plan,
        )

    def readmit(self, actor: int, bundle: str, plan: Plan | None = None) -> None:
        self.attempt(
            actor,
            lambda s: control.readmit(s, *NAMES, bundle, actor="ann", reason="reviewed"),
            self.ref.why_not_readmit(bundle),
            lambda _: self.ref.readmit(bundle),
            plan,
        )


def _prove(store: Any, incident_id: str) -> None:
    with store.transaction(durable=True, at=NAMES) as txn:
        incidents.add_case_in(txn, incident_id, "case_1")


def _proven(incident: Any) -> None:
    incident.cases = 1
