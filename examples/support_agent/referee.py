"""The referee: is an answer right? It knows the truth of every ticket, and nothing of bundles and arms."""

from collections.abc import Mapping
from typing import Any

from examples.support_agent.operators import mistakes
from examples.support_agent.tickets import case


def correct(given: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    """Whether what was made of a ticket is right; leaving it to a person is."""
    return not mistakes(case(given["id"]), made)
