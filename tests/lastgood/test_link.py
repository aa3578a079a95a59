"""Revert-only links: what they allow, and what is none."""

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lastgood import agent as agents
from lastgood import link as links
from lastgood.cli import main
from lastgood.errors import InvalidInput, Unauthenticated
from lastgood.identity import Keys
from lastgood.identity import sign as sign_run
from lastgood.link import Link

KEYS = Keys("k", {"k": b"k" * 32, "old": b"o" * 32})
NOW = 1_700_000_000_000_000
LINK = Link("support", "production", "slack, notice ntc_1", NOW + 1)
TOKEN = links.sign(KEYS, LINK)


def test_a_link_is_what_was_signed():
    assert links.verify(KEYS, TOKEN, NOW) == LINK
    assert LINK.actor == "slack, notice ntc_1 (revert link)"


def test_a_link_of_an_older_key_is_good_until_that_is_gone():
    old = links.sign(Keys("old", {"old": b"o" * 32}), LINK)
    assert links.verify(KEYS, old, NOW) == LINK
    with pytest.raises(Unauthenticated):
        links.verify(Keys("k", {"k": b"k" * 32}), old, NOW)


def test_an_expired_link_says_whose_it_was():
    with pytest.raises(links.Expired) as told:
        links.verify(KEYS, TOKEN, NOW + 1)
    assert told.value.link == LINK


@given(st.integers(0, len(TOKEN) - 1), st.characters())
def test_a_link_with_one_character_changed_is_none(place, sign):
    changed = TOKEN[:place] + sign + TOKEN[place + 1 :]
    if changed != TOKEN:
        with pytest.raises(Unauthenticated):
            links.verify(KEYS, changed, NOW)


@pytest.mark.parametrize(
    "token", ["", "lgl1", "lgl1.k..", sign_run(KEYS, "run_1", "b" * 64, 1, NOW + 1), "lgl1.k.e30.x" * 300]
)
def test_what_is_no_link_is_refused(token):
    with pytest.raises(Unauthenticated):
        links.verify(KEYS, token, NOW)


def test_a_run_token_is_signed_for_another_purpose():
    run = sign_run(KEYS, "run_1", "b" * 64, 1, NOW + 1)
    version, key, payload, _ = TOKEN.split(".")
    with pytest.raises(Unauthenticated):
        links.verify(KEYS, f"{version}.{key}.{payload}.{run.rpartition('.')[2]}", NOW)


@pytest.mark.parametrize(
    ("token", "epoch", "later_us", "fits"),
    [(TOKEN, 7, 0, True), (TOKEN, 7, links.FORM_US, True), (TOKEN, 8, 0, False), ("other", 7, 0, False),
     (TOKEN, 7, links.FORM_US + 1, False), (TOKEN, 7, -1, False)],
)  # fmt: skip
def test_a_form_fits_its_link_and_epoch_for_ten_minutes(token, epoch, later_us, fits):
    nonce = links.nonce(KEYS, TOKEN, 7, NOW)
    assert links.fits(KEYS, token, epoch, nonce, NOW + later_us) is fits


@pytest.mark.parametrize(
    "nonce", ["", ".", "x.y", f"{NOW}.", f"{NOW}.ü", "9" * 30 + ".x", f"{NOW}.{'0' * 64}"]
)
def test_what_is_no_form_does_not_fit(nonce):
    assert not links.fits(KEYS, TOKEN, 7, nonce, NOW)


@pytest.mark.parametrize("holder", ["", "a\nb", "x" * 101])
def test_a_link_is_for_somebody_by_name(holder):
    with pytest.raises(InvalidInput):
        links.sign(KEYS, Link("support", "production", holder, NOW))


@pytest.mark.parametrize(
    ("given", "url"),
    [("https://lg.example.com/", "https://lg.example.com"), ("http://h:4300/base", "http://h:4300/base"),
     ("", None)],
)  # fmt: skip
def test_the_address_of_the_service_comes_from_the_environment(monkeypatch, given, url):
    monkeypatch.setenv(links.VARIABLE, given)
    assert links.service_url() == url


@pytest.mark.parametrize(
    "given", ["lg.example.com", "https://user@h", "javascript:x", "https://h/?q", "https://"]
)
def test_an_address_that_is_none_is_said(monkeypatch, given):
    monkeypatch.setenv(links.VARIABLE, given)
    with pytest.raises(InvalidInput, match=links.VARIABLE):
        links.service_url()


@pytest.mark.only("sqlite")
def test_the_command_makes_a_link_for_somebody(desk, monkeypatch):
    from lastgood import identity

    monkeypatch.setattr(agents, "_stores", {desk.store.url: desk.store})
    monkeypatch.setattr(agents, "_configured", {"database": desk.store.url})
    said = CliRunner().invoke(main, ["link", "support", "--for", "ben"])
    assert (said.exit_code, links.VARIABLE in said.output) == (1, True)
    monkeypatch.setenv(links.VARIABLE, "https://lg.example.com")
    said = CliRunner().invoke(main, ["link", "support", "--for", "ben"]).output.splitlines()
    token = said[0].removeprefix("https://lg.example.com/r/")
    found = links.verify(identity.keys(desk.store), token, desk.clock.now_us())
    assert (found.holder, found.agent) == ("ben", "support")
    assert CliRunner().invoke(main, ["link", "support", "--lasts", "2d"]).exit_code == 1
    assert CliRunner().invoke(main, ["link", "coder"]).exit_code == 1
