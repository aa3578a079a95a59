import os
from types import SimpleNamespace

import pytest

from lastgood.store import reserve
from lastgood.store.reserve import PART, SIZE


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "lastgood.db"
    path.touch()
    return path


@pytest.fixture
def disk(monkeypatch):
    """Sets how many bytes are free."""

    def free(room):
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=room, f_frsize=1))

    return free


def held(database):
    path = database.with_name("lastgood.db.reserve")
    return path.stat().st_size if path.exists() else 0


def test_it_is_filled_where_there_is_plenty_of_room_and_takes_it_really(database, disk):
    disk(1 << 30)
    reserve.provide(database)
    assert held(database) == SIZE
    assert database.with_name("lastgood.db.reserve").stat().st_blocks * 512 >= SIZE


def test_a_full_disk_gets_a_part_of_it_at_each_move(database, disk):
    disk(1 << 30)
    reserve.provide(database)
    disk(0)
    left = []
    for _ in range(5):
        reserve.provide(database)
        left.append(held(database))
    assert left == [SIZE - PART, SIZE - 2 * PART, SIZE - 3 * PART, 0, 0]


def test_between_little_and_plenty_it_stays_as_it_is(database, disk):
    disk(1 << 20)
    reserve.provide(database)
    assert held(database) == 0


def test_it_is_filled_again_once_there_is_room(database, disk):
    disk(1 << 30)
    reserve.provide(database)
    disk(0)
    reserve.provide(database)
    disk(1 << 30)
    reserve.provide(database)
    assert held(database) == SIZE


def test_a_place_that_can_hold_none_stops_no_move(tmp_path, disk):
    disk(1 << 30)
    reserve.provide(tmp_path / "gone" / "lastgood.db")
    assert not (tmp_path / "gone").exists()
