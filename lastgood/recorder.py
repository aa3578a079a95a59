"""The recorder: outcomes, late reports and events into the store.

The exact sums and the triggers are part of the transaction that inserts: a candidate run's outcome settles
its reservations and may revert the release before anything commits, and a report that comes twice counts
once. Containment asks no other process.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Self

from lastgood import identity, judging, points, reserving
from lastgood.decision import CANDIDATE
from lastgood.errors import BadToken, InvalidInput, LastgoodError, NotFound, StoreUnavailable
from lastgood.identity import Keys
from lastgood.judging import Court, Undurable
from lastgood.outcome import FLAGS, Outcome, checked
from lastgood.records import kept, kept_text, redacted, unsecret_json, unsecret_key
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from lastgood.store.link import Place
from lastgood.tallies import COUNTED, Origin, Tallies, merged
from lastgood.vetting import Told, Vetting

#: state of a release that had a late report before the run's outcome
_EARLY = "early"
_FIELDS = (*COUNTED, "error", "parts_read")
_COLUMNS = ("run_id", "received_us", *_FIELDS, "usage", "metrics", "input", "output", "error_text")
_values = attrgetter(*_FIELDS)
_whose: Callable[[Any], tuple[str, str]] = attrgetter("agent", "environment")


def run_row(txn: Transaction, run_id: str) -> Row:
    """Return a run's row; raises `NotFound`."""
    row = txn.one(sql.RUN, id=run_id)
    if row is None:
        msg = f"no run {run_id!r} in this store"
        raise NotFound(msg)
    return row


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one run, to be recorded."""

    run_id: str
    outcome: Outcome
    #: the run's input and output, kept as the terms say
    input: Any = None
    output: Any = None
    #: where the run comes from, for a process that assigned it itself; else it is read
    origin: Origin | None = None
    #: the run's token, where the report comes from outside
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of a batch."""

    #: outcomes that were written
    new: int = 0
    #: runs that had an outcome already, or twice in the batch
    duplicates: tuple[str, ...] = ()
    #: runs whose report was refused, and why
    refused: tuple[tuple[str, str], ...] = ()
    #: their places among the reports that were given
    refused_at: tuple[int, ...] = ()
    #: places of reports of another control point's runs
    foreign_at: tuple[int, ...] = ()

    @classmethod
    def of(cls, vetting: Vetting, new: int, duplicates: Sequence[str]) -> Self:
        """What was written beside what a vetting left out."""
        places = tuple(vetting.refused_at), tuple(vetting.foreign_at)
        return cls(new, tuple(duplicates), tuple(vetting.refused), *places)


class _Clash(Exception):
    """Not every row was new: the transaction has to look first."""


def record_batch(
    store: Store,
    reports: Sequence[Report],
    *,
    keys: Keys | None = None,
    durable: bool = True,
    place: Place | None = None,
) -> Batch:
    """Write outcomes, once each, with their sums, settlements and triggers in one transaction.

    With `keys` every report has to carry its run's token. A report of an unknown run or without a valid token
    is refused and counted; the others are written. With `place` it has to be a run of that control point.
    Raises `StoreUnavailable` when none could be written.
    """
    looks = keys is not None or place is not None or any(report.origin is None for report in reports)
    at = place or _place(reports)
    for _ in range(4):
        try:
            with store.transaction(durable=durable, at=at) as txn:
                return _record(txn, reports, Vetting(keys, place), durable=durable, looks=looks)
        except _Clash:
            looks = True
        except Undurable:
            durable = True
        except LastgoodError:
            raise
        except Exception:
            if looks:
                raise
            looks = True  # a row that an origin stands for is gone: find out which
    msg = f"{len(reports)} outcomes could not be written: others write the same runs; try again"
    raise StoreUnavailable(msg)


def _place(reports: Sequence[Report]) -> Place | None:
    """The control point that all reports belong to, where that is known."""
    origins = [report.origin for report in reports]
    if None in origins:
        return None
    places = set(map(_whose, origins))
    return places.pop() if len(places) == 1 else None


