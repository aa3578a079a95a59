"""The ledger for auditors: an export that stands by itself, and what is found against one kept elsewhere."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from lastgood import agent as agents
from lastgood import approving, audit, ledger, releasing
from lastgood.approving import Answer, Question
from lastgood.cli import main
from lastgood.errors import CorruptRow, InvalidInput, NotFound
from lastgood.ledger import Entry
from lastgood.points import Expect
from lastgood.release import ReleaseState
from lastgood.releasing import Stage

KEY = ("support", "production")
EDITED = ("at_us", "actor", "action", "reason", "epoch", "release_id", "point")


@pytest.fixture
def history(desk):
    """A release with two looks that a person let go on, and that was promoted; then a kill."""
    release_id = desk.live(500)
    desk.clock.advance(5)
    look(desk, release_id, 1, '{"decision": "hold"}')
    question = Question("promote", "claimed", not_author=False, lasts_us=3_600_000_000)
    releasing.enter(
        desk.store,
        release_id,
        Stage("awaiting", ReleaseState.AWAITING, 0),
        entry=Entry("await", "driver", "the gate is open", release_id),
        expect=Expect.of(desk.point),
        also=lambda txn, row, point: approving.ask(txn, row, point, question),
    )
    desk.clock.advance(5)
    approving.decide(desk.store, *KEY, Answer("promote", "ben", "looks good", by="ben (token 7)"))
    desk.clock.advance(5)
    look(desk, release_id, 2, '{"decision": "promote"}')
    desk.promote(release_id)
    desk.kill()
    return desk


def look(desk, release_id, seq, verdict):
    with desk.store.transaction(at=KEY) as txn:
        values = {"release_id": release_id, "seq": seq, "at_us": txn.now_us, "decision": "hold"}
        txn.insert("look", {**values, "verdict": verdict})


def exported(desk):
    return list(audit.export(desk.store, *KEY))


def verify(desk, lines=None):
    return audit.verify(desk.store, *KEY, None if lines is None else audit.read(lines, "kept.jsonl"))


def test_an_export_holds_every_row_with_what_it_rests_on(history):
    begin, *rows, head = map(json.loads, exported(history))
    assert (begin["audit"], begin["after"]) == (1, 0)
    assert [row["action"] for row in rows] == [
        "adopt",
        "start",
        "share",
        "await",
        "approve",
        "promote",
        "kill",
    ]
    assert (head["head"]["seq"], head["head"]["hash"]) == (rows[-1]["seq"], rows[-1]["hash"])
    adopt, start, _, _, approve, promote, _ = (row["rests_on"] for row in rows)
    assert adopt == {}
    assert start == {"candidate": history.candidate, "policy": "d" * 64}
    assert (approve["approval"]["who"], approve["approval"]["decision"]) == ("ben", "promote")
    assert len(approve["approval"]["evidence"]) == 64
    assert (promote["look"], promote["candidate"]) == (2, history.candidate)
    assert rows[4]["actor"] == "ben (token 7)"


def test_a_sound_chain_is_what_was_exported_and_may_have_grown(history):
    kept = exported(history)
    history.rollback()
    assert verify(history, kept).seq == 8
    assert verify(history, kept[-1:]).hash == verify(history).hash


def rechained(raw, rows, first):
    """Hash every row from `first` on anew, as whoever can write the store may."""
    previous = rows[first - 2]["hash"] if first > 1 else ""
    for row in rows[first - 1 :]:
        row["previous"] = previous
        previous = row["hash"] = ledger.row_hash(row)
        names = [name for name in row if name not in {"agent", "environment", "seq"}]
        sets = ", ".join(f"{name} = ?" for name in names)
        raw.execute(f"UPDATE ledger SET {sets} WHERE seq = ?", [*(row[name] for name in names), row["seq"]])


def tampered(raw, rows, draw):
    """Change one row, or cut the tail, so that the chain holds by itself; return the first bad place."""
    place = draw.randrange(2, len(rows) + 1)
    if draw.random() < 0.3:
        raw.execute("DELETE FROM ledger WHERE seq >= ?", [place])
        return place
    row, column = rows[place - 1], draw.choice(EDITED)
    row[column] = row[column] + 1 if isinstance(row[column], int) else f"{row[column] or ''}x"
    rechained(raw, rows, place)
    return place


@pytest.mark.only("sqlite")  # the chain is the same on both
def test_200_tampers_that_were_chained_anew_are_found_against_an_export(history, tools):
    kept, draw, raw = exported(history), random.Random(9), tools.Raw(history.store)
    whole = history.all("SELECT * FROM ledger ORDER BY seq")
    for _ in range(200):
        place = tampered(raw, [dict(row) for row in whole], draw)
        assert verify(history).seq <= len(whole)  # by itself the chain holds
        with pytest.raises(CorruptRow, match=f"broken at row {place}:"):
            verify(history, kept)
        with pytest.raises(CorruptRow, match=r"tail was cut off|written anew at row 7 or before"):
            verify(history, kept[-1:])
        raw.execute("DELETE FROM ledger")
        names = ", ".join(whole[0])
        marks = ", ".join("?" * len(whole[0]))
        raw.executemany(f"INSERT INTO ledger ({names}) VALUES ({marks})", [[*row.values()] for row in whole])
    assert verify(history, kept).seq == len(whole)
    raw.close()


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        ("UPDATE look SET verdict = '{}' WHERE seq = 1", "row 4 .* rests on was changed since: verdict"),
        ("DELETE FROM look WHERE seq = 2", "row 6 .* rests on was changed since: look, verdict"),
        ("UPDATE approval SET who = 'mallory'", "row 5 .* rests on was changed since: approval"),
    ],
)
def test_what_a_row_rests_on_is_compared_too(history, edit, what):
    kept = exported(history)
    history.hand(edit)
    with pytest.raises(CorruptRow, match=what):
        verify(history, kept)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("place", [1, 4, -2])
def test_an_export_that_was_edited_names_its_first_bad_row(history, place):
    lines = exported(history)
    row = json.loads(lines[place])
    lines[place] = json.dumps({**row, "actor": "mallory"})
    with pytest.raises(CorruptRow, match=rf"kept.jsonl is broken at row {row['seq']}:"):
        audit.read(lines, "kept.jsonl")


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("lines", [[], ["{"], ["[]"], ['{"head": {"seq": 1}}'], ['{"head": 1}']])
def test_what_is_no_export_is_refused(lines):
    with pytest.raises(InvalidInput):
        audit.read(lines, "kept.jsonl")


@pytest.mark.only("sqlite")
def test_an_export_without_its_last_rows_is_refused(history):
    lines = exported(history)
    with pytest.raises(CorruptRow, match="rows were taken away"):
        audit.read([*lines[:-2], lines[-1]], "kept.jsonl")
    with pytest.raises(InvalidInput, match="has no head"):
        audit.read(lines[:-1], "kept.jsonl")
    with pytest.raises(InvalidInput, match="goes on after its head"):
        audit.read([*lines, lines[1]], "kept.jsonl")


def test_an_export_of_another_point_is_refused(history):
    from lastgood import control

    kept = audit.read(exported(history), "kept.jsonl")
    control.adopt(history.store, "support", "staging", history.baseline, actor="ann", reason="")
    with pytest.raises(
        InvalidInput, match="of support in production, not of the ledger of support in staging"
    ):
        audit.verify(history.store, "support", "staging", kept)
    with pytest.raises(NotFound):
        audit.verify(history.store, "coder", "production")


def test_an_export_from_before_a_pruning_says_so(history):
    kept = exported(history)
    point = history.point
    with history.store.transaction(durable=True) as txn:
        ledger.anchor(txn, point, 5, "ann")
    assert verify(history, kept).seq == 8
    assert json.loads(exported(history)[0])["after"] == 5
    early = audit.Kept(audit.Head(*KEY, 3, "x", 0))
    with pytest.raises(InvalidInput, match="pruned up to row 5"):
        audit.verify(history.store, *KEY, early)


@pytest.fixture
def command(history, monkeypatch, tmp_path):
    monkeypatch.setattr(agents, "_stores", {history.store.url: history.store})
    monkeypatch.setattr(agents, "_configured", {"database": history.store.url})
    monkeypatch.chdir(tmp_path)

    def call(*words, code=0):
        ran = CliRunner().invoke(main, ["audit", *words])
        assert ran.exit_code == code, ran.output
        return ran.output

    return call


@pytest.mark.only("sqlite")
def test_the_commands_export_and_verify(command, history):
    command("export", "support", "--write", "kept.jsonl")
    assert "7 rows of kept.jsonl, sound by itself, row 7" in command(
        "verify", "--against", "kept.jsonl", "--offline"
    )
    assert "sound, as exported up to row 7, row 7" in command("verify", "--against", "kept.jsonl")
    assert "support in production: sound, row 7" in command("verify")
    head = command("export", "support", "--head")
    history.hand("DELETE FROM ledger WHERE seq > 5")
    assert "sound, row 5" in command("verify", "support")
    Path("head.json").write_text(head)
    assert "broken at row 6: it ends at row 5" in command("verify", "--against", "head.json", code=1)
    assert "name one" in command("verify", "--offline", code=2)
