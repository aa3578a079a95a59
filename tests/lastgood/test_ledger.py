import json
import random
from itertools import pairwise

import pytest

from lastgood import ledger
from lastgood.errors import CorruptRow

COLUMNS = (
    *("agent", "environment", "seq", "at_us", "actor", "action", "reason"),
    *("epoch", "release_id", "point", "previous", "hash"),
)


@pytest.fixture
def history(desk):
    """A dozen moves of every kind."""
    for by in ("hand", "evidence"):
        release_id = desk.live(500, candidate=desk.register(by))
        desk.clock.advance(1)
        desk.serve(release_id, 5_000)
        desk.revert(release_id, by)
    desk.promote(desk.live(500))
    desk.kill()
    return desk


@pytest.fixture
def raw(history, tools):
    """The store under a hand that has dropped the triggers."""
    held = tools.Raw(history.store)
    yield held
    held.close()


def verify(desk):
    return ledger.verify(desk.store, desk.agent, desk.environment)


def test_one_row_a_move_in_the_order_of_commits(history):
    rows = history.all("SELECT * FROM ledger ORDER BY seq")
    canary = ["start", "share", "share", "revert"]
    assert [row["action"] for row in rows] == ["adopt", *canary, *canary, "start", "share", "promote", "kill"]
    assert [row["seq"] for row in rows] == list(range(1, 14))
    assert [row["at_us"] for row in rows] == sorted(row["at_us"] for row in rows)
    assert json.loads(rows[-1]["point"]) == json.loads(history.point.to_json())


def test_epochs_rise_by_one_at_most_from_row_to_row(history):
    epochs = [row["epoch"] for row in history.all("SELECT * FROM ledger ORDER BY seq")]
    assert all(later - earlier in {0, 1} for earlier, later in pairwise(epochs))
    assert epochs[-1] == history.point.epoch


def test_a_sound_chain_gives_its_length_and_head(history):
    tail = history.one("SELECT hash FROM ledger ORDER BY seq DESC LIMIT 1")
    assert verify(history) == (13, tail["hash"])


def test_a_control_point_that_was_never_there_has_no_rows(desk):
    assert ledger.verify(desk.store, "nobody", "production") == (0, "")


def test_chains_of_two_control_points_are_apart(history):
    from lastgood import control

    before = verify(history)
    control.adopt(history.store, "support", "staging", history.baseline, actor="ann", reason="")
    assert verify(history) == before
    assert ledger.verify(history.store, "support", "staging")[0] == 1


def change(row, column, rng):
    old = row[COLUMNS.index(column)]
    if isinstance(old, int):
        return old + rng.choice([-1, 1, 1_000, -1_000])
    return rng.choice([new for new in (f"{old}x", "", "other") if new != old])


def tamper(raw, rows, rng):
    """Do one thing to the ledger; return the place of the first row that is bad then."""
    place = rng.randrange(1, len(rows))  # 1-based; the last row is left for the head to find
    kind = rng.choice(["update", "update", "delete", "insert", "swap"])
    if kind == "delete":
        raw.execute("DELETE FROM ledger WHERE seq = ?", [place])
        return place
    if kind == "insert":
        row = [*rows[-1][:2], len(rows) + 1, *rows[-1][3:-2], rows[-1][-1], "0" * 64]
        raw.execute(f"INSERT INTO ledger VALUES ({', '.join('?' * len(COLUMNS))})", row)
        return len(rows) + 1
    if kind == "swap":
        other = rng.choice([n for n in range(1, len(rows) + 1) if n != place])
        for old, new in ((place, -1), (other, place), (-1, other)):
            raw.execute("UPDATE ledger SET seq = ? WHERE seq = ?", [new, old])
        return min(place, other)
    column = rng.choice(COLUMNS)
    if column == "seq":  # a row that goes to another place leaves a gap where it was, or stands before it
        raw.execute("UPDATE ledger SET seq = ? WHERE seq = ?", [goes := rng.choice([-5, 1_000]), place])
        return 1 if goes < 0 else place
    new = change(rows[place - 1], column, rng)
    raw.execute(f"UPDATE ledger SET {column} = ? WHERE seq = ?", [new, place])
    return place


def test_200_tampers_are_all_found_and_the_first_bad_row_is_named(history, raw):
    rng = random.Random(200)
    rows = raw.execute(f"SELECT {', '.join(COLUMNS)} FROM ledger ORDER BY seq")
    for number in range(200):
        raw.execute("BEGIN")
        place = tamper(raw, rows, rng)
        raw.execute("COMMIT")
        with pytest.raises(CorruptRow, match=f"broken at row {place}:"):
            verify(history)
        raw.execute("DELETE FROM ledger")
        raw.executemany(f"INSERT INTO ledger VALUES ({', '.join('?' * len(COLUMNS))})", rows)
        assert verify(history)[0] == len(rows), number


def test_a_row_that_was_hashed_anew_breaks_the_chain_at_the_next(history, raw):
    row = history.all("SELECT * FROM ledger WHERE seq = 5")[0]
    edited = ledger.row_hash({**row, "actor": "mallory"})
    raw.execute("UPDATE ledger SET actor = 'mallory', hash = ? WHERE seq = 5", [edited])
    with pytest.raises(CorruptRow, match="broken at row 6"):
        verify(history)


def test_a_cut_beginning_is_found_though_the_rest_was_chained_anew(history, raw):
    raw.execute("DELETE FROM ledger WHERE seq = 1")
    previous = ""
    for row in history.all("SELECT * FROM ledger ORDER BY seq"):
        digest = ledger.row_hash({**row, "previous": previous})
        raw.execute("UPDATE ledger SET previous = ?, hash = ? WHERE seq = ?", [previous, digest, row["seq"]])
        previous = digest
    with pytest.raises(CorruptRow, match="broken at row 1:"):
        verify(history)


@pytest.mark.parametrize("column", COLUMNS[3:])
def test_an_edit_of_the_last_row_is_found(column, history, raw):
    raw.execute(f"UPDATE ledger SET {column} = '7' WHERE seq = 13")
    with pytest.raises(CorruptRow, match="broken at row 13"):
        verify(history)


@pytest.mark.only("sqlite")  # Postgres takes no value of another type
def test_bytes_in_place_of_text_are_found(history, raw):
    raw.execute("UPDATE ledger SET reason = ? WHERE seq = 5", [b"bytes"])
    with pytest.raises(CorruptRow, match="broken at row 5"):
        verify(history)


def test_a_cut_tail_is_found_by_the_head_that_was_exported(history, raw):
    exported = verify(history)
    raw.execute("DELETE FROM ledger WHERE seq > 10")
    cut = verify(history)
    assert cut[0] == 10
    assert cut != exported


@pytest.mark.parametrize(
    "change", ["UPDATE ledger SET actor = 'mallory' WHERE seq = 5", "DELETE FROM ledger WHERE seq = 5"]
)
def test_no_chain_begins_after_a_row_that_does_not_hold(change, history, raw):
    raw.execute(change)
    point = history.point
    with (
        pytest.raises(CorruptRow, match="support in production is broken at row 5:"),
        history.store.transaction(durable=True) as txn,
    ):
        ledger.anchor(txn, point, 5, "ann")
    assert history.all("SELECT * FROM ledger_anchor") == []
