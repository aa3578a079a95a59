"""Postgres roles by raw SQL and by the real code, each as its role."""

from dataclasses import replace

import psycopg
import pytest
from click.testing import CliRunner

from lastgood import agent as agents
from lastgood import assigning, control, ledger, recorder, registry, releasing
from lastgood.assigning import Request
from lastgood.cli import main
from lastgood.outcome import Outcome
from lastgood.releasing import Ending
from lastgood.snapshot import Serving
from lastgood.store import grants
from lastgood.store.connection import Store
from lastgood.store.tables import SQLModel

pytestmark = pytest.mark.only("postgres")
MINUTE = 60_000_000
DENIED = psycopg.errors.InsufficientPrivilege
POINT = "WHERE agent = 'support'"
#: what a revert sets
BACK = "candidate = NULL, release_id = NULL, share_bp = 0"
#: a row that tells of a control point which is not so: a rollback would restore that
FORGED = """
SELECT agent, environment, seq + 1, at_us, actor, 'alarm', reason, epoch, release_id,
  replace(point, ':5000', ':9000'), hash, '-' FROM ledger ORDER BY seq DESC LIMIT 1
"""
#: a control point of the agent's where it has none
ELSEWHERE = """
SELECT (jsonb_populate_record(held, '{"environment": "staging"}')).* FROM control_point AS held
"""
#: takes the guard away
DISARM = "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"


@pytest.fixture
def granted(desk):
    with psycopg.connect(desk.store.url, autocommit=True) as held:
        for statement in grants.statements(SQLModel.metadata.tables):
            held.execute(statement)
    return desk


@pytest.fixture
def as_role(granted):
    """`as_role("agent")`: the store as who has that role."""
    made = []

    def store(role: str) -> Store:
        made.append(Store(f"{granted.store.url}?options=-c%20role%3Dlastgood_{role}", granted.clock))
        return made[-1]

    yield store
    for each in made:
        each.close()


def refused(desk, role: str, *statements: str) -> list[str]:
    """Which of these statements the role may not run; nothing of them stays."""
    found = []
    for statement in statements:
        with psycopg.connect(desk.store.url, autocommit=True) as held:
            held.execute(f"SET ROLE lastgood_{role}")
            held.execute("BEGIN")
            try:
                held.execute(statement)
            except DENIED:
                found.append(statement)
            held.execute("ROLLBACK")
    return found


def test_an_agents_role_records_runs_and_a_trigger_of_its_own_reverts(granted, as_role):
    release = granted.live(share_bp=10_000)
    store = as_role("agent")
    serving = Serving(store, "support", "production")
    made = [assigning.assign(serving, Request(f"u-{n}", "faq", None, "c", entry=f"e-{n}")) for n in range(2)]
    assert made[0].decision.arm == "candidate"
    recorder.record(store, made[0].run_id, "candidate", Outcome(completed=True, cost_usd=0.5), None, None)
    recorder.record_late(store, made[0].run_id, {"edits": 2})
    recorder.record_event(store, made[1].run_id, "data_leak", {})
    assert granted.point.candidate is None
    assert granted.one("SELECT state FROM release WHERE id = :id", id=release)["state"] == "reverted"
    assert [each.by for each in granted.incidents] == ["trigger"]
    ledger.verify(granted.store, "support", "production")


def test_a_trigger_of_an_agents_own_puts_back_what_was_promoted(granted, as_role):
    granted.promote(granted.live(terms=replace(granted.point.terms, watch_us=MINUTE)))
    store = as_role("agent")
    run = assigning.assign(Serving(store, "support", "production"), Request("u", "faq", None, None))
    recorder.record_event(store, run.run_id, "data_leak", {})
    assert granted.point.baseline == granted.baseline
    assert [each.by for each in granted.incidents] == ["trigger"]
    ledger.verify(granted.store, "support", "production")


def test_an_agents_role_moves_nothing_else(granted):
    granted.live(share_bp=5_000)
    forbidden = [
        f"UPDATE control_point SET {BACK}, baseline = candidate {POINT}",
        f"UPDATE control_point SET {BACK}, epoch = 1 {POINT}",
        f"UPDATE control_point SET share_bp = 9000 {POINT}",
        f"UPDATE control_point SET lease_until_us = lease_until_us + 1 {POINT}",
        f"UPDATE control_point SET standing = 'proven' {POINT}",
        f"UPDATE control_point SET terms = '{{}}' {POINT}",
        "DELETE FROM control_point",
        "UPDATE release SET state = 'promoted'",
        "UPDATE release SET ended_us = 1",
        "UPDATE release SET policy = '{}'",
        f"INSERT INTO control_point {ELSEWHERE}",
        "INSERT INTO served SELECT agent, environment, 99, candidate, 'proven', NULL, 0 FROM control_point",
        "UPDATE served SET standing = 'proven'",
        "DELETE FROM quarantine",
        "UPDATE ledger SET reason = ''",
        "DELETE FROM ledger",
        "INSERT INTO ledger SELECT * FROM ledger ORDER BY seq DESC LIMIT 1",
        f"INSERT INTO ledger {FORGED}",
        "UPDATE run SET arm = 'baseline'",
        "UPDATE outcome SET completed = true",
        "DELETE FROM outcome",
        "INSERT INTO look VALUES ('r', 1, 0, 'promote', '{}')",
        "INSERT INTO approval (id) VALUES ('a')",
        "DELETE FROM stop",
        "INSERT INTO part VALUES ('d', 'prompt', '')",
        "SELECT digest FROM access_token",
        "SELECT * FROM approval_code",
        "DROP TRIGGER lastgood_guard_ledger ON ledger",
        "ALTER TABLE control_point DISABLE TRIGGER ALL",
        f"CREATE OR REPLACE FUNCTION lastgood_guard() {DISARM}",
    ]
    assert refused(granted, "agent", *forbidden) == forbidden
    assert granted.point.share_bp == 5_000


