"""Verification: a release's verdicts from what is stored, on a copy, and what tampering does to them."""

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from lastgood.cli import main
from lastgood.errors import CorruptRow, NotFound, StoreUnavailable
from tasks import verification

POLICY = """
name: three
lost_after: 1 min
guardrails:
  completion: {margin: 20 points}
  cost: {margin_rel: 50%}
  judge: {column: mark, kind: score, better: higher, margin_own: 0.2}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
steps: [{share: 40%, min_runs: 10}]
block: {size: 10, time: 1 h}
lease: 6 h
on_undecided: ask
alpha: {revert: 0.0001}
"""
MINUTE = 60_000_000


@pytest.fixture(scope="module")
def released(make_world, tmp_path_factory):
    """A release with three kinds of guardrails and repeated units, some looks in."""
    from tasks import driving

    world = make_world(tmp_path_factory.mktemp("released"))
    serve(world, 100)
    world.clock.advance(2 * MINUTE)
    release_id = world.start(POLICY)
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(12):
        what = driving.due(world.store, driver)
        driving.act(world.store, driver, what)
        serve(world, 12)
        world.clock.advance(2 * MINUTE)
    with world.store.reading() as txn:
        assert len(verification.verify(txn, release_id).differences) == 0
    world.store.close()
    return Path(world.store.path), release_id


def serve(world, runs):
    for _ in range(runs):
        world.clock.advance(2_000_000)
        world.run(
            f"user {world.draw.randrange(200)}",
            completed=world.draw.random() < 0.8,
            cost_usd=world.draw.lognormvariate(-3, 1),
            mark=world.draw.random(),
        )


@pytest.fixture
def copied(released, tmp_path):
    """A copy of its database, and the release's id."""
    path, release_id = released
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(path, tmp_path / "copy.db")
    return tmp_path / "copy.db", release_id


def tamper(path, statement, *values):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys=OFF")
    changed = connection.execute(statement, values).rowcount
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert changed == 1
    return path


def found_in(path, release_id):
    with verification.read_only(str(path)) as rows:
        return verification.verify(rows, release_id)


def test_every_look_of_a_copy_verifies(copied):
    found = found_in(*copied)
    assert found.differences == ()
    assert found.looks >= 6
    assert found.blocks > 20


def test_verifying_writes_nothing(copied):
    path, release_id = copied
    before = path.read_bytes(), path.stat().st_mtime_ns, sorted(path.parent.iterdir())
    path.chmod(0o400)
    found_in(path, release_id)
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(path.parent.iterdir())) == before


def test_a_copied_write_ahead_log_is_read_too(copied):
    path, release_id = copied
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("UPDATE look SET decision = 'promote' WHERE seq = 2")
    other = path.with_name("other.db")
    shutil.copy(path, other)
    shutil.copy(f"{path}-wal", f"{other}-wal")
    writer.close()
    assert found_in(other, release_id).differences[0].look == 2


def change(path, seq, edit):
    """Rewrite a stored look's JSON."""
    with sqlite3.connect(path) as connection:
        row = connection.execute("SELECT verdict FROM look WHERE seq = ?", (seq,)).fetchone()
    connection.close()
    verdict = json.loads(row[0])
    edit(verdict)
    tamper(path, "UPDATE look SET verdict = ? WHERE seq = ?", json.dumps(verdict), seq)


def _more_bad(verdict):
    block = verdict["blocks"]["completion"][0]
    block[4] = block[3] if block[4] < block[3] else 0


def _prettier(verdict):
    verdict["guardrails"][0]["log_e_promote"] += 1e-6


def _impossible(verdict):
    verdict["blocks"]["completion"][0][4] = 999


def _other_policy(verdict):
    verdict["policy_digest"] = "0" * 64


