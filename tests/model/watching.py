"""The invariants, looked at after every step: the store against the reference, the ledger, every router."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from bench import AGENT, KEYS, PLACE
from reference import bucket
from wire import listener_of, tell

from lastgood import ledger, points, registry
from lastgood.decision import CANDIDATE, Decision, Reason
from lastgood.store.connection import Transaction

if TYPE_CHECKING:
    from world import World

UNITS = ("u1", "u2", "u3")
_KEY = {"agent": AGENT, "environment": PLACE}
_SUMS = ("runs", "failed", "disconnected", "completed", "operator_edits", "cost_micro", "latency_us")
#: what one look at a run's identity needs; the ends of an example read whole tables
LEDGER_SINCE = (
    "SELECT * FROM ledger WHERE agent = :agent AND environment = :environment AND seq > :seq ORDER BY seq"
)


class Watch:
    """What was seen so far, and the checks."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.seq, self.head, self.epoch = 0, "", 0
        #: bytes of the tables that only runs change, as they were checked last
        self.checked: Any = None
        #: what the store's version was when all of it was looked at
        self.version: object = None
        #: when a process met an odd word since it was even, microseconds of the boot clock
        self.odd: dict[int, set[int]] = {}

    def everything(self, *, moved: bool = True) -> None:
        """Look at all of it; where nothing should have `moved` and nothing was committed, at the routers."""
        tell()
        version = self.world.observer.version()
        if moved or version != self.version:
            self.version = version
            self._store()
        self._routers()

    def _store(self) -> None:
        with self.world.observer.reading() as txn:
            self._point(txn)
            self._ledger(txn)
            self._releases(txn)
            self._standing(txn)
            self._incidents(txn)
            self._caps(txn)
            self._counts(txn)

    # -- 2, 6, 12: who serves

    def _point(self, txn: Transaction) -> None:
        ref = self.world.ref
        point = points.read(txn, AGENT, PLACE)
        wanted = {
            "baseline": ref.baseline, "standing": ref.standing, "candidate": ref.candidate,
            "release_id": ref.release, "share_bp": ref.share_bp, "epoch": ref.epoch, "driver_term": ref.term,
            "killed": ref.killed, "lease_seq": ref.lease_seq,
        }  # fmt: skip
        for name, value in wanted.items():
            found = getattr(point, name)
            assert found == value, f"the control point's {name} is {found} instead of {value}"
        assert point.lease.boot_until_us == ref.lease_boot_us, "the lease ends at another time"
        assert 0 <= point.epoch - self.epoch <= 3, f"epoch {self.epoch} was followed by {point.epoch}"
        self.epoch = point.epoch

    # -- 9, 15: one row a move, chained

    def _ledger(self, txn: Transaction) -> None:
        for row in txn.all(LEDGER_SINCE, **_KEY, seq=self.seq):
            assert row["seq"] == self.seq + 1, "a row of the ledger was skipped"
            assert row["previous"] == self.head, "the ledger's chain is broken"
            assert row["hash"] == ledger.row_hash(dict(row)), "a ledger row does not hash to what it claims"
            self.seq, self.head, self.tail = row["seq"], row["hash"], row
        assert self.seq == self.world.ref.ledger, f"{self.seq} ledger rows, {self.world.ref.ledger} moves"
        assert self.tail["epoch"] == self.epoch, "the ledger's last row is of another epoch"

    def _releases(self, txn: Transaction) -> None:
        ref = self.world.ref
        rows = {row["id"]: row for row in txn.all("SELECT * FROM release")}
        live = [name for name, row in rows.items() if row["ended_us"] is None]
        assert live == ([ref.release] if ref.release else []), f"live releases: {live}"
        for name, wanted in ref.releases.items():
            row = rows[name]
            assert (row["state"], row["fence"]) == (wanted.state, wanted.fence), f"{name} is {row['state']}"
        stages = Counter(row["release_id"] for row in txn.all("SELECT release_id FROM stage"))
        alarms = Counter(name for name, _ in ref.alarms)
        for name, wanted in ref.releases.items():
            entered = len(wanted.stages) + (not wanted.live) + alarms[name]
            assert stages[name] == entered, f"{name} has {stages[name]} stage rows instead of {entered}"

    def _standing(self, txn: Transaction) -> None:
        ref = self.world.ref
        out = {row["bundle_id"]: row["until_us"] for row in txn.all("SELECT * FROM quarantine")}
        assert out == ref.kept_out, f"kept out: {out} instead of {ref.kept_out}"
        served = [
            (row["bundle_id"], row["standing"], row["release_id"], row["withdrawn_us"], row["fence"])
            for row in txn.all("SELECT * FROM served ORDER BY epoch")
        ]
        wanted = [(s.bundle, s.standing, s.release, s.withdrawn_us, s.fence) for s in ref.served]
        assert served == wanted, f"served: {served} instead of {wanted}"
        assert bool(txn.all("SELECT 1 FROM stop")) is ref.stopped, "the stop is not as it was set"

    # -- 16: an incident for each revert, closed by a case or a reason alone

    def _incidents(self, txn: Transaction) -> None:
        rows = txn.all("SELECT * FROM incident ORDER BY opened_us, id")
        said = Counter(
            (r["bad_bundle"], r["good_bundle"], r["release_id"], r["opened_us"], r["state"] == "open", r["cases"].count('"') // 2)
            for r in rows
        )  # fmt: skip
        mine = Counter((i.bad, i.good, i.release, i.at_us, i.open, i.cases) for i in self.world.ref.incidents)
        assert said == mine, f"incidents: {said} instead of {mine}"
        for row in rows:
            learnt = row["cases"] != "[]" or row["close_reason"]
            assert row["state"] == "open" or learnt, f"{row['id']} was closed by nothing"

    # -- 10: ceilings

    def _caps(self, txn: Transaction) -> None:
        ref, caps = self.world.ref, self.world.ref.terms.caps
        for row in txn.all("SELECT * FROM cap_use"):
            key = (row["release_id"], row["cap"], row["window_us"])
            used, reserved = ref.caps.get(key, [0.0, 0.0])
            same = abs(row["used"] - used) < 1e-6 and abs(row["reserved"] - reserved) < 1e-6
            assert same, f"{key}: {row['used']} + {row['reserved']} instead of {used} + {reserved}"
            if row["release_id"] == ref.release:
                self._under(row, caps)
        kept = sum(1 for run in ref.runs.values() if run.held is not None)
        held = txn.one("SELECT count(*) AS n FROM reservation")
        assert held is not None and held["n"] == kept, f"{held['n']} reservations instead of {kept}"

    def _under(self, row: Any, caps: Any) -> None:
        assert row["used"] >= -1e-9 and row["reserved"] >= -1e-9, f"{row['cap']} is used below nothing"
        kind = row["cap"].removeprefix("action:")
        ceiling = (
            caps.runs_per_hour if row["cap"] == "runs_per_hour" else dict(caps.actions_per_hour).get(kind)
        )
        if row["cap"] == "spend_usd_per_hour":
            ceiling = caps.spend_usd_per_hour
        if ceiling is not None:
            assert row["used"] + row["reserved"] <= ceiling + 1e-6, f"{row['cap']} is overshot"
            self.world.reached["a ceiling was reached"] += row["used"] + row["reserved"] >= ceiling

    # -- 3, 5, 7: runs, their sums, their actions

    def _counts(self, txn: Transaction) -> None:
        ref = self.world.ref
        found = txn.one(
            "SELECT (SELECT count(*) FROM run) AS runs, (SELECT count(*) FROM outcome) AS outcomes, "
            "(SELECT count(*) FROM late_report) AS late, (SELECT coalesce(sum(n), 0) FROM refusal) AS refused"
        )
        runs = ref.runs.values()
        wanted = (
            len(runs),
            sum(run.outcome is not None for run in runs),
            sum(len(run.late) for run in runs),
            ref.refusals,
        )
        assert found is not None and tuple(dict(found).values()) == wanted, f"{dict(found)}, not {wanted}"
        actions = {row["id"]: (row["state"], bool(row["late"])) for row in txn.all("SELECT * FROM action")}
        mine = {name: (a.state, a.late) for run in runs for name, a in run.actions.items()}
        assert actions == mine, f"actions {actions} instead of {mine}"
        counts = {
            (r["release_id"], r["metric"]): [r["n"], r["bad"]] for r in txn.all("SELECT * FROM trigger_count")
        }
        mine_too = {k: v for k, v in ref.counts.items() if k in counts or v != [0, 0]}
        assert counts == mine_too, f"trigger counts {counts} instead of {mine_too}"
        if (seen := (wanted[1], wanted[2])) != self.checked:
            self.checked = seen
            self._sums(txn)

    def _sums(self, txn: Transaction) -> None:
        """The live sums equal a recount of what every run is known to have done."""
        wanted: dict[tuple[Any, ...], list[int]] = {}
        for run in self.world.ref.runs.values():
            if run.outcome is None or run.release is None:
                continue
            known, block = run.known, -1 if run.block is None else run.block
            sums = wanted.setdefault((run.release, run.task_type, block, run.arm), [0] * len(_SUMS))
            one = (
                1, known.get("status") == "failed", known.get("status") == "disconnected",
                known.get("completed") or 0, known.get("operator_edits") or 0,
                int((known.get("cost_usd") or 0) * 1_000_000 + 0.5), int((known.get("latency_s") or 0) * 1_000_000 + 0.5),
            )  # fmt: skip
            sums[:] = [a + int(b) for a, b in zip(sums, one, strict=True)]
        found = {
            (r["release_id"], r["task_type"], r["block"], r["arm"]): [r[name] for name in _SUMS]
            for r in txn.all("SELECT * FROM tally")
        }
        assert found == wanted, f"the sums are {found} instead of {wanted}"

    # -- 1, 5, 8: what routers answer

    def _routers(self) -> None:
        world = self.world
        for place, serving in enumerate(world.serving):
            cut = world.stores[place].cut
            if not serving._routers:
                continue
            if cut and listener_of(world.stores[place]) is not None:
                self._deaf(place)
                continue
            for unit, risk in ((UNITS[0], "high"), *((unit, None) for unit in UNITS)):
                # a writer that died over the word: who meets it waits a moment before the word is settled
                odd = serving.router.mark.moving
                self._decision(serving.router.route(unit, risk), unit, risk, blind=cut or odd)
            self._settles(place, odd=serving.router.mark.moving)
        if world.far is not None:
            for unit in UNITS:
                self._far(world.far.route(unit), unit, world.far_knew)

    def _deaf(self, place: int) -> None:
        """A process that a server can't reach has no word to look at: it is as one on another host."""
        for unit in UNITS:
            self._far(self.world.serving[place].router.route(unit), unit, self.world.knew[place])

    def _settles(self, place: int, *, odd: bool) -> None:
        """A word that a dead writer left is settled by whoever meets it a moment later."""
        if not odd or self.world.stores[place].cut:
            self.odd.pop(place, None)
        else:
            self.world.reached["a dead writer left its word odd"] += 1
            self.odd.setdefault(place, set()).add(self.world.ref.boot_us)
            assert len(self.odd[place]) <= 3, "a word stays odd"

    def _decision(self, got: Decision, unit: str, risk: str | None, *, blind: bool) -> None:
        """A router on the host of the store: right, or the baseline because it knows that it can't know."""
        ref = self.world.ref
        arm, eligible, why = ref.decide(unit, risk)
        if got.reason in {Reason.MOVED, Reason.CAP}:
            assert (got.arm, got.eligible) == ("baseline", False), "who does not know serves the baseline"
            assert blind or got.bundle.id == ref.baseline, "the baseline that is served was left"
            self.world.reached["a router served the baseline for not knowing"] += 1
            return
        said = (got.arm, got.eligible, got.reason, got.epoch, got.bundle.id)
        bundle = ref.candidate if arm == CANDIDATE else ref.baseline
        # a renewed lease moves no epoch: a router that is cut off may hold the one before
        if blind and got.reason is Reason.LAPSED and not ref.lapsed:
            return
        wanted = (arm, eligible, why, ref.epoch, bundle)
        assert said == wanted, f"{unit} is served {said} instead of {wanted}"
        self.world.reached["a decision for the candidate"] += arm == CANDIDATE

    def _far(self, got: Decision, unit: str, knew: Any) -> None:
        """A router on another host that hears nothing: what it knew, within the lease that it knew."""
        candidate, share_bp, until_us, epoch = knew
        ref = self.world.ref
        if got.arm != CANDIDATE:
            return
        assert got.bundle.id == candidate, "another bundle than it knew"
        assert ref.boot_us < until_us, "a router served the candidate after its lease"
        assert got.epoch == epoch
        assert bucket(got.release_id or "", unit) < share_bp, "above the share"
        assert got.release_id not in ref.left or ref.left[got.release_id] > epoch, (
            "served after its revert was seen"
        )
        self.world.reached["a router cut off served within its lease"] += ref.release != got.release_id

    # -- the end of an example

    def at_the_end(self) -> None:
        """What costs too much for every step."""
        world = self.world
        self.everything()
        seq, head = ledger.verify(world.observer, AGENT, PLACE)
        assert (seq, head) == (self.seq, self.head), "the ledger was rewritten"
        with world.observer.reading() as txn:
            for bundle in world.bundles:
                assert registry.read(txn, bundle).bundle.id == bundle
            runs = {row["id"]: row for row in txn.all("SELECT * FROM run")}
        for run in world.ref.runs.values():
            assert (runs[run.id]["bundle_id"], runs[run.id]["arm"]) == (run.bundle, run.arm), "a run moved"


__all__ = ["KEYS", "Watch"]
