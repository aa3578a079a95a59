"""The door: who a request comes from, whether it may do that, and a record of every refusal.

A token that was just verified is taken for a moment without asking the store, so a revocation counts within
that. A refusal at a control point goes into its ledger, one row a minute for the same token and act: whoever
knocks all day can't fill it. All are counted.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from lastgood import ledger, points, tokens
from lastgood.errors import Forbidden, LastgoodError, StoreError, Unauthenticated
from lastgood.ledger import Entry
from lastgood.roles import Act, Principal
from lastgood.store import statements as sql
from lastgood.store.connection import Store

#: seconds for which a verified token is taken without asking the store
TRUSTED_S = 2.0
#: seconds in which the same refusal makes one row of the ledger
QUIET_S = 60.0
#: tokens, and refusals, that are remembered
_MOST = 10_000


@dataclass(slots=True)
class Door:
    """Lets requests in."""

    store: Store
    _known: OrderedDict[bytes, tuple[float, Principal]] = field(default_factory=OrderedDict)
    _said: OrderedDict[tuple[str, str, str, str], float] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def known(self, text: str | None) -> Principal | None:
        """Return who a token that was verified a moment ago stands for, without asking the store."""
        with self._lock:
            until, found = self._known.get(_digest(text), (0.0, None))
        return found if found is not None and time.monotonic() < until else None

    def principal(self, text: str | None) -> Principal:
        """Return who a token stands for; raises `Unauthenticated`."""
        found = self.known(text)
        if found is not None:
            return found
        try:
            with self.store.reading() as txn:
                verified = tokens.verify(txn, text)
        except Unauthenticated:
            self.note("nobody", Act.READ, "", "", "unauthenticated")
            raise
        with self._lock:
            self._known[_digest(text)] = (time.monotonic() + TRUSTED_S, verified)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return verified

    def admit(self, principal: Principal, act: Act, agent: str, environment: str) -> None:
        """Let a request through that may do that; raises `Forbidden`, which is recorded."""
        try:
            principal.check(act, agent, environment)
        except Forbidden as error:
            self.note(principal.actor, act, agent, environment, "forbidden", str(error))
            raise

    def stands(self, principal: Principal) -> bool:
        """Whether the token that was shown is good still: asked while a request goes on for long."""
        with self.store.reading() as txn:
            return tokens.stands(txn, principal.token_id)

    def forget(self) -> None:
        """Ask the store about every token anew."""
        with self._lock:
            self._known.clear()

    def note(self, actor: str, act: Act, agent: str, environment: str, reason: str, why: str = "") -> None:
        """Count a refusal, and put it into the ledger of the control point that it was about."""
        try:
            with self.store.transaction(at=(agent, environment)) as txn:
                point = points.find(txn, agent, environment) if agent else None
                place = {"agent": agent, "environment": environment} if point else _NOWHERE
                txn.run(sql.COUNT_REFUSAL, **place, reason=reason, times=1, now_us=txn.now_us)
                if point is not None and self._is_news(actor, act, agent, environment):
                    ledger.append(txn, point, Entry("refused", actor, f"{act}: {why}", point.release_id))
        except (StoreError, LastgoodError):
            return  # the request is refused all the same

    def _is_news(self, *what: str) -> bool:
        actor, act, agent, environment = what
        now = time.monotonic()
        with self._lock:
            last = self._said.get((actor, act, agent, environment), -QUIET_S)
            if now - last < QUIET_S:
                return False
            self._said[actor, act, agent, environment] = now
            while len(self._said) > _MOST:
                self._said.popitem(last=False)
            return True


def _digest(text: str | None) -> bytes:
    return hashlib.sha256((text or "").encode("utf-8", "replace")).digest()


_NOWHERE = {"agent": "", "environment": ""}
