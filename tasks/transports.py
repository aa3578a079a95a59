"""Transports: how a notice gets to people without Prefect. Slack, a generic webhook, e-mail.

Each makes one try and returns what went wrong, None where it was sent. Whether and when there is another try
is the outbox's to say. Prefect's own blocks are in `tasks.prefect_block`: commands never load Prefect.
"""

import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TypeAlias
from urllib.parse import urlsplit

import httpx

from lastgood import guard
from lastgood.errors import InvalidInput
from lastgood.notice import Level
from lastgood.outbox import Delivery
from lastgood.profile import Route
from lastgood.redaction import clean
from lastgood.secret import is_reference, reveal

#: seconds without a sign of the other side
TIMEOUT_S = 10.0
#: bytes of an answer that an error shows
_SHOWN = 200
#: answers that say that the message itself is refused: it will be the next time too
_FINAL = frozenset({400, 410, 413, 422})
#: seconds that a receiver may ask to be left alone at most
_LONGEST_S = 3_600.0

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each URL, and a webhook's URL is a secret


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try did not succeed."""

    error: str
    #: no later try can do better
    final: bool = False
    #: microseconds that the receiver asked to be left alone for
    wait_us: int | None = None


Transport: TypeAlias = Callable[[Route, Delivery], Failure | None]


def slack(route: Route, delivery: Delivery) -> Failure | None:
    """Post to a Slack incoming webhook."""
    notice = delivery.notice
    mark = ":rotating_light: " if notice.level is Level.PAGE else ""
    text = f"{mark}*{_plain(notice.title)}*\n{_plain(text_of(delivery))}"
    return _post(_secret(route, "url"), {"text": text}, delivery)


def text_of(delivery: Delivery) -> str:
    """A notice's text with its link, if it has one."""
    return f"{delivery.notice.text}{_way_back(delivery)}"


def _way_back(delivery: Delivery) -> str:
    return f"\nLook, and revert (60 min): {delivery.link}" if delivery.link else ""


