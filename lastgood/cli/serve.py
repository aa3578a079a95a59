"""`lastgood serve`: the control point as an HTTP service."""

import gc
import ipaddress
import logging
import threading
from collections.abc import Callable

import click

from lastgood import agent as agents
from lastgood import identity
from lastgood.cli.common import store

#: seconds that requests under way have when the service is told to end; streams never end by themselves
LEAVE_S = 5


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=4300, show_default=True, type=click.IntRange(0, 65_535), help="Port.")
@click.option(
    "--access-log", is_flag=True, help="Log every request; the figures at /metrics count them anyway."
)
@click.option("--beyond-loopback", is_flag=True, help="Listen to other hosts too; put TLS in front of it.")
def serve(host: str, port: int, *, access_log: bool, beyond_loopback: bool) -> None:
    """Serve evaluation (OFREP), intake and control over HTTP, to whoever has a token.

    `lastgood token make NAME --role agent` makes one.
    """
    if not (beyond_loopback or _is_loopback(host)):
        msg = f"{host} is no loopback address: tokens would cross in clear; or say --beyond-loopback"
        raise click.UsageError(msg)
    try:
        import uvicorn

        from lastgood.service.app import create
        from lastgood.service.page import Unsaid
        from lastgood.service.starting import warm
    except ModuleNotFoundError as error:
        msg = f"`lastgood serve` needs {error.name}: pip install 'lastgood[service]'"
        raise click.ClickException(msg) from error
    held = store()
    held.check_schema()
    identity.keys(held)
    app = create(held, agents.environment_name())
    logging.getLogger("uvicorn.access").addFilter(Unsaid())
    threading.Thread(target=_warm, args=(warm,), name="lastgood-warm", daemon=True).start()
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=access_log,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=LEAVE_S,
        h11_max_incomplete_event_size=65_536,
    )


def _warm(load: Callable[[], None]) -> None:
    """Load what is needed later, and let no request wait while all of it is searched for garbage."""
    load()
    gc.collect()
    gc.freeze()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