@dataclass(slots=True)
class _Vetted:
    """Reports that may be written, with their origins, and what was left out."""

    vetting: Vetting
    reports: list[Report] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)


def _vet(txn: Transaction, reports: Sequence[Report], vetting: Vetting) -> _Vetted:
    """Look every run up; leave out what is recorded already, not theirs, or comes without its token."""
    found, runs, ended = _Vetted(vetting), runs_of(txn, reports), set()
    for at, report in enumerate(reports):
        run, run_id = runs.get(report.run_id), report.run_id
        if not vetting.passes(at, report, run, txn.now_us):
            continue
        if run_id in ended or runs[run_id]["ended"] is not None:
            found.duplicates.append(run_id)
            continue
        ended.add(run_id)
        found.reports.append(report)
        found.origins.append(Origin.of(runs[run_id]))
    vetting.count(txn)
    return found


def runs_of(txn: Transaction, reports: Sequence[Told]) -> dict[str, Row]:
    """Return the rows of the runs that there are."""
    return {run["id"]: run for run in txn.among(sql.RUNS_AMONG, [report.run_id for report in reports])}


def _record(
    txn: Transaction, reports: Sequence[Report], vetting: Vetting, *, durable: bool, looks: bool
) -> Batch:
    if not reports:
        return Batch()
    if looks:
        vetted = _vet(txn, reports, vetting)
    else:
        vetted = _Vetted(vetting, list(reports), [report.origin for report in reports if report.origin])
    courts = _courts(txn, vetted.origins, durable=durable)
    tallies = Tallies()
    late = _late_reports(txn, vetted, courts)
    _insert(txn, vetted, courts, tallies, late)
    tallies.write(txn)
    _judge(txn, vetted, courts, late)
    return Batch.of(vetting, len(vetted.reports), vetted.duplicates)


#: by agent and environment
Courts = dict[tuple[str, str], Court]
#: fields of late reports by run, in order of arrival
Late = dict[str, list[dict[str, Any]]]


def _courts(txn: Transaction, origins: Sequence[Origin], *, durable: bool) -> Courts:
    places = set(map(_whose, origins))
    return {place: Court.of(txn, points.read(txn, *place), durable=durable) for place in sorted(places)}


def _insert(txn: Transaction, vetted: _Vetted, courts: Courts, tallies: Tallies, late: Late) -> None:
    """Insert the rows and take them into the sums, column by column: this is what a burst of runs costs."""
    if not vetted.reports:
        return
    outcomes, cells = [each.outcome for each in vetted.reports], [each.cell for each in vetted.origins]
    told: list[tuple[Any, ...]] = list(zip(*map(_values, outcomes), strict=True))
    usage = [unsecret_json(json.dumps(each.usage)) if each.usage else "[]" for each in outcomes]
    metrics = [json.dumps(each.metrics) if each.metrics else "{}" for each in outcomes]
    run_ids = [each.run_id for each in vetted.reports]
    contents = _contents(vetted, courts)
    if late:
        cells = [None if run_id in late else cell for run_id, cell in zip(run_ids, cells, strict=True)]
    tallies.add_all(cells, told)
    for run_id, origin, outcome in zip(run_ids, vetted.origins, outcomes, strict=True):
        if origin.cell is None:
            continue
        if run_id in late:
            tallies.add(origin.cell, merged(outcome, late[run_id]))
        elif outcome.metrics:
            tallies.add_metrics(origin.cell, outcome.metrics)
    values: list[Sequence[Any]] = [run_ids, [txn.now_us] * len(run_ids), *told, usage, metrics, *contents]
    if txn.insert_columns("outcome", dict(zip(_COLUMNS, values, strict=True))) < len(run_ids):
        raise _Clash


