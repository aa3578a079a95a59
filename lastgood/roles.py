"""Roles: who may do what over the HTTP service, as a table.

Putting the last known good back needs the least, a promotion the most. A token has one role and a scope of
agents and environments (`lastgood.tokens`); who has the database in hand is trusted and asked for none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lastgood.errors import Forbidden

#: a scope that takes in every agent, or every environment
EVERY = "*"


class Role(StrEnum):
    """What a token stands for."""

    OBSERVER = "observer"  #: sees who serves and how releases stand
    OPERATOR = "operator"  #: puts the last known good back, kills, stops
    RELEASER = "releaser"  #: registers bundles and policies, starts releases, lifts a kill or a stop
    APPROVER = "approver"  #: decides what waits for a person, promotes, re-admits
    AGENT = "agent"  #: asks who serves it, records its own runs, outcomes and actions
    AUDITOR = "auditor"  #: reads and exports the ledger


class Act(StrEnum):
    """What a request does."""

    READ = "read"  #: status, releases, reports
    EVALUATE = "evaluate"  #: who serves the next run
    RECORD = "record"  #: runs, outcomes, actions, reservations
    REVERT = "revert"  #: rollback to a last known good, kill, stop
    RESUME = "resume"  #: clear a kill, end a stop
    START = "start"  #: register a bundle or policy, start a release
    APPROVE = "approve"  #: decide an approval
    PROMOTE = "promote"  #: promote as vouched, roll back to a bundle that never served, re-admit
    AUDIT = "audit"  #: read and export the ledger


_SEEING = frozenset({Act.READ, Act.EVALUATE})
#: what each role may do; whatever is not here is refused
ALLOWED: Mapping[Role, frozenset[Act]] = {
    Role.OBSERVER: _SEEING,
    Role.OPERATOR: _SEEING | {Act.REVERT},
    Role.RELEASER: _SEEING | {Act.REVERT, Act.RESUME, Act.START},
    Role.APPROVER: _SEEING | {Act.REVERT, Act.RESUME, Act.APPROVE, Act.PROMOTE},
    Role.AGENT: frozenset({Act.EVALUATE, Act.RECORD}),
    Role.AUDITOR: frozenset({Act.READ, Act.AUDIT}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from: a token's name, role and scope."""

    #: shown to people and kept in the ledger
    name: str
    role: Role
    #: agents that it may speak of; `*` for all
    agents: frozenset[str] = field(default=frozenset({EVERY}))
    #: environments, likewise
    environments: frozenset[str] = field(default=frozenset({EVERY}))
    #: id of its token
    token_id: str = ""

    @property
    def actor(self) -> str:
        """How the ledger names it."""
        return f"{self.name} ({self.role}, token {self.token_id})"

    def reaches(self, agent: str, environment: str) -> bool:
        """Whether its scope takes a control point in."""
        return self.knows(agent) and _within(environment, self.environments)

    def knows(self, agent: str) -> bool:
        """Whether its scope takes an agent in somewhere: bundles are shared by an agent's environments."""
        return _within(agent, self.agents)

    def may(self, act: Act, agent: str, environment: str) -> bool:
        """Whether it may do that to this agent there."""
        return act in ALLOWED[self.role] and self.reaches(agent, environment)

    def check(self, act: Act, agent: str, environment: str) -> None:
        """Raise `Forbidden`, naming what would do, unless it may."""
        if not self.reaches(agent, environment):
            raise Forbidden(f"the token of {self.name} does not reach {agent} in {environment}")
        if not self.may(act, agent, environment):
            roles = ", ".join(role for role in Role if act in ALLOWED[role])
            raise Forbidden(f"{self.name} is {self.role}: to {act} {agent} takes a token of {roles}")


def _within(name: str, scope: frozenset[str]) -> bool:
    return EVERY in scope or name in scope
