"""`lastgood up`: a Prefect server, every deployment served, and the automations, by one command.

The processes it starts are its children: `prefect server start` where no server is named, and
`python -m flows`. It loads no Prefect itself.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from config.settings import Settings
from lastgood import agent
from lastgood.errors import PrefectUnusable
from lastgood.store import engine
from lastgood.store.connection import Store
from tasks import checkout, server
from tasks.supervising import SUPERVISOR, Child, Stopped, left_behind, stopping, watch

ROOT = Path(__file__).resolve().parents[2]
#: seconds that a server may take to start
_START_S = 120.0
#: what a server that is started here is told, unless the environment says otherwise
_SERVER = {
    # a telemetry traceback at a fresh start, else
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # writers of its SQLite wait for each other instead of being told 503
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    # runs of Prefect older than this go, with what was logged; ours stand in the store
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86_400),
}
#: what the flows are told
_FLOWS = {
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",  # a start is seen within a second
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # what the automation for lost ones counts on
}


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where a server that is started listens."
)
@click.option("--port", default=4200, show_default=True, type=click.IntRange(1, 65_535), help="Its port.")
def up(host: str, port: int) -> None:
    """Bring it all up: Prefect's server and UI, every deployment, the automations.

    PREFECT_API_URL names a server that runs already; without it one is started here. Ctrl-C ends what was
    started. Traffic, ceilings, triggers and `lastgood rollback` need none of it.
    """
    checkout.verify()
    Settings.from_environment()  # a wrong one is said before anything starts
    click.echo(f"store: {_upgraded()}")
    environment = {**_FLOWS, **os.environ, **_places()}
    children: list[Child] = []
    with stopping():
        try:
            found = _server(host, port, environment, children)
            environment |= {"PREFECT_API_URL": found.url, SUPERVISOR: str(os.getpid())}
            flows = Child("serving", [sys.executable, "-m", "flows"], environment, ROOT)
            children.append(flows)
            flows.start()
            click.echo("deploying the flows: about 10 s, on a busy machine a minute")
            code = watch(children, click.echo)
            raise SystemExit(code)
        except Stopped as stopped:
            click.echo(f"{stopped}: stopping; live releases go on with the next one")
        finally:
            for child in reversed(children):  # the flows say goodbye to the server
                child.end()


def _upgraded() -> str:
    url = _absolute(agent.database_url())
    engine.upgrade(url)
    return Store(url).name


def _absolute(url: str) -> str:
    """The store's URL without regard to the folder: the flows run in the checkout's."""
    head, mark, path = url.partition("sqlite:///")
    return f"{head}{mark}{Path(path).resolve()}" if mark and not head else url


def _places() -> dict[str, str]:
    """Where the flows find the store, and callables of the folder that this is started in."""
    paths = [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    return {
        "LASTGOOD_DATABASE": _absolute(agent.database_url()),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def _server(host: str, port: int, environment: Mapping[str, str], children: list[Child]) -> server.Found:
    """The server that is named, else one that answers at the port already, else a new one."""
    named = os.environ.get("PREFECT_API_URL") or _configured()
    if named:
        found = server.look(named)
        if found.problem:
            msg = (
                f"PREFECT_API_URL: {found.problem}\nStart that server or correct the URL; without it "
                "(`prefect config unset PREFECT_API_URL`) `lastgood up` starts a server by itself"
            )
            raise PrefectUnusable(msg)
        click.echo(f"Prefect {found.version} at {found.url} (PREFECT_API_URL)")
        return found
    reach = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  as the user asked
    url = f"http://{f'[{reach}]' if ':' in reach else reach}:{port}/api"
    if not server.is_free(host, port):
        return _at_work(url, port)
    return _started(url, host, port, environment, children)


def _configured() -> str:
    """The URL of the active Prefect profile; asked of Prefect itself, which this process does not load."""
    ask = "from prefect.settings import PREFECT_API_URL; print(PREFECT_API_URL.value() or '')"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    if told.returncode:
        raise PrefectUnusable(f"Prefect can't be loaded:\n{told.stderr[-1_500:]}\nrun `make setup`")
    return told.stdout.strip()


def _at_work(url: str, port: int) -> server.Found:
    """Who answers at the port already, and what ends a server that outlived its `lastgood up`."""
    found = server.look(url)
    pid = left_behind(_log(), ("--port", str(port)))
    ours = "" if pid is None else f"; a `lastgood up` of this folder started it, `kill {pid}` ends it"
    if found.problem:
        msg = f"port {port} is taken: {found.problem}{ours}. Choose another: --port {port + 1}"
        raise PrefectUnusable(msg)
    click.echo(
        f"Prefect {found.version} runs at {found.url} already: it is used, and goes on after this{ours}"
    )
    return found


def _log() -> Path:
    return Path(".lastgood").resolve() / "prefect-server.log"


def _started(
    url: str, host: str, port: int, environment: Mapping[str, str], children: list[Child]
) -> server.Found:
    log = _log()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
    # the UI asks the API at this address, not at 4200
    told = {**_SERVER, **environment, "PREFECT_API_URL": url}
    child = Child("the Prefect server", command, told, ROOT, log)
    children.append(child)
    click.echo(f"starting a Prefect server on port {port} (its log: {log})")
    child.start()
    try:
        found = server.wait(url, seconds=_START_S, alive=lambda: child.lives, say=click.echo)
    except PrefectUnusable as error:
        raise PrefectUnusable(f"{error}\n{child.tail()}") from None
    click.echo(f"Prefect {found.version} is up")
    return found
