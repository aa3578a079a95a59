"""Approving: what a person is asked about a release, and their one answer.

A question names the candidate and the evidence that there was to see; it is answered once, by somebody whom
the policy allows, before it expires. A yes lets the next look go on with what was asked; a no reverts in the
transaction that records it. Neither needs Prefect.
"""

import hashlib
import secrets
from dataclasses import dataclass

from lastgood import points, registry, releasing
from lastgood.errors import Conflict, InvalidInput, InvalidMove, Refused
from lastgood.ids import new_id
from lastgood.ledger import Entry
from lastgood.moves import ControlPoint, in_command
from lastgood.release import ReleaseState
from lastgood.store import approving as sql_of
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction

DECISIONS = ("promote", "revert", "wait")
#: states in which a person is asked
ASKED = frozenset({ReleaseState.AWAITING, ReleaseState.ASKING})
#: characters of a reason and of a name at most
_REASON, _NAME = 2_000, 200
#: letters of a code: no two of them look alike
_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
_CODE_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked, under which of the policy's terms."""

    #: `start`, `step`, `promote` or `undecided`
    what: str
    #: `claimed` or `verified`
    level: str
    #: whether the author and the starter may not answer
    not_author: bool
    #: microseconds to decide
    lasts_us: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says."""

    #: one of `DECISIONS`
    decision: str
    who: str
    reason: str
    #: beginning of the digest of the evidence that the person saw; empty: what is asked now
    evidence: str = ""
    #: a one-time code, where the policy wants one
    code: str = ""
    #: how the ledger names who answers; empty: as `who`
    by: str = ""

    @property
    def actor(self) -> str:
        """How the ledger names who answers."""
        return (self.by or self.who).strip()


def evidence_digest(txn: Transaction, release: Row) -> tuple[str, int]:
    """Return the digest of what there is to see of a release, and the newest look's number (0: none yet)."""
    look = txn.one(sql.LAST_LOOK, release_id=release["id"])
    seen = "" if look is None else f"{look['seq']}\n{look['verdict']}"
    text = "\n".join((release["id"], release["candidate"], release["policy_digest"], seen))
    return hashlib.sha256(text.encode()).hexdigest(), 0 if look is None else int(look["seq"])


def newest(txn: Transaction, release_id: str) -> Row | None:
    """Return the newest question about a release, answered or not."""
    return txn.one(sql_of.NEWEST_APPROVAL, release_id=release_id)


def ask(txn: Transaction, release: Row, point: ControlPoint, question: Question) -> None:
    """Record a question in the transaction of the move that asks it; an older one can't be answered any more.

    Whoever was named as approver at the start has answered the question about the start by that.
    """
    before = newest(txn, release["id"])
    txn.run(sql_of.VOID_APPROVALS, release_id=release["id"], now_us=txn.now_us)
    evidence, look = evidence_digest(txn, release)
    values: dict[str, object] = {
        "id": new_id("apr_", txn.now_us),
        "release_id": release["id"],
        "number": 1 if before is None else before["number"] + 1,
        "what": question.what,
        "candidate": release["candidate"],
        "evidence": evidence,
        "look": look,
        "level": question.level,
        "not_author": question.not_author,
        "asked_us": txn.now_us,
        "expires_us": txn.now_us + question.lasts_us,
        "decision": "",
        "who": "",
        "reason": "",
    }
    txn.insert("approval", values)
    named = release["approver"]
    if question.what == "start" and named and question.level == "claimed":
        if question.not_author and is_author(txn, release, named):
            return
        _record(txn, release, point, values["id"], Answer("promote", named, "named as approver at the start"))


def is_author(txn: Transaction, release: Row, who: str) -> bool:
    """Whether somebody wrote the candidate or started its release."""
    author = registry.read(txn, release["candidate"]).author or ""
    return same_person(who, author) or same_person(who, release["started_by"])


def refuse_author(txn: Transaction, release: Row, who: str, what: str) -> None:
    """Raise `Refused` for who wrote the candidate or started its release, where the policy wants another."""
    if is_author(txn, release, who):
        msg = (
            f"{who} wrote b-{release['candidate'][:8]} or started its release: the policy "
            f"{release['policy_name']} wants somebody else to {what} it"
        )
        raise Refused(msg)


def same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, as far as names tell."""
    return bool(one.strip()) and one.strip().casefold() == other.strip().casefold()


def open_question(txn: Transaction, agent: str, environment: str) -> Row | None:
    """Return what a person is asked about the agent's live release now; None where nobody is."""
    point = points.read(txn, agent, environment)
    if point.release_id is None or releasing.read(txn, point.release_id)["state"] not in ASKED:
        return None
    asked = newest(txn, point.release_id)
    return None if asked is None or asked["decision"] else asked


def decide(store: Store, agent: str, environment: str, answer: Answer) -> Row:
    """Record a person's answer; return the question as it was asked.

    A no reverts at once, a yes is carried out by the next look. Nothing changes where it raises:
    `InvalidInput` for an answer without a name or reason, `InvalidMove` where nobody is asked, `Conflict`
    where it was answered already, `Refused` for the author, after the expiry, for other evidence or without
    a valid code.
    """
    _check(answer)
    with store.transaction(durable=True, first=True, at=(agent, environment)) as txn:
        point = points.read(txn, agent, environment)
        release, asked = _question(txn, point)
        _refuse(txn, release, asked, answer)
        level = _level(txn, release, asked, answer)
        _record(txn, release, point, asked["id"], answer, level)
        if answer.decision == "revert":
            ending = releasing.Ending(answer.actor, answer.reason, by="hand")
            releasing.revert_in(txn, point, ending)
        elif answer.decision == "wait":
            lasts_us = asked["expires_us"] - asked["asked_us"]
            again = Question(asked["what"], asked["level"], bool(asked["not_author"]), lasts_us)
            ask(txn, release, point, again)
        return asked


