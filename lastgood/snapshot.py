"""Snapshots: a control point with its bundles loaded and checked, as one process holds it."""

import logging
import os
from dataclasses import dataclass, field

from lastgood import points, registry
from lastgood.bundle import Bundle
from lastgood.errors import CorruptRow, Refused
from lastgood.moves import ControlPoint
from lastgood.router import Router, Snapshot
from lastgood.store.connection import Store, Transaction

log = logging.getLogger("lastgood")


def announced_runtimes() -> frozenset[str]:
    """The runtimes that this process says it is, from LASTGOOD_RUNTIME (separated by commas)."""
    return frozenset(
        name.strip() for name in os.environ.get("LASTGOOD_RUNTIME", "").split(",") if name.strip()
    )


@dataclass(slots=True)
class Serving:
    """One agent in one environment as this process serves it: a router, and the bundles seen so far."""

    store: Store
    agent: str
    environment: str
    runtimes: frozenset[str] = field(default_factory=announced_runtimes)
    _router: Router | None = None
    _bundles: dict[str, Bundle] = field(default_factory=dict)

    @property
    def router(self) -> Router:
        """The router, from the store at its first use."""
        if self._router is None:
            with self.store.reading() as txn:
                return self.refresh(txn)
        return self._router

    @property
    def known(self) -> bool:
        """Whether a snapshot is at hand should the store go away."""
        return self._router is not None

    def bundle(self, txn: Transaction, bundle_id: str) -> Bundle:
        """Return a bundle, read and checked once a process."""
        if bundle_id not in self._bundles:
            self._bundles[bundle_id] = registry.read(txn, bundle_id).bundle
        return self._bundles[bundle_id]

    def refresh(self, txn: Transaction) -> Router:
        """Bring the router to the control point as `txn` sees it."""
        point = points.read(txn, self.agent, self.environment)
        router = self._router
        if router is None or router.snapshot.point != point:
            snapshot = self._load(txn, point)
            if router is None:
                router = self._router = Router(snapshot, self.store.clock, self.runtimes)
            else:
                router.update(snapshot)
        return router

    def _load(self, txn: Transaction, point: ControlPoint) -> Snapshot:
        clock = self.store.clock
        boot_us = clock.boot_us()
        left = point.lease.left_us(now_us=txn.now_us, boot_id=clock.boot_id, boot_us=boot_us)
        baseline = self.bundle(txn, point.baseline)
        if not self.announces(baseline):
            needed = ", ".join(sorted(baseline.runtimes - self.runtimes))
            msg = (
                f"the baseline {baseline.short} of {point.name} needs the runtime {needed}, which this "
                "process does not announce: start it with LASTGOOD_RUNTIME set to what it is"
            )
            raise Refused(msg)
        return Snapshot(point, baseline, self._candidate(txn, point), boot_us + left)

    def _candidate(self, txn: Transaction, point: ControlPoint) -> Bundle | None:
        """A candidate that was changed behind lastgood's back is not served; the baseline goes on."""
        if not point.candidate or not point.share_bp:
            return None
        try:
            return self.bundle(txn, point.candidate)
        except CorruptRow as error:
            log.error("the candidate of %s is not served: %s", point.name, error)  # noqa: TRY400  one line is enough
            return None

    def announces(self, bundle: Bundle) -> bool:
        """Whether this process is every runtime that the bundle needs."""
        return bundle.runtimes <= self.runtimes
