"""What people are asked, and their one answer: on both stores, with no Prefect anywhere."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lastgood import approving, control, ledger, releasing
from lastgood.approving import Answer, Question
from lastgood.errors import Conflict, InvalidInput, InvalidMove, LastgoodError, Refused
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState
from lastgood.releasing import Stage
from lastgood.store import approving as sql_of

KEY = ("support", "production")
HOUR = 3_600_000_000
NUMBERS = itertools.count()
CLAIMED = Question("promote", "claimed", not_author=False, lasts_us=HOUR)
VERIFIED = Question("promote", "verified", not_author=True, lasts_us=HOUR)
YES = Answer("promote", "ben", "looks good")
NO = Answer("revert", "ben", "looks bad")


def awaiting(desk, question=CLAIMED, **start):
    """A live release that waits for an answer."""
    release_id = releasing.start(desk.store, replace(desk.wanted(), **start))
    if question.what != "start":
        desk.serve(release_id, 2_500)
    ask(desk, release_id, question)
    return release_id


def ask(desk, release_id, question=CLAIMED):
    expect = Expect.of(desk.point)
    releasing.enter(
        desk.store,
        release_id,
        Stage(f"awaiting:{next(NUMBERS)}", ReleaseState.AWAITING, 0),
        entry=Entry("await", "driver", "the gate is open", release_id),
        expect=expect,
        also=lambda txn, row, point: approving.ask(txn, row, point, question),
    )


def decide(desk, answer=YES, **changes):
    return approving.decide(desk.store, *KEY, replace(answer, **changes))


def newest(desk, release_id):
    with desk.store.reading() as txn:
        return dict(approving.newest(txn, release_id))


def look(desk, release_id, seq, verdict="{}"):
    with desk.store.transaction(at=KEY) as txn:
        values = {"release_id": release_id, "seq": seq, "at_us": txn.now_us, "decision": "hold"}
        txn.insert("look", {**values, "verdict": verdict})


def test_a_yes_is_recorded_with_who_and_why_and_changes_nothing_else(desk):
    release_id = awaiting(desk)
    before = desk.point
    decide(desk)
    row = newest(desk, release_id)
    assert (row["decision"], row["who"], row["level"], row["reason"]) == (
        "promote",
        "ben",
        "claimed",
        "looks good",
    )
    assert desk.point == before
    tail = desk.all("SELECT * FROM ledger ORDER BY seq DESC LIMIT 1")[0]
    assert (tail["action"], tail["actor"], tail["reason"]) == (
        "approve",
        "ben",
        "promote (claimed): looks good",
    )
    ledger.verify(desk.store, *KEY)


def test_a_no_reverts_in_the_same_transaction(desk):
    release_id = awaiting(desk)
    decide(desk, NO)
    assert (desk.point.candidate, desk.point.share_bp) == (None, 0)
    row = desk.one("SELECT * FROM release WHERE id = :id", id=release_id)
    assert (row["state"], row["reason"]) == ("reverted", "looks bad")
    assert newest(desk, release_id)["decision"] == "revert"


def test_a_question_is_answered_once(desk):
    awaiting(desk)
    decide(desk)
    before = desk.point
    with pytest.raises(Conflict, match=r"decided already: promote by ben \(looks good\)"):
        decide(desk, NO)
    assert desk.point == before


def test_of_many_answers_at_once_one_counts(desk):
    release_id = awaiting(desk)
    ready = threading.Barrier(6)

    def race(number):
        ready.wait()
        try:
            decide(desk, YES if number % 2 else NO, who=f"p{number}")
        except LastgoodError as error:
            return error
        finally:
            desk.store.close()
        return None

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(race, range(6)))
    assert answers.count(None) == 1
    won = newest(desk, release_id)
    assert won["who"] == f"p{answers.index(None)}"
    assert (desk.point.candidate is None) == (won["decision"] == "revert")


def test_after_its_time_nobody_can_answer(desk):
    release_id = awaiting(desk)
    desk.clock.advance(HOUR)
    before = desk.point
    with pytest.raises(Refused, match=r"the time to decide .* is over: it is reverted at the next look"):
        decide(desk)
    assert (newest(desk, release_id)["decision"], desk.point) == ("", before)


def test_an_answer_about_other_evidence_is_refused(desk):
    release_id = awaiting(desk)
    seen = newest(desk, release_id)["evidence"]
    look(desk, release_id, 1)
    ask(desk, release_id)
    with pytest.raises(Refused, match="asked about with other evidence by now"):
        decide(desk, evidence=seen[:12])
    assert decide(desk, evidence=newest(desk, release_id)["evidence"][:12].upper())


def test_the_digest_is_of_the_candidate_the_policy_and_the_newest_look(desk):
    release_id = desk.live()

    def digest():
        with desk.store.reading() as txn:
            return approving.evidence_digest(txn, releasing.read(txn, release_id))

    found = [digest()]
    for seq in (1, 2):
        look(desk, release_id, seq)
        found.append(digest())
    assert [number for _, number in found] == [0, 1, 2]
    assert len({text for text, _ in found}) == 3


@pytest.mark.parametrize("who", ["ann", " Ann "])
def test_the_author_and_the_starter_cant_approve_where_the_policy_says_so(desk, who):
    awaiting(desk, replace(CLAIMED, not_author=True))
    before = desk.point
    for decision in ("promote", "wait"):
        with pytest.raises(Refused, match="wants somebody else to approve it"):
            decide(desk, who=who, decision=decision)
    assert desk.point == before


def test_the_author_may_always_put_the_last_known_good_back(desk):
    awaiting(desk, VERIFIED)
    decide(desk, NO, who="ann")
    assert desk.point.candidate is None


def test_the_starter_cant_approve_either(desk):
    awaiting(desk, replace(CLAIMED, not_author=True), actor="cleo")
    with pytest.raises(Refused, match=r"cleo wrote .* or started its release"):
        decide(desk, who="cleo")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"who": " "}, "a name and a reason"),
        ({"reason": ""}, "a name and a reason"),
        ({"decision": "maybe"}, "no decision 'maybe'; there are promote, revert, wait"),
        ({"who": "x" * 201}, "200 characters at most"),
    ],
)
def test_an_answer_that_cant_be_recorded_is_refused(desk, changes, said):
    release_id = awaiting(desk)
    with pytest.raises(InvalidInput, match=said):
        decide(desk, **changes)
    assert newest(desk, release_id)["decision"] == ""


def test_where_nobody_is_asked_nobody_can_answer(desk):
    with pytest.raises(InvalidMove, match="it has no live release"):
        decide(desk)
    desk.live()
    with pytest.raises(InvalidMove, match=r"nobody is asked about .* now: it is canary"):
        decide(desk)


def test_a_question_of_a_release_that_went_on_cant_be_answered(desk):
    release_id = awaiting(desk)
    desk.serve(release_id, 5_000)
    with pytest.raises(InvalidMove, match="it is canary"):
        decide(desk)


def test_waiting_asks_again_with_as_much_time_and_is_recorded(desk):
    release_id = awaiting(desk, VERIFIED)
    desk.clock.advance(HOUR // 2)
    code = approving.issue_code(desk.store, *KEY, person="ben", actor="ann", lasts_us=HOUR)
    decide(desk, decision="wait", code=code)
    rows = desk.all("SELECT * FROM approval ORDER BY number")
    assert [(row["decision"], row["who"]) for row in rows] == [("wait", "ben"), ("", "")]
    assert rows[1]["expires_us"] - rows[0]["expires_us"] == HOUR // 2
    assert (rows[1]["level"], bool(rows[1]["not_author"])) == ("verified", True)
    assert newest(desk, release_id)["number"] == 2


def test_a_newer_question_takes_the_older_ones_place(desk):
    release_id = awaiting(desk)
    ask(desk, release_id)
    assert [row["decision"] for row in desk.all("SELECT * FROM approval ORDER BY number")] == ["void", ""]


# -- verified


def test_a_policy_may_want_a_one_time_code(desk):
    release_id = awaiting(desk, VERIFIED)
    with pytest.raises(Refused, match="lastgood approve-code support --for ben"):
        decide(desk)
    code = approving.issue_code(desk.store, *KEY, person="Ben", actor="ann", lasts_us=HOUR)
    decide(desk, code=code.lower().replace("-", " "))
    assert newest(desk, release_id)["level"] == "verified"


def test_a_code_is_kept_as_its_hash_alone(desk):
    awaiting(desk, VERIFIED)
    code = approving.issue_code(desk.store, *KEY, person="ben", actor="ann", lasts_us=HOUR)
    rows = desk.all("SELECT * FROM approval_code")
    assert code not in str(rows)
    assert code.replace("-", "") not in str(rows)


def test_a_code_counts_once(desk):
    awaiting(desk, VERIFIED)
    code = approving.issue_code(desk.store, *KEY, person="ben", actor="ann", lasts_us=HOUR)
    decide(desk, decision="wait", code=code)
    with pytest.raises(Refused, match=r"is not ben's for .*, was used, or has expired"):
        decide(desk, code=code)


@pytest.mark.parametrize("what", ["person", "time", "code", "release"])
def test_a_code_of_another_person_time_or_release_is_refused(desk, what):
    release_id = awaiting(desk, VERIFIED)
    code = approving.issue_code(desk.store, *KEY, person="ben", actor="ann", lasts_us=HOUR // 2)
    if what == "time":
        desk.clock.advance(HOUR // 2)
    if what == "release":
        desk.revert(release_id)
        awaiting(desk, VERIFIED, candidate=desk.register("third"))
    changes = {"person": {"who": "cleo"}, "code": {"code": "AAAA-AAAA-AAAA"}}.get(what, {})
    before = desk.point
    with pytest.raises(Refused, match="that code is not"):
        decide(desk, **{"code": code, **changes})
    assert desk.point == before
    with desk.store.reading() as txn:
        assert approving.open_question(txn, *KEY) is not None


def test_an_answer_that_is_refused_leaves_its_code_unused(desk):
    awaiting(desk, VERIFIED)
    code = approving.issue_code(desk.store, *KEY, person="ann", actor="ben", lasts_us=HOUR)
    with pytest.raises(Refused, match="wants somebody else"):
        decide(desk, who="ann", code=code)
    assert desk.all("SELECT used_us FROM approval_code") == [{"used_us": None}]


def test_a_code_needs_a_live_release_and_a_person(desk):
    with pytest.raises(InvalidMove, match="has no live one"):
        approving.issue_code(desk.store, *KEY, person="ben", actor="ann", lasts_us=HOUR)
    desk.live()
    with pytest.raises(InvalidInput, match="name them"):
        approving.issue_code(desk.store, *KEY, person=" ", actor="ann", lasts_us=HOUR)


# -- the start


START = Question("start", "claimed", not_author=True, lasts_us=HOUR)


def test_who_was_named_as_approver_has_approved_the_start(desk):
    release_id = awaiting(desk, START, approver="ben")
    row = newest(desk, release_id)
    assert (row["decision"], row["who"], row["level"]) == ("promote", "ben", "claimed")


@pytest.mark.parametrize(
    ("question", "approver"),
    [
        (START, ""),
        (START, "ann"),  # the author
        (replace(START, level="verified"), "ben"),
        (replace(START, what="promote"), "ben"),
    ],
)
def test_otherwise_the_question_stays_open(desk, question, approver):
    assert newest(desk, awaiting(desk, question, approver=approver))["decision"] == ""


# -- cool-down


def cooling(desk):
    terms = replace(desk.wanted().terms, agent_cooldown_us=HOUR)
    desk.revert(desk.live(terms=terms))


def test_an_agent_that_is_rolled_back_again_under_shorter_terms_cools_down_as_long_as_it_had_to(desk):
    # a rollback by hand may go on while the agent cools down
    desk.promote(desk.live(terms=replace(desk.wanted().terms, agent_cooldown_us=60_000_000)))
    with desk.store.transaction() as txn:
        key = {"agent": desk.agent, "environment": desk.environment, "reason": "it was bad"}
        txn.run(sql_of.SET_COOLDOWN, **key, until_us=txn.now_us + HOUR, release_id=None)
    desk.rollback()
    with pytest.raises(Refused, match="cools down for another 60 min"):
        desk.start(desk.register("third"))


def test_after_a_revert_no_release_of_the_agent_starts_until_it_has_cooled_down(desk):
    cooling(desk)
    other = desk.register("third")
    with pytest.raises(Refused, match=r"support in production cools down for another 60 min \(reverted by"):
        desk.start(other)
    desk.clock.advance(HOUR)
    assert desk.start(other)


def test_a_cool_down_is_ended_by_hand_and_the_ledger_says_so(desk):
    cooling(desk)
    assert control.end_cooldown(desk.store, *KEY, actor="ann", reason="found it")
    assert not control.end_cooldown(desk.store, *KEY, actor="ann", reason="again")
    tail = desk.all("SELECT * FROM ledger ORDER BY seq DESC LIMIT 1")[0]
    assert (tail["action"], tail["reason"]) == ("cooldown", "ended early: found it")
    assert desk.start(desk.register("third"))


def test_without_a_cool_down_in_the_terms_the_next_release_may_start_at_once(desk):
    desk.revert(desk.live())
    assert desk.start(desk.register("third"))


def test_a_cool_down_of_one_environment_is_no_other_ones(desk):
    cooling(desk)
    control.adopt(desk.store, "support", "staging", desk.baseline, actor="ann", reason="")
    wanted = replace(desk.wanted(desk.register("third")), environment="staging")
    assert releasing.start(desk.store, wanted)


def test_a_rollback_is_possible_while_the_agent_cools_down(desk):
    desk.promote(desk.live(terms=replace(desk.wanted().terms, agent_cooldown_us=HOUR)))
    desk.rollback()
    assert desk.point.baseline == desk.baseline
    with pytest.raises(Refused, match="cools down"):
        desk.start(desk.register("third"))
