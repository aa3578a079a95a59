"""The guard of outgoing URLs: what people configure may not reach what only this host may.

    with guard.client() as client:
        client.get(url)

A name is resolved once, every address that it has is looked at, and the connection goes to one of these: a
name that resolves otherwise a moment later reaches nothing else. Loopback, private, link-local, metadata,
multicast and reserved addresses are refused, in every way to write them, unless the host is allowed by name
in LASTGOOD_ALLOW_HOSTS (`HOST` or `HOST:PORT`, separated by commas). No redirect is followed, no proxy of the
environment used, and an answer has limits of size and time. Needs httpx, which `import lastgood` never loads.
"""

import ipaddress
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from lastgood.errors import Refused

VARIABLE = "LASTGOOD_ALLOW_HOSTS"
#: bytes of an answer, and seconds until it is there
MOST_BYTES, MOST_S = 10_000_000, 30.0
#: seconds to connect, and between two pieces
_STEP_S = 10.0
_PORTS = {"http": 80, "https": 443}
#: translations that carry another address inside: NAT64 and 6to4
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HOST = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)*\.?")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class BlockedUrl(Refused):
    """An outgoing URL reaches what it may not; nothing was sent."""


def check(url: str | httpx.URL) -> tuple[str, int, Address]:
    """Return the host, port and address that a URL may reach; raises `BlockedUrl`, which says why not."""
    parsed = _parsed(url)
    host, port = parsed.host.lower(), parsed.port or _PORTS[parsed.scheme]
    return host, port, reachable(host, port)


def reachable(host: str, port: int) -> Address:
    """Return the address that a host may be reached at, whatever is spoken there; raises `BlockedUrl`.

    Connect to the address: a name can resolve otherwise a moment later.
    """
    host = host.lower()
    addresses = _resolved(host, port)
    if not _is_allowed(host, port):
        for address in addresses:
            why = forbidden(address)
            if why is not None:
                raise _blocked(host, f"it is {address}, {why}; allow it by name in {VARIABLE}")
    return addresses[0]


def _parsed(url: str | httpx.URL) -> httpx.URL:
    try:
        parsed = httpx.URL(url) if isinstance(url, str) else url
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise _blocked(str(url)[:100], f"it is no URL ({error})") from None
    if parsed.scheme not in _PORTS or not parsed.host:
        raise _blocked(str(url)[:100], "it is no http or https URL with a host")
    if parsed.userinfo:
        raise _blocked(parsed.host, "a URL carries no user or password; give a token by reference")
    return parsed


def _blocked(what: str, why: str) -> BlockedUrl:
    return BlockedUrl(f"the URL to {what} is refused: {why}")


def _resolved(host: str, port: int) -> list[Address]:
    literal = _literal(host)
    if literal is not None:
        return [literal]
    if not _HOST.fullmatch(host):
        raise _blocked(host[:100], "its host is no name and no address")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _blocked(host, f"its name does not resolve ({error})") from error
    return [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


def _literal(host: str) -> Address | None:
    """The address that a host is written as; short, octal and hexadecimal ways count as what they mean."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if re.fullmatch(r"[0-9a-fx.]+", host) and any(mark.isdigit() for mark in host):
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    return None


def forbidden(address: Address) -> str | None:
    """Return why an address may not be reached, None for one of the public internet."""
    inner = _inner(address)
    if inner is not None:
        why = forbidden(inner)
        return None if why is None else f"which carries {inner}, {why}"
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address, where clouds keep their metadata"
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        return "no address of one host"
    local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return None if address.is_global and not local else "a private address"


def _inner(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    if int(address) >> 32 == 0 and int(address) > 1:  # ::a.b.c.d, long out of use
        return ipaddress.IPv4Address(int(address))
    return None


def _is_allowed(host: str, port: int) -> bool:
    allowed = {name.strip().lower() for name in os.environ.get(VARIABLE, "").split(",")}
    bare = f"[{host}]" if ":" in host else host
    return bool({host, f"{bare}:{port}"} & allowed)


class Transport(httpx.BaseTransport):
    """Sends a request to the address that was looked at, and bounds its answer."""

    def __init__(
        self,
        inner: httpx.BaseTransport | None = None,
        *,
        most_bytes: int = MOST_BYTES,
        most_s: float = MOST_S,
    ) -> None:
        self._inner = inner or httpx.HTTPTransport(trust_env=False)
        self._most_bytes, self._most_s = most_bytes, most_s

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; raises `BlockedUrl`, and `httpx.ReadError` for an answer beyond its limits."""
        until_s = time.monotonic() + self._most_s
        host, _, address = check(request.url)
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )
        response = self._inner.handle_request(pinned)
        response.stream = _Bounded(response.stream, self._most_bytes, until_s)
        return response

    def close(self) -> None:
        """Close what it sends by."""
        self._inner.close()


class _Bounded(httpx.SyncByteStream):
    """A stream that ends with an error where it is too long or takes too long."""

    def __init__(self, stream: object, most: int, until_s: float) -> None:
        assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101  a transport of ours is synchronous
        self._stream, self._most, self._until_s = stream, most, until_s

    def __iter__(self) -> Iterator[bytes]:
        left = self._most
        for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise httpx.ReadError(f"the answer has more than {self._most:,} bytes")
            if time.monotonic() > self._until_s:
                raise httpx.ReadTimeout("the answer was not there in time")
            yield piece

    def close(self) -> None:
        self._stream.close()


@contextmanager
def client(
    *,
    timeout_s: float = MOST_S,
    silent_s: float = _STEP_S,
    most_bytes: int = MOST_BYTES,
    headers: dict[str, str] | None = None,
) -> Iterator[httpx.Client]:
    """A client for URLs that people configure: guarded, no redirects, no proxy of the environment.

    Args:
        timeout_s: seconds until the whole answer is there.
        silent_s: seconds that the other side may say nothing; more for one that works before it answers.
        most_bytes: bytes of an answer.
        headers: sent with each request.
    """
    timeout = httpx.Timeout(min(silent_s, timeout_s), connect=min(_STEP_S, timeout_s))
    with httpx.Client(
        transport=Transport(most_bytes=most_bytes, most_s=timeout_s),
        timeout=timeout,
        follow_redirects=False,
        headers=headers,
        trust_env=False,
    ) as made:
        yield made