def _contents(vetted: _Vetted, courts: Courts) -> list[list[Any]]:
    """What is kept of inputs, outputs and messages of exceptions, each a column."""
    given, made = [each.input for each in vetted.reports], [each.output for each in vetted.reports]
    said = [each.outcome.error_text for each in vetted.reports]
    size = len(said)
    if given.count(None) + made.count(None) + said.count(None) == 3 * size:
        return [given, made, said]
    for place, origin in enumerate(vetted.origins):
        records = courts[origin.agent, origin.environment].point.terms.records
        given[place], made[place] = kept(given[place], records), kept(made[place], records)
        said[place] = kept_text(said[place], records)
    return [given, made, said]


def _late_reports(txn: Transaction, vetted: _Vetted, courts: Courts) -> Late:
    """Late reports that came before the outcome of their run, by run."""
    releases = {origin.release_id for origin in vetted.origins}
    known = sorted(release for release in releases if release is not None)
    # nothing is noted of runs of no release, which count in the watch after a promotion
    watched = None in releases and any(court.watches_baseline for court in courts.values())
    if not watched and not any(txn.one(sql.TRIGGER_STATE, release_id=r, name=_EARLY) for r in known):
        return {}
    late: Late = {}
    for row in txn.among(sql.LATE_AMONG, [report.run_id for report in vetted.reports]):
        late.setdefault(row["run_id"], []).append(json.loads(row["fields"]))
    return late


def _judge(txn: Transaction, vetted: _Vetted, courts: Courts, late: Late) -> None:
    """Settle what candidate runs reserved, then judge whoever is watched, in the order of the reports."""
    spent: dict[tuple[str, str], dict[str, tuple[str, float | None]]] = {}
    watched: dict[tuple[str, str], list[tuple[Origin, Outcome]]] = {}
    everybody = any(court.watches_baseline for court in courts.values())
    for report, origin in zip(vetted.reports, vetted.origins, strict=True):
        if origin.arm != CANDIDATE and not everybody:
            continue
        place, outcome = (origin.agent, origin.environment), report.outcome
        if report.run_id in late:
            outcome = merged(outcome, late[report.run_id])
        watched.setdefault(place, []).append((origin, outcome))
        if origin.arm == CANDIDATE and origin.release_id is not None:
            spent.setdefault(place, {})[report.run_id] = (origin.release_id, outcome.cost_usd)
    for place, runs in sorted(spent.items()):
        for release_id, said in reserving.settle_runs(txn, courts[place].point, runs):
            judging.overspent(txn, courts[place], release_id, said)
    for place in sorted(watched):
        judging.judge(txn, courts[place], watched[place])


def record(
    store: Store,
    run_id: str,
    arm: str,
    outcome: Outcome,
    given: Any,
    made: Any,
    origin: Origin | None = None,
) -> bool:
    """Write one run's outcome, once; return False where it had one already. Raises `NotFound`.

    `given` and `made` are the run's input and output, kept as the terms say.
    """
    report = Report(run_id, outcome, given, made, origin)
    batch = record_batch(store, [report], durable=arm == CANDIDATE)
    if batch.refused:
        raise NotFound(batch.refused[0][1])
    return batch.new == 1


def record_event(
    store: Store, run_id: str, name: str, detail: dict[str, Any], *, token: str | None = None
) -> None:
    """Write a named event of a run; an event that is not tolerated fires in this transaction.

    A token that is given has to be the run's: raises `BadToken`, and nothing but the refusal is kept.
    """
    with store.transaction(durable=True, at=store.place_of(sql.RUN, id=run_id)) as txn:
        run = run_row(txn, run_id)
        wrong = identity.refusal(identity.keys(store), token, run, txn.now_us) if token is not None else None
        if wrong is not None:
            identity.count(txn, run, wrong)
        else:
            _event(txn, run, name, detail)
    if wrong is not None:
        raise BadToken(wrong.say(run_id))