def test_who_only_sees_writes_nothing_and_sees_no_secrets(granted):
    writes = [
        f"UPDATE control_point SET killed = true {POINT}",
        "UPDATE action SET state = 'done'",
        "INSERT INTO refusal VALUES ('support', 'production', 'x', 1, 0)",
        "SELECT * FROM access_token",
    ]
    for role in ("observer", "auditor"):
        assert refused(granted, role, *writes) == writes
    assert refused(granted, "observer", "SELECT * FROM run", "SELECT * FROM control_point") == []
    assert refused(granted, "auditor", "SELECT * FROM ledger", "SELECT * FROM run") == ["SELECT * FROM run"]


def test_an_operator_puts_back_and_stops_and_does_no_more(granted, as_role):
    release = granted.live(share_bp=5_000)
    who = {"actor": "ann", "reason": "odd"}
    store = as_role("operator")
    control.kill(store, "support", "production", **who)
    control.stop(store, "support", "production", **who)
    forward = [
        f"UPDATE control_point SET killed = false {POINT}",
        f"UPDATE control_point SET share_bp = 9000 {POINT}",
        f"UPDATE control_point SET baseline = candidate {POINT}",
        "DELETE FROM stop",
        "DELETE FROM quarantine",
    ]
    assert refused(granted, "operator", *forward) == forward
    control.rollback(store, "support", "production", **who)
    assert granted.one("SELECT state FROM release WHERE id = :id", id=release)["state"] == "reverted"
    ledger.verify(granted.store, "support", "production")


def test_a_releaser_starts_and_can_not_promote_and_an_approver_can(granted, as_role, build):
    releaser = as_role("releaser")
    registry.register(releaser, "support", build("third"), author="ann")
    release = releasing.start(releaser, granted.wanted())
    granted.serve(release, 5_000)
    ending = Ending("ann", "it is good", "evidence")
    with pytest.raises(Exception, match="may not"):
        releasing.promote(releaser, release, proven=True, ending=ending, expect=None)
    assert granted.point.baseline == granted.baseline
    releasing.promote(as_role("approver"), release, proven=False, ending=ending, expect=None)
    assert granted.point.baseline == granted.candidate
    ledger.verify(granted.store, "support", "production")


@pytest.mark.parametrize("role", ["releaser", "approver"])
def test_who_may_lift_a_kill_may_end_a_cool_down_and_an_operator_may_not(role, granted, as_role):
    granted.revert(granted.live(terms=replace(granted.point.terms, agent_cooldown_us=MINUTE)))
    given = ("support", "production")
    with pytest.raises(Exception, match="permission denied"):
        control.end_cooldown(as_role("operator"), *given, actor="ann", reason="it is well again")
    shorter = [f"UPDATE cooldown SET until_us = 0 {POINT}", f"UPDATE quarantine SET until_us = 0 {POINT}"]
    assert refused(granted, "operator", *shorter) == shorter
    assert control.end_cooldown(as_role(role), *given, actor="ann", reason="it is well again")
    assert granted.all("SELECT * FROM cooldown") == []
    ledger.verify(granted.store, *given)


def test_the_command_sets_them_and_again_changes_nothing(desk, monkeypatch):
    monkeypatch.setattr(agents, "_configured", {"database": desk.store.url})
    monkeypatch.setattr(agents, "_stores", {desk.store.url: desk.store})
    for _ in range(2):
        said = CliRunner().invoke(main, ["db", "grants"])
        assert "lastgood_agent" in said.output, said.output
    assert refused(desk, "agent", "DELETE FROM ledger") == ["DELETE FROM ledger"]
    said = CliRunner().invoke(main, ["db", "grants", "--dry-run", "--to", "app=agent"])
    assert 'GRANT lastgood_agent TO "app"' in said.output
    assert "one of observer" in CliRunner().invoke(main, ["db", "grants", "--to", "app=god"]).output


@pytest.mark.only("sqlite")
def test_a_file_has_no_roles(desk, monkeypatch):
    monkeypatch.setattr(agents, "_configured", {"database": desk.store.url})
    monkeypatch.setattr(agents, "_stores", {desk.store.url: desk.store})
    assert "who can write it is trusted" in CliRunner().invoke(main, ["db", "grants"]).output
