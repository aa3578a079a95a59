"""Paging: the revert-only link that a notice of level `page` carries, where the service can be reached."""

import logging
from dataclasses import replace

from lastgood import identity, link
from lastgood.errors import LastgoodError
from lastgood.link import Link
from lastgood.notice import Level
from lastgood.outbox import Delivery
from lastgood.store.connection import Store

log = logging.getLogger("lastgood")


def linked(store: Store, delivery: Delivery) -> Delivery:
    """Return the delivery with a link of its own, made now and named by its route.

    Without LASTGOOD_SERVICE_URL there is none; a notice goes out without one rather than not at all.
    """
    notice = delivery.notice
    if notice.level is not Level.PAGE:
        return delivery
    try:
        url = link.service_url()
        if url is None:
            return delivery
        until_us = store.clock.now_us() + link.LIFETIME_US
        holder = f"{delivery.route}, notice {delivery.notice_id}"[:100]
        made = link.sign(identity.keys(store), Link(notice.agent, notice.environment, holder, until_us))
    except LastgoodError as error:
        log.warning("a notice goes out without its link: %s", error)
        return delivery
    return replace(delivery, link=link.address(url, made))
