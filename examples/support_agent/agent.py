"""The agent: one ticket, one run, whatever bundle it is given."""

from collections.abc import Callable
from typing import Any

import httpx

import lastgood
from examples.support_agent import checks, http, settings
from examples.support_agent.settings import Settings
from examples.support_agent.solving import Draft, solve, tokens
from examples.support_agent.tickets import Ticket
from examples.support_agent.wrapper import Tools
from lastgood import Run
from lastgood.errors import CapReached, MalformedCall
from lastgood.running import Pending

AGENT = "support"
#: zero-tolerance event: what was written into the memory is garbage
GARBAGE = "garbage_memory"
#: tools that every run may call, and those of one task
_TOOLS = ("order", "recall", "send_message", "remember", "update_ticket")
_MORE = {"refund": ("refund",)}


def begin(ticket: Ticket, risk: str, agent: str = AGENT) -> Pending:
    """Start the run of a ticket."""
    return lastgood.run(
        agent, ticket.id, task_type=ticket.task_type, risk=risk, tools=tools_of(ticket.task_type)
    )


def tools_of(task_type: str) -> tuple[str, ...]:
    """Names of the tools that a run of this task may call."""
    return (*_TOOLS, *_MORE.get(task_type, ()))


def serve(ticket: Ticket, risk: str = "low", *, start: Callable[[Ticket, str], Pending] = begin) -> Run:
    """Serve one ticket under the bundle that it is assigned; the run, ended."""
    with start(ticket, risk) as run:
        handle(run, ticket)
    return run


def handle(run: Run, ticket: Ticket) -> None:
    """Work on a ticket within a run: draft, check, act, report.

    A malformed call and a CRM that fails leave the ticket to a person, and the run is no success. Raises
    `Refused` where the run's bundle was reverted meanwhile.
    """
    run.input = ticket.visible()
    said = settings.read(run.bundle)
    tools = Tools(run, http.client())
    try:
        run.output = _worked(run, ticket, said, tools)
    except (MalformedCall, httpx.HTTPError) as error:
        run.report(completed=False, escalated=True)
        run.output = {"escalated": f"{type(error).__name__}: a person takes over"}


def _worked(run: Run, ticket: Ticket, said: Settings, tools: Tools) -> dict[str, Any]:
    draft = solve(ticket, said, tools)
    model, tokens_in, tokens_out = tokens(ticket, said, draft)
    run.usage(model, tokens_in=tokens_in, tokens_out=tokens_out)
    refused = [] if draft.escalate else checks.failed(ticket, draft, said.policy)
    why = draft.escalate or ", ".join(refused)
    run.report(validated=not refused, escalated=bool(why))
    if why:
        return _handed_over(ticket, said, tools, why)
    return _done(run, ticket, said, draft, tools)


def _handed_over(ticket: Ticket, said: Settings, tools: Tools, why: str) -> dict[str, Any]:
    """Leave a ticket to a person, and tell the customer."""
    tools("send_message", ticket=ticket.id, about="handover", text=said.prompt[said.policy["fallback"]])
    tools("update_ticket", ticket=ticket.id, status="escalated", resolution=why)
    return {"escalated": why}


def _done(run: Run, ticket: Ticket, said: Settings, draft: Draft, tools: Tools) -> dict[str, Any]:
    """Do what the draft says, tell the customer, and remember it."""
    if draft.refund_cents is not None:
        tools("refund", order=ticket.order, amount_cents=draft.refund_cents)
    _tell(ticket, said, draft, tools)
    _remember(run, ticket, said, draft, tools)
    new = {} if draft.address is None else {"address": draft.address}
    tools(
        "update_ticket",
        ticket=ticket.id,
        status="solved",
        resolution=f"answered from {draft.document}",
        **new,
    )
    return {
        "answer": draft.answer,
        "document": draft.document,
        "confidence": round(draft.confidence, 3),
        "refund_cents": draft.refund_cents,
        "address": draft.address,
    }


def _tell(ticket: Ticket, said: Settings, draft: Draft, tools: Tools) -> None:
    """Send the messages that the policy part lists; a ceiling ends it, and the ticket goes on."""
    for about in said.policy["messages"]:
        text = draft.answer if about == "answer" else said.prompt[about]
        try:
            tools("send_message", ticket=ticket.id, about=about, text=text)
        except CapReached:
            return


def _remember(run: Run, ticket: Ticket, said: Settings, draft: Draft, tools: Tools) -> None:
    """Write the note that the memory part words, and look at what was written."""
    told = {"customer": ticket.customer, "task": ticket.task_type, "document": draft.document}
    note = said.memory["note"].format(**told)
    kept = tools("remember", customer=ticket.customer, topic=ticket.task_type, text=note)
    if checks.is_garbage(kept["text"]):
        run.event(GARBAGE, note=kept["text"])


__all__ = ["AGENT", "GARBAGE", "begin", "handle", "serve", "tools_of"]