def _check(answer: Answer) -> None:
    if answer.decision not in DECISIONS:
        raise InvalidInput(f"no decision {answer.decision!r}; there are {', '.join(DECISIONS)}")
    if not answer.who.strip() or not answer.reason.strip():
        raise InvalidInput("a decision is recorded with a name and a reason: give both")
    if len(answer.who) > _NAME or len(answer.reason) > _REASON:
        raise InvalidInput(f"a name has {_NAME} characters at most, a reason {_REASON}")


def _question(txn: Transaction, point: ControlPoint) -> tuple[Row, Row]:
    """The live release and the question that is open about it."""
    if point.release_id is None:
        raise InvalidMove(f"nobody is asked about {point.name}: it has no live release")
    release = releasing.read(txn, point.release_id)
    asked = newest(txn, point.release_id)
    if asked is None or release["state"] not in ASKED:
        msg = f"nobody is asked about {release['id']} now: it is {release['state']}; see `lastgood status`"
        raise InvalidMove(msg)
    if asked["decision"]:
        msg = (
            f"{release['id']} was decided already: {asked['decision']} by {asked['who']} "
            f"({asked['reason']}); the next look goes on with it"
        )
        raise Conflict(msg)
    return release, asked


def _refuse(txn: Transaction, release: Row, asked: Row, answer: Answer) -> None:
    if asked["expires_us"] <= txn.now_us:
        raise Refused(f"the time to decide about {release['id']} is over: it is reverted at the next look")
    if answer.evidence and not asked["evidence"].startswith(answer.evidence.strip().lower()):
        msg = (
            f"{release['id']} is asked about with other evidence by now ({asked['evidence'][:12]}, not "
            f"{answer.evidence[:12]}): look at the report again"
        )
        raise Refused(msg)
    if answer.decision != "revert" and asked["not_author"]:
        refuse_author(txn, release, answer.who, "approve")


def _level(txn: Transaction, release: Row, asked: Row, answer: Answer) -> str:
    """How sure it is who answered; anybody may revert by name alone."""
    if answer.code:
        use_code(txn, release, answer.who, answer.code)
        return "verified"
    if asked["level"] == "verified" and answer.decision != "revert":
        named = in_command(release["agent"], release["environment"])
        msg = (
            f"the policy {release['policy_name']} wants a verified approval: give a one-time code "
            f"(`lastgood approve-code {named} --for {answer.who}`)"
        )
        raise Refused(msg)
    return "claimed"


def use_code(txn: Transaction, release: Row, who: str, code: str) -> None:
    """Use up a person's one-time code about a release; raises `Refused` where it is none of theirs."""
    person = who.strip().casefold()
    key = {"code_hash": _code_hash(release["id"], code), "release_id": release["id"], "person": person}
    if txn.run(sql_of.USE_CODE, **key, now_us=txn.now_us) != 1:
        raise Refused(f"that code is not {who}'s for {release['id']}, was used, or has expired")


def _record(
    txn: Transaction,
    release: Row,
    point: ControlPoint,
    approval_id: object,
    answer: Answer,
    level: str = "claimed",
) -> None:
    done = txn.run(
        sql_of.DECIDE_APPROVAL,
        id=approval_id,
        decision=answer.decision,
        who=answer.who.strip(),
        level=level,
        reason=answer.reason.strip(),
        now_us=txn.now_us,
    )
    if done != 1:
        raise Conflict(f"{release['id']} was decided by somebody else at the same moment")
    said = f"{answer.decision} ({level}): {answer.reason.strip()}"
    points.move(txn, point, point, Entry("approve", answer.actor, said, release["id"]))


def issue_code(store: Store, agent: str, environment: str, *, person: str, actor: str, lasts_us: int) -> str:
    """Return a new code with which `person` may decide once about the live release; only its hash is kept."""
    code = "".join(secrets.choice(_LETTERS) for _ in range(_CODE_LENGTH))
    with store.transaction(durable=True, at=(agent, environment)) as txn:
        point = points.read(txn, agent, environment)
        if point.release_id is None:
            raise InvalidMove(f"a code is for one release, and {point.name} has no live one")
        if not person.strip():
            raise InvalidInput("a code is for one person: name them")
        values = {
            "code_hash": _code_hash(point.release_id, code),
            "release_id": point.release_id,
            "person": person.strip().casefold(),
            "issued_by": actor,
            "issued_us": txn.now_us,
            "expires_us": txn.now_us + lasts_us,
        }
        txn.insert("approval_code", values)
    return "-".join(code[place : place + 4] for place in range(0, _CODE_LENGTH, 4))


def _code_hash(release_id: str, code: str) -> str:
    plain = "".join(sign for sign in code.upper() if sign.isalnum())
    return hashlib.sha256(f"{release_id}\n{plain}".encode()).hexdigest()


__all__ = [
    "ASKED",
    "DECISIONS",
    "Answer",
    "Question",
    "ask",
    "decide",
    "evidence_digest",
    "is_author",
    "issue_code",
    "newest",
    "open_question",
    "refuse_author",
    "use_code",
]
