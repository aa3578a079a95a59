"""The world: the real thing under test, what the reference says of it, and every operation on both."""

from typing import Any

from bench import KEYS, Plan
from core import LOST
from moving import Moving
from reference import Run

from lastgood import acting, identity, recorder
from lastgood.acting import Effect
from lastgood.assigning import Request, assign
from lastgood.errors import BadToken
from lastgood.outcome import Outcome
from lastgood.recorder import Report


class World(Moving):
    """And what agents do: runs, actions, reports."""

    # -- runs

    def begin(
        self,
        actor: int,
        unit: str,
        risk: str | None,
        task_type: str,
        conversation: str | None,
        plan: Plan | None = None,
    ) -> Run | None:
        """Assign a run."""
        found: list[Run] = []

        def apply(answer: Any) -> None:
            arm, bundle, eligible, why, block = self.ref.assign(unit, risk, task_type, conversation)
            row = self._one("SELECT * FROM run ORDER BY seq DESC LIMIT 1")
            assert row is not None and row["seq"] > self.assigned, "an assignment left no row"
            self.assigned = row["seq"]
            assert answer is LOST or answer.run_id == row["id"]
            said = (row["arm"], row["bundle_id"], bool(row["eligible"]), row["reason"], row["block"])
            assert said == (arm, bundle, eligible, why, block), f"{said} instead of {(arm, bundle, why)}"
            assert (row["release_id"], row["epoch"]) == (self.ref.release, self.ref.epoch)
            if answer is not LOST:
                assert (answer.bundle.id, answer.decision.arm) == (bundle, arm)
                self.given[answer.run_id] = answer
            run = Run(
                row["id"], arm, bundle, self.ref.release, self.ref.epoch, eligible, block, task_type,
                self.ref.now_us, row["seq"],
            )  # fmt: skip
            self.ref.began(run)
            found.append(run)
            self.reached[f"a run: {arm} by {why}"] += 1

        request = Request(unit, task_type, risk, conversation)
        self.attempt(actor, lambda _s: assign(self.serving[actor], request), None, apply, plan)
        return found[0] if found else None

    def act(
        self,
        actor: int,
        run: Run,
        kind: str,
        key: str | None,
        end: str,
        plan: Plan | None = None,
        *,
        idempotent: bool = False,
    ) -> None:
        """An action: through the gate, the effect, settled as `done` or `failed`, or left `open`."""
        known = run.actions.get(run.by_key.get(key or "", ""))
        again = known is not None and known.state == "done" and known.kind == kind
        why_not = self.ref.why_not_act(run, kind, key, idempotent=idempotent)
        if self.ref.is_late(run):
            self.reached["a late action let through" if why_not is None else "a late action refused"] += 1

        def apply(answer: Any) -> None:
            if again:
                assert answer is LOST or answer.done, "an effect that happened was let through again"
                self.reached["a keyed action repeated"] += 1
                return
            row = (
                self._one(
                    "SELECT id FROM action WHERE run_id = :run ORDER BY reserved_us DESC, id DESC", run=run.id
                )
                if answer is LOST
                else None
            )
            action_id = answer.id if row is None else self._new_action(run, key)
            assert answer is LOST or not answer.done, "an effect that never happened was passed over"
            self.reached["an action in doubt was made again"] += (
                known is not None and known.state == "reserved"
            )
            self.ref.reserved(run, kind, action_id, key)

        effect = Effect(kind, "c-1", {"undo": kind}, key=key, idempotent=idempotent)
        gated = self.attempt(actor, lambda s: acting.reserve(s, run.id, effect), why_not, apply, plan)
        if isinstance(gated, acting.Gated) and not gated.done:
            self._effect(actor, run, gated, end)

    def _new_action(self, run: Run, key: str | None) -> str:
        with self.observer.reading() as txn:
            rows = txn.all("SELECT id, key FROM action WHERE run_id = :run", run=run.id)
        new = [r["id"] for r in rows if r["id"] not in run.actions or (key is not None and r["key"] == key)]
        assert len(new) == 1, "an action was let through without its row"
        return str(new[0])

    def _effect(self, actor: int, run: Run, gated: Any, end: str) -> None:
        row = self._one("SELECT * FROM action WHERE id = :id", id=gated.id)
        assert row is not None and row["state"] == "reserved", "an effect before its row"
        assert bool(row["late"]) is self.ref.is_late(run) is gated.late, "a late action is not marked"
        if end == "open":
            return
        self.effects[gated.id] += end == "done"
        assert self.effects[gated.id] <= 1, "one effect happened twice"
        self.settle(actor, run, gated.id, end)

    def settle(self, actor: int, run: Run, action_id: str, end: str) -> None:
        if self.stores[actor].cut or run.actions[action_id].state != "reserved":
            return

        def apply(_: Any) -> None:
            self.ref.settled(run, action_id, end)

        self.attempt(actor, lambda s: acting.settle(s, action_id, end), None, apply)

    def token(self, run: Run, kind: str) -> str | None:
        """`right`, `forged`, `crossed`, `expired`, `missing`, or `none` where none is asked for."""
        expires = self.clock.now_us() + (identity.LIFETIME_US if kind != "expired" else 0)
        bundle = run.bundle if kind != "crossed" else "f" * 64
        signed = identity.sign(KEYS, run.id, bundle, run.epoch, expires)
        return {"none": None, "missing": "", "forged": signed[:-4] + "beef"}.get(kind, signed)

    def end(
        self,
        actor: int,
        runs: list[Run],
        outcomes: list[dict[str, Any]],
        token: str,
        plan: Plan | None = None,
    ) -> None:
        """Report how runs ended, in one batch; some may have ended before, or come twice."""
        own = token == "none" and len({run.id for run in runs}) == len(runs)
        reports = []
        for run, fields in zip(runs, outcomes, strict=True):
            given = self.given.get(run.id)
            origin = given.origin if own and given is not None else None
            reports.append(Report(run.id, Outcome(**fields), None, None, origin, self.token(run, token)))
        wrong = token not in {"none", "right"}

        def apply(answer: Any) -> None:
            new: dict[str, tuple[Run, dict[str, Any]]] = {}
            for run, fields in zip(runs, outcomes, strict=True):
                if run.outcome is None and run.id not in new:
                    new[run.id] = (run, fields)
                elif not wrong:
                    self.reached["a duplicate outcome"] += 1
            if wrong:
                self.ref.refusals += len(runs)
                self.reached["a report without its token"] += 1
            else:
                was = self.ref.release
                self.ref.ended([run for run, _ in new.values()], [f for _, f in new.values()])
                self.reached["a rate or a cost fired"] += was != self.ref.release
            if answer is not LOST:
                assert answer.new == (0 if wrong else len(new)), f"{answer.new} outcomes are new"
                refused = len(answer.refused)
                assert refused == (len(runs) if wrong else 0), (
                    f"{refused} reports with {token} token are refused"
                )

        keys = None if token == "none" else KEYS
        durable = any(run.arm == "candidate" for run in runs)
        self.attempt(
            actor, lambda s: recorder.record_batch(s, reports, keys=keys, durable=durable), None, apply, plan
        )

    def late(
        self,
        actor: int,
        run: Run,
        fields: dict[str, Any],
        key: str | None,
        token: str,
        plan: Plan | None = None,
    ) -> None:
        wrong = token not in {"none", "right"}
        repeated = key is not None and key in run.keys
        self.reached["a late report after the release ended"] += run.release not in {None, self.ref.release}

        def apply(answer: Any) -> None:
            assert answer is LOST or answer is not repeated, "a repeated report is not told from a new one"
            self.ref.reported_late(run, fields, key)
            self.reached["a late report twice"] += repeated
            self.reached["a late report before the outcome"] += run.outcome is None

        given = self.token(run, token)
        self.attempt(
            actor,
            lambda s: recorder.record_late(s, run.id, fields, key=key, token=given),
            BadToken if wrong else None,
            apply,
            None if wrong else plan,
        )

    def event(self, actor: int, run: Run, name: str, token: str, plan: Plan | None = None) -> None:
        wrong, given = token not in {"none", "right"}, self.token(run, token)

        def apply(_: Any) -> None:
            was, live = self.ref.epoch, run.release is not None and run.release == self.ref.release
            state = self.ref.releases[run.release or ""].state if live else ""
            self.ref.event(run, name)
            moved = was != self.ref.epoch
            self.reached["an event reverted"] += moved and live
            self.reached["an event reverted while a person was asked"] += moved and state == "asking"
            self.reached["an event restored after a promotion"] += moved and not live

        self.attempt(
            actor,
            lambda s: recorder.record_event(s, run.id, name, {}, token=given),
            BadToken if wrong else None,
            apply,
            None if wrong else plan,
        )
