"""Where people are told about an agent, as its profile says it."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from config.durations import Duration, between
from config.metrics import Misplaced, nearest
from config.sections import Section
from lastgood.notice import KINDS
from lastgood.profile import Route
from lastgood.secret import is_reference

Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Address = Annotated[str, StringConstraints(min_length=3, max_length=254)]
#: per transport: the settings that it needs, and those that it takes beside them
SETTINGS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "slack": (("url",), ()),
    "webhook": (("url",), ("token",)),
    "email": (("address", "server", "sender"), ("user", "password")),
    "prefect": (("block",), ()),
}
#: settings that are secrets, whatever they look like
_SECRET = ("token", "password")
_EXAMPLE = "env:NAME or file:/path of a file with mode 0600"


class RouteSpec(Section):
    """One way to tell people: a transport, its settings, and what goes there."""

    to: Literal["slack", "webhook", "email", "prefect"] = Field(
        title="To", description="slack (incoming webhook), webhook (JSON), email, or prefect (a block)."
    )
    name: Name | None = Field(
        default=None, title="Name", description="Name of the route; default: the transport and its place."
    )
    levels: Annotated[
        tuple[Literal["page", "inform"], ...], Field(strict=False, min_length=1, max_length=2)
    ] = Field(
        default=("page", "inform"),
        title="Levels",
        description="page: somebody has to act; inform: the rest.",
    )
    kinds: Annotated[tuple[str, ...], Field(strict=False, max_length=50)] = Field(
        default=(), title="Kinds", description="Kinds of notices that go there; empty: every kind."
    )
    environments: Annotated[tuple[Name, ...], Field(strict=False, max_length=50)] = Field(
        default=(), title="Environments", description="Environments whose notices go there; empty: all."
    )
    retry_for: Annotated[Duration, between("1 min", "14 d")] = Field(
        default="24 h",
        validate_default=True,
        title="Retry for",
        description="How long a delivery is tried again before it is given up, and listed as dead.",
    )
    url: Text | None = Field(
        default=None,
        title="URL",
        description="Of slack a reference, of webhook a reference or a plain http(s) URL without a secret.",
    )
    token: Text | None = Field(
        default=None, title="Token", description="Reference to a bearer token of a webhook."
    )
    address: Annotated[tuple[Address, ...], Field(strict=False, min_length=1, max_length=50)] | None = Field(
        default=None, title="Address", description="E-mail addresses that are told."
    )
    server: Text | None = Field(
        default=None,
        title="Server",
        description="smtp://host:port (STARTTLS where it is offered) or smtps://host:port.",
    )
    sender: Address | None = Field(default=None, title="Sender", description="Address that e-mail is from.")
    user: Text | None = Field(default=None, title="User", description="Who logs in to the mail server.")
    password: Text | None = Field(
        default=None, title="Password", description="Reference to that user's password."
    )
    block: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+/[A-Za-z0-9._-]+$")] | None = Field(
        default=None,
        title="Block",
        description="A Prefect notification block, type/name, such as slack-webhook/on-call.",
    )

    @field_validator("kinds")
    @classmethod
    def _are_told(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for place, kind in enumerate(kinds):
            if kind not in KINDS:
                known = tuple(KINDS)
                raise Misplaced(
                    f"unknown kind of notice{nearest(kind, known)} Known: {', '.join(known)}", place
                )
        return kinds

    @model_validator(mode="after")
    def _fits_its_transport(self) -> Self:
        needed, taken = SETTINGS[self.to]
        for setting in needed:
            if getattr(self, setting) is None:
                raise Misplaced(f"is missing: a route to {self.to} needs {', '.join(needed)}", setting)
        for setting in sorted({name for both in SETTINGS.values() for group in both for name in group}):
            if getattr(self, setting) is not None and setting not in (*needed, *taken):
                raise Misplaced(f"does not go with to: {self.to}; leave it out", setting)
        return self

    @model_validator(mode="after")
    def _keeps_secrets_out(self) -> Self:
        for setting in _SECRET:
            given = getattr(self, setting)
            if given is not None and not is_reference(given):
                raise Misplaced(f"is a secret: give it by reference, {_EXAMPLE}", setting)
        if (self.user is None) != (self.password is None):
            raise Misplaced("user and password go together", "user" if self.user else "password")
        if self.url is not None and not is_reference(self.url):
            self._check_plain_url(self.url)
        if self.server is not None:
            _check_server(self.server)
        for address in self.address or ():
            _check_address(address, "address")
        if self.sender is not None:
            _check_address(self.sender, "sender")
        return self

    def _check_plain_url(self, url: str) -> None:
        if self.to == "slack":
            raise Misplaced(f"a Slack webhook's URL is a secret: give it by reference, {_EXAMPLE}", "url")
        parts = _split(url, "url")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Misplaced("should be a URL such as https://hooks.example.com/lastgood", "url")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise Misplaced(
                f"a URL with a user or a query may hold a secret: give it by reference, {_EXAMPLE}", "url"
            )

    def route(self, place: int) -> Route:
        """The plain value that senders work with; `place` names a route that has no name."""
        needed, taken = SETTINGS[self.to]
        given = {name: getattr(self, name) for name in (*needed, *taken)}
        return Route(
            name=self.name or f"{self.to}-{place + 1}",
            to=self.to,
            levels=self.levels,
            kinds=self.kinds,
            environments=self.environments,
            retry_for_us=self.retry_for,
            settings={
                name: ", ".join(value) if isinstance(value, tuple) else value
                for name, value in given.items()
                if value is not None
            },
        )


def _split(url: str, key: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises for a port that is none
    except ValueError as error:
        raise Misplaced(f"is no URL: {error}", key) from error
    return parts


def _check_server(url: str) -> None:
    parts = _split(url, "server")
    plain = not (parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"))
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or not plain:
        raise Misplaced("should be smtp://host:port or smtps://host:port, and nothing else", "server")


def _check_address(address: str, key: str) -> None:
    name, at, host = address.rpartition("@")
    if not (name and at and host) or set(address) & set(' ,;<>"\r\n\t'):
        raise Misplaced(f"{address!r} is no e-mail address such as ana@example.com", key)


__all__ = ["SETTINGS", "RouteSpec"]
