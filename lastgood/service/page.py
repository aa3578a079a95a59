"""The page for 3 a.m.: who serves, since when and why, and one way back, on a phone, without JavaScript.

A revert-only link (`lastgood.link`) opens it. GET shows, and never acts; the form behind "Put back" does,
once, for the epoch that was shown. Nothing but the store is needed.
"""

import hashlib
import logging
import re
from base64 import b64encode
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lastgood import control, identity
from lastgood import link as links
from lastgood.errors import LastgoodError, NotFound, Unauthenticated
from lastgood.link import Link
from lastgood.plain import plain
from lastgood.redaction import clean
from lastgood.roles import Act
from lastgood.service import problems, view
from lastgood.service.desk import Desk, DeskOf, Visit, allowed
from lastgood.service.view import View

router = APIRouter(tags=["page"])
Reading = Annotated[Visit, Depends(allowed(Act.READ))]
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    # markup is what a template itself calls safe; every other text is somebody's
    finalize=lambda shown: plain(shown) if type(shown) is str else shown,
)
_STYLE = (Path(__file__).with_name("templates") / "page.css").read_text(encoding="utf-8")
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: nothing of the page is kept, framed, scripted, or told to anybody
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
_STALE = "Nothing was done: who serves has changed, or this page was open for long. Look again."
#: newest moves among which the link's own is said to be done
_NEW = 2
#: characters of a reason
_REASON = 1_000
_LINK = re.compile(r"/r/[^/?\s]+")


def _page(name: str, status: int = 200, **given: Any) -> HTMLResponse:
    text = _TEMPLATES.get_template(f"{name}.html").render(style=_STYLE, **given)
    return HTMLResponse(text, status, dict(_HEADERS))


def _refused(error: LastgoodError) -> HTMLResponse:
    status = 403 if isinstance(error, Unauthenticated) else problems.status_of(error)
    return _page("refused", status, why=str(error))


def _link(desk: Desk, token: str) -> Link:
    """What a link allows now; one that is none or has expired is counted, the latter in the ledger too."""
    try:
        return links.verify(identity.keys(desk.store), token, desk.store.clock.now_us())
    except links.Expired as error:
        found = error.link
        desk.door.note(found.actor, Act.REVERT, found.agent, found.environment, "expired_link", str(error))
        raise
    except Unauthenticated:
        desk.door.note("nobody", Act.REVERT, "", "", "unauthenticated")
        raise


@router.get("/r/{token}", summary="Who serves, by a revert-only link", response_class=HTMLResponse)
def show(desk: DeskOf, token: str) -> HTMLResponse:
    """Show who serves, since when and why; opening it does nothing."""
    try:
        found = _link(desk, token)
        seen = view.read(desk.store, found.agent, found.environment)
    except LastgoodError as error:
        return _refused(error)
    mine = [move for move in seen.moves[:_NEW] if move.actor == found.actor]
    return _page("page", seen=seen, link=found, token=token, done=bool(mine))


@router.get("/r/{token}/revert", summary="What a revert would do", response_class=HTMLResponse)
def ask(desk: DeskOf, token: str) -> HTMLResponse:
    """Say what a revert would do, with the form that does it; opening it does nothing."""
    try:
        found = _link(desk, token)
        seen = view.read(desk.store, found.agent, found.environment)
    except LastgoodError as error:
        return _refused(error)
    return _confirm(desk, token, found, seen)


def _confirm(
    desk: Desk, token: str, found: Link, seen: View, said: str = "", status: int = 200
) -> HTMLResponse:
    nonce = links.nonce(identity.keys(desk.store), token, seen.epoch, desk.store.clock.now_us())
    return _page("confirm", status, seen=seen, link=found, token=token, nonce=nonce, said=said)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, the first value of each."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        fields = parse_qs(text, max_num_fields=10)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


Form = Annotated[dict[str, str], Depends(_form)]


@router.post("/r/{token}/revert", summary="Put the last known good back", response_class=HTMLResponse)
def revert(desk: DeskOf, token: str, form: Form) -> Response:
    """Put the last known good back, as the form that was shown moments ago says."""
    try:
        found = _link(desk, token)
        seen = view.read(desk.store, found.agent, found.environment)
        if not _is_ours(desk, token, seen, form):
            return _confirm(desk, token, found, seen, _STALE, 409)
        reason = clean(form.get("reason", "").strip())[:_REASON] or "reverted over a link"
        place = (found.agent, found.environment)
        control.rollback(desk.store, *place, actor=found.actor, reason=reason, epoch=seen.epoch)
    except LastgoodError as error:
        return _refused(error)
    return RedirectResponse(f"../{token}", 303, dict(_HEADERS))


def _is_ours(desk: Desk, token: str, seen: View, form: dict[str, str]) -> bool:
    keys, now_us = identity.keys(desk.store), desk.store.clock.now_us()
    return links.fits(keys, token, seen.epoch, form.get("nonce", ""), now_us)


@router.get("/{agent}", summary="Who serves an agent, for people", response_class=HTMLResponse)
def look(visit: Reading) -> HTMLResponse:
    """Show the same page to a token that may read; nothing on it acts."""
    try:
        seen = view.read(visit.store, visit.agent, visit.environment)
    except NotFound as error:
        return _refused(error)
    return _page("page", seen=seen, link=None, token="", done=False)


class Unsaid(logging.Filter):
    """Takes the links out of an access log: who reads it must not be able to use them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through, without the token."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                _LINK.sub("/r/...", each) if isinstance(each, str) else each for each in record.args
            )
        return True