def _other_referee(verdict):
    verdict["judges"]["refereed"] = [["mark", ["a", "b"], 10, 10]]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_more_bad, "stored .*, recomputed"),
        (_prettier, r"guardrails\[completion\].log_e_promote: stored"),
        (_impossible, "can't be|can't be read"),
        (_other_policy, "made under another policy"),
        (_other_referee, "recomputed"),
        (lambda verdict: verdict.pop("blocks"), "can't be read"),
        (lambda verdict: verdict["culprits"].append("completion"), "culprits"),
    ],
)
def test_a_changed_look_is_found_at_its_number(copied, edit, said):
    path, release_id = copied
    change(path, 4, edit)
    found = found_in(path, release_id)
    assert found.differences[0].look == 4
    assert re.search(said, found.differences[0].what)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE block SET y_c = y_c + 1 WHERE guardrail = 'completion' AND block = 1", "y_c stored"),
        ("DELETE FROM block WHERE guardrail = 'cost' AND block = 2", "it is missing"),
        ("UPDATE look SET decision = 'promote' WHERE seq = 3", "decision: stored promote, recomputed hold"),
        ("DELETE FROM look WHERE seq = 5", ""),
        ("DELETE FROM look WHERE seq = (SELECT max(seq) FROM look)", "the evidence counts"),
    ],
)
def test_changed_rows_are_found(copied, statement, said):
    path, release_id = copied
    found = found_in(tamper(path, statement), release_id)
    assert any(said in difference.what for difference in found.differences)


def test_a_changed_policy_is_refused(copied):
    path, release_id = copied
    tamper(path, "UPDATE release SET policy = replace(policy, '20 points', '30 points')")
    with pytest.raises(CorruptRow, match="does not hash to its digest"):
        found_in(path, release_id)


def test_a_changed_history_is_found(copied):
    path, release_id = copied
    with sqlite3.connect(path) as connection:
        history = json.loads(connection.execute("SELECT history FROM release").fetchone()[0])
    connection.close()
    history["overall"]["completed=false"][1] //= 2
    tamper(path, "UPDATE release SET history = ?", json.dumps(history))
    assert found_in(path, release_id).differences[0].look >= 1


def test_what_is_no_database_is_said(tmp_path):
    (tmp_path / "text.db").write_text("no database at all, and long enough to be read as one" * 20)
    with pytest.raises(StoreUnavailable, match="can't be read as a database"):
        found_in(tmp_path / "text.db", "rel_1")
    with pytest.raises(StoreUnavailable, match="there is no database at"):
        found_in(tmp_path / "none.db", "rel_1")


def test_an_unknown_release_is_said(copied):
    with pytest.raises(NotFound, match="no release 'rel_1'"):
        found_in(copied[0], "rel_1")


def test_the_command_verifies_a_copy_and_says_what_differs(copied):
    path, release_id = copied
    made = CliRunner().invoke(main, ["verify", release_id, "--database", str(path)])
    assert made.exit_code == 0, made.output
    assert "are what the evidence says" in made.output
    change(path, 3, _prettier)
    made = CliRunner().invoke(main, ["verify", release_id, "--database", f"sqlite:///{path}"])
    assert made.exit_code == 1
    assert "First at look 3: guardrails[completion].log_e_promote" in made.output


def _other_words(verdict):
    found = verdict["guardrails"][0]
    found["reason"] = f"as an earlier version said it: {found['reason']}"


def test_other_words_for_the_same_verdict_are_said_and_are_no_difference(copied):
    path, release_id = copied
    change(path, 3, _other_words)
    change(path, 4, _other_words)
    found = found_in(path, release_id)
    assert (found.differences, [each.look for each in found.worded]) == ((), [3, 4])
    made = CliRunner().invoke(main, ["verify", release_id, "--database", str(path)])
    assert made.exit_code == 0
    assert "2 looks of these say the same verdict in other words than this version would" in made.output
    assert 'guardrails[completion].reason: stored "as an earlier version said it: ' in made.output


def test_a_sentence_with_another_figure_is_a_difference(copied):
    path, release_id = copied
    change(path, 3, lambda verdict: verdict["guardrails"][1].update(reason="9999 of 10 runs cost more"))
    assert "9999 of 10" in found_in(path, release_id).differences[0].what


def test_a_number_that_differs_is_found_beside_other_words(copied):
    path, release_id = copied
    for edit in (_other_words, _prettier):
        change(path, 3, edit)
    change(path, 2, _other_words)
    found = found_in(path, release_id)
    assert [each.look for each in found.differences] == [3]
    assert "log_e_promote" in found.differences[0].what


def test_the_command_tells_machines(copied, monkeypatch):
    path, release_id = copied
    monkeypatch.setenv("LASTGOOD_DATABASE", f"sqlite:///{path}")
    made = CliRunner().invoke(main, ["verify", release_id, "--json"])
    assert json.loads(made.output)["sound"] is True
