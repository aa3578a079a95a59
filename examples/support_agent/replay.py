"""How a run of this agent is replayed: its recorded input served again by the bundle of the new run."""

from collections.abc import Mapping
from typing import Any

from examples.support_agent.agent import serve
from examples.support_agent.tickets import Ticket


def replay(inputs: Mapping[str, Any]) -> Any:
    """Serve a recorded input once more; returns what the run made of it."""
    return serve(Ticket(**inputs)).output
