"""Serving: flows as deployments of this checkout, in one process, with the automations installed first."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL

from config.settings import Settings
from lastgood import agent
from lastgood.errors import PrefectUnusable
from tasks import (
    automations,
    choices,
    forms,
    housekeeping,
    lost_runs,
    notifying,
    prefect_block,
    server,
)
from tasks.forms import TAG
from tasks.supervising import HOPELESS, SUPERVISOR

log = logging.getLogger("lastgood")
#: seconds between two glances at who started this process
_PARENT_S = 1.0
#: seconds between two questions whether the server still knows what is served
_KNOWN_S = 10.0
#: the logger of what Prefect's runner says of a run that it does not start
_PROPOSER = "prefect.runner.state_proposer"
#: where a person begins; the UI shows ten deployments a page
_HOW = "to start a release there: Deployments, search for `release`, Run, Custom run; Ctrl-C ends all this"
#: flow runs at once: releases hold their process for an hour at most
_LIMIT = 50


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of Prefect's runner tells people something.

    It says of every scheduled look that was cancelled because one is at work that it was aborted: that is
    what the limit is for, and on a busy machine it would fill the terminal.
    """
    return not (str(record.msg).startswith("Aborted submission") and "CANCELLED" in (record.args or ()))


@dataclass(frozen=True, slots=True)
class Served:
    """A flow that is served as a deployment of its name."""

    flow: Flow[..., Any]
    #: the setting that says how often it runs by itself; empty: when somebody starts it
    every: str = ""
    #: whether one run at a time does: those that come meanwhile are cancelled
    alone: bool = False

    @property
    def name(self) -> str:
        """Name of the deployment."""
        return self.flow.name.replace("_", "-")

    def deployment(self, settings: Settings) -> RunnerDeployment:
        """The deployment; its form gets its choices from `tasks.forms`."""
        more: dict[str, Any] = {}
        if self.every:
            more["interval"] = timedelta(microseconds=getattr(settings, self.every))
        if self.alone:
            # after an outage every missed run would start at once: one catches up
            once = ConcurrencyLimitStrategy.CANCEL_NEW
            more["concurrency_limit"] = ConcurrencyLimitConfig(limit=1, collision_strategy=once)
        return RunnerDeployment.from_flow(self.flow, name=self.name, tags=[TAG], **more)


def named() -> server.Found:
    """Return the server that PREFECT_API_URL names; raises `PrefectUnusable` with what to do."""
    url = PREFECT_API_URL.value()
    if not url:
        raise PrefectUnusable("no Prefect server is named: set PREFECT_API_URL, or use `lastgood up`")
    return server.checked(url)


def install() -> list[str]:
    """Make the automations and forms what this version has; return lines that say so.

    The deployments must be there. Doing it again changes nothing.
    """
    offered = choices.read(agent.store())
    with get_client(sync_client=True) as client:
        settings = Settings.from_environment()
        lost_after = timedelta(microseconds=settings.lost_after)
        made = automations.install(client, lost_after, timedelta(microseconds=settings.look_every))
        forms.refresh(client, offered)
    return [f"automations: {', '.join(made)}"]


def _installed(found: server.Found) -> list[str]:
    """Install, where `prefect deploy` has made the deployments."""
    with get_client(sync_client=True) as client:
        if not forms.ours(client):
            msg = (
                f"the Prefect server at {found.url} has no deployment of this pipeline; deploy them first "
                "(from the checkout: `prefect --no-prompt deploy --all`)"
            )
            raise PrefectUnusable(msg)
    return install()


def serve(served: Sequence[Served]) -> None:
    """Serve until a signal ends it; raises `PrefectUnusable` where there is no server."""
    found = named()
    settings = Settings.from_environment()
    logging.getLogger(_PROPOSER).addFilter(is_news)
    # Prefect's own, at every SIGTERM: what would be awaited only sets what its exit sets again
    warnings.filterwarnings("ignore", r"coroutine 'Runner\.astop' was never awaited", RuntimeWarning)
    runner = Runner(limit=_LIMIT, pause_on_shutdown=False, query_seconds=1)
    for each in served:
        runner.add_deployment(each.deployment(settings))
    with get_client(sync_client=True) as client:
        housekeeping.drop_missed(client)
    lines = install()
    stopped = threading.Event()
    keeper = threading.Thread(target=forms.keep_current, args=(agent.store(), stopped), daemon=True)
    keeper.start()
    sending = (agent.store(), stopped, 5.0, prefect_block.WITH_PREFECT)
    threading.Thread(target=notifying.keep_sending, args=sending, daemon=True).start()
    alone = (
        [each.name for each in served if each.alone],
        timedelta(microseconds=settings.lost_after),
        stopped,
    )
    threading.Thread(target=lost_runs.keep_ending, args=alone, daemon=True).start()
    if parent := os.environ.get(SUPERVISOR):
        threading.Thread(target=_end_when_forgotten, args=(stopped,), daemon=True).start()
        threading.Thread(target=_end_with_parent, args=(int(parent),), daemon=True).start()
    said = [f"serving {', '.join(each.name for each in served)}", *lines, f"the UI is at {found.ui}", _HOW]
    print("\n".join(said), flush=True)  # noqa: T201  the command's answer
    try:
        asyncio.run(runner.start())
    finally:
        stopped.set()


def _end_with_parent(parent: int) -> None:
    """End where `lastgood up` was killed: two servings of one store would be one too many."""
    while os.getppid() == parent:
        time.sleep(_PARENT_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_when_forgotten(stopped: threading.Event) -> None:
    """End where the server lost its database: `lastgood up` starts this anew, which registers everything."""
    while not stopped.wait(_KNOWN_S):
        try:
            with get_client(sync_client=True) as client:
                known = forms.ours(client)
        except Exception as error:  # noqa: BLE001  a server that does not answer has forgotten nothing
            log.info("the server does not say what it knows: %r", error)
            continue
        if not known:
            log.warning("the Prefect server knows no deployment of ours any more: serving begins anew")
            os.kill(os.getpid(), signal.SIGTERM)
            return


def main(served: Sequence[Served], words: Sequence[str]) -> None:
    """`python -m flows [install]`: an error of ours is one line, and tells a supervisor that it stays."""
    from lastgood.errors import LastgoodError

    try:
        if list(words) == ["install"]:
            print("\n".join(_installed(named())))  # noqa: T201  the command's answer
        elif words:
            raise SystemExit("usage: python -m flows [install]")
        else:
            serve(served)
    except LastgoodError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201  as a command says it
        raise SystemExit(1 if isinstance(error, PrefectUnusable) else HOPELESS) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


__all__ = ["Served", "install", "main", "serve"]
