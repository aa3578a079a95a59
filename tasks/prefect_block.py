"""The transport of Prefect's notification blocks, by name: for processes of Prefect alone.

Where Prefect is down no block can be read, and nobody could send it: it waits, and the other routes do not.
"""

import asyncio
import inspect
from collections.abc import Mapping

from lastgood.outbox import Delivery
from lastgood.profile import Route
from tasks.transports import TRANSPORTS, Failure, Transport, text_of


def block(route: Route, delivery: Delivery) -> Failure | None:
    """Send over the block that the route names; Prefect says of a failure no more than that it is one."""
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block

    found = Block.load(route.settings["block"])
    if not isinstance(found, NotificationBlock):
        return Failure(f"the block {route.settings['block']} sends no notifications", final=True)
    subject = f"[{delivery.notice.level}] {delivery.notice.title}"
    with found.raise_on_failure():
        sending: object = found.notify(text_of(delivery), subject=subject)
        if inspect.iscoroutine(sending):  # a team's own block may be written either way
            asyncio.run(sending)
    return None


#: what a process of Prefect can send over
WITH_PREFECT: Mapping[str, Transport] = {**TRANSPORTS, "prefect": block}

__all__ = ["WITH_PREFECT", "block"]
