"""Late reports in batches: what became known of runs after they ended, one transaction for many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lastgood import recorder
from lastgood.identity import Keys
from lastgood.judging import Undurable
from lastgood.recorder import Batch
from lastgood.records import unsecret_key
from lastgood.store.connection import Store, Transaction
from lastgood.store.link import Place
from lastgood.vetting import Vetting


@dataclass(frozen=True, slots=True)
class LateReport:
    """What became known of one run later, to be recorded."""

    run_id: str
    #: as `lastgood.outcome.checked` returns them
    fields: Mapping[str, Any]
    key: str | None = None
    token: str | None = None


def record_late_batch(
    store: Store, reports: Sequence[LateReport], *, keys: Keys | None = None, place: Place | None = None
) -> Batch:
    """Write late reports in one transaction, each as `record_late` does, vetted as by `record_batch`."""
    durable = False
    while True:
        try:
            with store.transaction(durable=durable, at=place) as txn:
                return _lates(txn, reports, Vetting(keys, place), durable=durable)
        except Undurable:
            durable = True


def _lates(txn: Transaction, reports: Sequence[LateReport], vetting: Vetting, *, durable: bool) -> Batch:
    if not reports:
        return Batch()
    runs, new, duplicates = recorder.runs_of(txn, reports), 0, []
    for at, report in enumerate(reports):
        if vetting.passes(at, report, runs.get(report.run_id), txn.now_us):
            run, key = runs[report.run_id], unsecret_key(report.key)
            if recorder.late_in(txn, run, dict(report.fields), key, durable=durable):
                new += 1
            else:
                duplicates.append(report.run_id)
    vetting.count(txn)
    return Batch.of(vetting, new, duplicates)
