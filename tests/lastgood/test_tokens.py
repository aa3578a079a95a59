import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastgood import tokens
from lastgood.cli import main
from lastgood.errors import InvalidInput, NotFound, Unauthenticated
from lastgood.roles import Principal, Role
from lastgood.store import access


def mint(desk, **more):
    return tokens.mint(desk.store, "ann", Role.OPERATOR, actor="root", **more)


def verify(desk, text):
    with desk.store.reading() as txn:
        return tokens.verify(txn, text)


def test_a_token_stands_for_its_name_role_and_scope(desk):
    made = mint(desk, agents=["support"], environments=["production"])
    found = verify(desk, made.text)
    assert found == Principal(
        "ann", Role.OPERATOR, frozenset({"support"}), frozenset({"production"}), made.id
    )
    assert found.actor == f"ann (operator, token {made.id})"


def test_the_secret_is_nowhere_in_the_store(desk):
    made = mint(desk)
    secret = made.text.rpartition("_")[2]
    [row] = desk.all(access.ALL)
    assert secret not in str(row)
    assert secret not in repr(made)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: None,
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text.replace("lgt_", "lgx_"),
        lambda text: "lgt_" + "0" * 12 + text[16:],
        lambda text: text + "\n",
        lambda text: "é" + text,
    ],
)
def test_another_text_stands_for_nobody(desk, spoil):
    made = mint(desk)
    with pytest.raises(Unauthenticated, match="no valid token"):
        verify(desk, spoil(made.text))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80))
@pytest.mark.only("sqlite")
def test_no_text_crashes_the_door(desk, text):
    with pytest.raises(Unauthenticated):
        verify(desk, text)


def test_a_token_ends_when_its_time_is_over(desk):
    made = mint(desk, lifetime_us=1_000_000)
    desk.clock.advance(999_999)
    verify(desk, made.text)
    desk.clock.advance(1)
    with pytest.raises(Unauthenticated, match=f"the token {made.id} has ended"):
        verify(desk, made.text)


def test_a_revoked_token_ends_at_once_and_once(desk):
    made = mint(desk)
    assert tokens.revoke(desk.store, made.id)
    assert not tokens.revoke(desk.store, made.id)
    with pytest.raises(Unauthenticated, match="has ended"):
        verify(desk, made.text)


def test_a_rotated_token_goes_on_until_its_grace_is_over(desk):
    old = mint(desk, agents=["support"])
    new = tokens.rotate(desk.store, old.id, actor="root", grace_us=10)
    assert verify(desk, new.text).agents == verify(desk, old.text).agents == frozenset({"support"})
    desk.clock.advance(10)
    assert verify(desk, new.text).name == "ann"
    with pytest.raises(Unauthenticated):
        verify(desk, old.text)


@pytest.mark.parametrize("lifetime_us", [tokens.LIFETIME_US, tokens.GRACE_US // 2])
def test_a_token_is_rotated_once(lifetime_us, desk):
    old = mint(desk, lifetime_us=lifetime_us)
    new = tokens.rotate(desk.store, old.id, actor="root")
    with pytest.raises(InvalidInput, match=f"was rotated to {new.id} already"):
        tokens.rotate(desk.store, old.id, actor="root")
    assert new.expires_us == old.expires_us


def test_a_token_that_has_ended_is_not_rotated(desk):
    old = mint(desk)
    tokens.revoke(desk.store, old.id)
    with pytest.raises(InvalidInput, match="has ended: make a new one"):
        tokens.rotate(desk.store, old.id, actor="root")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"agents": []}, "needs an agent in its scope"),
        ({"agents": ["No Name"]}, "No Name"),
        ({"environments": ["../x"]}, "x"),
        ({"lifetime_us": 0}, "a token lives between a moment and 366 days"),
        ({"lifetime_us": tokens.LONGEST_US + 1}, "a token lives between"),
    ],
)
def test_a_token_that_can_not_be_is_refused_and_not_written(desk, given, said):
    with pytest.raises(InvalidInput, match=said):
        mint(desk, **given)
    assert desk.all(access.ALL) == []


def test_a_name_of_control_characters_is_refused(desk):
    with pytest.raises(InvalidInput, match="can't name a token"):
        tokens.mint(desk.store, "ann\n", Role.AGENT, actor="root")


def test_an_unknown_token_is_said_by_name(desk):
    for move in (
        lambda: tokens.revoke(desk.store, "abc"),
        lambda: tokens.rotate(desk.store, "abc", actor="root"),
    ):
        with pytest.raises(NotFound, match="no token 'abc'"):
            move()


def test_a_token_stands_until_it_ends_or_is_revoked(desk):
    made, other = (tokens.mint(desk.store, "ann", Role.OPERATOR, actor="root") for _ in range(2))

    def stands(token_id):
        with desk.store.reading() as txn:
            return tokens.stands(txn, token_id)

    assert stands(made.id)
    tokens.revoke(desk.store, made.id)
    assert not stands(made.id)
    assert stands(other.id)
    desk.clock.advance(tokens.LIFETIME_US)
    assert not stands(other.id)
    assert not stands("unknown")


@pytest.mark.only("sqlite")
def test_the_commands_make_list_rotate_and_revoke(desk, monkeypatch):
    monkeypatch.setattr("lastgood.cli.tokens.store", lambda: desk.store)

    def call(*words):
        result = CliRunner().invoke(main, ["token", *words])
        assert result.exit_code == 0, result.output
        return result.output

    text = call("make", "ann", "--role", "operator", "--agent", "support", "--lifetime", "2d").split("\n")[0]
    found = verify(desk, text)
    assert (found.role, found.agents) == (Role.OPERATOR, frozenset({"support"}))
    successor = call("rotate", found.token_id, "--grace", "1h").split("\n")[0]
    assert verify(desk, successor).name == "ann"
    assert f"{found.token_id} is revoked" in call("revoke", found.token_id)
    assert f"{found.token_id} had ended already" in call("revoke", found.token_id)
    listed = call("list")
    assert text not in listed
    assert listed.count("operator") == 2