def _plain(text: str) -> str:
    """Text of people and runs is data: the three signs that Slack reads as links and mentions are escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def webhook(route: Route, delivery: Delivery) -> Failure | None:
    """Post JSON; the header `Idempotency-Key` is the same for every try of one delivery."""
    token = _secret(route, "token")
    return _post(_secret(route, "url"), body(delivery), delivery, token)


def body(delivery: Delivery) -> dict[str, object]:
    """What a webhook gets."""
    notice = delivery.notice
    return {
        "id": delivery.id,
        "key": notice.key,
        "agent": notice.agent,
        "environment": notice.environment,
        "kind": notice.kind,
        "level": str(notice.level),
        "title": notice.title,
        "text": notice.text,
        "at": datetime.fromtimestamp(delivery.at_us / 1_000_000, UTC).isoformat(),
        "attempt": delivery.attempts,
        **({"link": delivery.link} if delivery.link else {}),
    }


def _secret(route: Route, setting: str) -> str:
    """A setting as it is used: what it refers to, where it is a reference; empty where it is not given."""
    given = route.settings.get(setting, "")
    return reveal(given) if is_reference(given) else given


def _post(url: str, data: Mapping[str, object], delivery: Delivery, token: str = "") -> Failure | None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": delivery.id, "User-Agent": "lastgood"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    content = json.dumps(data).encode()
    try:
        with (
            guard.client(timeout_s=TIMEOUT_S) as client,
            client.stream("POST", url, content=content, headers=headers) as answer,
        ):
            return None if answer.is_success else _refusal(answer)
    except guard.BlockedUrl as error:
        return Failure(str(error))
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
        said = str(error).replace(url, "its URL")
        return Failure(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def _refusal(answer: httpx.Response) -> Failure:
    status = answer.status_code
    if answer.is_redirect:
        return Failure(f"answered {status}: it redirects, and nothing is sent on; give the final URL")
    shown = next(answer.iter_bytes(_SHOWN), b"").decode("utf-8", "replace")
    asked = answer.headers.get("Retry-After", "")
    wait_us = int(min(float(asked), _LONGEST_S) * 1_000_000) if asked.isdecimal() else None
    return Failure(f"answered {status}: {' '.join(shown.split())}", final=status in _FINAL, wait_us=wait_us)


def email(route: Route, delivery: Delivery) -> Failure | None:
    """Send an e-mail over the route's own server; `Message-ID` is the same for every try of one delivery."""
    server = urlsplit(route.settings["server"])
    secure = server.scheme == "smtps"
    port = server.port or (465 if secure else 25)
    host, context = server.hostname or "", ssl.create_default_context()
    try:
        message = _message(route, delivery)
        address = str(guard.reachable(host, port))
        with (
            smtplib.SMTP_SSL(timeout=TIMEOUT_S, context=context)
            if secure
            else smtplib.SMTP(timeout=TIMEOUT_S)
        ) as smtp:
            vars(smtp)["_host"] = host  # the name that TLS holds it to: the connection goes to an address
            smtp.connect(address, port)
            return _handed_over(smtp, route, message, context, secure=secure)
    except guard.BlockedUrl as error:
        return Failure(str(error))
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        return Failure(f"every recipient was refused: {error.recipients}", final=min(codes) >= 500)
    except smtplib.SMTPResponseException as error:
        final = error.smtp_code >= 500 and not isinstance(error, smtplib.SMTPAuthenticationError)
        return Failure(f"{type(error).__name__}: {error.smtp_code} {_text(error.smtp_error)}", final=final)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        return Failure(f"{type(error).__name__}: {error}")


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _handed_over(
    smtp: smtplib.SMTP, route: Route, message: EmailMessage, context: ssl.SSLContext, *, secure: bool
) -> Failure | None:
    smtp.ehlo_or_helo_if_needed()
    if not secure and smtp.has_extn("starttls"):
        smtp.starttls(context=context)
        secure = True
    if "user" in route.settings:
        if not secure:
            return Failure("the server offers no STARTTLS: the password is not sent in clear; use smtps://")
        smtp.login(_secret(route, "user"), _secret(route, "password"))
    refused = smtp.send_message(message)
    if refused:
        logging.getLogger("lastgood").error(
            "e-mail %s: some recipients were refused: %s", route.name, refused
        )
    return None


def _message(route: Route, delivery: Delivery) -> EmailMessage:
    notice, sender = delivery.notice, route.settings["sender"]
    message = EmailMessage()
    message["Subject"] = _printable(f"[{notice.level}] {notice.title}")
    message["From"] = sender
    message["To"] = route.settings["address"]
    message["Date"] = datetime.fromtimestamp(delivery.at_us / 1_000_000, UTC)
    message["Message-ID"] = f"<{delivery.id.replace('/', '.')}@{sender.rpartition('@')[2]}>"
    if notice.level is Level.PAGE:
        message["X-Priority"] = "1"
    message.set_content(f"{notice.title}\n\n{text_of(delivery)}\n")
    return message


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)


#: what every process of the pipeline can send over
TRANSPORTS: Mapping[str, Transport] = {"slack": slack, "webhook": webhook, "email": email}


def tried(transport: Transport, route: Route, delivery: Delivery) -> Failure | None:
    """Make one try; whatever a transport raises is a failed try. No secret is in what it says."""
    failed = _tried(transport, route, delivery)
    return None if failed is None else replace(failed, error=clean(failed.error))


def _tried(transport: Transport, route: Route, delivery: Delivery) -> Failure | None:
    try:
        return transport(route, delivery)
    except InvalidInput as error:  # a secret that is missing here may be there in another process
        return Failure(str(error))
    except Exception as error:  # noqa: BLE001  a notice that can't be sent must not stop what comes after it
        return Failure(f"{type(error).__name__}: {error}")


__all__ = ["TIMEOUT_S", "TRANSPORTS", "Failure", "Transport", "body", "text_of", "tried"]
