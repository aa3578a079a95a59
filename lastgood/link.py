"""Revert-only links: what a person who is paged opens on a phone, without a token of their own.

    URL/r/lgl1.KEY_ID.PAYLOAD.SIGNATURE

signed with the keys of run tokens (`lastgood.identity`). A link shows one control point and can put its last
known good back, until it expires; it can do nothing else. Opening it does nothing: only the form behind it
acts, and that carries a nonce of its own, good for the epoch that the person saw.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
from dataclasses import dataclass

from lastgood.bundle import check_name
from lastgood.errors import InvalidInput, Unauthenticated
from lastgood.identity import Keys

#: where the service is reached from outside; without it no notice carries a link
VARIABLE = "LASTGOOD_SERVICE_URL"
#: microseconds that a link is good for unless told otherwise, and at most
LIFETIME_US, LONGEST_US = 60 * 60_000_000, 24 * 3_600_000_000
#: microseconds in which a form that was shown has to be sent
FORM_US = 10 * 60_000_000
_VERSION = "lgl1"
_HOLDER = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
#: characters of a link's token at most
_MOST = 2_000


@dataclass(frozen=True, slots=True)
class Link:
    """What a link allows."""

    agent: str
    environment: str
    #: whom it was made for: the ledger names them
    holder: str
    #: microseconds UTC
    expires_us: int

    @property
    def actor(self) -> str:
        """How the ledger names who acts by it."""
        return f"{self.holder} (revert link)"


class Expired(Unauthenticated):
    """The link was good, and its time is over."""

    def __init__(self, message: str, link: Link) -> None:
        super().__init__(message)
        self.link = link


def sign(keys: Keys, link: Link) -> str:
    """Return a link's token. Raises `InvalidInput` for a name that can't be."""
    check_name(link.agent, "the agent")
    check_name(link.environment, "the environment")
    if not _HOLDER.fullmatch(link.holder):
        raise InvalidInput(f"a link is for somebody: {link.holder!r} is no name of 1 to 100 characters")
    said = [link.agent, link.environment, link.holder, link.expires_us]
    payload = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    text = f"{_VERSION}.{keys.newest}.{payload}"
    return f"{text}.{_signature(keys.secrets[keys.newest], text)}"


def verify(keys: Keys, token: str, now_us: int) -> Link:
    """Return what a token allows; raises `Unauthenticated`, and `Expired` for one whose time is over."""
    pieces = token.split(".")
    known = len(pieces) == 4 and pieces[0] == _VERSION and len(token) <= _MOST and token.isascii()
    secret = keys.secrets.get(pieces[1]) if known else None
    if secret is None or not hmac.compare_digest(pieces[3], _signature(secret, token.rpartition(".")[0])):
        raise Unauthenticated("this is no link of this service")
    try:
        agent, environment, holder, expires_us = json.loads(
            base64.urlsafe_b64decode(pieces[2] + "=" * (-len(pieces[2]) % 4))
        )
    except (binascii.Error, ValueError) as error:
        raise Unauthenticated("this is no link of this service") from error
    link = Link(agent, environment, holder, expires_us)
    if expires_us <= now_us:
        raise Expired("this link has expired", link)
    return link


def nonce(keys: Keys, token: str, epoch: int, now_us: int) -> str:
    """Return what a form carries that was shown now, at this epoch."""
    return f"{now_us}.{_signature(keys.secrets[keys.newest], _form(token, epoch, now_us))}"


def fits(keys: Keys, token: str, epoch: int, sent: str, now_us: int) -> bool:
    """Whether a form was made here for this link and epoch, moments ago."""
    at, _, signature = sent.partition(".")
    if not (at.isascii() and at.isdecimal() and len(at) <= 20 and signature.isascii()):
        return False
    if not 0 <= now_us - int(at) <= FORM_US:
        return False
    form = _form(token, epoch, int(at))
    return any(hmac.compare_digest(signature, _signature(each, form)) for each in keys.secrets.values())


def _form(token: str, epoch: int, at_us: int) -> str:
    return f"form of {_VERSION}\n{token}\n{epoch}\n{at_us}"


def _signature(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def service_url() -> str | None:
    """Return the service's address as people reach it, from `VARIABLE`; None where it is not set."""
    given = os.environ.get(VARIABLE, "").strip().rstrip("/")
    if not given:
        return None
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", given):
        raise InvalidInput(f"{VARIABLE} has to be an address such as https://lastgood.example.com")
    return given


def address(url: str, token: str) -> str:
    """Return the whole address of a link."""
    return f"{url}/r/{token}"


__all__ = [
    "LIFETIME_US",
    "LONGEST_US",
    "VARIABLE",
    "Expired",
    "Link",
    "address",
    "fits",
    "nonce",
    "service_url",
    "sign",
    "verify",
]
