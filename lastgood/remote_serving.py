"""An agent as a process without the database serves it: a router over the snapshot that the service gave.

The snapshot is asked for anew every few seconds, by a thread of its own once there is one; its lease counts
on this host's monotonic clock from before the question, so that it never outlives the service's. A run is
assigned by the service, in one committed row; while that can't be, this router's baseline serves.
"""

import json
import logging
import threading
import time
from dataclasses import dataclass, field

from lastgood.bundle import Bundle
from lastgood.errors import LastgoodError, NotFound, StoreError
from lastgood.moves import ControlPoint
from lastgood.part import Part
from lastgood.release import Terms
from lastgood.remote import Service
from lastgood.router import Router, Snapshot
from lastgood.snapshot import announced_runtimes

log = logging.getLogger("lastgood")
#: seconds after which a snapshot is asked for again
POLL_S = 2.0


@dataclass(slots=True, eq=False)
class RemoteServing:
    """One agent in one environment."""

    service: Service
    agent: str
    fallback: Bundle | None = None
    runtimes: frozenset[str] = field(default_factory=announced_runtimes)
    _router: Router | None = None
    _bundles: dict[str, Bundle] = field(default_factory=dict)
    _read_s: float = 0.0
    _helper: threading.Thread | None = None

    @property
    def environment(self) -> str:
        """The environment."""
        return self.service.environment

    @property
    def known(self) -> bool:
        """Whether a bundle is at hand should the service go away."""
        return self._router is not None or self.fallback is not None

    @property
    def router(self) -> Router:
        """The router; the first time it waits for the service, later a thread brings it up to date."""
        if self._router is None:
            try:
                self.refresh()
            except (StoreError, NotFound) as error:
                if self.fallback is None:
                    raise
                log.warning("%s is served the bundle that it was given: %s", self.agent, error)
                return self._install(self._given(self.fallback))
        elif time.monotonic() - self._read_s > POLL_S:
            self._in_background()
        assert self._router is not None  # noqa: S101  `refresh` made it
        return self._router

    def refresh(self) -> None:
        """Ask for the snapshot; raises what the service says."""
        boot_us = self.service.clock.boot_us()  # before the question: the lease must not be held too long
        said = self.service.ask("GET", f"/v1/agents/{self.agent}/snapshot")
        point = ControlPoint(
            self.agent,
            self.environment,
            said["baseline"],
            said["standing"],
            said["candidate"],
            said["release"],
            said["share_bp"],
            said["epoch"],
            killed=said["killed"],
            terms=Terms.from_json(json.dumps(said["terms"])),
        )
        served = point.candidate if point.share_bp else None
        candidate = None if served is None else self.bundle(served)
        self._read_s = time.monotonic()
        self._install(
            Snapshot(point, self.bundle(point.baseline), candidate, boot_us + said["lease_left_us"])
        )

    def bundle(self, bundle_id: str) -> Bundle:
        """Return a bundle, asked for and checked against its id once a process."""
        found = self._bundles.get(bundle_id)
        if found is None:
            said = self.service.ask("GET", f"/v1/bundles/{bundle_id}/parts")
            parts = [
                Part.from_body(each["kind"], each["version"], each["body"].encode(), each["digest"])
                for each in said
            ]
            found = self._bundles.setdefault(bundle_id, Bundle.verified(parts, bundle_id))
        return found

    def _given(self, bundle: Bundle) -> Snapshot:
        return Snapshot(
            ControlPoint(self.agent, self.environment, bundle.id, "vouched", epoch=0), bundle, None, 0
        )

    def _install(self, snapshot: Snapshot) -> Router:
        if self._router is None:
            self._router = Router(snapshot, self.service.clock, self.runtimes)
        else:
            self._router.update(snapshot)
        return self._router

    def _in_background(self) -> None:
        if self._helper is None or not self._helper.is_alive():
            self._helper = threading.Thread(target=self._help, name="lastgood-poll", daemon=True)
            self._helper.start()

    def _help(self) -> None:
        try:
            self.refresh()
        except LastgoodError as error:
            self._read_s = time.monotonic()  # not again at once; meanwhile the lease runs out by itself
            log.warning("%s goes on with what was known: %s", self.agent, error)
