import pytest

from lastgood import registry
from lastgood.errors import CorruptRow, InvalidBundle, NotFound
from lastgood.store.connection import Store


@pytest.fixture
def edit(hand):
    return hand


def test_a_bundle_is_read_as_it_was_registered(store, build):
    bundle = build("hello", "image:1")
    record, new = registry.register(store, "support", bundle, author="ann", approver="bob")
    assert new
    assert registry.load(store, record.name) == record
    assert (record.bundle, record.author, record.approver, record.parent) == (bundle, "ann", "bob", None)
    assert record.name == "support-2023-11-14.1"
    assert record.bundle.prompt.text == "hello"


def test_the_same_content_is_the_same_bundle(store, build):
    first, _ = registry.register(store, "support", build("hello"), author="ann")
    again, new = registry.register(store, "sales", build("hello"), author="bob")
    assert (again, new) == (first, False)


def test_parts_are_stored_once(store, build):
    for prompt in ("one", "two"):
        registry.register(store, "support", build(prompt), author="ann")
    with store.reading() as txn:
        assert txn.one("SELECT count(*) FROM part")[0] == 6


def test_names_of_a_day_are_numbered(store, build):
    names = [registry.register(store, "support", build(p), author="ann")[0].name for p in "abc"]
    assert names == [f"support-2023-11-14.{n}" for n in (1, 2, 3)]


def test_a_name_that_is_taken(store, build):
    registry.register(store, "support", build("one"), author="ann", name="spring")
    with pytest.raises(InvalidBundle, match="the name spring is taken"):
        registry.register(store, "support", build("two"), author="ann", name="spring")
    with store.reading() as txn:
        assert txn.one("SELECT count(*) FROM bundle")[0] == 1


def test_an_unknown_parent_registers_nothing(store, build):
    with pytest.raises(NotFound, match="no bundle 'b-00000000'"):
        registry.register(store, "support", build("one"), author="ann", parent="b-00000000")
    with store.reading() as txn:
        assert txn.one("SELECT count(*) FROM part")[0] == 0


def test_a_parent_is_kept_by_its_full_id(store, build):
    first, _ = registry.register(store, "support", build("one"), author="ann")
    second, _ = registry.register(store, "support", build("two"), author="ann", parent=first.bundle.short)
    assert second.parent == first.bundle.id


def test_a_reference_is_a_name_a_short_form_or_the_beginning_of_an_id(store, build):
    record, _ = registry.register(store, "support", build("one"), author="ann")
    with store.reading() as txn:
        for reference in (record.name, record.bundle.short, record.bundle.id, record.bundle.id[:4].upper()):
            assert registry.resolve(txn, reference) == record.bundle.id
        for reference in ("", "b-", record.bundle.id[:3], "b-zzzz", "%", "support"):
            with pytest.raises(NotFound, match="lastgood bundle list"):
                registry.resolve(txn, reference)


def test_a_reference_to_several_bundles(store, build):
    seen: dict[str, str] = {}
    for number in range(2_000):
        bundle = build(str(number))
        if bundle.id[:4] in seen:
            for prompt in (seen[bundle.id[:4]], str(number)):
                registry.register(store, "support", build(prompt), author="ann")
            break
        seen[bundle.id[:4]] = str(number)
    with store.reading() as txn, pytest.raises(NotFound, match="the beginning of several bundles' ids"):
        registry.resolve(txn, bundle.id[:4])


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE part SET body = ? WHERE kind = 'prompt'", b"planted"),
        ("UPDATE part SET body = ? WHERE kind = 'tools'", ""),
        ("DELETE FROM part WHERE kind = ?", "prompt"),
        ("DELETE FROM bundle_part WHERE kind = ?", "prompt"),
        ("UPDATE bundle_part SET version = ? WHERE kind = 'prompt'", "9"),
        ("UPDATE bundle_part SET version = ? WHERE kind = 'prompt'", "not a version"),
        ("UPDATE bundle_part SET kind = ? WHERE kind = 'prompt'", "poem"),
        ("UPDATE bundle_part SET digest = ? WHERE kind = 'prompt'", "0" * 64),
        (
            "UPDATE bundle_part SET digest = (SELECT digest FROM part WHERE kind = 'tools') WHERE kind = ?",
            "prompt",
        ),
        ("UPDATE bundle SET author = ?", "mallory"),
        ("UPDATE bundle SET approver = ?", "mallory"),
        ("UPDATE bundle SET agent = ?", "sales"),
        ("UPDATE bundle SET parent = ?", "f" * 64),
        ("UPDATE bundle SET created_us = ?", 5),
        ("UPDATE bundle SET seal = ?", "0"),
    ],
)
def test_a_row_that_was_changed_is_found_when_it_is_read(statement, value, store, build, edit):
    record, _ = registry.register(store, "support", build("one"), author="ann")
    edit(store, statement, value)
    with pytest.raises(CorruptRow):
        registry.load(Store(store.url, store.clock), record.bundle.short)


@pytest.mark.only("sqlite")  # Postgres takes no value of another type
@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE part SET body = ? WHERE kind = 'prompt'", "planted"),
        ("UPDATE bundle_part SET version = ? WHERE kind = 'prompt'", b"9"),
        ("UPDATE bundle SET author = ?", b"mallory"),
    ],
)
def test_a_value_of_another_type_is_found_when_it_is_read(statement, value, store, build, edit):
    record, _ = registry.register(store, "support", build("one"), author="ann")
    edit(store, statement, value)
    with pytest.raises(CorruptRow):
        registry.load(Store(store.url, store.clock), record.bundle.short)


def test_a_bundle_under_another_id_is_found(store, build, edit):
    record, _ = registry.register(store, "support", build("one"), author="ann")
    edit(store, "UPDATE bundle SET id = ?", "f" * 64)
    edit(store, "UPDATE bundle_part SET bundle_id = ?", "f" * 64)
    with pytest.raises(
        CorruptRow, match=f"the parts stored for bundle b-ffffffff make {record.bundle.short}"
    ):
        registry.load(store, "f" * 64)