def _event(txn: Transaction, run: Row, name: str, detail: dict[str, Any]) -> None:
    point = points.read(txn, run["agent"], run["environment"])
    text = redacted(detail, point.terms.records)
    txn.insert("event", {"run_id": run["id"], "name": name, "at_us": txn.now_us, "detail": text})
    if name not in point.terms.triggers.zero_tolerance:
        return
    court = Court.of(txn, point)
    charge = court.charge(Origin.of(run), txn.now_us)
    if charge is not None:
        judging.fire(txn, court, charge, name, f"{name} in run {run['id']}: no such event is tolerated")


def outcome_of(row: Row) -> Outcome:
    """Read an outcome from its row."""
    values = {name: row[name] for name in (*_FIELDS, "error_text")}
    values |= {name: None if row[name] is None else bool(row[name]) for name in FLAGS}
    return Outcome(**values, usage=json.loads(row["usage"]), metrics=json.loads(row["metrics"]))


def record_late(
    store: Store,
    run_id: str,
    fields: dict[str, Any],
    *,
    key: str | None = None,
    token: str | None = None,
) -> bool:
    """Write what arrives for a run after it ended; sealed evidence never changes by it.

    The live sums and the triggers follow it. With a `key` of the reporter's own the same report counts once:
    returns False for a repeated one. A token that is given has to be the run's: raises `BadToken`.
    """
    if not fields:
        msg = f"report of run {run_id}: nothing to report; name at least one outcome, for example edits=3"
        raise InvalidInput(msg)
    found, key = checked(fields), unsecret_key(key)
    durable, keys = False, identity.keys(store) if token is not None else None
    place = store.place_of(sql.RUN, id=run_id)
    while True:
        try:
            with store.transaction(durable=durable, at=place) as txn:
                run = run_row(txn, run_id)
                wrong = identity.refusal(keys, token, run, txn.now_us) if keys else None
                if wrong is not None:
                    identity.count(txn, run, wrong)
                new = wrong is None and late_in(txn, run, found, key, durable=durable)
            break
        except Undurable:
            durable = True
    if wrong is not None:
        raise BadToken(wrong.say(run_id))
    return new


def late_in(txn: Transaction, run: Row, fields: dict[str, Any], key: str | None, *, durable: bool) -> bool:
    """Write a late report in this transaction; return False where the run has one with this key."""
    if key is not None and txn.one(sql.LATE_BY_KEY, run_id=run["id"], key=key) is not None:
        return False
    earlier = [json.loads(row["fields"]) for row in txn.all(sql.LATE_REPORTS, run_id=run["id"])]
    text = json.dumps(fields, sort_keys=True)
    values = {"run_id": run["id"], "received_us": txn.now_us, "fields": text, "key": key}
    txn.insert("late_report", values)
    row = txn.one(sql.OUTCOME, run_id=run["id"])
    if row is not None:
        before = merged(outcome_of(row), earlier)
        _revise(txn, Origin.of(run), run["id"], before, merged(before, [fields]), durable=durable)
    elif run["release_id"] is not None:
        txn.run(sql.SET_TRIGGER_STATE, release_id=run["release_id"], name=_EARLY, state="{}")
    return True


def _revise(
    txn: Transaction, origin: Origin, run_id: str, before: Outcome, after: Outcome, *, durable: bool
) -> None:
    """Bring the live sums, the ceilings and the triggers from what was known to what is known now."""
    if origin.cell is not None:
        tallies = Tallies()
        tallies.add(origin.cell, before, -1)
        tallies.add(origin.cell, after)
        tallies.write(txn)
    court = Court.of(txn, points.read(txn, origin.agent, origin.environment), durable=durable)
    if origin.arm == CANDIDATE and origin.release_id is not None and after.cost_usd is not None:
        said = reserving.spent_late(
            txn, court.point, (run_id, origin.release_id), before.cost_usd, after.cost_usd
        )
        if said is not None:
            judging.overspent(txn, court, origin.release_id, said)
    judging.rejudge(txn, court, origin, before, after)
